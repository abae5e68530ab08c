//! Random histories: most of the steps mean well.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use xsk_core::abi::{
    AF_XDP, Pod, XDP_COPY, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_PKT_CONTD, XDP_SHARED_UMEM,
    XDP_TX_METADATA, XDP_USE_NEED_WAKEUP, XDP_USE_SG, XDP_ZEROCOPY, xdp_desc, xdp_umem_reg,
    xsk_tx_metadata_request,
};

use super::odd::{odd_call, odd_register};
use xsk_tests::calls::op::{
    History, MEMORY, Op, Place, RingKind, SOCKETS, SOL_SOCKET, Start, To, UMEMS, With, Word,
};

/// `SO_ERROR`.
const SO_ERROR: i32 = 4;
pub(crate) const RINGS: [RingKind; 4] = [RingKind::Rx, RingKind::Tx, RingKind::Fill, RingKind::Completion];

/// What a socket of a history is meant for. Other steps may do otherwise.
#[derive(Debug, Clone, Copy)]
struct Plan {
    end: usize,
    queue: u32,
    umem: usize,
    /// Shares the UMEM of the socket in this slot.
    shares: Option<usize>,
}

/// What the steps of a history know of it.
#[derive(Debug, Clone, Copy)]
struct World {
    place: Place,
    umems: [xdp_umem_reg; UMEMS],
    plans: [Plan; SOCKETS],
}

