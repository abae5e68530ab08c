//! Where packets went: a test for each cause.

use std::time::Duration;

use xsk::backend::{Backend, Handle, InterfaceCounters, InterfaceLoss};
use xsk::config::XdpFlags;
use xsk::error::Diagnosis;
use xsk::port::{Loss, Mode, Obstacle};
use xsk::{Batch, Pool, PoolConfig, Port};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, SimKernel, XdpAction};

use crate::kit::{config, pool, received, world};

fn losses(port: &mut Port) -> Vec<(Loss, u64)> {
    port.stats().unwrap().losses().collect()
}

fn of_interface(counters: &InterfaceCounters) -> Vec<(InterfaceLoss<'_>, u64)> {
    counters.losses().collect()
}

#[test]
fn no_frame_on_the_fill_ring() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config().fill_level(4)).unwrap();
    let _rest: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    (0..7).for_each(|_| b.send(&[1; 60]).unwrap());
    let before = port.stats().unwrap();
    assert_eq!(losses(&mut port), [(Loss::NoFrame, 3)]);
    assert_eq!((before.rx_waiting, before.fill_waiting), (4, 0));
    // What was told is not told again.
    b.send(&[1; 60]).unwrap();
    let since = port.stats().unwrap().since(&before);
    assert_eq!(since.losses().collect::<Vec<_>>(), [(Loss::NoFrame, 1)]);
}

#[test]
fn the_rx_ring_was_full() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config().rx_ring(4)).unwrap();
    (0..7).for_each(|_| b.send(&[1; 60]).unwrap());
    assert_eq!(losses(&mut port), [(Loss::RxRingFull, 3)]);
    assert_eq!(received(&mut port).len(), 4);
}

#[test]
fn longer_than_a_frame() {
    let kernel = SimKernel::new(1);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default().mtu(2000)).unwrap();
    let config_of_pool = PoolConfig::default().frames(64).frame_size(2048);
    let pool = Pool::new_in(kernel.backend(), config_of_pool).unwrap();
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    b.send(&vec![1; pool.room() as usize]).unwrap();
    b.send(&vec![1; pool.room() as usize + 1]).unwrap();
    assert_eq!(losses(&mut port), [(Loss::TooLong, 1)]);
}

#[test]
fn a_bad_descriptor() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let lie = kernel.fault(FaultRule::corrupt_rx().times(1));
    b.send(&[1; 60]).unwrap();
    drop(lie);
    let error = port.recv(&mut Batch::new()).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::BadDescriptor(_)), "{error}");
    assert_eq!(losses(&mut port), [(Loss::Violation, 1)]);
}

#[test]
fn nothing_is_in_the_way_of_a_port_that_is_open_on_all_queues() {
    let (kernel, _a, b) = world(2);
    let pool = pool(&kernel, 64);
    let mut ports = Port::open_all(&pool, "a", config()).unwrap();
    assert_eq!(ports[0].obstacles().unwrap(), []);
    b.send(&[1; 60]).unwrap();
    assert_eq!(losses(&mut ports[0]), []);
    assert_eq!(of_interface(&ports[0].interface_counters().unwrap()), []);
}

#[test]
fn packets_of_other_queues_go_to_the_stack() {
    let (kernel, a, b) = world(3);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let second = Port::open(&pool, "a", 2, config()).unwrap();
    b.send_on(1, &[9; 60]).unwrap();
    assert_eq!((received(&mut port).len(), a.receive()), (0, Some(vec![9; 60])));
    assert_eq!(losses(&mut port), []);
    let expected = Obstacle::OtherQueues { of: 3, open: vec![0, 2] };
    assert_eq!(port.obstacles().unwrap(), std::slice::from_ref(&expected));
    assert!(expected.to_string().contains("receives on 3 queues, and this pool has ports on [0, 2]"));
    drop(second);
    assert_eq!(port.split().0.obstacles().unwrap(), [Obstacle::OtherQueues { of: 3, open: vec![0] }]);
}

#[test]
fn no_program_or_another_one() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config().no_program()).unwrap();
    b.send(&[9; 60]).unwrap();
    assert_eq!((received(&mut port).len(), a.receive()), (0, Some(vec![9; 60])));
    assert_eq!(port.obstacles().unwrap(), [Obstacle::NoProgram]);
    let program = kernel.program("drops all", false, |_| XdpAction::Drop);
    let _link = kernel.link_create(program, a.index(), XdpFlags::empty()).unwrap();
    b.send(&[9; 60]).unwrap();
    let obstacles = port.obstacles().unwrap();
    let [Obstacle::OtherProgram { name: Some(name), .. }] = &obstacles[..] else { panic!("{obstacles:?}") };
    assert_eq!(name, "drops all");
    let counters = port.interface_counters().unwrap();
    assert_eq!(of_interface(&counters), [(InterfaceLoss::Driver("drop_program"), 1)]);
    assert_eq!(counters.rx_packets, None, "the simulated kernel counts no packets, and says so");
    // Without the kernel's help its name is not known.
    let nameless = kernel.fault(FaultRule::errno(Call::ProgramName, xsk_core::errno::EPERM));
    assert!(matches!(port.obstacles().unwrap()[..], [Obstacle::OtherProgram { name: None, .. }]));
    drop(nameless);
}

