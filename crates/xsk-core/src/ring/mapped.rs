use core::fmt;
use core::mem::{align_of, size_of};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, fence};

use super::{MAX_CAPACITY, Storage};
use crate::abi::xdp_ring_offset;
use crate::order::Order;

/// A ring in memory that is shared with a kernel: mapped, or a [`Region`](crate::region::Region).
///
/// `K` is whatever keeps the memory alive.
pub struct Mapped<T, K> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    mask: u32,
    keep: K,
}

/// A ring does not fit into the memory that should hold it: bad capacity, offsets out of bounds or misaligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingShapeError {
    /// Number of slots.
    pub capacity: u32,
    /// Length of the memory, in bytes.
    pub len: usize,
    /// Where the kernel says that the words of the ring are.
    pub offsets: xdp_ring_offset,
}

impl fmt::Display for RingShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capacity, len, offsets } = self;
        write!(f, "a ring of {capacity} entries at {offsets:?} does not fit a mapping of {len} bytes")
    }
}

impl core::error::Error for RingShapeError {}

impl<T: Copy, K> Mapped<T, K> {
    /// Bytes to map for a ring of `capacity` slots.
    pub fn bytes(offsets: &xdp_ring_offset, capacity: u32) -> usize {
        (offsets.desc as usize).saturating_add((capacity as usize).saturating_mul(size_of::<T>()))
    }

    /// A ring of `capacity` slots in the `len` bytes at `base`. The shape is checked, the memory is not touched.
    ///
    /// # Safety
    /// `base` is aligned to a page and points to `len` bytes that stay readable and writable until `keep` is dropped,
    /// wherever `keep` is moved. Nobody makes a reference into them, and whoever else writes them follows the ring
    /// protocol.
    pub unsafe fn new(
        base: NonNull<u8>,
        len: usize,
        offsets: &xdp_ring_offset,
        capacity: u32,
        keep: K,
    ) -> Result<Self, RingShapeError> {
        let error = RingShapeError { capacity, len, offsets: *offsets };
        if !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
            return Err(error);
        }
        let place = |offset: u64, bytes: usize, align: usize| {
            let offset = usize::try_from(offset).ok()?;
            (offset.checked_add(bytes)? <= len && offset.is_multiple_of(align)).then_some(offset)
        };
        let word = |offset| place(offset, size_of::<u32>(), align_of::<AtomicU32>()).ok_or(error);
        let slots = place(offsets.desc, (capacity as usize).saturating_mul(size_of::<T>()), align_of::<T>())
            .ok_or(error)?;
        let [producer, consumer, flags] =
            [word(offsets.producer)?, word(offsets.consumer)?, word(offsets.flags)?];
        // SAFETY: all four offsets are within the `len` bytes at `base` (checked by `place`).
        let at = |offset| unsafe { base.add(offset) };
        Ok(Self {
            producer: at(producer).cast(),
            consumer: at(consumer).cast(),
            flags: at(flags).cast(),
            slots: at(slots).cast(),
            mask: capacity - 1,
            keep,
        })
    }

    /// What keeps the memory alive.
    pub fn keep(&self) -> &K {
        &self.keep
    }

    #[inline(always)]
    fn word(word: &NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: `new` placed the word in bounds and aligned, the memory lives as long as `self`, and it is only
        // ever accessed atomically.
        unsafe { word.as_ref() }
    }
}

// SAFETY: `cell` masks the index, and `new` checked that as many slots as the capacity are in memory that is kept.
unsafe impl<T: Copy, K> Storage for Mapped<T, K> {
    type Slot = T;
    type Cell = T;

    #[inline(always)]
    fn capacity(&self) -> u32 {
        self.mask + 1
    }

    #[inline(always)]
    fn load_producer(&self, order: Order) -> u32 {
        Self::word(&self.producer).load(order.ordering())
    }

    #[inline(always)]
    fn store_producer(&self, index: u32, order: Order) {
        Self::word(&self.producer).store(index, order.ordering());
    }

    #[inline(always)]
    fn load_consumer(&self, order: Order) -> u32 {
        Self::word(&self.consumer).load(order.ordering())
    }

    #[inline(always)]
    fn store_consumer(&self, index: u32, order: Order) {
        Self::word(&self.consumer).store(index, order.ordering());
    }

    #[inline(always)]
    fn load_flags(&self, order: Order) -> u32 {
        Self::word(&self.flags).load(order.ordering())
    }

