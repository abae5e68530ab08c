//! Every interleaving of rings in place, by which the port tier moves packets: `Entries` and `Slots` as they ship, on a model
//! checker's cells, against a model of the kernel's half. Otherwise as `loom_rings`.

mod support;

use support::cycle::{Cycle, cycle};
use support::explore::{check, note};
use support::half::Entry;
use support::in_place::{move_over, put, take};
use support::kernel::ModelKernel;
use support::models::{SOUND, Shape, four, one, over, two};
use xsk_core::abi::xdp_desc;

/// Interleavings that a shape has at least.
const LEAST: usize = 100;

fn puts<T: Entry>(name: &str) {
    let model = |shape| put::<ModelKernel, T>(shape, SOUND);
    over(LEAST, name, None, one(2), model);
    over(LEAST, name, Some(3), one(3), model);
    over(LEAST, name, Some(3), two(3), model);
    over(LEAST, name, Some(2), four(3), model);
}

fn takes<T: Entry>(name: &str) {
    let model = |shape| take::<ModelKernel, T>(shape, SOUND);
    over(LEAST, name, None, one(4), model);
    over(LEAST, name, None, two(3), model);
    over(LEAST, name, Some(3), four(5), model);
}

#[test]
fn fill_ring() {
    over(LEAST, "fill in place", None, two(2), |shape| put::<ModelKernel, u64>(shape, SOUND));
    puts::<u64>("fill in place");
}

#[test]
fn tx_ring() {
    puts::<xdp_desc>("TX in place");
}

#[test]
fn rx_ring() {
    takes::<xdp_desc>("RX in place");
}

#[test]
fn completion_ring() {
    takes::<u64>("completion in place");
}

#[test]
fn from_completion_to_fill() {
    let ahead = |shape| move_over::<ModelKernel>(shape, true, SOUND);
    over(LEAST, "completion to fill, ahead", None, one(2), ahead);
    over(LEAST, "completion to fill, ahead", Some(2), two(3), ahead);
    let model = |shape| move_over::<ModelKernel>(shape, false, SOUND);
    over(LEAST, "completion to fill", None, one(2), model);
    over(LEAST, "completion to fill", None, two(2), model);
    over(LEAST, "completion to fill", Some(4), one(3), model);
    over(LEAST, "completion to fill", Some(3), two(3), model);
    over(LEAST, "completion to fill", Some(2), four(3), model);
    // Four that are one after the other move at once.
    let four_at_once = Shape { capacity: 4, start: u32::MAX - 3, batch: 4, attempts: 3 };
    over(LEAST, "completion to fill", Some(2), four_at_once, model);
}

#[test]
fn a_frame_is_in_exactly_one_place() {
    for (bound, capacity, frames, rounds) in [(Some(4), 1, 1, 2), (Some(2), 1, 1, 3), (Some(3), 2, 2, 2)] {
        let size = Cycle { capacity, frames, rounds, sockets: 1, in_place: true };
        let seen = check(bound, move || cycle::<ModelKernel>(size, SOUND));
        note("full cycle in place", bound, &size, seen);
        // Somewhere a frame came home and went around again.
        assert!(seen.executions > 100 && seen.most > frames as u32, "{seen:?}");
    }
}
