//! Registered packet memory (`net/xdp/xdp_umem.c`).

use xsk::backend::Capabilities;
use xsk_core::abi::{UmemFlags, xdp_umem_reg};
use xsk_core::errno::{EFAULT, EINVAL, ENOBUFS, ENOMEM};
use xsk_core::region::PAGE_SIZE;

use crate::arena::Id;
use crate::error::{Sys, errno};
use crate::kernel::Kernel;
use crate::profile::Profile;
use crate::shared::UmemMemory;

/// A UMEM.
#[derive(Debug)]
pub(crate) struct Umem {
    /// Whole pages.
    pub(crate) memory: UmemMemory,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) chunk_size: u32,
    pub(crate) headroom: u32,
    pub(crate) unaligned: bool,
    pub(crate) sw_csum: bool,
    pub(crate) tx_metadata_len: u32,
    /// Packets of several buffers: set by bind, for all sockets of the UMEM.
    pub(crate) sg: bool,
    /// A queue took it without copying, and every other queue has to.
    pub(crate) zero_copy: bool,
    /// Bytes of its pages: beyond one a device sees other memory.
    pub(crate) page: u64,
    /// Sockets and pools that use it.
    pub(crate) users: u32,
    locked_pages: u64,
}

/// Distance of received data from the UMEM's headroom.
const XDP_HEADROOM: u32 = xsk_core::abi::XDP_PACKET_HEADROOM;

impl Umem {
    /// Bytes of a received packet that one chunk takes.
    pub(crate) fn frame_size(&self) -> u32 {
        self.chunk_size - XDP_HEADROOM - self.headroom
    }

    /// Distance of received data from the start of its chunk.
    pub(crate) fn data_offset(&self) -> u32 {
        self.headroom + XDP_HEADROOM
    }

    /// Writes received data into a chunk, and metadata before it.
    pub(crate) fn receive(&self, chunk: u64, data: &[u8], metadata: &[u8]) {
        self.receive_at(chunk, 0, data, metadata);
    }

    /// As [`receive`](Self::receive), with the data moved by so many bytes.
    pub(crate) fn receive_at(&self, chunk: u64, shift: i64, data: &[u8], metadata: &[u8]) {
        let at = (chunk + u64::from(self.data_offset())).wrapping_add_signed(shift);
        self.memory.write(at, data);
        if !metadata.is_empty() {
            self.memory.write(at - metadata.len() as u64, metadata);
        }
    }

    /// The chunk that a fill entry names; `None` if it names none (`net/xdp/xsk_buff_pool.c:__xp_alloc`).
    pub(crate) fn chunk_of_fill(&self, entry: u64) -> Option<u64> {
        let chunk_size = u64::from(self.chunk_size);
        if self.unaligned {
            let base = entry & xsk_core::abi::XSK_UNALIGNED_BUF_ADDR_MASK;
            (base < self.size && base + chunk_size <= self.size).then_some(base)
        } else {
            let chunk = entry & !(chunk_size - 1);
            (chunk < self.size).then_some(chunk)
        }
    }

    /// The start of the frame that an address names, be it of this UMEM or not.
    pub(crate) fn frame_of(&self, address: u64) -> u64 {
        if self.unaligned {
            address & xsk_core::abi::XSK_UNALIGNED_BUF_ADDR_MASK
        } else {
            address & !(u64::from(self.chunk_size) - 1)
        }
    }

    /// The address of received data, as a descriptor has it.
    pub(crate) fn rx_address(&self, chunk: u64) -> u64 {
        self.rx_address_at(chunk, 0)
    }

    /// As [`rx_address`](Self::rx_address), with the data moved by so many bytes.
    pub(crate) fn rx_address_at(&self, chunk: u64, shift: i64) -> u64 {
        let offset = u64::from(self.data_offset()).wrapping_add_signed(shift);
        if self.unaligned { chunk | offset << 48 } else { chunk + offset }
    }

    /// Whether a device sees these bytes in one piece (`include/net/xsk_buff_pool.h:xp_desc_crosses_non_contig_pg`). Chunks
    /// that are aligned never leave their page; of those that are not, some do, unless pages are huge.
    pub(crate) fn is_contiguous(&self, at: u64, len: u64) -> bool {
        !self.unaligned || at % self.page + len <= self.page
    }

    /// Where the bytes of a TX descriptor's address are.
    pub(crate) fn tx_position(&self, address: u64) -> u64 {
        Self::position(self.unaligned, address)
    }

