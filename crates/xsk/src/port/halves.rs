use std::borrow::BorrowMut;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::Sides;
use super::error::{NotSent, PortError};
use super::open::{Parts, open_all, open_port};
use super::receive::RxSide;
use super::transmit::TxSide;
use super::{BusyPollAdvice, Forwarded, Link, Mode, Port, PortConfig, PortStats, TxTimestamp, Verdict, wait};
use crate::backend::PollEvents;
use crate::error::{Diagnosis, Step};
use crate::packet::{Batch, Packet};
use crate::pool::{Cache, Pool};
use crate::queue::{Fd, IdlePolls};

/// A port that only receives, or the receiving half of one: RX and fill ring. From [`open`](Self::open) or [`Port::split`].
pub struct PortRx {
    pub(super) rx: RxSide,
    pub(super) cache: Cache,
    pub(super) link: Link,
}

/// A port that only sends, or the sending half of one: TX and completion ring. From [`open`](Self::open) or [`Port::split`].
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

const RX: Sides = Sides { rx: true, tx: false };
const TX: Sides = Sides { rx: false, tx: true };

impl PortRx {
    /// Opens a port that only receives: as [`Port::open`], without a TX ring and the memory for it.
    ///
    /// # Errors
    /// As [`Port::open`].
    pub fn open(pool: &Pool, interface: &str, queue: u32, config: PortConfig) -> Result<Self, PortError> {
        Self::of(open_port(pool, interface, queue, &config, RX, 1)?)
    }

    /// As [`Port::open_all`], for ports that only receive.
    ///
    /// # Errors
    /// As [`Port::open_all`].
    pub fn open_all(pool: &Pool, interface: &str, config: PortConfig) -> Result<Vec<Self>, PortError> {
        open_all(pool, interface, &config, RX)?.into_iter().map(Self::of).collect()
    }

    fn of(parts: Parts) -> Result<Self, PortError> {
        let Parts { rx, cache, link, .. } = parts;
        match rx {
            Some(rx) => Ok(Self { rx, cache, link }),
            None => Err(link.shared.error(Step::CheckConfig, Diagnosis::Unknown).into()),
        }
    }

    /// As [`Port::recv`].
    ///
    /// # Errors
    /// As [`Port::recv`].
    #[inline]
    pub fn recv(&mut self, batch: &mut Batch) -> Result<usize, PortError> {
        if batch.room() == 0 {
            return Ok(0);
        }
        self.rx.fill_up(&mut self.cache);
        self.rx.receive(batch)
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
        out.tx.refill(&mut self.rx, &mut self.cache);
        super::burst::forward(&mut self.rx, &mut out.tx, &mut self.cache, verdict)
    }

    /// As [`Port::for_each`].
    ///
    /// # Errors
    /// As [`Port::for_each`].
    #[inline]
    pub fn for_each(&mut self, show: impl FnMut(&mut Packet)) -> Result<usize, PortError> {
        super::burst::for_each(&mut self.rx, &mut self.cache, show)
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
        wait::wait::<Self>(&mut [self], timeout)
    }

    /// As [`Port::wait_any`].
    ///
    /// # Errors
    /// As [`Port::wait_any`].
    pub fn wait_any(
        ports: &mut [impl BorrowMut<Self>],
        timeout: Option<Duration>,
    ) -> Result<bool, PortError> {
        wait::wait::<Self>(ports, timeout)
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

    /// The name of its interface.
    pub fn interface(&self) -> &str {
        &self.link.shared.interface
    }

    /// Its queue.
    pub fn queue(&self) -> u32 {
        self.link.shared.queue
    }

    /// As [`Port::fd`].
    pub fn fd(&self) -> Fd {
        Fd::new(&self.link.shared)
    }
}

impl PortTx {
    /// Opens a port that only sends: as [`Port::open`], without an RX ring.
    ///
    /// Packets that arrive on the queue go where they went before. No XDP program is attached, unless
    /// [`PortConfig::attach`] asks for it: the drivers of some cards have queues for zero-copy sending only while there is one.
    /// It passes all packets to the network stack.
    ///
    /// In copy mode it has no frames on the fill ring. Where the driver has zero copy it has as many as a port that receives,
    /// unless [`PortConfig::fill_level`] says otherwise, or [`PortConfig::mode`] is copy mode: a zero-copy driver receives for
    /// the network stack as well into frames of the fill ring, and without any drops what arrives. They are given once,
    /// before the socket is bound, as some drivers want them then, and come home when the port is closed.
    ///
    /// # Errors
    /// As [`Port::open`].
    pub fn open(pool: &Pool, interface: &str, queue: u32, config: PortConfig) -> Result<Self, PortError> {
        Self::of(open_port(pool, interface, queue, &config, TX, 1)?)
    }

    /// Opens a port that only sends on each queue that sends, in order.
    ///
    /// # Errors
    /// As [`open`](Self::open). All or none.
    pub fn open_all(pool: &Pool, interface: &str, config: PortConfig) -> Result<Vec<Self>, PortError> {
        open_all(pool, interface, &config, TX)?.into_iter().map(Self::of).collect()
    }

    fn of(parts: Parts) -> Result<Self, PortError> {
        let Parts { tx, cache, link, .. } = parts;
        match tx {
            Some(tx) => Ok(Self { tx, cache, link }),
            None => Err(link.shared.error(Step::CheckConfig, Diagnosis::Unknown).into()),
        }
    }

    /// Waits until the TX ring is at most half full, at most for `timeout` (rounded up to milliseconds; `None`: for ever). False
    /// if it is fuller at the end of the time, or a signal ended the wait. Nothing tells of packets that were sent
    /// ([`flush`](Self::flush) looks).
    ///
    /// # Errors
    /// An error that was met before; the interface is down or gone.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, PortError> {
        self.tx.flush(&mut self.cache)?;
        self.link.poll(PollEvents::OUT, timeout)
    }

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

    /// As [`Port::tx_timestamp`].
    pub fn tx_timestamp(&mut self) -> Option<TxTimestamp> {
        self.tx.next_timestamp(&mut self.cache)
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

    /// The name of its interface.
    pub fn interface(&self) -> &str {
        &self.link.shared.interface
    }

    /// Its queue.
    pub fn queue(&self) -> u32 {
        self.link.shared.queue
    }

    /// As [`Port::fd`].
    pub fn fd(&self) -> Fd {
        Fd::new(&self.link.shared)
    }
}

impl fmt::Debug for PortRx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.debug(f, "PortRx", Some(&self.rx), None)
    }
}

impl fmt::Debug for PortTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.debug(f, "PortTx", None, Some(&self.tx))
    }
}
