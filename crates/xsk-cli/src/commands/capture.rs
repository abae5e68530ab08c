//! `xsk capture`: what an interface receives, to a file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use xsk::Packet;
use xsk::backend::Backend;
use xsk_sim::capture::{CaptureError, CapturedPacket};

use super::simulated::{self, Card};
use super::{describe, files, forward, queues};
use crate::cli::Capture;
use crate::datapath::{Datapath, Need, Request, Verdict};
use crate::failure::Failure;
use crate::packet::ETHERNET_HEADER;
use crate::report::format::grouped;
use crate::report::traffic::Directions;
use crate::report::{Output, Watch};
use crate::run::{Outcome, Run, Turn};
use crate::stop::Stop;
use crate::values::{Side, Target};

const RX: Directions = Directions { rx: true, tx: false };

/// What is said goes to standard error if the capture has standard output for itself.
pub(crate) fn output(options: &Capture) -> Output {
    if files::is_standard(&options.file) { Output::beside(&options.run) } else { Output::of(&options.run) }
}

pub(crate) fn command(options: &Capture, stop: &Stop) -> Result<(), Failure> {
    let mut output = output(options);
    let (outcome, recorder) = match &options.from {
        Side::Interface(target) => of_interface(options, target, stop, &mut output)?,
        Side::Capture(from) => of_capture(options, from, stop, &mut output)?,
    };
    outcome.print(&mut output, &recorder.lines(), &[("capture", recorder.json())])
}

fn of_interface<'a>(
    options: &'a Capture,
    target: &Target,
    stop: &Stop,
    output: &mut Output,
) -> Result<(Outcome, Recorder<'a>), Failure> {
    let targets: Vec<_> = std::iter::once(target).chain(&options.wire).cloned().collect();
    if let [a, b] = &targets[..]
        && a.name == b.name
    {
        return Err(Failure::usage(format!(
            "--wire {}: a wire has two ends; name another interface",
            b.name
        )));
    }
    let need = if options.wire.is_some() { Need::Both } else { Need::Receive };
    let request = Request { targets: &targets, need, options: &options.sockets };
    let (mut datapath, ranges) = request.open()?;
    let mut recorder = Recorder::new(options)?;
    let (name, mode) = describe(&datapath, target, &ranges[0]);
    let routes = options.wire.as_ref().map(|_| forward::routes(&ranges));
    let queues = queues(datapath.ports());
    let text = match &options.wire {
        None => {
            format!("capturing what {name} receives ({mode}), {queues}; the network stack does not get it")
        }
        Some(other) => format!("capturing what passes between {name} ({mode}) and {}, {queues}", other.name),
    };
    let value = json!({ "event": "ready", "command": "capture", "interface": name, "mode": mode });
    let directions = Directions { tx: routes.is_some(), ..RX };
    let mut run = Run::start(&datapath, &options.run, directions, stop, output, (&text, value))?;
    let result = record(&mut run, &mut datapath, &mut recorder, routes.as_deref());
    let result = result.and(recorder.flush());
    Ok((run.finish(&mut datapath, result), recorder))
}

fn record(
    run: &mut Run<'_>,
    datapath: &mut Datapath,
    recorder: &mut Recorder<'_>,
    routes: Option<&[usize]>,
) -> Result<(), Failure> {
    loop {
        let mut moved = 0;
        for port in 0..datapath.ports() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            moved += match routes {
                None => datapath.receive(port, |packet| recorder.record(now, packet))?,
                Some(routes) => datapath.forward(port, routes[port], |packet| {
                    recorder.record(now, packet);
                    Verdict::Send
                })?,
            };
        }
        recorder.check()?;
        if recorder.left == 0 {
            return Ok(());
        }
        if moved == 0 {
            // Whoever reads along sees all there is.
            recorder.flush()?;
        }
        match run.turn(datapath, moved > 0, None)? {
            Turn::Go => {}
            Turn::Report => run.report(datapath)?,
            Turn::End => return Ok(()),
        }
    }
}

