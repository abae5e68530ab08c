use std::thread;

use xsk::Batch;
use xsk::port::PortRx;

fn main() {}

fn half_on_two_threads(mut rx: PortRx) {
    thread::scope(|scope| {
        scope.spawn(|| rx.recv(&mut Batch::new()));
        scope.spawn(|| rx.recv(&mut Batch::new()));
    });
}
