//! What it costs to take frames from a pool and to give them back: group `pool`, on the simulated kernel.
//!
//! `one at a time` takes and drops single packets from the pool itself; `a batch` takes 64 through a port, which has free frames
//! at hand, and gives them back to it; `dropped` the same, but given back by dropping each. `other thread`: packets are dropped
//! on another thread than took them, which hands them over through a channel, in batches of 64, channel included.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_sim::{DeviceConfig, SimKernel};

const BATCH: usize = 64;
/// Batches on their way to the other thread at most.
const WAITING: usize = 4;

fn take(port: &mut Port, batch: &mut Batch) {
    // The other thread may have them all for the moment.
    while batch.len() < BATCH {
        if port.packets(batch) == 0 {
            thread::yield_now();
        }
    }
}

fn pools(c: &mut Criterion) {
    let kernel = SimKernel::new(1);
    let _pair = kernel.veth("a", "b", &DeviceConfig::default()).expect("a pair");
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(4096)).expect("a pool");
    let config = PortConfig::default().fill_level(64);
    let mut port = Port::open(&pool, "a", 0, config).expect("a port");
    let mut group = c.benchmark_group("pool");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one at a time", |b| b.iter(|| pool.packet().expect("a frame")));
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut batch = Batch::new();
    group.bench_function("a batch", |b| {
        b.iter(|| {
            take(&mut port, &mut batch);
            port.recycle(&mut batch);
        });
    });
    group.bench_function("a batch, dropped", |b| {
        b.iter(|| {
            take(&mut port, &mut batch);
            batch.clear();
        });
    });
    group.bench_function("a batch, dropped on another thread", |b| {
        b.iter_custom(|count| {
            let (to, from) = mpsc::sync_channel::<Batch>(WAITING);
            thread::scope(|scope| {
                let start = Instant::now();
                let dropper = scope.spawn(move || from.into_iter().for_each(drop));
                for _ in 0..count {
                    let mut batch = Batch::new();
                    take(&mut port, &mut batch);
                    to.send(batch).expect("the other thread");
                }
                drop(to);
                dropper.join().expect("the other thread");
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(all, pools);
criterion_main!(all);
