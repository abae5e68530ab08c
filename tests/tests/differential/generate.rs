//! Random histories: about half of the steps mean well.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use xsk_core::abi::{
    AF_XDP, Pod, SOL_XDP, XDP_COPY, XDP_MAX_TX_SKB_BUDGET, XDP_MMAP_OFFSETS, XDP_OPTIONS, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_SHARED_UMEM, XDP_STATISTICS, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XDP_USE_NEED_WAKEUP, XDP_USE_SG, XDP_ZEROCOPY, xdp_desc, xdp_umem_reg,
    xsk_tx_metadata_request,
};

use super::op::{History, MEMORY, Op, Place, RingKind, SOCKETS, Start, To, UMEMS, With};

/// `SOL_SOCKET`.
const SOL_SOCKET: i32 = 1;
const RINGS: [RingKind; 4] = [RingKind::Rx, RingKind::Tx, RingKind::Fill, RingKind::Completion];

pub(crate) fn history() -> impl Strategy<Value = History> {
    let place = (any::<bool>(), any::<bool>(), select(vec![1, 1, 2]));
    place.prop_flat_map(|(native, sg, queues)| {
        let place = Place { native, sg, queues };
        // Sockets 0 and 1 at the ends, or 1 with the UMEM of 0, so that most of what follows has something to do.
        let first = (setup(place, Just(0), 0..2_usize), any::<u8>()).prop_flat_map(move |(first, second)| {
            let end = first.iter().find_map(Op::bound_end).unwrap_or_default();
            let second = match second % 4 {
                0 => Just(Vec::new()).boxed(),
                1 => shared_setup(Just(1), Just(0), Just(end), Just(0)).boxed(),
                _ => setup(place, Just(1), Just(1 - end)).boxed(),
            };
            second.prop_map(move |second| [first.clone(), second].concat())
        });
        let steps = prop_oneof![
            2 => (slot().prop_map(|s| Op::Close { s }), setup(place, slot(), 0..2_usize))
                .prop_map(|(close, setup)| [vec![close], setup].concat()),
            1 => setup(place, slot(), 0..2_usize),
            2 => shared_setup(slot(), slot(), 0..2_usize, 0..2_u32),
            1 => slot().prop_map(|s| vec![Op::Close { s }]),
            3 => metadata(),
            90 => traffic(place).prop_map(|op| vec![op]),
            16 => odd_call().prop_map(|op| vec![op]),
        ];
        (first, vec(steps, 1..50)).prop_map(move |(first, steps)| History {
            place,
            ops: first.into_iter().chain(steps.into_iter().flatten()).collect(),
        })
    })
}

fn slot() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0), 3 => Just(1), 1 => Just(SOCKETS - 1)]
}

fn entries() -> impl Strategy<Value = u32> {
    select(vec![1_u32, 2, 2, 4, 4, 8, 8, 16, 32, 64])
}

/// All four rings, or one less.
fn rings() -> impl Strategy<Value = Vec<(RingKind, u32)>> {
    let missing = prop_oneof![8 => Just(None), 1 => select(RINGS.to_vec()).prop_map(Some), 2 => Just(Some(RingKind::Tx)), 1 => Just(Some(RingKind::Rx))];
    // A pass ends by its budget of 32 only where the TX and the completion ring are both larger.
    let large = proptest::bool::weighted(0.3);
    ([entries(), entries(), entries(), entries()], large, missing).prop_map(|(sizes, large, missing)| {
        let [rx, tx, fill, completion] = sizes;
        let sizes = if large { [rx, 64, fill, 64] } else { [rx, tx, fill, completion] };
        RINGS.into_iter().zip(sizes).filter(|(ring, _)| Some(*ring) != missing).collect()
    })
}

