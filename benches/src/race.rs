//! Times of contestants that run in turns, so that whatever else the machine does hits all of them alike.

use std::time::{Duration, Instant};

use crate::case::Case;

/// One contestant's result.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Who.
    pub who: &'static str,
    /// Nanoseconds per packet: the median of the turns.
    pub nanoseconds: f64,
    /// How its time relates to the reference's in the same lap: first quartile, median, third quartile.
    pub ratio: [f64; 3],
}

/// Runs `cases` in turns of about `turn` each, for `laps` laps. The order within a lap rotates.
///
/// # Panics
/// If there is no case called `reference`.
pub fn race(cases: &mut [Case], reference: &str, laps: usize, turn: Duration) -> Vec<Standing> {
    let packets: Vec<u32> = cases.iter_mut().map(|case| calibrate(case, turn)).collect();
    let mut times = vec![Vec::with_capacity(laps); cases.len()];
    for lap in 0..laps {
        for i in 0..cases.len() {
            let i = (i + lap) % cases.len();
            let start = Instant::now();
            cases[i].run(packets[i]);
            times[i].push(start.elapsed().as_nanos() as f64 / f64::from(packets[i]));
        }
    }
    let reference = cases.iter().position(|case| case.who == reference).expect("the reference takes part");
    let standing = |(case, mine): (&Case, &Vec<f64>)| {
        let ratios = mine.iter().zip(&times[reference]).map(|(a, b)| a / b).collect();
        Standing { who: case.who, nanoseconds: quartiles(mine.clone())[1], ratio: quartiles(ratios) }
    };
    cases.iter().zip(&times).map(standing).collect()
}

/// How many packets take about `turn`.
fn calibrate(case: &mut Case, turn: Duration) -> u32 {
    let mut packets = case.batch * 64;
    loop {
        let start = Instant::now();
        case.run(packets);
        if start.elapsed() >= turn || packets > u32::MAX / 4 {
            return packets;
        }
        packets *= 2;
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|n| values[(values.len() - 1) * n / 4])
}
