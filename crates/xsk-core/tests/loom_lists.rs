//! Every interleaving of the lists of free frames. The code under test is the code that ships; only the storage differs.
//!
//! Each model runs twice, with reads that may be of old values and with reads that hide no interleaving: see [`Reads`].

mod support;

use support::explore::{check, note};
use support::loom_lists::Reads::{self, Exchanges, Loads};
use support::loom_lists::{closing, depot, returned, shared};

#[test]
fn magazines_are_taken_by_one() {
    let shapes = [
        (Loads, None, 2, 1),
        (Loads, Some(3), 2, 2),
        (Loads, Some(2), 3, 2),
        (Exchanges, None, 1, 1),
        (Exchanges, Some(4), 2, 1),
        (Exchanges, Some(3), 2, 2),
    ];
    for (reads, preemptions, frames, rounds) in shapes {
        let seen = check(preemptions, move || depot(frames, rounds, reads, None));
        note("depot", preemptions, &(reads, frames, rounds), seen);
        // Somewhere both threads found something each time.
        assert!(seen.executions > 100 && seen.most > frames, "{seen:?}");
    }
}

fn both(name: &str, least: usize, model: fn(Reads) -> u32) {
    for reads in [Loads, Exchanges] {
        let seen = check(None, move || model(reads));
        note(name, None, &reads, seen);
        assert!(seen.executions > least && seen.most == 1, "{reads:?}: {seen:?}");
    }
}

#[test]
fn returned_frames_are_taken_once() {
    both("returned frames", 50, |reads| returned(reads, None));
}

/// A list that is as it was before may still be another one.
#[test]
fn a_returned_frame_goes_from_thread_to_thread() {
    both("shared frame", 10, |reads| shared(reads, None));
}

#[test]
fn one_is_the_last() {
    both("closing", 50, |reads| closing(reads, None));
}
