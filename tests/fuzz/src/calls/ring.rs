//! Rings as a user sees them who keeps to no protocol.

use std::sync::atomic::{AtomicU32, Ordering};

use arbitrary::Arbitrary;
use xsk::backend::Mapping;
use xsk_core::abi::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_RX_RING, XDP_TX_RING, XDP_UMEM_COMPLETION_RING,
    XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, xdp_mmap_offsets,
    xdp_ring_offset,
};

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Ring {
    Rx,
    Tx,
    Fill,
    Completion,
}

impl Ring {
    pub(super) fn option(self) -> i32 {
        match self {
            Self::Rx => XDP_RX_RING,
            Self::Tx => XDP_TX_RING,
            Self::Fill => XDP_UMEM_FILL_RING,
            Self::Completion => XDP_UMEM_COMPLETION_RING,
        }
    }

    pub(super) fn offset(self) -> u64 {
        match self {
            Self::Rx => XDP_PGOFF_RX_RING,
            Self::Tx => XDP_PGOFF_TX_RING,
            Self::Fill => XDP_UMEM_PGOFF_FILL_RING,
            Self::Completion => XDP_UMEM_PGOFF_COMPLETION_RING,
        }
    }

    pub(super) fn words(self, offsets: &xdp_mmap_offsets) -> xdp_ring_offset {
        match self {
            Self::Rx => offsets.rx,
            Self::Tx => offsets.tx,
            Self::Fill => offsets.fr,
            Self::Completion => offsets.cr,
        }
    }

    pub(super) fn entry_size(self) -> usize {
        match self {
            Self::Rx | Self::Tx => 16,
            Self::Fill | Self::Completion => 8,
        }
    }
}

/// A ring that is mapped, as a user sees it who keeps to no protocol.
pub(super) struct Mapped {
    pub(super) memory: Mapping,
    pub(super) words: xdp_ring_offset,
    pub(super) entries: u32,
    pub(super) entry_size: usize,
}

impl Mapped {
    /// Word 0 is the producer index, 1 the consumer index, 2 the flags.
    fn word(&self, word: u8) -> &AtomicU32 {
        let at = [self.words.producer, self.words.consumer, self.words.flags][usize::from(word % 3)] as usize;
        assert!(at.is_multiple_of(4) && at + 4 <= self.memory.len(), "{at} of {}", self.memory.len());
        // SAFETY: within the mapping and aligned (asserted); words are only accessed atomically, on one thread.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().as_ptr().add(at).cast()) }
    }

    pub(super) fn set(&self, word: u8, value: u32) {
        self.word(word).store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self, word: u8) -> u32 {
        self.word(word).load(Ordering::Relaxed)
    }

    pub(super) fn write(&self, index: u32, entry: &[u8]) {
        let at = self.words.desc as usize + self.entry_size * (index % self.entries) as usize;
        assert!(at + self.entry_size <= self.memory.len());
        // SAFETY: within the mapping (asserted), and there is one thread.
        unsafe {
            let to = self.memory.as_ptr().as_ptr().add(at);
            to.copy_from_nonoverlapping(entry.as_ptr(), self.entry_size);
        }
    }
}
