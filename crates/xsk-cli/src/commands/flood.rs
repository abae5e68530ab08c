//! `xsk flood`: send frames, at a rate or as fast as it goes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{describe, queues};
use crate::cli::{Flood, FrameOptions};
use crate::datapath::{Datapath, Need, Request, backend, interface};
use crate::failure::Failure;
use crate::packet::{ETHERNET_HEADER, Mac, UDP_HEADERS, Udp, write_raw, write_udp};
use crate::report::format::grouped;
use crate::report::traffic::Directions;
use crate::report::{Output, Watch};
use crate::run::{Outcome, Run, Turn};
use crate::stop::Stop;
use crate::threads::{Quota, Team};

/// Of an interface that has none, as `lo`.
const NO_MAC: Mac = [0; 6];
/// Frames that are made beforehand at most.
const MOST_FLOWS: u16 = 4096;
/// What a VLAN tag may add to the largest frame.
const TAG: usize = 4;

pub(crate) fn command(options: &Flood, stop: &Stop) -> Result<(), Failure> {
    let mut output = Output::of(&options.run);
    let outcome = run(options, stop, &mut output)?;
    outcome.print(&mut output, &[], &[])
}

pub(crate) fn run(options: &Flood, stop: &Stop, watch: &mut dyn Watch) -> Result<Outcome, Failure> {
    let (frames, size) = (&options.frames, options.frames.size);
    let info = interface(&backend(), &options.target.name)?;
    let least = if frames.udp { UDP_HEADERS } else { ETHERNET_HEADER };
    check_size(size, least, &options.target.name, info.mtu)?;
    let targets = std::slice::from_ref(&options.target);
    let (mut datapath, ranges) = Request { targets, need: Need::Send, options: &options.sockets }.open()?;
    check_room(size, &datapath)?;
    let frames = make_frames(frames, info.mac.unwrap_or(NO_MAC));

    let (name, mode) = describe(&datapath, &options.target, &ranges[0]);
    let routes: Vec<_> = (0..datapath.ports()).collect();
    let team = Team::new(&options.threads, &routes)?;
    let text = format!(
        "flooding {name} ({mode}), {}{}, frames of {} bytes",
        queues(datapath.ports()),
        Team::words(team.as_ref()),
        grouped(size as u64)
    );
    let threads = Team::json(team.as_ref(), &datapath);
    let value = json!({
        "event": "ready", "command": "flood", "interface": name, "mode": mode, "size": size, "threads": threads,
    });
    let directions = Directions { rx: false, tx: true };
    let mut run = Run::start(&datapath, &options.run, directions, stop, watch, (&text, value))?;
    let batch = options.sockets.batch as usize;
    let quota = Quota::new(options.run.count);
    let result = run.spread(&mut datapath, team.as_ref(), |run, datapath| {
        // Each thread keeps the rate of its queues.
        let share = datapath.senders() as f64 / datapath.ports() as f64;
        let rate = options.rate.map(|rate| rate as f64 * share);
        let pace = Pace { rate, start: run.started(), sent: 0, batch: batch as u64 };
        flood(run, datapath, &frames, batch, pace, &quota)
    });
    Ok(run.finish(&mut datapath, result))
}

/// Whether frames of `size` bytes can leave the interface, whose MTU does not count the header.
pub(super) fn check_size(size: usize, least: usize, name: &str, mtu: u32) -> Result<(), Failure> {
    let most = mtu as usize + ETHERNET_HEADER + TAG;
    if size < least {
        return Err(Failure::usage(format!("--size {size}: such a frame has at least {least} bytes")));
    }
    if size > most {
        return Err(Failure::usage(format!(
            "--size {size}: at MTU {mtu}, frames on {name} have at most {most} bytes"
        )));
    }
    Ok(())
}

pub(super) fn check_room(size: usize, datapath: &Datapath) -> Result<(), Failure> {
    let room = datapath.room();
    if size > room {
        return Err(Failure::usage(format!(
            "--size {size}: a UMEM frame holds at most {room} bytes of a packet"
        )));
    }
    Ok(())
}

/// What is sent, in turn: a frame for each flow.
fn make_frames(options: &FrameOptions, own_mac: Mac) -> Vec<Vec<u8>> {
    let (dst, src) = (options.dst_mac, options.src_mac.unwrap_or(own_mac));
    let make = |flow: u16| {
        let mut frame = vec![0; options.size];
        if options.udp {
            let src_port = options.src_port.wrapping_add(flow);
            let udp = Udp { src: (options.src_ip, src_port), dst: (options.dst_ip, options.dst_port) };
            write_udp(&mut frame, dst, src, udp);
        } else {
            write_raw(&mut frame, dst, src);
        }
        frame
    };
    // More would not fit into a processor's cache, and few receivers have more queues.
    (0..options.flows.min(MOST_FLOWS)).map(make).collect()
}

/// How many frames are due.
struct Pace {
    /// Frames per second.
    rate: Option<f64>,
    start: Instant,
    sent: u64,
    batch: u64,
}

impl Pace {
    fn due(&mut self, now: Instant) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        let total = (now - self.start).as_nanos() as f64 * rate / 1e9;
        let due = (total as u64).saturating_sub(self.sent);
        // What could not be sent for 10 ms is not made up for.
        let most = ((rate / 100.0) as u64).max(self.batch);
        self.sent += due.saturating_sub(most);
        due.min(most)
    }

    /// When the next frame, or batch of them if that is within a millisecond, is due.
    fn next(&self) -> Option<Instant> {
        let rate = self.rate?;
        let batch = ((rate / 1000.0) as u64).clamp(1, self.batch);
        let nanoseconds = self.sent.saturating_add(batch) as f64 * 1e9 / rate;
        self.start.checked_add(Duration::from_nanos((nanoseconds as u64).saturating_add(1)))
    }
}

fn flood(
    run: &mut Run<'_>,
    datapath: &mut Datapath,
    frames: &[Vec<u8>],
    batch: usize,
    mut pace: Pace,
    quota: &Quota,
) -> Result<(), Failure> {
    let mut sender = 0;
    let mut frames = frames.iter().cycle();
    loop {
        let mut moved = false;
        // All queues once, beginning with the next one: at low rates they take turns.
        for _ in 0..datapath.senders() {
            let due = if pace.rate.is_some() { pace.due(Instant::now()) } else { u64::MAX };
            let want = quota.take(due.min(batch as u64));
            if want == 0 {
                break;
            }
            let sent = datapath.send(sender, want as usize, |packet| {
                // There is room for it: `check_room`.
                let _ = frames.next().map(|frame| packet.extend_from_slice(frame));
            })?;
            sender = (sender + 1) % datapath.senders();
            pace.sent += sent as u64;
            quota.give_back(want - sent as u64);
            moved |= sent > 0;
        }
        if quota.is_used_up() {
            return Ok(());
        }
        match run.turn(datapath, moved, pace.next())? {
            Turn::Go => {}
            Turn::Report => run.report(datapath)?,
            Turn::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_and_not_made_up_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace { rate: Some(1000.0), start, sent: 0, batch: 8 };
        assert_eq!(pace.due(start), 0);
        assert_eq!(pace.due(at(5)), 5);
        pace.sent += 5;
        assert_eq!(pace.due(at(5)), 0);
        assert!(pace.next().unwrap() > at(5) && pace.next().unwrap() < at(7));
        // A second of nothing: only 10 frames are made up for.
        assert_eq!(pace.due(at(1005)), 10);
        pace.sent += 10;
        assert_eq!(pace.due(at(1005)), 0);
    }
}
