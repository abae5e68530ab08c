use std::any::Any;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

use xsk_core::region::Region;

/// Memory that a backend mapped: a ring or a UMEM. Dropping it unmaps.
pub struct Mapping {
    pointer: NonNull<u8>,
    len: usize,
    _keep: Box<dyn Any + Send + Sync>,
}

impl Mapping {
    /// A mapping of the `len` bytes at `pointer`, which live until `keep` is dropped.
    ///
    /// # Safety
    /// The bytes are readable and writable on any thread until `keep` is dropped, `pointer` is aligned to a page, and
    /// nobody makes a reference into them.
    pub unsafe fn from_raw_parts(pointer: NonNull<u8>, len: usize, keep: Box<dyn Any + Send + Sync>) -> Self {
        Self { pointer, len, _keep: keep }
    }

    /// A mapping of heap memory. `extra` is dropped with it, for a backend that wants to know.
    pub fn of_region(region: &Arc<Region>, extra: Box<dyn Any + Send + Sync>) -> Self {
        let keep = Box::new((Arc::clone(region), extra));
        // SAFETY: a Region is page-aligned memory of `len` bytes that lives as long as an Arc of it, which `keep` holds;
        // a Region gives out no references.
        unsafe { Self::from_raw_parts(region.as_ptr(), region.len(), keep) }
    }

    /// The first byte.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.pointer
    }

    /// The length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("pointer", &self.pointer)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

// SAFETY: the memory is valid on any thread (contract of `from_raw_parts`), and a Mapping makes no access to it itself.
unsafe impl Send for Mapping {}
// SAFETY: as above; `keep` is Sync and never used but to be dropped.
unsafe impl Sync for Mapping {}
// A panic leaves a Mapping as it was: it has no state of its own to break.
impl UnwindSafe for Mapping {}
impl RefUnwindSafe for Mapping {}
