use std::fmt;
use std::io;
use std::ops::Deref;

use thiserror::Error as ThisError;
use xsk_core::abi::xdp_desc;

use crate::error::Error;
use crate::packet::Packet;

/// What went wrong with a pool or a port. Derefs to the [`Error`] with the details.
#[derive(Debug, ThisError)]
#[error(transparent)]
pub struct PortError(Box<Error>);

impl From<Error> for PortError {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<PortError> for io::Error {
    fn from(error: PortError) -> Self {
        (*error.0).into()
    }
}

impl Deref for PortError {
    type Target = Error;

    fn deref(&self) -> &Error {
        &self.0
    }
}

/// A packet that was not sent, and why: [`Port::send_one`](crate::Port::send_one) gives it back.
#[derive(Debug, ThisError)]
#[error("{error}")]
pub struct NotSent {
    /// The packet.
    pub packet: Packet,
    /// Why it was not sent; `None` if there is just no room now.
    #[source]
    pub error: Reason,
}

/// Why a packet was not sent.
#[derive(Debug, ThisError)]
pub enum Reason {
    /// The TX ring is full. There is room again when the kernel has sent packets: [`Port::flush`](crate::Port::flush).
    #[error("the TX ring is full")]
    Full,
    /// It cannot be sent, or the port has failed.
    #[error(transparent)]
    Error(#[from] PortError),
}

/// A descriptor from the kernel that cannot be right: what it names is left alone, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The ring that it was on: "RX" or "completion".
    pub ring: &'static str,
    /// The index of its slot, as the ring counts: from 0, wrapping at 2^32.
    pub index: u32,
    /// The descriptor. On the completion ring it is an address alone; length and options are 0.
    pub desc: xdp_desc,
    /// What is wrong with it.
    pub kind: ViolationKind,
}

/// What is wrong with a descriptor from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// The address is outside of the pool.
    Address,
    /// The kernel does not have this frame, or not from this port, or not for this.
    NotWithKernel,
    /// The data goes beyond the end of the frame. The frame itself came back.
    Length,
    /// Unknown option bits. The frame itself came back.
    Options,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ring, index, desc: xdp_desc { addr, len, options }, kind } = self;
        write!(f, "the kernel put address {addr:#x}")?;
        if *ring == "RX" {
            write!(f, " (length {len}, options {options:#x})")?;
        }
        write!(f, " on the {ring} ring at index {index}: ")?;
        f.write_str(match kind {
            ViolationKind::Address => "it is outside of the pool",
            ViolationKind::NotWithKernel => {
                "this frame was not given to the kernel there, or is back already"
            }
            ViolationKind::Length => "the data goes beyond the end of the frame",
            ViolationKind::Options => "these options mean nothing there",
        })?;
        f.write_str("; the descriptor was dropped and counted, and the port goes on")
    }
}
