//! Counters.

use crate::cases::{PACKETS, packets};
use crate::socket::{Pair, Setup};
use crate::traffic::{Item, Part, Receiver, SHORT, Sender, UnderWay, act, expected, run};
use xsk_tests::world::{Program, World};

/// Every other packet is longer than a frame.
pub fn rx_dropped(world: &dyn World) {
    // As much as there may be.
    let receiver = Setup { headroom: 4096 - 256 - 128 - 320, ..Setup::default() };
    let mut pair = Pair::with(world, &Setup::default(), &receiver, Program::Redirect);
    let room = pair.b.umem.room();
    assert_eq!(room, 448);
    let item = |number: u32| match number % 2 {
        0 => Item::new(number, SHORT),
        _ => Item::new(number, 192 + 320).lost(),
    };
    let items: Vec<Item> = (0..PACKETS).map(item).collect();
    run(world, &mut pair.a, &mut pair.b, &items);
    let statistics = pair.b.statistics();
    assert_eq!(statistics.rx_dropped, u64::from(PACKETS / 2));
    assert_eq!((statistics.rx_ring_full, statistics.rx_fill_ring_empty_descs), (0, 0));
}

/// Every other descriptor is too long.
pub fn tx_invalid(world: &dyn World) {
    let mut pair = Pair::open(world, &Setup::default());
    let item = |number: u32| match number % 2 {
        0 => Item::new(number, SHORT),
        _ => Item::of(number, vec![Part::new(9001).bad()]),
    };
    let items: Vec<Item> = (0..PACKETS).map(item).collect();
    run(world, &mut pair.a, &mut pair.b, &items);
    assert_eq!(pair.a.statistics().tx_invalid_descs, u64::from(PACKETS / 2));
}

/// More packets than the RX ring holds, which nobody takes before the end.
pub fn rx_full(world: &dyn World) {
    const HOLDS: u32 = 1024;
    const SENT: u32 = 1536;
    let receiver = Setup { frames: 2048, rx_ring: HOLDS, ..Setup::default() };
    let mut pair = Pair::with(world, &Setup::default(), &receiver, Program::Redirect);
    let mut items = packets(SENT, SHORT);
    // Nobody receives them, so nobody counts what is under way.
    items.iter_mut().for_each(|item| item.frames = 0);
    let under_way = UnderWay::default();
    act(world, &mut [&mut Sender::new(world, vec![&mut pair.a], &items, &under_way)]);
    world.settle();
    let statistics = pair.b.statistics();
    assert_eq!(statistics.rx_ring_full, u64::from(SENT - HOLDS));
    assert_eq!(statistics.rx_dropped, 0);
    // A zero-copy driver looks for buffers beforehand, as often as it likes.
    assert!(world.zero_copy() || statistics.rx_fill_ring_empty_descs == 0);
    // The first ones are there.
    let expected = expected(&packets(HOLDS, SHORT));
    let mut receiver = Receiver::new(vec![&mut pair.b], &expected, &UnderWay::default());
    receiver.counts = false;
    act(world, &mut [&mut receiver]);
    receiver.finish(world);
}

/// More packets than frames, which nobody gives back.
pub fn fill_empty(world: &dyn World) {
    const FRAMES: u32 = 1024;
    const SENT: u32 = 1536;
    let mut pair = Pair::open(world, &Setup::default());
    let mut items = packets(SENT, SHORT);
    items[FRAMES as usize..].iter_mut().for_each(|item| item.frames = 0);
    let under_way = UnderWay::default();
    let mut sender = Sender::new(world, vec![&mut pair.a], &items, &under_way);
    let mut receiver = Receiver::new(vec![&mut pair.b], &expected(&items), &under_way);
    receiver.refills = false;
    act(world, &mut [&mut sender, &mut receiver]);
    receiver.finish(world);
    let statistics = pair.b.statistics();
    if world.zero_copy() {
        // What finds no buffer does not reach the socket.
        assert!(statistics.rx_fill_ring_empty_descs > 0);
        assert_eq!((statistics.rx_dropped, statistics.rx_ring_full), (0, 0));
        return;
    }
    assert_eq!(statistics.rx_fill_ring_empty_descs, u64::from(SENT - FRAMES));
    assert_eq!((statistics.rx_dropped, statistics.rx_ring_full), (u64::from(SENT - FRAMES), 0));
}