/// Somebody put another program in the place of this crate's, through its link.
#[test]
fn another_program_through_the_same_link() {
    let (kernel, a, _b) = world(1);
    let port = Port::open(&pool(&kernel, 64), "a", 0, config()).unwrap();
    let ours = a.info().program;
    assert_eq!(port.obstacles().unwrap(), []);
    let other = kernel.program("other", false, |_| XdpAction::Pass);
    let socket = port.fd().handle().0;
    // The simulated kernel counts its handles up; the link is somewhere near.
    let links =
        (socket - 20..socket + 20).filter(|number| kernel.link_update(Handle(*number), other).is_ok());
    assert_eq!(links.count(), 1);
    assert_ne!(a.info().program, ours);
    let obstacles = port.obstacles().unwrap();
    let [Obstacle::OtherProgram { program, name: Some(name) }] = &obstacles[..] else {
        panic!("{obstacles:?}")
    };
    assert_eq!((Some(*program), name.as_str()), (a.info().program, "other"));
    assert!(obstacles[0].to_string().contains("`other`"));
}

/// What the program leads to a socket of another queue the kernel drops.
#[test]
fn led_to_a_socket_of_another_queue() {
    let (kernel, a, b) = world(2);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config().no_program()).unwrap();
    let map = kernel.xskmap_create(1).unwrap();
    kernel.xskmap_update(map, 0, port.fd().handle()).unwrap();
    let program = kernel.program("leads", false, move |_| XdpAction::RedirectMap { map, key: 0, flags: 0 });
    let _link = kernel.link_create(program, a.index(), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    b.send_on(0, &[9; 60]).unwrap();
    let before = port.interface_counters().unwrap();
    b.send_on(1, &[9; 60]).unwrap();
    assert_eq!((received(&mut port).len(), losses(&mut port)), (1, vec![]));
    let counted = port.interface_counters().unwrap().since(&before);
    let expected = [(InterfaceLoss::RxDropped, 1), (InterfaceLoss::Driver("drop_other_queue"), 1)];
    assert_eq!(of_interface(&counted), expected);
}

#[test]
fn the_link_is_down() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    b.set_up(false);
    assert_eq!(port.obstacles().unwrap(), [Obstacle::NoCarrier]);
    let mut packet = port.packet().unwrap();
    packet.resize(60).unwrap();
    port.send_one(packet).unwrap();
    port.flush().unwrap();
    let counters = port.interface_counters().unwrap();
    let expected = [(InterfaceLoss::TxDropped, 1), (InterfaceLoss::Driver("drop_link_down"), 1)];
    assert_eq!(of_interface(&counters), expected);
    assert_eq!(of_interface(&port.interface_counters().unwrap().since(&counters)), []);
    a.set_up(false);
    assert_eq!(port.obstacles().unwrap(), [Obstacle::InterfaceDown]);
    a.remove();
    assert_eq!(port.obstacles().unwrap(), [Obstacle::InterfaceGone]);
    let error = port.interface_counters().unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoInterface, "{error}");
}

#[test]
fn too_long_to_be_sent() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 64);
    let port = Port::open(&pool, "a", 0, config()).unwrap();
    let (rx, mut tx) = port.split();
    let mut packet = tx.packet().unwrap();
    packet.resize(1600).unwrap();
    tx.send_one(packet).unwrap();
    assert_eq!(tx.stats().unwrap().losses().collect::<Vec<_>>(), [(Loss::TxDropped, 1)]);
    let counters = tx.interface_counters().unwrap();
    assert_eq!(
        of_interface(&counters),
        [(InterfaceLoss::TxDropped, 1), (InterfaceLoss::Driver("drop_driver"), 1)]
    );
    assert_eq!(rx.interface_counters().unwrap(), counters);
}

/// In zero-copy mode the card itself lacks frames, before there is any packet that the socket could count.
#[test]
fn a_card_without_frames() {
    let kernel = SimKernel::new(4);
    let card = kernel.card("nic", &DeviceConfig::default().zero_copy(true)).unwrap();
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "nic", 0, config().fill_level(4)).unwrap();
    assert_eq!(port.mode(), Mode::ZeroCopy);
    let _rest: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    for _ in 0..9 {
        card.inject(0, &[1; 60]).unwrap();
    }
    kernel.run_until_idle(1000);
    let counters = port.interface_counters().unwrap();
    let expected = [(InterfaceLoss::RxDropped, 5), (InterfaceLoss::Driver("drop_no_frame"), 5)];
    assert_eq!(of_interface(&counters), expected);
    assert!(port.wait(Some(Duration::from_millis(1))).unwrap());
    assert_eq!(received(&mut port).len(), 4);
    assert!(losses(&mut port).iter().all(|(loss, _)| *loss == Loss::NoFrame));
}

#[test]
fn a_backend_that_counts_nothing_says_so() {
    let (kernel, _a, _b) = world(1);
    let port = Port::open(&pool(&kernel, 64), "a", 0, config()).unwrap();
    let mute = kernel.fault(FaultRule::errno(Call::InterfaceCounters, xsk_core::errno::EOPNOTSUPP));
    let error = port.interface_counters().unwrap_err();
    assert_eq!((error.interface(), error.errno()), (Some("a"), Some(xsk_core::errno::EOPNOTSUPP)), "{error}");
    drop(mute);
}
