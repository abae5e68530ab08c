//! Packets in, packets out: the ports of a command, on one pool, used by one thread; or by several, with a part each.

mod open;
mod share;

use std::borrow::{Borrow, BorrowMut};
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xsk::backend::{Backend, Handle};
use xsk::error::{Diagnosis, errno};
use xsk::port::{PortError, PortRx, PortTx};
use xsk::{Batch, Packet, Pool};

pub(crate) use open::{Need, Request, backend, interface};
pub(crate) use share::Shares;
pub(crate) use xsk::port::Verdict;

use crate::failure::Failure;

/// Packets, and bytes of them: Ethernet header included, FCS not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Packets lost, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Drops {
    /// The kernel had no frame to receive into.
    pub(crate) no_frame: u64,
    /// Longer than a frame.
    pub(crate) too_long: u64,
    /// The RX ring was full.
    pub(crate) rx_ring_full: u64,
    /// A packet of several frames found no room on the TX ring.
    pub(crate) tx_full: u64,
    /// The driver refused: its own queue was full, the packet too long, or there was no carrier.
    pub(crate) tx_refused: u64,
    /// The kernel refused the descriptor.
    pub(crate) tx_invalid: u64,
}

impl Drops {
    pub(crate) fn total(&self) -> u64 {
        let Self { no_frame, too_long, rx_ring_full, tx_full, tx_refused, tx_invalid } = *self;
        no_frame + too_long + rx_ring_full + tx_full + tx_refused + tx_invalid
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

impl PortSample {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { rx, tx, drops } = other;
        self.rx.add(*rx);
        self.tx.add(*tx);
        let Drops { no_frame, too_long, rx_ring_full, tx_full, tx_refused, tx_invalid } = drops;
        self.drops.no_frame += no_frame;
        self.drops.too_long += too_long;
        self.drops.rx_ring_full += rx_ring_full;
        self.drops.tx_full += tx_full;
        self.drops.tx_refused += tx_refused;
        self.drops.tx_invalid += tx_invalid;
    }
}

/// Where the frames are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) total: u64,
    pub(crate) free: u64,
    /// On fill and RX rings, and with the kernel in between.
    pub(crate) receiving: u64,
    /// On TX and completion rings, and with the kernel in between.
    pub(crate) sending: u64,
    /// Whether all frames were there when the ports were closed.
    pub(crate) whole: bool,
}

struct Receiver {
    /// Which of the command's ports it is.
    index: usize,
    socket: Handle,
    port: PortRx,
    received: Traffic,
}

impl Borrow<PortRx> for Receiver {
    fn borrow(&self) -> &PortRx {
        &self.port
    }
}

impl BorrowMut<PortRx> for Receiver {
    fn borrow_mut(&mut self) -> &mut PortRx {
        &mut self.port
    }
}

struct Sender {
    /// As of a [`Receiver`].
    index: usize,
    socket: Handle,
    port: PortTx,
    submitted: Traffic,
    full: u64,
}

pub(crate) struct Datapath {
    /// Of each port, in order; none if the command does not receive. In a part: those of the thread.
    receivers: Vec<Receiver>,
    /// Of each port, in order; none if the command does not send. In a part: those of the thread.
    senders: Vec<Sender>,
    /// Of each port of the command, as in `eth1:0`.
    names: Vec<String>,
    /// How each port of the command came out, as in `native, zero copy`.
    modes: Vec<String>,
    pool: Pool,
    batch: usize,
    busy_poll: bool,
    /// Packets to send; empty between calls.
    outbox: Batch,
    /// Waits in a row that found nothing, while frames were being sent.
    idle: u32,
}

