//! The ring tier: receives on queue 0 of an interface and counts. `count` is the same on the port tier.
#![allow(clippy::print_stdout)]

use std::{env, error::Error};
use xsk::config::{SocketConfig, UmemConfig};
use xsk::{Socket, Umem};

fn main() -> Result<(), Box<dyn Error>> {
    let interface = env::args().nth(1).ok_or("usage: ring_tier INTERFACE")?.parse()?;
    let (umem, mut frames) = Umem::new(UmemConfig::default(), 2048.try_into()?, false)?;
    // SAFETY: at any moment each frame is on one ring, or in the `received` ones that are ours.
    unsafe {
        let (mut rx, rings) = Socket::rx_only(SocketConfig::default(), &umem, &interface, 0)?;
        let (mut fill, _completion) = rings.ok_or("the queue's rings belong to another socket")?;
        fill.produce(&frames);
        let mut packets = 0;
        loop {
            let received = rx.poll_and_consume(&mut frames, 1000)?;
            packets += received;
            let bytes: usize = frames[..received].iter().map(|frame| umem.data(frame).len()).sum();
            println!("{received} packets, {bytes} bytes; {packets} packets so far");
            fill.produce(&frames[..received]);
        }
    }
}
