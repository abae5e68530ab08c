use xsk::{Packet, Port};

fn main() {}

fn use_after_send(port: &mut Port, packet: Packet) {
    port.send_one(packet).unwrap();
    println!("{}", packet.len());
}
