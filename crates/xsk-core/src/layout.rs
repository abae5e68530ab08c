//! Frame arithmetic of a UMEM.
//!
//! A UMEM is `len` bytes, cut into chunks (frames) of `chunk_size` bytes. A received packet starts
//! [`XDP_PACKET_HEADROOM`] plus the UMEM's own headroom bytes into its chunk:
//!
//! ```text
//! | headroom | 256 bytes XDP headroom | data ... |
//! ^ chunk start                       ^ address in a descriptor
//! ```
//!
//! * **Aligned** chunks lie at multiples of their size, a power of two. A descriptor's address is an offset in the UMEM;
//!   its chunk is found by masking.
//! * **Unaligned** chunks lie anywhere. A descriptor's address holds the chunk's offset in its low 48 bits (the base) and
//!   the distance of the data from there in its high 16 bits.
//!
//! All functions are total: an address or length that names no bytes of the UMEM gives `None` or an error.

use core::fmt;
use core::ops::Range;

use crate::abi::{
    UmemFlags, XDP_PACKET_HEADROOM, XDP_PKT_CONTD, XDP_TX_METADATA, XDP_UMEM_MIN_CHUNK_SIZE,
    XSK_UNALIGNED_BUF_ADDR_MASK, XSK_UNALIGNED_BUF_OFFSET_SHIFT, xdp_desc,
};

/// The shape of a UMEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    chunk_size: u32,
    chunks: u32,
    headroom: u32,
    tx_metadata_len: u32,
    flags: UmemFlags,
}

/// Values that make no UMEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutError {
    /// The chunk size is below [`XDP_UMEM_MIN_CHUNK_SIZE`].
    ChunkSizeTooSmall(u32),
    /// The chunk size is not a power of two, and the chunks are aligned.
    ChunkSizeNotPowerOfTwo(u32),
    /// The headroom leaves no byte of the chunk for data, or (unaligned) data would start farther from the chunk's start
    /// than the 16 bits of an address can say.
    Headroom {
        /// The UMEM's own headroom, in bytes.
        headroom: u32,
        /// Bytes of a chunk.
        chunk_size: u32,
    },
    /// There are no chunks.
    NoChunks,
    /// The UMEM has more bytes than the base half of an unaligned address can name, or than memory has.
    TooLong {
        /// Number of chunks.
        chunks: u32,
        /// Bytes of a chunk.
        chunk_size: u32,
    },
    /// The TX metadata length is no multiple of 8, or 256 or more (`net/xdp/xdp_umem.c:xdp_umem_reg`).
    TxMetadataLen(u32),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ChunkSizeTooSmall(got) => {
                write!(f, "expected frame size >= {XDP_UMEM_MIN_CHUNK_SIZE}, got {got}")
            }
            Self::ChunkSizeNotPowerOfTwo(got) => {
                write!(f, "expected a power of two as frame size, got {got}")
            }
            Self::Headroom { headroom, chunk_size } => {
                let total = u64::from(headroom) + u64::from(XDP_PACKET_HEADROOM);
                if total >= u64::from(chunk_size) {
                    write!(f, "total headroom {total} must be less than frame size {chunk_size}")
                } else {
                    write!(
                        f,
                        "total headroom {total} must be less than 65536, what an unaligned address holds"
                    )
                }
            }
            Self::NoChunks => f.write_str("expected at least one frame, got 0"),
            Self::TooLong { chunks, chunk_size } => {
                write!(f, "{chunks} frames of {chunk_size} bytes do not fit an address space")
            }
            Self::TxMetadataLen(got) => {
                write!(f, "expected a multiple of 8 below 256 as TX metadata length, got {got}")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// Why the kernel refuses a descriptor to send (`net/xdp/xsk_queue.h:xskq_cons_is_valid_desc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescError {
    /// The length is 0.
    Empty,
    /// Option bits other than `XDP_PKT_CONTD` and `XDP_TX_METADATA`.
    Options(u32),
    /// The data, or the TX metadata before it, is not within one chunk of the UMEM.
    OutOfBounds(xdp_desc),
}

