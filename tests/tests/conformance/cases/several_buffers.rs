//! Packets of several buffers, and how many descriptors the kernel takes at once.

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

use crate::cases::PACKETS;
use crate::socket::{Pair, Setup};
use crate::traffic::{Item, Part, SHORT, run};
use xsk_tests::world::World;

const JUMBO: u32 = 9000;

fn jumbo_packets(world: &dyn World, setup: &Setup) {
    let mut pair = Pair::open(world, setup);
    let room = pair.b.umem.room();
    let items: Vec<Item> = (0..PACKETS).map(|number| Item::split(number, JUMBO, room)).collect();
    run(world, &mut pair.a, &mut pair.b, &items);
}

pub fn jumbo(world: &dyn World) {
    jumbo_packets(world, &Setup { several_buffers: true, ..Setup::default() });
}

pub fn jumbo_unaligned(world: &dyn World) {
    let setup = Setup { several_buffers: true, unaligned: true, huge_pages: true, ..Setup::default() };
    jumbo_packets(world, &setup);
}

/// Packets with one bad part each, between good ones. The whole packet is refused, and every part comes back.
fn invalid(world: &dyn World, setup: &Setup) {
    const UNKNOWN_OPTIONS: u32 = 0xffff;
    let mut pair = Pair::open(world, setup);
    let room = pair.b.umem.room();
    let more = || Part::new(room).more();
    let end = || Part::new(SHORT);
    // At addresses that no frame to send from has (see `Umem::slot`).
    let across = |part: Part, page: u64| {
        let part = part.at(page - 32);
        if setup.unaligned { part } else { part.bad() }
    };
    let outside = pair.a.umem.size();
    let packets = [
        vec![more(), more(), end()],
        vec![more(), Part::new(0).more().bad(), end()],
        vec![end()],
        vec![Part::new(SHORT).at(outside).more().bad(), more(), end()],
        vec![more(), end()],
        vec![more(), Part::new(SHORT).at(0_u64.wrapping_sub(2)).bad()],
        vec![end()],
        vec![more(), Part::new(9001).more().bad(), more(), end()],
        vec![more(), end()],
        vec![more(), Part::new(SHORT).options(UNKNOWN_OPTIONS).bad(), end()],
        vec![more(), Part::new(SHORT).options(UNKNOWN_OPTIONS & !XDP_PKT_CONTD).bad()],
        vec![end()],
        vec![more(), across(Part::new(SHORT), 0x1000)],
        vec![across(Part::new(SHORT).more(), 0x2000), end()],
        vec![Part::new(0).bad()],
        vec![more(), more(), end()],
    ];
    let bad = packets.iter().filter(|parts| parts.iter().any(|part| !part.valid));
    // Zero copy does not count the good parts of a bad packet.
    let counts = |part: &&Part| !(world.zero_copy() && part.valid);
    let bad: usize = bad.map(|parts| parts.iter().filter(counts).count()).sum();
    let mut items: Vec<Item> = (0..).zip(packets).map(|(number, parts)| Item::of(number, parts)).collect();
    // What arrives is cut into frames anew.
    for item in items.iter_mut().filter(|item| item.frames > 0) {
        item.frames = item.parts.iter().map(|part| part.len).sum::<u32>().div_ceil(room);
    }
    run(world, &mut pair.a, &mut pair.b, &items);
    assert_eq!(pair.a.statistics().tx_invalid_descs, bad as u64);
}

pub fn aligned_invalid(world: &dyn World) {
    invalid(world, &Setup { several_buffers: true, ..Setup::default() });
}

pub fn unaligned_invalid(world: &dyn World) {
    let setup = Setup { several_buffers: true, unaligned: true, huge_pages: true, ..Setup::default() };
    invalid(world, &setup);
}

/// `MAX_SKB_FRAGS` and one for the head.
pub fn too_many_frags(world: &dyn World) {
    const MOST: usize = 18;
    let mut pair = Pair::open(world, &Setup { several_buffers: true, ..Setup::default() });
    let parts = |count: usize| {
        let mut parts = vec![Part::new(100).more(); count];
        parts[count - 1].options = 0;
        parts
    };
    let mut items = vec![
        Item::of(0, vec![Part::new(SHORT)]),
        Item::of(1, parts(MOST)),
        Item::of(2, parts(MOST + 1)).lost(),
        Item::of(3, vec![Part::new(SHORT)]),
    ];
    items[1].frames = 1;
    run(world, &mut pair.a, &mut pair.b, &items);
    assert_eq!(pair.a.statistics().tx_invalid_descs, MOST as u64 + 1);
}

/// One call takes exactly as many descriptors as its budget.
pub fn tx_consumer(world: &dyn World) {
    const BUDGET: u32 = 32;
    let mut pair = Pair::open(world, &Setup::default());
    let desc = |n: u32| xdp_desc { addr: pair.a.umem.slot(n.into()), len: SHORT, options: 0 };
    let descs: Vec<_> = (0..BUDGET + 1).map(desc).collect();
    pair.a.put(&descs);
    assert!(pair.a.kick(), "EAGAIN");
    assert_eq!(pair.a.unsent(), 1);
    assert!(!pair.a.kick());
    assert_eq!(pair.a.unsent(), 0);
    // A whole budget leaves nothing.
    pair.a.put(&descs[..BUDGET as usize]);
    assert!(!pair.a.kick());
    assert_eq!(pair.a.unsent(), 0);
}
