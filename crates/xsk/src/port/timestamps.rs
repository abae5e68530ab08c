//! When packets were sent that asked for it.

use std::collections::VecDeque;

use crate::packet::{Packet, Stamp, completed};
use crate::pool::{Memory, Owner};

/// When a packet was sent: see [`Port::tx_timestamp`](super::Port::tx_timestamp).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TxTimestamp {
    /// What [`Packet::request_timestamp`] was called with.
    pub token: u64,
    /// Nanoseconds: in copy mode of `CLOCK_TAI` when the packet was done with (`net/xdp/xsk.c:xsk_tx_metadata_complete`), in
    /// zero-copy mode of the device's clock when it was sent. `None` if there is none: the packet was not sent, or the driver
    /// does not tell.
    pub nanoseconds: Option<u64>,
}

/// Packets on their way that asked when they are sent, and what became of those that are back.
///
/// Their frames are noted to have an owner of their own. So those of other packets, which is most, come back as if there were
/// none of these.
#[derive(Debug)]
pub(super) struct Timestamps {
    owner: Owner,
    waiting: VecDeque<Waiting>,
    done: VecDeque<TxTimestamp>,
    /// That many of either at most: memory is taken when the port is opened.
    limit: usize,
    lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    frame: u32,
    /// Where the data is.
    address: u64,
    token: u64,
    asked: Stamp,
}

impl Timestamps {
    /// For so many at once.
    pub(super) fn new(owner: Owner, limit: usize) -> Self {
        Self {
            owner,
            waiting: VecDeque::with_capacity(limit),
            done: VecDeque::with_capacity(limit),
            limit,
            lost: 0,
        }
    }

    /// A packet that goes out asks for this.
    pub(super) fn expect(&mut self, memory: &Memory, packet: &Packet, token: u64) {
        if self.waiting.len() == self.limit {
            self.waiting.pop_front();
            self.lost += 1;
        }
        let (frame, address) = (packet.frame(), packet.address());
        memory.set_owner(frame, self.owner);
        self.waiting.push_back(Waiting { frame, address, token, asked: packet.stamp() });
    }

    /// The frame of an address that came back, if it is one of these. Nobody has it yet but the caller.
    #[cold]
    #[inline(never)]
    pub(super) fn find(&mut self, memory: &Memory, address: u64) -> Option<usize> {
        let found = memory.view().find(address, self.owner)?;
        self.look_at(memory, found as u32);
        Some(found)
    }

    fn look_at(&mut self, memory: &Memory, frame: u32) {
        let Some(place) = self.waiting.iter().position(|waiting| waiting.frame == frame) else { return };
        let Some(Waiting { address, token, asked, .. }) = self.waiting.remove(place) else { return };
        // SAFETY: the frame is back, so it is this process's, and here before anybody else may have it. It went out with its
        // metadata: `expect` was called for it.
        let nanoseconds = unsafe { completed(memory, address, asked) };
        if self.done.len() == self.limit {
            self.done.pop_front();
            self.lost += 1;
        }
        self.done.push_back(TxTimestamp { token, nanoseconds });
    }

    pub(super) fn next(&mut self) -> Option<TxTimestamp> {
        self.done.pop_front()
    }

    /// How many were thrown away, as nobody asked for them.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}