impl fmt::Display for DescError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("a descriptor of length 0"),
            Self::Options(bits) => write!(f, "a descriptor with unknown option bits {bits:#x}"),
            Self::OutOfBounds(desc) => {
                write!(
                    f,
                    "a descriptor of {} bytes at {:#x}, which is not within one frame",
                    desc.len, desc.addr
                )
            }
        }
    }
}

impl core::error::Error for DescError {}

impl Layout {
    /// Checks the values and makes a layout of `chunks` chunks of `chunk_size` bytes.
    ///
    /// `tx_metadata_len` counts only with [`UmemFlags::XDP_UMEM_TX_METADATA_LEN`], as in the kernel. The largest chunk
    /// (a page) and the exact headroom limit differ between machines and kernels, which check them at registration.
    pub fn new(
        chunk_size: u32,
        chunks: u32,
        headroom: u32,
        flags: UmemFlags,
        tx_metadata_len: u32,
    ) -> Result<Self, LayoutError> {
        if chunk_size < XDP_UMEM_MIN_CHUNK_SIZE {
            return Err(LayoutError::ChunkSizeTooSmall(chunk_size));
        }
        let unaligned = flags.contains(UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG);
        if !unaligned && !chunk_size.is_power_of_two() {
            return Err(LayoutError::ChunkSizeNotPowerOfTwo(chunk_size));
        }
        // 16 bits hold the distance in an unaligned address: a kernel could not say where such data starts either.
        let limit = if unaligned {
            chunk_size.min(1 << (u64::BITS - XSK_UNALIGNED_BUF_OFFSET_SHIFT))
        } else {
            chunk_size
        };
        let data_offset = headroom.checked_add(XDP_PACKET_HEADROOM);
        if data_offset.is_none_or(|offset| offset >= limit) {
            return Err(LayoutError::Headroom { headroom, chunk_size });
        }
        if chunks == 0 {
            return Err(LayoutError::NoChunks);
        }
        let len = u64::from(chunks) * u64::from(chunk_size);
        if len > XSK_UNALIGNED_BUF_ADDR_MASK || usize::try_from(len).is_err() {
            return Err(LayoutError::TooLong { chunks, chunk_size });
        }
        let meant = flags.contains(UmemFlags::XDP_UMEM_TX_METADATA_LEN);
        if meant && (tx_metadata_len >= 256 || !tx_metadata_len.is_multiple_of(8)) {
            return Err(LayoutError::TxMetadataLen(tx_metadata_len));
        }
        let tx_metadata_len = if meant { tx_metadata_len } else { 0 };
        Ok(Self { chunk_size, chunks, headroom, tx_metadata_len, flags })
    }

    /// Bytes of a chunk.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The UMEM's own headroom, in bytes, without [`XDP_PACKET_HEADROOM`].
    pub fn headroom(&self) -> u32 {
        self.headroom
    }

    /// Bytes of TX metadata before each packet to send; 0 if there is none.
    pub fn tx_metadata_len(&self) -> u32 {
        self.tx_metadata_len
    }

    /// Flags of the registration.
    pub fn flags(&self) -> UmemFlags {
        self.flags
    }

    /// Whether chunks may lie anywhere.
    #[inline]
    pub fn is_unaligned(&self) -> bool {
        self.flags.contains(UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG)
    }

    /// Bytes of the whole UMEM.
    #[inline]
    pub fn len(&self) -> u64 {
        u64::from(self.chunks) * u64::from(self.chunk_size)
    }

    /// Always false: a layout has at least one chunk.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Distance of received data from the start of its chunk, in bytes.
    #[inline]
    pub fn data_offset(&self) -> u32 {
        self.headroom + XDP_PACKET_HEADROOM
    }

    /// Bytes of received data that one chunk takes. In copy mode a longer packet is dropped, or, with `XDP_USE_SG`,
    /// spread over several chunks (`net/xdp/xsk.c:xsk_rcv_check`).
    #[inline]
    pub fn room(&self) -> u32 {
        self.chunk_size - self.data_offset()
    }

