//! The receiving half of a port: its fill and RX rings.

use std::io;

use xsk::socket::XdpStatistics;
use xsk::{FillQueue, FrameDesc, RxQueue};

use super::Traffic;
use super::pool::Pool;

pub(super) struct Receiver {
    rx: RxQueue,
    fill: FillQueue,
    /// Frames that the kernel shall have.
    level: u32,
    /// Frames that it has, or that wait on the RX ring.
    pub(super) with_kernel: u32,
    /// The front of a packet whose end has not come yet.
    pub(super) partial: Vec<FrameDesc>,
    pub(super) received: Traffic,
    /// The kernel gave more frames than it had.
    overdrawn: bool,
}

impl Receiver {
    pub(super) fn new(rx: RxQueue, fill: FillQueue, level: u32) -> Self {
        let received = Traffic::default();
        Self { rx, fill, level, with_kernel: 0, partial: Vec::new(), received, overdrawn: false }
    }

    /// Moves whole packets of at most about `count` descriptors to `hand`.
    pub(super) fn receive(&mut self, hand: &mut Vec<FrameDesc>, count: usize) {
        hand.append(&mut self.partial);
        let first = hand.len();
        let moved = Pool::receive(&mut self.rx, hand, count);
        for desc in &hand[first..] {
            self.received.bytes += desc.lengths().data() as u64;
            self.received.packets += u64::from(!desc.has_more_frames());
        }
        self.overdrawn |= moved > self.with_kernel;
        self.with_kernel = self.with_kernel.saturating_sub(moved);
        let whole = hand.iter().rposition(|desc| !desc.has_more_frames()).map_or(0, |last| last + 1);
        self.partial.extend(hand.drain(whole..));
    }

    /// Tops the fill ring up if it lacks `least` frames or a quarter of its level.
    pub(super) fn refill(&mut self, pool: &mut Pool, least: usize) -> io::Result<()> {
        let lack = self.level.saturating_sub(self.with_kernel) as usize;
        if lack == 0 || lack < least.min(self.level as usize / 4) {
            return Ok(());
        }
        let count = lack.min(self.fill.nb_free(lack as u32) as usize);
        self.with_kernel += pool.fill(&mut self.fill, count);
        if self.fill.needs_wakeup() { self.fill.wakeup(self.rx.fd_mut(), 0) } else { Ok(()) }
    }

    /// What went wrong where nothing could be said.
    pub(super) fn check(&mut self) -> io::Result<()> {
        if self.overdrawn {
            return Err(io::Error::other("the kernel delivered more frames than it was given"));
        }
        Ok(())
    }

    pub(super) fn statistics(&self) -> Option<XdpStatistics> {
        self.rx.fd().xdp_statistics().ok()
    }

    pub(super) fn explain(&mut self) -> Option<io::Error> {
        self.rx.poll(1).err()
    }
}
