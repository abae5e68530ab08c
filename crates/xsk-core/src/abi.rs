//! The user-space interface of AF_XDP, as in the kernel's `include/uapi/linux/if_xdp.h` up to Linux 6.18.
//!
//! Every struct has the kernel's layout (asserted at compile time), no implicit padding, and a `Default` of all zeros, so
//! that bytes which newer kernels read are never garbage. [`Pod::as_bytes`] is how they cross a system call.
// The names are the kernel's; so is their case.
#![allow(non_camel_case_types)]

use core::mem::{offset_of, size_of};

/// Address and protocol family of AF_XDP sockets.
pub const AF_XDP: i32 = 44;
/// Level of the `XDP_*` socket options.
pub const SOL_XDP: i32 = 283;

/// Headroom in bytes that the kernel keeps before the data of a received packet, besides the UMEM's own headroom.
pub const XDP_PACKET_HEADROOM: u32 = 256;
/// The smallest chunk size that `XDP_UMEM_REG` accepts (`net/xdp/xdp_umem.c`). The largest is the page size.
pub const XDP_UMEM_MIN_CHUNK_SIZE: u32 = 2048;

/// Socket option: ring offsets, see [`xdp_mmap_offsets`].
pub const XDP_MMAP_OFFSETS: i32 = 1;
/// Socket option: create the RX ring.
pub const XDP_RX_RING: i32 = 2;
/// Socket option: create the TX ring.
pub const XDP_TX_RING: i32 = 3;
/// Socket option: register a UMEM, see [`xdp_umem_reg`].
pub const XDP_UMEM_REG: i32 = 4;
/// Socket option: create the fill ring.
pub const XDP_UMEM_FILL_RING: i32 = 5;
/// Socket option: create the completion ring.
pub const XDP_UMEM_COMPLETION_RING: i32 = 6;
/// Socket option: counters, see [`xdp_statistics`].
pub const XDP_STATISTICS: i32 = 7;
/// Socket option: what bind chose, see [`xdp_options`].
pub const XDP_OPTIONS: i32 = 8;
/// Socket option: descriptors that one copy-mode transmit pass handles at most (Linux 6.17).
pub const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// mmap offset of the RX ring.
pub const XDP_PGOFF_RX_RING: u64 = 0;
/// mmap offset of the TX ring.
pub const XDP_PGOFF_TX_RING: u64 = 0x8000_0000;
/// mmap offset of the fill ring.
pub const XDP_UMEM_PGOFF_FILL_RING: u64 = 0x1_0000_0000;
/// mmap offset of the completion ring.
pub const XDP_UMEM_PGOFF_COMPLETION_RING: u64 = 0x1_8000_0000;

/// Bind flag: share the UMEM of the socket named in `sxdp_shared_umem_fd`.
pub const XDP_SHARED_UMEM: u16 = 1 << 0;
/// Bind flag: force copy mode.
pub const XDP_COPY: u16 = 1 << 1;
/// Bind flag: force zero-copy mode.
pub const XDP_ZEROCOPY: u16 = 1 << 2;
/// Bind flag: the driver may sleep until it is woken by a system call.
pub const XDP_USE_NEED_WAKEUP: u16 = 1 << 3;
/// Bind flag: packets of several descriptors (Linux 6.6).
pub const XDP_USE_SG: u16 = 1 << 4;

/// Ring flag: the kernel waits for a wakeup before it looks at the ring again.
pub const XDP_RING_NEED_WAKEUP: u32 = 1 << 0;

/// Descriptor option: the packet continues in the next descriptor.
pub const XDP_PKT_CONTD: u32 = 1 << 0;
/// Descriptor option: TX metadata stands before the packet.
pub const XDP_TX_METADATA: u32 = 1 << 1;

/// Bit of [`xdp_options::flags`]: the socket is bound in zero-copy mode.
pub const XDP_OPTIONS_ZEROCOPY: u32 = 1 << 0;

/// Bits to shift the offset half of an unaligned descriptor address.
pub const XSK_UNALIGNED_BUF_OFFSET_SHIFT: u32 = 48;
/// Mask of the base half of an unaligned descriptor address.
pub const XSK_UNALIGNED_BUF_ADDR_MASK: u64 = (1 << XSK_UNALIGNED_BUF_OFFSET_SHIFT) - 1;

/// TX metadata flag: ask for the transmit timestamp.
pub const XDP_TXMD_FLAGS_TIMESTAMP: u64 = 1 << 0;
/// TX metadata flag: ask for the checksum to be filled in.
pub const XDP_TXMD_FLAGS_CHECKSUM: u64 = 1 << 1;
/// TX metadata flag: send at a given time.
pub const XDP_TXMD_FLAGS_LAUNCH_TIME: u64 = 1 << 2;