    #[inline(always)]
    fn fence(&self, order: Order) {
        fence(order.ordering());
    }

    #[inline(always)]
    fn cell(&self, index: u32) -> (NonNull<T>, usize) {
        let at = index & self.mask;
        // SAFETY: `at` is less than the capacity, and `new` checked that all slots are in bounds.
        (unsafe { self.slots.add(at as usize) }, (self.mask - at) as usize + 1)
    }

    #[inline(always)]
    unsafe fn read(cell: NonNull<T>) -> T {
        // SAFETY: the caller owns the slot.
        unsafe { cell.read() }
    }

    #[inline(always)]
    unsafe fn write(cell: NonNull<T>, entry: T) {
        // SAFETY: the caller owns the slot.
        unsafe { cell.write(entry) };
    }

    #[inline(always)]
    unsafe fn read_run<D>(&self, index: u32, out: &mut [D], take: impl FnMut(&mut D, T)) {
        let (first, until_end) = self.cell(index);
        if out.len() <= until_end {
            // SAFETY: the slots from `first` to the end of the ring are more than that; the caller owns them.
            unsafe { read(first, out, take) }
        } else {
            // SAFETY: the same contract, and `first` is `until_end` slots before the end.
            unsafe { self.read_wrapped(first, until_end, out, take) }
        }
    }

    #[inline(always)]
    unsafe fn write_run<D>(&self, index: u32, from: &[D], give: impl FnMut(&D) -> T) {
        let (first, until_end) = self.cell(index);
        if from.len() <= until_end {
            // SAFETY: the slots from `first` to the end of the ring are more than that; the caller owns them.
            unsafe { write(first, from, give) }
        } else {
            // SAFETY: the same contract, and `first` is `until_end` slots before the end.
            unsafe { self.write_wrapped(first, until_end, from, give) }
        }
    }
}

/// A run that crosses the end of the ring is rare: once a lap. Its code stays out of the way of the others'.
impl<T: Copy, K> Mapped<T, K> {
    /// # Safety
    /// That of [`Storage::read_run`], for a run that starts at `first`, `until_end` slots before the end.
    #[cold]
    #[inline(never)]
    unsafe fn read_wrapped<D>(
        &self,
        first: NonNull<T>,
        until_end: usize,
        out: &mut [D],
        mut take: impl FnMut(&mut D, T),
    ) {
        let (head, tail) = out.split_at_mut(until_end.min(out.len()));
        for (run, slots) in [(head, first), (tail, self.slots)] {
            // SAFETY: the head is no more than `until_end`; the tail ends before `first`, as no run is longer than the ring.
            unsafe { read(slots, run, &mut take) }
        }
    }

    /// # Safety
    /// That of [`Storage::write_run`], for a run that starts at `first`, `until_end` slots before the end.
    #[cold]
    #[inline(never)]
    unsafe fn write_wrapped<D>(
        &self,
        first: NonNull<T>,
        until_end: usize,
        from: &[D],
        mut give: impl FnMut(&D) -> T,
    ) {
        let (head, tail) = from.split_at(until_end.min(from.len()));
        for (run, slots) in [(head, first), (tail, self.slots)] {
            // SAFETY: as in `read_wrapped`.
            unsafe { write(slots, run, &mut give) }
        }
    }
}

/// # Safety
/// The slots from `first` on, as many as `out` has elements, are one after the other in memory and the caller's.
#[inline(always)]
unsafe fn read<T: Copy, D>(first: NonNull<T>, out: &mut [D], mut take: impl FnMut(&mut D, T)) {
    for (i, item) in out.iter_mut().enumerate() {
        // SAFETY: an element for each slot, so that it is one of the caller's.
        take(item, unsafe { first.add(i).read() });
    }
}

/// # Safety
/// As [`read`], for the elements of `from`.
#[inline(always)]
unsafe fn write<T: Copy, D>(first: NonNull<T>, from: &[D], mut give: impl FnMut(&D) -> T) {
    for (i, item) in from.iter().enumerate() {
        // SAFETY: an element for each slot, so that it is one of the caller's.
        unsafe { first.add(i).write(give(item)) };
    }
}

impl<T, K> fmt::Debug for Mapped<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("capacity", &(self.mask + 1))
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

// SAFETY: the pointers stay valid on any thread (contract of `new`); what they point to is accessed atomically, or under
// the ring protocol by whoever owns the Producer or Consumer around this. T and K move along.
unsafe impl<T: Send, K: Send> Send for Mapped<T, K> {}
