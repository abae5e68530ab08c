//! Packets in, packets out: the only module that knows frames, rings and wakeups, and the only one with `unsafe`.
//!
//! A [`Datapath`] is a set of ports, each one queue of an interface, on one UMEM, used by one thread. Every frame is at
//! every moment in one place: in the pool, with the kernel's receiving half of a port (fill ring, RX ring), with its
//! sending half (TX ring, completion ring), or, within a call, in a list of this module. A descriptor is only ever moved
//! from one of these places to the next; that is the invariant on which all `unsafe` here rests. What a port may leave
//! with the kernel is bounded, so that the pool never runs dry, whichever port the frames wander to.

mod open;
mod pool;
mod receiver;
mod sender;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xsk::FrameDesc;
use xsk::backend::{Backend, Handle, Poll, PollEvents};
use xsk::error::{Error, errno};

pub(crate) use open::{Need, Request, backend, interface};
use pool::Pool;
use receiver::Receiver;
use sender::Sender;

/// What becomes of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    /// Send it from the port of this number.
    Send(usize),
}

/// Packets, and bytes of them: Ethernet header included, FCS not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Packets lost, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Drops {
    /// The kernel had no frame to receive into, or the packet was longer than one.
    pub(crate) no_frame: u64,
    /// The RX ring was full.
    pub(crate) rx_ring_full: u64,
    /// Too many frames were waiting to be sent.
    pub(crate) tx_full: u64,
    /// The driver refused: its own queue was full, or there was no carrier.
    pub(crate) tx_refused: u64,
    /// The kernel refused the descriptor.
    pub(crate) tx_invalid: u64,
}

impl Drops {
    pub(crate) fn total(&self) -> u64 {
        let Self { no_frame, rx_ring_full, tx_full, tx_refused, tx_invalid } = *self;
        no_frame + rx_ring_full + tx_full + tx_refused + tx_invalid
    }
}

/// A port's counters since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PortSample {
    pub(crate) rx: Traffic,
    /// What the driver took.
    pub(crate) tx: Traffic,
    pub(crate) drops: Drops,
}

/// Where the frames are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) total: u64,
    pub(crate) pool: u64,
    /// On fill and RX rings, and with the kernel in between.
    pub(crate) receiving: u64,
    /// On TX and completion rings, and with the kernel in between.
    pub(crate) sending: u64,
    /// Whether each frame of the pool is there once, and no frame is missing.
    pub(crate) whole: bool,
}

/// One queue of an interface.
struct Port {
    name: Arc<str>,
    queue: u32,
    socket: Socket,
    receiver: Option<Receiver>,
    sender: Option<Sender>,
}

/// The socket of a port, for the calls that are no ring work.
#[derive(Clone)]
struct Socket {
    backend: Arc<dyn Backend>,
    handle: Handle,
    zero_copy: bool,
}

pub(crate) struct Datapath {
    // Before the pool: sockets go before the memory.
    ports: Vec<Port>,
    pool: Pool,
    mode: Vec<String>,
    batch: usize,
    busy_poll: bool,
    /// Received descriptors, while they are looked at; empty between calls.
    hand: Vec<FrameDesc>,
    /// Ports with something in the outbox; empty between calls.
    touched: Vec<usize>,
    polls: Vec<Poll>,
    /// Waits in a row that found nothing, while frames were being sent.
    idle: u32,
}

/// The kernel tells nobody that a frame was sent: while frames are on their way, wait this often by yielding.
const YIELDS: u32 = 64;
/// Longest wait for packets, so that a stop request is seen soon.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How long an interface that is down is given to be gone, in milliseconds, and how often it is looked at.
const DELETION: u64 = 200;
const DELETION_STEP: u64 = 10;

impl Datapath {
    pub(crate) fn ports(&self) -> usize {
        self.ports.len()
    }

    pub(crate) fn port_name(&self, port: usize) -> String {
        let Port { name, queue, .. } = &self.ports[port];
        format!("{name}:{queue}")
    }

    /// How each port came out, as in `native, zero copy`.
    pub(crate) fn mode(&self, port: usize) -> &str {
        &self.mode[port]
    }

    /// Bytes of a packet that one frame takes.
    pub(crate) fn room(&self) -> usize {
        self.pool.room()
    }

