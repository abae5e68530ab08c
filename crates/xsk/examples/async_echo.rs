//! Sends every packet of queue 0 back to where it came from, as `reflector` does, in a task of tokio:
//! `async_echo INTERFACE`.

use std::{env, error::Error};

use xsk::port::{AsyncPort, PortError};
use xsk::{Batch, Packet, Pool, PoolConfig, Port, PortConfig};

/// Exchanges the Ethernet addresses. False if there are none.
fn turn_around(packet: &mut Packet) -> bool {
    let Some((destination, rest)) = packet.split_at_mut_checked(6) else { return false };
    let Some(source) = rest.get_mut(..6) else { return false };
    destination.swap_with_slice(source);
    true
}

/// Answers packets until something fails.
pub async fn echo(mut port: AsyncPort) -> Result<(), PortError> {
    let mut batch = Batch::new();
    loop {
        port.recv(&mut batch).await?;
        batch.retain(turn_around);
        port.send(&mut batch).await?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let interface = env::args().nth(1).ok_or("usage: async_echo INTERFACE")?;
    let pool = Pool::new(PoolConfig::default())?;
    let port = Port::open(&pool, &interface, 0, PortConfig::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { echo(AsyncPort::new(port)?).await })?;
    Ok(())
}
