//! Devices other than veth pairs: loops, cards on a cable, and what their removal does.

mod echo;

use std::sync::Arc;

use xsk::backend::{Backend, RedirectProgram};
use xsk::config::{BindFlags, SocketConfig, XdpFlags};
use xsk_core::abi::{XDP_COPY, xdp_desc};
use xsk_core::errno::{EINVAL, ENODEV, ENXIO};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};
use xsk_tests::raw::{RawSocket, Setup, errno, frame};

use echo::{Program, number, packet};

/// A socket on queue 0 of a device, with a program in SKB mode or, if the device can, in native mode.
fn open(kernel: &SimKernel, device: &SimDevice, flags: XdpFlags) -> RawSocket {
    let backend: Arc<dyn Backend> = kernel.backend();
    let mut socket = RawSocket::new(&backend);
    socket.register(&Setup::default()).unwrap();
    socket.make_rings(&Setup::default());
    assert_eq!(socket.bind_to(device.index(), 0, XDP_COPY, 0), 0);
    let map = kernel.xskmap_create(1).unwrap();
    kernel.xskmap_update(map, 0, socket.handle).unwrap();
    let program = kernel.program_load(&RedirectProgram { map, frags: true }).unwrap();
    kernel.link_create(program, device.index(), flags).unwrap();
    socket
}

#[test]
fn a_loopback_gives_back_what_it_is_sent() {
    let kernel = SimKernel::new(1);
    let lo = kernel.loopback("lo").unwrap();
    let socket = open(&kernel, &lo, XdpFlags::empty());
    socket.fill().push([0_u64, 4096]);
    socket.write(8192, &frame(60, 1));
    socket.tx().push([xdp_desc { addr: 8192, len: 60, options: 0 }]);
    assert_eq!(socket.kick(), 0);
    let received = socket.rx().pop_all::<xdp_desc>();
    assert_eq!((received.len(), received[0].addr, received[0].len), (1, 256, 60));
    assert_eq!(socket.bytes(256, 60), frame(60, 1));
    assert_eq!(socket.completion().pop_all::<u64>(), [8192]);
    // Its stack sends to itself as well.
    lo.send(&frame(61, 2)).unwrap();
    assert_eq!(socket.rx().pop_all::<xdp_desc>().len(), 1);
    kernel.frames().check().unwrap();
    lo.set_up(false);
    assert_eq!(errno(lo.send(&frame(61, 2))), xsk_core::errno::ENETDOWN);
}

