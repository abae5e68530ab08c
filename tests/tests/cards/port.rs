//! The port tier on two cards.

use std::time::{Duration, Instant};

use xsk::port::{Mode, Verdict};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_tests::raw::frame;
use xsk_tests::world::{Arm, CardsWorld, End, Shape, World};

use crate::kit::driver;

const FRAMES: u32 = 2048;
const PATIENCE: Duration = Duration::from_secs(5);

fn with_cards(body: impl FnOnce(&dyn World) + Send) {
    CardsWorld::run(&Shape::new(), |world| body(world));
}

fn name(world: &dyn World, end: End) -> String {
    world.name(end).into_string().expect("a name")
}

fn pool() -> Pool {
    Pool::new(PoolConfig::default().frames(FRAMES)).expect("a pool")
}

fn open(world: &dyn World, pool: &Pool, end: End) -> Port {
    let config = PortConfig::default().mode(Mode::ZeroCopy);
    let port = Port::open(pool, &name(world, end), 0, config).expect("a port");
    world.ready();
    port
}

/// How many packets the pool has frames for.
fn free_frames(pool: &Pool) -> usize {
    std::iter::from_fn(|| pool.packet()).collect::<Vec<_>>().len()
}

/// All frames are free, but for those of a port that was closed last.
fn assert_nothing_is_lost(world: &dyn World, pool: &Pool, end: End) {
    drop(open(world, pool, end));
    let left = pool.quarantined();
    assert_eq!(pool.with_kernel() as usize, left as usize);
    assert_eq!(free_frames(pool) + left as usize, FRAMES as usize);
}

/// Leaves so many packets at most.
fn shorten(batch: &mut Batch, count: usize) {
    while batch.len() > count {
        let _ = batch.pop();
    }
}

/// Until it is so.
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
    }
}

/// A numbered packet.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = frame(len, number as u8);
    bytes[16..20].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[test]
#[ignore = "run by ci/zero-copy, where there are cards"]
fn the_mode_is_reported() {
    with_cards(|world| {
        for (asked, got) in
            [(None, Mode::ZeroCopy), (Some(Mode::ZeroCopy), Mode::ZeroCopy), (Some(Mode::Copy), Mode::Copy)]
        {
            let config = asked.map_or_else(PortConfig::default, |mode| PortConfig::default().mode(mode));
            let pool = pool();
            let port = Port::open(&pool, &name(world, End::B), 0, config).expect("a port");
            assert_eq!(port.mode(), got);
            assert_eq!(port.fd().is_zero_copy().expect("options"), got == Mode::ZeroCopy);
        }
        world.ready();
    });
}

/// A's stack sends, B's port sends back.
#[test]
#[ignore = "run by ci/zero-copy, where there are cards"]
fn packets_are_sent_back() {
    with_cards(|world| {
        let pool = pool();
        let mut port = open(world, &pool, End::B);
        for number in 0..200 {
            let sent = numbered(number, 60 + number as usize * 7);
            world.send(End::A, &sent);
            eventually("receiving", || {
                let done = port.forward(|packet| {
                    assert_eq!(packet[..], sent[..]);
                    packet[20] ^= 0xff;
                    Verdict::Send
                });
                done.expect("a burst").sent == 1
            });
            let mut expected = sent.clone();
            expected[20] ^= 0xff;
            let _ = port.flush();
            assert_eq!(world.receive(End::A), Some(expected), "packet {number}");
        }
        drop(port);
        assert_nothing_is_lost(world, &pool, End::B);
    });
}

/// Both ends zero copy: what one sends in bursts the other receives, all of it and in order.
#[test]
#[ignore = "run by ci/zero-copy, where there are cards"]
fn a_flood_arrives_whole_and_in_order() {
    const PACKETS: u32 = 20_000;
    with_cards(|world| {
        // So few that the receiver has buffers for all: QEMU's igb drops what finds none, its virtio-net waits.
        let most = if driver(world) == "virtio_net" { 256 } else { 32 };
        let (at_a, at_b) = (pool(), pool());
        let (mut from, mut to) = (open(world, &at_a, End::A), open(world, &at_b, End::B));
        let (mut batch, mut sent, mut got) = (Batch::new(), 0_u32, 0_u32);
        let mut last = Instant::now();
        while got < PACKETS {
            assert!(
                last.elapsed() < PATIENCE,
                "{sent} were sent, {got} arrived\n{:?}\n{:?}",
                from.stats(),
                to.stats()
            );
            if sent < PACKETS && sent - got < most {
                from.packets(&mut batch);
                shorten(&mut batch, (PACKETS - sent).min(most) as usize);
                for (packet, number) in batch.iter_mut().zip(sent..) {
                    packet.extend_from_slice(&numbered(number, 60)).expect("room");
                }
                sent += from.send(&mut batch).expect("a burst") as u32;
                from.recycle(&mut batch);
            }
            let _ = from.flush().expect("a flush");
            let _ = to.for_each(|packet| {
                assert_eq!(packet[..], numbered(got, 60)[..], "packet {got}");
                got += 1;
                last = Instant::now();
            });
        }
        drop((from, to));
        assert_nothing_is_lost(world, &at_a, End::A);
        assert_nothing_is_lost(world, &at_b, End::B);
    });
}

