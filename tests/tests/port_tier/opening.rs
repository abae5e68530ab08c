//! What a port is asked to be, and what comes of it.

use std::time::Duration;

use xsk::config::{Attach, XdpFlags};
use xsk::error::{Diagnosis, Step};
use xsk::port::{Mode, PortError};
use xsk::{Batch, Port, PortConfig};
use xsk_sim::{DeviceConfig, SimKernel};

use crate::kit::{check_frames, config, pool, world};

/// On "a", in a pool of its own.
fn open(kernel: &SimKernel, config: PortConfig) -> Result<Port, PortError> {
    Port::open(&pool(kernel, 64), "a", 0, config)
}

#[test]
fn the_mode_is_the_one_that_was_asked_for() {
    let (kernel, ..) = world(1);
    assert_eq!(open(&kernel, config().mode(Mode::Copy)).unwrap().mode(), Mode::Copy);
    let error = open(&kernel, config().mode(Mode::ZeroCopy)).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::NoZeroCopy { .. }), "{error}");

    let kernel = SimKernel::new(1);
    let _card = kernel.card("a", &DeviceConfig::default().zero_copy(true)).unwrap();
    for (config, mode) in [
        (config(), Mode::ZeroCopy),
        (config().mode(Mode::ZeroCopy), Mode::ZeroCopy),
        (config().mode(Mode::Copy), Mode::Copy),
    ] {
        assert_eq!(open(&kernel, config).unwrap().mode(), mode);
    }
}

#[test]
fn what_leads_packets_to_the_port() {
    let (kernel, a, b) = world(1);
    // A program of the caller's own, or none.
    let mut port = open(&kernel, config().no_program()).unwrap();
    b.send(&[1; 60]).unwrap();
    assert_eq!(port.recv(&mut Batch::new()).unwrap(), 0);
    assert_eq!(a.receive(), Some(vec![1; 60]), "it went to the stack");
    check_frames(&kernel, &port.pool().clone());
    drop(port);
    // The simulated kernel has no dispatcher.
    let error = open(&kernel, config().attach(Attach::Dispatcher)).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoFeature("libxdp"), "{error}");
    let mut port = open(&kernel, config().xdp_flags(XdpFlags::XDP_FLAGS_SKB_MODE)).unwrap();
    let mut other = Batch::new();
    b.send(&[2; 60]).unwrap();
    assert_eq!(port.recv(&mut other).unwrap(), 1);
}

#[test]
fn opening_waits_for_a_queue_as_long_as_it_is_told() {
    let (kernel, ..) = world(1);
    let _first = open(&kernel, config()).unwrap();
    for (config, waited) in [(config(), 1000), (config().busy_timeout(Duration::from_millis(300)), 300)] {
        let error = open(&kernel, config).unwrap_err();
        let Diagnosis::QueueBusy { waited_ms } = *error.diagnosis() else { panic!("{error}") };
        assert!((waited..=waited + 100).contains(&waited_ms), "{error}");
        assert_eq!(error.step(), Step::Bind);
    }
    let error = open(&kernel, config().busy_timeout(Duration::ZERO)).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::QueueBusy { waited_ms: 0 });
}
