//! Every interleaving of the rings: the shipped user half against a model of the kernel's half.
//!
//! The code under test is the code that ships; only the storage differs. All models start just below `u32::MAX`, so the
//! indices wrap in each of them. Small shapes are complete; larger ones are bounded to a few forced thread switches, or
//! more with `LOOM_MAX_PREEMPTIONS`.

mod support;

use support::cycle::{Cycle, cycle};
use support::explore::{Outcome, check, explore, note};
use support::kernel::ModelKernel;
use support::models::{Handshake, SOUND, consume, four, handshake, one, over, produce, two};
use xsk_core::abi::xdp_desc;

/// Interleavings that a shape has at least.
const LEAST: usize = 100;

#[test]
fn fill_ring() {
    let model = |shape| produce::<ModelKernel, u64>(shape, SOUND);
    over(LEAST, "fill", None, one(3), model);
    over(LEAST, "fill", None, two(3), model);
    over(LEAST, "fill", Some(3), four(3), model);
}

#[test]
fn tx_ring() {
    let model = |shape| produce::<ModelKernel, xdp_desc>(shape, SOUND);
    over(LEAST, "TX", None, one(2), model);
    over(LEAST, "TX", Some(3), one(3), model);
    over(LEAST, "TX", Some(3), two(3), model);
    over(LEAST, "TX", Some(3), four(3), model);
}

#[test]
fn rx_ring() {
    let model = |shape| consume::<ModelKernel, xdp_desc>(shape, SOUND);
    over(LEAST, "RX", None, one(4), model);
    over(LEAST, "RX", None, two(4), model);
    over(LEAST, "RX", Some(3), four(5), model);
}

#[test]
fn completion_ring() {
    let model = |shape| consume::<ModelKernel, u64>(shape, SOUND);
    over(LEAST, "completion", None, one(4), model);
    over(LEAST, "completion", None, two(4), model);
    over(LEAST, "completion", Some(3), four(5), model);
}

#[test]
fn a_frame_is_in_exactly_one_place() {
    for (bound, capacity, frames, rounds) in [(None, 1, 1, 2), (Some(3), 1, 1, 4), (Some(3), 2, 2, 3)] {
        let size = Cycle { capacity, frames, rounds, sockets: 1, in_place: false };
        let seen = check(bound, move || cycle::<ModelKernel>(size, SOUND));
        note("full cycle", bound, &size, seen);
        // Somewhere a frame came home and went around again.
        assert!(seen.executions > 100 && seen.most > frames as u32, "{seen:?}");
    }
}

const NEVER: u32 = u32::MAX;

fn no_wakeup_is_lost(bound: Option<usize>, shape: Handshake) {
    let seen = check(bound, move || handshake::<ModelKernel>(shape, SOUND));
    note("need-wakeup", bound, &shape, seen);
    // Somewhere the kernel was awake long enough to take everything by itself.
    assert!(seen.executions > 100 && seen.most == shape.packets, "{shape:?}: {seen:?}");
}

#[test]
fn no_wakeup_is_lost_when_both_sides_fence() {
    let shape = Handshake { packets: 1, kernel_fenced: true, rekick_after: NEVER, polls: 1 };
    no_wakeup_is_lost(None, shape);
    no_wakeup_is_lost(Some(3), Handshake { packets: 2, ..shape });
}

/// The kernel may lack its barrier. Then the flag may stay unseen, and the second kick comes after as many polls without
/// progress as it is set to: after two for each packet, as each may be seen to move just before the bound is reached.
#[test]
fn the_second_kick_covers_a_kernel_without_a_barrier() {
    let shape = Handshake { packets: 1, kernel_fenced: false, rekick_after: 2, polls: 2 };
    no_wakeup_is_lost(Some(4), shape);
    no_wakeup_is_lost(Some(3), Handshake { packets: 2, polls: 4, ..shape });
}

/// Why the second kick is there: our fence alone does not do.
#[test]
fn a_kernel_without_a_barrier_loses_wakeups() {
    let shape = Handshake { packets: 1, kernel_fenced: false, rekick_after: NEVER, polls: 1 };
    match explore(None, move || handshake::<ModelKernel>(shape, SOUND)) {
        Outcome::Failed { message, .. } => assert!(message.contains("lost wakeup"), "{message}"),
        Outcome::Passed(seen) => panic!("no lost wakeup in {seen:?}"),
    }
}
