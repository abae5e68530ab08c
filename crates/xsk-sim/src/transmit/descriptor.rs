use xsk_core::abi::{XDP_PKT_CONTD, XDP_TX_METADATA, xdp_desc};

use crate::profile::Profile;
use crate::umem::Umem;

/// Whether the kernel takes a TX descriptor, first of its packet or not (`net/xdp/xsk_queue.h:xskq_cons_is_valid_desc`).
pub(super) fn is_valid(profile: &Profile, umem: &Umem, desc: &xdp_desc) -> bool {
    if profile.takes_empty_tx { is_valid_old(umem, desc) } else { is_valid_new(profile, umem, desc) }
}

fn is_valid_new(profile: &Profile, umem: &Umem, desc: &xdp_desc) -> bool {
    let known = if profile.has_tx_metadata { XDP_PKT_CONTD | XDP_TX_METADATA } else { XDP_PKT_CONTD };
    if desc.len == 0 || desc.options & !known != 0 {
        return false;
    }
    let chunk = u64::from(umem.chunk_size);
    // Room for the metadata is demanded of every descriptor, whether it has any or not.
    let Some(start) = umem.tx_position(desc.addr).checked_sub(u64::from(umem.tx_metadata_len)) else {
        return false;
    };
    let len = u64::from(desc.len) + u64::from(umem.tx_metadata_len);
    if umem.unaligned {
        len <= chunk && start < umem.size && start + len <= umem.size
    } else {
        start < umem.size && start % chunk + len <= chunk
    }
}

/// Before 6.6: no options, and a length of 0 is fine.
fn is_valid_old(umem: &Umem, desc: &xdp_desc) -> bool {
    let (chunk, len) = (u64::from(umem.chunk_size), u64::from(desc.len));
    let start = umem.tx_position(desc.addr);
    if desc.options != 0 || len > chunk {
        return false;
    }
    if umem.unaligned {
        let base = desc.addr & xsk_core::abi::XSK_UNALIGNED_BUF_ADDR_MASK;
        base < umem.size && start < umem.size && start + len <= umem.size
    } else {
        // First and last byte in one chunk; of an empty one, the byte before it counts as last.
        let last = start.wrapping_add(len).wrapping_sub(1);
        (len == 0 || start & !(chunk - 1) == last & !(chunk - 1)) && start < umem.size
    }
}
