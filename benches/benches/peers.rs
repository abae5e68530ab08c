//! The four-ring cycle of each library on the rings of real sockets, the libraries in turns: nanoseconds for a packet, and
//! how each relates to C over libxdp's inline helpers.
//!
//! ```sh
//! ./ci/bench
//! ```
//!
//! Needs root: the sockets are in a private network. The kernel's half of the rings is moved by the benchmark, the same for
//! all. `in place` goes from ring to ring without arrays between.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Duration;

use xsk_benches::peers::{BATCHES, REFERENCE, cycles};
use xsk_benches::place::Place;
use xsk_benches::race::race;

const LAPS: usize = 201;
const TURN: Duration = Duration::from_micros(200);

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
    for batch in BATCHES {
        let (mut these, others) = cases.into_iter().partition::<Vec<_>, _>(|case| case.batch == batch);
        cases = others;
        println!("\nbatch {batch:<18}{:>12}{:>10}", "ns/packet", "ratio");
        for standing in race(&mut these, REFERENCE, LAPS, TURN) {
            let [low, median, high] = standing.ratio;
            println!("{:24}{:12.2}{median:10.2} ({low:.2} to {high:.2})", standing.who, standing.nanoseconds);
        }
    }
    ExitCode::SUCCESS
}
