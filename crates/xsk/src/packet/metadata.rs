//! What goes before a packet's data: requests to whoever sends it, and what an XDP program left there.

use std::ptr::NonNull;

use thiserror::Error as ThisError;
use xsk_core::abi::{
    Pod, XDP_TXMD_FLAGS_CHECKSUM, XDP_TXMD_FLAGS_LAUNCH_TIME, XDP_TXMD_FLAGS_TIMESTAMP,
    xsk_tx_metadata_completion, xsk_tx_metadata_request,
};
use xsk_core::frame_lists::{END, Storage};

use super::{MORE, OutOfRoom, Packet};
use crate::backend::TxOffloads;
use crate::pool::Memory;

/// Bytes of the kernel's metadata, directly before the data of each packet that is sent (`struct xsk_tx_metadata`).
pub(crate) const METADATA: usize = size_of::<xsk_tx_metadata_request>();

/// What a packet asks for, at the start of its frame until it is sent: its data may still move. The kernel's struct, and the token
/// of the timestamp.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Stored {
    request: xsk_tx_metadata_request,
    token: u64,
}

const STORED: usize = size_of::<Stored>();
const _: () = assert!(STORED == METADATA + 8 && STORED.is_multiple_of(8));

/// Bytes before the data that are not for headers, in a pool with TX metadata: what is stored, and behind that what the kernel
/// reads.
///
/// The kernel wants its part before the data of each descriptor, also of those that ask for nothing
/// (`net/xdp/xsk_queue.h:xp_aligned_validate_desc`). It is there before whatever is received: no program moves the start of the
/// data to the first 40 bytes of a frame (`net/core/filter.c:bpf_xdp_adjust_head`).
pub(crate) const RESERVED: u16 = (STORED + METADATA) as u16;

/// Of the note of a packet's first frame: it asks for something.
const ASKS: u32 = 1;

/// A request was refused: nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum RequestError {
    /// The packet's pool has no room for requests.
    #[error("the pool has no room for requests: make it with `PoolConfig::tx_metadata`")]
    NoMetadata,
    /// The packet starts too early in its frame. In zero-copy mode one can that a program has made longer at its front.
    #[error("the packet starts too early in its frame for requests: copy it with `Pool::copy`")]
    NoRoom,
    /// A checksum this far from the start.
    #[error("a checksum is within the first 65535 bytes of a packet")]
    TooFar,
}

/// What a packet asks for when it is sent: see [`Packet::requests`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Requests {
    /// Where the bytes begin that are summed up, from the start of the packet, and where the checksum goes, from there.
    pub checksum: Option<(u16, u16)>,
    /// The token of the timestamp.
    pub timestamp: Option<u64>,
    /// When to send, in nanoseconds.
    pub launch_time: Option<u64>,
}

impl Requests {
    /// By the names of what a device can do.
    pub(crate) fn offloads(&self) -> TxOffloads {
        let asks = [
            (self.checksum.is_some(), TxOffloads::CHECKSUM),
            (self.timestamp.is_some(), TxOffloads::TIMESTAMP),
            (self.launch_time.is_some(), TxOffloads::LAUNCH_TIME),
        ];
        asks.into_iter().filter(|(asked, _)| *asked).map(|(_, what)| what).collect()
    }
}

/// Requests to the kernel, or to the device, for when the packet is sent: in pools with
/// [`PoolConfig::tx_metadata`](crate::PoolConfig::tx_metadata). Which of them are honoured a port finds out when it is opened; it
/// sends no packet that asks for others. They go with the packet when it is moved, and are gone when it was sent.
impl Packet {
    /// Asks for a checksum: the ones' complement sum, as of TCP and UDP, of all bytes from `start` on, to be stored `offset` bytes
    /// behind `start`. What is there now is part of the sum: for TCP and UDP, the sum of the pseudo header.
    ///
    /// Both are counted from the start of the packet as it is sent: headers that come later move it. Devices that cannot sum up
    /// leave it to the kernel in copy mode, and veth leaves it undone, as it does with packets of the network stack; with
    /// [`PoolConfig::software_checksums`](crate::PoolConfig::software_checksums) the kernel does it in any case.
    ///
    /// # Errors
    /// As of all requests.
    pub fn request_checksum(&mut self, start: usize, offset: usize) -> Result<(), RequestError> {
        let word = |n: usize| u16::try_from(n).map_err(|_| RequestError::TooFar);
        let (start, offset) = (word(start)?, word(offset)?);
        self.ask(|stored| {
            stored.request.flags |= XDP_TXMD_FLAGS_CHECKSUM;
            (stored.request.csum_start, stored.request.csum_offset) = (start, offset);
        })
    }

    /// Asks when it is sent. [`Port::tx_timestamp`](crate::Port::tx_timestamp) tells, with this token.
    ///
    /// # Errors
    /// As of all requests.
    pub fn request_timestamp(&mut self, token: u64) -> Result<(), RequestError> {
        self.ask(|stored| {
            stored.request.flags |= XDP_TXMD_FLAGS_TIMESTAMP;
            stored.token = token;
        })
    }

