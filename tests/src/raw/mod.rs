//! Sockets and rings at the level of system calls, on any kernel: for tests that do with them what no library would.

// A kit: what its names do not say the kernel's documentation does.
#![allow(missing_docs, missing_debug_implementations)]

mod ring;
pub mod sequence;
mod socket;

use std::io;

pub use ring::Ring;
pub use socket::{RawSocket, Setup};

/// The errno of a result, 0 for success.
///
/// # Panics
/// On an error without a number.
pub fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or_else(|| panic!("no errno: {error}")),
    }
}

/// An Ethernet frame of `len` bytes that no stack answers, filled with `tag`. Of fewer than 14 bytes it is the start of one.
pub fn frame(len: usize, tag: u8) -> Vec<u8> {
    let mut frame = vec![tag; len];
    let header = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    for (to, from) in frame.iter_mut().zip(header) {
        *to = from;
    }
    frame
}
