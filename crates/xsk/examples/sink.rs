//! Receives on all queues of an interface, with a thread for each, and says once a second what came and what was lost:
//! `sink INTERFACE`.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use xsk::port::{PortError, PortStats};
use xsk::{Pool, PoolConfig, Port, PortConfig};

/// Receives for a while, and returns what was counted in that time.
pub fn drain(port: &mut Port, time: Duration) -> Result<PortStats, PortError> {
    let before = port.stats()?;
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        if port.for_each(|_| ())? == 0 {
            port.wait(Some(left))?;
        }
    }
    Ok(port.stats()?.since(&before))
}

fn report(port: &mut Port) -> Result<(), PortError> {
    loop {
        let counted = drain(port, Duration::from_secs(1))?;
        println!("queue {}: {} packets a second", port.queue(), counted.received);
        for (loss, packets) in counted.losses() {
            println!("queue {}: {packets} lost: {loss}", port.queue());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let interface = env::args().nth(1).ok_or("usage: sink INTERFACE")?;
    let pool = Pool::new(PoolConfig::default().frames(16384))?;
    let ports = Port::open_all(&pool, &interface, PortConfig::default())?;
    let threads: Vec<_> =
        ports.into_iter().map(|mut port| thread::spawn(move || report(&mut port))).collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}
