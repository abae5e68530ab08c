//! Ports: where packets come in and go out.

mod burst;
mod config;
mod error;
mod halves;
mod intake;
mod obstacle;
mod open;
mod policy;
mod receive;
mod stats;
mod timestamps;
#[cfg(all(unix, feature = "tokio"))]
mod tokio;
mod transmit;
mod trouble;
mod wait;

use std::borrow::BorrowMut;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use burst::{Forwarded, Verdict};
use config::Sides;
pub use config::{Mode, PortConfig};
pub use error::{NotSent, PortError, Reason, Violation, ViolationKind};
pub use halves::{PortRx, PortTx};
pub use obstacle::Obstacle;
use open::{Parts, Registration, open_all, open_port};
pub use policy::{BusyPoll, BusyPollAdvice, Policy};
use receive::RxSide;
pub use stats::{Loss, PortStats};
pub use timestamps::TxTimestamp;
#[cfg(all(unix, feature = "tokio"))]
pub use tokio::AsyncPort;
use transmit::TxSide;

use crate::backend::PollEvents;
use crate::error::{Diagnosis, Step};
use crate::packet::{Batch, Packet};
use crate::pool::{Cache, Pool};
use crate::queue::{Fd, IdlePolls, Shared};

/// One queue of an interface, open for packets in and out.
///
/// It receives into frames of its [`Pool`] and sends packets of it. What has to be done behind that it does itself, in batches:
/// frames go onto the fill ring, sent frames come back from the completion ring, and the kernel is woken up when it asks for
/// that.
///
/// While a port is open, what arrives on its queue goes to it and not to the network stack. When it is dropped the queue is
/// released, and the built-in XDP program detached with the last port of the interface.
///
/// A port may be moved to another thread, but is used by one at a time. [`split`](Self::split) makes two halves for two
/// threads. No method blocks, except opening (for a queue that is about to be released) and [`wait`](Self::wait).
///
/// # Errors
/// Every method that can fail fails with a [`PortError`] that says what, where, and what to do. Packets are not lost: what was
/// not sent is still in the batch, and an error that was met on the way of a call that moved packets is returned by the next
/// call that moves none. After an error the port goes on, unless its interface is gone.
pub struct Port {
    // The order is that of the teardown: rings, frames at hand, socket, and at last the frames that the kernel had.
    rx: RxSide,
    tx: TxSide,
    cache: Cache,
    link: Link,
}

const BOTH: Sides = Sides { rx: true, tx: true };

/// What the halves of a port share.
struct Link {
    shared: Arc<Shared>,
    mode: Mode,
    idle: IdlePolls,
    _registration: Arc<Registration>,
}

impl Port {
    /// Opens a port on queue `queue` of an interface. The interface is looked for in the network namespace of the calling
    /// thread.
    ///
    /// Unless told otherwise, it attaches the built-in XDP program to the interface, which leads the packets of the queue to
    /// the port.
    ///
    /// Blocks while the kernel releases a queue that was closed a moment ago, at most for
    /// [`PortConfig::busy_timeout`].
    ///
    /// # Errors
    /// Say the step, the interface, the queue, the value, the errno and what to do. Nothing is left behind.
    pub fn open(pool: &Pool, interface: &str, queue: u32, config: PortConfig) -> Result<Self, PortError> {
        Self::of(open_port(pool, interface, queue, &config, BOTH, 1)?)
    }

    /// Opens a port on each queue of an interface, in order.
    ///
    /// # Errors
    /// As [`open`](Self::open). All or none.
    pub fn open_all(pool: &Pool, interface: &str, config: PortConfig) -> Result<Vec<Self>, PortError> {
        open_all(pool, interface, &config, BOTH)?.into_iter().map(Self::of).collect()
    }

