use std::fmt;

use super::Mode;
use super::error::PortError;
use super::receive::RxSide;
use super::transmit::TxSide;
use crate::queue::{Shared, XdpStatistics};

/// The counters of a port since it was opened, and what its rings hold at this moment: see
/// [`Port::stats`](super::Port::stats).
///
/// All are in packets, but for packets of several segments the rings count segments.
///
/// Where packets went that did not come out:
///
/// | what happened | is seen in |
/// |---|---|
/// | no frame on the fill ring; RX ring full; longer than a frame; a descriptor that cannot be right | [`losses`](Self::losses), here |
/// | no program, or another one; another queue; interface down, or without carrier | [`Port::obstacles`](super::Port::obstacles) |
/// | the card had no room; the program dropped it, or led it to a socket of another queue | [`Port::interface_counters`](super::Port::interface_counters), where the driver counts it |
/// | on sending: longer than the device takes; no carrier | [`tx_dropped`](Self::tx_dropped), in copy mode; [`Port::interface_counters`](super::Port::interface_counters) |
/// | on sending: not yet done | [`tx_waiting`](Self::tx_waiting) and [`unfinished`](Self::unfinished) |
///
/// In SKB mode Linux counts nowhere what an XDP program dropped, or could not redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PortStats {
    /// Packets that the port received.
    pub received: u64,
    /// Packets that the port put on its TX ring.
    pub sent: u64,
    /// Descriptors from the kernel that could not be right.
    pub violations: u64,
    /// System calls to wake the receiving side of the kernel.
    pub rx_wakeups: u64,
    /// System calls to wake the sending side.
    pub tx_wakeups: u64,
    /// Packets dropped because there was no frame on the fill ring. In zero-copy mode: how often the driver found none, which
    /// loses packets only if it lasts.
    pub no_frame: u64,
    /// Packets dropped because they were longer than a frame, or (zero copy) for another reason of the driver's.
    pub too_long: u64,
    /// Packets dropped because the RX ring was full (Linux 5.9; 0 before).
    pub rx_ring_full: u64,
    /// Packets that the driver dropped while a wakeup sent them (copy mode): they were longer than the device takes, its own
    /// queue was full, or it has no carrier (`net/xdp/xsk.c:__xsk_generic_xmit`).
    pub tx_dropped: u64,
    /// TX descriptors that the kernel refused. None of a port should be.
    pub tx_refused: u64,
    /// Timestamps that were thrown away, as nobody took them: see [`Port::tx_timestamp`](super::Port::tx_timestamp).
    pub timestamps_lost: u64,
    /// Packets that wait to be received.
    pub rx_waiting: u32,
    /// Packets that wait to be sent.
    pub tx_waiting: u32,
    /// Frames that wait to be received into.
    pub fill_waiting: u32,
    /// Frames on the TX ring, with the kernel to be sent, or on the completion ring.
    pub unfinished: u32,
}

/// Where packets were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// [`PortStats::no_frame`].
    NoFrame,
    /// [`PortStats::too_long`].
    TooLong,
    /// [`PortStats::rx_ring_full`].
    RxRingFull,
    /// [`PortStats::tx_dropped`].
    TxDropped,
    /// [`PortStats::tx_refused`].
    TxRefused,
    /// [`PortStats::violations`].
    Violation,
}

impl fmt::Display for Loss {
    /// What happened, and what helps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFrame => {
                "no frame on the fill ring: receive more often, hold fewer packets, or make the pool larger"
            }
            Self::TooLong => "longer than a frame: larger frames, a lower MTU, or PortConfig::multi_buffer",
            Self::RxRingFull => "the RX ring was full: receive more often, or make it larger",
            Self::TxDropped => {
                "the driver dropped it on sending: longer than it takes, its queue full, or no carrier"
            }
            Self::TxRefused => "the kernel refused a TX descriptor",
            Self::Violation => "the kernel published a descriptor that could not be right",
        })
    }
}

impl PortStats {
    /// What was counted since an earlier snapshot of the same port. What the rings hold stays as it is.
    pub fn since(&self, earlier: &Self) -> Self {
        let counted = |now: u64, then: u64| now.wrapping_sub(then);
        Self {
            received: counted(self.received, earlier.received),
            sent: counted(self.sent, earlier.sent),
            violations: counted(self.violations, earlier.violations),
            rx_wakeups: counted(self.rx_wakeups, earlier.rx_wakeups),
            tx_wakeups: counted(self.tx_wakeups, earlier.tx_wakeups),
            no_frame: counted(self.no_frame, earlier.no_frame),
            too_long: counted(self.too_long, earlier.too_long),
            rx_ring_full: counted(self.rx_ring_full, earlier.rx_ring_full),
            tx_dropped: counted(self.tx_dropped, earlier.tx_dropped),
            tx_refused: counted(self.tx_refused, earlier.tx_refused),
            timestamps_lost: counted(self.timestamps_lost, earlier.timestamps_lost),
            ..*self
        }
    }