pub(crate) fn history() -> impl Strategy<Value = History> {
    let queues = select(vec![(1, 1), (1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (2, 1)]);
    let place = (any::<bool>(), any::<bool>(), queues);
    place.prop_flat_map(|(native, sg, queues)| {
        let place = Place { native, sg, queues };
        (plans(place), [umem(), umem()]).prop_flat_map(move |(plans, umems)| {
            let world = World { place, umems, plans };
            // Sockets of which nobody hears again cost nothing.
            ([weighted(0.95), weighted(0.6)], steps(world), setup(world, 0), setup(world, 1), setup(world, 2))
                .prop_map(move |(made, steps, a, b, c)| {
                    let others = [b, c].into_iter().zip(made).filter(|(_, made)| *made);
                    let first = std::iter::once(a).chain(others.map(|(setup, _)| setup));
                    History { place, ops: first.chain(steps).flatten().collect() }
                })
        })
    })
}

/// Sockets at both ends, and one that shares another's UMEM or has a queue of its own.
fn plans(place: Place) -> impl Strategy<Value = [Plan; SOCKETS]> {
    let shares = select(vec![None, None, Some(0)]);
    let queue = || 0..place.queues.0;
    let third = (select(vec![None, Some(0_usize), Some(1)]), 0..2_usize, queue(), 0..UMEMS);
    (0..2_usize, queue(), shares, queue(), any::<bool>(), third).prop_map(
        |(end, queue, shares, queue_1, beside, (shares_2, end_2, queue_2, umem_2))| {
            let first = Plan { end, queue, umem: 0, shares: None };
            let end_1 = if shares.is_some() && beside { end } else { 1 - end };
            let umem_1 = if shares.is_some() { 0 } else { 1 };
            let second = Plan { end: end_1, queue: queue_1, umem: umem_1, shares };
            let plans = [first, second];
            // A queue that somebody has is only to be shared.
            let taken = plans.iter().position(|plan| (plan.end, plan.queue) == (end_2, queue_2));
            let shares_2 = shares_2.or(taken);
            let umem = shares_2.map_or(umem_2, |of| plans[of].umem);
            [first, second, Plan { end: end_2, queue: queue_2, umem, shares: shares_2 }]
        },
    )
}

type Ops = Vec<Op>;

fn steps(world: World) -> impl Strategy<Value = Vec<Ops>> {
    let set = move || slot().prop_flat_map(move |s| setup(world, s));
    let step = prop_oneof![
        24 => (slot().prop_map(|s| Op::Close { s }), set()).prop_map(|(close, setup)| [vec![close], setup].concat()),
        6 => set().prop_shuffle(),
        3 => slot().prop_map(|s| vec![Op::Close { s }]),
        2 => slot().prop_map(|s| vec![Op::CloseMapped { s }]),
        1 => Just(vec![Op::Unmap]),
        20 => metadata(world),
        100 => receiving(world),
        100 => sending(world),
        560 => traffic(world).prop_map(|op| vec![op]),
        20 => corruption().prop_map(|op| vec![op]),
        140 => odd_call().prop_map(|op| vec![op]),
        20 => set_afresh(world),
        12 => (0..2_usize, select(vec![68_u32, 500, 1500, 1514, 3506, 3507, 9000, 65535, 65536, 73138, 73139, 67]))
            .prop_map(|(end, mtu)| vec![Op::Mtu { end, mtu }]),
        10 => flap(),
        6 => (0..2_usize, 0..4_u32, 0..4_u32).prop_map(|(end, rx, tx)| vec![Op::Queues { end, rx, tx }]),
        3 => gone(world),
    ];
    vec(step, 1..50)
}

/// A new socket, on which an odd registration is tried first.
fn set_afresh(world: World) -> impl Strategy<Value = Ops> {
    odd_register().prop_flat_map(move |register| {
        let s = if let Op::Register { s, .. } = register { s } else { 0 };
        setup(world, s).prop_map(move |setup| [vec![Op::Close { s }, register.clone()], setup].concat())
    })
}

/// A device goes away, and with it its sockets.
fn gone(world: World) -> impl Strategy<Value = Ops> {
    let last = (0..2_usize, any::<u8>()).prop_map(move |(s, what)| {
        let Plan { end, queue, .. } = world.plans[s];
        match what % 8 {
            0 => Op::Wake { s },
            1 => Op::Kick { s },
            2 => Op::PollMany { sockets: vec![0, 1, 2], events: 5 },
            3 => Op::Ring { s, ring: RINGS[usize::from(what / 8) % 4], entries: 4, take: 4 },
            4 => Op::GetOption { s, level: SOL_SOCKET, name: SO_ERROR, len: 4 },
            5 => Op::MapUpdate { s, end, key: queue },
            _ => Op::Map {
                s,
                offset: if what < 128 { XDP_PGOFF_RX_RING } else { XDP_PGOFF_TX_RING },
                len: 4096,
            },
        }
    });
    (0..2_usize, any::<bool>(), vec(last, 1..6)).prop_map(|(end, moved, last)| {
        let go = if moved { Op::MoveAway { end } } else { Op::Remove { end } };
        std::iter::once(go).chain(last).collect()
    })
}

/// A link goes down, mostly for a while only.
fn flap() -> impl Strategy<Value = Ops> {
    (0..2_usize, slot(), any::<u8>()).prop_map(|(end, s, what)| {
        let meanwhile = match what % 4 {
            0 => Op::Kick { s },
            1 => Op::Wake { s },
            2 => Op::Poll { s, events: 5 },
            _ => Op::Inject { end, len: 60, count: 1 },
        };
        let mut ops = vec![Op::Link { end, up: false }, meanwhile];
        if what < 200 {
            ops.push(Op::Link { end, up: true });
        }
        ops
    })
}

pub(crate) fn slot() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0), 5 => Just(1), 2 => Just(SOCKETS - 1)]
}

pub(crate) fn entries() -> impl Strategy<Value = u32> {
    select(vec![1_u32, 2, 2, 4, 4, 8, 8, 16, 16, 32, 64, 128])
}

/// All four rings, or one less.
fn rings() -> impl Strategy<Value = Vec<(RingKind, u32)>> {
    let missing = prop_oneof![
        14 => Just(None),
        1 => select(RINGS.to_vec()).prop_map(Some),
        2 => Just(Some(RingKind::Tx)),
        1 => Just(Some(RingKind::Rx)),
    ];
    // A pass ends by its budget of 32 only where the TX and the completion ring are both larger.
    let large = weighted(0.4);
    ([entries(), entries(), entries(), entries()], large, missing).prop_map(|(sizes, large, missing)| {
        let [rx, tx, fill, completion] = sizes;
        let sizes = if large { [rx.max(16), 64, 64, 64] } else { [rx, tx, fill, completion] };
        RINGS.into_iter().zip(sizes).filter(|(ring, _)| Some(*ring) != missing).collect()
    })
}

