//! The demonstration on a simulated kernel, on one thread: for systems where Linux cannot run it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use xsk::Packet;
use xsk::backend::Backend;
use xsk_sim::{DeviceConfig, SimKernel};

use super::{HINT, MODES};
use crate::cli::{Cli, Command, SocketOptions};
use crate::datapath::{Datapath, Need, Request, Verdict};
use crate::failure::Failure;
use crate::packet::{PING_LEN, PingStamp, read_ping, swap_macs, write_ping, write_raw};
use crate::report::Output;
use crate::report::format::{grouped, nanoseconds};
use crate::report::table::BOLD;
use crate::report::traffic::{Directions, drops_line, frames, table_lines};
use crate::run::Outcome;
use crate::stop::Stop;
use crate::values::Target;

/// Packets that the sender sends: a fraction of a second, also where this is not optimized.
const PACKETS: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
const PINGS: u64 = 500;
const FRAME: usize = 60;
/// Turns that a reply may take.
const TURNS: usize = 100;
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// `why`: what Linux lacks for the real one.
pub(super) fn run(why: &str, stop: &Stop) -> Result<(), Failure> {
    let mut output = Output::new(false, false);
    output.lines(&[
        format!("{BOLD}AF_XDP demonstration, on a simulated kernel{BOLD:#} in this process, because on this"),
        format!("system Linux cannot run it: {why}."),
        "No packet leaves this process. The rates are the simulator's, not those of a network.".to_owned(),
        String::new(),
        "  sender ═══ fwd-in   xsk forward   fwd-out ═══ receiver".to_owned(),
    ])?;
    for (flag, title) in MODES {
        if stop.is_asked() {
            break;
        }
        output.lines(&[String::new(), format!("{BOLD}{title}{BOLD:#}")])?;
        output.passing("  flooding ...")?;
        let lines = Network::new(flag)?.run(stop)?;
        output.lines(&lines)?;
    }
    output.lines(&[String::new(), HINT.to_owned()])
}

/// Three programs on two pairs of simulated devices.
struct Network {
    // Before the kernel, whose end finds nothing open.
    sender: Datapath,
    forwarder: Datapath,
    receiver: Datapath,
    backend: Arc<dyn Backend>,
    kernel: SimKernel,
    batch: usize,
}

impl Network {
    fn new(flag: &str) -> Result<Self, Failure> {
        let kernel = SimKernel::new(0);
        let backend = kernel.backend();
        for (near, far) in [("sender", "fwd-in"), ("fwd-out", "receiver")] {
            kernel
                .veth(near, far, &DeviceConfig::default())
                .map_err(|e| Failure::cannot_run(format!("cannot make a simulated network: {e}")))?;
        }
        let options = socket_options(flag)?;
        let open = |names: &[&str]| {
            let targets: Vec<_> =
                names.iter().map(|name| Target { name: (*name).to_owned(), queue: None }).collect();
            let request = Request { targets: &targets, need: Need::Both, options: &options };
            request.open_on(&backend).map(|(datapath, _)| datapath)
        };
        let (sender, forwarder) = (open(&["sender"])?, open(&["fwd-in", "fwd-out"])?);
        let receiver = open(&["receiver"])?;
        let batch = options.batch as usize;
        Ok(Self { sender, forwarder, receiver, backend, kernel, batch })
    }

    /// The lines of a mode's table.
    fn run(mut self, stop: &Stop) -> Result<Vec<String>, Failure> {
        let start = Instant::now();
        let flooded = self.flood(stop);
        let elapsed = start.elapsed();
        let trips = flooded.and_then(|()| self.measure(stop));
        let directions = Directions { rx: true, tx: true };
        let mut rows = Vec::new();
        let mut account = String::new();
        // The rates are those of the flood: the few packets of the round trips do not count.
        let trips = trips?;
        for datapath in [&mut self.sender, &mut self.forwarder, &mut self.receiver] {
            let mut outcome = Outcome::new(datapath, elapsed, directions, Ok(()));
            outcome.failure.take().map_or(Ok(()), Err)?;
            rows.append(&mut outcome.ports);
            if rows.len() == 3 {
                account = format!("  forwarder's {}", frames(&outcome.account));
            }
        }
        self.kernel.frames().check().map_err(|e| Failure::running_text(e.to_string()))?;
        let mut lines = table_lines(&rows, elapsed, directions);
        lines.extend(drops_line(&rows));
        lines.push(account);
        lines.push(trips);
        Ok(lines)
    }

    fn flood(&mut self, stop: &Stop) -> Result<(), Failure> {
        let mut frame = [0; FRAME];
        write_raw(&mut frame, RECEIVER, SENDER);
        let mut left = PACKETS - PINGS;
        while left > 0 && !stop.is_asked() {
            let count = self.batch.min(usize::try_from(left).unwrap_or(usize::MAX));
            let write = |packet: &mut Packet| _ = packet.extend_from_slice(&frame);
            left -= self.sender.send(0, count, write)? as u64;
            self.forward()?;
            self.receiver.receive(0, |_| ())?;
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<(), Failure> {
        for (from, to) in [(0, 1), (1, 0)] {
            self.forwarder.forward(from, to, |_| Verdict::Send)?;
        }
        Ok(())
    }

    /// Round trips in virtual time, through the forwarder to the receiver and back.
    fn measure(&mut self, stop: &Stop) -> Result<String, Failure> {
        let mut times = Histogram::<u64>::new_with_max(u64::from(u32::MAX), 3)
            .map_err(|e| Failure::running_text(e.to_string()))?;
        for sequence in 0..PINGS {
            if stop.is_asked() {
                break;
            }
            let stamp = PingStamp { run: 0, sequence };
            let sent = self.backend.now();
            let mut ping = [0; PING_LEN];
            write_ping(&mut ping, RECEIVER, SENDER, stamp);
            self.sender.send(0, 1, |packet| _ = packet.extend_from_slice(&ping))?;
            let mut is_back = false;
            for _ in 0..TURNS {
                self.forward()?;
                let reflect = |packet: &mut Packet| {
                    swap_macs(packet, None);
                    Verdict::Send
                };
                self.receiver.forward(0, 0, reflect)?;
                self.forward()?;
                self.sender.receive(0, |packet| is_back |= read_ping(packet) == Some(stamp))?;
                if is_back {
                    break;
                }
            }
            if !is_back {
                return Err(Failure::running_text("a round trip on the simulated kernel has no end"));
            }
            let time: Duration = self.backend.now().saturating_sub(sent);
            times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
        let [p50, p99] = [50.0, 99.0].map(|percent| nanoseconds(times.value_at_percentile(percent)));
        let count = grouped(times.len());
        Ok(format!(
            "  round trip through the forwarder: p50 {p50}  p99 {p99}, of {count}, in virtual time (a system call takes 1 µs)"
        ))
    }
}

/// The options of sockets as they are without any, but for `flag`.
fn socket_options(flag: &str) -> Result<SocketOptions, Failure> {
    let cli = Cli::try_parse_from(["xsk", "drop", "receiver", flag]);
    match cli.map_err(|e| Failure::usage(e.to_string()))?.command {
        Some(Command::Drop(options)) => Ok(options.sockets),
        _ => Err(Failure::usage("no part of the demonstration")),
    }
}
