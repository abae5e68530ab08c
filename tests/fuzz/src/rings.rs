//! Rings whose other side does anything at any time: an error or a correct result, nothing outside of the ring touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arbitrary::Arbitrary;
use xsk_core::abi::xdp_ring_offset;
use xsk_core::region::Region;
use xsk_core::ring::{BrokenIndex, Consumer, Mapped, Producer};
use xsk_sim::ring::{KernelConsumer, KernelProducer};

#[derive(Debug, Arbitrary)]
struct Input {
    capacity: u8,
    start: u32,
    half: Half,
    ops: Vec<Op>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Half {
    Producer,
    Consumer,
    KernelProducer,
    KernelConsumer,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Op {
    /// The peer writes a word, or a slot.
    Word(Word, u32),
    /// The same, near the other index.
    Near(Word, i8),
    Slot(u8, u64),
    Move(u8),
    MoveSome(u8),
    Look(u8),
    LookNow,
    Outstanding,
    NeedsWakeup,
    Rekick(u8),
    Undo(u8),
    Publish,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Word {
    Producer,
    Consumer,
    Flags,
}

const OFFSETS: xdp_ring_offset = xdp_ring_offset { producer: 64, consumer: 128, desc: 320, flags: 192 };
const CANARY: u8 = 0xa5;
const ROOM: usize = 300;

struct Ring {
    region: Arc<Region>,
    capacity: u32,
}

impl Ring {
    fn new(capacity: u32, start: u32) -> Self {
        let region = Region::new(Mapped::<u64, ()>::bytes(&OFFSETS, capacity) + 64).expect("memory");
        // SAFETY: within the region, which nobody else uses yet.
        unsafe { region.as_ptr().as_ptr().write_bytes(CANARY, region.len()) };
        let ring = Self { region, capacity };
        ring.set(Word::Producer, start);
        ring.set(Word::Consumer, start);
        ring.set(Word::Flags, 0);
        ring
    }

    fn storage(&self) -> Mapped<u64, Arc<Region>> {
        let keep = Arc::clone(&self.region);
        // SAFETY: the region is page aligned and lives as long as the Arc; there is one thread.
        unsafe { Mapped::new(self.region.as_ptr(), self.region.len(), &OFFSETS, self.capacity, keep) }
            .expect("it fits")
    }

    fn word(&self, word: Word) -> &AtomicU32 {
        let at = match word {
            Word::Producer => OFFSETS.producer,
            Word::Consumer => OFFSETS.consumer,
            Word::Flags => OFFSETS.flags,
        };
        // SAFETY: within the region, aligned, only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.region.as_ptr().as_ptr().add(at as usize).cast()) }
    }

    fn get(&self, word: Word) -> u32 {
        self.word(word).load(Ordering::Relaxed)
    }

    fn set(&self, word: Word, value: u32) {
        self.word(word).store(value, Ordering::Relaxed);
    }

    fn slot(&self, index: u32) -> *mut u64 {
        let at = OFFSETS.desc as usize + 8 * (index % self.capacity) as usize;
        // SAFETY: within the region.
        unsafe { self.region.as_ptr().as_ptr().add(at).cast() }
    }

    fn entry(&self, index: u32) -> u64 {
        // SAFETY: within the region, and there is one thread.
        unsafe { self.slot(index).read() }
    }

    fn entries(&self) -> Vec<u64> {
        (0..self.capacity).map(|index| self.entry(index)).collect()
    }

    fn check_canaries(&self) {
        let end = Mapped::<u64, ()>::bytes(&OFFSETS, self.capacity);
        let words = [OFFSETS.producer, OFFSETS.consumer, OFFSETS.flags].map(|at| at as usize);
        for at in (0..OFFSETS.desc as usize).chain(end..self.region.len()) {
            if words.iter().any(|word| (*word..word + 4).contains(&at)) {
                continue;
            }
            // SAFETY: within the region, and there is one thread.
            let byte = unsafe { self.region.as_ptr().as_ptr().add(at).read() };
            assert_eq!(byte, CANARY, "{at} bytes into the ring");
        }
    }

    /// What the peer does; false if it is none of its operations.
    fn peer(&self, op: Op) -> bool {
        match op {
            Op::Word(word, value) => self.set(word, value),
            Op::Near(word, by) => {
                let other = match word {
                    Word::Producer | Word::Flags => Word::Consumer,
                    Word::Consumer => Word::Producer,
                };
                self.set(word, self.get(other).wrapping_add_signed(by.into()));
            }
            // SAFETY: within the region, and there is one thread.
            Op::Slot(index, entry) => unsafe { self.slot(index.into()).write(entry) },
            _ => return false,
        }
        true
    }
}

pub fn run(data: &[u8]) {
    let Some(input) = crate::bytes::read::<Input>(data) else { return };
    let ring = Ring::new(1 << (input.capacity % 7), input.start);
    let ops = input.ops.iter().copied().take(512);
    match input.half {
        Half::Producer => producer(&ring, input.start, ops),
        Half::Consumer => consumer(&ring, input.start, ops),
        Half::KernelProducer => kernel_producer(&ring, ops),
        Half::KernelConsumer => kernel_consumer(&ring, ops),
    }
    ring.check_canaries();
}

/// Whether a refusal is true.
fn is_broken(ring: &Ring, own: u32, peer: Word, error: BrokenIndex) {
    let peer = match peer {
        Word::Producer => ring.get(peer).wrapping_sub(own),
        _ => own.wrapping_sub(ring.get(peer)),
    };
    assert!(peer > ring.capacity, "{error} is not broken");
    assert_eq!((error.own, error.capacity), (own, ring.capacity));
}

fn producer(ring: &Ring, start: u32, ops: impl Iterator<Item = Op>) {
    // SAFETY: the only producer.
    let mut half = unsafe { Producer::new(ring.storage()) };
    let mut own = start;
    let mut next = 1_u64 << 40;
    for op in ops {
        if ring.peer(op) {
            continue;
        }
        let before = (ring.entries(), ring.get(Word::Producer));
        next += 1000;
        let first = next;
        let mut moved = |want: u8, some: bool, result: Result<u32, BrokenIndex>, ring: &Ring| {
            let count = result.unwrap_or_else(|error| {
                is_broken(ring, own, Word::Consumer, error);
                0
            });
            assert!(count <= ring.capacity && count <= want.into(), "{count} of {want}");
            assert!(some || count == 0 || count == want.into(), "all or nothing, not {count} of {want}");
            let mut expected = before.0.clone();
            for i in 0..count {
                expected[(own.wrapping_add(i) % ring.capacity) as usize] = first + u64::from(i);
            }
            assert_eq!(ring.entries(), expected);
            own = own.wrapping_add(count);
            let published = if count > 0 { own } else { before.1 };
            assert_eq!(ring.get(Word::Producer), published);
        };
        let items: Vec<u64> = (0..ROOM as u64).collect();
        match op {
            Op::Move(want) => {
                let result = half.produce(&items[..want.into()], |item| first + item);
                moved(want, false, result, ring);
            }
            Op::MoveSome(want) => {
                let result = half.produce_some(&items[..want.into()], |item| first + item);
                moved(want, true, result, ring);
            }
            Op::Look(want) => match half.free(want.into()) {
                Ok(free) => assert!(free <= ring.capacity),
                Err(error) => is_broken(ring, own, Word::Consumer, error),
            },
            Op::LookNow => match half.free_now() {
                Ok(free) => assert_eq!(free, ring.capacity - own.wrapping_sub(ring.get(Word::Consumer))),
                Err(error) => is_broken(ring, own, Word::Consumer, error),
            },
            Op::Outstanding => match half.outstanding() {
                Ok(count) => assert_eq!(count, own.wrapping_sub(ring.get(Word::Consumer))),
                Err(error) => is_broken(ring, own, Word::Consumer, error),
            },
            Op::NeedsWakeup => {
                let flag = ring.get(Word::Flags) & 1 == 1;
                assert!(half.needs_wakeup() || !flag, "the flag is set");
            }
            Op::Rekick(polls) => half.set_rekick_after(polls.into()),
            _ => {}
        }
    }
}

fn consumer(ring: &Ring, start: u32, ops: impl Iterator<Item = Op>) {
    // SAFETY: the only consumer.
    let mut half = unsafe { Consumer::new(ring.storage()) };
    let mut own = start;
    for op in ops {
        if ring.peer(op) {
            continue;
        }
        let before = (ring.entries(), ring.get(Word::Consumer));
        match op {
            Op::Move(want) | Op::MoveSome(want) => {
                let mut out = [None; ROOM];
                let result = half.consume(&mut out[..want.into()], |to, entry| *to = Some(entry));
                let count = result.unwrap_or_else(|error| {
                    is_broken(ring, own, Word::Producer, error);
                    0
                });
                assert!(count <= ring.capacity && count <= want.into(), "{count} of {want}");
                for (i, entry) in out.iter().enumerate() {
                    let index = own.wrapping_add(i as u32);
                    assert_eq!(*entry, (i < count as usize).then(|| ring.entry(index)));
                }
                own = own.wrapping_add(count);
                let published = if count > 0 { own } else { before.1 };
                assert_eq!(ring.get(Word::Consumer), published);
            }
            Op::Look(want) => match half.available(want.into()) {
                Ok(available) => assert!(available <= ring.capacity),
                Err(error) => is_broken(ring, own, Word::Producer, error),
            },
            Op::LookNow | Op::Outstanding => match half.available_now() {
                Ok(available) => assert_eq!(available, ring.get(Word::Producer).wrapping_sub(own)),
                Err(error) => is_broken(ring, own, Word::Producer, error),
            },
            _ => {}
        }
        assert_eq!(ring.entries(), before.0, "a consumer writes no slots");
    }
}

/// The simulated kernel trusts what it reads, as Linux does, and stays within the ring.
fn kernel_producer(ring: &Ring, ops: impl Iterator<Item = Op>) {
    // SAFETY: the only producer.
    let mut half = unsafe { KernelProducer::new(ring.storage()) };
    for op in ops {
        if ring.peer(op) {
            continue;
        }
        match op {
            Op::Move(want) => {
                let free = half.free(want.into());
                assert!(free <= want.into());
                (0..free).for_each(|entry| half.write(entry.into()));
                half.publish();
            }
            Op::MoveSome(want) => {
                let promised = (0..want).take_while(|_| half.reserve()).count();
                half.submit((0..promised as u64).map(|entry| entry << 8));
            }
            Op::Look(want) => assert!(half.free(want.into()) <= want.into()),
            Op::LookNow => assert!(half.next_slot().is_some()),
            Op::Outstanding => _ = (half.has_entries(), half.unpublished(), half.published()),
            Op::NeedsWakeup if half.reserve() => {
                half.write_reserved(7);
                half.submit_written(1);
            }
            Op::Undo(count) => half.cancel(count.into()),
            Op::Publish => half.publish(),
            _ => {}
        }
    }
}

fn kernel_consumer(ring: &Ring, ops: impl Iterator<Item = Op>) {
    // SAFETY: the only consumer.
    let mut half = unsafe { KernelConsumer::new(ring.storage()) };
    for op in ops {
        if ring.peer(op) {
            continue;
        }
        match op {
            Op::Move(want) | Op::MoveSome(want) => {
                for _ in 0..want {
                    let at = half.taken();
                    let Some(entry) = half.peek() else { break };
                    assert_eq!(entry, ring.entry(at));
                    half.advance();
                }
            }
            Op::Look(want) => assert!(half.available(want.into()) <= want.into()),
            Op::Outstanding => _ = half.is_half_empty(),
            Op::Undo(count) => half.unwind(count.into()),
            Op::Publish => {
                half.publish();
                assert_eq!(ring.get(Word::Consumer), half.taken());
            }
            _ => {}
        }
    }
}