    /// Chunks that a received packet of `len` bytes takes with `XDP_USE_SG`.
    pub fn chunks_for(&self, len: u32) -> u32 {
        len.div_ceil(self.room()).max(1)
    }

    /// The address of chunk `index` as a descriptor has it when a packet was received there.
    pub fn frame_addr(&self, index: u32) -> Option<u64> {
        let base = u64::from(index) * u64::from(self.chunk_size);
        (index < self.chunks).then(|| self.join(base, self.data_offset()))
    }

    #[inline]
    fn join(&self, base: u64, offset: u32) -> u64 {
        if self.is_unaligned() {
            base | u64::from(offset) << XSK_UNALIGNED_BUF_OFFSET_SHIFT
        } else {
            base + u64::from(offset)
        }
    }

    /// The start of the chunk that a descriptor's address lies in, and the distance of the address from there.
    ///
    /// `None` if the chunk is not within the UMEM, or (unaligned) the distance is not within the chunk.
    #[inline]
    pub fn split(&self, addr: u64) -> Option<(u64, u32)> {
        let size = u64::from(self.chunk_size);
        let (base, offset) = if self.is_unaligned() {
            (addr & XSK_UNALIGNED_BUF_ADDR_MASK, addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT)
        } else {
            (addr & !(size - 1), addr & (size - 1))
        };
        // `len` is at least one chunk and less than 2^48, so neither side wraps.
        let fits = base <= self.len() - size && offset <= size;
        fits.then_some((base, offset as u32))
    }

    /// The bytes from a descriptor's address to the end of its chunk, as offsets in the UMEM.
    #[inline]
    pub fn buffer(&self, addr: u64) -> Option<Range<u64>> {
        let (base, offset) = self.split(addr)?;
        Some(base + u64::from(offset)..base + u64::from(self.chunk_size))
    }

    /// The `len` bytes at a descriptor's address, as offsets in the UMEM; `None` if they leave the chunk.
    #[inline]
    pub fn data(&self, addr: u64, len: u32) -> Option<Range<u64>> {
        let buffer = self.buffer(addr)?;
        let end = buffer.start + u64::from(len);
        (end <= buffer.end).then_some(buffer.start..end)
    }

    /// The user's headroom of the chunk that a descriptor's address lies in, as offsets in the UMEM: the first bytes of
    /// the chunk, as many as the UMEM's headroom, but none beyond the address.
    #[inline]
    pub fn headroom_of(&self, addr: u64) -> Option<Range<u64>> {
        let (base, offset) = self.split(addr)?;
        Some(base..base + u64::from(offset.min(self.headroom)))
    }

