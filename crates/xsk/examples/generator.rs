//! Sends packets as fast as it can: `generator INTERFACE PACKETS`. They are numbered broadcasts that no host answers.

use std::{env, error::Error};

use xsk::port::PortError;
use xsk::{Batch, Packet, Pool, PoolConfig, Port, PortConfig};

/// Bytes of a packet.
const LEN: usize = 60;

fn write(packet: &mut Packet, number: u64) {
    // Room for it is in every frame.
    if packet.resize(LEN).is_ok() {
        packet[..6].fill(0xff);
        packet[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        packet[12..14].copy_from_slice(&[0x88, 0xb5]);
        packet[14..22].copy_from_slice(&number.to_be_bytes());
    }
}

/// Sends `count` packets, and waits until the kernel has sent them.
pub fn generate(port: &mut Port, count: u64) -> Result<(), PortError> {
    let mut batch = Batch::new();
    let mut number = 0;
    while number < count || !batch.is_empty() {
        let fresh = batch.len();
        port.packets(&mut batch);
        for packet in &mut batch[fresh..] {
            write(packet, number);
            number += 1;
        }
        // Those beyond the count are dropped.
        while number > count {
            batch.pop();
            number -= 1;
        }
        if port.send(&mut batch)? == 0 {
            port.flush()?;
        }
    }
    while port.flush()? > 0 {}
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(interface), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: generator INTERFACE PACKETS".into());
    };
    let pool = Pool::new(PoolConfig::default())?;
    let mut port = Port::open(&pool, &interface, 0, PortConfig::default())?;
    generate(&mut port, count.parse()?)?;
    Ok(())
}
