//! `xsk ping`: round trips to a reflector.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::describe;
use super::flood::{check_room, check_size};
use crate::cli::Ping;
use crate::datapath::{Datapath, Need, Request, backend, interface};
use crate::failure::Failure;
use crate::packet::{Mac, PING_LEN, PingStamp, read_ping, write_ping};
use crate::report::format::{grouped, nanoseconds};
use crate::report::table::Table;
use crate::report::traffic::Directions;
use crate::report::{Output, Watch};
use crate::run::{Outcome, Run, Turn};
use crate::stop::Stop;

/// Requests that wait for a reply at most.
const WINDOW: usize = 1 << 20;
/// Round trips beyond count as this long.
const LONGEST: Duration = Duration::from_secs(3600);
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

pub(crate) fn command(options: &Ping, stop: &Stop) -> Result<(), Failure> {
    let mut output = Output::of(&options.run);
    let (outcome, trips) = run(options, stop, &mut output)?;
    let unanswered = trips.sent > 0 && trips.received() == 0;
    outcome.print(&mut output, &trips.lines(), &[("ping", trips.json())])?;
    if unanswered {
        return Err(Failure::running_text(format!(
            "no reply to {} request(s): is there a reflector (`xsk forward IF`) at the other end?",
            trips.sent
        )));
    }
    Ok(())
}

pub(crate) fn run(options: &Ping, stop: &Stop, watch: &mut dyn Watch) -> Result<(Outcome, Trips), Failure> {
    let info = interface(&backend(), &options.target.name)?;
    check_size(options.size, PING_LEN, &options.target.name, info.mtu)?;
    let targets = std::slice::from_ref(&options.target);
    let (mut datapath, ranges) = Request { targets, need: Need::Both, options: &options.sockets }.open()?;
    check_room(options.size, &datapath)?;
    let (name, mode) = describe(&datapath, &options.target, &ranges[0]);
    let text = format!("pinging on {name} ({mode}), every {:?}", options.interval);
    let value = json!({ "event": "ready", "command": "ping", "interface": name, "mode": mode });
    let directions = Directions { rx: true, tx: true };
    let mut run = Run::start(&datapath, &options.run, directions, stop, watch, (&text, value))?;
    let mut trips = Trips::new(options.timeout)?;
    let mut pinger = Pinger { options, own_mac: info.mac.unwrap_or([0; 6]), trips: &mut trips };
    let result = pinger.ping(&mut run, &mut datapath);
    Ok((run.finish(&mut datapath, result), trips))
}

/// Requests and their replies.
pub(crate) struct Trips {
    timeout: Duration,
    run: u64,
    sent: u64,
    lost: u64,
    /// For each request since the oldest without a reply: when it was sent, or none once it was answered or given up.
    waiting: VecDeque<Option<Instant>>,
    /// Requests that have a reply or are given up, before those in `waiting`.
    settled: u64,
    times: Histogram<u64>,
}

impl Trips {
    fn new(timeout: Duration) -> Result<Self, Failure> {
        let times = Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3)
            .map_err(|e| Failure::running_text(e.to_string()))?;
        // Enough to tell two runs of this tool apart.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let run = now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
        let waiting = VecDeque::new();
        Ok(Self { timeout, run, sent: 0, lost: 0, waiting, settled: 0, times })
    }

    pub(crate) fn received(&self) -> u64 {
        self.times.len()
    }

    /// A reply; false if it is none to a request that waits.
    fn reply(&mut self, stamp: PingStamp, now: Instant) -> bool {
        let at = stamp.sequence.checked_sub(self.settled).and_then(|at| usize::try_from(at).ok());
        let Some(waiting) = at.filter(|_| stamp.run == self.run).and_then(|at| self.waiting.get_mut(at))
        else {
            return false;
        };
        let Some(sent) = waiting.take() else { return false };
        self.times.saturating_record((now - sent).as_nanos() as u64);
        self.settle(now);
        true
    }

    /// Gives up requests that waited too long.
    fn settle(&mut self, now: Instant) {
        while let Some(oldest) = self.waiting.front() {
            match oldest {
                Some(sent) if now.saturating_duration_since(*sent) < self.timeout => return,
                Some(_) => self.lost += 1,
                None => {}
            }
            self.waiting.pop_front();
            self.settled += 1;
        }
    }

    fn percentile(&self, percent: f64) -> u64 {
        self.times.value_at_percentile(percent)
    }

    fn loss(&self) -> f64 {
        // Requests that still wait when the run ends are neither lost nor answered.
        let settled = self.lost + self.received();
        if settled == 0 { 0.0 } else { self.lost as f64 / settled as f64 * 100.0 }
    }

    /// As in `p50 12.3 µs  p99 45.6 µs`.
    pub(crate) fn brief(&self) -> String {
        let [p50, p99] = [50.0, 99.0].map(|percent| nanoseconds(self.percentile(percent)));
        if self.received() == 0 { "no reply".to_owned() } else { format!("p50 {p50}  p99 {p99}") }
    }

    fn line(&self) -> String {
        let Self { sent, .. } = self;
        format!("{} requests  {} replies  {}", grouped(*sent), grouped(self.received()), self.brief())
    }

    /// Without a reply there is no time to tell, and no table.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new()];
        if self.received() > 0 {
            let mut heads = vec!["round trip", "min"];
            heads.extend(PERCENTILES.map(|(name, _)| name));
            heads.push("max");
            let mut table = Table::numbers(&heads);
            let mut row = vec![String::new(), nanoseconds(self.times.min())];
            row.extend(PERCENTILES.map(|(_, percent)| nanoseconds(self.percentile(percent))));
            row.push(nanoseconds(self.times.max()));
            table.row(row);
            lines.extend(table.lines());
            lines.push(String::new());
        }
        let (sent, received) = (grouped(self.sent), grouped(self.received()));
        lines.push(format!("  {sent} requests, {received} replies, {:.3} % lost", self.loss()));
        lines
    }

    /// Times are null without a reply.
    fn json(&self) -> Value {
        let answered = self.received() > 0;
        let times: Value = PERCENTILES
            .iter()
            .map(|(name, percent)| ((*name).to_owned(), json!(answered.then(|| self.percentile(*percent)))))
            .collect();
        json!({
            "sent": self.sent,
            "received": self.received(),
            "timed_out": self.lost,
            "lost_percent": self.loss(),
            "min_ns": answered.then(|| self.times.min()),
            "max_ns": answered.then(|| self.times.max()),
            "mean_ns": answered.then(|| self.times.mean()),
            "percentiles_ns": times,
        })
    }
}

