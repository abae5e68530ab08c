//! Receives on queue 0 of an interface and counts: the program of the README.
#![allow(clippy::print_stdout)]

use std::{env, error::Error, time::Duration};
use xsk::{Pool, PoolConfig, Port, PortConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let interface = env::args().nth(1).ok_or("usage: count INTERFACE")?;
    let pool = Pool::new(PoolConfig::default())?;
    let mut port = Port::open(&pool, &interface, 0, PortConfig::default())?;
    let mut packets = 0;
    loop {
        port.wait(Some(Duration::from_secs(1)))?;
        let mut bytes = 0;
        let received = port.for_each(|packet| bytes += packet.len())?;
        packets += received;
        println!("{received} packets, {bytes} bytes; {packets} packets so far");
    }
}