    fn of(parts: Parts) -> Result<Self, PortError> {
        let Parts { rx, tx, cache, link } = parts;
        match (rx, tx) {
            (Some(rx), Some(tx)) => Ok(Self { rx, tx, cache, link }),
            _ => Err(link.shared.error(Step::CheckConfig, Diagnosis::Unknown).into()),
        }
    }

    /// Receives the packets that wait, as far as the batch has room, and adds them at its end. Returns how many; 0 if there are
    /// none, and does not wait for any.
    ///
    /// # Errors
    /// Only if it received nothing.
    #[inline]
    pub fn recv(&mut self, batch: &mut Batch) -> Result<usize, PortError> {
        if batch.room() == 0 {
            return Ok(0);
        }
        self.tx.refill(&mut self.rx, &mut self.cache);
        self.rx.receive(batch)
    }

    /// Sends packets from the front of the batch, in order, as many as there is room for on the TX ring. Returns how many;
    /// the others stay in the batch.
    ///
    /// # Errors
    /// Only if it sent nothing: the port has failed, or the first packet can never be sent ([`Diagnosis::ForeignPool`],
    /// [`Diagnosis::EmptyPacket`], [`Diagnosis::TooManySegments`]). It is still in the batch.
    #[inline]
    pub fn send(&mut self, batch: &mut Batch) -> Result<usize, PortError> {
        if batch.is_empty() {
            return Ok(0);
        }
        self.tx.send(&mut self.cache, batch)
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// Give the packet back, and say why.
    // The packet is what the caller wants back; it is small.
    #[inline]
    pub fn send_one(&mut self, packet: Packet) -> Result<(), NotSent> {
        self.tx.send_one(&mut self.cache, packet).map_err(not_sent)
    }

    /// Shows the packets that wait, up to 64 and up to the room on the TX ring, and sends those for which `verdict` says so, out
    /// of the same port. For packets that go through, this is the fastest way: they are given to nobody in between.
    ///
    /// `verdict` may change the packet as it likes, also exchange it for another one of the same pool
    /// ([`std::mem::replace`]) to keep it.
    ///
    /// # Errors
    /// Only if no packet was there.
    #[inline]
    pub fn forward(&mut self, verdict: impl FnMut(&mut Packet) -> Verdict) -> Result<Forwarded, PortError> {
        self.tx.refill(&mut self.rx, &mut self.cache);
        burst::forward(&mut self.rx, &mut self.tx, &mut self.cache, verdict)
    }

    /// As [`forward`](Self::forward), out of another port of the same pool.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Diagnosis::ForeignPool`] if `out` is of another pool.
    #[inline]
    pub fn forward_to(
        &mut self,
        out: &mut Self,
        verdict: impl FnMut(&mut Packet) -> Verdict,
    ) -> Result<Forwarded, PortError> {
        self.tx.reap(&mut self.cache);
        check_pool(&self.rx, &out.tx)?;
        out.tx.refill(&mut self.rx, &mut self.cache);
        burst::forward(&mut self.rx, &mut out.tx, &mut self.cache, verdict)
    }

    /// Shows the packets that wait, up to 64, and receives into their frames again. Returns how many.
    ///
    /// # Errors
    /// Only if no packet was there.
    #[inline]
    pub fn for_each(&mut self, show: impl FnMut(&mut Packet)) -> Result<usize, PortError> {
        self.tx.refill(&mut self.rx, &mut self.cache);
        burst::for_each(&mut self.rx, &mut self.cache, show)
    }

    /// An empty packet, ready to be written; `None` if there is no free frame.
    #[inline]
    pub fn packet(&mut self) -> Option<Packet> {
        packet(&mut self.cache, &mut self.tx)
    }

    /// Adds empty packets to the batch until it is full, or there are no free frames. Returns how many.
    pub fn packets(&mut self, batch: &mut Batch) -> usize {
        packets(&mut self.cache, &mut self.tx, batch)
    }

    /// Takes packets back, to be received into again. As dropping them, but cheaper.
    pub fn recycle(&mut self, batch: &mut Batch) {
        recycle(&mut self.cache, batch);
        self.rx.top_up(&mut self.cache);
    }

    /// Makes the kernel send, if it wants to be asked, and takes back what was sent. Returns how many frames of packets that
    /// were sent are not back yet.
    ///
    /// Sending and receiving do this as well. It is for a port that only sends, and waits for the end.
    ///
    /// # Errors
    /// An error that was met before, or the interface is gone.
    pub fn flush(&mut self) -> Result<usize, PortError> {
        self.tx.flush(&mut self.cache)
    }

    /// When a packet was sent that [asked for it](Packet::request_timestamp): the next one that is back, in the order in which
    /// the kernel gives them back. It looks for those first, as [`flush`](Self::flush) does, but wakes nobody.
    ///
    /// As many are kept as the TX and the completion ring together have entries; of more, the oldest are thrown away
    /// ([`PortStats::timestamps_lost`]).
    pub fn tx_timestamp(&mut self) -> Option<TxTimestamp> {
        self.tx.next_timestamp(&mut self.cache)
    }

    /// Waits until a packet is there, at most for `timeout` (rounded up to milliseconds; `None`: for ever). False if none came
    /// in time, or a signal ended the wait. With [`BusyPoll`] it polls for a while before it sleeps.
    ///
    /// What is on the TX ring goes out meanwhile. If the kernel cannot take all of it at once, as it has no room to report it on the
    /// completion ring, that is looked at after a millisecond, and again and again, ever later if nothing moves, for half a second.
    ///
    /// # Errors
    /// An error that was met before; the interface is down or gone. The kernel wakes nobody for that: it is found within a
    /// quarter of a second, and by waits of no time after 64 at most.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, PortError> {
        wait::wait::<Self>(&mut [self], timeout)
    }

