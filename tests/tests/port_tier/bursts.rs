//! How much one call moves, and what is counted of it.

use std::time::Duration;

use xsk::error::Diagnosis;
use xsk::port::{PortConfig, Verdict};
use xsk::{Batch, Packet, Pool, Port};
use xsk_sim::fault::{Chance, Fault, FaultRule, Moment, Point};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use crate::kit::{check_frames, config, free_frames, pool, received, world};

type Move = fn(&mut Port) -> usize;

const IN_PLACE: [(&str, Move); 3] = [
    ("forward, to drop", |port| port.forward(|_| Verdict::Drop).unwrap().received),
    ("forward, to send", |port| port.forward(|_| Verdict::Send).unwrap().sent),
    ("for_each", |port| port.for_each(|_| ()).unwrap()),
];

fn large_rings(entries: u32) -> PortConfig {
    PortConfig::default().rx_ring(entries).tx_ring(entries).fill_ring(entries).completion_ring(entries)
}

/// 64 of one segment, wherever on the rings they are.
#[test]
fn a_call_moves_64_packets_at_most() {
    for (name, moves) in IN_PLACE {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 512);
        let mut port = Port::open(&pool, "a", 0, large_rings(128)).unwrap();
        for round in 0..8 {
            (0..100).for_each(|_| b.send(&[1; 60]).unwrap());
            assert_eq!((moves(&mut port), moves(&mut port)), (64, 36), "{name} {round}");
            assert_eq!(moves(&mut port), 0, "{name} {round}");
            while b.receive().is_some() {}
            check_frames(&kernel, &pool);
        }
    }
}

fn jumbos() -> (SimKernel, SimDevice, Pool, Port) {
    let kernel = SimKernel::new(1);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default().mtu(9000)).unwrap();
    let pool = pool(&kernel, 1024);
    let port = Port::open(&pool, "a", 0, large_rings(256).multi_buffer(true)).unwrap();
    (kernel, b, pool, port)
}

/// Those of several segments count by their segments, which are 64 at most as well.
#[test]
fn and_64_segments_of_large_ones() {
    for (name, moves) in IN_PLACE {
        let (kernel, b, pool, mut port) = jumbos();
        for round in 0..5 {
            // Three segments each.
            (0..21).for_each(|_| b.send(&[1; 9014]).unwrap());
            assert_eq!(moves(&mut port), 21, "{name} {round}");
            (0..40).for_each(|_| b.send(&[1; 9014]).unwrap());
            let first = moves(&mut port);
            assert!((21..=22).contains(&first), "{name} {round}: {first}");
            while moves(&mut port) > 0 {}
            assert_eq!(port.stats().unwrap().rx_waiting, 0);
            while b.receive().is_some() {}
            check_frames(&kernel, &pool);
        }
    }
}

/// The packets that were put on the TX ring, however they came there.
#[test]
fn what_was_sent_is_counted() {
    let (kernel, b, pool, mut port) = jumbos();
    let sent = |port: &mut Port| port.stats().unwrap().sent;
    let full = |len: usize| {
        let mut packet = pool.packet().unwrap();
        packet.resize(len).unwrap();
        packet
    };
    port.send_one(full(60)).unwrap();
    assert_eq!(sent(&mut port), 1);
    port.send_one(full(60)).unwrap();
    let mut batch: Batch = (0..3).map(|_| full(60)).fold(Batch::new(), |mut batch, packet| {
        batch.push(packet).unwrap();
        batch
    });
    assert_eq!(port.send(&mut batch).unwrap(), 3);
    assert_eq!(sent(&mut port), 5);
    for (len, count) in [(60, 7), (9014, 9)] {
        b.send(&vec![1; len]).unwrap();
        b.send(&vec![1; len]).unwrap();
        assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 2);
        assert_eq!(sent(&mut port), count, "of {len} bytes");
    }
    b.send(&[1; 9014]).unwrap();
    port.recv(&mut batch).unwrap();
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    let stats = port.stats().unwrap();
    assert_eq!((stats.sent, stats.received), (10, 5));
    assert_eq!(port.flush().unwrap(), 0);
    check_frames(&kernel, &pool);
}

/// Kept, or exchanged for one with other bytes: both ways of `for_each` and `forward` to get rid of what is left.
#[test]
fn a_packet_that_was_exchanged_is_the_users() {
    type Show = fn(&mut Port, &mut dyn FnMut(&mut Packet)) -> usize;
    let show: [Show; 2] = [
        |port, show| port.for_each(show).unwrap(),
        |port, show| {
            port.forward(|packet| {
                show(packet);
                Verdict::Drop
            })
            .unwrap()
            .received
        },
    ];
    for show in show {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = Port::open(&pool, "a", 0, config()).unwrap();
        let mut kept = Vec::new();
        for tag in 0..60_u8 {
            b.send(&[tag; 60]).unwrap();
            let shown = show(&mut port, &mut |packet| {
                if tag % 3 == 0 {
                    let other = pool.packet().unwrap();
                    kept.push(std::mem::replace(packet, other));
                } else if tag % 3 == 1 {
                    packet.push_front(9).unwrap().fill(0xee);
                }
            });
            assert_eq!(shown, 1);
            check_frames(&kernel, &pool);
            if kept.len() > 10 {
                drop(kept.remove(0));
            }
            assert!(kept.iter().all(|packet| packet.iter().all(|byte| *byte == packet[0])));
        }
        let tags: Vec<u8> = kept.iter().map(|packet| packet[0]).collect();
        assert_eq!(tags, (30..60).step_by(3).collect::<Vec<u8>>());
        drop((kept, port));
        assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
    }
}

