//! Calls with any values, in any order.

use proptest::prelude::*;
use proptest::sample::select;
use xsk_core::abi::{
    AF_XDP, SOL_XDP, XDP_COPY, XDP_MAX_TX_SKB_BUDGET, XDP_MMAP_OFFSETS, XDP_OPTIONS, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_SHARED_UMEM, XDP_STATISTICS, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XDP_USE_SG, XDP_ZEROCOPY, xdp_umem_reg,
};

use super::generate::{RINGS, entries, slot};
use xsk_tests::calls::op::{MEMORY, Op, SOL_SOCKET, Start, To, UMEMS, With};

/// Calls with any values in any order.
pub(crate) fn odd_call() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => odd_register(),
        4 => (slot(), select(RINGS.to_vec()), odd_entries(), select(vec![4, 4, 4, 0, 3, 8]))
            .prop_map(|(s, ring, entries, take)| Op::Ring { s, ring, entries, take }),
        4 => odd_bind(),
        3 => odd_map(),
        3 => set_option(),
        4 => get_option(),
        1 => (slot(), to()).prop_map(|(s, to)| Op::BindToDevice { s, to }),
        1 => (0..2_usize, select(vec![0_u32, 1, 3, 4, u32::MAX]), select(vec![With::Closed, With::Map]))
            .prop_map(|(end, key, with)| Op::MapUpdateOdd { end, key, with }),
    ]
}

fn odd_entries() -> impl Strategy<Value = u32> {
    prop_oneof![3 => entries(), 1 => select(vec![0, 3, 5, u32::MAX, 1 << 31, 1 << 20, 4095])]
}

/// A field that is as it should be, or mostly so.
fn mostly<T: Clone + std::fmt::Debug + 'static>(good: T, odd: Vec<T>) -> impl Strategy<Value = T> {
    prop_oneof![5 => Just(good), 2 => select(odd)]
}

pub(crate) fn odd_register() -> impl Strategy<Value = Op> {
    let start = mostly(Start::Memory, vec![Start::Off(1), Start::Off(64), Start::Off(2048), Start::Null]);
    let len = mostly(
        MEMORY,
        vec![
            0,
            100,
            2047,
            2048,
            2049,
            4096,
            6144,
            MEMORY - 1,
            MEMORY + 4096,
            2 * MEMORY,
            1 << 47,
            1 << 60,
            u64::MAX - 4095,
            u64::MAX,
        ],
    );
    let shape = prop_oneof![
        3 => select(vec![(4096, 0), (4096, 1), (2048, 0), (2048, 1), (3000, 1)]),
        2 => (select(vec![0, 2047, 2048, 3000, 4095, 4096, 4097, 8192, u32::MAX]), 0..2_u32),
    ];
    let headroom = mostly(0, vec![1, 1343, 1344, 1345, 3391, 3392, 3393, 4096, u32::MAX]);
    let flags = select(vec![0, 0, 2, 4, 4, 4, 6, 8, 1 << 31]);
    let metadata = select(vec![0, 7, 8, 16, 24, 248, 255, 256, 264, 4096]);
    let take = mostly(32, vec![24, 28, 23, 0, 40]);
    (slot(), 0..UMEMS, start, (len, shape, headroom, flags, metadata), take).prop_map(
        |(s, umem, start, (len, (chunk_size, unaligned), headroom, flags, tx_metadata_len), take)| {
            let flags = flags | unaligned;
            let reg = xdp_umem_reg { addr: 0, len, chunk_size, headroom, flags, tx_metadata_len };
            Op::Register { s, umem, start, reg, take }
        },
    )
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![6 => (0..2_usize).prop_map(To::End), 1 => Just(To::Nothing), 1 => Just(To::Nobody)]
}