    /// As [`tx_position`](Self::tx_position), of any UMEM with unaligned chunks, or any without.
    pub(crate) fn position(unaligned: bool, address: u64) -> u64 {
        if unaligned {
            let base = address & xsk_core::abi::XSK_UNALIGNED_BUF_ADDR_MASK;
            base + (address >> xsk_core::abi::XSK_UNALIGNED_BUF_OFFSET_SHIFT)
        } else {
            address
        }
    }
}

/// What is wrong with a registration, in Linux's order (`net/xdp/xdp_umem.c:xdp_umem_reg`).
fn check(profile: &Profile, reg: &xdp_umem_reg) -> Sys<()> {
    let &xdp_umem_reg { addr, len, chunk_size, headroom, flags, tx_metadata_len } = reg;
    let page = PAGE_SIZE as u64;
    let known =
        if profile.has_tx_metadata { UmemFlags::all() } else { UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG };
    let unaligned = flags & UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG.bits() != 0;
    if u64::from(chunk_size) < 2048 || u64::from(chunk_size) > page {
        return errno(EINVAL);
    }
    if flags & !known.bits() != 0 {
        return errno(EINVAL);
    }
    if !unaligned && !chunk_size.is_power_of_two() {
        return errno(EINVAL);
    }
    if !addr.is_multiple_of(page) || addr.checked_add(len).is_none() {
        return errno(EINVAL);
    }
    if len.div_ceil(page) > u64::from(u32::MAX) {
        return errno(EINVAL);
    }
    let chunks = len / u64::from(chunk_size);
    if chunks == 0 || chunks > u64::from(u32::MAX) {
        return errno(EINVAL);
    }
    if !unaligned && !len.is_multiple_of(u64::from(chunk_size)) {
        return errno(EINVAL);
    }
    if headroom > chunk_size - profile.headroom_reserve {
        return errno(EINVAL);
    }
    let meant = flags & UmemFlags::XDP_UMEM_TX_METADATA_LEN.bits() != 0;
    let allowed = profile.min_tx_metadata..256;
    if meant && (!allowed.contains(&tx_metadata_len) || !tx_metadata_len.is_multiple_of(8)) {
        return errno(EINVAL);
    }
    Ok(())
}

impl Kernel {
    /// Registers memory; the new UMEM has one user.
    pub(crate) fn register_umem(&mut self, reg: &xdp_umem_reg) -> Sys<Id<Umem>> {
        check(&self.profile, reg)?;
        let pages = reg.len.div_ceil(PAGE_SIZE as u64);
        let charged = if self.may(Capabilities::CAP_IPC_LOCK) { 0 } else { pages };
        let locked = self.process.locked_pages + charged;
        let limit = self.process.memlock_limit.map(|bytes| bytes / PAGE_SIZE as u64);
        if charged > 0 && limit.is_some_and(|limit| locked > limit) {
            return errno(ENOBUFS);
        }
        let (memory, page) = match self.memory.pin(reg.addr, pages * PAGE_SIZE as u64) {
            Ok(pinned) => pinned,
            Err(crate::kernel::Unpinned::NotMapped) => return errno(EFAULT),
            Err(crate::kernel::Unpinned::TooLong) => return errno(ENOMEM),
        };
        self.process.locked_pages = locked;
        let flags = UmemFlags::from_bits_truncate(reg.flags);
        let with_metadata = flags.contains(UmemFlags::XDP_UMEM_TX_METADATA_LEN);
        Ok(self.umems.insert(Umem {
            memory,
            size: reg.len,
            chunk_size: reg.chunk_size,
            headroom: reg.headroom,
            unaligned: flags.contains(UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG),
            sw_csum: flags.contains(UmemFlags::XDP_UMEM_TX_SW_CSUM),
            tx_metadata_len: if with_metadata { reg.tx_metadata_len } else { 0 },
            sg: false,
            zero_copy: false,
            page,
            users: 1,
            locked_pages: charged,
        }))
    }

    /// One user less; the last one unpins the memory.
    pub(crate) fn put_umem(&mut self, umem: Id<Umem>) {
        self.umems[umem].users -= 1;
        if self.umems[umem].users == 0
            && let Some(umem) = self.umems.remove(umem)
        {
            self.process.locked_pages -= umem.locked_pages;
        }
    }
}
