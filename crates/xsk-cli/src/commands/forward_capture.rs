//! `xsk forward sim:IN sim:OUT`: from one capture to another, through a simulated kernel.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xsk::backend::Backend;
use xsk_sim::capture::{CaptureError, CapturedPacket};
use xsk_sim::{SimDevice, SimKernel};

use super::files;
use super::simulated::{self, LONGEST};
use crate::cli::Forward;
use crate::datapath::{Datapath, Need, Request, Verdict};
use crate::failure::Failure;
use crate::packet::ETHERNET_HEADER;
use crate::report::format::grouped;
use crate::report::traffic::Directions;
use crate::report::{Output, Watch};
use crate::run::Outcome;
use crate::stop::Stop;
use crate::values::Target;

/// The names of the two cards.
const IN: &str = "in";
const OUT: &str = "out";

pub(crate) fn command(options: &Forward, from: &Path, to: &Path, stop: &Stop) -> Result<(), Failure> {
    if options.threads.threads.is_some() {
        return Err(Failure::usage(
            "the simulated kernel of captures runs in virtual time, step by step: leave --threads out",
        ));
    }
    let reader = files::open(from)?;
    files::check_distinct(from, to)?;
    let mut wires = Wires::open(options)?;
    // Nothing is overwritten before all else is well.
    let writer = files::create(to)?;

    let mut output = Output::of(&options.run);
    let mode = wires.datapath.mode(0);
    let text = format!("forwarding {} -> {} (simulated kernel, {mode})", from.display(), to.display());
    let value = json!({ "event": "ready", "command": "forward", "simulated": true, "mode": mode });
    output.ready(&text, value).map_err(|e| Failure::output(&e))?;

    let start = Instant::now();
    let mut counts = Counts::default();
    let mut replay = Replay { wires: &mut wires, writer, epoch: None, waiting: 0, counts: &mut counts };
    let result = replay.run(options, reader, stop).map_err(|ended| match ended {
        Ended::Read(e) => files::reading(from, &e),
        Ended::Write(e) => files::writing(to, &e),
        Ended::Failed(failure) => failure,
    });
    let finished = replay.writer.finish().map(drop).map_err(|e| files::writing(to, &e));
    let directions = Directions { rx: true, tx: true };
    let result = result.and(finished);
    let mut outcome = Outcome::new(&mut wires.datapath, start.elapsed(), directions, result);
    if outcome.failure.is_none() {
        outcome.failure = wires.check(&outcome, &counts).err();
    }
    outcome.print(&mut output, &counts.lines(), &[("capture", counts.json())])
}

/// A simulated kernel with two cards, and a port on each.
struct Wires {
    datapath: Datapath,
    kernel: SimKernel,
    backend: Arc<dyn Backend>,
    input: SimDevice,
    output: SimDevice,
    /// Virtual time at which all was open.
    start: Duration,
    /// Packets that may wait on the input: its fill ring always has so many frames.
    most: usize,
}

impl Wires {
    fn open(options: &Forward) -> Result<Self, Failure> {
        let kernel = SimKernel::new(0);
        let sockets = &options.sockets;
        let config = simulated::config(sockets);
        let input = kernel.card(IN, &config).map_err(simulated::cannot)?;
        let output = kernel.card(OUT, &config).map_err(simulated::cannot)?;
        let targets = [IN, OUT].map(|name| Target { name: name.to_owned(), queue: None });
        let backend = kernel.backend();
        let request = Request { targets: &targets, need: Need::Both, options: sockets };
        let (mut datapath, _) = request.open_on(&backend)?;
        // Two fill rings; and they are topped up when a quarter is missing.
        let most = (datapath.account().receiving / 4).clamp(1, sockets.batch.into()) as usize;
        let start = kernel.time();
        Ok(Self { datapath, kernel, backend, input, output, start, most })
    }

