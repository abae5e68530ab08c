use std::any::Any;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xsk::backend::Mapping;
use xsk_core::abi::xdp_ring_offset;
use xsk_core::region::{PAGE_SIZE, Region};
use xsk_core::ring::Mapped;

use super::ring::{KernelConsumer, KernelProducer};

/// The kernel half of a ring in memory that it shares with a user.
pub(crate) type ProducerRing<T> = KernelProducer<Mapped<T, Arc<Region>>>;
/// The kernel half of a ring in memory that it shares with a user.
pub(crate) type ConsumerRing<T> = KernelConsumer<Mapped<T, Arc<Region>>>;

/// Where a kernel puts a ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingShape {
    pub(crate) offsets: xdp_ring_offset,
    /// Its memory is a power of two of pages.
    pub(crate) whole_blocks: bool,
}

/// The memory of a ring, for a user to map.
#[derive(Debug, Clone)]
pub(crate) struct RingMemory {
    region: Arc<Region>,
}

impl RingMemory {
    fn new<T: Copy>(shape: &RingShape, entries: u32) -> Option<(Self, Mapped<T, Arc<Region>>)> {
        let offsets = &shape.offsets;
        let mut bytes = Mapped::<T, ()>::bytes(offsets, entries);
        if shape.whole_blocks {
            bytes = bytes.checked_next_power_of_two()?;
        }
        let region = Region::new(bytes).ok()?;
        let keep = Arc::clone(&region);
        // SAFETY: the region is page aligned, lives as long as the Arc that the ring keeps, and gives out no references.
        let ring = unsafe { Mapped::new(region.as_ptr(), region.len(), offsets, entries, keep) }.ok()?;
        Some((Self { region }, ring))
    }

    /// Bytes that may be mapped.
    pub(crate) fn len(&self) -> usize {
        self.region.len()
    }

    /// Maps the first `len` bytes, rounded up to whole pages; `None` if that is more than there is. `extra` is dropped with
    /// the mapping.
    pub(crate) fn map(&self, len: usize, extra: Box<dyn Any + Send + Sync>) -> Option<Mapping> {
        let len = len.checked_next_multiple_of(PAGE_SIZE).filter(|&len| len <= self.region.len())?;
        let keep = Box::new((Arc::clone(&self.region), extra));
        // SAFETY: a Region is page-aligned memory that lives as long as the Arc in `keep`, and `len` bytes of it are there.
        Some(unsafe { Mapping::from_raw_parts(self.region.as_ptr(), len, keep) })
    }

    /// Writes the flags word (`net/xdp/xsk.c:xsk_set_tx_need_wakeup`).
    pub(crate) fn store_flags(&self, offsets: &xdp_ring_offset, flags: u32) {
        let at = offsets.flags as usize;
        assert!(at.is_multiple_of(4) && at + 4 <= self.region.len());
        // SAFETY: within the region and aligned (asserted), and only ever accessed atomically.
        let word = unsafe { AtomicU32::from_ptr(self.region.as_ptr().as_ptr().add(at).cast()) };
        // Linux has a plain store here.
        word.store(flags, Ordering::Relaxed);
    }
}

/// Makes an RX or completion ring. `None` if there is not enough memory, or more entries than such rings have here.
pub(crate) fn producer_ring<T: Copy>(
    shape: &RingShape,
    entries: u32,
) -> Option<(RingMemory, ProducerRing<T>)> {
    let (memory, ring) = RingMemory::new(shape, entries)?;
    // SAFETY: a new ring: there is no other producer.
    Some((memory, unsafe { KernelProducer::new(ring) }))
}

/// Makes a fill or TX ring. `None` as for [`producer_ring`].
pub(crate) fn consumer_ring<T: Copy>(
    shape: &RingShape,
    entries: u32,
) -> Option<(RingMemory, ConsumerRing<T>)> {
    let (memory, ring) = RingMemory::new(shape, entries)?;
    // SAFETY: a new ring: there is no other consumer.
    Some((memory, unsafe { KernelConsumer::new(ring) }))
}

/// The pinned memory of a UMEM: `len` bytes of a region, which stay there whatever the user unmaps.
#[derive(Debug, Clone)]
pub(crate) struct UmemMemory {
    region: Arc<Region>,
    start: usize,
    len: usize,
}

impl UmemMemory {
    /// `None` if the region does not have these bytes.
    pub(crate) fn new(region: Arc<Region>, start: usize, len: usize) -> Option<Self> {
        (start.checked_add(len)? <= region.len()).then_some(Self { region, start, len })
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of byte `at`, of `len` bytes that are there.
    #[inline]
    fn at(&self, at: u64, len: usize) -> *mut u8 {
        // Callers have checked the descriptor; this check is what keeps the memory safe.
        let end = usize::try_from(at).ok().and_then(|at| at.checked_add(len));
        assert!(end.is_some_and(|end| end <= self.len), "{len} bytes at {at:#x} of a UMEM of {}", self.len);
        // SAFETY: within the region: `new` checked start and length, and the line above the rest.
        unsafe { self.region.as_ptr().as_ptr().add(self.start + at as usize) }
    }

    /// Appends `len` bytes from `at` on to `out`.
    #[inline]
    pub(crate) fn append_to(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        let from = self.at(at, len);
        out.reserve(len);
        let used = out.len();
        // SAFETY: `len` bytes are readable at `from` (checked by `at`) and there is room for them behind `used`; the user
        // handed them to the kernel and writes them no more. They do not overlap: `out` has its own allocation.
        unsafe {
            ptr::copy_nonoverlapping(from, out.as_mut_ptr().add(used), len);
            out.set_len(used + len);
        }
    }

    /// Copies `N` bytes from `at` on.
    pub(crate) fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        // SAFETY: `N` bytes are readable there (checked by `at`), and `bytes` has as many.
        unsafe { ptr::copy_nonoverlapping(self.at(at, N), bytes.as_mut_ptr(), N) };
        bytes
    }

    /// Writes `bytes` from `at` on.
    #[inline]
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        // SAFETY: as many bytes are writable there (checked by `at`); the user handed them to the kernel and reads them no
        // more until it gets them back.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(at, bytes.len()), bytes.len()) };
    }
}
