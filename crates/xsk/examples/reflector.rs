//! Sends every packet of queue 0 back to where it came from: `reflector INTERFACE`.

use std::{env, error::Error, time::Duration};

use xsk::port::{PortError, Verdict};
use xsk::{Packet, Pool, PoolConfig, Port, PortConfig};

/// Exchanges the Ethernet addresses.
fn turn_around(packet: &mut Packet) -> Verdict {
    let Some((destination, rest)) = packet.split_at_mut_checked(6) else { return Verdict::Drop };
    let Some(source) = rest.get_mut(..6) else { return Verdict::Drop };
    destination.swap_with_slice(source);
    Verdict::Send
}

/// Reflects what is there, or waits a while for it. Returns how many packets went back.
pub fn step(port: &mut Port, patience: Duration) -> Result<usize, PortError> {
    let done = port.forward(turn_around)?;
    if done.received == 0 {
        port.wait(Some(patience))?;
    }
    Ok(done.sent)
}

fn main() -> Result<(), Box<dyn Error>> {
    let interface = env::args().nth(1).ok_or("usage: reflector INTERFACE")?;
    let pool = Pool::new(PoolConfig::default())?;
    let mut port = Port::open(&pool, &interface, 0, PortConfig::default())?;
    loop {
        step(&mut port, Duration::from_secs(1))?;
    }
}
