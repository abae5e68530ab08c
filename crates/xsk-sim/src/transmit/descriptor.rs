use xsk_core::abi::{XDP_PKT_CONTD, XDP_TX_METADATA, xdp_desc};

use crate::profile::Profile;
use crate::umem::Umem;

/// Which TX descriptors a kernel takes for a UMEM, first of their packet or not (`net/xdp/xsk_queue.h:xskq_cons_is_valid_desc`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    chunk_size: u64,
    size: u64,
    /// Bytes before the data: demanded of every descriptor, whether it has metadata or not.
    metadata: u64,
    unaligned: bool,
    /// Before 6.6.
    old: bool,
    options: u32,
}

impl Rules {
    pub(crate) fn new(profile: &Profile, umem: &Umem) -> Self {
        let options = match (profile.takes_empty_tx, profile.has_tx_metadata) {
            (true, _) => 0,
            (false, false) => XDP_PKT_CONTD,
            (false, true) => XDP_PKT_CONTD | XDP_TX_METADATA,
        };
        Self {
            chunk_size: umem.chunk_size.into(),
            size: umem.size,
            metadata: umem.tx_metadata_len.into(),
            unaligned: umem.unaligned,
            old: profile.takes_empty_tx,
            options,
        }
    }

    #[inline]
    pub(crate) fn take(&self, desc: &xdp_desc) -> bool {
        if desc.options & !self.options != 0 {
            return false;
        }
        if self.old { self.took(desc) } else { self.takes(desc) }
    }

    #[inline]
    fn takes(&self, desc: &xdp_desc) -> bool {
        if desc.len == 0 {
            return false;
        }
        let Some(start) = Umem::position(self.unaligned, desc.addr).checked_sub(self.metadata) else {
            return false;
        };
        let len = u64::from(desc.len) + self.metadata;
        if self.unaligned {
            len <= self.chunk_size && start < self.size && start + len <= self.size
        } else {
            // Aligned chunks have a size that is a power of two.
            start < self.size && (start & (self.chunk_size - 1)) + len <= self.chunk_size
        }
    }

    /// Before 6.6: a length of 0 is fine.
    fn took(&self, desc: &xdp_desc) -> bool {
        let len = u64::from(desc.len);
        let start = Umem::position(self.unaligned, desc.addr);
        if len > self.chunk_size {
            return false;
        }
        if self.unaligned {
            let base = desc.addr & xsk_core::abi::XSK_UNALIGNED_BUF_ADDR_MASK;
            base < self.size && start < self.size && start + len <= self.size
        } else {
            // First and last byte in one chunk; of an empty one, the byte before it counts as last.
            let chunk = |at: u64| at & !(self.chunk_size - 1);
            let last = start.wrapping_add(len).wrapping_sub(1);
            (len == 0 || chunk(start) == chunk(last)) && start < self.size
        }
    }
}
