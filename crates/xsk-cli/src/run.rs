//! What all running commands share: when to end, when to report, when to sleep, and the summary.

use std::sync::mpsc::{Receiver, Sender};
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

/// Of a command, or of one of its threads.
pub(crate) struct Run<'a> {
    pub(crate) terms: Terms<'a>,
    pub(crate) reports: Reports<'a>,
    next_report: Instant,
    next_check: Instant,
    /// Turns since the clock was read.
    turns: u32,
}

/// What all threads of a command have in common.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) stop: &'a Stop,
    directions: Directions,
    start: Instant,
    end: Option<Instant>,
}

/// Where the counters go each second.
pub(crate) enum Reports<'a> {
    Watched(Reporter<'a>),
    /// To the reporter of all threads, with the number of this one.
    Gathered(usize, Sender<Counted>),
}

/// What a thread has counted.
pub(crate) type Counted = (usize, Vec<PortSample>);

/// Reports each second's traffic.
pub(crate) struct Reporter<'a> {
    watch: &'a mut dyn Watch,
    directions: Directions,
    names: Vec<String>,
    start: Instant,
    last_report: Instant,
    last_sample: Vec<PortSample>,
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
        let names: Vec<_> = (0..datapath.ports()).map(|port| datapath.port_name(port).to_owned()).collect();
        let last_sample = vec![PortSample::default(); names.len()];
        let end = options.duration.and_then(|duration| start.checked_add(duration));
        let reporter = Reporter { watch, directions, names, start, last_report: start, last_sample };
        Ok(Self::on(Terms { stop, directions, start, end }, Reports::Watched(reporter)))
    }

    pub(crate) fn on(terms: Terms<'a>, reports: Reports<'a>) -> Self {
        let (next_report, next_check) = (terms.start + REPORT, terms.start + CHECK);
        Self { terms, reports, next_report, next_check, turns: 0 }
    }

    pub(crate) fn started(&self) -> Instant {
        self.terms.start
    }

    /// After each round over the ports: `moved` says whether any packet did. Otherwise it waits for some, at most until
    /// `timer`.
    pub(crate) fn turn(
        &mut self,
        datapath: &mut Datapath,
        moved: bool,
        timer: Option<Instant>,
    ) -> Result<Turn, Failure> {
        if self.terms.stop.is_asked() {
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
        if self.terms.end.is_some_and(|end| now >= end) {
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
            let wake = [Some(self.next_report), Some(self.next_check), self.terms.end, timer]
                .into_iter()
                .flatten()
                .min();
            let limit = wake.map_or(CHECK, |wake| wake.saturating_duration_since(now));
            datapath.wait(limit)?;
        }
        Ok(Turn::Go)
    }

    /// Reports the last second's traffic.
    pub(crate) fn report(&mut self, datapath: &mut Datapath) -> Result<(), Failure> {
        let sample = datapath.sample();
        match &mut self.reports {
            Reports::Watched(reporter) => reporter.report(sample),
            Reports::Gathered(thread, counted) => {
                // Where nobody listens any more, the end is near.
                let _ = counted.send((*thread, sample));
                Ok(())
            }
        }
    }

    /// Says something else; of a thread nobody hears it.
    pub(crate) fn say(&mut self, text: &str, value: Value) -> Result<(), Failure> {
        match &mut self.reports {
            Reports::Watched(reporter) => reporter.say(text, value),
            Reports::Gathered(..) => Ok(()),
        }
    }

    /// Waits for what is being sent, and sums up.
    pub(crate) fn finish(self, datapath: &mut Datapath, result: Result<(), Failure>) -> Outcome {
        Outcome::new(datapath, self.terms.start.elapsed(), self.terms.directions, result)
    }
}

impl Reporter<'_> {
    fn report(&mut self, sample: Vec<PortSample>) -> Result<(), Failure> {
        let now = Instant::now();
        let seconds = (now - self.last_report).as_secs_f64();
        let (at, before) = (now - self.start, &self.last_sample);
        let (text, value) = interval(at, seconds, &self.names, &sample, before, self.directions);
        self.last_report = now;
        self.last_sample = sample;
        self.say(&text, value)
    }

    fn say(&mut self, text: &str, value: Value) -> Result<(), Failure> {
        self.watch.live(text, value).map_err(|e| Failure::output(&e))
    }

    /// Reports what threads have counted whenever each has told it, until all have ended.
    pub(crate) fn gather(&mut self, counted: Receiver<Counted>, threads: usize) -> Result<(), Failure> {
        let mut latest: Vec<Option<Vec<PortSample>>> = vec![None; threads];
        for (thread, sample) in counted {
            latest[thread] = Some(sample);
            if !latest.iter().all(Option::is_some) {
                continue;
            }
            let mut total = vec![PortSample::default(); self.names.len()];
            for part in latest.iter_mut().filter_map(Option::take) {
                total.iter_mut().zip(&part).for_each(|(total, part)| total.add(part));
            }
            self.report(total)?;
        }
        Ok(())
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