fn odd_bind() -> impl Strategy<Value = Op> {
    let family = prop_oneof![9 => Just(AF_XDP as u16), 1 => select(vec![0, 2, 17])];
    let queue = select(vec![0, 0, 0, 1, 2, 65536, 65537, 65541, u32::MAX]);
    let flags = prop_oneof![
        3 => select(vec![0, XDP_COPY, XDP_ZEROCOPY, XDP_COPY | XDP_ZEROCOPY, XDP_COPY | XDP_USE_SG, XDP_ZEROCOPY | XDP_USE_SG]),
        3 => Just(XDP_SHARED_UMEM),
        1 => 0..40_u16,
    ];
    let with = prop_oneof![
        4 => slot().prop_map(With::Socket),
        1 => select(vec![With::Nobody, With::Closed, With::Map]),
    ];
    (slot(), family, to(), queue, flags, with).prop_map(|(s, family, to, queue, flags, with)| Op::Bind {
        s,
        family,
        to,
        queue,
        flags,
        with,
    })
}

fn odd_map() -> impl Strategy<Value = Op> {
    let offset = prop_oneof![
        6 => select(vec![
            XDP_PGOFF_RX_RING,
            XDP_PGOFF_TX_RING,
            XDP_UMEM_PGOFF_FILL_RING,
            XDP_UMEM_PGOFF_COMPLETION_RING,
        ]),
        1 => select(vec![4096, 0x2_0000_0000, 1]),
    ];
    (slot(), offset, select(vec![1_usize, 320, 448, 4096, 4097, 8192, 1 << 20]))
        .prop_map(|(s, offset, len)| Op::Map { s, offset, len })
}

fn set_option() -> impl Strategy<Value = Op> {
    let budget = (select(vec![0_u32, 31, 32, 33, 64, 65, u32::MAX]), select(vec![4_usize, 4, 4, 3, 8]))
        .prop_map(|(value, len)| {
            let mut bytes = value.to_ne_bytes().to_vec();
            bytes.resize(len, 0);
            (SOL_XDP, XDP_MAX_TX_SKB_BUDGET, bytes)
        });
    // Buffers, mark and priority, busy polling; names that are only to be got, and names and levels that nobody has.
    let names = vec![7, 8, 12, 36, 46, 69, 70, 3, 4, 999];
    let socket = (
        select(names),
        select(vec![-1_i32, 0, 1, 7, 5000, 65535, 65536, 1 << 30]),
        select(vec![4, 4, 4, 3, 8]),
    )
        .prop_map(|(name, value, len)| {
            let mut bytes = value.to_ne_bytes().to_vec();
            bytes.resize(len, 0);
            (SOL_SOCKET, name, bytes)
        });
    let wrong = (select(vec![SOL_XDP, 0, 284]), select(vec![0, 1, 7, 8, 10, 99]))
        .prop_map(|(level, name)| (level, name, vec![0; 4]));
    let any = prop_oneof![3 => budget, 2 => socket, 1 => wrong];
    (slot(), any).prop_map(|(s, (level, name, value))| Op::SetOption { s, level, name, value })
}

fn get_option() -> impl Strategy<Value = Op> {
    let good = (
        select(vec![XDP_MMAP_OFFSETS, XDP_STATISTICS, XDP_OPTIONS]),
        select(vec![0, 3, 4, 23, 24, 47, 48, 95, 96, 127, 128, 200]),
    )
        .prop_map(|(name, len)| (SOL_XDP, name, len));
    // Type, error, buffers, priority, mark, protocol, domain, busy polling, NAPI id.
    let names = vec![3, 4, 7, 8, 12, 36, 38, 39, 46, 56, 69, 70];
    let socket =
        (select(names), select(vec![4, 4, 4, 0, 2, 8])).prop_map(|(name, len)| (SOL_SOCKET, name, len));
    let wrong = (select(vec![SOL_XDP, 0, 284]), select(vec![2, 5, 9, 99]))
        .prop_map(|(level, name)| (level, name, 48));
    let any = prop_oneof![3 => good, 2 => socket, 1 => wrong];
    (slot(), any).prop_map(|(s, (level, name, len))| Op::GetOption { s, level, name, len })
}
