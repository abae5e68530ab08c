//! The cases, by what they are about.

pub mod descriptors;
pub mod polling;
pub mod programs;
pub mod several_buffers;
pub mod statistics;
pub mod traffic;

use crate::traffic::{Item, SHORT};

/// How many packets a case sends.
const PACKETS: u32 = 4096;

/// Packets of one length.
fn packets(count: u32, len: u32) -> Vec<Item> {
    (0..count).map(|number| Item::new(number, len)).collect()
}

/// What most cases send.
fn short_packets() -> Vec<Item> {
    packets(PACKETS, SHORT)
}
