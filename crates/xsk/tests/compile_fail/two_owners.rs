use xsk::{Batch, Packet};

fn main() {}

fn two_owners(batch: &mut Batch, packet: Packet) {
    batch.push(packet.clone()).unwrap();
    batch.push(packet).unwrap();
}