fn umem() -> impl Strategy<Value = xdp_umem_reg> {
    let shapes = vec![(4096, 0), (4096, 0), (2048, 0), (3000, 1), (4096, 1)];
    let metadata = select(vec![0, 0, 0, 0, 0, 8, 16, 24, 24, 24, 24, 32]);
    (select(shapes), select(vec![0, 0, 0, 100, 1000, 1344]), metadata, any::<u8>()).prop_map(
        |((chunk_size, unaligned), headroom, metadata, csum)| xdp_umem_reg {
            addr: 0,
            len: MEMORY,
            chunk_size,
            headroom,
            flags: unaligned | if metadata > 0 { 4 } else { 0 } | if csum % 3 == 0 { 2 } else { 0 },
            tx_metadata_len: metadata,
        },
    )
}

/// A socket from nothing to its slot in the map, as it is planned.
fn setup(world: World, s: usize) -> impl Strategy<Value = Ops> {
    let Plan { end, queue, umem, shares } = world.plans[s];
    let flags = if world.place.sg {
        vec![XDP_COPY, XDP_COPY | XDP_USE_SG, XDP_COPY | XDP_USE_SG, XDP_USE_SG]
    } else {
        vec![0, XDP_COPY, XDP_COPY, XDP_COPY | XDP_USE_NEED_WAKEUP]
    };
    let family = AF_XDP as u16;
    // A queue id of which 16 bits count; a ring that a shared queue has already.
    let odd = (weighted(0.03), weighted(0.05));
    (rings(), select(flags), vec(good_entry(), 0..24), mishaps(world, s), odd).prop_map(
        move |(sizes, flags, fill, mishaps, (wide, too_many))| {
            let (bad_register, bad_bind) = mishaps;
            let mut ops: Ops = bad_register.into_iter().collect();
            let (flags, with) = match shares {
                Some(of) => (XDP_SHARED_UMEM, With::Socket(of)),
                None => {
                    let reg = world.umems[umem];
                    ops.push(Op::Register { s, umem, start: Start::Memory, reg, take: 32 });
                    (flags, With::Nobody)
                }
            };
            // On the queue of the one that it shares with it has no fill and completion ring of its own.
            let beside = shares.is_some_and(|of| {
                let other = world.plans[of];
                (other.end, other.queue) == (end, queue)
            });
            for (ring, entries) in sizes {
                if !beside
                    || (too_many && ring == RingKind::Fill)
                    || matches!(ring, RingKind::Rx | RingKind::Tx)
                {
                    ops.push(Op::Ring { s, ring, entries, take: 4 });
                }
            }
            ops.extend(bad_bind);
            let id = if wide { queue | 1 << 16 } else { queue };
            ops.push(Op::Bind { s, family, to: To::End(end), queue: id, flags, with });
            ops.push(Op::MapUpdate { s, end, key: queue });
            if !fill.is_empty() {
                ops.push(Op::Fill { s, entries: fill });
            }
            ops
        },
    )
}