/// Packets of one call of a port at most.
const BURST: usize = 64;
/// The kernel tells nobody that a frame was sent: while frames are on their way, wait this often by yielding.
const YIELDS: u32 = 64;
/// Longest wait for packets, so that a stop request is seen soon.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How long an interface that is down is given to be gone, while there is one of its name, and while there is none any more.
const DOWN: Duration = Duration::from_millis(500);
const DELETION: Duration = Duration::from_secs(20);
/// How often it is looked at.
const STEP: Duration = Duration::from_millis(10);

impl Datapath {
    /// How many the command has.
    pub(crate) fn ports(&self) -> usize {
        self.names.len()
    }

    /// How many receive here.
    pub(crate) fn receivers(&self) -> usize {
        self.receivers.len()
    }

    /// How many send here.
    pub(crate) fn senders(&self) -> usize {
        self.senders.len()
    }

    pub(crate) fn port_name(&self, port: usize) -> &str {
        &self.names[port]
    }

    /// How a port came out, as in `native, zero copy`.
    pub(crate) fn mode(&self, port: usize) -> &str {
        &self.modes[port]
    }

    /// Bytes of a packet that one frame takes.
    pub(crate) fn room(&self) -> usize {
        self.pool.room() as usize
    }

    fn backend(&self) -> &Arc<dyn Backend> {
        self.pool.backend()
    }

