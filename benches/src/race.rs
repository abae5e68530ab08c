//! Times of contestants that run in turns, so that whatever else the machine does hits all of them alike.
//!
//! The time is the processor time of the thread: what other processes take meanwhile does not count, nor does waiting.

use std::time::Duration;

use crate::case::Case;

/// One contestant's result.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Who.
    pub who: &'static str,
    /// Nanoseconds of processor time per packet: the median of the turns.
    pub nanoseconds: f64,
    /// How its time relates to the reference's in the same lap: first quartile, median, third quartile.
    pub ratio: [f64; 3],
}

/// Runs `cases` in turns of about `turn` each, for `laps` laps. The order within a lap rotates.
///
/// # Panics
/// If there is no case called `reference`, or the system has no clock of a thread's time.
pub fn race(cases: &mut [Case], reference: &str, laps: usize, turn: Duration) -> Vec<Standing> {
    let packets: Vec<u32> = cases.iter_mut().map(|case| calibrate(case, turn)).collect();
    let mut times = vec![Vec::with_capacity(laps); cases.len()];
    for lap in 0..laps {
        for i in 0..cases.len() {
            let i = (i + lap) % cases.len();
            let start = processor_time();
            cases[i].run(packets[i]);
            let time = processor_time().saturating_sub(start);
            times[i].push(time.as_nanos() as f64 / f64::from(packets[i]));
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
    let mut packets = case.batch;
    loop {
        let start = processor_time();
        case.run(packets);
        if processor_time().saturating_sub(start) >= turn || packets > u32::MAX / 4 {
            return packets;
        }
        packets *= 2;
    }
}

/// The processor time that this thread has used, in the kernel and outside.
///
/// # Panics
/// If the system has no clock for it.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "the clock of this thread");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|n| values[(values.len() - 1) * n / 4])
}
