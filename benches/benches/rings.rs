//! What the user's half of the rings costs, without a kernel: groups `ring` (one ring at a time) and `cycle` (a step of a
//! forward loop over all four).
//!
//! The benchmark moves the kernel's halves: see [`xsk_benches::counterpart`]. The figures are for a batch; criterion's
//! throughput is in packets. `wrapping` starts at an index where batches cross the end of the ring.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xsk_benches::case::BATCHES;
use xsk_benches::counterpart::Counterpart;
use xsk_benches::rings::{Floor, User, moves, simulated_core, simulated_ring_tier, step};

fn each_ring<U: User>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    who: &str,
    open: impl Fn() -> (U, Counterpart),
) {
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch.into()));
        for (what, go) in moves::<U>() {
            for (place, first) in [("aligned", 0), ("wrapping", 3)] {
                let (mut user, mut kernel) = open();
                assert_eq!(step(&mut user, &mut kernel, first), first);
                let id = BenchmarkId::new(format!("{who} {what} {place}"), batch);
                group.bench_function(id, |b| b.iter(|| assert_eq!(go(&mut user, &mut kernel, batch), batch)));
            }
        }
    }
}

fn rings(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    each_ring(&mut group, "ring tier", simulated_ring_tier);
    each_ring(&mut group, "core", simulated_core);
    group.finish();
}

fn forward<U: User>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    who: &str,
    batch: u32,
    (mut user, mut kernel): (U, Counterpart),
) {
    let id = BenchmarkId::new(who, batch);
    group.bench_function(id, |b| b.iter(|| assert_eq!(step(&mut user, &mut kernel, batch), batch)));
}

fn cycle(c: &mut Criterion) {
    let mut group = c.benchmark_group("cycle");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch.into()));
        let mut floor = Floor::default();
        group.bench_function(BenchmarkId::new("copies", batch), |b| b.iter(|| floor.forward(batch)));
        forward(&mut group, "core", batch, simulated_core());
        forward(&mut group, "ring tier", batch, simulated_ring_tier());
    }
    group.finish();
}

criterion_group!(all, rings, cycle);
criterion_main!(all);
