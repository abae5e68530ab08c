use xsk::{Packet, Port};

fn main() {}

fn bytes_after_send(port: &mut Port, packet: Packet) {
    let bytes = &packet[..];
    port.send_one(packet).unwrap();
    println!("{}", bytes.len());
}
