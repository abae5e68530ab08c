use std::sync::Arc;
use std::time::Duration;

use super::error::{NotSent, PortError};
use super::receive::RxSide;
use super::transmit::TxSide;
use super::{BusyPollAdvice, Forwarded, Link, Mode, Port, PortStats, Verdict};
use crate::packet::{Batch, Packet};
use crate::pool::{Cache, Pool};
use crate::queue::IdlePolls;

/// The receiving half of a [`Port`]: its RX and fill rings. See [`Port::split`].
#[derive(Debug)]
pub struct PortRx {
    rx: RxSide,
    cache: Cache,
    pub(super) link: Link,
}

/// The sending half of a [`Port`]: its TX and completion rings. See [`Port::split`].
#[derive(Debug)]
pub struct PortTx {
    tx: TxSide,
    cache: Cache,
    pub(super) link: Link,
}

pub(super) fn split(port: Port) -> (PortRx, PortTx) {
    let Port { rx, tx, cache, link } = port;
    let other = Link {
        shared: Arc::clone(&link.shared),
        mode: link.mode,
        idle: IdlePolls::default(),
        _registration: Arc::clone(&link._registration),
    };
    let frames = Cache::new(cache.pool());
    (PortRx { rx, cache, link }, PortTx { tx, cache: frames, link: other })
}

impl PortRx {
    /// As [`Port::recv`].
    ///
    /// # Errors
    /// As [`Port::recv`].
    #[inline]
    pub fn recv(&mut self, batch: &mut Batch) -> Result<usize, PortError> {
        if batch.room() == 0 {
            return Ok(0);
        }
        self.rx.receive(&mut self.cache, batch)
    }

    /// As [`Port::forward_to`], through the sending half of any port of the same pool.
    ///
    /// # Errors
    /// As [`Port::forward_to`].
    #[inline]
    pub fn forward_to(
        &mut self,
        out: &mut PortTx,
        verdict: impl FnMut(&mut Packet) -> Verdict,
    ) -> Result<Forwarded, PortError> {
        super::check_pool(&self.rx, &out.tx)?;
        super::burst::run(&mut self.rx, Some(&mut out.tx), &mut self.cache, verdict)
    }

    /// As [`Port::for_each`].
    ///
    /// # Errors
    /// As [`Port::for_each`].
    #[inline]
    pub fn for_each(&mut self, mut show: impl FnMut(&mut Packet)) -> Result<usize, PortError> {
        super::for_each(&mut self.rx, &mut self.cache, &mut show)
    }

    /// As [`Port::recycle`].
    pub fn recycle(&mut self, batch: &mut Batch) {
        super::recycle(&mut self.cache, batch);
        self.rx.top_up(&mut self.cache);
    }

    /// As [`Port::wait`].
    ///
    /// # Errors
    /// As [`Port::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, PortError> {
        self.link.wait(&mut self.rx, &mut self.cache, timeout)
    }

    /// As [`Port::stats`], of the receiving side.
    ///
    /// # Errors
    /// As [`Port::stats`].
    pub fn stats(&mut self) -> Result<PortStats, PortError> {
        super::stats::snapshot(Some(&mut self.rx), None, &self.link.shared, self.link.mode)
    }

    /// As [`Port::busy_poll_advice`].
    ///
    /// # Errors
    /// As [`Port::busy_poll_advice`].
    pub fn busy_poll_advice(&self) -> Result<Vec<BusyPollAdvice>, PortError> {
        super::policy::advice(&self.link.shared, self.rx.polls_for.is_some())
    }

    /// As [`Port::poll_fd`].
    #[cfg(unix)]
    pub fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.link.poll_fd()
    }

    /// As [`Port::mode`].
    pub fn mode(&self) -> Mode {
        self.link.mode
    }

    /// Its pool.
    pub fn pool(&self) -> &Pool {
        self.cache.pool()
    }
}

impl PortTx {
    /// As [`Port::send`].
    ///
    /// # Errors
    /// As [`Port::send`].
    #[inline]
    pub fn send(&mut self, batch: &mut Batch) -> Result<usize, PortError> {
        if batch.is_empty() {
            return Ok(0);
        }
        self.tx.send(&mut self.cache, batch)
    }

    /// As [`Port::send_one`].
    ///
    /// # Errors
    /// As [`Port::send_one`].
    #[inline]
    pub fn send_one(&mut self, packet: Packet) -> Result<(), NotSent> {
        self.tx.send_one(&mut self.cache, packet).map_err(super::not_sent)
    }

    /// As [`Port::packet`].
    #[inline]
    pub fn packet(&mut self) -> Option<Packet> {
        super::packet(&mut self.cache, &mut self.tx)
    }

    /// As [`Port::packets`].
    pub fn packets(&mut self, batch: &mut Batch) -> usize {
        super::packets(&mut self.cache, &mut self.tx, batch)
    }

    /// As [`Port::flush`].
    ///
    /// # Errors
    /// As [`Port::flush`].
    pub fn flush(&mut self) -> Result<usize, PortError> {
        self.tx.flush(&mut self.cache)
    }

    /// As [`Port::stats`], of the sending side.
    ///
    /// # Errors
    /// As [`Port::stats`].
    pub fn stats(&mut self) -> Result<PortStats, PortError> {
        super::stats::snapshot(None, Some(&mut self.tx), &self.link.shared, self.link.mode)
    }

    /// As [`Port::poll_fd`].
    #[cfg(unix)]
    pub fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.link.poll_fd()
    }

    /// As [`Port::mode`].
    pub fn mode(&self) -> Mode {
        self.link.mode
    }

    /// Its pool.
    pub fn pool(&self) -> &Pool {
        self.cache.pool()
    }
}