/// Calls that are refused, on the way to a bound socket, which they do not hinder: mostly none.
fn mishaps(world: World, s: usize) -> impl Strategy<Value = (Option<Op>, Option<Op>)> {
    let Plan { end, queue, umem, .. } = world.plans[s];
    let reg = world.umems[umem];
    let register =
        move |start, len| Some(Op::Register { s, umem, start, reg: xdp_umem_reg { len, ..reg }, take: 32 });
    let sg = if world.place.sg { XDP_USE_SG } else { 0 };
    let bind =
        move |flags, with| Some(Op::Bind { s, family: AF_XDP as u16, to: To::End(end), queue, flags, with });
    let bad_register = prop_oneof![
        36 => Just(None),
        1 => Just(register(Start::Null, MEMORY)),
        1 => Just(register(Start::Memory, 2 * MEMORY)),
    ];
    let bad_bind = prop_oneof![
        24 => Just(None),
        1 => Just(bind(XDP_COPY | XDP_ZEROCOPY, With::Nobody)),
        1 => Just(bind(XDP_ZEROCOPY, With::Nobody)),
        1 => Just(bind(XDP_ZEROCOPY | sg, With::Nobody)),
        1 => Just(bind(XDP_SHARED_UMEM, With::Map)),
        1 => Just(bind(XDP_SHARED_UMEM, With::Socket(SOCKETS - 1))),
    ];
    (bad_register, bad_bind)
}

/// An address that a fill entry of any UMEM of `MEMORY` bytes may have.
fn good_entry() -> impl Strategy<Value = u64> {
    prop_oneof![4 => (0..MEMORY / 4096).prop_map(|chunk| chunk * 4096), 1 => 0..=MEMORY - 4096]
}

fn entry() -> impl Strategy<Value = u64> {
    let bad = vec![MEMORY - 4095, MEMORY - 2048, MEMORY, 1 << 63, u64::MAX, 7 << 48, 1 << 48 | MEMORY];
    prop_oneof![19 => good_entry(), 1 => select(bad)]
}

/// Any descriptor.
fn desc() -> impl Strategy<Value = xdp_desc> {
    let addr = prop_oneof![
        9 => (0..MEMORY / 4096, 0..600_u64).prop_map(|(chunk, offset)| chunk * 4096 + offset),
        2 => 0..=MEMORY,
        1 => (0..MEMORY, 0..5000_u64).prop_map(|(base, offset)| base | offset << 48),
        1 => select(vec![MEMORY, 1 << 63, u64::MAX, MEMORY - 60]),
    ];
    let len = prop_oneof![
        8 => 14..200_u32,
        2 => select(vec![1500_u32, 1514, 1518, 1519, 1600, 3000, 3840]),
        1 => select(vec![0_u32, 1, 13, 4095, 4096, 4097, u32::MAX]),
    ];
    let options = prop_oneof![20 => Just(0), 5 => Just(1), 1 => select(vec![2, 3, 4, 5, 1 << 31])];
    (addr, len, options).prop_map(|(addr, len, options)| xdp_desc { addr, len, options })
}

/// A descriptor that a UMEM allows.
fn good_desc(reg: xdp_umem_reg, len: impl Strategy<Value = u32>) -> impl Strategy<Value = xdp_desc> {
    let metadata = u64::from(reg.tx_metadata_len);
    let chunk = u64::from(reg.chunk_size);
    (0..MEMORY / 4096, 0..4096_u64, len).prop_map(move |(page, offset, len)| {
        let len = u64::from(len).min(chunk - metadata);
        // Chunks of other sizes than a page are unaligned, or two to a page.
        let offset = metadata + offset % (chunk - metadata - len + 1);
        xdp_desc { addr: page * 4096 + offset, len: len as u32, options: 0 }
    })
}

fn short() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 14..200_u32, 1 => select(vec![791_u32, 792, 793, 1500, 1514, 1518, 1519])]
}

