//! Random histories, and all short ones.

use proptest::prelude::*;
use xsk::config::XdpFlags;
use xsk_core::errno::*;
use xsk_sim::fault::Call;

use crate::model::{Kind, QUEUES, UMEMS, Wish};
use crate::real::{Fails, Op, World};
use crate::regressions;

/// Calls of opening, and errnos that none of them survives or that are tried again.
const OPENING: [(Call, i32); 15] = [
    (Call::Socket, EMFILE),
    (Call::Socket, EPERM),
    (Call::SetSockOpt, ENOMEM),
    (Call::SetSockOpt, EINVAL),
    (Call::GetSockOpt, EINVAL),
    (Call::MmapRing, ENOMEM),
    (Call::Bind, ENOMEM),
    (Call::Bind, EBUSY),
    (Call::Interface, ENODEV),
    (Call::Namespace, EMFILE),
    (Call::XskMapCreate, EPERM),
    (Call::XskMapUpdate, ENOMEM),
    (Call::ProgramLoad, EPERM),
    (Call::LinkCreate, EEXIST),
    (Call::MmapMemory, ENOMEM),
];

const CLOSING: [(Call, i32); 3] =
    [(Call::XskMapUpdate, ENOMEM), (Call::XskMapDelete, EPERM), (Call::RecvFrom, EAGAIN)];

fn fails(of: &'static [(Call, i32)]) -> impl Strategy<Value = Option<Fails>> {
    let some = (prop::sample::select(of), 1..6_u64);
    prop_oneof![
        2 => Just(None),
        1 => some.prop_map(|((call, errno), nth)| Some(Fails { call, errno, nth })),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let kind = prop_oneof![4 => Just(Kind::Both), 1 => Just(Kind::Receives), 1 => Just(Kind::Sends)];
    let (skb, native) = (XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE);
    let mode = prop_oneof![4 => Just(XdpFlags::empty()), 1 => Just(skb), 1 => Just(native)];
    (0..UMEMS, 0..QUEUES, kind, mode, prop::bool::weighted(0.9))
        .prop_map(|(umem, queue, kind, mode, program)| Wish { umem, queue, kind, mode, program })
}

fn op() -> impl Strategy<Value = Op> {
    let any = 0..16_usize;
    prop_oneof![
        2 => (0..UMEMS, fails(&OPENING)).prop_map(|(umem, fails)| Op::Umem { umem, fails }),
        1 => (0..UMEMS).prop_map(|umem| Op::CloneUmem { umem }),
        1 => (0..UMEMS).prop_map(|umem| Op::DropUmem { umem }),
        6 => (wish(), fails(&OPENING)).prop_map(|(wish, fails)| Op::Open { wish, fails }),
        4 => (any.clone(), fails(&CLOSING)).prop_map(|(part, fails)| Op::DropPart { part, fails }),
        2 => any.clone().prop_map(|socket| Op::DropSocket { socket }),
        1 => any.clone().prop_map(|part| Op::Travel { part }),
        4 => any.clone().prop_map(|part| Op::Fill { part }),
        4 => (0..QUEUES).prop_map(|from| Op::Arrive { from }),
        3 => any.clone().prop_map(|part| Op::Receive { part }),
        3 => any.clone().prop_map(|part| Op::Send { part }),
        3 => any.prop_map(|part| Op::Complete { part }),
    ]
}

fn play(seed: u64, ops: impl IntoIterator<Item = Op>) {
    let mut world = World::new(seed);
    ops.into_iter().for_each(|op| world.play(op));
    world.end();
}

proptest! {
    #![proptest_config(regressions::config("life_cycles"))]

    #[test]
    fn the_model_agrees(seed in any::<u64>(), ops in prop::collection::vec(op(), 1..60)) {
        // Most histories would begin so.
        let start = (0..UMEMS).map(|umem| Op::Umem { umem, fails: None });
        play(seed, start.chain(ops));
    }
}

/// Every history of six operations, after `start`.
fn all_short_histories(start: &[Op], alphabet: [Op; 6]) {
    const LENGTH: u32 = 6;
    for number in 0..alphabet.len().pow(LENGTH) {
        let digit = |place| number / alphabet.len().pow(place) % alphabet.len();
        play(1, start.iter().copied().chain((0..LENGTH).map(|place| alphabet[digit(place)])));
    }
}

fn opens(umem: usize, queue: u32) -> Op {
    let wish = Wish { umem, queue, kind: Kind::Both, mode: XdpFlags::empty(), program: true };
    Op::Open { wish, fails: None }
}

const UMEM: [Op; 2] = [Op::Umem { umem: 0, fails: None }, Op::Umem { umem: 1, fails: None }];

#[test]
fn all_short_lives() {
    let (whole, part) = (Op::DropSocket { socket: 0 }, Op::DropPart { part: 2, fails: None });
    all_short_histories(
        &UMEM,
        [opens(0, 0), opens(1, 0), opens(0, 1), whole, part, Op::DropUmem { umem: 0 }],
    );
}

#[test]
fn all_short_uses() {
    let uses = [
        Op::Fill { part: 0 },
        Op::Arrive { from: 0 },
        Op::Receive { part: 0 },
        Op::Send { part: 0 },
        Op::Complete { part: 0 },
        // Of two that share the queue, the first that is there.
        Op::DropSocket { socket: 0 },
    ];
    all_short_histories(&[UMEM[0], opens(0, 0), opens(0, 0)], uses);
}