    /// That every packet and every frame is where the counters say.
    fn check(&self, outcome: &Outcome, counts: &Counts) -> Result<(), Failure> {
        let [input, output] = [0, 1].map(|port| &outcome.ports[port].sample);
        let lost = input.drops.no_frame + input.drops.too_long + input.drops.rx_ring_full;
        let sent = output.tx.packets + output.drops.tx_full + output.drops.tx_refused;
        if counts.read != counts.too_short + input.rx.packets + lost
            || input.rx.packets != sent
            || counts.written + output.drops.tx_invalid != output.tx.packets
        {
            return Err(Failure::running_text("packets are not accounted for; this is a bug in xsk"));
        }
        self.kernel.frames().check().map_err(|e| Failure::running_text(e.to_string()))
    }
}

/// What became of the packets.
#[derive(Debug, Default)]
struct Counts {
    read: u64,
    written: u64,
    too_short: u64,
    cut_off: u64,
}

impl Counts {
    fn lines(&self) -> Vec<String> {
        let Self { read, written, too_short, cut_off } = self;
        let mut line = format!("capture: {} packets read, {} written", grouped(*read), grouped(*written));
        if *too_short > 0 {
            line += &format!(", {} too short for an Ethernet header", grouped(*too_short));
        }
        if *cut_off > 0 {
            line += &format!(", {} that the input has the beginning of only", grouped(*cut_off));
        }
        vec![line]
    }

    fn json(&self) -> Value {
        let Self { read, written, too_short, cut_off } = self;
        json!({ "read": read, "written": written, "too_short": too_short, "cut_off": cut_off })
    }
}

enum Ended {
    Read(CaptureError),
    Write(CaptureError),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Replay<'a> {
    wires: &'a mut Wires,
    writer: files::Writer,
    /// The time of the first packet.
    epoch: Option<Duration>,
    /// Packets that came in and were not looked at.
    waiting: usize,
    counts: &'a mut Counts,
}

impl Replay<'_> {
    fn run(
        &mut self,
        options: &Forward,
        packets: impl Iterator<Item = Result<CapturedPacket, CaptureError>>,
        stop: &Stop,
    ) -> Result<(), Ended> {
        let result = self.replay(options, packets, stop);
        // What came in before an error goes out.
        self.pump().and(result)
    }

    fn replay(
        &mut self,
        options: &Forward,
        packets: impl Iterator<Item = Result<CapturedPacket, CaptureError>>,
        stop: &Stop,
    ) -> Result<(), Ended> {
        for packet in packets {
            let packet = packet.map_err(Ended::Read)?;
            let epoch = *self.epoch.get_or_insert(packet.time);
            let due = packet.time.saturating_sub(epoch).min(LONGEST);
            let over = options.run.duration.is_some_and(|duration| due >= duration)
                || options.run.count.is_some_and(|count| self.counts.read >= count);
            if over || stop.is_asked() {
                return Ok(());
            }
            self.counts.read += 1;
            if packet.data.len() < ETHERNET_HEADER {
                self.counts.too_short += 1;
                continue;
            }
            self.counts.cut_off += u64::from(packet.is_cut_off());
            let now = || self.wires.kernel.time().saturating_sub(self.wires.start);
            if due > now() || self.waiting == self.wires.most {
                self.pump()?;
                let now = self.wires.kernel.time().saturating_sub(self.wires.start);
                self.wires.backend.sleep(due.saturating_sub(now));
            }
            self.wires.input.inject(0, &packet.data).map_err(|e| Failure::running(&e))?;
            self.waiting += 1;
        }
        Ok(())
    }

    /// Forwards all that waits, and writes what was sent.
    fn pump(&mut self) -> Result<(), Ended> {
        self.waiting = 0;
        loop {
            let mut moved = 0;
            for (from, to) in [(0, 1), (1, 0)] {
                moved += self.wires.datapath.forward(from, to, |_| Verdict::Send)?;
            }
            while let Some((moment, data)) = self.wires.output.sent_at() {
                let since = moment.saturating_sub(self.wires.start);
                let time = self.epoch.unwrap_or_default().saturating_add(since);
                self.writer.write(&CapturedPacket::new(time, data)).map_err(Ended::Write)?;
                self.counts.written += 1;
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }
}
