//! Waits without an end.

use std::thread;
use std::time::Duration;

use xsk::backend::Backend;
use xsk::error::Diagnosis;
use xsk::port::{BusyPoll, Policy, PortRx};
use xsk::{Batch, Port};
use xsk_sim::{DeviceConfig, SimKernel};

use crate::kit::{config, pool, port, world};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_wait_that_nothing_can_end_is_an_error_where_one_thread_makes_all_calls() {
    for policy in [Policy::NeedWakeup, Policy::Interrupt, BusyPoll::default().into()] {
        let (kernel, _a, b) = world(1);
        kernel.set_single_threaded(true);
        let pool = pool(&kernel, 64);
        let mut port = Port::open(&pool, "a", 0, config().policy(policy)).unwrap();
        // The last is more than a clock can count.
        for forever in [None, Some(Duration::MAX)] {
            let error = port.wait(forever).unwrap_err();
            assert_eq!(*error.diagnosis(), Diagnosis::WaitsForEver, "{error}");
            assert_eq!((error.interface(), error.queue(), error.errno()), (Some("a"), Some(0), None));
        }
        // With an end it is none.
        let start = kernel.now();
        assert!(!port.wait(Some(30 * SECOND)).unwrap());
        assert!(kernel.now() - start >= 30 * SECOND);
        b.send(&[7; 60]).unwrap();
        assert!(port.wait(None).unwrap(), "a packet is there");
    }
}

#[test]
fn what_is_planned_is_waited_for() {
    let kernel = SimKernel::new(1);
    kernel.set_single_threaded(true);
    let card = kernel.card("a", &DeviceConfig::default()).unwrap();
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    for hour in 1..3 {
        card.inject_after(Duration::from_secs(3600 * hour), 0, &[7; 60]).unwrap();
    }
    let mut batch = Batch::new();
    let end = loop {
        match port.wait(None) {
            Ok(true) => assert_eq!(port.recv(&mut batch).unwrap(), 1),
            Ok(false) => panic!("no signal"),
            Err(end) => break end,
        }
    };
    assert_eq!((batch.len(), end.diagnosis()), (2, &Diagnosis::WaitsForEver));
    assert!(kernel.time() >= Duration::from_secs(7200));
    // The cause that can be told is told.
    card.set_up(false);
    assert_eq!(*port.wait(None).unwrap_err().diagnosis(), Diagnosis::InterfaceDown);
}

#[test]
fn halves_that_nothing_can_wake() {
    let kernel = SimKernel::new(1);
    kernel.set_single_threaded(true);
    let card = kernel.card("a", &DeviceConfig::default()).unwrap();
    let pool = pool(&kernel, 64);
    let (mut rx, mut tx) = port(&pool, "a").split();
    assert!(tx.wait(None).unwrap(), "there is room");
    assert_eq!(*rx.wait(None).unwrap_err().diagnosis(), Diagnosis::WaitsForEver);
    // Also where there are several: the error is that of the first.
    kernel.card("b", &DeviceConfig::default()).unwrap();
    let (mut other, _tx) = port(&pool, "b").split();
    let error = PortRx::wait_any(&mut [&mut rx, &mut other], None).unwrap_err();
    assert_eq!((error.diagnosis(), error.interface()), (&Diagnosis::WaitsForEver, Some("a")), "{error}");
    card.inject(0, &[7; 60]).unwrap();
    assert!(PortRx::wait_any(&mut [&mut other, &mut rx], None).unwrap());
    assert!(rx.wait(None).unwrap());
}

/// Where another thread drives the kernel, or the kernel itself does, a wait goes on until that brings a packet.
#[test]
fn a_wait_that_another_thread_ends_is_no_error() {
    for in_background in [false, true] {
        let kernel = SimKernel::new(1);
        // In the background it says nothing.
        kernel.set_single_threaded(in_background);
        let card = kernel.card("a", &DeviceConfig::default()).unwrap();
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        let background = in_background.then(|| kernel.run_in_background().unwrap());
        thread::scope(|scope| {
            let waits = scope.spawn(|| port.wait(None));
            // Longer than it sleeps before it looks for the interface.
            thread::sleep(Duration::from_millis(400));
            assert!(!waits.is_finished());
            card.inject(0, &[7; 60]).unwrap();
            assert!(waits.join().unwrap().unwrap());
        });
        drop(background);
    }
}