/// Packets to send, of one descriptor or several.
fn sending(world: World) -> impl Strategy<Value = Ops> {
    slot().prop_flat_map(move |s| {
        let reg = world.umems[world.plans[s].umem];
        let singles = move || vec(good_desc(reg, short()), 1..12);
        let many = vec(good_desc(reg, short()), 30..60);
        let piece = if world.place.sg { 2000_u32 } else { 700 };
        let packet = (prop_oneof![6 => 2..5_usize, 1 => 5..17_usize, 1 => 17..21_usize], 1..piece)
            .prop_flat_map(move |(count, piece)| vec(good_desc(reg, 1..=piece), count));
        // One descriptor of it may be refused, and may be the last.
        let broken = (weighted(0.3), any::<usize>(), any::<bool>());
        let packet = (packet, broken).prop_map(|(mut descs, (is_broken, at, ends))| {
            let last = descs.len() - 1;
            descs[..last].iter_mut().for_each(|desc| desc.options = XDP_PKT_CONTD);
            if is_broken {
                let bad = &mut descs[at % (last + 1)];
                bad.len = 0;
                bad.options = if ends { 0 } else { XDP_PKT_CONTD };
            }
            descs
        });
        let packets = (packet, singles()).prop_map(|(packet, singles)| [packet, singles].concat());
        let descs = prop_oneof![3 => singles(), 1 => many, 3 => packets];
        let mend = (good_desc(reg, short()), any::<bool>()).prop_map(move |(desc, continues)| {
            let options = if continues { XDP_PKT_CONTD } else { 0 };
            // What a pass got stuck at is replaced.
            vec![
                Op::Rewrite { s, skip: 0, desc: xdp_desc { options, ..desc } },
                Op::Complete { s, max: 64 },
                Op::Kick { s },
            ]
        });
        let after = prop_oneof![
            5 => Just(Vec::new()),
            3 => Just(vec![Op::Complete { s, max: 64 }]),
            1 => Just(vec![Op::Poll { s, events: 4 }]),
            2 => mend,
        ];
        (descs, weighted(0.8), after)
            .prop_map(move |(descs, kick, after)| [vec![Op::Send { s, descs, kick }], after].concat())
    })
}

/// A packet with metadata before it. Times are not asked for: they differ.
fn metadata(world: World) -> impl Strategy<Value = Ops> {
    let with_room = (0..UMEMS).find(|umem| world.umems[*umem].tx_metadata_len >= 24);
    let planned = (0..SOCKETS).find(|s| Some(world.plans[*s].umem) == with_room);
    let flags = select(vec![0_u64, 2, 2, 2, 2, 4, 6, 8, 1 << 63]);
    let checksum =
        (prop_oneof![6 => 14..60_u16, 1 => any::<u16>()], prop_oneof![6 => 0..20_u16, 1 => any::<u16>()]);
    // Mostly long enough; else about as long as the checksum needs.
    let desc = (0..MEMORY / 4096, 80..200_u32, select(vec![2, 2, 2, 3]), any::<u8>());
    (slot(), 0..UMEMS, flags, checksum, desc).prop_map(
        move |(s, umem, flags, (start, offset), (chunk, len, options, tight))| {
            let end = u32::from(start) + u32::from(offset);
            let len = if tight < 80 && end < 1000 { end + u32::from(tight % 4) } else { len };
            let (s, umem) = (planned.unwrap_or(s), with_room.unwrap_or(umem));
            let request = xsk_tx_metadata_request {
                flags,
                csum_start: start,
                csum_offset: offset,
                ..Default::default()
            };
            let addr = chunk * 4096 + 256;
            let room = u64::from(world.umems[umem].tx_metadata_len).max(24);
            let write = Op::Write { umem, at: (addr - room) as usize, bytes: request.as_bytes().to_vec() };
            let first = Op::Send { s, descs: vec![xdp_desc { addr, len, options }], kick: true };
            if options & XDP_PKT_CONTD == 0 {
                return vec![write, first];
            }
            // On later descriptors of a packet it means nothing.
            let last = xdp_desc { addr: 512, len, options: XDP_TX_METADATA };
            vec![write, first, Op::Send { s, descs: vec![last], kick: true }]
        },
    )
}