    /// Receives one batch on `from`, and does with each packet what `decide` says of it, which is given the packet's first
    /// segment. Returns the number of packets. Never blocks.
    pub(crate) fn burst(
        &mut self,
        from: usize,
        mut decide: impl FnMut(&mut [u8]) -> Verdict,
    ) -> io::Result<usize> {
        self.reap(from)?;
        let Some(receiver) = &mut self.ports[from].receiver else { return Ok(0) };
        receiver.receive(&mut self.hand, self.batch);
        let mut packets = 0;
        let mut verdict = Verdict::Drop;
        let mut first = true;
        for mut desc in self.hand.drain(..) {
            if first {
                verdict = self.pool.show(&mut desc, &mut decide);
                packets += 1;
            }
            first = !desc.has_more_frames();
            let sender = match verdict {
                Verdict::Send(to) => {
                    self.ports.get_mut(to).and_then(|port| port.sender.as_mut()).map(|sender| (to, sender))
                }
                Verdict::Drop => None,
            };
            match sender {
                Some((to, sender)) => {
                    if sender.outbox.is_empty() {
                        self.touched.push(to);
                    }
                    sender.outbox.push(desc);
                }
                None => self.pool.put(desc),
            }
        }
        self.flush()?;
        if let Some(receiver) = &mut self.ports[from].receiver {
            receiver.refill(&mut self.pool, self.batch)?;
        }
        Ok(packets)
    }