bitflags::bitflags! {
    /// Flags of a UMEM registration ([`xdp_umem_reg::flags`]).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct UmemFlags: u32 {
        /// Chunks may start at any address and have any size from 2048 bytes to a page (Linux 5.4).
        const XDP_UMEM_UNALIGNED_CHUNK_FLAG = 1 << 0;
        /// Compute requested TX checksums in software (Linux 6.8, copy mode).
        const XDP_UMEM_TX_SW_CSUM = 1 << 1;
        /// `tx_metadata_len` is meant (Linux 6.11; before, it was read without the flag).
        const XDP_UMEM_TX_METADATA_LEN = 1 << 2;
    }
}

/// Plain old data: any bytes are a value, and every byte of a value is initialised.
///
/// # Safety
/// The type is `repr(C)`, has no padding, no pointers, and no invalid bit patterns.
pub unsafe trait Pod: Copy + Default + 'static {
    /// The bytes of this value, as a system call takes them.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: `Pod` promises that all size_of::<Self>() bytes are initialised; the borrow keeps them alive and unchanged.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast::<u8>(), size_of::<Self>()) }
    }

    /// The bytes of this value, for a system call to fill in.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_bytes`; the borrow is unique, and `Pod` promises that any bytes written are a value.
        unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast::<u8>(), size_of::<Self>()) }
    }
}

macro_rules! uapi {
    ($($(#[$meta:meta])* struct $name:ident = $size:literal { $($(#[$fmeta:meta])* $field:ident : $type:ty = $offset:literal,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(offset_of!($name, $field) == $offset);)*
            // No padding: the fields' sizes add up to the struct's.
            assert!(0 $(+ size_of::<$type>())* == $size);
        };

        // SAFETY: repr(C), integers and such structs only, and no padding (asserted above).
        unsafe impl Pod for $name {}
    )*};
}

uapi! {
    /// `struct sockaddr_xdp`: what bind(2) takes.
    struct sockaddr_xdp = 16 {
        /// [`AF_XDP`].
        sxdp_family: u16 = 0,
        /// [`XDP_COPY`] and friends.
        sxdp_flags: u16 = 2,
        /// Interface index in the socket's network namespace.
        sxdp_ifindex: u32 = 4,
        /// Queue. The kernel keeps the low 16 bits only.
        sxdp_queue_id: u32 = 8,
        /// The socket whose UMEM is shared, with [`XDP_SHARED_UMEM`].
        sxdp_shared_umem_fd: u32 = 12,
    }
    /// `struct xdp_ring_offset`: where the words of one ring are, in bytes from the start of its mapping.
    struct xdp_ring_offset = 32 {
        /// Producer index, u32.
        producer: u64 = 0,
        /// Consumer index, u32.
        consumer: u64 = 8,
        /// The first descriptor.
        desc: u64 = 16,
        /// Flags, u32 (Linux 5.4; before, `xdp_ring_offset_v1` ends here).
        flags: u64 = 24,
    }
    /// `struct xdp_mmap_offsets`: the offsets of all four rings.
    struct xdp_mmap_offsets = 128 {
        /// RX ring.
        rx: xdp_ring_offset = 0,
        /// TX ring.
        tx: xdp_ring_offset = 32,
        /// Fill ring.
        fr: xdp_ring_offset = 64,
        /// Completion ring.
        cr: xdp_ring_offset = 96,
    }
    /// `struct xdp_ring_offset_v1`: ring offsets of kernels before 5.4.
    struct xdp_ring_offset_v1 = 24 {
        /// Producer index, u32.
        producer: u64 = 0,
        /// Consumer index, u32.
        consumer: u64 = 8,
        /// The first descriptor.
        desc: u64 = 16,
    }
    /// `struct xdp_mmap_offsets_v1`: what kernels before 5.4 return for [`XDP_MMAP_OFFSETS`].
    struct xdp_mmap_offsets_v1 = 96 {
        /// RX ring.
        rx: xdp_ring_offset_v1 = 0,
        /// TX ring.
        tx: xdp_ring_offset_v1 = 24,
        /// Fill ring.
        fr: xdp_ring_offset_v1 = 48,
        /// Completion ring.
        cr: xdp_ring_offset_v1 = 72,
    }
    /// `struct xdp_umem_reg`: the memory that becomes a UMEM.
    struct xdp_umem_reg = 32 {
        /// Start of the memory, page aligned.
        addr: u64 = 0,
        /// Length in bytes.
        len: u64 = 8,
        /// Bytes of one chunk.
        chunk_size: u32 = 16,
        /// Bytes to keep free before received data, besides [`XDP_PACKET_HEADROOM`].
        headroom: u32 = 20,
        /// [`UmemFlags`].
        flags: u32 = 24,
        /// Bytes of TX metadata before each packet to send.
        tx_metadata_len: u32 = 28,
    }
    /// `struct xdp_statistics`: counters of a socket since its creation, in packets or descriptors.
    struct xdp_statistics = 48 {
        /// Packets dropped for another reason than a bad descriptor or a full ring.
        rx_dropped: u64 = 0,
        /// Fill ring entries that were refused (always 0 in copy mode).
        rx_invalid_descs: u64 = 8,
        /// TX descriptors that were refused.
        tx_invalid_descs: u64 = 16,
        /// Packets dropped because the RX ring was full (Linux 5.9).
        rx_ring_full: u64 = 24,
        /// Times the kernel found the fill ring empty (Linux 5.9).
        rx_fill_ring_empty_descs: u64 = 32,
        /// Times the kernel found the TX ring empty (Linux 5.9).
        tx_ring_empty_descs: u64 = 40,
    }
    /// `struct xdp_options`: what bind chose.
    struct xdp_options = 4 {
        /// [`XDP_OPTIONS_ZEROCOPY`].
        flags: u32 = 0,
    }
    /// `struct xdp_desc`: an entry of the RX and TX rings. Entries of the fill and completion rings are the `addr` alone.
    struct xdp_desc = 16 {
        /// Offset of the data in the UMEM; with unaligned chunks, base and offset (see [`crate::layout`]).
        addr: u64 = 0,
        /// Length in bytes.
        len: u32 = 8,
        /// [`XDP_PKT_CONTD`], [`XDP_TX_METADATA`].
        options: u32 = 12,
    }
    /// `struct xsk_tx_metadata` as user space writes it (the `request` half of its union).
    struct xsk_tx_metadata_request = 24 {
        /// [`XDP_TXMD_FLAGS_TIMESTAMP`] and friends.
        flags: u64 = 0,
        /// Where checksumming starts, in bytes from the start of the packet.
        csum_start: u16 = 8,
        /// Where the checksum goes, in bytes from `csum_start`.
        csum_offset: u16 = 10,
        /// Reserved; the kernel's struct has padding here.
        reserved: u32 = 12,
        /// When to send, in nanoseconds of the device's clock.
        launch_time: u64 = 16,
    }
    /// `struct xsk_tx_metadata` as the kernel leaves it at completion (the `completion` half of its union).
    struct xsk_tx_metadata_completion = 24 {
        /// The flags of the request.
        flags: u64 = 0,
        /// When the packet was sent, in nanoseconds.
        tx_timestamp: u64 = 8,
        /// Bytes of the request that the completion does not overwrite.
        reserved: u64 = 16,
    }
}