/// Room to receive, and packets that come.
fn receiving(world: World) -> impl Strategy<Value = Ops> {
    let lens = lens(world.place);
    (slot(), vec(good_entry(), 0..16), lens, 1..8_usize, any::<bool>(), select(vec![0, 2, 64])).prop_flat_map(
        move |(s, entries, len, count, from_stack, max)| {
            let from = 1 - world.plans[s].end;
            // Where there are several transmit queues only AF_XDP says which.
            let sender = (0..SOCKETS).find(|t| world.plans[*t].end == from);
            let from_stack = sender.is_none() || (from_stack && world.place.queues.1 == 1);
            let t = sender.unwrap_or_default();
            let descs = vec(good_desc(world.umems[world.plans[t].umem], 14..1514_u32), count);
            descs.prop_map(move |descs| {
                let arrive = if from_stack {
                    Op::Inject { end: from, len, count }
                } else {
                    Op::Send { s: t, descs, kick: true }
                };
                let room = (!entries.is_empty()).then(|| Op::Fill { s, entries: entries.clone() });
                let after = (max > 0).then_some(Op::Receive { s, max });
                room.into_iter().chain([arrive]).chain(after).collect::<Ops>()
            })
        },
    )
}

/// Lengths of packets of the stack.
fn lens(place: Place) -> impl Strategy<Value = usize> {
    let longest = if place.sg { 9014 } else { 1514_usize };
    let long = if place.sg { 4 } else { 1 };
    prop_oneof![
        4 => 14..200_usize,
        2 => select(vec![791_usize, 792, 793, 1024, 1514, 1792, 3520, 3840, 3841, 7680, 9014]),
        long => 1000..longest,
    ]
    .prop_map(move |len| len.min(longest))
}

/// What bound sockets do.
fn traffic(world: World) -> impl Strategy<Value = Op> {
    let inject = if world.place.queues.1 > 1 { 1 } else { 10 };
    let key = move || prop_oneof![3 => 0..world.place.queues.0, 1 => 0..6_u32];
    prop_oneof![
        8 => (slot(), vec(entry(), 1..10)).prop_map(|(s, entries)| Op::Fill { s, entries }),
        8 => (slot(), vec(desc(), 1..6), any::<bool>()).prop_map(|(s, descs, kick)| Op::Send { s, descs, kick }),
        2 => (slot(), desc(), 10..40_usize)
            .prop_map(|(s, desc, n)| Op::Send { s, descs: vec![desc; n], kick: true }),
        5 => slot().prop_map(|s| Op::Kick { s }),
        1 => (slot(), 0..3_u32, desc()).prop_map(|(s, skip, desc)| Op::Rewrite { s, skip, desc }),
        2 => slot().prop_map(|s| Op::Wake { s }),
        3 => (slot(), select(vec![1, 4, 5, 0, 0x145])).prop_map(|(s, events)| Op::Poll { s, events }),
        2 => (polled(), select(vec![1, 4, 5, 0])).prop_map(|(sockets, events)| Op::PollMany { sockets, events }),
        inject => (0..2_usize, lens(world.place), 1..10_usize)
            .prop_map(|(end, len, count)| Op::Inject { end, len, count }),
        5 => (slot(), select(vec![1, 2, 64])).prop_map(|(s, max)| Op::Receive { s, max }),
        8 => (slot(), select(vec![1, 2, 64])).prop_map(|(s, max)| Op::Complete { s, max }),
        2 => (slot(), 0..2_usize, key()).prop_map(|(s, end, key)| Op::MapUpdate { s, end, key }),
        2 => (0..2_usize, key()).prop_map(|(end, key)| Op::MapDelete { end, key }),
    ]
}

fn polled() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![3 => subsequence(vec![0, 1, 2], 2..=3), 1 => vec(slot(), 0..4)]
}

/// Words of the rings that are not what they should be.
fn corruption() -> impl Strategy<Value = Op> {
    let word = select(vec![Word::Producer, Word::Consumer, Word::Flags]);
    let by = prop_oneof![
        6 => 1..20_u32,
        3 => (1..20_u32).prop_map(u32::wrapping_neg),
        1 => any::<u32>(),
    ];
    (slot(), select(RINGS.to_vec()), word, by).prop_map(|(s, ring, word, by)| Op::Corrupt {
        s,
        ring,
        word,
        by,
    })
}