fn umem() -> impl Strategy<Value = xdp_umem_reg> {
    let shapes = vec![(4096, 0), (4096, 0), (2048, 0), (3000, 1), (4096, 1)];
    (select(shapes), select(vec![0, 0, 0, 100, 1000, 1344]), select(vec![0, 0, 0, 8, 16, 24, 24, 24]))
        .prop_map(|((chunk_size, unaligned), headroom, metadata)| xdp_umem_reg {
            addr: 0,
            len: MEMORY,
            chunk_size,
            headroom,
            flags: unaligned | if metadata > 0 { 4 } else { 0 },
            tx_metadata_len: metadata,
        })
}

/// A socket from nothing to its slot in the map, as it should be done.
fn setup(
    place: Place,
    s: impl Strategy<Value = usize>,
    end: impl Strategy<Value = usize>,
) -> impl Strategy<Value = Vec<Op>> {
    let flags = if place.sg {
        vec![XDP_COPY, XDP_COPY | XDP_USE_SG, XDP_COPY | XDP_USE_SG, XDP_USE_SG]
    } else {
        vec![0, XDP_COPY, XDP_COPY, XDP_COPY | XDP_USE_NEED_WAKEUP]
    };
    let which = (s, end, 0..place.queues, 0..UMEMS);
    (which, umem(), rings(), select(flags), vec(good_entry(), 0..16)).prop_map(
        |((s, end, queue, umem), reg, sizes, flags, fill)| {
            let mut ops = vec![Op::Register { s, umem, start: Start::Memory, reg, take: 32 }];
            ops.extend(sizes.into_iter().map(|(ring, entries)| Op::Ring { s, ring, entries, take: 4 }));
            let (family, to, with) = (AF_XDP as u16, To::End(end), With::Nobody);
            ops.push(Op::Bind { s, family, to, queue, flags, with });
            ops.push(Op::MapUpdate { s, end, key: queue });
            ops.push(Op::Fill { s, entries: fill });
            ops
        },
    )
}

/// A socket that shares another's UMEM, with or without rings of its own.
fn shared_setup(
    s: impl Strategy<Value = usize>,
    of: impl Strategy<Value = usize>,
    end: impl Strategy<Value = usize>,
    queue: impl Strategy<Value = u32>,
) -> impl Strategy<Value = Vec<Op>> {
    (s, of, end, queue, any::<bool>(), rings()).prop_map(|(s, of, end, queue, own, sizes)| {
        let rings = sizes.into_iter().filter(|(ring, _)| own || matches!(ring, RingKind::Rx | RingKind::Tx));
        let mut ops = vec![Op::Close { s }];
        ops.extend(rings.map(|(ring, entries)| Op::Ring { s, ring, entries, take: 4 }));
        let (family, to) = (AF_XDP as u16, To::End(end));
        ops.push(Op::Bind { s, family, to, queue, flags: XDP_SHARED_UMEM, with: With::Socket(of) });
        ops.push(Op::MapUpdate { s, end, key: queue });
        ops
    })
}

fn good_entry() -> impl Strategy<Value = u64> {
    prop_oneof![6 => (0..MEMORY / 4096).prop_map(|chunk| chunk * 4096), 1 => 0..=MEMORY - 4096]
}

fn entry() -> impl Strategy<Value = u64> {
    prop_oneof![
        16 => good_entry(),
        1 => 0..2 * MEMORY,
        1 => select(vec![MEMORY, 1 << 63, u64::MAX, 2500 | 7 << 48]),
    ]
}

fn desc() -> impl Strategy<Value = xdp_desc> {
    let addr = prop_oneof![
        8 => (0..MEMORY / 4096).prop_map(|chunk| chunk * 4096 + 256),
        2 => 0..MEMORY,
        1 => select(vec![0, 1, 257, MEMORY, MEMORY - 60, MEMORY - 59, 1 << 63, u64::MAX, 4096 | 100 << 48]),
    ];
    let len = prop_oneof![
        8 => 14..200_u32,
        2 => select(vec![1500_u32, 1514, 1518, 1519, 1600, 3000, 3840]),
        1 => select(vec![0_u32, 1, 13, 4095, 4096, 4097, u32::MAX]),
    ];
    let options = prop_oneof![20 => Just(0), 5 => Just(1), 1 => select(vec![2, 3, 4, 5, 1 << 31])];
    (addr, len, options).prop_map(|(addr, len, options)| xdp_desc { addr, len, options })
}

