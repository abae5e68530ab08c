use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use xsk_core::abi::xdp_statistics;

use super::shared::Shared;
use crate::backend::Handle;

/// A socket's file descriptor.
///
/// It keeps the socket open, so it never names a descriptor that belongs to something else. The queues do not use it
/// themselves: exchanging those of two queues changes which socket it reports on, and nothing more.
pub struct Fd {
    shared: Arc<Shared>,
}

impl Fd {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The socket as its backend knows it: on Linux the number of the file descriptor.
    pub fn handle(&self) -> Handle {
        self.shared.handle()
    }

    /// The file descriptor of the system this runs on, where the backend has one.
    #[cfg(target_os = "linux")]
    pub(crate) fn os(&self) -> Option<i32> {
        self.shared.backend().fd(self.shared.handle())
    }

    /// The descriptor to wait on with epoll and the like; `None` on a backend that has none.
    ///
    /// On Linux it is the socket, and waiting on it also transmits (`net/xdp/xsk.c:xsk_poll`). On a simulated kernel it
    /// becomes ready while that runs in the background, and waiting transmits nothing: wake the TX queue up.
    #[cfg(unix)]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let number = self.shared.backend().fd(self.shared.handle()).filter(|number| *number >= 0)?;
        // SAFETY: the backend keeps the descriptor open for as long as the socket's handle (`Backend::fd`), and `shared`
        // keeps that.
        Some(unsafe { BorrowedFd::borrow_raw(number) })
    }

    /// The socket's counters since it was opened. Reading does not reset them.
    pub fn xdp_statistics(&self) -> io::Result<XdpStatistics> {
        Ok(XdpStatistics(self.shared.statistics()?))
    }

    /// Whether the socket is bound in zero-copy mode; otherwise packets are copied (`XDP_OPTIONS`, Linux 5.3).
    pub fn is_zero_copy(&self) -> io::Result<bool> {
        self.shared.is_zero_copy()
    }
}

/// The number of its [`descriptor`](Fd::descriptor). On a backend without, -1, which every system call refuses with `EBADF`.
#[cfg(unix)]
impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor().map_or(-1, |descriptor| descriptor.as_raw_fd())
    }
}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fd").field("id", &self.handle().0).finish()
    }
}

/// Counters of a socket, in packets or descriptors (`net/xdp/xsk.c:xsk_getsockopt`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct XdpStatistics(xdp_statistics);

impl From<xdp_statistics> for XdpStatistics {
    fn from(counters: xdp_statistics) -> Self {
        Self(counters)
    }
}

impl XdpStatistics {
    /// Packets dropped because they were longer than a frame or there was no fill entry for them.
    pub fn rx_dropped(&self) -> u64 {
        self.0.rx_dropped
    }

    /// Fill entries that the kernel refused. Always 0 in copy mode.
    pub fn rx_invalid_descs(&self) -> u64 {
        self.0.rx_invalid_descs
    }

    /// TX descriptors that the kernel refused.
    pub fn tx_invalid_descs(&self) -> u64 {
        self.0.tx_invalid_descs
    }

    /// Packets dropped because the RX ring was full (Linux 5.9; 0 before).
    pub fn rx_ring_full(&self) -> u64 {
        self.0.rx_ring_full
    }

    /// Times the kernel wanted a frame and the fill ring was empty (Linux 5.9; 0 before).
    pub fn rx_fill_ring_empty_descs(&self) -> u64 {
        self.0.rx_fill_ring_empty_descs
    }

    /// Times the kernel looked for something to send and the TX ring was empty (Linux 5.9; 0 before).
    pub fn tx_ring_empty_descs(&self) -> u64 {
        self.0.tx_ring_empty_descs
    }
}
