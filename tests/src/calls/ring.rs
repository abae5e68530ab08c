//! A ring as user space has it: raw words.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use xsk::backend::Mapping;
use xsk_core::abi::{Pod, xdp_desc, xdp_ring_offset};

use super::op::Word;

/// An entry of either size: address, length, options.
pub(crate) type Entry = (u64, u32, u32);

/// A mapped ring.
pub(crate) struct Ring {
    mapping: Mapping,
    offsets: xdp_ring_offset,
    entries: u32,
    /// 8 or 16.
    size: usize,
}

impl Ring {
    pub(crate) fn new(mapping: Mapping, offsets: xdp_ring_offset, entries: u32, size: usize) -> Self {
        assert!(offsets.desc as usize + entries as usize * size <= mapping.len());
        Self { mapping, offsets, entries, size }
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset as usize + 4 <= self.mapping.len());
        // SAFETY: in bounds and aligned (asserted), lives as long as the mapping, and is only ever accessed atomically.
        unsafe { self.mapping.as_ptr().add(offset as usize).cast().as_ref() }
    }

    pub(crate) fn producer(&self) -> u32 {
        self.word(self.offsets.producer).load(Ordering::Acquire)
    }

    pub(crate) fn consumer(&self) -> u32 {
        self.word(self.offsets.consumer).load(Ordering::Acquire)
    }

    pub(crate) fn flags(&self) -> u32 {
        self.word(self.offsets.flags).load(Ordering::Relaxed)
    }

    /// Writes into a word: an index is moved, flags are replaced.
    pub(crate) fn corrupt(&self, word: Word, by: u32) {
        let (offset, base) = match word {
            Word::Producer => (self.offsets.producer, self.producer()),
            Word::Consumer => (self.offsets.consumer, self.consumer()),
            Word::Flags => (self.offsets.flags, 0),
        };
        self.word(offset).store(base.wrapping_add(by), Ordering::Release);
    }

    fn slot<T>(&self, index: u32) -> NonNull<T> {
        assert_eq!(size_of::<T>(), self.size);
        let slot = (index & (self.entries - 1)) as usize;
        // SAFETY: the slot is within the mapping (asserted by `new`).
        unsafe { self.mapping.as_ptr().add(self.offsets.desc as usize + slot * self.size) }.cast()
    }

    /// Puts entries in, no more than there is room for. How many.
    pub(crate) fn push<T: Pod>(&self, entries: &[T]) -> u32 {
        let producer = self.producer();
        let used = producer.wrapping_sub(self.consumer());
        let room = self.entries.saturating_sub(used);
        let count = room.min(entries.len() as u32);
        for (i, entry) in (0..count).zip(entries) {
            // SAFETY: a slot (checked by `slot`) that is ours until the producer index moves.
            unsafe { self.slot::<T>(producer.wrapping_add(i)).write(*entry) };
        }
        self.word(self.offsets.producer).store(producer.wrapping_add(count), Ordering::Release);
        count
    }

    /// Replaces an entry that waits, so many after the next. False if there is none.
    pub(crate) fn rewrite<T: Pod>(&self, skip: u32, entry: T) -> bool {
        let consumer = self.consumer();
        let waits = skip < self.producer().wrapping_sub(consumer).min(self.entries);
        if waits {
            // SAFETY: a slot (checked by `slot`); the kernel moves within the calls of this thread only.
            unsafe { self.slot::<T>(consumer.wrapping_add(skip)).write(entry) };
        }
        waits
    }

    /// Takes entries off, no more than there are. How many.
    pub(crate) fn take(&self, max: u32) -> u32 {
        let consumer = self.consumer();
        let count = self.producer().wrapping_sub(consumer).min(max);
        self.word(self.offsets.consumer).store(consumer.wrapping_add(count), Ordering::Release);
        count
    }

    /// The entries that are there.
    pub(crate) fn pending(&self) -> Vec<Entry> {
        let consumer = self.consumer();
        let count = self.producer().wrapping_sub(consumer).min(self.entries);
        (0..count).map(|i| self.read(consumer.wrapping_add(i))).collect()
    }

    pub(crate) fn read(&self, index: u32) -> Entry {
        if self.size == 8 {
            // SAFETY: a slot (checked by `slot`); the kernel moves within the calls of this thread only.
            (unsafe { self.slot::<u64>(index).read() }, 0, 0)
        } else {
            // SAFETY: as above.
            let desc = unsafe { self.slot::<xdp_desc>(index).read() };
            (desc.addr, desc.len, desc.options)
        }
    }
}
