//! How fast the simulated kernel is, in packets of 64 bytes, on one thread and in deterministic mode.
//!
//! `sim forward`: packets that a program received and sent. `sim test`: a whole test in the manner of the kernel's SEND_RECEIVE,
//! from the making of a kernel to its end. Instructions per packet: `./ci/instructions`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xsk_benches::race::processor_time;
use xsk_benches::sim::{BATCH, CASES, Forward, PACKETS, send_receive};

/// The processor time of this thread, so that a machine with other things to do shows the same: packets per second of a core.
fn timed<T>(count: u64, mut body: impl FnMut() -> T) -> Duration {
    let start = processor_time();
    for _ in 0..count {
        black_box(body());
    }
    processor_time().saturating_sub(start)
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("sim forward");
    group.throughput(Throughput::Elements(BATCH.into()));
    for (name, mode, program) in CASES {
        let mut forward = Forward::new(mode, program);
        group.bench_function(name, |b| b.iter_custom(|count| timed(count, || forward.step())));
    }
    group.finish();
}

fn test(c: &mut Criterion) {
    let mut group = c.benchmark_group("sim test");
    group.throughput(Throughput::Elements(PACKETS.into()));
    for (name, mode, program) in CASES {
        group.bench_function(name, |b| b.iter_custom(|count| timed(count, || send_receive(mode, program))));
    }
    group.finish();
}

criterion_group!(all, forward, test);
criterion_main!(all);