/// What a capture holds comes in on a simulated card. Time is the capture's.
fn of_capture<'a>(
    options: &'a Capture,
    from: &Path,
    stop: &Stop,
    output: &mut Output,
) -> Result<(Outcome, Recorder<'a>), Failure> {
    if options.wire.is_some() {
        return Err(Failure::usage("a simulated kernel has no interfaces of this machine: leave --wire out"));
    }
    let reader = files::open(from)?;
    files::check_distinct(from, &options.file)?;
    let Card { mut datapath, kernel, card } = simulated::card(Need::Receive, &options.sockets)?;
    let mut recorder = Recorder::new(options)?;
    let mode = datapath.mode(0);
    let text = format!("capturing {} (simulated kernel, {mode})", from.display());
    let value = json!({ "event": "ready", "command": "capture", "simulated": true, "mode": mode });
    output.ready(&text, value).map_err(|e| Failure::output(&e))?;
    let (start, began, backend): (_, _, Arc<dyn Backend>) = (Instant::now(), kernel.time(), kernel.backend());
    let mut epoch = None;
    let replay = || -> Result<(), Failure> {
        for packet in reader {
            let packet = packet.map_err(|e| files::reading(from, &e))?;
            let due = packet.time.saturating_sub(*epoch.get_or_insert(packet.time)).min(simulated::LONGEST);
            let over = options.run.duration.is_some_and(|duration| due >= duration);
            if over || recorder.left == 0 || stop.is_asked() {
                return Ok(());
            }
            if packet.data.len() < ETHERNET_HEADER {
                recorder.too_short += 1;
                continue;
            }
            let since = || kernel.time().saturating_sub(began);
            backend.sleep(due.saturating_sub(since()));
            card.inject(0, &packet.data).map_err(|e| Failure::running(&e))?;
            let now = epoch.unwrap_or_default().saturating_add(since());
            datapath.receive(0, |packet| recorder.record(now, packet))?;
            recorder.check()?;
        }
        Ok(())
    };
    let result = replay().and_then(|()| recorder.flush());
    Ok((Outcome::new(&mut datapath, start.elapsed(), RX, result), recorder))
}

/// Writes packets to the file.
struct Recorder<'a> {
    file: &'a Path,
    writer: files::Writer,
    snap: usize,
    /// Packets that are still to be written.
    left: u64,
    cut_off: u64,
    /// Packets of a capture that are none.
    too_short: u64,
    /// The last one; its memory serves for the next.
    packet: CapturedPacket,
    /// Since when nothing is written.
    error: Option<CaptureError>,
}

impl<'a> Recorder<'a> {
    fn new(options: &'a Capture) -> Result<Self, Failure> {
        Ok(Self {
            file: &options.file,
            writer: files::create(&options.file)?,
            snap: options.snap_length.unwrap_or(usize::MAX),
            left: options.run.count.unwrap_or(u64::MAX),
            cut_off: 0,
            too_short: 0,
            packet: CapturedPacket::default(),
            error: None,
        })
    }

    fn record(&mut self, time: Duration, packet: &Packet) {
        if self.left == 0 || self.error.is_some() {
            return;
        }
        let CapturedPacket { data, .. } = &mut self.packet;
        data.clear();
        for segment in packet.segments() {
            let room = self.snap.saturating_sub(data.len());
            data.extend_from_slice(&segment[..segment.len().min(room)]);
        }
        self.packet.time = time;
        self.packet.original_len = packet.total_len() as u32;
        match self.writer.write(&self.packet) {
            Ok(()) => {
                self.left -= 1;
                self.cut_off += u64::from(self.packet.is_cut_off());
            }
            Err(error) => self.error = Some(error),
        }
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.error.take().map_or(Ok(()), |error| Err(files::writing(self.file, &error)))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| files::writing(self.file, &error))
    }

    fn lines(&self) -> Vec<String> {
        let written = grouped(self.writer.packets());
        let mut line = format!("capture: {written} packets written to {}", self.file.display());
        if self.cut_off > 0 {
            line += &format!(", {} of them cut off", grouped(self.cut_off));
        }
        if self.too_short > 0 {
            line += &format!(", {} left out, too short for an Ethernet header", grouped(self.too_short));
        }
        vec![line]
    }

    fn json(&self) -> Value {
        json!({ "written": self.writer.packets(), "cut_off": self.cut_off, "too_short": self.too_short })
    }
}