struct Pinger<'a> {
    options: &'a Ping,
    own_mac: Mac,
    trips: &'a mut Trips,
}

impl Pinger<'_> {
    fn ping(&mut self, run: &mut Run<'_>, datapath: &mut Datapath) -> Result<(), Failure> {
        let most = self.options.run.count.unwrap_or(u64::MAX);
        let mut due = run.started();
        loop {
            let mut moved = false;
            for port in 0..datapath.ports() {
                let trips = &mut *self.trips;
                let received = datapath.receive(port, |packet| {
                    if let Some(stamp) = read_ping(packet) {
                        trips.reply(stamp, Instant::now());
                    }
                })?;
                moved |= received > 0;
            }
            let now = Instant::now();
            self.trips.settle(now);
            if self.trips.sent < most && now >= due && self.trips.waiting.len() < WINDOW {
                moved |= self.request(datapath)?;
                // A late request does not make the next ones early.
                due = (due + self.options.interval).max(now);
            }
            let timer = if self.trips.sent < most {
                Some(due)
            } else if self.trips.waiting.is_empty() {
                return Ok(());
            } else {
                None
            };
            match run.turn(datapath, moved, timer)? {
                Turn::Go => {}
                Turn::Report => self.report(run)?,
                Turn::End => return Ok(()),
            }
        }
    }

    fn request(&mut self, datapath: &mut Datapath) -> Result<bool, Failure> {
        let Self { options, own_mac, trips } = self;
        let port = (trips.sent % datapath.ports() as u64) as usize;
        let now = Instant::now();
        let stamp = PingStamp { run: trips.run, sequence: trips.sent };
        // Before it is sent: in copy mode the reply may be there when the call returns.
        trips.waiting.push_back(Some(now));
        let sent = datapath.send(port, 1, |packet| {
            // There is room for it: `check_room`.
            if packet.resize(options.size).is_ok() {
                write_ping(packet, options.dst_mac, *own_mac, stamp);
            }
        })?;
        let sent = sent > 0;
        if sent {
            trips.sent += 1;
        } else {
            trips.waiting.pop_back();
        }
        Ok(sent)
    }

    fn report(&self, run: &mut Run<'_>) -> Result<(), Failure> {
        let seconds = run.started().elapsed();
        let mut value = self.trips.json();
        value["event"] = "interval".into();
        value["seconds"] = seconds.as_secs_f64().into();
        run.say(&format!("{:>5} s  {}", seconds.as_secs(), self.trips.line()), value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_count_once_and_losses_are_given_up() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut trips = Trips::new(Duration::from_millis(100)).unwrap();
        for request in 0..3 {
            trips.waiting.push_back(Some(at(request)));
            trips.sent += 1;
        }
        let stamp = |sequence| PingStamp { run: trips.run, sequence };
        let (first, second, never) = (stamp(0), stamp(1), stamp(3));
        assert!(trips.reply(second, at(3)));
        assert!(!trips.reply(second, at(4)), "a duplicate");
        assert!(!trips.reply(never, at(4)), "never sent");
        assert!(!trips.reply(PingStamp { run: 0, ..first }, at(4)), "somebody else's");
        assert_eq!((trips.received(), trips.settled, trips.waiting.len()), (1, 0, 3));
        trips.settle(at(101));
        assert_eq!((trips.lost, trips.settled, trips.waiting.len()), (1, 2, 1));
        assert!(!trips.reply(first, at(101)), "too late");
        trips.settle(at(200));
        assert_eq!((trips.lost, trips.waiting.len()), (2, 0));
        assert!((trips.loss() - 66.7).abs() < 0.1);
        assert_eq!(trips.brief(), "p50 2.00 ms  p99 2.00 ms");
    }
}