    /// As [`wait`](Self::wait), for whichever of several ports has a packet first. Which it is they say when they are asked to
    /// receive, at little cost.
    ///
    /// They may be of different pools, but are of one kernel. With [`BusyPoll`] on some they all are asked in turn, for the
    /// longest of their times, before it sleeps. Without ports it is over at once. For more than 16 it allocates memory.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use xsk::Port;
    /// # use xsk::port::{PortError, Verdict};
    /// fn turn(left: &mut Port, right: &mut Port) -> Result<(), PortError> {
    ///     Port::wait_any(&mut [&mut *left, &mut *right], Some(Duration::from_secs(1)))?;
    ///     left.forward_to(right, |_| Verdict::Send)?;
    ///     right.forward_to(left, |_| Verdict::Send)?;
    ///     Ok(())
    /// }
    /// # fn all(mut ports: Vec<Port>) -> Result<bool, PortError> {
    /// Port::wait_any(&mut ports, None)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Self::wait): the error of the first port that has one, which names its interface and queue.
    /// [`Diagnosis::ForeignKernel`], if not all their pools are on one backend.
    pub fn wait_any(
        ports: &mut [impl BorrowMut<Self>],
        timeout: Option<Duration>,
    ) -> Result<bool, PortError> {
        wait::wait::<Self>(ports, timeout)
    }

    /// The counters and the fill of its rings. Makes a system call.
    ///
    /// # Errors
    /// What the kernel refuses; it should not.
    pub fn stats(&mut self) -> Result<PortStats, PortError> {
        stats::snapshot(Some(&mut self.rx), Some(&mut self.tx), &self.link.shared, self.link.mode)
    }

    /// What keeps [busy polling](BusyPoll) from working on this port; nothing, if it does work. Each says what to do.
    ///
    /// The interface's settings are looked at, and the socket is asked whether the kernel knows whom to poll.
    ///
    /// # Errors
    /// The kernel does not answer; it should.
    pub fn busy_poll_advice(&self) -> Result<Vec<BusyPollAdvice>, PortError> {
        policy::advice(&self.link.shared, self.rx.polls_for.is_some())
    }

