//! What a port makes of a kernel that wants to be woken up.

use xsk::error::Step;
use xsk::port::{Policy, Verdict};
use xsk::{Batch, Port};
use xsk_core::errno::{EAGAIN, EBUSY, EINTR, EIO, ENETDOWN, ENOBUFS};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel};

use crate::kit::{check_frames, config, free_frames, pool, world};

/// A card with zero copy, whose driver sleeps when the fill ring is empty.
fn card(profile: Profile) -> (SimKernel, SimDevice) {
    let kernel = SimKernel::with_profile(1, profile);
    let card = kernel.card("a", &DeviceConfig::default().zero_copy(true)).unwrap();
    (kernel, card)
}

/// As many packets as the driver has frames for, and some more.
fn flood(card: &SimDevice) {
    (0..24).for_each(|tag| drop(card.inject(0, &[tag; 60])));
}

/// Linux 5.10 has no recvfrom for it: there the port polls.
#[test]
fn a_driver_without_frames_is_woken_up() {
    for profile in [Profile::LINUX_5_10, Profile::LINUX_6_18] {
        let (kernel, card) = card(profile);
        let pool = pool(&kernel, 128);
        let mut port = Port::open(&pool, "a", 0, config()).unwrap();
        let mut batch = Batch::new();
        for _ in 0..4 {
            flood(&card);
            while port.recv(&mut batch).unwrap() > 0 {}
            assert!(batch.len() >= 16);
            port.recycle(&mut batch);
            check_frames(&kernel, &pool);
        }
        let stats = port.stats().unwrap();
        assert!(stats.rx_wakeups > 0, "{stats:?}");
        // The driver keeps the frames that it has until somebody binds the queue again.
        drop((port, batch));
        assert_eq!(pool.with_kernel(), pool.quarantined());
        assert_eq!(free_frames(&pool) as u32 + pool.quarantined(), 128);
    }
}

/// How often the kernel was woken up to receive, and the step of the error that the port met, if it met one.
fn woken_with(errno: Option<i32>, policy: Policy) -> (u64, Option<Step>) {
    let (kernel, card) = card(Profile::LINUX_6_18);
    let pool = pool(&kernel, 128);
    let mut port = Port::open(&pool, "a", 0, config().policy(policy)).unwrap();
    let fault = errno.map(|errno| kernel.fault(FaultRule::errno(Call::RecvFrom, errno)));
    let mut batch = Batch::new();
    let mut step = None;
    for _ in 0..4 {
        flood(&card);
        loop {
            match port.recv(&mut batch) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    step = Some(error.step());
                    break;
                }
            }
        }
        batch.clear();
    }
    assert_eq!(fault.is_some_and(|fault| fault.hits() > 0), errno.is_some() && policy == Policy::NeedWakeup);
    (port.stats().unwrap().rx_wakeups, step)
}

#[test]
fn what_the_next_wakeup_mends_is_no_error() {
    for errno in [ENOBUFS, EAGAIN, EBUSY, ENETDOWN, EINTR] {
        assert_eq!(woken_with(Some(errno), Policy::NeedWakeup).1, None, "{errno}");
    }
    assert_eq!(woken_with(Some(EIO), Policy::NeedWakeup).1, Some(Step::Wakeup));
}

#[test]
fn a_driver_that_polls_by_itself_is_not_woken_up() {
    let (woken, step) = woken_with(None, Policy::NeedWakeup);
    assert!(woken > 0 && step.is_none());
    assert_eq!(woken_with(Some(EIO), Policy::Interrupt), (0, None));
}

/// The kernel was busy when it was asked to send: whatever is forwarded next, and if it is nothing, it is asked again.
#[test]
fn forwarding_asks_again_for_what_is_not_sent() {
    type Next = fn(&mut Port) -> usize;
    let next: [(Next, usize); 3] = [
        (|port| port.forward(|_| Verdict::Drop).unwrap().received, 0),
        (|port| port.forward(|_| Verdict::Drop).unwrap().received, 1),
        (|port| port.forward(|_| Verdict::Send).unwrap().received, 1),
    ];
    for (next, arrived) in next {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = Port::open(&pool, "a", 0, config()).unwrap();
        let busy = kernel.fault(FaultRule::errno(Call::SendTo, EAGAIN).times(1));
        let mut packet = port.packet().unwrap();
        packet.extend_from_slice(&[7; 60]).unwrap();
        port.send_one(packet).unwrap();
        assert_eq!((busy.hits(), b.receive()), (1, None));
        (0..arrived).for_each(|_| b.send(&[8; 60]).unwrap());
        assert_eq!(next(&mut port), arrived);
        assert_eq!(b.receive(), Some(vec![7; 60]));
        // Nothing is left to ask for.
        while b.receive().is_some() {}
        let asked = port.stats().unwrap().tx_wakeups;
        b.send(&[8; 60]).unwrap();
        assert_eq!(port.forward(|_| Verdict::Drop).unwrap().received, 1);
        assert_eq!(port.forward(|_| Verdict::Drop).unwrap().received, 0);
        assert_eq!(port.stats().unwrap().tx_wakeups, asked);
    }
}
