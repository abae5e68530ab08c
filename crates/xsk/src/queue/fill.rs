use std::fmt;
use std::io;
use std::sync::Arc;

use crate::backend::PollEvents;
use crate::umem::frame::FrameDesc;

use super::shared::{Deferred, IdlePolls, Shared};
use super::{Fd, ProducerOf};

/// The fill queue of an (interface, queue): frames for the kernel to receive into.
///
/// Keeps the socket that it came with open. `Send` but not `Sync`: one thread at a time produces.
pub struct FillQueue {
    ring: ProducerOf<u64>,
    shared: Arc<Shared>,
    deferred: Deferred,
    idle: IdlePolls,
}

impl FillQueue {
    pub(crate) fn new(ring: ProducerOf<u64>, shared: &Arc<Shared>) -> Self {
        Self { ring, shared: Arc::clone(shared), deferred: Deferred::default(), idle: IdlePolls::default() }
    }

    /// Puts all of `descs` on the queue, or none if they do not all fit, and returns how many. Never blocks.
    ///
    /// Of each descriptor only the address counts, and of that only which frame it is in. The frame is the kernel's from now
    /// on, until it comes back on an RX queue.
    ///
    /// An impossible ring index moves nothing here; the next call that can fail reports it.
    ///
    /// # Safety
    /// `descs` are of this queue's UMEM, and their frames the user's: not on any queue, in `descs` once each, and not read
    /// or written until they come back. The kernel delivers a frame that was put here twice twice, and with
    /// `XDP_USE_SG` kernels 6.6 to 7.1 crash on addresses that are not of the UMEM (`net/xdp/xsk_buff_pool.c`).
    #[inline]
    pub unsafe fn produce(&mut self, descs: &[FrameDesc]) -> usize {
        match self.ring.produce(descs, FrameDesc::raw_addr) {
            Ok(count) => count as usize,
            Err(index) => self.broken(index),
        }
    }

    /// As [`produce`](Self::produce), for one frame.
    ///
    /// # Safety
    /// As [`produce`](Self::produce).
    #[inline]
    pub unsafe fn produce_one(&mut self, desc: &FrameDesc) -> usize {
        // SAFETY: the same contract.
        unsafe { self.produce(std::slice::from_ref(desc)) }
    }

    /// As [`produce`](Self::produce), then wakes the kernel up by way of `socket_fd` if frames were put on the queue and it
    /// wants that: see [`wakeup`](Self::wakeup).
    ///
    /// # Errors
    /// Frames that were put on the queue are never lost from the count: if some were and the wakeup fails, the result is
    /// their number, and the next call that can fail reports the wakeup's error.
    ///
    /// # Safety
    /// As [`produce`](Self::produce).
    #[inline]
    pub unsafe fn produce_and_wakeup(
        &mut self,
        descs: &[FrameDesc],
        socket_fd: &mut Fd,
        poll_timeout: i32,
    ) -> io::Result<usize> {
        self.deferred.report()?;
        // SAFETY: the same contract.
        let count = unsafe { self.produce(descs) };
        if count == 0 {
            self.deferred.report()?;
        } else if self.needs_wakeup()
            && let Err(error) = self.poll(socket_fd, poll_timeout)
        {
            self.deferred.put(error);
        }
        Ok(count)
    }

    /// As [`produce_and_wakeup`](Self::produce_and_wakeup), for one frame.
    ///
    /// # Errors
    /// As [`produce_and_wakeup`](Self::produce_and_wakeup).
    ///
    /// # Safety
    /// As [`produce`](Self::produce).
    #[inline]
    pub unsafe fn produce_one_and_wakeup(
        &mut self,
        desc: &FrameDesc,
        socket_fd: &mut Fd,
        poll_timeout: i32,
    ) -> io::Result<usize> {
        // SAFETY: the same contract.
        unsafe { self.produce_and_wakeup(std::slice::from_ref(desc), socket_fd, poll_timeout) }
    }

    /// Free places, from memory if that suffices for `nb`; not capped at `nb`.
    #[inline]
    pub fn nb_free(&mut self, nb: u32) -> u32 {
        match self.ring.free(nb) {
            Ok(free) => free,
            Err(index) => self.broken(index) as u32,
        }
    }

    /// Free places at this moment.
    #[inline]
    pub fn nb_free_exact(&mut self) -> u32 {
        match self.ring.free_now() {
            Ok(free) => free,
            Err(index) => self.broken(index) as u32,
        }
    }

    /// Makes the kernel look at the queue: polls the socket of `fd` for packets, at most `poll_timeout` milliseconds (-1: for
    /// ever, 0: not at all). A signal ends it.
    ///
    /// # Errors
    /// An error met before; the interface down or gone; whatever poll(2) refuses.
    pub fn wakeup(&self, fd: &mut Fd, poll_timeout: i32) -> io::Result<()> {
        self.deferred.report()?;
        self.poll(fd, poll_timeout).map_err(io::Error::from)
    }

    /// Whether the kernel has to be woken up to see what was put on the queue. In copy mode hardly ever.
    ///
    /// True as well when [`REKICK_AFTER`](xsk_core::ring::REKICK_AFTER) calls in a row saw nothing move.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }

    fn poll(&self, fd: &Fd, poll_timeout: i32) -> Result<(), crate::error::Error> {
        fd.shared().poll_ms(PollEvents::IN, poll_timeout, &self.idle).map(drop)
    }

    #[cold]
    fn broken(&self, index: xsk_core::ring::BrokenIndex) -> usize {
        self.deferred.put(self.shared.broken("fill", index));
        0
    }
}

impl fmt::Debug for FillQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f, "FillQueue").field("entries", &self.ring.capacity()).finish_non_exhaustive()
    }
}