/// What the driver had stays away until another socket has the queue.
#[test]
#[ignore = "run by ci/zero-copy, where there are cards"]
fn frames_in_flight_at_close_wait_for_the_release() {
    with_cards(|world| {
        let pool = pool();
        let mut port = open(world, &pool, End::B);
        let mut batch = Batch::new();
        port.packets(&mut batch);
        let count = batch.len();
        for (packet, number) in batch.iter_mut().zip(0..) {
            packet.extend_from_slice(&numbered(number, 60)).expect("room");
        }
        assert_eq!(port.send(&mut batch).expect("a burst"), count);
        drop(port);
        let quarantined = pool.quarantined();
        assert!(quarantined > 0, "the driver has buffers to receive into");
        assert_eq!(pool.with_kernel(), quarantined);
        assert_eq!(free_frames(&pool) + quarantined as usize, FRAMES as usize);
        // None of them is written to meanwhile: all that is free is ours.
        let mut ours: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
        ours.iter_mut().for_each(|packet| packet.extend_from_slice(&[0xa5; 60]).expect("room"));
        for tag in 0..20 {
            world.send(End::A, &frame(60, tag));
        }
        assert!(ours.iter().all(|packet| packet[..] == [0xa5; 60]), "a frame of ours was written to");
        drop(ours);
        // What was sent came out as it was, in order.
        let mut next = 0;
        while let Some(bytes) = world.receive(End::A) {
            assert_eq!(bytes, numbered(next, 60));
            next += 1;
        }
        let again = open(world, &pool, End::B);
        assert_eq!(pool.quarantined(), 0, "the bind shows that the queue was released");
        drop(again);
        assert_nothing_is_lost(world, &pool, End::B);
    });
}

/// `XSK_TEST_CYCLES`, by default few where each open resets the link.
#[test]
#[ignore = "run by ci/zero-copy, where there are cards"]
fn no_frame_is_lost_over_many_ports() {
    with_cards(|world| {
        let few = if driver(world) == "virtio_net" { 100 } else { 5 };
        let cycles = std::env::var("XSK_TEST_CYCLES").map_or(few, |count| count.parse().expect("a number"));
        let pool = pool();
        let mut batch = Batch::new();
        let (mut sent, mut received) = (0, 0);
        for cycle in 0..cycles {
            let mut port = open(world, &pool, End::B);
            assert_eq!((port.mode(), pool.quarantined()), (Mode::ZeroCopy, 0), "cycle {cycle}");
            port.packets(&mut batch);
            shorten(&mut batch, 1 + cycle % 32);
            for packet in &mut batch {
                packet.extend_from_slice(&numbered(cycle as u32, 60)).expect("room");
            }
            sent += port.send(&mut batch).expect("a burst");
            port.recycle(&mut batch);
            if cycle % 3 > 0 {
                world.send(End::A, &numbered(cycle as u32, 60));
                received += port.recv(&mut batch).expect("a burst");
            }
            if cycle % 3 == 2 {
                let _ = port.flush().expect("a flush");
            }
            drop(port);
            // Packets outlive their port.
            batch.clear();
            let away = pool.quarantined() as usize;
            assert_eq!(pool.with_kernel() as usize, away, "cycle {cycle}");
            assert_eq!(free_frames(&pool) + away, FRAMES as usize, "cycle {cycle}");
        }
        assert!(sent >= cycles && received > 0, "{cycles} ports, {sent} packets sent, {received} received");
        assert_nothing_is_lost(world, &pool, End::B);
    });
}

/// The cases above are of this arm.
#[test]
fn cards_are_zero_copy() {
    assert!(Arm::Cards.is_zero_copy() && Arm::SimZeroCopy.is_zero_copy() && !Arm::VethNative.is_zero_copy());
}
