use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use xsk::backend::Mapping;
use xsk_core::abi::xdp_ring_offset;

/// A ring as user space has it: raw, for tests that do with its words what they like.
pub struct Ring {
    mapping: Mapping,
    offsets: xdp_ring_offset,
    entries: u32,
    entry_size: usize,
}

impl Ring {
    /// A mapped ring. `T`: its entries.
    pub fn new<T>(mapping: Mapping, offsets: xdp_ring_offset, entries: u32) -> Self {
        let entry_size = size_of::<T>();
        assert!(offsets.desc as usize + entries as usize * entry_size <= mapping.len());
        Self { mapping, offsets, entries, entry_size }
    }

    pub fn entries(&self) -> u32 {
        self.entries
    }

    fn at(&self, offset: u64) -> NonNull<u8> {
        assert!(offset.is_multiple_of(4) && offset as usize + 4 <= self.mapping.len());
        // SAFETY: within the mapping.
        unsafe { self.mapping.as_ptr().add(offset as usize) }
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: in bounds and aligned (checked above), lives as long as the mapping, and only ever accessed atomically.
        unsafe { self.at(offset).cast().as_ref() }
    }

    pub fn producer(&self) -> u32 {
        self.word(self.offsets.producer).load(Ordering::Acquire)
    }

    pub fn set_producer(&self, index: u32) {
        self.word(self.offsets.producer).store(index, Ordering::Release);
    }

    pub fn consumer(&self) -> u32 {
        self.word(self.offsets.consumer).load(Ordering::Acquire)
    }

    pub fn set_consumer(&self, index: u32) {
        self.word(self.offsets.consumer).store(index, Ordering::Release);
    }

    pub fn flags(&self) -> u32 {
        self.word(self.offsets.flags).load(Ordering::Relaxed)
    }

    pub fn set_flags(&self, flags: u32) {
        self.word(self.offsets.flags).store(flags, Ordering::Relaxed);
    }

    fn slot<T>(&self, index: u32) -> NonNull<T> {
        assert_eq!(size_of::<T>(), self.entry_size);
        let slot = (index & (self.entries - 1)) as usize;
        // SAFETY: the slot is within the mapping (checked by `new`).
        unsafe { self.mapping.as_ptr().add(self.offsets.desc as usize + slot * self.entry_size) }.cast()
    }

    pub fn read<T: Copy>(&self, index: u32) -> T {
        // SAFETY: a slot (checked by `slot`), and the kernel only moves within the calls of this thread.
        unsafe { self.slot::<T>(index).read() }
    }

    pub fn write<T: Copy>(&self, index: u32, entry: T) {
        // SAFETY: as above.
        unsafe { self.slot::<T>(index).write(entry) };
    }

    /// Puts entries in behind the producer index, without asking whether there is room.
    pub fn push<T: Copy>(&self, entries: impl IntoIterator<Item = T>) {
        let mut at = self.producer();
        for entry in entries {
            self.write(at, entry);
            at = at.wrapping_add(1);
        }
        self.set_producer(at);
    }

    /// Takes all entries.
    pub fn pop_all<T: Copy>(&self) -> Vec<T> {
        self.pop(u32::MAX)
    }

    /// Takes up to `max` entries.
    pub fn pop<T: Copy>(&self, max: u32) -> Vec<T> {
        let from = self.consumer();
        let count = self.producer().wrapping_sub(from).min(max);
        let entries = (0..count).map(|i| self.read(from.wrapping_add(i))).collect();
        self.set_consumer(from.wrapping_add(count));
        entries
    }
}
