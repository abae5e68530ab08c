//! `xsk replay`: the packets of a file, out of an interface.

use std::collections::VecDeque;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xsk_sim::capture::CapturedPacket;

use super::describe;
use super::files::{self, Next, Packets};
use super::simulated::{self, Card, LONGEST};
use crate::cli::Replay;
use crate::datapath::{Datapath, Need, Request, backend, interface};
use crate::failure::Failure;
use crate::packet::ETHERNET_HEADER;
use crate::report::format::grouped;
use crate::report::traffic::Directions;
use crate::report::{Output, Watch};
use crate::run::{Outcome, Run, Turn};
use crate::stop::Stop;
use crate::values::{Side, Target};

const TX: Directions = Directions { rx: false, tx: true };
/// How soon it is looked again for what may come from standard input.
const LATER: Duration = Duration::from_millis(1);
/// What a VLAN tag may add to the largest frame.
const TAG: usize = 4;

pub(crate) fn command(options: &Replay, stop: &Stop) -> Result<(), Failure> {
    let mut output = Output::of(&options.run);
    let source = Source::open(options, stop)?;
    let (outcome, source) = match &options.to {
        Side::Interface(target) => to_interface(options, source, target, stop, &mut output)?,
        Side::Capture(to) => to_capture(options, source, to, stop, &mut output)?,
    };
    outcome.print(&mut output, &source.lines(), &[("replay", source.json())])
}

fn to_interface<'a>(
    options: &'a Replay,
    mut source: Source<'a>,
    target: &Target,
    stop: &Stop,
    output: &mut Output,
) -> Result<(Outcome, Source<'a>), Failure> {
    // Packets of several queues overtake each other.
    let target = Target { queue: target.queue.or(Some(0)), ..target.clone() };
    let info = interface(&backend(), &target.name)?;
    let request =
        Request { targets: std::slice::from_ref(&target), need: Need::Send, options: &options.sockets };
    let (mut datapath, ranges) = request.open()?;
    source.most = datapath.room().min(info.mtu as usize + ETHERNET_HEADER + TAG);
    let (name, mode) = describe(&datapath, &target, &ranges[0]);
    let text = format!("replaying {} to {name} ({mode})", files::input_name(&options.file));
    let value = json!({ "event": "ready", "command": "replay", "interface": name, "mode": mode });
    let mut run = Run::start(&datapath, &options.run, TX, stop, output, (&text, value))?;
    let result = replay(&mut run, &mut datapath, &mut source, options.sockets.batch as usize);
    Ok((run.finish(&mut datapath, result), source))
}

fn replay(
    run: &mut Run<'_>,
    datapath: &mut Datapath,
    source: &mut Source<'_>,
    batch: usize,
) -> Result<(), Failure> {
    // Those that were read, and when they are due.
    let mut next: VecDeque<(Duration, Vec<u8>)> = VecDeque::new();
    let mut over = false;
    loop {
        let now = run.started().elapsed();
        while !over && next.len() < batch && next.back().is_none_or(|(due, _)| *due <= now) {
            match source.next(now)? {
                Next::Packet(packet) => next.push_back(packet),
                Next::Later => break,
                Next::Over => over = true,
            }
        }
        let due = next.iter().take_while(|(due, _)| *due <= now).count();
        let mut packets = next.iter();
        let sent = datapath.send(0, due, |packet| {
            // There is room for it: the source has none that are longer.
            let _ = packets.next().map(|(_, data)| packet.extend_from_slice(data));
        })?;
        next.drain(..sent);
        source.counts.sent += sent as u64;
        let due = match next.front() {
            Some((due, _)) => run.started().checked_add(*due),
            None if over => return Ok(()),
            None => run.started().checked_add(now + LATER),
        };
        match run.turn(datapath, sent > 0, due)? {
            Turn::Go => {}
            Turn::Report => run.report(datapath)?,
            Turn::End => return Ok(()),
        }
    }
}

/// Out of a simulated card, and what comes out of it to a file. Time is the capture's.
fn to_capture<'a>(
    options: &'a Replay,
    mut source: Source<'a>,
    to: &Path,
    stop: &Stop,
    output: &mut Output,
) -> Result<(Outcome, Source<'a>), Failure> {
    files::check_distinct(&options.file, to)?;
    if source.rounds.is_none() && options.run.count.is_none() && options.run.duration.is_none() {
        return Err(Failure::usage("--loop 0 fills the disk: limit it with --count or --duration"));
    }
    let Card { mut datapath, kernel, card } = simulated::card(Need::Send, &options.sockets)?;
    source.most = datapath.room();
    let mut writer = files::create(to)?;
    let mode = datapath.mode(0);
    let from = files::input_name(&options.file);
    let text = format!("replaying {from} to {} (simulated kernel, {mode})", to.display());
    let value = json!({ "event": "ready", "command": "replay", "simulated": true, "mode": mode });
    output.ready(&text, value).map_err(|e| Failure::output(&e))?;
    let (start, began, backend) = (Instant::now(), kernel.time(), kernel.backend());
    let mut send = || -> Result<(), Failure> {
        loop {
            let next = source.next(Duration::ZERO)?;
            if stop.is_asked() {
                return Ok(());
            }
            let (due, data) = match next {
                Next::Packet(packet) => packet,
                Next::Later => {
                    thread::sleep(LATER);
                    continue;
                }
                Next::Over => return Ok(()),
            };
            if options.run.duration.is_some_and(|duration| due >= duration) {
                return Ok(());
            }
            backend.sleep(due.saturating_sub(kernel.time().saturating_sub(began)));
            while datapath.send(0, 1, |packet| _ = packet.extend_from_slice(&data))? == 0 {
                backend.sleep(Duration::from_micros(1));
            }
            source.counts.sent += 1;
            while let Some((moment, data)) = card.sent_at() {
                let time = source.epoch.saturating_add(moment.saturating_sub(began));
                let written = writer.write(&CapturedPacket::new(time, data));
                written.map_err(|e| files::writing(to, &e))?;
            }
        }
    };
    let result = send();
    let finished = writer.finish().map(drop).map_err(|e| files::writing(to, &e));
    Ok((Outcome::new(&mut datapath, start.elapsed(), TX, result.and(finished)), source))
}

