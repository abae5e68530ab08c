//! Many histories, on several threads at once: Linux takes its time to close sockets, and threads wait side by side.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{
    Config, PersistedSeed, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};
use xsk_veth::Namespace;

use super::check::{Divergence, on_both};
use super::generate;
use super::net::LinuxNets;
use super::tally::Tally;
use xsk_tests::calls::op::History;

/// How often a history is tried before it counts as one that diverges: what is the machine's business does not come twice.
const TRIES: usize = 3;
/// Histories after which a long run says that it goes on.
const PROGRESS: u64 = 10_000;
/// For all that shrinks a divergence.
const SHRINK_TIME: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) histories: u64,
    /// After which no new history is begun.
    pub(crate) time: Duration,
    /// Histories follow from it and their number.
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    /// Only new histories, and no shrinking: to see how many it takes.
    pub(crate) fresh: bool,
}

/// The seed of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }

    /// As proptest writes it: `cc`, and 64 digits.
    fn parse(line: &PersistedSeed) -> Option<Self> {
        let line = line.to_string();
        let digits = line.strip_prefix("cc ")?;
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn runner(self, config: Config) -> TestRunner {
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &self.0))
    }

    /// The history that follows from it.
    pub(crate) fn history(self) -> History {
        let mut runner = self.runner(Config::default());
        generate::history().new_tree(&mut runner).expect("a history").current()
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cc ")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first history that diverged, by its number.
#[derive(Debug, Clone)]
struct Found {
    number: u64,
    seed: Seed,
    why: String,
}

/// Runs them; the counts, or what diverged.
#[allow(clippy::print_stdout)]
pub(crate) fn run(extent: Extent, config: &Config) -> Result<Tally, String> {
    let shared = Shared::default();
    let kept = kept(extent, config);
    let start = Instant::now();
    let work = |worker: usize| {
        let namespace = Namespace::new().expect("a namespace");
        namespace.clone().run(|| {
            pin(worker);
            let nets = LinuxNets::new(namespace);
            let mut tally = Tally::default();
            while let Some(number) = shared.take(extent.histories + kept.len() as u64)
                && start.elapsed() < extent.time
            {
                let seed = match kept.get(number as usize) {
                    Some(seed) => *seed,
                    None => Seed::new(extent.seed, number - kept.len() as u64),
                };
                if number > 0 && number.is_multiple_of(PROGRESS) {
                    println!("{number} histories begun after {} s", start.elapsed().as_secs());
                }
                if let Err(why) = try_history(&nets, &seed.history(), TRIES, &mut tally) {
                    shared.found(Found { number, seed, why });
                }
            }
            tally
        })
    };
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..extent.workers).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join()).collect()
    });
    let mut tally = Tally::default();
    for part in tallies {
        tally += part.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
    match shared.into_found() {
        None => Ok(tally),
        Some(found) if extent.fresh => {
            Err(format!("found by history {}, seed {}: {}", found.number + 1, found.seed, found.why))
        }
        Some(found) => Err(shrink(found, config, kept.len() as u64)),
    }
}

/// Seeds of divergences that were found before.
fn kept(extent: Extent, config: &Config) -> Vec<Seed> {
    if extent.fresh {
        return Vec::new();
    }
    let seeds = config.failure_persistence.as_ref().map(|file| file.load_persisted_failures2(None));
    seeds.unwrap_or_default().iter().filter_map(Seed::parse).collect()
}

/// What the workers share.
struct Shared {
    next: AtomicU64,
    /// No history from this number on need be run.
    end: AtomicU64,
    found: Mutex<Option<Found>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { next: AtomicU64::new(0), end: AtomicU64::new(u64::MAX), found: Mutex::new(None) }
    }
}

impl Shared {
    /// The number of the next history, if there is one.
    fn take(&self, count: u64) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < count.min(self.end.load(Ordering::Relaxed))).then_some(number)
    }

    /// Of several the one with the lowest number counts, however many workers there are.
    fn found(&self, found: Found) {
        self.end.fetch_min(found.number, Ordering::Relaxed);
        let mut first = self.found.lock().expect("no panic while it is held");
        if first.as_ref().is_none_or(|first| found.number < first.number) {
            *first = Some(found);
        }
    }

    fn into_found(self) -> Option<Found> {
        self.found.into_inner().expect("no panic while it was held")
    }
}

/// A history that diverges each time.
fn try_history(nets: &LinuxNets, history: &History, tries: usize, tally: &mut Tally) -> Result<(), String> {
    let mut last = None;
    for _ in 0..tries {
        let mut counts = Tally::default();
        let attempt = AssertUnwindSafe(|| on_both(nets, history, &mut counts));
        let result = catch_unwind(attempt).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(Divergence::panic(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default()))
        });
        match result {
            Ok(()) => {
                *tally += counts;
                if let Some(why) = last {
                    tally.once.push(why);
                }
                return Ok(());
            }
            Err(divergence) => last = Some(divergence.to_string()),
        }
    }
    last.map_or(Ok(()), Err)
}

/// One history, in a namespace of its own.
pub(crate) fn alone(history: &History) -> Result<(), String> {
    let namespace = Namespace::new().expect("a namespace");
    namespace.clone().run(|| {
        pin(0);
        let mut tally = Tally::default();
        try_history(&LinuxNets::new(namespace), history, TRIES, &mut tally)?;
        // What is left out says nothing.
        let operations = history.ops.len() as u64;
        if tally.operations == operations {
            Ok(())
        } else {
            Err(format!("of {operations} operations: {tally}"))
        }
    })
}

/// Makes what was found small, and keeps its seed if it is not one of the `kept` ones.
fn shrink(found: Found, config: &Config, kept: u64) -> String {
    let Found { number, seed, why } = found;
    let namespace = Namespace::new().expect("a namespace");
    let shrunk = namespace.clone().run(|| {
        pin(0);
        let nets = LinuxNets::new(namespace);
        nets.hurry();
        let mut runner = seed.runner(Config {
            failure_persistence: None,
            max_shrink_time: SHRINK_TIME.as_millis() as u32,
            max_shrink_iters: u32::MAX - 1,
            ..config.clone()
        });
        let tree = generate::history().new_tree(&mut runner).expect("a history");
        runner.run_one(tree, |history| {
            try_history(&nets, &history, 1, &mut Tally::default()).map_err(TestCaseError::fail)
        })
    });
    let header = format!("history {number}, seed {seed}: {why}");
    match shrunk {
        Err(TestError::Fail(why, history)) => {
            let file = config.failure_persistence.clone().filter(|_| number >= kept);
            if let (Some(mut file), Ok(seed)) = (file, seed.to_string().parse()) {
                file.save_persisted_failure2(None, seed, &history);
            }
            format!("{header}\nshrunk: {why}\nin the history {history:#?}")
        }
        Err(error) => format!("{header}\n{error}"),
        Ok(_) => format!("{header}\nbut not when it was shrunk"),
    }
}

/// Traffic stays on one processor, where a veth does everything before the call returns.
fn pin(worker: usize) {
    // SAFETY: an all-zero set is an empty one; sizes are told with the sets. Processors are within them (CPU_ISSET).
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        assert_eq!(libc::sched_getaffinity(0, size, &raw mut allowed), 0);
        let cpus: Vec<_> =
            (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &allowed)).collect();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpus[worker % cpus.len()], &mut one);
        assert_eq!(libc::sched_setaffinity(0, size, &raw const one), 0);
    }
}
