//! How fast the simulated kernel is, in packets of 64 bytes, on one thread and in deterministic mode.
//!
//! `sim forward`: packets that a program received and sent. `sim test`: a whole test in the manner of the kernel's SEND_RECEIVE,
//! from the making of a kernel to its end. Instructions per packet: `./ci/instructions`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xsk_benches::sim::{BATCH, CASES, Forward, PACKETS, send_receive};

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("sim forward");
    group.throughput(Throughput::Elements(BATCH.into()));
    for (name, mode, program) in CASES {
        let mut forward = Forward::new(mode, program);
        group.bench_function(name, |b| b.iter(|| forward.step()));
    }
    group.finish();
}

fn test(c: &mut Criterion) {
    let mut group = c.benchmark_group("sim test");
    group.throughput(Throughput::Elements(PACKETS.into()));
    for (name, mode, program) in CASES {
        group.bench_function(name, |b| b.iter(|| send_receive(mode, program)));
    }
    group.finish();
}

criterion_group!(all, forward, test);
criterion_main!(all);
