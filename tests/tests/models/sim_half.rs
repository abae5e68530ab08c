//! The kernel's half of the rings that ships in xsk-sim, called as its receive and transmit passes call it.

use xsk_sim::ring::{KernelConsumer, KernelProducer};

use super::half::{ConsumerHalf, Entry, KernelHalf, ProducerHalf, Release};
use super::loom_ring::LoomRing;

/// The simulated kernel: a completion is promised when its descriptor is taken, and written when it is published
/// (Linux 6.16 and later).
pub struct SimHalf;

/// As [`SimHalf`], with completions written when they are promised (Linux before 6.16).
pub struct OldSimHalf;

impl KernelHalf for SimHalf {
    type Producer<T: Entry> = Producer<T, false>;
    type Consumer<T: Entry> = Consumer<T>;
}

impl KernelHalf for OldSimHalf {
    type Producer<T: Entry> = Producer<T, true>;
    type Consumer<T: Entry> = Consumer<T>;
}

/// RX: written, then published (`xsk_flush`). Completion: promised, and published behind what is published already
/// (`xsk_cq_submit_addr_locked`).
pub struct Producer<T, const OLD: bool> {
    ring: KernelProducer<LoomRing<T>>,
    promised: Vec<T>,
}

impl<T: Entry, const OLD: bool> ProducerHalf<T> for Producer<T, OLD> {
    fn new(ring: LoomRing<T>, start: u32) -> Self {
        // SAFETY: the only producer of this ring.
        let ring = unsafe { KernelProducer::new(ring) };
        assert_eq!(ring.end(), start);
        Self { ring, promised: Vec::new() }
    }

    fn reserve(&mut self, entry: T) -> bool {
        if T::IS_ADDRESS {
            if !self.ring.reserve() {
                return false;
            }
            if OLD {
                self.ring.write_reserved(entry);
            }
            self.promised.push(entry);
            return true;
        }
        if self.ring.free(1) == 0 {
            return false;
        }
        // The receive pass keeps the options that it finds in the slot on kernels that do.
        assert!(self.ring.next_slot().is_some());
        self.ring.write(entry);
        true
    }

    fn submit(&mut self) {
        match (T::IS_ADDRESS, OLD) {
            (false, _) => self.ring.publish(),
            (true, false) => self.ring.submit(self.promised.drain(..)),
            (true, true) => {
                self.ring.submit_written(self.promised.len() as u32);
                self.promised.clear();
            }
        }
        assert_eq!(self.ring.unpublished(), 0);
    }
}

/// Fill and TX.
pub struct Consumer<T> {
    ring: KernelConsumer<LoomRing<T>>,
    release: Release,
}

impl<T: Entry> ConsumerHalf<T> for Consumer<T> {
    fn new(ring: LoomRing<T>, start: u32, release: Release) -> Self {
        // SAFETY: the only consumer of this ring.
        let ring = unsafe { KernelConsumer::new(ring) };
        assert_eq!(ring.taken(), start);
        Self { ring, release }
    }

    fn peek(&mut self) -> Option<T> {
        self.ring.peek()
    }

    fn release(&mut self) {
        self.ring.advance();
    }

    fn end_pass(&mut self) {
        if self.release == Release::EachPass {
            self.ring.publish();
        }
    }
}
