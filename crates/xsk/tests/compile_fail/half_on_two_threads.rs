use xsk::Batch;
use xsk::port::PortRx;

fn main() {}

fn at_once(_: impl FnOnce() + Send, _: impl FnOnce() + Send) {}

fn half_on_two_threads(mut rx: PortRx) {
    at_once(|| drop(rx.recv(&mut Batch::new())), || drop(rx.recv(&mut Batch::new())));
}
