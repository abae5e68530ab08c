use std::fmt;
use std::io;
use std::sync::Arc;

use xsk_core::abi::xdp_desc;

use super::shared::{Deferred, IdlePolls, Shared};
use super::{ConsumerOf, Fd};
use crate::backend::PollEvents;
use crate::umem::frame::FrameDesc;

/// The RX queue of a socket: frames that the kernel filled with packets.
///
/// Keeps the socket open. `Send` but not `Sync`: one thread at a time consumes.
pub struct RxQueue {
    ring: ConsumerOf<xdp_desc>,
    fd: Fd,
    shared: Arc<Shared>,
    deferred: Deferred,
    idle: IdlePolls,
}

impl RxQueue {
    pub(crate) fn new(ring: ConsumerOf<xdp_desc>, shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self { ring, fd: Fd::new(&shared), shared, deferred: Deferred::default(), idle: IdlePolls::default() }
    }

    /// Takes received packets: sets `descs` from the front and returns how many. Never blocks; the others stay as they are.
    ///
    /// Each frame is the user's from now on, until it is put on a fill or TX queue. A packet of several frames has
    /// [`has_more_frames`](FrameDesc::has_more_frames) set on all but its last.
    ///
    /// An impossible ring index moves nothing here; the next call that can fail reports it.
    ///
    /// # Safety
    /// `descs` are used with the UMEM of this queue only.
    #[inline]
    pub unsafe fn consume(&mut self, descs: &mut [FrameDesc]) -> usize {
        match self.ring.consume(descs, FrameDesc::receive) {
            Ok(count) => count as usize,
            Err(index) => self.broken(index),
        }
    }

    /// As [`consume`](Self::consume), for one packet.
    ///
    /// # Safety
    /// As [`consume`](Self::consume).
    #[inline]
    pub unsafe fn consume_one(&mut self, desc: &mut FrameDesc) -> usize {
        // SAFETY: the same contract.
        unsafe { self.consume(std::slice::from_mut(desc)) }
    }

    /// Waits for a packet as [`poll`](Self::poll) does, then consumes. 0 if none came in time.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    ///
    /// # Safety
    /// As [`consume`](Self::consume).
    #[inline]
    pub unsafe fn poll_and_consume(
        &mut self,
        descs: &mut [FrameDesc],
        poll_timeout: i32,
    ) -> io::Result<usize> {
        if !self.poll(poll_timeout)? {
            return Ok(0);
        }
        // SAFETY: the same contract.
        let count = unsafe { self.consume(descs) };
        if count == 0 {
            self.deferred.report()?;
        }
        Ok(count)
    }

    /// As [`poll_and_consume`](Self::poll_and_consume), for one packet.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    ///
    /// # Safety
    /// As [`consume`](Self::consume).
    #[inline]
    pub unsafe fn poll_and_consume_one(
        &mut self,
        desc: &mut FrameDesc,
        poll_timeout: i32,
    ) -> io::Result<usize> {
        // SAFETY: the same contract.
        unsafe { self.poll_and_consume(std::slice::from_mut(desc), poll_timeout) }
    }

    /// Packets that wait, at most `nb`. Looks at the ring only if it knows of none.
    #[inline]
    pub fn nb_avail(&mut self, nb: u32) -> u32 {
        match self.ring.available(1) {
            Ok(available) => available.min(nb),
            Err(index) => self.broken(index) as u32,
        }
    }

    /// Packets that wait at this moment.
    #[inline]
    pub fn nb_avail_exact(&mut self) -> u32 {
        match self.ring.available_now() {
            Ok(available) => available,
            Err(index) => self.broken(index) as u32,
        }
    }

    /// Waits until packets wait, at most `poll_timeout` milliseconds (-1: for ever, 0: not at all). A signal counts as
    /// none. On a socket with a TX queue this also transmits.
    ///
    /// # Errors
    /// An impossible ring index met before; the interface down or gone; whatever poll(2) refuses.
    pub fn poll(&mut self, poll_timeout: i32) -> io::Result<bool> {
        self.deferred.report()?;
        self.shared.poll_ms(PollEvents::IN, poll_timeout, &self.idle).map_err(io::Error::from)
    }

    /// The socket's file descriptor.
    pub fn fd(&self) -> &Fd {
        &self.fd
    }

    /// The socket's file descriptor, for the wakeups of a fill queue.
    pub fn fd_mut(&mut self) -> &mut Fd {
        &mut self.fd
    }

    #[cold]
    fn broken(&self, index: xsk_core::ring::BrokenIndex) -> usize {
        self.deferred.put(self.shared.broken("RX", index));
        0
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f, "RxQueue").field("entries", &self.ring.capacity()).finish_non_exhaustive()
    }
}
