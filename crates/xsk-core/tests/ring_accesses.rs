//! How often the rings touch shared memory. Each access to a word that the peer writes may cost a cache miss, and a store
//! to a word that the peer reads costs the peer one: nothing moves without need.

mod support;

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use support::heap_ring::HeapRing;
use xsk_core::order::Order;
use xsk_core::region::Region;
use xsk_core::ring::{Consumer, Mapped, Producer, Storage};

/// Accesses: loads of the peer's index, stores of our own, runs of slots, fences and loads of the flags.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Accesses {
    loads: u32,
    stores: u32,
    runs: u32,
    fences: u32,
    flags: u32,
}

struct Counting {
    ring: Mapped<u64, Arc<Region>>,
    seen: Cell<Accesses>,
}

impl Counting {
    fn new(ring: &HeapRing) -> Self {
        Self { ring: ring.mapped(), seen: Cell::default() }
    }

    fn count(&self, change: impl FnOnce(&mut Accesses)) {
        let mut seen = self.seen.get();
        change(&mut seen);
        self.seen.set(seen);
    }

    /// What was seen since the last time.
    fn seen(&self) -> Accesses {
        self.seen.take()
    }
}

// SAFETY: its cells are those of the ring.
unsafe impl Storage for Counting {
    type Slot = u64;
    type Cell = u64;

    fn capacity(&self) -> u32 {
        self.ring.capacity()
    }

    fn load_producer(&self, order: Order) -> u32 {
        self.count(|seen| seen.loads += 1);
        self.ring.load_producer(order)
    }

    fn store_producer(&self, index: u32, order: Order) {
        self.count(|seen| seen.stores += 1);
        self.ring.store_producer(index, order);
    }

    fn load_consumer(&self, order: Order) -> u32 {
        self.count(|seen| seen.loads += 1);
        self.ring.load_consumer(order)
    }

    fn store_consumer(&self, index: u32, order: Order) {
        self.count(|seen| seen.stores += 1);
        self.ring.store_consumer(index, order);
    }

    fn load_flags(&self, order: Order) -> u32 {
        self.count(|seen| seen.flags += 1);
        self.ring.load_flags(order)
    }

    fn fence(&self, order: Order) {
        self.count(|seen| seen.fences += 1);
        self.ring.fence(order);
    }

    fn cell(&self, index: u32) -> (NonNull<u64>, usize) {
        self.count(|seen| seen.runs += 1);
        self.ring.cell(index)
    }

    unsafe fn read(cell: NonNull<u64>) -> u64 {
        // SAFETY: the caller's promise is passed on.
        unsafe { Mapped::<u64, Arc<Region>>::read(cell) }
    }

    unsafe fn write(cell: NonNull<u64>, entry: u64) {
        // SAFETY: the caller's promise is passed on.
        unsafe { Mapped::<u64, Arc<Region>>::write(cell, entry) };
    }

    unsafe fn read_run<D>(&self, index: u32, out: &mut [D], take: impl FnMut(&mut D, u64)) {
        self.count(|seen| seen.runs += 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { self.ring.read_run(index, out, take) };
    }

    unsafe fn write_run<D>(&self, index: u32, from: &[D], give: impl FnMut(&D) -> u64) {
        self.count(|seen| seen.runs += 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { self.ring.write_run(index, from, give) };
    }
}

const NONE: Accesses = Accesses { loads: 0, stores: 0, runs: 0, fences: 0, flags: 0 };
const LOOK: Accesses = Accesses { loads: 1, ..NONE };
const BATCH: Accesses = Accesses { stores: 1, runs: 1, ..NONE };
const LOOK_AND_BATCH: Accesses = Accesses { loads: 1, ..BATCH };

#[test]
fn a_producer_touches_no_more_than_it_must() {
    let ring = HeapRing::new(8);
    ring.reset(u32::MAX - 2);
    // SAFETY: the only producer of the ring.
    let mut producer = unsafe { Producer::new(Counting::new(&ring)) };
    assert_eq!(producer.storage().seen(), LOOK);
    let mut put = |count: usize| {
        let moved = producer.produce(&[0; 9][..count], |item| *item).unwrap();
        (moved, producer.storage().seen())
    };
    assert_eq!(put(0), (0, NONE));
    assert_eq!(put(3), (3, LOOK_AND_BATCH));
    // What is known to be free is not looked at again, not even across the end of the ring.
    assert_eq!(put(3), (3, BATCH));
    assert_eq!(put(2), (2, BATCH));
    assert_eq!(put(1), (0, LOOK));
    assert_eq!(put(0), (0, NONE));
    assert_eq!((producer.produce_some(&[1], |item| *item), producer.storage().seen()), (Ok(0), LOOK));
    ring.set_consumer(2);
    assert_eq!(
        (producer.produce_some(&[0; 9], |item| *item), producer.storage().seen()),
        (Ok(5), LOOK_AND_BATCH)
    );
    assert_eq!((producer.free(0), producer.storage().seen()), (Ok(0), NONE));
}

#[test]
fn a_consumer_touches_no_more_than_it_must() {
    let ring = HeapRing::new(8);
    ring.reset(u32::MAX - 2);
    // SAFETY: the only consumer of the ring.
    let mut consumer = unsafe { Consumer::new(Counting::new(&ring)) };
    assert_eq!(consumer.storage().seen(), LOOK);
    let mut get = |count: usize| {
        let moved = consumer.consume(&mut [0; 9][..count], |to, entry| *to = entry).unwrap();
        (moved, consumer.storage().seen())
    };
    assert_eq!(get(0), (0, NONE));
    assert_eq!(get(3), (0, LOOK));
    ring.set_producer(5);
    assert_eq!(get(3), (3, LOOK_AND_BATCH));
    assert_eq!(get(4), (4, BATCH));
    assert_eq!(get(0), (0, NONE));
    assert_eq!(get(9), (1, LOOK_AND_BATCH));
    assert_eq!(get(9), (0, LOOK));
}

#[test]
fn a_wakeup_costs_one_fence() {
    let ring = HeapRing::new(8);
    // SAFETY: the only producer of the ring.
    let producer = unsafe { Producer::new(Counting::new(&ring)) };
    producer.storage().seen();
    let asked = Accesses { fences: 1, flags: 1, ..NONE };
    assert!(!producer.needs_wakeup());
    assert_eq!(producer.storage().seen(), Accesses { loads: 1, ..asked });
    ring.set_flags(1);
    assert!(producer.needs_wakeup());
    assert_eq!(producer.storage().seen(), asked);
}
