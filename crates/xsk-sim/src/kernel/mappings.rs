use std::collections::BTreeMap;
use std::sync::Arc;

use xsk_core::region::Region;

use crate::shared::UmemMemory;

/// The memory that the process has mapped, by address.
#[derive(Debug, Default)]
pub(crate) struct UserMemory {
    /// With the size of their pages, in bytes.
    regions: BTreeMap<u64, (Arc<Region>, u64)>,
}

/// Why memory cannot be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unpinned {
    /// Not even its first page is there.
    NotMapped,
    /// Some of its pages are not there.
    TooLong,
}

impl UserMemory {
    pub(crate) fn insert(&mut self, region: &Arc<Region>, page: u64) {
        self.regions.insert(region.as_ptr().as_ptr() as u64, (Arc::clone(region), page));
    }

    pub(crate) fn remove(&mut self, address: u64) {
        self.regions.remove(&address);
    }

    /// The `len` bytes at `address`, which stay when they are unmapped, and the size of their pages.
    ///
    /// The bytes have to be of one mapping: mappings that happen to lie side by side count as apart.
    pub(crate) fn pin(&self, address: u64, len: u64) -> Result<(UmemMemory, u64), Unpinned> {
        let (start, (region, page)) =
            self.regions.range(..=address).next_back().ok_or(Unpinned::NotMapped)?;
        let offset = address - start;
        if offset >= region.len() as u64 {
            return Err(Unpinned::NotMapped);
        }
        let len = usize::try_from(len).map_err(|_| Unpinned::TooLong)?;
        let memory = UmemMemory::new(Arc::clone(region), offset as usize, len).ok_or(Unpinned::TooLong)?;
        Ok((memory, *page))
    }
}
