//! What the user half of the rings costs, without a kernel.
//!
//! The rings live on the heap, and this harness plays the kernel by moving the kernel's index of each ring: one store for
//! a batch. Slots are not rewritten, and packet bytes are not touched. The figures are for a batch; criterion's
//! throughput is in packets.

use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xsk_core::abi::{xdp_desc, xdp_ring_offset};
use xsk_core::region::Region;
use xsk_core::ring::{Consumer, Mapped, Producer};

const ENTRIES: u32 = 2048;
const BATCHES: [u32; 2] = [16, 64];
/// Each word on a cache line of its own, as in the kernel.
const OFFSETS: xdp_ring_offset = xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };

type Ring<T> = Mapped<T, Arc<Region>>;

/// The kernel's index of a ring.
struct Kernel {
    index: u32,
    word: NonNull<AtomicU32>,
    _memory: Arc<Region>,
}

impl Kernel {
    /// The kernel consumes or produces `count` entries.
    #[inline(always)]
    fn moves(&mut self, count: u32) {
        self.index = self.index.wrapping_add(count);
        // SAFETY: the word is in the region that this value keeps, aligned, and only accessed atomically.
        unsafe { self.word.as_ref() }.store(self.index, Ordering::Release);
    }
}

fn ring<T: Copy>(kernel_word: u64) -> (Ring<T>, Kernel) {
    let memory = Region::new(Ring::<T>::bytes(&OFFSETS, ENTRIES)).expect("memory");
    // SAFETY: the region is page aligned, the Arc keeps it, and the two halves below are all that uses it.
    let ring = unsafe { Mapped::new(memory.as_ptr(), memory.len(), &OFFSETS, ENTRIES, Arc::clone(&memory)) };
    // SAFETY: the offset of a word is within the region.
    let word = unsafe { memory.as_ptr().byte_add(kernel_word as usize) }.cast();
    (ring.expect("a ring that fits"), Kernel { index: 0, word, _memory: memory })
}

/// A fill or TX ring, empty, and its kernel.
fn producer<T: Copy>() -> (Producer<Ring<T>>, Kernel) {
    let (ring, kernel) = ring(OFFSETS.consumer);
    // SAFETY: a ring of its own, so the only producer.
    (unsafe { Producer::new(ring) }, kernel)
}

/// An RX or completion ring, empty, and its kernel.
fn consumer<T: Copy>() -> (Consumer<Ring<T>>, Kernel) {
    let (ring, kernel) = ring(OFFSETS.producer);
    // SAFETY: a ring of its own, so the only consumer.
    (unsafe { Consumer::new(ring) }, kernel)
}

fn produce<T: Copy + Default>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, batch: u32) {
    let (mut ring, mut kernel) = producer::<T>();
    let items = vec![T::default(); batch as usize];
    group.bench_function(BenchmarkId::new(name, batch), |b| {
        b.iter(|| {
            let count = ring.produce(black_box(&items), |item| *item).expect("a sound index");
            kernel.moves(count);
            count
        });
    });
}

fn consume<T: Copy + Default>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, batch: u32) {
    let (mut ring, mut kernel) = consumer::<T>();
    let mut items = vec![T::default(); batch as usize];
    group.bench_function(BenchmarkId::new(name, batch), |b| {
        b.iter(|| {
            kernel.moves(batch);
            let count = ring.consume(&mut items, |item, slot| *item = slot).expect("a sound index");
            black_box(&items);
            count
        });
    });
}

/// One forwarding step: RX consume, TX produce, completion consume, fill produce.
fn cycle(group: &mut BenchmarkGroup<'_, WallTime>, batch: u32) {
    let (mut rx, mut rx_kernel) = consumer::<xdp_desc>();
    let (mut tx, mut tx_kernel) = producer::<xdp_desc>();
    let (mut completion, mut completion_kernel) = consumer::<u64>();
    let (mut fill, mut fill_kernel) = producer::<u64>();
    let mut descs = vec![xdp_desc::default(); batch as usize];
    let mut addrs = vec![0_u64; batch as usize];
    group.bench_function(BenchmarkId::new("four rings", batch), |b| {
        b.iter(|| {
            rx_kernel.moves(batch);
            let received = rx.consume(&mut descs, |desc, slot| *desc = slot).expect("a sound index");
            let sent = tx.produce(black_box(&descs), |desc| *desc).expect("a sound index");
            tx_kernel.moves(sent);
            completion_kernel.moves(sent);
            let done = completion.consume(&mut addrs, |addr, slot| *addr = slot).expect("a sound index");
            let filled = fill.produce(black_box(&addrs), |addr| *addr).expect("a sound index");
            fill_kernel.moves(filled);
            assert!([received, sent, done, filled] == [batch; 4], "a ring moved less than the batch");
        });
    });
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("cycle");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch.into()));
        produce::<u64>(&mut group, "fill produce", batch);
        produce::<xdp_desc>(&mut group, "TX produce", batch);
        consume::<xdp_desc>(&mut group, "RX consume", batch);
        consume::<u64>(&mut group, "completion consume", batch);
        cycle(&mut group, batch);
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
