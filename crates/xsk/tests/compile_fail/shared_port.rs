use xsk::port::{PortRx, PortTx};
use xsk::{Packet, Port};

fn main() {}

fn shared<T: Sync>() {}

fn shared_port() {
    shared::<Port>();
    shared::<PortRx>();
    shared::<PortTx>();
    shared::<Packet>();
}
