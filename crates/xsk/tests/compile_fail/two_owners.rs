use xsk::Packet;

fn main() {}

fn two_owners(packet: Packet) -> [Packet; 2] {
    [packet, packet]
}