/// A packet with metadata before it, for a UMEM that has 24 bytes of it. Times are not asked for: they differ.
fn metadata() -> impl Strategy<Value = Vec<Op>> {
    let flags = select(vec![0_u64, 2, 2, 2, 4, 6, 8, 1 << 63]);
    let checksum =
        (prop_oneof![4 => 14..100_u16, 1 => any::<u16>()], prop_oneof![4 => 0..40_u16, 1 => any::<u16>()]);
    let desc = (0..MEMORY / 4096, 14..200_u32, select(vec![2, 2, 2, 3]));
    (slot(), 0..UMEMS, flags, checksum, desc).prop_map(
        |(s, umem, flags, (start, offset), (chunk, len, options))| {
            let request = xsk_tx_metadata_request {
                flags,
                csum_start: start,
                csum_offset: offset,
                ..Default::default()
            };
            let addr = chunk * 4096 + 256;
            let at = addr as usize - request.as_bytes().len();
            let write = Op::Write { umem, at, bytes: request.as_bytes().to_vec() };
            vec![write, Op::Send { s, descs: vec![xdp_desc { addr, len, options }], kick: true }]
        },
    )
}

/// What bound sockets do.
fn traffic(place: Place) -> impl Strategy<Value = Op> {
    let longest = if place.sg { 9014 } else { 1514_usize };
    let lens = prop_oneof![
        4 => 14..200_usize,
        2 => select(vec![791_usize, 792, 793, 1024, 1514, 1792, 3520, 3840, 3841, 7680, 9014]),
        1 => 14..longest,
    ];
    prop_oneof![
        6 => (slot(), vec(entry(), 1..10)).prop_map(|(s, entries)| Op::Fill { s, entries }),
        8 => (slot(), vec(desc(), 1..6), any::<bool>()).prop_map(|(s, descs, kick)| Op::Send { s, descs, kick }),
        2 => (slot(), desc(), 10..40_usize)
            .prop_map(|(s, desc, n)| Op::Send { s, descs: vec![desc; n], kick: true }),
        4 => slot().prop_map(|s| Op::Kick { s }),
        1 => slot().prop_map(|s| Op::Wake { s }),
        3 => (slot(), select(vec![1, 4, 5, 0])).prop_map(|(s, events)| Op::Poll { s, events }),
        12 => (0..2_usize, lens, 1..10_usize)
            .prop_map(move |(end, len, count)| Op::Inject { end, len: len.min(longest), count }),
        3 => (slot(), select(vec![1, 2, 64])).prop_map(|(s, max)| Op::Receive { s, max }),
        6 => (slot(), select(vec![1, 2, 64])).prop_map(|(s, max)| Op::Complete { s, max }),
        1 => (0..2_usize, select(vec![false, true, true, true])).prop_map(|(end, up)| Op::Link { end, up }),
        1 => (slot(), 0..2_usize, 0..6_u32).prop_map(|(s, end, key)| Op::MapUpdate { s, end, key }),
        1 => (0..2_usize, 0..6_u32).prop_map(|(end, key)| Op::MapDelete { end, key }),
    ]
}

/// Calls with any values in any order.
fn odd_call() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => odd_register(),
        4 => (slot(), select(RINGS.to_vec()), odd_entries(), select(vec![4, 4, 4, 0, 3, 8]))
            .prop_map(|(s, ring, entries, take)| Op::Ring { s, ring, entries, take }),
        4 => odd_bind(),
        3 => odd_map(),
        3 => set_option(),
        3 => get_option(),
    ]
}

