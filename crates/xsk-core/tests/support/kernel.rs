//! The kernel's half of the rings, as `net/xdp/xsk_queue.h` has it, with index arithmetic of its own: it shares no code
//! with the half under test, so that a mistake on one side is not mirrored on the other.

use loom::sync::atomic::{Ordering, fence};
use xsk_core::abi::XDP_RING_NEED_WAKEUP;

use super::loom_ring::LoomRing;

/// The kernel as the producer of an RX or completion ring.
pub struct KernelProducer<T> {
    ring: LoomRing<T>,
    entries: u32,
    cached_prod: u32,
    cached_cons: u32,
}

impl<T: Copy> KernelProducer<T> {
    /// Of an empty ring whose indices stand at `start`.
    pub fn new(ring: LoomRing<T>, start: u32) -> Self {
        let entries = ring.slots().len() as u32;
        Self { ring, entries, cached_prod: start, cached_cons: start }
    }

    fn has_room(&self) -> bool {
        self.cached_prod.wrapping_sub(self.cached_cons) < self.entries
    }

    /// Writes one entry that is not published yet. False if there is no room, after a fresh look.
    pub fn reserve(&mut self, entry: T) -> bool {
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

    /// Publishes what was reserved.
    pub fn submit(&self) {
        self.ring.producer().store(self.cached_prod, Ordering::Release);
    }
}

/// When the kernel as a consumer publishes its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// At the end of each pass, as well as when the ring looks empty (the transmit pass since Linux 6.17).
    EachPass,
    /// Only when the ring looks empty to it (older transmit passes, and the fill ring between flushes).
    WhenEmpty,
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
    /// Of an empty ring whose indices stand at `start`.
    pub fn new(ring: LoomRing<T>, start: u32, release: Release) -> Self {
        let entries = ring.slots().len() as u32;
        Self { ring, entries, cached_prod: start, cached_cons: start, release }
    }

    /// The next entry. Before it calls the ring empty it publishes its own index and looks again.
    pub fn peek(&mut self) -> Option<T> {
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

    /// Steps over the entry that `peek` showed.
    pub fn release(&mut self) {
        self.cached_cons = self.cached_cons.wrapping_add(1);
    }

    /// Takes the next entry.
    pub fn take(&mut self) -> Option<T> {
        let entry = self.peek()?;
        self.release();
        Some(entry)
    }

    /// Ends a pass.
    pub fn end_pass(&self) {
        if self.release == Release::EachPass {
            self.publish();
        }
    }

    fn publish(&self) {
        self.ring.consumer().store(self.cached_cons, Ordering::Release);
    }

    /// Asks to be woken. A plain store, as in the kernel; what may or may not follow it is up to the driver.
    pub fn set_need_wakeup(&self) {
        self.ring.flags().store(XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    }

    /// No wakeup needed: the kernel is looking.
    pub fn clear_need_wakeup(&self) {
        self.ring.flags().store(0, Ordering::Relaxed);
    }
}