    /// Receives a batch on receiver `from`, and sends those for which `decide` says so from sender `to`. Returns how many
    /// packets there were. What `to` has no room for stays where it is. Never blocks.
    pub(crate) fn forward(
        &mut self,
        from: usize,
        to: usize,
        mut decide: impl FnMut(&mut Packet) -> Verdict,
    ) -> Result<usize, Failure> {
        let (Receiver { port, received, .. }, out) = (&mut self.receivers[from], &mut self.senders[to]);
        let mut count = 0;
        while count < self.batch {
            let (mut seen, mut to_send) = (Traffic::default(), Traffic::default());
            let done = port.forward_to(&mut out.port, |packet| {
                seen.count(packet);
                let verdict = decide(packet);
                if verdict == Verdict::Send {
                    to_send.count(packet);
                }
                verdict
            });
            received.add(seen);
            out.submitted.add(to_send);
            match done {
                Ok(done) => {
                    // Those were to be sent, and count as of average length.
                    out.submitted = out.submitted.without(done.refused as u64);
                    out.full += done.refused as u64;
                    count += done.received;
                    if done.received < BURST {
                        break;
                    }
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(count)
    }

    /// Receives a batch on a receiver, and shows each packet. Returns how many there were. Never blocks.
    pub(crate) fn receive(
        &mut self,
        receiver: usize,
        mut show: impl FnMut(&mut Packet),
    ) -> Result<usize, Failure> {
        let Receiver { port, received, .. } = &mut self.receivers[receiver];
        let mut count = 0;
        while count < self.batch {
            let done = port.for_each(|packet| {
                received.count(packet);
                show(packet);
            });
            match done {
                Ok(done) => {
                    count += done;
                    if done < BURST {
                        break;
                    }
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(count)
    }

    /// Sends at most `count` packets, and a batch, from a sender, each of `write`'s making: it is given an empty one.
    /// Returns how many the port took. Never blocks.
    pub(crate) fn send(
        &mut self,
        sender: usize,
        count: usize,
        mut write: impl FnMut(&mut Packet),
    ) -> Result<usize, Failure> {
        let Sender { port, submitted, .. } = &mut self.senders[sender];
        let mut written = Traffic::default();
        while self.outbox.len() < count.min(self.batch) {
            let Some(mut packet) = port.packet() else { break };
            write(&mut packet);
            written.count(&packet);
            if self.outbox.push(packet).is_err() {
                break;
            }
        }
        // What could not be sent goes back: the next call has better.
        let sent = port.send(&mut self.outbox);
        let mut left = Traffic::default();
        self.outbox.iter().for_each(|packet| left.count(packet));
        self.outbox.clear();
        submitted.add(Traffic { packets: written.packets - left.packets, bytes: written.bytes - left.bytes });
        sent.map_err(|error| self.explain(error))
    }

    /// Waits until a packet comes, or frames that are being sent may have been, at most for `limit`. With busy polling, a
    /// port that finds nothing has driven its device already.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<(), Failure> {
        let sending = self.flush()? > 0;
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
        if self.receivers.is_empty() {
            self.backend().sleep(limit);
            return Ok(());
        }
        // To the nearest: a little late is better than spinning for the rest.
        let milliseconds = (limit.as_micros() as u64 + 500) / 1000;
        if milliseconds == 0 {
            std::thread::yield_now();
            return Ok(());
        }
        let waited = PortRx::wait_any(&mut self.receivers, Some(Duration::from_millis(milliseconds)));
        waited.map(drop).map_err(|error| self.explain(error))
    }

    /// Tells the waiting that something moved.
    pub(crate) fn moved(&mut self) {
        self.idle = 0;
    }

    /// Takes back what was sent, and goes on with what was not. Returns how many frames are being sent.
    fn flush(&mut self) -> Result<usize, Failure> {
        let flushed: Result<usize, PortError> =
            self.senders.iter_mut().map(|sender| sender.port.flush()).sum();
        flushed.map_err(|error| self.explain(error))
    }

    /// An error if an interface is down or gone. A poll would not tell.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.look().map_err(|error| self.explain(error))
    }

    fn look(&mut self) -> Result<(), PortError> {
        let Self { receivers, senders, pool, .. } = self;
        let dead = |socket| {
            let answer = pool.backend().recvfrom(socket);
            answer.is_err_and(|error| matches!(error.raw_os_error(), Some(errno::ENXIO | errno::ENETDOWN)))
        };
        // The port says it in words.
        let moment = Some(Duration::from_millis(1));
        for Receiver { port, .. } in receivers.iter_mut().filter(|receiver| dead(receiver.socket)) {
            port.wait(moment)?;
        }
        for Sender { index, socket, port, .. } in senders {
            let looked_at = receivers.iter().any(|receiver| receiver.index == *index);
            if !looked_at && dead(*socket) {
                port.wait(moment)?;
            }
        }
        Ok(())
    }

    /// An interface that is being deleted is down first: it is given the time to be gone, which is a better answer. How long its
    /// sockets have to wait for that is the kernel's affair, but soon it has no name any more (`net/core/dev.c:
    /// unregister_netdevice_many_notify`); and who asks for what has one waits, on Linux, for what is being deleted.
    fn explain(&mut self, mut error: PortError) -> Failure {
        let mut passed = Duration::ZERO;
        while matches!(error.diagnosis(), Diagnosis::InterfaceDown)
            && passed < if self.have_names() { DOWN } else { DELETION }
        {
            self.backend().sleep(STEP);
            passed += STEP;
            // A port with packets waits for nothing, and would not tell.
            for Receiver { port, .. } in &mut self.receivers {
                while port.for_each(|_| {}).is_ok_and(|packets| packets > 0) {}
            }
            match self.look() {
                Err(now) => error = now,
                Ok(()) => break,
            }
        }
        Failure::of_running(&error)
    }

    /// Whether there is an interface of each name of the ports here.
    fn have_names(&self) -> bool {
        let receivers = self.receivers.iter().map(|receiver| receiver.index);
        let mut ports = receivers.chain(self.senders.iter().map(|sender| sender.index));
        ports.all(|port| {
            let (interface, _) = self.names[port].rsplit_once(':').unwrap_or_default();
            CString::new(interface).is_ok_and(|name| self.backend().interface(&name).is_ok())
        })
    }

    /// Waits until everything was sent, at most for `limit`.
    pub(crate) fn drain(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        // A port that is dead keeps its frames.
        while self.look().is_ok() && self.flush().is_ok_and(|left| left > 0) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The counters of every port of the command, in order; those of other parts are 0.
    pub(crate) fn sample(&mut self) -> Vec<PortSample> {
        let mut samples = vec![PortSample::default(); self.ports()];
        for Receiver { index, port, received, .. } in &mut self.receivers {
            let sample = &mut samples[*index];
            sample.rx = *received;
            let Ok(stats) = port.stats() else { continue };
            sample.drops.no_frame = stats.no_frame;
            sample.drops.too_long = stats.too_long;
            sample.drops.rx_ring_full = stats.rx_ring_full;
        }
        for Sender { index, port, submitted, full, .. } in &mut self.senders {
            let sample = &mut samples[*index];
            sample.tx = *submitted;
            sample.drops.tx_full = *full;
            let Ok(stats) = port.stats() else { continue };
            sample.drops.tx_refused = stats.tx_dropped;
            sample.drops.tx_invalid = stats.tx_refused;
            // Of these only the number is known; they count as of average length.
            sample.tx = submitted.without(stats.tx_dropped);
        }
        samples
    }

    /// Where the frames are. Whether all of them are there shows at the [end](Self::close) only.
    pub(crate) fn account(&mut self) -> Account {
        let sending = self.senders.iter_mut().filter_map(|sender| sender.port.stats().ok());
        let sending = sending.map(|stats| u64::from(stats.unfinished)).sum();
        let (total, kernel) = (u64::from(self.pool.frames()), u64::from(self.pool.with_kernel()));
        Account { total, free: total - kernel, receiving: kernel - sending, sending, whole: false }
    }

    /// Closes the ports. Says where the frames were, and counts those that came back.
    pub(crate) fn close(&mut self) -> Account {
        let account = self.account();
        self.receivers.clear();
        self.senders.clear();
        let back: Vec<Packet> = std::iter::from_fn(|| self.pool.packet()).collect();
        let back = back.len() as u64 + u64::from(self.pool.quarantined());
        Account { whole: back == account.total, ..account }
    }
}

impl Traffic {
    fn count(&mut self, packet: &Packet) {
        self.packets += 1;
        self.bytes += if packet.is_linear() { packet.len() } else { packet.total_len() } as u64;
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }

    /// Less some packets of average length.
    fn without(self, packets: u64) -> Self {
        let left = self.packets.saturating_sub(packets);
        let bytes = u128::from(self.bytes) * u128::from(left) / u128::from(self.packets.max(1));
        Self { packets: left, bytes: bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use xsk_sim::fault::{DeviceFault, FaultRule};
    use xsk_sim::{DeviceConfig, SimKernel};

    use super::*;
    use crate::cli::{Cli, Command};

    /// Also where packets are on the ring still: a port that has some waits for nothing, and says nothing.
    #[test]
    fn an_interface_that_is_being_deleted_is_gone_and_not_down() {
        for (goes, words) in [(true, "is gone"), (false, "is down")] {
            let kernel = SimKernel::new(0);
            let card = kernel.card("sim", &DeviceConfig::default()).unwrap();
            let Some(Command::Drop(options)) = Cli::try_parse_from(["xsk", "drop", "sim"]).unwrap().command
            else {
                panic!("another command")
            };
            let targets = std::slice::from_ref(&options.target);
            let request = Request { targets, need: Need::Receive, options: &options.sockets };
            let (mut datapath, _) = request.open_on(&kernel.backend()).unwrap();
            card.set_up(false);
            let error = datapath.look().unwrap_err();
            card.set_up(true);
            (0..3).for_each(|_| card.inject(0, &[1; 60]).unwrap());
            kernel.run_until_idle(1000);
            card.set_up(false);
            datapath.look().expect("there are packets");
            let rule = FaultRule::device_fault(&card, DeviceFault::Remove).after(20);
            let _goes = goes.then(|| kernel.fault(rule));
            let failure = datapath.explain(error);
            assert!(failure.to_string().contains(words), "{failure}");
        }
    }
}
