//! Memory that the user and the simulated kernel share: the only place of this crate with unsafe code.
//!
//! No reference into such memory is ever made. Words are atomics, slots and bytes are copied through raw pointers.
#![allow(unsafe_code)]

mod memory;
pub mod ring;

pub(crate) use memory::{
    ConsumerRing, ProducerRing, RingMemory, RingShape, UmemMemory, consumer_ring, producer_ring,
};
