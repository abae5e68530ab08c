//! What the tests of kernel behaviour share: sockets at the level of system calls, on any kernel.
//!
//! A test body takes a [`World`] and nothing else, so that it runs on whatever kernel implements one.
// Each test program uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod ring;
mod sim;
mod socket;

use std::io;
use std::sync::Arc;

use xsk::backend::{Backend, Handle};
use xsk::config::XdpFlags;

pub use ring::Ring;
pub use sim::{SimWorld, everywhere};
pub use socket::{RawSocket, Setup};

/// An end of a veth pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    A,
    B,
}

/// What an XDP program other than the built-in one does before it redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjust {
    Head(i32),
    /// Metadata of so many bytes (negative), filled with 0x4d.
    Meta(i32),
    Tail(i32),
}

/// A kernel with a veth pair, one end for sockets under test and both with a tap.
pub trait World {
    fn kernel(&self) -> Arc<dyn Backend>;
    fn index(&self, end: End) -> u32;
    fn name(&self, end: End) -> String;
    /// A packet socket sends a frame out of an end.
    fn send(&self, end: End, frame: &[u8]);
    /// The next frame that a packet socket sees arrive at an end.
    fn receive(&self, end: End) -> Option<Vec<u8>>;
    /// How programs are attached.
    fn mode(&self) -> XdpFlags;
    fn set_up(&self, end: End, up: bool);
    fn set_mtu(&self, end: End, mtu: u32);
    /// Deletes the pair.
    fn remove(&self);
    /// Frames stay so many milliseconds with whoever gets them at an end, once they arrived there.
    fn hold_at(&self, end: End, milliseconds: u64);
    /// A program that adjusts, then redirects to the slot of the queue in `map`.
    fn adjusting_program(&self, map: Handle, adjust: Adjust) -> Handle;
    /// Checks the kernel's own laws, where it can tell.
    fn check(&self);
}

/// The errno of a result, 0 for success.
pub fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or_else(|| panic!("no errno: {error}")),
    }
}

/// A frame of `len` bytes that no stack answers.
pub fn frame(len: usize, tag: u8) -> Vec<u8> {
    let mut frame = vec![tag; len];
    let header = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]].concat();
    for (to, from) in frame.iter_mut().zip(header.iter().chain(&[0x88, 0xb5])) {
        *to = *from;
    }
    frame
}
