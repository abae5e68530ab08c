//! From nothing to the first packet: memory of 2048 frames, a socket, its place in the program's map, frames to receive into,
//! and a batch of packets that arrives. And everything closed again, which the kernel finishes later: the next opening may wait for it.
//!
//! Each opening has the next queue of a fresh place, where nobody was before, so that no library waits for a socket that was
//! closed; a card has one queue, and there every opening waits the same time first, which is not counted.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use xsk_benches::place::Place;
use xsk_benches::traffic::{BATCH, OWN, Opener, WORKLOADS};

fn openers(is_linux: bool) -> Vec<Opener> {
    #[cfg(feature = "peers")]
    if is_linux {
        return OWN.into_iter().chain(xsk_benches::peers::PROGRAMS).collect();
    }
    let _ = is_linux;
    OWN.to_vec()
}

/// The time of so many openings, closing included.
fn openings(fresh: fn() -> Place, (_, open): Opener, count: u64) -> Duration {
    let mut time = Duration::ZERO;
    let mut place = fresh();
    for n in 0..count {
        if n % 16 == 15 {
            drop(place);
            place = fresh();
        }
        let queue = place.queue();
        let start = Instant::now();
        let contestant = open(&place, place.target(queue));
        time += start.elapsed();
        contestant.meet_sender(&place);
        let mut case = contestant.case(&WORKLOADS[0], 64);
        let start = Instant::now();
        case.run(BATCH);
        time += start.elapsed();
        let sender = contestant.part();
        let start = Instant::now();
        drop((case, contestant));
        time += start.elapsed();
        drop(sender);
    }
    time
}

fn setup(c: &mut Criterion) {
    let mut group = c.benchmark_group("setup");
    group.sample_size(10);
    let best: fn() -> Place = Place::best_or_exit;
    let simulated: fn() -> Place = Place::simulated;
    let is_linux = {
        let place = best();
        println!("on {}", place.name);
        if place.sender(0).is_none() {
            println!("SKIPPED: nobody sends a packet (XSK_BENCH_PEER)");
            return;
        }
        place.is_linux()
    };
    for opener in openers(is_linux) {
        group.bench_function(format!("open to first packets, {}", opener.0), |b| {
            b.iter_custom(|count| openings(best, opener, count));
        });
    }
    for opener in OWN {
        group.bench_function(format!("open to first packets, {}, simulated", opener.0), |b| {
            b.iter_custom(|count| openings(simulated, opener, count));
        });
    }
    group.finish();
}

criterion_group!(all, setup);
criterion_main!(all);
