use xsk::Port;
use xsk::port::Verdict;

fn main() {}

fn kept_from_forward(port: &mut Port) {
    let mut kept = Vec::new();
    let _ = port.forward(|packet| {
        kept.push(packet);
        Verdict::Send
    });
}
