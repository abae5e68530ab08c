//! Every interleaving of the rings, both halves as they ship: xsk-core's against the simulated kernel's.
//!
//! Only the storage differs: a model checker's cells. All models start just below `u32::MAX`, so the indices wrap in each of
//! them. Small shapes are complete; larger ones are bounded to a few forced thread switches, or more with
//! `LOOM_MAX_PREEMPTIONS` (`ci/loom`).

mod models;

use models::cycle::{Cycle, cycle};
use models::explore::{Outcome, check, explore, note};
use models::half::Entry;
use models::in_place::{move_over, put, take};
use models::models::{Handshake, SOUND, consume, four, handshake, one, over, produce, two};
use models::passes::{busy_driver, counted_first, promises};
use models::sim_half::{OldSimHalf, SimHalf};
use xsk_core::abi::xdp_desc;

/// Interleavings that a shape has at least.
const LEAST: usize = 50;

fn produces<T: Entry>(name: &str) {
    let model = |shape| produce::<SimHalf, T>(shape, SOUND);
    over(LEAST, name, None, one(2), model);
    over(LEAST, name, Some(3), one(3), model);
    over(LEAST, name, Some(3), two(3), model);
    over(LEAST, name, Some(2), four(3), model);
}

#[test]
fn fill_ring() {
    produces::<u64>("fill");
}

#[test]
fn tx_ring() {
    produces::<xdp_desc>("TX");
}

#[test]
fn rx_ring() {
    let model = |shape| consume::<SimHalf, xdp_desc>(shape, SOUND);
    over(LEAST, "RX", None, one(4), model);
    over(LEAST, "RX", None, two(3), model);
    over(LEAST, "RX", Some(3), four(5), model);
}

#[test]
fn completion_ring() {
    let model = |shape| consume::<SimHalf, u64>(shape, SOUND);
    over(LEAST, "completion", None, one(3), model);
    over(LEAST, "completion", Some(3), two(4), model);
    over(LEAST, "completion", Some(2), four(5), model);
}

fn puts_in_place<T: Entry>(name: &str) {
    let model = |shape| put::<SimHalf, T>(shape, SOUND);
    over(LEAST, name, None, one(2), model);
    over(LEAST, name, Some(2), two(3), model);
    over(LEAST, name, Some(2), four(3), model);
}

fn takes_in_place<T: Entry>(name: &str) {
    let model = |shape| take::<SimHalf, T>(shape, SOUND);
    over(LEAST, name, None, one(3), model);
    over(LEAST, name, None, two(3), model);
    over(LEAST, name, Some(2), four(5), model);
}

#[test]
fn rings_in_place() {
    puts_in_place::<u64>("fill in place");
    puts_in_place::<xdp_desc>("TX in place");
    takes_in_place::<xdp_desc>("RX in place");
    takes_in_place::<u64>("completion in place");
}

#[test]
fn from_completion_to_fill() {
    let ahead = |shape| move_over::<SimHalf>(shape, true, SOUND);
    over(LEAST, "completion to fill, ahead", Some(4), one(2), ahead);
    let model = |shape| move_over::<SimHalf>(shape, false, SOUND);
    over(LEAST, "completion to fill", Some(4), one(2), model);
    over(LEAST, "completion to fill", Some(2), two(3), model);
    over(LEAST, "completion to fill", Some(2), four(3), model);
}

#[test]
fn completion_ring_of_older_kernels() {
    let model = |shape| consume::<OldSimHalf, u64>(shape, SOUND);
    over(LEAST, "completion, old", None, one(3), model);
    over(LEAST, "completion, old", Some(3), two(4), model);
}

#[test]
fn descriptors_go_back_when_the_driver_is_busy() {
    over(LEAST, "busy driver", None, one(2), |shape| busy_driver(shape, SOUND));
    over(LEAST, "busy driver", Some(3), two(3), |shape| busy_driver(shape, SOUND));
}

#[test]
fn buffers_are_counted_before_they_are_taken() {
    over(LEAST, "counted first", None, one(3), |shape| counted_first(shape, SOUND));
    over(LEAST, "counted first", None, two(3), |shape| counted_first(shape, SOUND));
}

#[test]
fn promises_that_are_taken_back_are_never_seen() {
    over(LEAST, "promises", None, one(4), |shape| promises(shape, SOUND));
    over(LEAST, "promises", Some(3), two(5), |shape| promises(shape, SOUND));
}

fn around(name: &str, bound: Option<usize>, size: Cycle) {
    let seen = check(bound, move || cycle::<SimHalf>(size, SOUND));
    note(name, bound, &size, seen);
    // Somewhere a frame came home and went around again.
    assert!(seen.executions > 50 && seen.most > size.frames as u32, "{size:?}: {seen:?}");
}

#[test]
fn a_frame_is_in_exactly_one_place() {
    let size = Cycle { capacity: 1, frames: 1, rounds: 2, sockets: 1, in_place: false };
    around("full cycle", None, size);
    around("full cycle", Some(3), Cycle { rounds: 4, ..size });
    around("full cycle", Some(2), Cycle { capacity: 2, frames: 2, rounds: 3, ..size });
    around("full cycle in place", Some(2), Cycle { rounds: 3, in_place: true, ..size });
    around("full cycle in place", Some(2), Cycle { capacity: 2, frames: 2, in_place: true, ..size });
}

#[test]
fn two_sockets_share_one_umem() {
    let size = Cycle { capacity: 2, frames: 2, rounds: 2, sockets: 2, in_place: false };
    around("two sockets", Some(2), size);
}

const NEVER: u32 = u32::MAX;

fn no_wakeup_is_lost(bound: Option<usize>, shape: Handshake) {
    let seen = check(bound, move || handshake::<SimHalf>(shape, SOUND));
    note("need-wakeup", bound, &shape, seen);
    // Somewhere the kernel was awake long enough to take everything by itself.
    assert!(seen.executions > 50 && seen.most == shape.packets, "{shape:?}: {seen:?}");
}

fn a_wakeup_is_lost(shape: Handshake) {
    match explore(None, move || handshake::<SimHalf>(shape, SOUND)) {
        Outcome::Failed { message, seen } => {
            assert!(message.contains("lost wakeup"), "{message}");
            note("need-wakeup, lost as expected", None, &shape, seen);
        }
        Outcome::Passed(seen) => panic!("no lost wakeup in {seen:?}"),
    }
}

#[test]
fn no_wakeup_is_lost_when_both_sides_fence() {
    let shape = Handshake { packets: 1, kernel_fenced: true, rekick_after: NEVER, polls: 1 };
    no_wakeup_is_lost(None, shape);
    no_wakeup_is_lost(Some(2), Handshake { packets: 2, ..shape });
    // The second kick does no harm where it is not needed.
    no_wakeup_is_lost(Some(2), Handshake { rekick_after: 2, polls: 2, ..shape });
}

#[test]
fn the_second_kick_covers_a_kernel_without_a_barrier() {
    let shape = Handshake { packets: 1, kernel_fenced: false, rekick_after: 2, polls: 2 };
    no_wakeup_is_lost(Some(3), shape);
    no_wakeup_is_lost(Some(2), Handshake { packets: 2, polls: 4, ..shape });
}

/// Why the second kick is there: our fence alone does not do.
#[test]
fn a_kernel_without_a_barrier_loses_wakeups() {
    a_wakeup_is_lost(Handshake { packets: 1, kernel_fenced: false, rekick_after: NEVER, polls: 1 });
    // Nor does a second kick that comes later than the last look.
    a_wakeup_is_lost(Handshake { packets: 1, kernel_fenced: false, rekick_after: 3, polls: 2 });
}
