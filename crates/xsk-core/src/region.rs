//! Page-aligned, zeroed heap memory that can be shared as if it were a mapping.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

/// The alignment and granularity of a [`Region`]: the page size of x86-64, the smallest one that AF_XDP knows.
pub const PAGE_SIZE: usize = 4096;

/// Zeroed memory, aligned to [`PAGE_SIZE`], a whole number of pages long.
///
/// Whoever holds the `Arc` may read and write it through raw pointers and atomics; no reference to its bytes is ever made
/// here, so several holders are sound as long as their accesses are ordered by the ring protocol.
pub struct Region {
    memory: NonNull<u8>,
    layout: Layout,
}

/// A region could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionError {
    /// The length that was asked for, in bytes.
    pub len: usize,
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot allocate a region of {} bytes", self.len)
    }
}

impl core::error::Error for RegionError {}

impl Region {
    /// Allocates `len` bytes, rounded up to whole pages. Zero and lengths that do not fit the address space are errors.
    pub fn new(len: usize) -> Result<Arc<Self>, RegionError> {
        let error = RegionError { len };
        let rounded = len.checked_next_multiple_of(PAGE_SIZE).filter(|&n| n > 0).ok_or(error)?;
        let layout = Layout::from_size_align(rounded, PAGE_SIZE).map_err(|_| error)?;
        // SAFETY: the layout's size is not zero (filtered above).
        let memory = unsafe { alloc_zeroed(layout) };
        Ok(Arc::new(Self { memory: NonNull::new(memory).ok_or(error)?, layout }))
    }

    /// The first byte.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.memory
    }

    /// The length in bytes: a multiple of [`PAGE_SIZE`], never zero.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `new` allocated `memory` with this very layout, and nothing else frees it.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("memory", &self.memory).field("len", &self.len()).finish()
    }
}

// SAFETY: a Region is a pointer and a length that never change; it gives out no reference to the memory behind them.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_rounded_and_zeroed() {
        let region = Region::new(4097).unwrap();
        assert_eq!(region.len(), 8192);
        assert_eq!(region.as_ptr().as_ptr() as usize % PAGE_SIZE, 0);
        for i in 0..region.len() {
            // SAFETY: `i` is within the region, which nobody else holds.
            assert_eq!(unsafe { region.as_ptr().add(i).read() }, 0);
        }
    }

    #[test]
    fn impossible_lengths_are_errors() {
        assert_eq!(Region::new(0).unwrap_err(), RegionError { len: 0 });
        assert_eq!(Region::new(usize::MAX).unwrap_err(), RegionError { len: usize::MAX });
        assert!(Region::new(isize::MAX as usize).is_err());
    }
}
