use std::fmt;
use std::io;
use std::sync::Arc;

use xsk_core::abi::xdp_desc;

use super::shared::{Deferred, IdlePolls, Shared};
use super::{Fd, ProducerOf};
use crate::backend::PollEvents;
use crate::umem::frame::FrameDesc;

/// The TX queue of a socket: frames for the kernel to send.
///
/// Keeps the socket open. `Send` but not `Sync`: one thread at a time produces.
pub struct TxQueue {
    ring: ProducerOf<xdp_desc>,
    fd: Fd,
    shared: Arc<Shared>,
    deferred: Deferred,
    idle: IdlePolls,
}

impl TxQueue {
    pub(crate) fn new(ring: ProducerOf<xdp_desc>, shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self { ring, fd: Fd::new(&shared), shared, deferred: Deferred::default(), idle: IdlePolls::default() }
    }

    /// Puts all of `descs` on the queue, or none if they do not all fit, and returns how many. Never blocks.
    ///
    /// Each frame is sent with its address, data length and options. It is the kernel's from now on, until its address comes
    /// back on the completion queue. The kernel may have to be woken up: see [`needs_wakeup`](Self::needs_wakeup).
    ///
    /// An impossible ring index moves nothing here; the next call that can fail reports it.
    ///
    /// # Safety
    /// `descs` are of this queue's UMEM, and their frames the user's: not on any queue, in `descs` once each, and not read
    /// or written until they come back. A descriptor that the kernel refuses (length 0, out of its frame, unknown options)
    /// is counted, and on recent kernels comes back at once; TX metadata that it refuses stops the queue for good.
    #[inline]
    pub unsafe fn produce(&mut self, descs: &[FrameDesc]) -> usize {
        match self.ring.produce(descs, FrameDesc::transmit) {
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

    /// As [`produce`](Self::produce), then wakes the kernel up if it wants that, even if nothing was put on the queue.
    ///
    /// # Errors
    /// Frames that were put on the queue are never lost from the count: if some were and the wakeup fails, the result is
    /// their number, and the next call that can fail reports the wakeup's error.
    ///
    /// # Safety
    /// As [`produce`](Self::produce).
    #[inline]
    pub unsafe fn produce_and_wakeup(&mut self, descs: &[FrameDesc]) -> io::Result<usize> {
        self.deferred.report()?;
        // SAFETY: the same contract.
        let count = unsafe { self.produce(descs) };
        if count == 0 {
            self.deferred.report()?;
        }
        if self.needs_wakeup()
            && let Err(error) = self.shared.wake_tx()
        {
            if count == 0 {
                return Err(error.into());
            }
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
    pub unsafe fn produce_one_and_wakeup(&mut self, desc: &FrameDesc) -> io::Result<usize> {
        // SAFETY: the same contract.
        unsafe { self.produce_and_wakeup(std::slice::from_ref(desc)) }
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

    /// Makes the kernel transmit (`sendto`). Never blocks. In copy mode this sends what is on the queue, up to the kernel's
    /// budget of descriptors for one call.
    ///
    /// # Errors
    /// An error met before; the interface gone (ENXIO); TX metadata refused (EINVAL). That the kernel could not send just
    /// now (ENOBUFS, EAGAIN, EBUSY, ENETDOWN) is none.
    pub fn wakeup(&self) -> io::Result<()> {
        self.deferred.report()?;
        self.shared.wake_tx().map(drop).map_err(io::Error::from)
    }

    /// Whether the kernel has to be woken up to see what was put on the queue. In copy mode always, and always before
    /// Linux 5.4, which has no flag for it.
    ///
    /// True as well when [`REKICK_AFTER`](xsk_core::ring::REKICK_AFTER) calls in a row saw nothing move.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.shared.always_wake || self.ring.needs_wakeup()
    }

    /// Waits until the queue is at most half full, at most `poll_timeout` milliseconds (-1: for ever, 0: not at all). A
    /// signal counts as not. This also transmits.
    ///
    /// # Errors
    /// An error met before; the interface down or gone; whatever poll(2) refuses.
    pub fn poll(&mut self, poll_timeout: i32) -> io::Result<bool> {
        self.deferred.report()?;
        self.shared.poll_ms(PollEvents::OUT, poll_timeout, &self.idle).map_err(io::Error::from)
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
        self.deferred.put(self.shared.broken("TX", index));
        0
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f, "TxQueue").field("entries", &self.ring.capacity()).finish_non_exhaustive()
    }
}
