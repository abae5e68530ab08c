//! What a port is asked to be, and what comes of it.

use std::time::Duration;

use xsk::backend::XdpMode;
use xsk::config::{Attach, XdpFlags};
use xsk::error::{Diagnosis, Step};
use xsk::port::{Mode, PortError, PortTx};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_core::errno::{EMFILE, EOPNOTSUPP};
use xsk_sim::fault::{Call, FaultRule};
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
    for (flags, mode) in [
        (XdpFlags::XDP_FLAGS_SKB_MODE, XdpMode::Skb),
        (XdpFlags::XDP_FLAGS_DRV_MODE, XdpMode::Native),
        (XdpFlags::empty(), XdpMode::Native),
    ] {
        let mut port = open(&kernel, config().xdp_flags(flags)).unwrap();
        assert_eq!(a.info().program.map(|program| program.mode), Some(mode), "{flags:?}");
        b.send(&[2; 60]).unwrap();
        assert_eq!(port.recv(&mut Batch::new()).unwrap(), 1);
    }
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

/// A pool has 1024 ports at most: an interface with more queues is refused before anything is opened.
#[test]
fn as_many_queues_as_a_pool_has_ports() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default().queues(1025)).unwrap();
    let pool = pool(&kernel, 64);
    let small = PortConfig::default().tx_ring(1).completion_ring(1).fill_ring(1).mode(Mode::Copy);
    let sockets = kernel.fault(FaultRule::errno(Call::Socket, EMFILE));
    let error = PortTx::open_all(&pool, "a", small).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::TooManyPorts { max: 1024 }, "{error}");
    assert_eq!((error.interface(), error.queue(), sockets.hits()), (Some("a"), None, 0));
    drop(sockets);
    card.set_queues(1024, 1024).unwrap();
    assert_eq!(PortTx::open_all(&pool, "a", small).unwrap().len(), 1024);
}

/// Packets of such a pool can ask for nothing, so nobody is asked what the driver could do for them.
#[test]
fn what_a_driver_can_do_for_packets_is_asked_where_they_can_ask_for_it() {
    let (kernel, ..) = world(1);
    let asked = kernel.fault(FaultRule::errno(Call::TxOffloads, EOPNOTSUPP));
    open(&kernel, config()).unwrap();
    assert_eq!(asked.hits(), 0);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(64).tx_metadata(true)).unwrap();
    Port::open(&pool, "a", 0, config()).unwrap();
    assert_eq!(asked.hits(), 1);
}
