//! The part of AF_XDP that needs no operating system.
//!
//! * [`abi`]: the structs, flags and constants of the kernel's `if_xdp.h`.
//! * [`ring`]: the user half of the shared-memory rings, generic over where a ring lives ([`ring::Storage`]):
//!   memory mapped from a kernel ([`ring::Mapped`]), or any other storage, such as the cells of a model checker.
//! * [`order`]: the one table of memory orderings that the rings use, each with its partner in the kernel.
//! * [`layout`]: frame arithmetic of a UMEM, aligned and unaligned.
//! * [`region`]: page-aligned heap memory that can stand in for a mapping.
//!
//! Nothing here makes a system call, blocks, prints, or panics on input. The crate is `no_std` and uses `alloc`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod abi;
pub mod layout;
pub mod order;
pub mod region;
pub mod ring;
