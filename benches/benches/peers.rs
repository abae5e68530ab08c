//! The four-ring cycle of each library on the rings of real sockets, the libraries in turns: nanoseconds for a packet, and
//! how each relates to C over libxdp's inline helpers. Then the bounds on these ratios, each met or missed.
//!
//! ```sh
//! ./ci/bench --bench peers
//! ```
//!
//! Needs root: the sockets are in a private network. The kernel's half of the rings is moved by the benchmark, the same for
//! all. `in place` goes from ring to ring without arrays between. Exits 1 if a bound is missed that was met before.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Duration;

use xsk_benches::peers::{BATCHES, REFERENCE, cycles};
use xsk_benches::place::Place;
use xsk_benches::race::{Standing, race};

const LAPS: usize = 201;
const TURN: Duration = Duration::from_micros(200);

/// A bound on how the time of one relates to that of another.
struct Bound {
    who: &'static str,
    than: &'static str,
    /// At most this.
    most: f64,
    /// For each of [`BATCHES`], what it has come to and may not be worse than: `most` where that is met.
    reached: [f64; 2],
}

const fn met(who: &'static str, than: &'static str, most: f64) -> Bound {
    Bound { who, than, most, reached: [most; 2] }
}

const BOUNDS: [Bound; 6] = [
    met("xsk ring tier", REFERENCE, 1.0),
    met("xsk ring tier", "xdpilone", 1.0 / 1.6),
    met("xsk ring tier", "xsk-rs", 1.0 / 3.0),
    met("xsk ring tier", "xdp", 1.0 / 3.0),
    met("xsk port, burst", REFERENCE, 1.0),
    met("xsk port, owned", REFERENCE, 3.0),
];

fn main() -> ExitCode {
    let mut place = match Place::veth() {
        Ok(place) => place,
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let mut cases = cycles(&mut place);
    println!("{LAPS} laps, turns of {TURN:?}; ratio to {REFERENCE}: median (first to third quartile)");
    let mut results = Vec::new();
    for batch in BATCHES {
        let (mut these, others) = cases.into_iter().partition::<Vec<_>, _>(|case| case.batch == batch);
        cases = others;
        println!("\nbatch {batch:<18}{:>12}{:>10}", "ns/packet", "ratio");
        let standings = race(&mut these, REFERENCE, LAPS, TURN);
        for standing in &standings {
            let [low, median, high] = standing.ratio;
            println!("{:24}{:12.2}{median:10.2} ({low:.2} to {high:.2})", standing.who, standing.nanoseconds);
        }
        results.push(standings);
    }
    if check(&results) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints each bound, and whether it is met. False if one is missed beyond noise that was met, or what was reached is not.
fn check(results: &[Vec<Standing>]) -> bool {
    let mut worse = 0;
    println!("\n{:18}{:>9}{:>7}{:>9}{:>8}{:>9}", "bound", "than", "batch", "at most", "ratio", "");
    for bound in &BOUNDS {
        for ((batch, standings), reached) in BATCHES.iter().zip(results).zip(bound.reached) {
            let ratio = |who| standings.iter().find(|standing| standing.who == who).map(|found| found.ratio);
            let (Some(one), Some(other)) = (ratio(bound.who), ratio(bound.than)) else {
                println!("{:18}{:>9}{batch:7}: did not take part", bound.who, bound.than);
                worse += 1;
                continue;
            };
            let quotient = one[1] / other[1];
            // Beyond noise: even if the one did as well, and the other as badly, as in a quarter of the laps.
            let is_worse = one[0] / other[2] > reached;
            let verdict = match (quotient <= bound.most, is_worse) {
                (_, true) => "WORSE than before",
                (true, false) => "met",
                (false, false) => "missed, as before",
            };
            worse += u32::from(is_worse);
            println!("{:18}{:>9}{batch:7}{:9.2}{quotient:8.2}  {verdict}", bound.who, bound.than, bound.most);
        }
    }
    if worse > 0 {
        eprintln!("{worse} bounds are missed that were met, or by more than before");
    }
    worse == 0
}
