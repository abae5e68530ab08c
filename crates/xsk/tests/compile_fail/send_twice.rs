use xsk::{Packet, Port};

fn main() {}

fn send_twice(port: &mut Port, packet: Packet) {
    port.send_one(packet).unwrap();
    port.send_one(packet).unwrap();
}