fn odd_entries() -> impl Strategy<Value = u32> {
    prop_oneof![3 => entries(), 1 => select(vec![0, 3, 5, u32::MAX, 1 << 31, 1 << 20, 4095])]
}

fn odd_register() -> impl Strategy<Value = Op> {
    let start = prop_oneof![
        6 => Just(Start::Memory),
        1 => select(vec![1, 64, 2048]).prop_map(Start::Off),
        1 => Just(Start::Null),
    ];
    let len = prop_oneof![
        4 => Just(MEMORY),
        1 => select(vec![0, 100, 2047, 2048, 2049, 4096, 6144, MEMORY - 1, 1 << 60, 1 << 47, u64::MAX, u64::MAX - 4095]),
    ];
    let chunk = select(vec![0, 2047, 2048, 3000, 4095, 4096, 4097, 8192, u32::MAX]);
    let headroom = select(vec![0, 1, 1344, 1345, 3392, 3393, 4096, u32::MAX]);
    let flags = select(vec![0, 0, 1, 2, 4, 5, 7, 8, 1 << 31]);
    let metadata = select(vec![0, 7, 8, 16, 24, 248, 256, 4096]);
    let take = select(vec![32, 32, 32, 24, 28, 23, 0]);
    (slot(), 0..UMEMS, start, (len, chunk, headroom, flags, metadata), take).prop_map(
        |(s, umem, start, (len, chunk_size, headroom, flags, tx_metadata_len), take)| {
            let reg = xdp_umem_reg { addr: 0, len, chunk_size, headroom, flags, tx_metadata_len };
            Op::Register { s, umem, start, reg, take }
        },
    )
}

fn odd_bind() -> impl Strategy<Value = Op> {
    let family = prop_oneof![9 => Just(AF_XDP as u16), 1 => select(vec![0, 2, 17])];
    let to = prop_oneof![
        6 => (0..2_usize).prop_map(To::End),
        1 => Just(To::Nothing),
        1 => Just(To::Nobody),
    ];
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
    (slot(), family, to, queue, flags, with).prop_map(|(s, family, to, queue, flags, with)| Op::Bind {
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
    // Busy polling; names that are only to be got, and names and levels that nobody has.
    let socket = (select(vec![46, 69, 70]), select(vec![-1_i32, 0, 1, 65535, 65536]))
        .prop_map(|(name, value)| (SOL_SOCKET, name, value.to_ne_bytes().to_vec()));
    let wrong = (select(vec![SOL_XDP, 0, 284]), select(vec![0, 1, 7, 8, 10, 99]))
        .prop_map(|(level, name)| (level, name, vec![0; 4]));
    let any = prop_oneof![3 => budget, 1 => socket, 1 => wrong];
    (slot(), any).prop_map(|(s, (level, name, value))| Op::SetOption { s, level, name, value })
}

fn get_option() -> impl Strategy<Value = Op> {
    let good = (
        select(vec![XDP_MMAP_OFFSETS, XDP_STATISTICS, XDP_OPTIONS]),
        select(vec![0, 3, 4, 23, 24, 47, 48, 95, 96, 127, 128, 200]),
    )
        .prop_map(|(name, len)| (SOL_XDP, name, len));
    // Type, error, protocol, domain, busy polling, NAPI id.
    let socket = select(vec![3, 4, 38, 39, 46, 56, 69, 70]).prop_map(|name| (SOL_SOCKET, name, 4));
    let wrong = (select(vec![SOL_XDP, 0, 284]), select(vec![2, 5, 9, 99]))
        .prop_map(|(level, name)| (level, name, 48));
    let any = prop_oneof![3 => good, 1 => socket, 1 => wrong];
    (slot(), any).prop_map(|(s, (level, name, len))| Op::GetOption { s, level, name, len })
}