/// All of them in one call, also behind the end of the ring, and more than go at once.
#[test]
fn all_that_was_sent_comes_back_at_once() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 1024);
    let mut port = Port::open(&pool, "a", 0, large_rings(256).fill_level(16)).unwrap();
    let mut batch = Batch::with_capacity(200);
    let mut count = 0;
    for round in 0..6 {
        port.packets(&mut batch);
        batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
        while !batch.is_empty() {
            count += port.send(&mut batch).unwrap();
        }
        match round % 3 {
            0 => assert_eq!(port.flush().unwrap(), 0),
            1 => assert_eq!(port.recv(&mut batch).unwrap(), 0),
            _ => assert_eq!(port.for_each(|_| ()).unwrap(), 0),
        }
        assert_eq!(port.stats().unwrap().unfinished, 0, "{round}");
        while b.receive().is_some() {}
        check_frames(&kernel, &pool);
    }
    assert_eq!(count, 1200);
}

/// What was shown or sent is received into again, without a round through the free frames.
#[test]
fn what_comes_back_goes_where_it_is_missing() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    for round in 1..20 {
        b.send(&[1; 60]).unwrap();
        assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 1);
        assert_eq!(received(&mut port).len(), 0);
        let stats = port.stats().unwrap();
        assert_eq!((stats.unfinished, stats.fill_waiting, stats.sent), (0, 16, round));
        b.receive().unwrap();
        b.send(&[1; 60]).unwrap();
        assert_eq!(port.for_each(|_| ()).unwrap(), 1);
        assert_eq!(port.stats().unwrap().fill_waiting, 16);
    }
}

/// Back on the completion ring: nothing else has to be called before they are sent again.
#[test]
fn sent_frames_are_packets_again() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 4);
    let (_rx, mut tx) = Port::open(&pool, "a", 0, config().fill_level(1)).unwrap().split();
    for round in 0..20_u8 {
        let mut packet = tx.packet().unwrap();
        packet.resize(60).unwrap();
        packet[0] = round;
        tx.send_one(packet).unwrap();
        assert_eq!(b.receive().unwrap()[0], round);
    }
    let mut batch = Batch::with_capacity(8);
    assert_eq!(tx.packets(&mut batch), 3, "all but the one that is received into");
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    assert_eq!(tx.send(&mut batch).unwrap(), 3);
    assert!(tx.packet().is_some());
    assert_eq!(tx.packets(&mut batch), 3);
    batch.pop();
    batch.pop();
    assert_eq!(tx.packets(&mut batch), 2, "how many there are more");
    assert_eq!((tx.packets(&mut batch), batch.len()), (0, 3));
    check_frames(&kernel, &pool);
}

/// The sum of both sides, and in a half its own.
#[test]
fn descriptors_that_cannot_be_right_are_counted_on_both_sides() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let violations = |port: &mut Port| port.stats().unwrap().violations;
    let lie = kernel.fault(|point: &Point, _: &mut Chance<'_>| {
        matches!(point.moment, Moment::Completion { .. }).then_some(Fault::Address(u64::MAX))
    });
    for _ in 0..2 {
        let mut packet = port.packet().unwrap();
        packet.resize(60).unwrap();
        port.send_one(packet).unwrap();
    }
    drop(lie);
    let error = port.flush().unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::BadDescriptor(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("completion ring") && !text.contains("length"), "{text}");
    assert_eq!(violations(&mut port), 2);
    let lie = kernel.fault(|point: &Point, _: &mut Chance<'_>| {
        let Moment::Receive(desc) = point.moment else { return None };
        Some(Fault::Describe(xsk_core::abi::xdp_desc { options: 6, ..desc }))
    });
    b.send(&[1; 60]).unwrap();
    drop(lie);
    let error = port.recv(&mut Batch::new()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("length 60, options 0x6"), "{text}");
    assert_eq!(violations(&mut port), 3);
    let (mut rx, mut tx) = port.split();
    assert_eq!((rx.stats().unwrap().violations, tx.stats().unwrap().violations), (1, 2));
    assert!(!rx.wait(Some(Duration::ZERO)).unwrap());
}

/// Packets that never come back push out the oldest of those that are waited for.
#[test]
fn timestamps_that_never_come_are_counted() {
    let (kernel, _a, _b) = world(1);
    let pool =
        Pool::new_in(kernel.backend(), xsk::PoolConfig::default().frames(64).tx_metadata(true)).unwrap();
    let mut port = Port::open(&pool, "a", 0, config().fill_level(4)).unwrap();
    let lost = kernel.fault(FaultRule::lose_completions());
    // As many are kept as the rings have entries, which are 32.
    for token in 0..35 {
        let mut packet = port.packet().unwrap();
        packet.resize(60).unwrap();
        packet.request_timestamp(token).unwrap();
        port.send_one(packet).unwrap();
    }
    assert_eq!((lost.hits(), port.stats().unwrap().timestamps_lost), (35, 3));
}