    /// Where packets were lost, and how many: only what is not 0.
    pub fn losses(&self) -> impl Iterator<Item = (Loss, u64)> {
        let all = [
            (Loss::NoFrame, self.no_frame),
            (Loss::TooLong, self.too_long),
            (Loss::RxRingFull, self.rx_ring_full),
            (Loss::TxDropped, self.tx_dropped),
            (Loss::TxRefused, self.tx_refused),
            (Loss::Violation, self.violations),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }
}

/// What the kernel counts of a socket, by cause.
fn of_kernel(kernel: XdpStatistics, mode: Mode) -> PortStats {
    let no_frame = kernel.rx_fill_ring_empty_descs();
    // In copy mode each of these is among the dropped as well.
    let of_these = if mode == Mode::Copy { no_frame } else { 0 };
    PortStats {
        no_frame,
        too_long: kernel.rx_dropped().saturating_sub(of_these),
        rx_ring_full: kernel.rx_ring_full(),
        tx_refused: kernel.tx_invalid_descs(),
        ..PortStats::default()
    }
}

/// A snapshot of a port, or of one half of it.
pub(super) fn snapshot(
    rx: Option<&mut RxSide>,
    tx: Option<&mut TxSide>,
    shared: &Shared,
    mode: Mode,
) -> Result<PortStats, PortError> {
    let kernel = of_kernel(shared.statistics()?.into(), mode);
    let mut stats = PortStats::default();
    if let Some(rx) = rx {
        (stats.no_frame, stats.too_long) = (kernel.no_frame, kernel.too_long);
        stats.rx_ring_full = kernel.rx_ring_full;
        stats.received = rx.received;
        stats.rx_wakeups = rx.wakeups;
        stats.violations += rx.trouble.violations;
        stats.rx_waiting = rx.ring.available_now().unwrap_or(0);
        stats.fill_waiting = rx.fill.outstanding().unwrap_or(0);
    }
    if let Some(tx) = tx {
        stats.tx_refused = kernel.tx_refused;
        stats.sent = tx.sent;
        stats.timestamps_lost = tx.timestamps.lost();
        stats.tx_dropped = tx.dropped;
        stats.tx_wakeups = tx.wakeups;
        stats.violations += tx.trouble.violations;
        stats.tx_waiting = tx.ring.outstanding().unwrap_or(0);
        stats.unfinished = tx.outstanding();
    }
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use xsk_core::abi::xdp_statistics;

    use super::*;

    #[test]
    fn what_the_kernel_counts_has_its_cause() {
        let mut kernel = xdp_statistics::default();
        (kernel.rx_dropped, kernel.rx_fill_ring_empty_descs) = (10, 4);
        (kernel.rx_ring_full, kernel.tx_invalid_descs) = (3, 2);
        let losses = |mode| of_kernel(kernel.into(), mode).losses().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(losses(Mode::Copy), [4, 6, 3, 2]);
        assert_eq!(losses(Mode::ZeroCopy), [4, 10, 3, 2]);
        let causes: Vec<Loss> = of_kernel(kernel.into(), Mode::Copy).losses().map(|(loss, _)| loss).collect();
        assert_eq!(causes, [Loss::NoFrame, Loss::TooLong, Loss::RxRingFull, Loss::TxRefused]);
    }

    #[test]
    fn what_was_counted_between_and_what_waits_now() {
        let at = |n: u64| PortStats {
            received: n,
            sent: 2 * n,
            violations: 3 * n,
            rx_wakeups: 4 * n,
            tx_wakeups: 5 * n,
            no_frame: 6 * n,
            too_long: 7 * n,
            rx_ring_full: 8 * n,
            tx_dropped: 9 * n,
            tx_refused: 10 * n,
            timestamps_lost: 11 * n,
            rx_waiting: 1,
            tx_waiting: 2,
            fill_waiting: 3,
            unfinished: 4,
        };
        assert_eq!(at(107).since(&at(100)), at(7));
    }
}
