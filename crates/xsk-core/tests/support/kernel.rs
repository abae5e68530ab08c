//! The kernel's half of the rings, as `net/xdp/xsk_queue.h` has it, with index arithmetic of its own: it shares no code
//! with the half under test, so that a mistake on one side is not mirrored on the other.

use loom::sync::atomic::{Ordering, fence};

use super::half::{ConsumerHalf, Entry, KernelHalf, ProducerHalf, Release};
use super::loom_ring::LoomRing;

/// This kernel. Its orderings are Linux's, and are never weakened.
pub struct ModelKernel;

impl KernelHalf for ModelKernel {
    type Producer<T: Entry> = KernelProducer<T>;
    type Consumer<T: Entry> = KernelConsumer<T>;
}

/// The kernel as the producer of an RX or completion ring.
pub struct KernelProducer<T> {
    ring: LoomRing<T>,
    entries: u32,
    cached_prod: u32,
    cached_cons: u32,
}

impl<T> KernelProducer<T> {
    fn has_room(&self) -> bool {
        self.cached_prod.wrapping_sub(self.cached_cons) < self.entries
    }
}

impl<T: Entry> ProducerHalf<T> for KernelProducer<T> {
    fn new(ring: LoomRing<T>, start: u32) -> Self {
        let entries = ring.slots().len() as u32;
        Self { ring, entries, cached_prod: start, cached_cons: start }
    }

    fn reserve(&mut self, entry: T) -> bool {
        if !self.has_room() {
            self.cached_cons = self.ring.consumer().load(Ordering::Relaxed);
            // The kernel's load is plain; a control dependency keeps the writes below behind it. Loom has none of those:
            // the fence stands for it.
            fence(Ordering::Acquire);
            if !self.has_room() {
                return false;
            }
        }
        let slot = &self.ring.slots()[(self.cached_prod & (self.entries - 1)) as usize];
        // SAFETY: the pointer is good for the closure; loom refuses any concurrent use.
        slot.with_mut(|slot| unsafe { *slot = entry });
        self.cached_prod = self.cached_prod.wrapping_add(1);
        true
    }

    fn submit(&mut self) {
        self.ring.producer().store(self.cached_prod, Ordering::Release);
    }
}

/// The kernel as the consumer of a fill or TX ring.
pub struct KernelConsumer<T> {
    ring: LoomRing<T>,
    entries: u32,
    cached_prod: u32,
    cached_cons: u32,
    release: Release,
}

impl<T: Copy> KernelConsumer<T> {
    fn publish(&self) {
        self.ring.consumer().store(self.cached_cons, Ordering::Release);
    }
}

impl<T: Entry> ConsumerHalf<T> for KernelConsumer<T> {
    fn new(ring: LoomRing<T>, start: u32, release: Release) -> Self {
        let entries = ring.slots().len() as u32;
        Self { ring, entries, cached_prod: start, cached_cons: start, release }
    }

    fn peek(&mut self) -> Option<T> {
        if self.cached_prod == self.cached_cons {
            self.publish();
            self.cached_prod = self.ring.producer().load(Ordering::Acquire);
        }
        let waiting = self.cached_prod.wrapping_sub(self.cached_cons);
        assert!(waiting <= self.entries, "{waiting} entries claimed in a ring of {}", self.entries);
        if waiting == 0 {
            return None;
        }
        let slot = &self.ring.slots()[(self.cached_cons & (self.entries - 1)) as usize];
        // SAFETY: the pointer is good for the closure; loom refuses a concurrent writer.
        Some(slot.with(|slot| unsafe { *slot }))
    }

    fn release(&mut self) {
        self.cached_cons = self.cached_cons.wrapping_add(1);
    }

    fn end_pass(&mut self) {
        if self.release == Release::EachPass {
            self.publish();
        }
    }
}
