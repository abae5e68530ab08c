//! Packets that are shown in place: whose their frames are while the user has them, and when he keeps them or panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use xsk::Packet;
use xsk::error::Diagnosis;
use xsk::port::{PortError, Verdict};
use xsk::{Pool, Port};
use xsk_core::abi::xdp_desc;
use xsk_sim::fault::{Chance, Fault, FaultGuard, Moment, Point};
use xsk_sim::{DeviceConfig, SimKernel};

use crate::kit::{check_frames, free_frames, pool, port, world};

type Show = fn(&mut Port, &mut dyn FnMut(&mut Packet)) -> Result<usize, PortError>;

/// What shows packets in place, and how many of those that are shown it sends.
const IN_PLACE: [(&str, Show, bool); 3] = [
    ("for_each", |port, show| port.for_each(show), false),
    ("forward, to drop", |port, show| forward(port, show, Verdict::Drop), false),
    ("forward, to send", |port, show| forward(port, show, Verdict::Send), true),
];

fn forward(port: &mut Port, show: &mut dyn FnMut(&mut Packet), verdict: Verdict) -> Result<usize, PortError> {
    let shows = |packet: &mut Packet| {
        show(packet);
        verdict
    };
    Ok(port.forward(shows)?.received)
}

fn filled(pool: &Pool) -> Packet {
    let mut packet = pool.packet().unwrap();
    packet.resize(60).unwrap();
    packet
}

/// Each frame is there once, whoever has it.
fn check_apart(pool: &Pool, kept: &[Packet]) {
    // A frame that is there twice may be so without end.
    let free: Vec<_> = std::iter::from_fn(|| pool.packet()).take(1000).collect();
    let frame = |packet: &Packet| packet.as_ptr() as usize / 4096;
    let mut frames: Vec<_> = free.iter().chain(kept).map(frame).collect();
    frames.sort();
    frames.dedup();
    assert_eq!(frames.len(), free.len() + kept.len());
}

/// All but the first packet of a burst come with the descriptor of the first.
fn always_the_first(kernel: &SimKernel) -> FaultGuard {
    let first = AtomicU64::new(u64::MAX);
    kernel.fault(move |point: &Point, _: &mut Chance<'_>| {
        let Moment::Receive(desc) = point.moment else { return None };
        let addr = first.compare_exchange(u64::MAX, desc.addr, Ordering::Relaxed, Ordering::Relaxed);
        Some(Fault::Describe(xdp_desc { addr: addr.err()?, ..desc }))
    })
}

#[test]
fn a_frame_that_the_user_keeps_does_not_come_again() {
    for (name, show, _) in IN_PLACE {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        let _rule = always_the_first(&kernel);
        (0..4).for_each(|tag| b.send(&[tag; 60]).unwrap());
        let mut kept = Vec::new();
        let _ = show(&mut port, &mut |packet| kept.push(std::mem::replace(packet, filled(&pool))));
        assert_eq!(kept.len(), 1, "{name}");
        let error = show(&mut port, &mut |_| ()).unwrap_err();
        assert!(matches!(error.diagnosis(), Diagnosis::BadDescriptor(_)), "{name}: {error}");
        check_apart(&pool, &kept);
    }
}

#[test]
fn a_frame_that_is_dropped_or_sent_does_not_come_again_in_the_same_burst() {
    for verdict in [Verdict::Drop, Verdict::Send] {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        let _rule = always_the_first(&kernel);
        (0..4).for_each(|tag| b.send(&[tag; 60]).unwrap());
        let mut seen = 0;
        let _ = forward(&mut port, &mut |_| seen += 1, verdict);
        assert_eq!(seen, 1, "{verdict:?}");
        check_apart(&pool, &[]);
    }
}

/// Out of another port, while the first one is still at it: what is noted there stays.
#[test]
fn a_packet_that_is_sent_elsewhere_while_it_is_shown_is_with_the_kernel() {
    for (name, show, sends) in IN_PLACE {
        for panics in [false, true] {
            let (kernel, _a, b) = world(1);
            kernel.veth("c", "d", &DeviceConfig::default()).unwrap();
            let pool = pool(&kernel, 64);
            let (mut port, mut other) = (port(&pool, "a"), port(&pool, "c"));
            (0..3).for_each(|tag| b.send(&[tag; 60]).unwrap());
            let shown = AssertUnwindSafe(|| {
                show(&mut port, &mut |packet| {
                    let packet = std::mem::replace(packet, filled(&pool));
                    other.send_one(packet).unwrap();
                    assert!(!panics, "as the test wants it");
                })
            });
            match catch_unwind(shown) {
                Ok(shown) => assert_eq!(shown.unwrap(), 3, "{name}"),
                Err(_) => assert!(panics, "{name}"),
            }
            let stats = port.stats().unwrap();
            let count = if panics { 1 } else { 3 };
            assert_eq!((stats.received, stats.sent), (count, if sends && !panics { 3 } else { 0 }), "{name}");
            assert_eq!(other.flush().unwrap(), 0, "{name}");
            check_frames(&kernel, &pool);
            assert_eq!(port.flush().unwrap(), 0, "{name}");
            drop((port, other));
            assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64), "{name}");
        }
    }
}

#[test]
fn what_was_shown_before_a_panic_counts_and_its_frame_is_free() {
    for (name, show, sends) in IN_PLACE {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        (0..8).for_each(|tag| b.send(&[tag; 60]).unwrap());
        let shown = AssertUnwindSafe(|| {
            show(&mut port, &mut |packet| assert!(packet[0] != 5, "as the test wants it"))
        });
        assert!(catch_unwind(shown).is_err());
        let stats = port.stats().unwrap();
        assert_eq!((stats.received, stats.sent), (6, if sends { 5 } else { 0 }), "{name}");
        check_frames(&kernel, &pool);
        assert_eq!(show(&mut port, &mut |_| ()).unwrap(), 2, "{name}");
        drop(port);
        check_apart(&pool, &[]);
        assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64), "{name}");
    }
}
