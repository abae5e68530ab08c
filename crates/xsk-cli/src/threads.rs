//! `--threads`: a command on several threads, each with a part of the ports.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};

use serde_json::{Value, json};

use crate::cli::ThreadOptions;
use crate::datapath::{Datapath, Shares};
use crate::failure::Failure;
use crate::run::{Reports, Run};

/// Packets that are still wanted, of all threads together.
#[derive(Debug)]
pub(crate) struct Quota(AtomicU64);

impl Quota {
    /// Without a number, so many that it never ends.
    pub(crate) fn new(count: Option<u64>) -> Self {
        Self(AtomicU64::new(count.unwrap_or(u64::MAX)))
    }

    /// Takes at most `count` off. Returns how many were left to take.
    pub(crate) fn take(&self, count: u64) -> u64 {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(count)));
        taken.map_or(0, |left| left.min(count))
    }

    /// Gives back what was taken and not used.
    pub(crate) fn give_back(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// The threads of a command, and what each has.
#[derive(Debug)]
pub(crate) struct Team {
    shares: Shares,
    /// Where they run, in turn; anywhere if there are none.
    cpus: Vec<usize>,
}

impl Team {
    /// None if no threads are asked for. `routes`: of each port, the one that its packets leave by.
    pub(crate) fn new(options: &ThreadOptions, routes: &[usize]) -> Result<Option<Self>, Failure> {
        let Some(wanted) = options.threads else { return Ok(None) };
        let cpus = options.cpus.as_ref().map_or_else(Vec::new, |cpus| cpus.0.clone());
        affinity::check(&cpus)?;
        Ok(Some(Self { shares: Shares::new(wanted.map(usize::from), routes), cpus }))
    }

    /// As in `, 4 threads`.
    pub(crate) fn words(team: Option<&Self>) -> String {
        match team.map(|team| team.shares.threads()) {
            None => String::new(),
            Some(1) => ", 1 thread".to_owned(),
            Some(count) => format!(", {count} threads"),
        }
    }

    /// What each thread has, for the event `ready`; null without threads.
    pub(crate) fn json(team: Option<&Self>, datapath: &Datapath) -> Value {
        let of_thread = |team: &Self, thread| {
            let (receives, sends) = datapath.names_of(&team.shares, thread);
            json!({ "receives": receives, "sends": sends, "cpu": team.cpu(thread) })
        };
        team.map_or(Value::Null, |team| {
            (0..team.shares.threads()).map(|thread| of_thread(team, thread)).collect()
        })
    }

    fn cpu(&self, thread: usize) -> Option<usize> {
        self.cpus.get(thread % self.cpus.len().max(1)).copied()
    }

    /// Its first port; Linux shows as much of it as it shows of any.
    fn name(&self, datapath: &Datapath, thread: usize) -> String {
        let (receives, sends) = datapath.names_of(&self.shares, thread);
        receives.first().or(sends.first()).map_or_else(String::new, |name| (*name).to_owned())
    }
}

impl Run<'_> {
    /// Does `work` with all ports; or, with a team, with its part on each thread, and reports for all of them here. Whatever
    /// fails or panics in one thread stops the others. Afterwards the ports are back.
    pub(crate) fn spread(
        &mut self,
        datapath: &mut Datapath,
        team: Option<&Team>,
        work: impl Fn(&mut Run<'_>, &mut Datapath) -> Result<(), Failure> + Sync,
    ) -> Result<(), Failure> {
        let Some(team) = team else { return work(self, datapath) };
        let (terms, work) = (self.terms, &work);
        let names: Vec<_> = (0..team.shares.threads()).map(|thread| team.name(datapath, thread)).collect();
        let parts = datapath.split(&team.shares);
        let (sender, counted) = mpsc::channel();
        let (told, results) = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (thread, (name, mut part)) in names.iter().zip(parts).enumerate() {
                let counts = sender.clone();
                let body = move || {
                    let mut run = Run::on(terms, Reports::Gathered(thread, counts));
                    let work = || {
                        team.cpu(thread).map_or(Ok(()), affinity::pin)?;
                        work(&mut run, &mut part)
                    };
                    let result = catch_unwind(AssertUnwindSafe(work));
                    let result = result.unwrap_or_else(|panic| Err(panicked(name, &*panic)));
                    if result.is_err() {
                        terms.stop.ask();
                    }
                    (part, result)
                };
                let started = thread::Builder::new().name(name.clone()).spawn_scoped(scope, body);
                threads.push(started.map_err(|error| {
                    terms.stop.ask();
                    Failure::cannot_run(format!("cannot start a thread for {name}: {error}"))
                }));
            }
            // The threads alone have one now, and it ends with them.
            drop(sender);
            let told = match &mut self.reports {
                Reports::Watched(reporter) => reporter.gather(counted, names.len()),
                Reports::Gathered(..) => Ok(()),
            };
            if told.is_err() {
                terms.stop.ask();
            }
            let results: Vec<_> =
                threads.into_iter().map(|thread| thread.map(ScopedJoinHandle::join)).collect();
            (told, results)
        });
        let mut result = told;
        for (name, of_thread) in names.iter().zip(results) {
            result = result.and(match of_thread {
                Ok(Ok((part, worked))) => {
                    datapath.rejoin(part);
                    worked
                }
                Ok(Err(panic)) => Err(panicked(name, &*panic)),
                Err(failure) => Err(failure),
            });
        }
        result
    }
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of unknown cause");
    Failure::running_text(format!("the thread of {name} panicked: {text}; this is a bug in xsk"))
}

