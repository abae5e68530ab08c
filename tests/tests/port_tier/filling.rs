//! How a port keeps its fill ring filled, and a driver awake that waits for frames.

use std::time::Duration;

use xsk::port::{BusyPoll, Mode, PortConfig, Verdict};
use xsk::{Batch, Packet, Pool, Port};
use xsk_core::errno::EAGAIN;
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use crate::kit::{check_frames, config, free_frames, pool, received, world};

/// A card whose driver has all frames of a port's fill ring, which is then empty: it asks to be woken up.
fn card(frames: u32, config: PortConfig) -> (SimKernel, SimDevice, Pool, Port) {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default().zero_copy(true)).unwrap();
    let pool = pool(&kernel, frames);
    let port = Port::open(&pool, "a", 0, config).unwrap();
    assert_eq!(port.mode(), Mode::ZeroCopy);
    (kernel, card, pool, port)
}

/// How many of so many packets that arrive one after the other the driver has a frame for.
fn arrive(card: &SimDevice, count: u8) -> u64 {
    let before = card.dropped().0;
    (0..count).for_each(|tag| card.inject(0, &[tag; 60]).unwrap());
    u64::from(count) - (card.dropped().0 - before)
}

fn rx_wakeups(port: &mut Port) -> u64 {
    port.stats().unwrap().rx_wakeups
}

/// Not only when it has found nothing: until then all that arrives would be lost.
#[test]
fn the_call_that_fills_the_ring_wakes_a_driver_that_ran_dry() {
    type Move = fn(&mut Port) -> usize;
    let moves: [(&str, Move); 5] = [
        ("recv", |port| port.recv(&mut Batch::new()).unwrap()),
        ("recv of a few", |port| port.recv(&mut Batch::with_capacity(8)).unwrap()),
        ("forward, to drop", |port| port.forward(|_| Verdict::Drop).unwrap().received),
        ("forward, to send", |port| port.forward(|_| Verdict::Send).unwrap().sent),
        ("for_each", |port| port.for_each(|_| ()).unwrap()),
    ];
    for (name, moves) in moves {
        let (kernel, card, pool, mut port) = card(128, config().rx_ring(32));
        assert_eq!(arrive(&card, 24), 16, "{name}: it has no more frames");
        assert!(moves(&mut port) >= 8, "{name}");
        assert_eq!(rx_wakeups(&mut port), 1, "{name}");
        assert_eq!(arrive(&card, 16), 16, "{name}: it sleeps");
        check_frames(&kernel, &pool);
    }
}

/// Also if the frames of the packets that it shows are all there are.
#[test]
fn what_was_shown_is_received_into_by_the_end_of_the_call() {
    type Move = fn(&mut Port) -> usize;
    let moves: [(&str, Move); 3] = [
        ("forward, to drop", |port| port.forward(|_| Verdict::Drop).unwrap().received),
        ("for_each", |port| port.for_each(|_| ()).unwrap()),
        ("for_each, with other data", |port| port.for_each(|packet| packet.truncate(1)).unwrap()),
    ];
    for (name, moves) in moves {
        let (kernel, card, pool, mut port) = card(16, config().fill_level(16));
        for round in 1..5 {
            assert_eq!(arrive(&card, 16), 16, "{name}");
            assert_eq!((moves(&mut port), rx_wakeups(&mut port)), (16, round), "{name}");
        }
        check_frames(&kernel, &pool);
    }
}

#[test]
fn so_do_the_calls_that_only_fill_it() {
    // All frames of the pool are on their way.
    let (kernel, card, pool, mut port) = card(16, config().fill_level(16));
    let mut batch = Batch::new();
    for round in 1..4 {
        assert_eq!(arrive(&card, 24), 16);
        assert_eq!(port.recv(&mut batch).unwrap(), 16);
        assert_eq!(arrive(&card, 1), 0, "there are no frames to give");
        assert_eq!(rx_wakeups(&mut port), round - 1, "and no reason to wake it up");
        port.recycle(&mut batch);
        assert_eq!(rx_wakeups(&mut port), round);
    }
    assert_eq!(arrive(&card, 16), 16);
    assert_eq!(port.recv(&mut batch).unwrap(), 16);
    // Dropped one by one: the next call has them.
    batch.clear();
    assert!(!port.wait(Some(Duration::ZERO)).unwrap());
    assert_eq!(arrive(&card, 16), 16);
    check_frames(&kernel, &pool);
}

/// Frames that were sent are given to it as well.
#[test]
fn what_comes_back_wakes_it_too() {
    let (kernel, card, pool, mut port) = card(32, config().fill_level(16).rx_ring(32));
    let mut batch = Batch::new();
    assert_eq!(arrive(&card, 16), 16);
    assert_eq!(port.recv(&mut batch).unwrap(), 16);
    assert_eq!(arrive(&card, 20), 16, "the other frames");
    assert_eq!(port.send(&mut batch).unwrap(), 16);
    kernel.run_until_idle(1000);
    assert_eq!(arrive(&card, 1), 0, "they are back, and nobody has looked");
    let mut four = Batch::with_capacity(4);
    assert_eq!(port.recv(&mut four).unwrap(), 4);
    assert_eq!(arrive(&card, 16), 16);
    check_frames(&kernel, &pool);
}

