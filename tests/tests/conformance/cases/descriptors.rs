//! Descriptors that the kernel refuses, among others.

use crate::socket::{Pair, Setup};
use crate::traffic::{Item, Part, SHORT, run};
use xsk_tests::world::World;

/// Ten descriptors. Those that are refused come back like the others, and are counted.
fn invalid(world: &dyn World, setup: &Setup, across_4k: bool, across_2k: bool) {
    const LONG: u32 = 9001;
    let mut pair = Pair::open(world, setup);
    let (size, half) = (pair.a.umem.size(), u64::from(SHORT / 2));
    let short = |valid, address| {
        let part = Part::new(SHORT).at(address);
        if valid { part } else { part.bad() }
    };
    let parts = [
        short(true, 0),
        short(false, 0_u64.wrapping_sub(2)),
        Part::new(LONG).at(0x1000).bad(),
        short(true, size - 4 * u64::from(SHORT)),
        short(false, size),
        short(false, size - half),
        short(across_4k, 0x1000 - half),
        short(across_2k, 0x800 - half),
        short(true, 0x2000),
        short(true, 0x3000),
    ];
    let bad = parts.iter().filter(|part| !part.valid).count() as u64;
    let item = |(number, part)| Item::of(number, vec![part]);
    let items: Vec<Item> = (0..).zip(parts).map(item).collect();
    run(world, &mut pair.a, &mut pair.b, &items);
    assert_eq!(pair.a.statistics().tx_invalid_descs, bad);
    // Nothing is broken.
    let after: Vec<Item> = (10..20).map(|number| Item::new(number, SHORT)).collect();
    run(world, &mut pair.a, &mut pair.b, &after);
    assert_eq!(pair.a.statistics().tx_invalid_descs, bad);
}

pub fn aligned(world: &dyn World) {
    invalid(world, &Setup::default(), false, true);
}

pub fn aligned_small_frames(world: &dyn World) {
    invalid(world, &Setup { frame_size: 2048, ..Setup::default() }, false, false);
}

pub fn unaligned(world: &dyn World) {
    let setup = Setup { unaligned: true, huge_pages: true, ..Setup::default() };
    invalid(world, &setup, true, true);
}

pub fn unaligned_odd_frames(world: &dyn World) {
    let setup = Setup { frame_size: 4001, unaligned: true, huge_pages: true, ..Setup::default() };
    invalid(world, &setup, true, true);
}