/// Where threads run.
#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use crate::failure::Failure;

    /// An error if the process may not run on one of them.
    pub(super) fn check(cpus: &[usize]) -> Result<(), Failure> {
        let cannot =
            |error| Failure::cannot_run(format!("cannot find out on which CPUs this may run: {error}"));
        let allowed = sched_getaffinity(None).map_err(cannot)?;
        match cpus.iter().find(|&&cpu| cpu >= CpuSet::MAX_CPU || !allowed.is_set(cpu)) {
            Some(cpu) => Err(Failure::usage(format!(
                "--cpus: there is no CPU {cpu}, or this process may not run on it; `nproc` and `taskset -p $$` tell"
            ))),
            None => Ok(()),
        }
    }

    /// Binds this thread.
    pub(super) fn pin(cpu: usize) -> Result<(), Failure> {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        let cannot = |error| Failure::cannot_run(format!("cannot bind a thread to CPU {cpu}: {error}"));
        sched_setaffinity(None, &cpus).map_err(cannot)
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    use crate::failure::Failure;

    pub(super) fn check(cpus: &[usize]) -> Result<(), Failure> {
        if cpus.is_empty() { Ok(()) } else { Err(Failure::cannot_run("--cpus: on Linux only")) }
    }

    pub(super) fn pin(_: usize) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::time::Duration;

    use clap::Parser;
    use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

    use super::*;
    use crate::cli::{Cli, Command, Drop};
    use crate::commands::drop::drop_all;
    use crate::datapath::{Need, Request};
    use crate::report::Watch;
    use crate::report::traffic::Directions;
    use crate::run::Outcome;
    use crate::stop::Stop;

    const QUEUES: usize = 3;
    const BOTH: Directions = Directions { rx: true, tx: true };

    /// Keeps what it is told, and has had enough when that are so many packets.
    struct Kept {
        told: Vec<Value>,
        enough: u64,
        stop: Stop,
    }

    impl Watch for Kept {
        fn ready(&mut self, _: &str, _: Value) -> io::Result<()> {
            Ok(())
        }

        fn live(&mut self, _: &str, value: Value) -> io::Result<()> {
            self.told.push(value);
            let packets = self.told.iter().map(|second| second["rx_packets"].as_u64().unwrap());
            if packets.sum::<u64>() >= self.enough {
                self.stop.ask();
            }
            Ok(())
        }
    }

    fn options(more: &[&str]) -> Drop {
        let line = ["xsk", "drop", "sim"].iter().chain(more);
        match Cli::try_parse_from(line).unwrap().command {
            Some(Command::Drop(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    /// Runs `work` on a simulated card in real time, at the longest until as many packets as are `enough` were reported. Returns
    /// how it ended, and what was reported.
    fn run(
        more: &[&str],
        enough: u64,
        work: impl Fn(&mut Run<'_>, &mut Datapath, &SimDevice) -> Result<(), Failure> + Sync,
    ) -> (Outcome, Vec<Value>) {
        let kernel = SimKernel::new(0);
        let card = kernel.card("sim", &DeviceConfig::default().queues(QUEUES as u32)).unwrap();
        let _background = kernel.run_in_background();
        let options = options(more);
        let request = Request {
            targets: std::slice::from_ref(&options.target),
            need: Need::Both,
            options: &options.sockets,
        };
        let (mut datapath, _) = request.open_on(&kernel.backend()).unwrap();
        let routes: Vec<_> = (0..datapath.ports()).collect();
        let team = Team::new(&options.threads, &routes).unwrap();
        let stop = Stop::default();
        let mut kept = Kept { told: Vec::new(), enough, stop: stop.clone() };
        let ready = ("", Value::Null);
        let mut run = Run::start(&datapath, &options.run, BOTH, &stop, &mut kept, ready).unwrap();
        let result = run.spread(&mut datapath, team.as_ref(), |run, datapath| work(run, datapath, &card));
        assert_eq!((datapath.receivers(), datapath.senders()), (QUEUES, QUEUES), "all are back");
        let outcome = run.finish(&mut datapath, result);
        assert!(outcome.account.whole);
        kernel.frames().check().unwrap();
        (outcome, kept.told)
    }

    fn received(outcome: &Outcome) -> Vec<u64> {
        outcome.ports.iter().map(|port| port.sample.rx.packets).collect()
    }

    #[test]
    fn each_queue_has_a_thread_and_its_figures() {
        for (more, threads) in
            [(&["--threads"][..], 3), (&["--threads", "2"], 2), (&["--threads=9"], 3), (&[], 1)]
        {
            let quota = Quota::new(Some(60));
            let names = Mutex::new(Vec::new());
            let (outcome, _) = run(more, u64::MAX, |run, datapath, card| {
                let mut names = names.lock().unwrap();
                names.push(thread::current().name().map(str::to_owned));
                let first = names.len() == 1;
                drop(names);
                // Whoever is first brings the packets of all.
                if first {
                    for number in 0..60 {
                        card.inject(number % QUEUES as u32, &[number as u8; 60]).unwrap();
                    }
                }
                drop_all(run, datapath, &quota)
            });
            assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
            assert_eq!(received(&outcome), [20; QUEUES], "{more:?}");
            let mut names = names.into_inner().unwrap();
            names.sort();
            assert_eq!(names.len(), threads, "{names:?}");
            if threads == QUEUES {
                assert_eq!(names, ["sim:0", "sim:1", "sim:2"].map(|name| Some(name.to_owned())));
            }
        }
    }

    #[test]
    fn seconds_are_those_of_all_threads() {
        let quota = Quota::new(None);
        let more = ["--threads", "--duration", "30s"];
        let (outcome, seconds) = run(&more, 6, |run, datapath, card| {
            // Each thread has one queue, and brings packets for it.
            let queue = thread::current().name().and_then(|name| name[4..].parse().ok()).unwrap();
            (0..=queue).for_each(|_| card.inject(queue, &[1; 60]).unwrap());
            drop_all(run, datapath, &quota)
        });
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
        assert_eq!(received(&outcome), [1, 2, 3]);
        // One second, where the machine is not busy; and never one for each thread.
        assert!(seconds.len() as u64 <= outcome.elapsed.as_secs(), "{seconds:?}");
        let all =
            |of: &dyn Fn(&Value) -> &Value| seconds.iter().map(|second| of(second).as_u64().unwrap()).sum();
        let total: u64 = all(&|second| &second["rx_packets"]);
        let ports = [0, 1, 2].map(|port| all(&|second| &second["ports"][port]["rx_packets"]));
        assert_eq!((total, ports), (6, [1, 2, 3]), "{seconds:?}");
    }

    #[test]
    fn what_fails_or_panics_in_one_thread_stops_the_others_and_is_told() {
        for (panics, words) in
            [(true, "the thread of sim:1 panicked: on purpose; "), (false, "it fails on purpose")]
        {
            let quota = Quota::new(None);
            let (outcome, _) = run(&["--threads", "--duration", "30s"], u64::MAX, |run, datapath, _| {
                if thread::current().name() != Some("sim:1") {
                    // Without an end of its own.
                    return drop_all(run, datapath, &quota);
                }
                thread::sleep(Duration::from_millis(50));
                assert!(!panics, "on purpose");
                Err(Failure::running_text("it fails on purpose"))
            });
            let failure = outcome.failure.unwrap();
            assert!(failure.to_string().starts_with(words), "{failure}");
            assert_eq!(failure.exit_code(), 1);
            assert!(outcome.elapsed < Duration::from_secs(10), "{:?}", outcome.elapsed);
        }
    }

    #[test]
    fn a_quota_is_used_up_once() {
        let quota = Quota::new(Some(100));
        assert_eq!((quota.take(64), quota.take(64), quota.take(64)), (64, 36, 0));
        assert!(quota.is_used_up());
        quota.give_back(10);
        assert!(!quota.is_used_up());
        assert_eq!((quota.take(64), Quota::new(None).take(64)), (10, 64));
    }
}
