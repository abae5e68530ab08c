use std::fmt;
use std::io;
use std::sync::Arc;

use xsk_core::abi::xdp_statistics;

use super::shared::Shared;
#[cfg(target_os = "linux")]
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

    #[cfg(target_os = "linux")]
    pub(crate) fn handle(&self) -> Handle {
        self.shared.handle()
    }

    /// The file descriptor of the system this runs on, where the backend has one.
    pub(crate) fn os(&self) -> Option<i32> {
        self.shared.backend().fd(self.shared.handle())
    }

    fn raw(&self) -> i32 {
        self.os().unwrap_or(self.shared.handle().0)
    }

    /// The socket's counters since it was opened. Reading does not reset them.
    pub fn xdp_statistics(&self) -> io::Result<XdpStatistics> {
        self.shared.statistics().map(XdpStatistics)
    }

    /// Whether the socket is bound in zero-copy mode; otherwise packets are copied (`XDP_OPTIONS`, Linux 5.3).
    pub fn is_zero_copy(&self) -> io::Result<bool> {
        self.shared.is_zero_copy()
    }
}

/// On a backend without file descriptors: the socket's handle, which no descriptor of the process has as its number.
#[cfg(unix)]
impl std::os::fd::AsRawFd for Fd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.raw()
    }
}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fd").field("id", &self.raw()).finish()
    }
}

/// Counters of a socket, in packets or descriptors (`net/xdp/xsk.c:xsk_getsockopt`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct XdpStatistics(xdp_statistics);

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
