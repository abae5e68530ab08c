//! Forwards between two interfaces, both ways, as a cable would: `forwarder INTERFACE INTERFACE`.
//!
//! Both ports share one pool, so that nothing is copied, and what is sent on one side is received into on the other.

use std::{env, error::Error};

use xsk::port::{PortError, Verdict};
use xsk::{Pool, PoolConfig, Port, PortConfig};

/// Forwards what is there. Returns how many packets went through.
pub fn step(left: &mut Port, right: &mut Port) -> Result<usize, PortError> {
    let there = left.forward_to(right, |_| Verdict::Send)?;
    let back = right.forward_to(left, |_| Verdict::Send)?;
    Ok(there.sent + back.sent)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut names = env::args().skip(1);
    let (Some(left), Some(right)) = (names.next(), names.next()) else {
        return Err("usage: forwarder INTERFACE INTERFACE".into());
    };
    let pool = Pool::new(PoolConfig::default().frames(8192))?;
    let mut left = Port::open(&pool, &left, 0, PortConfig::default())?;
    let mut right = Port::open(&pool, &right, 0, PortConfig::default())?;
    loop {
        if step(&mut left, &mut right)? == 0 {
            Port::wait_any(&mut [&mut left, &mut right], None)?;
        }
    }
}