/// The wakeup failed, as it may, or the driver has not come to it. Calls that give it nothing do not ask again as long as there
/// are packets; one that finds nothing does.
#[test]
fn a_driver_that_was_given_nothing_is_not_woken_up() {
    type Move = fn(&mut Port) -> usize;
    let moves: [Move; 3] = [
        |port| port.recv(&mut Batch::with_capacity(4)).unwrap(),
        |port| port.forward(|_| Verdict::Drop).unwrap().received,
        |port| port.for_each(|_| ()).unwrap(),
    ];
    for moves in moves {
        let (kernel, card, pool, mut port) = card(128, config());
        let busy = kernel.fault(FaultRule::errno(Call::RecvFrom, EAGAIN));
        assert_eq!(arrive(&card, 16), 16);
        let mut batch = Batch::with_capacity(4);
        assert_eq!((port.recv(&mut batch).unwrap(), busy.hits()), (4, 1));
        assert_eq!(
            port.stats().unwrap().fill_waiting,
            16,
            "the ring is full, and the driver asks for frames"
        );
        assert!(moves(&mut port) >= 4);
        assert_eq!((busy.hits(), port.stats().unwrap().fill_waiting), (1, 16));
        while !received(&mut port).is_empty() {}
        assert_eq!(busy.hits(), 2, "nothing is there, and it still asks");
        drop(busy);
        received(&mut port);
        assert_eq!(arrive(&card, 16), 16);
        drop(pool);
    }
}

/// Without a free frame there is nothing to wake it up for.
#[test]
fn nor_is_one_for_which_there_is_no_frame() {
    let (_kernel, card, pool, mut port) = card(128, config());
    let held: Vec<Packet> = std::iter::from_fn(|| pool.packet()).collect();
    assert_eq!(arrive(&card, 20), 16);
    let mut four = Batch::with_capacity(4);
    assert_eq!(port.recv(&mut four).unwrap(), 4);
    assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 12);
    let stats = port.stats().unwrap();
    assert_eq!((stats.fill_waiting, stats.rx_wakeups), (0, 0));
    drop(held);
}

/// Four at a time, of 16: not for each packet a look at the ring and a barrier.
#[test]
fn frames_go_onto_the_ring_in_batches() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..10 {
        b.send(&[1; 60]).unwrap();
        assert_eq!(received(&mut port).len(), 1);
        waiting.push(port.stats().unwrap().fill_waiting);
    }
    assert_eq!(waiting, [15, 14, 13, 16, 15, 14, 13, 16, 15, 14]);
    let (mut rx, _tx) = port.split();
    waiting.clear();
    for _ in 0..8 {
        b.send(&[1; 60]).unwrap();
        assert_eq!(rx.recv(&mut Batch::new()).unwrap(), 1);
        waiting.push(rx.stats().unwrap().fill_waiting);
    }
    assert_eq!(waiting, [13, 16, 15, 14, 13, 16, 15, 14]);
}

#[test]
fn the_ring_is_kept_at_its_level() {
    let (kernel, _a, b) = world(1);
    for level in [1, 3, 8, 15, 16] {
        let pool = pool(&kernel, 64);
        let mut port = Port::open(&pool, "a", 0, config().fill_level(level)).unwrap();
        let step = (level / 4).max(1);
        for round in 0..40_u32 {
            let count = (1 + round % 5).min(level);
            (0..count).for_each(|_| b.send(&[1; 60]).unwrap());
            let moved = match round % 4 {
                0 => received(&mut port).len(),
                1 => port.forward(|_| Verdict::Drop).unwrap().received,
                2 => port.forward(|_| Verdict::Send).unwrap().sent,
                _ => port.for_each(|_| ()).unwrap(),
            };
            assert!(moved as u32 <= count);
            // What is back from being sent is taken now.
            assert!(!port.wait(Some(Duration::ZERO)).unwrap());
            let waiting = port.stats().unwrap().fill_waiting;
            assert!(
                (level + 1 - step..=level).contains(&waiting),
                "level {level}, {waiting} in round {round}"
            );
            while b.receive().is_some() {}
        }
        drop(port);
        assert_eq!(free_frames(&pool), 64);
    }
}

/// Half of the frames that are free, unless told otherwise, and at least one.
#[test]
fn how_many_frames_a_port_takes_at_opening() {
    let (kernel, ..) = world(4);
    let large = config().fill_ring(256);
    let pool = pool(&kernel, 64);
    let _first = Port::open(&pool, "a", 0, large).unwrap();
    assert_eq!(pool.with_kernel(), 32);
    let _second = Port::open(&pool, "a", 1, large).unwrap();
    assert_eq!(pool.with_kernel(), 48, "half of what the first has left");
    // No more than the ring has room for, or than there are.
    let _third = Port::open(&pool, "a", 2, config().fill_ring(4)).unwrap();
    assert_eq!(pool.with_kernel(), 52);
    let mut fourth = Port::open(&pool, "a", 3, config().fill_level(0)).unwrap();
    assert_eq!((pool.with_kernel(), fourth.stats().unwrap().fill_waiting), (53, 1), "it receives");

    // Half of them in all, if several ports are opened at once.
    let other = self::pool(&kernel, 64);
    let ports = Port::open_all(&other, "b", large).unwrap();
    assert_eq!(ports.len(), 4);
    let taken = other.with_kernel();
    assert!((24..=32).contains(&taken), "{taken}");
}

/// A packet of several segments was found as well: no system call to look for another.
#[test]
fn large_packets_are_found_too() {
    let kernel = SimKernel::new(1);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default().mtu(9000)).unwrap();
    let pool = pool(&kernel, 64);
    let config = config().multi_buffer(true).policy(BusyPoll::default());
    let mut port = Port::open(&pool, "a", 0, config).unwrap();
    b.send(&[1; 9014]).unwrap();
    assert_eq!(received(&mut port).len(), 1);
    assert_eq!(rx_wakeups(&mut port), 0);
    assert_eq!(received(&mut port).len(), 0);
    assert_eq!(rx_wakeups(&mut port), 1);
}
