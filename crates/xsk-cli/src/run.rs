//! What all running commands share: when to end, when to report, when to sleep, and the summary.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::RunOptions;
use crate::datapath::{Account, Datapath, PortSample};
use crate::failure::Failure;
use crate::report::traffic::{Directions, Named, interval, summary_json, summary_lines};
use crate::report::{Output, Watch};
use crate::stop::Stop;

/// What a loop does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Go,
    /// A second is over: report, then go on.
    Report,
    End,
}

pub(crate) struct Run<'a> {
    stop: &'a Stop,
    watch: &'a mut dyn Watch,
    directions: Directions,
    start: Instant,
    end: Option<Instant>,
    next_report: Instant,
    next_check: Instant,
    last_report: Instant,
    last_sample: Vec<PortSample>,
    /// Turns since the clock was read.
    turns: u32,
}

/// The clock is read this often while packets move.
const TURNS: u32 = 16;
const REPORT: Duration = Duration::from_secs(1);
/// How often it is checked whether the interfaces are still there.
const CHECK: Duration = Duration::from_millis(100);
/// How long the end waits for frames that are being sent.
const DRAIN: Duration = Duration::from_secs(1);

/// What is left of a run.
pub(crate) struct Outcome {
    pub(crate) ports: Vec<Named>,
    pub(crate) elapsed: Duration,
    pub(crate) account: Account,
    pub(crate) directions: Directions,
    pub(crate) failure: Option<Failure>,
}

impl<'a> Run<'a> {
    /// Starts the clock, and says that packets move.
    pub(crate) fn start(
        datapath: &Datapath,
        options: &RunOptions,
        directions: Directions,
        stop: &'a Stop,
        watch: &'a mut dyn Watch,
        (text, value): (&str, Value),
    ) -> Result<Self, Failure> {
        watch.ready(text, value).map_err(|e| Failure::output(&e))?;
        let start = Instant::now();
        Ok(Self {
            stop,
            watch,
            directions,
            start,
            end: options.duration.and_then(|duration| start.checked_add(duration)),
            next_report: start + REPORT,
            next_check: start + CHECK,
            last_report: start,
            last_sample: vec![PortSample::default(); datapath.ports()],
            turns: 0,
        })
    }

    pub(crate) fn started(&self) -> Instant {
        self.start
    }

    /// After each round over the ports: `moved` says whether any packet did. Otherwise it waits for some, at most until
    /// `timer`.
    pub(crate) fn turn(
        &mut self,
        datapath: &mut Datapath,
        moved: bool,
        timer: Option<Instant>,
    ) -> Result<Turn, Failure> {
        if self.stop.is_asked() {
            return Ok(Turn::End);
        }
        self.turns += 1;
        if moved {
            datapath.moved();
            if self.turns < TURNS {
                return Ok(Turn::Go);
            }
        }
        self.turns = 0;
        let now = Instant::now();
        if self.end.is_some_and(|end| now >= end) {
            return Ok(Turn::End);
        }
        if now >= self.next_check {
            self.next_check = now + CHECK;
            datapath.check()?;
        }
        if now >= self.next_report {
            // Skips seconds rather than reporting late ones in a row.
            while self.next_report <= now {
                self.next_report += REPORT;
            }
            return Ok(Turn::Report);
        }
        if !moved {
            let wake =
                [Some(self.next_report), Some(self.next_check), self.end, timer].into_iter().flatten().min();
            let limit = wake.map_or(CHECK, |wake| wake.saturating_duration_since(now));
            datapath.wait(limit)?;
        }
        Ok(Turn::Go)
    }

    /// Reports the last second's traffic.
    pub(crate) fn report(&mut self, datapath: &mut Datapath) -> Result<(), Failure> {
        let sample = datapath.sample();
        let now = Instant::now();
        let seconds = (now - self.last_report).as_secs_f64();
        let (text, value) = interval(now - self.start, seconds, &sample, &self.last_sample, self.directions);
        self.last_report = now;
        self.last_sample = sample;
        self.say(&text, value)
    }

    pub(crate) fn say(&mut self, text: &str, value: Value) -> Result<(), Failure> {
        self.watch.live(text, value).map_err(|e| Failure::output(&e))
    }

    /// Waits for what is being sent, and sums up.
    pub(crate) fn finish(self, datapath: &mut Datapath, result: Result<(), Failure>) -> Outcome {
        Outcome::new(datapath, self.start.elapsed(), self.directions, result)
    }
}

impl Outcome {
    /// Waits for what is being sent, closes the ports, and looks where everything is.
    pub(crate) fn new(
        datapath: &mut Datapath,
        elapsed: Duration,
        directions: Directions,
        result: Result<(), Failure>,
    ) -> Self {
        datapath.drain(DRAIN);
        let samples = datapath.sample().into_iter().enumerate();
        let ports = samples
            .map(|(port, sample)| Named { name: datapath.port_name(port).to_owned(), sample })
            .collect();
        let account = datapath.close();
        let lost = || Failure::running_text("frames were lost; this is a bug in xsk");
        let failure = result.err().or_else(|| (!account.whole).then(lost));
        Self { ports, elapsed, account, directions, failure }
    }

    /// Prints the summary, with `more` lines or fields before the table, and passes on what ended the run.
    pub(crate) fn print(
        self,
        output: &mut Output,
        more: &[String],
        fields: &[(&str, Value)],
    ) -> Result<(), Failure> {
        if let Some(Failure::OutputClosed) = self.failure {
            return Err(Failure::OutputClosed);
        }
        if output.is_json() {
            let mut value = summary_json(&self.ports, self.elapsed, &self.account);
            for (name, field) in fields {
                value[*name] = field.clone();
            }
            output.value(&value)?;
        } else {
            output.lines(more)?;
            output.lines(&summary_lines(&self.ports, self.elapsed, &self.account, self.directions))?;
        }
        self.failure.map_or(Ok(()), Err)
    }
}