impl xdp_desc {
    /// Its address, and in one word its length (lower half) and its options: what is not looked at apart need not be read apart.
    #[inline(always)]
    pub fn words(self) -> (u64, u64) {
        // SAFETY: as many bytes without padding (asserted above), and any bytes are numbers.
        let [addr, rest]: [u64; 2] = unsafe { core::mem::transmute(self) };
        (addr, if cfg!(target_endian = "little") { rest } else { rest.rotate_left(32) })
    }

    /// The descriptor of such [`words`](Self::words).
    #[inline(always)]
    pub fn from_words(addr: u64, len_and_options: u64) -> Self {
        let rest =
            if cfg!(target_endian = "little") { len_and_options } else { len_and_options.rotate_left(32) };
        // SAFETY: as in `words`.
        unsafe { core::mem::transmute([addr, rest]) }
    }
}

// SAFETY: integers have no padding and no invalid bit patterns.
unsafe impl Pod for u32 {}
// SAFETY: as above.
unsafe impl Pod for u64 {}
// SAFETY: as above.
unsafe impl Pod for i32 {}

impl From<xdp_mmap_offsets_v1> for xdp_mmap_offsets {
    /// Old kernels have no flags word of their own; user space reads the one after the consumer index, which is always zero.
    fn from(old: xdp_mmap_offsets_v1) -> Self {
        let ring = |o: xdp_ring_offset_v1| xdp_ring_offset {
            producer: o.producer,
            consumer: o.consumer,
            desc: o.desc,
            flags: o.consumer + size_of::<u32>() as u64,
        };
        Self { rx: ring(old.rx), tx: ring(old.tx), fr: ring(old.fr), cr: ring(old.cr) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cross_both_ways() {
        let mut reg =
            xdp_umem_reg { addr: 0x1000, chunk_size: 4096, tx_metadata_len: 7, ..Default::default() };
        assert_eq!(reg.as_bytes().len(), 32);
        assert_eq!(reg.as_bytes()[28], 7);
        reg.as_bytes_mut()[24] = 1;
        assert_eq!(reg.flags, 1);
    }

    #[test]
    fn short_offsets_put_the_flags_behind_the_consumer() {
        let tx = xdp_ring_offset_v1 { producer: 0, consumer: 64, desc: 128 };
        let old = xdp_mmap_offsets_v1 { tx, ..Default::default() };
        let new = xdp_mmap_offsets::from(old);
        assert_eq!(new.tx, xdp_ring_offset { producer: 0, consumer: 64, desc: 128, flags: 68 });
    }
}
