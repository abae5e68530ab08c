//! Random histories of calls, done on the simulated kernel and on Linux: whatever a program can see is the same.
//!
//! `ci/differential` is the way to run many. It sets `XSK_DIFFERENTIAL_HISTORIES`; `_SEED` repeats a run, and `_WORKERS` says
//! how many threads there are, which changes nothing but the time.
#![cfg(target_os = "linux")]

#[path = "differential/check.rs"]
mod check;
#[path = "differential/generate.rs"]
mod generate;
#[path = "differential/guard.rs"]
mod guard;
#[path = "differential/known.rs"]
mod known;
#[path = "differential/net.rs"]
mod net;
#[path = "differential/odd.rs"]
mod odd;
#[path = "differential/reachable.rs"]
mod reachable;
#[allow(unreachable_pub)] // public in its own package
#[path = "../../crates/xsk-core/tests/support/regressions.rs"]
mod regressions;
#[path = "differential/run.rs"]
mod run;
#[path = "differential/tally.rs"]
mod tally;

use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use check::on_the_simulator;
use run::{Extent, run};

/// Histories of an ordinary test run, as far as they are begun in [`TIME`]: a busy machine takes long.
const HISTORIES: u64 = 2000;
const TIME: Duration = Duration::from_secs(15);

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn extent() -> Extent {
    let histories = number("XSK_DIFFERENTIAL_HISTORIES");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Extent {
        histories: histories.unwrap_or(HISTORIES),
        time: if histories.is_some() { Duration::MAX } else { TIME },
        seed: number("XSK_DIFFERENTIAL_SEED").unwrap_or(now.as_nanos() as u64),
        workers: number("XSK_DIFFERENTIAL_WORKERS").unwrap_or(16) as usize,
        fresh: std::env::var_os("XSK_DIFFERENTIAL_FRESH").is_some(),
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn simulated_and_real_kernel_are_alike() {
    if !xsk_veth::require() {
        return;
    }
    let extent = extent();
    println!("XSK_DIFFERENTIAL_SEED={}", extent.seed);
    let tally = run(extent, &regressions::config("differential")).unwrap_or_else(|why| panic!("{why}"));
    println!("{tally}");
    // Histories in which nothing gets off the ground would compare nothing.
    assert!(tally.after_bind * 2 > tally.operations, "{tally}");
    let (_, wrong) = reachable::check(tally.histories, &tally.answers);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What came once and not again was the machine's doing, which is rare.
    assert!(tally.once.len() as u64 <= 2 + tally.histories / 500, "{:#?}", tally.once);
}

/// Where the kernels parted once they agree now.
#[test]
fn histories_that_diverged_once_do_not() {
    if !xsk_veth::require() {
        return;
    }
    for (what, history) in known::histories() {
        if let Err(why) = run::alone(&history) {
            panic!("{what}: {why}");
        }
    }
}

/// The guard lets through nothing that crashes Linux, as far as the simulator knows, which says so when it happens; and
/// it is needed: without it the same histories do.
#[test]
fn nothing_is_generated_that_crashes_linux() {
    let mut runner = TestRunner::deterministic();
    let mut crashes = 0;
    for _ in 0..3000 {
        let history = generate::history().new_tree(&mut runner).expect("a history").current();
        assert_eq!(on_the_simulator(&history, true), None, "{history:#?}");
        crashes += u32::from(on_the_simulator(&history, false).is_some());
    }
    assert!(crashes > 0, "the guard has nothing to do");
}
