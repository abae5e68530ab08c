//! Random histories of calls, done on the simulated kernel and on Linux: whatever a program can see is the same.
//!
//! `XSK_DIFFERENTIAL_HISTORIES` says how many histories; `ci/differential` is the way to run many.
#![cfg(target_os = "linux")]

#[path = "differential/check.rs"]
mod check;
#[path = "differential/generate.rs"]
mod generate;
#[path = "differential/guard.rs"]
mod guard;
#[path = "differential/net.rs"]
mod net;
#[path = "differential/op.rs"]
mod op;
#[path = "differential/player.rs"]
mod player;
#[allow(unreachable_pub)] // public in its own package
#[path = "../../crates/xsk-core/tests/support/regressions.rs"]
mod regressions;
#[path = "differential/ring.rs"]
mod ring;
#[path = "differential/tally.rs"]
mod tally;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use xsk_veth::Namespace;

use check::{on_both, on_the_simulator};
use net::LinuxNets;
use tally::Tally;

/// Histories of an ordinary test run, as far as they are done in [`TIME`]: closing sockets takes long on a busy machine.
const HISTORIES: u32 = 400;
const TIME: Duration = Duration::from_secs(15);

/// How many histories, in what time.
fn extent() -> (u32, Duration) {
    match std::env::var("XSK_DIFFERENTIAL_HISTORIES") {
        Ok(count) => (count.parse().expect("a number"), Duration::MAX),
        Err(_) => (HISTORIES, TIME),
    }
}

/// Traffic stays on one processor, where a veth does everything before the call returns.
fn pin() {
    // SAFETY: an all-zero set is an empty one; its size is told with it. sched_getcpu takes no pointers.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().cast_unsigned() as usize, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set), 0);
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn simulated_and_real_kernel_are_alike() {
    if !xsk_veth::require() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let tally = namespace.clone().run(|| {
        pin();
        let nets = LinuxNets::new(namespace);
        let tally = RefCell::new(Tally::default());
        let (histories, time) = extent();
        let start = Instant::now();
        let config = Config {
            cases: histories,
            // In milliseconds: each step of a divergence waits whether Linux comes to agree.
            max_shrink_time: 60_000,
            ..regressions::config("differential")
        };
        let result = TestRunner::new(config).run(&generate::history(), |history| {
            if start.elapsed() > time {
                return Ok(());
            }
            let mut counts = Tally::default();
            let result = on_both(&nets, &history, &mut counts);
            *tally.borrow_mut() += counts;
            result.map_err(|divergence| TestCaseError::fail(divergence.to_string()))
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, history)) => panic!("{why}\nin the history {history:#?}"),
            Err(e) => panic!("{e}"),
        }
        tally.into_inner()
    });
    println!("{tally}");
    // Histories in which nothing gets off the ground would compare nothing.
    assert!(tally.after_bind * 2 > tally.operations, "{tally}");
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