    /// Asks to be sent at this time, in nanoseconds of the device's clock (Linux 6.15). In copy mode the kernel hands it to the
    /// driver, and many ignore it.
    ///
    /// # Errors
    /// As of all requests.
    pub fn request_launch_time(&mut self, nanoseconds: u64) -> Result<(), RequestError> {
        self.ask(|stored| {
            stored.request.flags |= XDP_TXMD_FLAGS_LAUNCH_TIME;
            stored.request.launch_time = nanoseconds;
        })
    }

    /// Asks for nothing any more.
    pub fn withdraw_requests(&mut self) {
        if self.asks() {
            let notes = self.memory().lists().storage();
            notes.set_below(self.frame(), 0);
            if notes.next(self.frame()) == END {
                self.place &= !MORE;
            }
        }
    }

    /// What it asks for.
    pub fn requests(&self) -> Requests {
        if !self.asks() {
            return Requests::default();
        }
        let Stored { request, token } = self.stored();
        let asks = |flag| request.flags & flag != 0;
        Requests {
            checksum: asks(XDP_TXMD_FLAGS_CHECKSUM).then_some((request.csum_start, request.csum_offset)),
            timestamp: asks(XDP_TXMD_FLAGS_TIMESTAMP).then_some(token),
            launch_time: asks(XDP_TXMD_FLAGS_LAUNCH_TIME).then_some(request.launch_time),
        }
    }

    /// The `len` bytes directly before the data: what an XDP program put there with `bpf_xdp_adjust_meta`, if it put as many. The
    /// kernel does not tell how many those are, so program and caller have to agree; a program puts up to 252 bytes, a multiple
    /// of 4. Only of a packet as it was received: [`push_front`](Self::push_front) and its like take this room.
    ///
    /// # Errors
    /// There are fewer bytes than that before the data.
    #[inline]
    pub fn meta(&self, len: usize) -> Result<&[u8], OutOfRoom> {
        let before = usize::from(self.offset());
        OutOfRoom::check(len, before)?;
        let start = self.memory().at(self.address() - len as u64);
        // SAFETY: this many bytes before the data are within the packet's frame, which is this packet's: the kernel does not
        // have it, nor has any other packet. `self` is borrowed, so nobody writes there meanwhile.
        Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) })
    }

    /// Whether it asks for something.
    #[inline]
    pub(crate) fn asks(&self) -> bool {
        self.place & MORE != 0 && self.memory().lists().storage().below(self.frame()) & ASKS != 0
    }

    fn ask(&mut self, change: impl FnOnce(&mut Stored)) -> Result<(), RequestError> {
        match self.memory().reserved() {
            0 => return Err(RequestError::NoMetadata),
            reserved if self.offset() < reserved => return Err(RequestError::NoRoom),
            _ => {}
        }
        let mut stored = if self.asks() { self.stored() } else { Stored::default() };
        change(&mut stored);
        self.make_special();
        self.memory().lists().storage().set_below(self.frame(), ASKS);
        let place = self.memory().at(self.memory().address(self.frame(), 0)).cast::<Stored>();
        // SAFETY: the first bytes of the packet's frame, which is this packet's alone, and before its data: it starts behind
        // what is reserved. A frame is aligned to its size.
        unsafe { place.write(stored) };
        Ok(())
    }

    fn stored(&self) -> Stored {
        let place = self.memory().at(self.memory().address(self.frame(), 0)).cast::<Stored>();
        // SAFETY: as in `ask`; integers, and the memory is initialised.
        unsafe { place.read() }
    }

    /// From now on it has notes: it is sent the long way, which looks at them.
    pub(crate) fn make_special(&mut self) {
        if self.place & MORE == 0 {
            let (frame, notes) = (self.frame(), self.memory().lists().storage());
            notes.set_next(frame, END);
            notes.set_below(frame, 0);
            self.place |= MORE;
        }
    }

    /// Puts what it asks for where the kernel reads it.
    pub(crate) fn write_metadata(&self) {
        debug_assert!(self.asks() && self.offset() >= RESERVED);
        let before = self.memory().at(self.address() - METADATA as u64).cast::<xsk_tx_metadata_request>();
        // SAFETY: the bytes before the data are the packet's, and it asks, so there are as many and no data is there: `ask`
        // looked, and what is reserved is no headroom. They are aligned as the data happens to be.
        unsafe { before.write_unaligned(self.stored().request) };
    }
}

/// What became of a timestamp: the kernel writes it before it gives the frame back. `None` if it did not.
///
/// # Safety
/// The frame of `address`, where the data was, is the caller's, and was sent with what `write_metadata` wrote.
pub(crate) unsafe fn completed(memory: &Memory, address: u64, asked: Stamp) -> Option<u64> {
    let before: NonNull<xsk_tx_metadata_completion> = memory.at(address - METADATA as u64).cast();
    // SAFETY: the caller's frame, and the metadata in it.
    let completion = unsafe { before.read_unaligned() };
    (completion.tx_timestamp != asked.0).then_some(completion.tx_timestamp)
}

/// What is where the timestamp is to be: of the request, other fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Packet {
    pub(crate) fn stamp(&self) -> Stamp {
        let mut completion = xsk_tx_metadata_completion::default();
        completion.as_bytes_mut().copy_from_slice(self.stored().request.as_bytes());
        Stamp(completion.tx_timestamp)
    }
}
