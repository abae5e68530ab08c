use std::fmt;
use std::io;
use std::sync::Arc;

use xsk_core::ring::BrokenIndex;

use crate::umem::frame::FrameDesc;

use super::ConsumerOf;
use super::shared::{Deferred, Shared};

/// The completion queue of an (interface, queue): frames that the kernel has sent.
///
/// Keeps the socket that it came with open. `Send` but not `Sync`: one thread at a time consumes.
pub struct CompQueue {
    ring: ConsumerOf<u64>,
    shared: Arc<Shared>,
    deferred: Deferred,
}

impl CompQueue {
    pub(crate) fn new(ring: ConsumerOf<u64>, shared: &Arc<Shared>) -> Self {
        Self { ring, shared: Arc::clone(shared), deferred: Deferred::default() }
    }

    /// Takes frames that were sent: sets `descs` from the front, with their addresses, lengths and options 0, and returns how
    /// many. Never blocks; the others stay as they are.
    ///
    /// Each frame is the user's from now on. Addresses are those that were put on the TX queue, but Linux 6.17 and later
    /// clears the lowest bit of a packet's first one (`net/xdp/xsk.c`).
    ///
    /// An impossible ring index, which a correct kernel never publishes, moves nothing; [`check`](Self::check) reports it.
    ///
    /// # Safety
    /// `descs` are used with the UMEM of this queue only.
    #[inline]
    pub unsafe fn consume(&mut self, descs: &mut [FrameDesc]) -> usize {
        let count = self.ring.consume(descs, |desc, addr| *desc = FrameDesc::at(addr));
        self.or_defer(count) as usize
    }

    /// As [`consume`](Self::consume), for one frame.
    ///
    /// # Safety
    /// As [`consume`](Self::consume).
    #[inline]
    pub unsafe fn consume_one(&mut self, desc: &mut FrameDesc) -> usize {
        // SAFETY: the same contract.
        unsafe { self.consume(std::slice::from_mut(desc)) }
    }

    /// Frames that wait, at most `nb`. Looks at the ring only if it knows of none.
    #[inline]
    pub fn nb_avail(&mut self, nb: u32) -> u32 {
        let available = self.ring.available(1);
        self.or_defer(available).min(nb)
    }

    /// Frames that wait at this moment.
    #[inline]
    pub fn nb_avail_exact(&mut self) -> u32 {
        let available = self.ring.available_now();
        self.or_defer(available)
    }

    /// The error that another call of this queue met and could not return, once.
    ///
    /// # Errors
    /// An impossible ring index.
    pub fn check(&self) -> io::Result<()> {
        self.deferred.report()
    }

    #[inline]
    fn or_defer(&self, count: Result<u32, BrokenIndex>) -> u32 {
        count.unwrap_or_else(|index| {
            self.deferred.put(self.shared.broken("completion", index));
            0
        })
    }
}

impl fmt::Debug for CompQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f, "CompQueue").field("entries", &self.ring.capacity()).finish_non_exhaustive()
    }
}
