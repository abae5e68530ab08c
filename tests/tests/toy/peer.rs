//! The kernel's half of a ring, for a test to play.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xsk::backend::PollEvents;
use xsk_core::abi::*;
use xsk_core::region::Region;

/// Where the words are since 6.1.
const NEW: xdp_ring_offset = xdp_ring_offset { producer: 0, consumer: 128, desc: 320, flags: 196 };
/// Where they were before 5.4, when there was no flags word.
const OLD: xdp_ring_offset = xdp_ring_offset { producer: 0, consumer: 64, desc: 128, flags: 0 };

/// The answer to `XDP_MMAP_OFFSETS`: 128 bytes, or 96.
pub(super) fn offsets(old: bool) -> Vec<u8> {
    let ring = if old { &OLD.as_bytes()[..24] } else { NEW.as_bytes() };
    ring.repeat(4)
}

/// Whether an option makes a ring.
pub(super) fn is_ring(option: i32) -> bool {
    [XDP_RX_RING, XDP_TX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING].contains(&option)
}

/// The option that made the ring which is mapped at `offset`.
pub(super) fn ring_at(offset: u64) -> i32 {
    match offset {
        XDP_PGOFF_RX_RING => XDP_RX_RING,
        XDP_PGOFF_TX_RING => XDP_TX_RING,
        XDP_UMEM_PGOFF_FILL_RING => XDP_UMEM_FILL_RING,
        XDP_UMEM_PGOFF_COMPLETION_RING => XDP_UMEM_COMPLETION_RING,
        other => panic!("no ring is mapped at {other:#x}"),
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(super) region: Arc<Region>,
    ring: i32,
    offsets: xdp_ring_offset,
    size: u32,
}

impl Peer {
    pub(super) fn new(ring: i32, size: u32, old: bool) -> Self {
        let offsets = if old { OLD } else { NEW };
        let region = Region::new(offsets.desc as usize + size as usize * Self::entry(ring)).expect("memory");
        let peer = Self { region, ring, offsets, size };
        if ring == XDP_TX_RING && !old {
            // The kernel sets it when it makes the ring.
            peer.set_flags(XDP_RING_NEED_WAKEUP);
        }
        peer
    }

    fn entry(ring: i32) -> usize {
        if ring == XDP_RX_RING || ring == XDP_TX_RING { 16 } else { 8 }
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the offsets are four-byte aligned and within the region, which this keeps; all words are only ever
        // accessed atomically.
        unsafe { self.region.as_ptr().add(offset as usize).cast().as_ref() }
    }

    fn slot<T>(&self, index: u32) -> *mut T {
        let at = self.offsets.desc as usize + (index % self.size) as usize * size_of::<T>();
        assert!(size_of::<T>() == Self::entry(self.ring) && at + size_of::<T>() <= self.region.len());
        // SAFETY: within the region (asserted).
        unsafe { self.region.as_ptr().add(at) }.cast().as_ptr()
    }

    pub(crate) fn producer(&self) -> u32 {
        self.word(self.offsets.producer).load(Ordering::Acquire)
    }

    pub(crate) fn consumer(&self) -> u32 {
        self.word(self.offsets.consumer).load(Ordering::Acquire)
    }

    pub(crate) fn set_producer(&self, index: u32) {
        self.word(self.offsets.producer).store(index, Ordering::Release);
    }

    pub(crate) fn set_consumer(&self, index: u32) {
        self.word(self.offsets.consumer).store(index, Ordering::Release);
    }

    pub(crate) fn set_flags(&self, flags: u32) {
        self.word(self.offsets.flags).store(flags, Ordering::Relaxed);
    }

    /// What poll says of the ring: something to read in the RX ring, the TX ring at most half full.
    pub(super) fn events(&self) -> PollEvents {
        let level = self.producer().wrapping_sub(self.consumer());
        match self.ring {
            XDP_RX_RING if level > 0 => PollEvents::IN,
            XDP_TX_RING if level <= self.size / 2 => PollEvents::OUT,
            _ => PollEvents::empty(),
        }
    }

    /// Takes what the user produced.
    pub(crate) fn pop<T: Pod>(&self) -> Option<T> {
        let index = self.consumer();
        (index != self.producer()).then(|| {
            // SAFETY: the user published this slot and writes it no more until it is given back; any bytes are a T.
            let entry = unsafe { self.slot::<T>(index).read() };
            self.set_consumer(index.wrapping_add(1));
            entry
        })
    }

    /// Gives the user something to consume.
    pub(crate) fn push<T: Pod>(&self, entry: T) {
        let index = self.producer();
        assert!(index.wrapping_sub(self.consumer()) < self.size, "the ring is full");
        // SAFETY: the slot is free, so the user does not read it before it is published.
        unsafe { self.slot::<T>(index).write(entry) };
        self.set_producer(index.wrapping_add(1));
    }
}