#[test]
fn a_cable_takes_frames_to_the_queue_of_the_same_number() {
    let kernel = SimKernel::new(1);
    let a = kernel.card("a", &DeviceConfig::default().queues(4)).unwrap();
    let b = kernel.card("b", &DeviceConfig::default().queues(2)).unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let program = kernel.program("sees", true, {
        let seen = Arc::clone(&seen);
        move |packet| {
            seen.lock().unwrap().push(packet.rx_queue());
            xsk_sim::XdpAction::Pass
        }
    });
    kernel.link_create(program, b.index(), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    a.connect(&b).unwrap();
    (0..4).for_each(|queue| a.send_on(queue, &frame(60, 1)).unwrap());
    assert_eq!(b.receive(), None, "it takes its time");
    kernel.run_until_idle(100);
    assert_eq!(*seen.lock().unwrap(), [0, 1, 0, 1]);
    assert_eq!((a.sent(), std::iter::from_fn(|| b.receive()).count()), (None, 4));
    // Both have to be up.
    b.set_up(false);
    assert!(!a.info().carrier);
    assert!(a.send(&frame(60, 1)).is_err());
    b.set_up(true);
    a.send(&frame(60, 1)).unwrap();
    kernel.run_until_idle(100);
    assert!(b.receive().is_some());
}

#[test]
fn cables_are_between_cards_of_one_kernel() {
    let kernel = SimKernel::new(1);
    let card = |name| kernel.card(name, &DeviceConfig::default()).unwrap();
    let (a, b, c) = (card("a"), card("b"), card("c"));
    let (veth, _) = kernel.veth("v", "w", &DeviceConfig::default()).unwrap();
    let elsewhere = SimKernel::new(1).card("a", &DeviceConfig::default()).unwrap();
    assert_eq!(
        (errno(a.connect(&veth)), errno(veth.connect(&a)), errno(a.connect(&elsewhere))),
        (EINVAL, EINVAL, EINVAL)
    );
    a.connect(&b).unwrap();
    c.connect(&b).unwrap();
    // The cable that a had is gone: what it sends ends in the test.
    a.send(&frame(60, 1)).unwrap();
    assert_eq!(a.sent(), Some(frame(60, 1)));
    b.remove();
    assert_eq!((errno(b.connect(&a)), errno(a.connect(&b))), (ENODEV, EINVAL));
    c.send(&frame(60, 2)).unwrap();
    assert_eq!(c.sent(), Some(frame(60, 2)), "removal cuts the cable");
    // A plug: the card hears itself.
    c.connect(&c).unwrap();
    c.send(&frame(60, 3)).unwrap();
    kernel.run_until_idle(10);
    assert_eq!(c.receive(), Some(frame(60, 3)));
}

/// Two programs, one kernel, no copies: a packet goes from one UMEM to the other and back.
#[test]
fn two_programs_talk_over_a_cable() {
    for flags in [BindFlags::XDP_ZEROCOPY, BindFlags::XDP_ZEROCOPY | BindFlags::XDP_USE_NEED_WAKEUP] {
        let kernel = SimKernel::new(3);
        let config = DeviceConfig::default().zero_copy(true);
        let (a, b) = (kernel.card("a", &config).unwrap(), kernel.card("b", &config).unwrap());
        a.connect(&b).unwrap();
        let config = SocketConfig::builder().bind_flags(flags).build();
        let mut one = Program::open(&kernel, "a", config, 32);
        let mut two = Program::open(&kernel, "b", config, 32);
        assert!(one.is_zero_copy() && two.is_zero_copy());
        one.fill(8);
        two.fill(8);
        for round in 0..40 {
            one.send(&packet(round));
            assert!(two.turn(), "round {round}");
            let back = one.receive().expect("an answer");
            assert_eq!(number(&back), round);
        }
        kernel.frames().check().unwrap();
    }
}

/// At each moment of a packet's way, its device goes.
#[test]
fn removal_in_every_state() {
    for (mode, kind) in [
        (XdpFlags::XDP_FLAGS_SKB_MODE, 0),
        (XdpFlags::XDP_FLAGS_DRV_MODE, 0),
        (XdpFlags::XDP_FLAGS_SKB_MODE, 1),
        (XdpFlags::XDP_FLAGS_DRV_MODE, 1),
        (XdpFlags::empty(), 2),
    ] {
        for steps in 0..12 {
            let kernel = SimKernel::new(steps);
            let threaded = DeviceConfig::default().threaded(true);
            let (device, peer) = match kind {
                0 => kernel.veth("a", "b", &threaded).unwrap(),
                1 => {
                    let card = |name| kernel.card(name, &threaded).unwrap();
                    let (a, b) = (card("a"), card("b"));
                    a.connect(&b).unwrap();
                    (a, b)
                }
                _ => {
                    let lo = kernel.loopback("lo").unwrap();
                    (lo.clone(), lo)
                }
            };
            let socket = open(&kernel, &device, mode);
            peer.set_stack_delay(std::time::Duration::from_millis(1));
            socket.fill().push([0_u64, 4096, 8192]);
            let descs =
                (0..4).map(|i| xdp_desc { addr: (8 + i) * 4096, len: 60, options: u32::from(i == 3) });
            socket.tx().push(descs);
            assert_eq!(socket.kick(), 0);
            peer.send(&frame(60, 1)).unwrap();
            (0..steps).for_each(|_| {
                kernel.step();
            });
            device.remove();
            kernel.frames().check().unwrap();
            assert_eq!((socket.kick(), errno(device.send(&frame(60, 1)))), (ENXIO, ENODEV));
            kernel.run_until_idle(1000);
            let frames = kernel.frames();
            frames.check().unwrap();
            let partial = frames.count(xsk_sim::Place::Kernel);
            assert_eq!(partial, 1, "the packet whose end never came; {kind} {mode:?} {steps}\n{frames}");
            drop(socket);
            kernel.run_until_idle(1000);
            assert_eq!(kernel.frames().to_string(), "");
            kernel.check().unwrap();
        }
    }
}
