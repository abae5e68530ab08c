//! A.1: one descriptor, one kick.

use xsk_core::abi::xdp_desc;
use xsk_core::errno::{EBUSY, EINVAL};

use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, World};

rules! {
    a1_one_descriptor_one_kick;
    a1_refused_metadata.breaks_the_law();
}

/// What a kick comes to.
struct Outcome {
    errno: i32,
    consumer: u32,
    completed: &'static [u64],
    invalid: u64,
    empty: u64,
    received: Option<usize>,
}

fn desc(addr: u64, len: u32, options: u32) -> xdp_desc {
    xdp_desc { addr, len, options }
}

fn one(world: &dyn World, desc: Option<xdp_desc>, expected: &Outcome) {
    let socket = RawSocket::open(world, &Setup::default());
    if let Some(xdp_desc { addr, len, .. }) = desc
        && addr < 64 * 4096
    {
        let len = (len as u64).min(64 * 4096 - addr) as usize;
        socket.write(addr, &frame(len, 1));
    }
    socket.tx().push(desc);
    assert_eq!(socket.kick(), expected.errno, "{desc:?}");
    assert_eq!(socket.tx().consumer(), expected.consumer, "consumer after {desc:?}");
    assert_eq!(socket.completion().pop_all::<u64>(), expected.completed, "completions of {desc:?}");
    let statistics = socket.statistics();
    assert_eq!(statistics.tx_invalid_descs, expected.invalid, "invalid after {desc:?}");
    assert_eq!(statistics.tx_ring_empty_descs, expected.empty, "empty after {desc:?}");
    let received = world.receive(End::B);
    assert_eq!(received, expected.received.map(|len| frame(len, 1)), "{desc:?}");
}

fn sent(completed: &'static [u64], len: usize) -> Outcome {
    Outcome { errno: 0, consumer: 1, completed, invalid: 0, empty: 1, received: Some(len) }
}

fn dropped() -> Outcome {
    Outcome { errno: EBUSY, consumer: 1, completed: &[0], invalid: 0, empty: 0, received: None }
}

fn invalid(completed: &'static [u64]) -> Outcome {
    Outcome { errno: 0, consumer: 1, completed, invalid: 1, empty: 0, received: None }
}

fn a1_one_descriptor_one_kick(world: &dyn World) {
    let nothing = Outcome { errno: 0, consumer: 0, completed: &[], invalid: 0, empty: 1, received: None };
    one(world, None, &nothing);
    let rows = [
        (desc(0, 60, 0), sent(&[0], 60)),
        (desc(0, 14, 0), sent(&[0], 14)),
        (desc(0, 13, 0), dropped()),
        (desc(0, 1518, 0), sent(&[0], 1518)),
        (desc(0, 1519, 0), dropped()),
        (desc(0, 0, 0), invalid(&[0])),
        (desc(4096, 4097, 0), invalid(&[0x1000])),
        (desc(4196, 4000, 0), invalid(&[0x1064])),
        (desc(0x40000, 60, 0), invalid(&[0x40000])),
        (desc(0x3ffc4, 60, 0), sent(&[0x3ffc4], 60)),
        (desc(0x3ffc5, 60, 0), invalid(&[0x3ffc5])),
        (desc(1 << 63, 60, 0), invalid(&[1 << 63])),
        (desc(0, 60, 4), invalid(&[0])),
        (desc(0, 60, 1 << 31), invalid(&[0])),
        (desc(0, 60, 1), Outcome { completed: &[], received: None, ..sent(&[], 0) }),
        (desc(257, 60, 0), sent(&[0x100], 60)),
    ];
    for (desc, expected) in rows {
        one(world, Some(desc), &expected);
    }
}

/// Linux completes what it has not taken: the frame is in two places.
fn a1_refused_metadata(world: &dyn World) {
    let refused = Outcome { errno: EINVAL, consumer: 0, empty: 0, received: None, ..sent(&[0], 0) };
    one(world, Some(desc(0, 60, 2)), &refused);
}