    /// Whether the kernel takes `desc` from the TX ring
    /// (`net/xdp/xsk_queue.h:xp_aligned_validate_desc`, `xp_unaligned_validate_desc`, Linux 6.6 and later).
    pub fn check_tx(&self, desc: &xdp_desc) -> Result<(), DescError> {
        if desc.len == 0 {
            return Err(DescError::Empty);
        }
        if desc.options & !(XDP_PKT_CONTD | XDP_TX_METADATA) != 0 {
            return Err(DescError::Options(desc.options));
        }
        let metadata = u64::from(self.tx_metadata_len);
        let with_metadata = u64::from(desc.len) + metadata;
        let chunk = u64::from(self.chunk_size);
        let real = if self.is_unaligned() {
            (desc.addr & XSK_UNALIGNED_BUF_ADDR_MASK) + (desc.addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT)
        } else {
            desc.addr
        };
        let fits = real.checked_sub(metadata).is_some_and(|start| {
            let in_chunk = if self.is_unaligned() { 0 } else { start % chunk };
            in_chunk + with_metadata <= chunk && start < self.len() && with_metadata <= self.len() - start
        });
        if fits { Ok(()) } else { Err(DescError::OutOfBounds(*desc)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(chunk_size: u32, chunks: u32, headroom: u32) -> Layout {
        Layout::new(chunk_size, chunks, headroom, UmemFlags::empty(), 0).unwrap()
    }

    #[test]
    fn aligned_addresses() {
        let layout = aligned(4096, 3, 64);
        let addrs: std::vec::Vec<_> = (0..4).map(|i| layout.frame_addr(i)).collect();
        assert_eq!(addrs, [Some(320), Some(4416), Some(8512), None]);
        assert_eq!(layout.room(), 3776);
        assert_eq!(layout.split(4096 + 77), Some((4096, 77)));
        assert_eq!(layout.split(3 * 4096), None);
        assert_eq!(layout.data(4416, 3776), Some(4416..8192));
        assert_eq!(layout.data(4416, 3777), None);
        assert_eq!(layout.headroom_of(4416), Some(4096..4160));
        assert_eq!(layout.headroom_of(4096 + 10), Some(4096..4106));
    }

    #[test]
    fn unaligned_addresses() {
        // The vectors of a 65536-byte UMEM with chunks of 3000 bytes and headroom 10.
        let layout = Layout::new(3000, 21, 10, UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG, 0).unwrap();
        assert_eq!(layout.frame_addr(0), Some(0x010a_0000_0000_0000));
        assert_eq!(layout.split(0x010a_0000_0000_0005), Some((5, 266)));
        assert_eq!(layout.buffer(0x010a_0000_0000_0005), Some(271..3005));
        assert_eq!(layout.split(60_000), Some((60_000, 0)));
        assert_eq!(layout.split(60_001), None);
        assert_eq!(layout.split(u64::MAX), None);
    }

    #[test]
    fn bad_values_are_named() {
        let new = |size, chunks, headroom, metadata| {
            Layout::new(size, chunks, headroom, UmemFlags::XDP_UMEM_TX_METADATA_LEN, metadata).unwrap_err()
        };
        assert_eq!(new(2047, 1, 0, 0), LayoutError::ChunkSizeTooSmall(2047));
        assert_eq!(new(3000, 1, 0, 0), LayoutError::ChunkSizeNotPowerOfTwo(3000));
        assert_eq!(new(2048, 1, 1792, 0), LayoutError::Headroom { headroom: 1792, chunk_size: 2048 });
        assert!(new(2048, 1, u32::MAX, 0).to_string().contains("4294967551"));
        assert_eq!(new(2048, 0, 0, 0), LayoutError::NoChunks);
        assert_eq!(new(2048, 1, 0, 12), LayoutError::TxMetadataLen(12));
        assert_eq!(new(2048, 1, 0, 256), LayoutError::TxMetadataLen(256));
    }

    use std::string::ToString;

    /// The rows of the kernel that were measured on a UMEM of 64 chunks of 4096 bytes.
    #[test]
    fn tx_descriptors_as_the_kernel_takes_them() {
        let layout = aligned(4096, 64, 0);
        let ok = |addr, len, options| layout.check_tx(&xdp_desc { addr, len, options }).is_ok();
        assert!(ok(0, 60, 0) && ok(0, 60, 1) && ok(0, 60, 2) && ok(0, 4096, 0) && ok(0x3ffc4, 60, 0));
        assert!(!ok(0, 0, 0) && !ok(4096, 4097, 0) && !ok(4196, 4000, 0) && !ok(0x40000, 60, 0));
        assert!(!ok(0x3ffc5, 60, 0) && !ok(1 << 63, 60, 0) && !ok(0, 60, 4) && !ok(0, 60, 1 << 31));
        let with = Layout::new(4096, 64, 0, UmemFlags::XDP_UMEM_TX_METADATA_LEN, 16).unwrap();
        let ok = |addr, len| with.check_tx(&xdp_desc { addr, len, options: 0 }).is_ok();
        assert!(ok(4112, 4080) && !ok(4113, 4080) && !ok(4096, 60) && !ok(0, 60));
    }
}