    /// Sends at most `count` packets from `port`, each of `write`'s making: it is given a frame's bytes and returns how many
    /// it used. Returns how many packets the port took. Never blocks.
    pub(crate) fn send(
        &mut self,
        port: usize,
        count: usize,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> io::Result<usize> {
        self.reap(port)?;
        let Some(sender) = &mut self.ports[port].sender else { return Ok(0) };
        let count = sender.room(count).min(self.pool.len());
        self.touched.push(port);
        for _ in 0..count {
            if let Some(desc) = self.pool.take_written(&mut write) {
                sender.outbox.push(desc);
            }
        }
        self.flush()?;
        Ok(count)
    }

    /// Writes every free frame once, so that [`send`](Self::send) need not. `write` gets the frame's number.
    pub(crate) fn prepare(&mut self, mut write: impl FnMut(usize, &mut [u8])) {
        self.pool.write_all(|index, bytes| write(index, bytes));
    }

    /// Sends what `burst` and `send` put into the outboxes. They are empty afterwards, also on an error.
    fn flush(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for port in self.touched.drain(..) {
            let port = &mut self.ports[port];
            if let Some(sender) = &mut port.sender {
                let flushed = sender.flush(&mut self.pool);
                result =
                    result.and(flushed.map_err(|e| port.socket.explain(e, port.receiver.as_mut(), sender)));
            }
        }
        result
    }

    /// Takes back what was sent, and goes on with what was not.
    fn reap(&mut self, port: usize) -> io::Result<()> {
        let port = &mut self.ports[port];
        let Some(sender) = &mut port.sender else { return Ok(()) };
        sender.reap(&mut self.pool);
        if sender.unsent() > 0 {
            let kicked = sender.kick();
            kicked.map_err(|e| port.socket.explain(e, port.receiver.as_mut(), sender))?;
            sender.reap(&mut self.pool);
        }
        Ok(())
    }

    /// Waits until a packet comes, or frames that are being sent may have been, at most for `limit`. With busy polling it
    /// drives the device instead.
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<()> {
        let mut sending = false;
        for port in 0..self.ports.len() {
            self.reap(port)?;
            let Port { receiver, sender, socket, .. } = &mut self.ports[port];
            sending |= sender.as_ref().is_some_and(|sender| sender.with_kernel > 0);
            if let Some(receiver) = receiver {
                receiver.refill(&mut self.pool, 1)?;
            }
            if self.busy_poll {
                // What is wrong comes out in `check`.
                let _ = socket.backend.recvfrom(socket.handle);
            }
        }
        if self.busy_poll {
            return Ok(());
        }
        self.idle = if sending { self.idle.saturating_add(1) } else { YIELDS };
        let limit = limit.min(if sending { Duration::from_millis(1) } else { LONGEST_WAIT });
        if self.idle < YIELDS {
            std::thread::yield_now();
            return Ok(());
        }
        // A port that only sends has no event to wait for: POLLOUT is there as long as its ring is half empty.
        let receiving = self.ports.iter().filter(|port| port.receiver.is_some());
        self.polls.clear();
        self.polls.extend(receiving.map(|port| Poll {
            socket: port.socket.handle,
            events: PollEvents::IN,
            ready: PollEvents::empty(),
        }));
        if self.polls.is_empty() {
            self.pool.backend().sleep(limit);
            return Ok(());
        }
        // To the nearest: a little late is better than spinning for the rest.
        let milliseconds = (limit.as_micros() + 500) / 1000;
        if milliseconds == 0 {
            std::thread::yield_now();
            return Ok(());
        }
        match self.pool.backend().poll(&mut self.polls, milliseconds as i32) {
            Err(error) if error.raw_os_error() != Some(errno::EINTR) => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells the waiting that something moved.
    pub(crate) fn moved(&mut self) {
        self.idle = 0;
    }

    /// An error if an interface is down or gone, or a ring is broken. A poll would not tell.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        for port in &mut self.ports {
            let Port { receiver, sender, socket, .. } = port;
            if let Err(error) = socket.backend.recvfrom(socket.handle)
                && matches!(error.raw_os_error(), Some(errno::ENXIO | errno::ENETDOWN))
            {
                return Err(socket.explain_with(error, receiver.as_mut(), sender.as_mut()));
            }
            if let Some(sender) = sender {
                sender.check()?;
            }
            if let Some(receiver) = receiver {
                receiver.check()?;
            }
        }
        Ok(())
    }

    /// Waits until everything was sent, at most for `limit`.
    pub(crate) fn drain(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        let left = |ports: &[Port]| {
            ports.iter().filter_map(|port| port.sender.as_ref()).any(|sender| sender.with_kernel > 0)
        };
        loop {
            // A port that is dead keeps its frames; the others go on.
            let dead = (0..self.ports.len()).filter(|&port| self.reap(port).is_err()).count();
            if !left(&self.ports) || dead > 0 || Instant::now() >= end {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The counters of every port, in order.
    pub(crate) fn sample(&self) -> Vec<PortSample> {
        self.ports.iter().map(Port::sample).collect()
    }

    pub(crate) fn account(&self) -> Account {
        let receiving: u64 =
            self.ports.iter().filter_map(|p| p.receiver.as_ref()).map(|r| u64::from(r.with_kernel)).sum();
        let partial: usize =
            self.ports.iter().filter_map(|p| p.receiver.as_ref()).map(|r| r.partial.len()).sum();
        let sending: u64 =
            self.ports.iter().filter_map(|p| p.sender.as_ref()).map(|s| u64::from(s.with_kernel)).sum();
        let (total, pool) = (u64::from(self.pool.total()), self.pool.len() as u64);
        let receiving = receiving + partial as u64;
        let whole = self.pool.is_sound() && pool + receiving + sending == total;
        Account { total, pool, receiving, sending, whole }
    }
}

impl Port {
    fn sample(&self) -> PortSample {
        let mut sample = PortSample::default();
        let mut statistics = None;
        if let Some(receiver) = &self.receiver {
            sample.rx = receiver.received;
            statistics = receiver.statistics();
        }
        if let Some(sender) = &self.sender {
            sample.tx = sender.sent();
            sample.drops.tx_full = sender.full;
            sample.drops.tx_refused = sender.refused;
            statistics = statistics.or_else(|| sender.statistics());
        }
        if let Some(statistics) = statistics {
            sample.drops.no_frame = statistics.rx_dropped();
            sample.drops.rx_ring_full = statistics.rx_ring_full();
            sample.drops.tx_invalid = statistics.tx_invalid_descs();
        }
        sample
    }
}

impl Socket {
    fn explain(&self, error: io::Error, receiver: Option<&mut Receiver>, sender: &mut Sender) -> io::Error {
        self.explain_with(error, receiver, Some(sender))
    }

    /// The library's words for an errno that this module met by itself: its queues say the same, with the interface's name.
    fn explain_with(
        &self,
        error: io::Error,
        receiver: Option<&mut Receiver>,
        sender: Option<&mut Sender>,
    ) -> io::Error {
        if Error::of_io(&error).is_some() {
            return error;
        }
        // An interface that is being deleted is down first: give it the time to be gone, which is a better answer.
        let is_down = || {
            let again = self.backend.recvfrom(self.handle).err().and_then(|e| e.raw_os_error());
            again == Some(errno::ENETDOWN)
        };
        for _ in 0..DELETION / DELETION_STEP {
            if !is_down() {
                break;
            }
            self.backend.sleep(Duration::from_millis(DELETION_STEP));
        }
        let told = receiver.and_then(|r| r.explain()).or_else(|| sender.and_then(|s| s.explain()));
        told.unwrap_or(error)
    }
}
