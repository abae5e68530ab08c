//! The numbers of `include/uapi/linux/if_xdp.h`, as that header has them.

use xsk_core::abi::*;

#[test]
fn flags_are_the_kernels() {
    let bind = [XDP_SHARED_UMEM, XDP_COPY, XDP_ZEROCOPY, XDP_USE_NEED_WAKEUP, XDP_USE_SG];
    assert_eq!(bind, [0x1, 0x2, 0x4, 0x8, 0x10]);
    assert_eq!((XDP_RING_NEED_WAKEUP, XDP_OPTIONS_ZEROCOPY), (0x1, 0x1));
    assert_eq!((XDP_PKT_CONTD, XDP_TX_METADATA), (0x1, 0x2));
    let metadata = [XDP_TXMD_FLAGS_TIMESTAMP, XDP_TXMD_FLAGS_CHECKSUM, XDP_TXMD_FLAGS_LAUNCH_TIME];
    assert_eq!(metadata, [0x1, 0x2, 0x4]);
    let umem = [
        UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG,
        UmemFlags::XDP_UMEM_TX_SW_CSUM,
        UmemFlags::XDP_UMEM_TX_METADATA_LEN,
    ];
    assert_eq!(umem.map(|flag| flag.bits()), [0x1, 0x2, 0x4]);
}

#[test]
fn addresses_and_offsets_are_the_kernels() {
    assert_eq!((XSK_UNALIGNED_BUF_OFFSET_SHIFT, XSK_UNALIGNED_BUF_ADDR_MASK), (48, 0x0000_ffff_ffff_ffff));
    let offsets =
        [XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_FILL_RING, XDP_UMEM_PGOFF_COMPLETION_RING];
    assert_eq!(offsets, [0, 0x8000_0000, 0x1_0000_0000, 0x1_8000_0000]);
    let sizes = [
        size_of::<sockaddr_xdp>(),
        size_of::<xdp_desc>(),
        size_of::<xdp_umem_reg>(),
        size_of::<xdp_mmap_offsets>(),
        size_of::<xdp_mmap_offsets_v1>(),
        size_of::<xdp_statistics>(),
        size_of::<xdp_options>(),
    ];
    assert_eq!(sizes, [16, 16, 32, 128, 96, 48, 4]);
}

#[test]
fn options_are_the_kernels() {
    let options = [
        XDP_MMAP_OFFSETS,
        XDP_RX_RING,
        XDP_TX_RING,
        XDP_UMEM_REG,
        XDP_UMEM_FILL_RING,
        XDP_UMEM_COMPLETION_RING,
        XDP_STATISTICS,
        XDP_OPTIONS,
        XDP_MAX_TX_SKB_BUDGET,
    ];
    assert_eq!(options, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((AF_XDP, SOL_XDP), (44, 283));
}

#[test]
fn a_descriptor_is_two_words() {
    let desc = xdp_desc { addr: 0x0123_4567_89ab_cdef, len: 60, options: 3 };
    assert_eq!(desc.words(), (0x0123_4567_89ab_cdef, 3 << 32 | 60));
    assert_eq!(xdp_desc::from_words(0x0123_4567_89ab_cdef, 3 << 32 | 60), desc);
}
