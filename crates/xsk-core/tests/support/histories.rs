//! Histories of a ring in memory, and the plain queue that says what must come of them.

use std::collections::VecDeque;
use std::sync::Arc;

use xsk_core::region::Region;
use xsk_core::ring::{BrokenIndex, Consumer, Mapped, Producer};

use super::heap_ring::HeapRing;

/// What can happen to a ring, for either half.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    /// Our half moves entries: `produce` (all or nothing), `consume`.
    Move(u32),
    /// `produce_some`; for a consumer the same as `Move`.
    MoveSome(u32),
    /// `free`, `available`.
    Look(u32),
    /// `free_now`, `available_now`.
    LookNow,
    /// `outstanding`; for a consumer the same as `LookNow`.
    Outstanding,
    /// The peer moves as many entries, or as many as it can.
    Peer(u32),
    /// The peer's index becomes impossible, this far beyond the nearest possible one, and then what it was.
    Break(u32),
}

pub type HeapStorage = Mapped<u64, Arc<Region>>;

/// A half of a ring with its model. `apply` panics when they disagree.
pub trait Half<'a>: Sized {
    fn new(ring: &'a HeapRing, start: u32) -> Self;
    fn apply(&mut self, op: Op);
}

/// More than any slice here.
pub const ROOM: usize = 160;

/// What a producer's slices are made of: items by number.
const ITEMS: [u64; ROOM] = {
    let mut items = [0; ROOM];
    let mut i = 0;
    while i < ROOM {
        items[i] = i as u64;
        i += 1;
    }
    items
};

/// Our producer. The peer consumes.
pub struct ProducerHalf<'a> {
    ring: &'a HeapRing,
    producer: Producer<HeapStorage>,
    /// What waits in the ring.
    queue: VecDeque<u64>,
    own: u32,
    peer: u32,
    /// Free slots that the producer knows of.
    known: u32,
    next: u64,
}

impl ProducerHalf<'_> {
    fn really_free(&self) -> u32 {
        self.ring.capacity() - self.queue.len() as u32
    }

    /// What `free(want)` says: what is known, if it suffices.
    fn look(&mut self, want: u32) -> u32 {
        if self.known < want {
            self.known = self.really_free();
        }
        self.known
    }

    fn put(&mut self, want: u32, count: u32, moved: Result<u32, BrokenIndex>) {
        assert_eq!(moved, Ok(count), "of {want}");
        self.queue.extend(self.next..self.next + u64::from(count));
        self.own = self.own.wrapping_add(count);
        self.known -= count;
        self.next += 1000;
        for (i, entry) in self.queue.iter().enumerate() {
            assert_eq!(self.ring.entry(self.peer.wrapping_add(i as u32)), *entry);
        }
    }
}

impl<'a> Half<'a> for ProducerHalf<'a> {
    fn new(ring: &'a HeapRing, start: u32) -> Self {
        ring.reset(start);
        // SAFETY: the only producer of the ring.
        let producer = unsafe { Producer::new(ring.mapped()) };
        Self { ring, producer, queue: VecDeque::new(), own: start, peer: start, known: 0, next: 1 }
    }

    fn apply(&mut self, op: Op) {
        let next = self.next;
        let give = |item: &u64| next + item;
        match op {
            Op::Move(want) => {
                // An empty slice touches nothing; everything else may take a look.
                let fits = want > 0 && self.look(want) >= want;
                let moved = self.producer.produce(&ITEMS[..want as usize], give);
                self.put(want, if fits { want } else { 0 }, moved);
            }
            Op::MoveSome(want) => {
                let count = self.look(want).min(want);
                let moved = self.producer.produce_some(&ITEMS[..want as usize], give);
                self.put(want, count, moved);
            }
            Op::Look(want) => assert_eq!(self.producer.free(want), Ok(self.look(want))),
            Op::LookNow => {
                self.known = self.really_free();
                assert_eq!(self.producer.free_now(), Ok(self.known));
            }
            Op::Outstanding => assert_eq!(self.producer.outstanding(), Ok(self.queue.len() as u32)),
            Op::Peer(count) => {
                let count = count.min(self.queue.len() as u32);
                self.queue.drain(..count as usize);
                self.peer = self.peer.wrapping_add(count);
                self.ring.set_consumer(self.peer);
            }
            Op::Break(by) => {
                // Possible are `own - capacity` to `own`.
                let capacity = self.ring.capacity();
                let peer = self.own.wrapping_add(1 + by % (u32::MAX - capacity));
                let broken = BrokenIndex { own: self.own, peer, capacity };
                let before = self.ring.entries();
                self.ring.set_consumer(peer);
                let more = self.known as usize + 1;
                assert_eq!(self.producer.free_now(), Err(broken));
                assert_eq!(self.producer.free(more as u32), Err(broken));
                assert_eq!(self.producer.outstanding(), Err(broken));
                assert_eq!(self.producer.produce(&ITEMS[..more], give), Err(broken));
                assert_eq!(self.producer.produce_some(&ITEMS[..more], give), Err(broken));
                assert_eq!(self.ring.entries(), before);
                self.ring.set_consumer(self.peer);
            }
        }
        assert_eq!((self.ring.producer(), self.ring.consumer()), (self.own, self.peer), "{op:?}");
    }
}

