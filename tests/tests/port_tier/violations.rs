use xsk::Batch;
use xsk::error::Diagnosis;
use xsk::port::{PortError, Violation, ViolationKind};
use xsk_core::abi::xdp_desc;
use xsk_sim::fault::{Fault, FaultRule, Moment, Ring};

use crate::kit::{free_frames, pool, port, received, world};

fn violation(error: &PortError) -> Violation {
    match error.diagnosis() {
        Diagnosis::BadDescriptor(violation) => *violation,
        _ => panic!("{error}"),
    }
}

/// What the kernel shows instead of a descriptor, and what is made of it.
type Case = (fn(xdp_desc) -> xdp_desc, ViolationKind);

const CASES: [Case; 8] = [
    (|desc| xdp_desc { addr: 64 * 4096 + 256, ..desc }, ViolationKind::Address),
    (|desc| xdp_desc { addr: u64::MAX, ..desc }, ViolationKind::Address),
    (|desc| xdp_desc { addr: desc.addr + (4096 << 32), ..desc }, ViolationKind::Address),
    // Frames are taken from the last one down: this one is on no ring.
    (|desc| xdp_desc { addr: 256, ..desc }, ViolationKind::NotWithKernel),
    (|desc| xdp_desc { len: 4096 - 256 + 1, ..desc }, ViolationKind::Length),
    (|desc| xdp_desc { len: u32::MAX, ..desc }, ViolationKind::Length),
    (|desc| xdp_desc { options: 2, ..desc }, ViolationKind::Options),
    (|desc| xdp_desc { options: 1 << 31, ..desc }, ViolationKind::Options),
];

#[test]
fn bad_received_descriptors_are_errors_and_the_port_goes_on() {
    for (forge, kind) in CASES {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        let forged =
            kernel.fault(move |point: &xsk_sim::fault::Point, _: &mut xsk_sim::fault::Chance<'_>| {
                let Moment::Receive(desc) = point.moment else { return None };
                Some(Fault::Describe(forge(desc)))
            });
        b.send(&[1; 60]).unwrap();
        let mut batch = Batch::new();
        let error = port.recv(&mut batch).unwrap_err();
        let Violation { ring, index, desc, kind: found } = violation(&error);
        assert_eq!((ring, index, found), ("RX", 0, kind));
        let text = error.to_string();
        assert!(text.contains("on a queue 0") && text.contains("RX ring at index 0"), "{text}");
        assert!(text.contains(&format!("{:#x}", desc.addr)), "{text}");
        assert!(batch.is_empty());
        drop(forged);
        // With good ones after it: these first, then the error.
        let again = kernel.fault(FaultRule::corrupt_rx().nth(1));
        b.send(&[2; 60]).unwrap();
        drop(again);
        b.send(&[3; 60]).unwrap();
        assert_eq!(received(&mut port), [vec![3; 60]]);
        let error = port.recv(&mut batch).unwrap_err();
        assert_eq!(violation(&error).index, 1);
        assert_eq!(port.recv(&mut batch).unwrap(), 0);
        // Nothing is lost for good.
        drop(port);
        assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
    }
}

#[test]
fn bad_completions_are_errors_and_the_port_goes_on() {
    for (address, kind) in [
        (64 * 4096, ViolationKind::Address),
        (u64::MAX, ViolationKind::Address),
        // In the pool, and on the fill ring.
        (0, ViolationKind::NotWithKernel),
        (63 * 4096, ViolationKind::NotWithKernel),
    ] {
        let (kernel, _a, _b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        let forged =
            kernel.fault(move |point: &xsk_sim::fault::Point, _: &mut xsk_sim::fault::Chance<'_>| {
                matches!(point.moment, Moment::Completion { .. }).then_some(Fault::Address(address))
            });
        let mut packet = port.packet().unwrap();
        packet.resize(60).unwrap();
        port.send_one(packet).unwrap();
        let error = port.flush().unwrap_err();
        let found = violation(&error);
        assert_eq!((found.ring, found.index, found.kind), ("completion", 0, kind), "{error}");
        assert_eq!(found.desc.addr, address);
        drop(forged);
        assert_eq!(port.flush().unwrap(), 1);
        let mut packet = port.packet().unwrap();
        packet.resize(60).unwrap();
        port.send_one(packet).unwrap();
        assert_eq!(port.flush().unwrap(), 1);
        drop(port);
        // It never came back, so nobody knows what the kernel does with it until the queue is released.
        assert_eq!((pool.quarantined(), free_frames(&pool)), (1, 63));
        drop(self::port(&pool, "a"));
        assert_eq!(free_frames(&pool), 64);
    }
}

#[test]
fn the_same_descriptor_twice_is_one_packet() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    b.send(&[1; 60]).unwrap();
    let mut batch = Batch::new();
    port.recv(&mut batch).unwrap();
    let first = batch.pop().unwrap();
    // Whatever the kernel says of a frame that is the user's.
    for frame in 0..64_u64 {
        let _rule = kernel.fault(move |point: &xsk_sim::fault::Point, _: &mut xsk_sim::fault::Chance<'_>| {
            let Moment::Receive(desc) = point.moment else { return None };
            Some(Fault::Describe(xdp_desc { addr: frame * 4096 + 256, ..desc }))
        });
        b.send(&[2; 60]).unwrap();
        let _ = port.recv(&mut batch);
    }
    assert_eq!(*first, [1; 60]);
    let mut frames: Vec<_> = batch.iter().map(|packet| packet.as_ptr()).collect();
    frames.push(first.as_ptr());
    frames.sort();
    frames.dedup();
    assert_eq!(frames.len(), batch.len() + 1);
}

#[test]
fn impossible_indices_are_errors_and_move_nothing() {
    for ring in [Ring::Rx, Ring::Completion, Ring::Tx, Ring::Fill] {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        let rule = kernel.fault(FaultRule::corrupt_index(ring));
        let mut batch = Batch::new();
        let mut errors = Vec::new();
        for _ in 0..8 {
            b.send(&[1; 60]).unwrap();
            errors.extend(port.recv(&mut batch).err());
            let Some(mut packet) = port.packet() else { break };
            packet.resize(60).unwrap();
            let _ = port.send_one(packet);
            errors.extend(port.flush().err());
            batch.clear();
            errors.extend(port.recv(&mut batch).err());
        }
        let broken = |error: &&PortError| matches!(error.diagnosis(), Diagnosis::BrokenRing(_));
        assert!(errors.iter().any(|error| broken(&error)), "{ring}: {errors:?}");
        assert!(errors.iter().all(|error| broken(&error)), "{ring}: {errors:?}");
        drop(rule);
        b.send(&[4; 60]).unwrap();
        while port.recv(&mut batch).is_err() {}
        while port.recv(&mut batch).unwrap() > 0 {}
        assert_eq!(batch.last().map(|packet| packet.to_vec()), Some(vec![4; 60]), "{ring}");
    }
}
