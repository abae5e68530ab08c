//! Packets through the kernel: receive and drop, send, and forward, with packets of several lengths.
//!
//! The programs run in turns on one thread, batches of 64 packets: a generator, the same for all, sends a batch, and the
//! program takes it. So what is timed is the whole way of a packet, the kernel's part of it included, which is most of it.
//! With feature `peers` other libraries take part, and the ratio is to C over libxdp's helpers.
//!
//! Where the memory of a socket happens to be makes a difference of some percent, so all are opened several times, in
//! another order each time. Shown is the median over the openings, and the lowest and the highest. `calls` are system calls
//! of the program for a packet.
//!
//! Where it runs: see [`xsk_benches::choice`]. On a card the programs have one queue, one after the other, and the ratios are
//! of the medians of one round.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::Duration;

use xsk_benches::place::Place;
use xsk_benches::race::{Standing, race};
use xsk_benches::traffic::{Contestant, LENGTHS, OWN, Opener, WORKLOADS, Workload};

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

/// Workload, length and contestant.
type All = BTreeMap<(usize, usize, &'static str), Results>;

fn openers(is_linux: bool) -> (Vec<Opener>, &'static str) {
    #[cfg(feature = "peers")]
    if is_linux {
        let all = OWN.into_iter().chain(xsk_benches::peers::PROGRAMS);
        return (all.collect(), xsk_benches::peers::REFERENCE);
    }
    let _ = is_linux;
    (OWN.to_vec(), OWN[0].0)
}

fn open(place: &mut Place, (_, open): Opener) -> Contestant {
    let queue = place.queue();
    let contestant = open(place, place.target(queue));
    contestant.meet_sender(place);
    contestant
}

/// What can be measured there.
fn workloads(place: &Place) -> impl Iterator<Item = (usize, &'static Workload)> + use<> {
    let has_sender = place.sender(0).is_some();
    WORKLOADS.iter().enumerate().filter(move |(_, workload)| has_sender || !workload.needs_sender)
}

/// Runs contestants in turns, and notes how it went.
fn run(
    contestants: &[Contestant],
    reference: &str,
    all: &mut All,
    place: &Place,
    (laps, turn): (usize, Duration),
) {
    for (at, workload) in workloads(place) {
        for len in LENGTHS {
            let mut cases: Vec<_> =
                contestants.iter().map(|contestant| contestant.case(workload, len)).collect();
            contestants.iter().for_each(|contestant| _ = contestant.calls_per_packet());
            let standings: Vec<Standing> = race(&mut cases, reference, laps, turn);
            for (contestant, standing) in contestants.iter().zip(standings) {
                let result = all.entry((at, len, standing.who)).or_default();
                result.nanoseconds.push(standing.nanoseconds);
                result.ratios.push(standing.ratio[1]);
                result.calls = contestant.calls_per_packet();
            }
        }
    }
}

/// The ratios of those who ran one after the other, of the opening that just ended.
fn relate(all: &mut All, reference: &'static str) {
    let last = |results: &Results| results.nanoseconds.last().copied();
    let references: BTreeMap<_, _> = all
        .iter()
        .filter(|((.., who), _)| *who == reference)
        .map(|((at, len, _), results)| ((*at, *len), last(results)))
        .collect();
    for ((at, len, _), results) in all.iter_mut() {
        if let (Some(mine), Some(Some(reference)), Some(ratio)) =
            (last(results), references.get(&(*at, *len)), results.ratios.last_mut())
        {
            *ratio = mine / reference;
        }
    }
}

fn main() {
    // As criterion does, `cargo test --benches` looks only whether it runs.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (openings, pace) = if is_bench { (OPENINGS, (LAPS, TURN)) } else { (1, (1, Duration::ZERO)) };
    let mut all = All::new();
    for opening in 0..openings {
        let mut place = Place::best_or_exit();
        let (mut openers, reference) = openers(place.is_linux());
        if opening == 0 {
            println!(
                "on {}: {openings} openings, {} laps each; ratio of times to {reference}",
                place.name, pace.0
            );
            if place.sender(0).is_none() {
                println!("only sending: there is no XSK_BENCH_PEER that would send");
            }
        }
        let count = openers.len();
        openers.rotate_left(opening % count);
        if place.has_one_queue() {
            for opener in openers {
                let contestant = open(&mut place, opener);
                run(&[contestant], opener.0, &mut all, &place, pace);
            }
            relate(&mut all, reference);
        } else {
            let contestants: Vec<_> = openers.into_iter().map(|opener| open(&mut place, opener)).collect();
            run(&contestants, reference, &mut all, &place, pace);
        }
    }
    show(&mut all);
}

fn show(all: &mut All) {
    let mut before = None;
    for ((at, len, who), result) in all {
        if before != Some((*at, *len)) {
            before = Some((*at, *len));
            let title = format!("{}, {len} bytes", WORKLOADS[*at].name);
            println!("\n{title:24}{:>12}{:>8}{:>10}", "ns/packet", "calls", "ratio");
        }
        result.nanoseconds.sort_by(f64::total_cmp);
        result.ratios.sort_by(f64::total_cmp);
        let middle = result.ratios.len() / 2;
        let (low, high) = (result.ratios[0], result.ratios[result.ratios.len() - 1]);
        println!(
            "{who:24}{:12.0}{:8.3}{:10.3} ({low:.2} to {high:.2})",
            result.nanoseconds[middle], result.calls, result.ratios[middle]
        );
    }
}
