//! A ring in a [`Region`], the peer's half by hand, and canaries around everything that belongs to the ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xsk_core::abi::xdp_ring_offset;
use xsk_core::region::Region;
use xsk_core::ring::Mapped;

/// As the kernel places them, more or less: an index for each cache line.
pub const OFFSETS: xdp_ring_offset = xdp_ring_offset { producer: 64, consumer: 128, desc: 320, flags: 192 };

const CANARY: u32 = 0xdead_beef;

/// A ring of `u64` entries. The test is the peer: it reads and writes words and slots, with its own index arithmetic.
pub struct HeapRing {
    region: Arc<Region>,
    capacity: u32,
}

impl HeapRing {
    pub fn new(capacity: u32) -> Self {
        let region = Region::new(Mapped::<u64, ()>::bytes(&OFFSETS, capacity) + 64).unwrap();
        let ring = Self { region, capacity };
        for at in (0..ring.region.len()).step_by(4) {
            // SAFETY: within the region, aligned, and nobody else uses it yet.
            unsafe { ring.region.as_ptr().add(at).cast::<u32>().write(CANARY) };
        }
        ring.reset(0);
        ring
    }

    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Puts both indices at `start` and clears the flags.
    pub fn reset(&self, start: u32) {
        self.set_producer(start);
        self.set_consumer(start);
        self.set_flags(0);
    }

    /// The storage for our half.
    pub fn mapped(&self) -> Mapped<u64, Arc<Region>> {
        let Self { region, capacity } = self;
        // SAFETY: the region is page aligned, `len` bytes long, kept by the Arc, and only used as a ring, on one thread.
        unsafe { Mapped::new(region.as_ptr(), region.len(), &OFFSETS, *capacity, Arc::clone(region)) }
            .unwrap()
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: within the region, aligned, and only used atomically.
        unsafe { AtomicU32::from_ptr(self.region.as_ptr().add(offset as usize).cast().as_ptr()) }
    }

    pub fn producer(&self) -> u32 {
        self.word(OFFSETS.producer).load(Ordering::Relaxed)
    }

    pub fn set_producer(&self, index: u32) {
        self.word(OFFSETS.producer).store(index, Ordering::Relaxed);
    }

    pub fn consumer(&self) -> u32 {
        self.word(OFFSETS.consumer).load(Ordering::Relaxed)
    }

    pub fn set_consumer(&self, index: u32) {
        self.word(OFFSETS.consumer).store(index, Ordering::Relaxed);
    }

    pub fn flags(&self) -> u32 {
        self.word(OFFSETS.flags).load(Ordering::Relaxed)
    }

    pub fn set_flags(&self, flags: u32) {
        self.word(OFFSETS.flags).store(flags, Ordering::Relaxed);
    }

    /// The slot of an index: by division, where the ring itself masks.
    fn slot(&self, index: u32) -> *mut u64 {
        let at = OFFSETS.desc + 8 * u64::from(index % self.capacity);
        // SAFETY: within the region.
        unsafe { self.region.as_ptr().add(at as usize).cast().as_ptr() }
    }

    pub fn entry(&self, index: u32) -> u64 {
        // SAFETY: the slot is within the region, and there is one thread.
        unsafe { self.slot(index).read() }
    }

    pub fn set_entry(&self, index: u32, entry: u64) {
        // SAFETY: as above.
        unsafe { self.slot(index).write(entry) };
    }

    /// Drops a slot from all caches, so that the next store to it, and those behind it, take a while.
    pub fn evict(&self, index: u32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: it changes nothing in memory, and every x86-64 has it.
        unsafe {
            core::arch::x86_64::_mm_clflush(self.slot(index).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = index;
    }

    /// All slots, in order of their place.
    pub fn entries(&self) -> Vec<u64> {
        (0..self.capacity).map(|index| self.entry(index)).collect()
    }

    /// Asserts that nothing around the words and the slots was touched.
    pub fn check_canaries(&self) {
        let end = Mapped::<u64, ()>::bytes(&OFFSETS, self.capacity);
        let words = [OFFSETS.producer, OFFSETS.consumer, OFFSETS.flags];
        let around = (0..OFFSETS.desc as usize).step_by(4).chain((end..end + 64).step_by(4));
        for at in around.filter(|&at| !words.contains(&(at as u64))) {
            // SAFETY: within the region, aligned, and there is one thread.
            let bytes = unsafe { self.region.as_ptr().add(at).cast::<u32>().read() };
            assert_eq!(bytes, CANARY, "{at} bytes into the ring");
        }
    }
}