#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    too_short: u64,
    too_long: u64,
    cut_off: u64,
}

/// The packets of the file, as often as they are wanted.
struct Source<'a> {
    file: &'a Path,
    packets: Packets,
    timeline: Timeline,
    /// Rounds, with this one; without end if none.
    rounds: Option<u64>,
    /// Packets that are still wanted.
    left: u64,
    /// Bytes of the longest packet that can be sent.
    most: usize,
    /// Packets of this round.
    round: u64,
    /// The time of the first packet.
    epoch: Duration,
    counts: Counts,
}

impl<'a> Source<'a> {
    fn open(options: &'a Replay, stop: &'a Stop) -> Result<Self, Failure> {
        if files::is_standard(&options.file) && options.rounds != 1 {
            return Err(Failure::usage("standard input can be read once: leave --loop out, or name a file"));
        }
        Ok(Self {
            file: &options.file,
            packets: Packets::open(&options.file, stop)?,
            timeline: Timeline::new((!options.topspeed).then_some(options.multiplier)),
            rounds: (options.rounds > 0).then_some(options.rounds),
            left: options.run.count.unwrap_or(u64::MAX),
            most: usize::MAX,
            round: 0,
            epoch: Duration::ZERO,
            counts: Counts::default(),
        })
    }

    /// The next packet, and when it is due after the start, since which it is `now`.
    fn next(&mut self, now: Duration) -> Result<Next<(Duration, Vec<u8>)>, Failure> {
        while self.left > 0 {
            let packet = match self.packets.next().map_err(|e| files::reading(self.file, &e))? {
                Next::Packet(packet) => packet,
                Next::Later => return Ok(Next::Later),
                Next::Over => {
                    self.rounds = self.rounds.map(|rounds| rounds - 1);
                    if self.rounds == Some(0) || self.round == 0 {
                        return Ok(Next::Over);
                    }
                    self.round = 0;
                    self.timeline.again();
                    self.packets = files::open(self.file).map(Packets::File)?;
                    continue;
                }
            };
            if packet.data.len() < ETHERNET_HEADER {
                self.counts.too_short += 1;
                continue;
            }
            if packet.data.len() > self.most {
                self.counts.too_long += 1;
                continue;
            }
            self.counts.cut_off += u64::from(packet.is_cut_off());
            if self.round == 0 && self.epoch.is_zero() {
                self.epoch = packet.time;
                self.timeline.base = now;
            }
            self.round += 1;
            self.left -= 1;
            return Ok(Next::Packet((self.timeline.due(packet.time), packet.data)));
        }
        Ok(Next::Over)
    }

    fn lines(&self) -> Vec<String> {
        let Counts { sent, too_short, too_long, cut_off } = &self.counts;
        let mut line = format!("replay: {} packets of {}", grouped(*sent), files::input_name(self.file));
        for (count, words) in [
            (too_short, "too short for an Ethernet header"),
            (too_long, "too long for the interface or a frame"),
            (cut_off, "that the file has the beginning of only"),
        ] {
            if *count > 0 {
                line += &format!(", {} {words}", grouped(*count));
            }
        }
        vec![line]
    }

    fn json(&self) -> Value {
        let Counts { sent, too_short, too_long, cut_off } = &self.counts;
        json!({ "sent": sent, "too_short": too_short, "too_long": too_long, "cut_off": cut_off })
    }
}

/// When packets are due. Never goes back.
struct Timeline {
    /// How many times as fast as the capture; as fast as it goes if none.
    speed: Option<f64>,
    /// The capture's time at which the round began.
    first: Option<Duration>,
    /// When it began.
    base: Duration,
    last: Duration,
}

impl Timeline {
    fn new(speed: Option<f64>) -> Self {
        Self { speed, first: None, base: Duration::ZERO, last: Duration::ZERO }
    }

    fn due(&mut self, time: Duration) -> Duration {
        if let Some(speed) = self.speed {
            let since = time.saturating_sub(*self.first.get_or_insert(time)).min(LONGEST);
            self.last = self.last.max(self.base + since.div_f64(speed));
        }
        self.last
    }

    /// Another round, from the last packet on.
    fn again(&mut self) {
        (self.first, self.base) = (None, self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_as_captured_and_faster() {
        let ms = Duration::from_millis;
        let mut timeline = Timeline::new(Some(2.0));
        let due = [1000, 1010, 1004, 1030].map(|time| timeline.due(ms(time)));
        assert_eq!(due, [ms(0), ms(5), ms(5), ms(15)]);
        timeline.again();
        assert_eq!([1000, 1010].map(|time| timeline.due(ms(time))), [ms(15), ms(20)]);
        let mut at_once = Timeline::new(None);
        assert_eq!([1000, 9000].map(|time| at_once.due(ms(time))), [ms(0), ms(0)]);
        assert!(Timeline::new(Some(1e-3)).due(Duration::MAX) == ms(0));
    }
}