/// Our consumer. The peer produces.
pub struct ConsumerHalf<'a> {
    ring: &'a HeapRing,
    consumer: Consumer<HeapStorage>,
    /// What waits in the ring.
    queue: VecDeque<u64>,
    own: u32,
    peer: u32,
    /// Entries that the consumer knows of.
    known: u32,
    next: u64,
}

impl ConsumerHalf<'_> {
    fn look(&mut self, want: u32) -> u32 {
        if self.known < want {
            self.known = self.queue.len() as u32;
        }
        self.known
    }
}

impl<'a> Half<'a> for ConsumerHalf<'a> {
    fn new(ring: &'a HeapRing, start: u32) -> Self {
        ring.reset(start);
        // SAFETY: the only consumer of the ring.
        let consumer = unsafe { Consumer::new(ring.mapped()) };
        Self { ring, consumer, queue: VecDeque::new(), own: start, peer: start, known: 0, next: 1 }
    }

    fn apply(&mut self, op: Op) {
        const UNTOUCHED: u64 = u64::MAX;
        match op {
            Op::Move(want) | Op::MoveSome(want) => {
                let mut out = [UNTOUCHED; ROOM];
                let out = &mut out[..want as usize];
                let count = self.look(want).min(want);
                let moved = self.consumer.consume(out, |to, entry| *to = entry);
                assert_eq!(moved, Ok(count), "of {want}");
                let (got, rest) = out.split_at(count as usize);
                assert!(self.queue.drain(..count as usize).eq(got.iter().copied()), "{got:?}");
                assert!(rest.iter().all(|item| *item == UNTOUCHED));
                self.own = self.own.wrapping_add(count);
                self.known -= count;
            }
            Op::Look(want) => assert_eq!(self.consumer.available(want), Ok(self.look(want))),
            Op::LookNow | Op::Outstanding => {
                self.known = self.queue.len() as u32;
                assert_eq!(self.consumer.available_now(), Ok(self.known));
            }
            Op::Peer(count) => {
                let count = count.min(self.ring.capacity() - self.queue.len() as u32);
                for _ in 0..count {
                    self.ring.set_entry(self.peer, self.next);
                    self.queue.push_back(self.next);
                    self.peer = self.peer.wrapping_add(1);
                    self.next += 1;
                }
                self.ring.set_producer(self.peer);
            }
            Op::Break(by) => {
                // Possible are `own` to `own + capacity`.
                let capacity = self.ring.capacity();
                let peer = self.own.wrapping_sub(1 + by % (u32::MAX - capacity));
                let broken = BrokenIndex { own: self.own, peer, capacity };
                self.ring.set_producer(peer);
                let mut out = [UNTOUCHED; ROOM];
                let more = self.known as usize + 1;
                let out = &mut out[..more];
                assert_eq!(self.consumer.available_now(), Err(broken));
                assert_eq!(self.consumer.available(more as u32), Err(broken));
                assert_eq!(self.consumer.consume(out, |to, entry| *to = entry), Err(broken));
                assert!(out.iter().all(|item| *item == UNTOUCHED));
                self.ring.set_producer(self.peer);
            }
        }
        assert_eq!((self.ring.producer(), self.ring.consumer()), (self.peer, self.own), "{op:?}");
    }
}

/// Runs a history on a ring that is empty and stands at `start`.
pub fn history<'a, H: Half<'a>>(ring: &'a HeapRing, start: u32, ops: impl IntoIterator<Item = Op>) {
    let mut half = H::new(ring, start);
    for op in ops {
        half.apply(op);
    }
}
