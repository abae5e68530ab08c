//! Packets through the kernel: receive and drop, send, and forward, with packets of several lengths.
//!
//! The programs run in turns on one thread, batches of 64 packets: a generator, the same for all, sends a batch, and the
//! program takes it. So what is timed is the whole way of a packet, the kernel's part of it included, which is most of it.
//! With feature `peers` other libraries take part, and the ratio is to C over libxdp's helpers.
//!
//! Where the memory of a socket happens to be makes a difference of some percent, so all are opened several times, in
//! another order each time. Shown is the median over the openings, and the lowest and the highest. `calls` are system calls
//! of the program for a packet.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::Duration;

use xsk_benches::drive::Tally;
use xsk_benches::place::Place;
use xsk_benches::race::race;
use xsk_benches::traffic::{Contestant, LENGTHS, OWN, Opener, WORKLOADS};

const OPENINGS: usize = 5;
const LAPS: usize = 31;
const TURN: Duration = Duration::from_micros(400);

/// Of one contestant in one workload, for each opening.
#[derive(Default)]
struct Results {
    nanoseconds: Vec<f64>,
    ratios: Vec<f64>,
    calls: f64,
}

fn openers(is_linux: bool) -> (Vec<Opener>, &'static str) {
    #[cfg(feature = "peers")]
    if is_linux {
        let all = OWN.into_iter().chain(xsk_benches::peers::PROGRAMS);
        return (all.collect(), xsk_benches::peers::REFERENCE);
    }
    let _ = is_linux;
    (OWN.to_vec(), "xsk ring tier")
}

fn main() {
    // As criterion does, `cargo test --benches` looks only whether it runs.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (openings, laps, turn) = if is_bench { (OPENINGS, LAPS, TURN) } else { (1, 1, Duration::ZERO) };
    let mut results: BTreeMap<(usize, usize, &str), Results> = BTreeMap::new();
    for opening in 0..openings {
        let mut place = Place::best();
        let (mut openers, reference) = openers(place.is_linux());
        if opening == 0 {
            println!(
                "on {}: {openings} openings, {laps} laps each; ratio of times to {reference}",
                place.name
            );
        }
        let count = openers.len();
        openers.rotate_left(opening % count);
        let contestants: Vec<Contestant> = openers.into_iter().map(|open| open(&mut place)).collect();
        for (at, workload) in WORKLOADS.into_iter().enumerate() {
            for len in LENGTHS {
                let mut cases: Vec<_> =
                    contestants.iter().map(|contestant| contestant.case(workload, len)).collect();
                contestants.iter().for_each(|contestant| contestant.tally.set(Tally::default()));
                let standings = race(&mut cases, reference, laps, turn);
                for (contestant, standing) in contestants.iter().zip(standings) {
                    let result = results.entry((at, len, standing.who)).or_default();
                    let tally = contestant.tally.get();
                    result.nanoseconds.push(standing.nanoseconds);
                    result.ratios.push(standing.ratio[1]);
                    result.calls = f64::from(tally.calls) / f64::from(tally.packets.max(1));
                }
            }
        }
    }
    show(&mut results);
}

fn show(results: &mut BTreeMap<(usize, usize, &str), Results>) {
    let mut before = None;
    for ((at, len, who), result) in results {
        if before != Some((*at, *len)) {
            before = Some((*at, *len));
            let title = format!("{}, {len} bytes", WORKLOADS[*at].0);
            println!("\n{title:24}{:>12}{:>8}{:>10}", "ns/packet", "calls", "ratio");
        }
        result.nanoseconds.sort_by(f64::total_cmp);
        result.ratios.sort_by(f64::total_cmp);
        let middle = result.ratios.len() / 2;
        let (low, high) = (result.ratios[0], result.ratios[result.ratios.len() - 1]);
        println!(
            "{who:24}{:12.0}{:8.3}{:10.2} ({low:.2} to {high:.2})",
            result.nanoseconds[middle], result.calls, result.ratios[middle]
        );
    }
}
