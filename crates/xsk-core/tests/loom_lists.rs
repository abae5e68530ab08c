//! Every interleaving of the lists of free frames. The code under test is the code that ships; only the storage differs.

mod support;

use support::explore::check;
use support::loom_lists::{closing, depot, returned};

#[test]
fn magazines_are_taken_by_one() {
    for (preemptions, frames, rounds) in [(None, 2, 1), (Some(3), 2, 2), (Some(2), 3, 2)] {
        let seen = check(preemptions, move || depot(frames, rounds, None));
        // Somewhere both threads found something each time.
        assert!(seen.executions > 100 && seen.most > frames, "{seen:?}");
    }
}

#[test]
fn returned_frames_are_taken_once() {
    let seen = check(None, || returned(None));
    assert!(seen.executions > 50 && seen.most == 1, "{seen:?}");
}

#[test]
fn one_is_the_last() {
    let seen = check(None, || closing(None));
    assert!(seen.executions > 50 && seen.most == 1, "{seen:?}");
}
