//! The part of AF_XDP that needs no operating system.
//!
//! * [`abi`]: the structs, flags and constants of the kernel's `if_xdp.h`.
//! * [`ring`]: the user half of the shared-memory rings, generic over where a ring lives ([`ring::Storage`]):
//!   memory mapped from a kernel ([`ring::Mapped`]), or any other storage, such as the cells of a model checker.
//! * [`errno`]: Linux's error numbers by name.
//! * [`order`]: the one table of memory orderings that the rings use, each with its partner in the kernel.
//! * [`frame_lists`]: free frames in lists that threads share without a lock.
//! * [`layout`]: frame arithmetic of a UMEM, aligned and unaligned.
//! * [`region`]: page-aligned heap memory that can stand in for a mapping.
//!
//! # Example
//! Both halves of a fill ring, in memory that stands in for a mapping. In use, the other half is a kernel.
//!
//! ```
//! use std::sync::Arc;
//!
//! use xsk_core::abi::xdp_ring_offset;
//! use xsk_core::region::Region;
//! use xsk_core::ring::{Consumer, Mapped, Producer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let offsets = xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };
//! let memory = Region::new(Mapped::<u64, ()>::bytes(&offsets, 8))?;
//! // Sound: the region is page aligned, kept alive by the Arc, and used for nothing but this ring.
//! let ring = || unsafe { Mapped::new(memory.as_ptr(), memory.len(), &offsets, 8, Arc::clone(&memory)) };
//! // Sound: one producer and one consumer.
//! let (mut fill, mut peer) = unsafe { (Producer::new(ring()?), Consumer::new(ring()?)) };
//!
//! assert_eq!(fill.produce(&[0_u64, 4096, 8192], |addr| *addr)?, 3);
//! let mut addrs = [0; 2];
//! assert_eq!(peer.consume(&mut addrs, |to, addr| *to = addr)?, 2);
//! assert_eq!(addrs, [0, 4096]);
//! assert_eq!(fill.outstanding()?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here makes a system call, blocks, prints, or panics on input. The crate is `no_std` and uses `alloc`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod abi;
pub mod errno;
pub mod frame_lists;
pub mod layout;
pub mod order;
pub mod region;
pub mod ring;