    /// Whether packets are copied, as it really came out. Where the kernel does not say (before 5.3), zero copy is assumed.
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

    /// Its socket, as the ring tier has it: its file descriptor, and the handle by which the backend knows it.
    pub fn fd(&self) -> Fd {
        Fd::new(&self.link.shared)
    }

    /// Its file descriptor, for epoll and its like: readable when a packet is there, writable when the TX ring is at most half
    /// full. `None` on a backend without. To be read and written by the port alone.
    ///
    /// Before it is waited for, [`recv`](Self::recv) has to find nothing: that gives the kernel the frames to receive into, and
    /// where events are edges (mio) no other comes. There are no events for packets that were sent, which
    /// [`flush`](Self::flush) looks for, nor for an interface that is down or gone: a [`wait`](Self::wait) of a millisecond now
    /// and then is an error there.
    #[cfg(unix)]
    pub fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.link.poll_fd()
    }

    /// Two halves, one that receives and one that sends, for a thread each. The port is closed when both are dropped.
    pub fn split(self) -> (PortRx, PortTx) {
        halves::split(self)
    }
}

/// Its socket. On a backend without file descriptors: the socket's handle, which no descriptor of the process has as its number.
#[cfg(unix)]
impl std::os::fd::AsRawFd for Port {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        Fd::new(&self.link.shared).as_raw_fd()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.debug(f, "Port", Some(&self.rx), Some(&self.tx))
    }
}

fn not_sent((packet, error): (Packet, Option<PortError>)) -> NotSent {
    NotSent { packet, error: error.map_or(Reason::Full, Reason::Error) }
}

fn check_pool(rx: &RxSide, tx: &TxSide) -> Result<(), PortError> {
    if rx.pool == tx.pool {
        return Ok(());
    }
    Err(tx.shared.error(Step::MoveDescriptors, Diagnosis::ForeignPool).into())
}

#[inline]
fn packet(cache: &mut Cache, tx: &mut TxSide) -> Option<Packet> {
    if cache.len() == 0 {
        tx.reap(cache);
    }
    let frame = cache.take()?;
    Some(cache.pool().empty_packet(frame))
}

fn packets(cache: &mut Cache, tx: &mut TxSide, batch: &mut Batch) -> usize {
    let before = batch.len();
    while batch.room() > 0 {
        let Some(packet) = packet(cache, tx) else { break };
        batch.put(packet);
    }
    batch.len() - before
}

fn recycle(cache: &mut Cache, batch: &mut Batch) {
    let pointer = cache.pool().pointer();
    for packet in batch.drain() {
        // Others go the long way.
        if packet.is_of(pointer) && packet.is_linear() {
            cache.make_room();
            cache.put(packet.frame());
            packet.into_frames();
        }
    }
}

impl Link {
    #[cfg(unix)]
    fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        let fd = self.shared.backend().fd(self.shared.handle())?;
        // SAFETY: the descriptor is that of the socket, which stays open as long as `shared` lives, and so this borrow.
        Some(unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) })
    }

    /// Whether one of these has happened within the time.
    fn poll(&self, events: PollEvents, timeout: Option<Duration>) -> Result<bool, PortError> {
        Ok(self.shared.poll(events, wait::whole_milliseconds(timeout), &self.idle)?)
    }

    /// A port, or half of one, for debug output.
    fn debug(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        rx: Option<&RxSide>,
        tx: Option<&TxSide>,
    ) -> fmt::Result {
        let mut debug = self.shared.debug(f, name);
        debug.field("mode", &self.mode);
        if let Some(rx) = rx {
            debug.field("rx_ring", &rx.ring.capacity()).field("fill_ring", &rx.fill.capacity());
        }
        if let Some(tx) = tx {
            debug.field("tx_ring", &tx.ring.capacity()).field("completion_ring", &tx.completion.capacity());
        }
        debug.finish_non_exhaustive()
    }
}
