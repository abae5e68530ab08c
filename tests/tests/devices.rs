//! Devices that go down, go away, or change under an open socket.
#![cfg(target_os = "linux")]

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use xsk::error::{Diagnosis, Error};
use xsk::{FrameDesc, RxQueue, Umem};
use xsk_tests::{
    MODES, Port, complete, copy_mode, eventually, fill, frame, port, receive, send, sharer, try_open, umem,
    within_a_second, write,
};
use xsk_veth::{Namespace, Tap, VethPair};

const SECOND: Duration = Duration::from_secs(1);

/// The error says that the interface is in this state, and which interface it is.
fn assert_says<T: std::fmt::Debug>(what: &str, result: io::Result<T>, expected: &Diagnosis) {
    let error = result.expect_err(what);
    let inner = Error::of_io(&error).unwrap_or_else(|| panic!("{what}: a bare {error:?}"));
    assert_eq!(inner.diagnosis(), expected, "{what}");
    assert_eq!((inner.interface(), inner.queue()), (Some("b"), Some(0)), "{what}");
    assert!(error.to_string().contains(" on b queue 0: the interface is "), "{what}: {error}");
}

fn a_poll_without_end_fails(mut rx: RxQueue, expected: &Diagnosis) -> RxQueue {
    let (rx, result) = within_a_second("poll", move || {
        let result = rx.poll(-1);
        (rx, result)
    });
    assert_says("poll", result, expected);
    rx
}

/// A poll without end that something happens to: it returns within a second of it, with an error.
fn happens_in_a_poll(mut rx: RxQueue, happen: impl FnOnce(), expected: &Diagnosis) -> RxQueue {
    let polling = thread::spawn(move || {
        let result = rx.poll(-1);
        (rx, result, Instant::now())
    });
    thread::sleep(Duration::from_millis(30));
    assert!(!polling.is_finished());
    let start = Instant::now();
    happen();
    let (rx, result, returned) = within_a_second("poll", move || polling.join().unwrap());
    assert_says("poll", result, expected);
    assert!(returned - start < SECOND);
    rx
}

/// Every call that waits, or asks the kernel, returns within a second with an error that says what is the matter.
fn every_wait_fails(port: Port, expected: &Diagnosis) -> Port {
    let expected = expected.clone();
    within_a_second("a call", move || {
        let Port { mut tx, mut rx, fill, mut comp } = port;
        let mut descs = [FrameDesc::default(); 4];
        assert_says("RX poll", rx.poll(20), &expected);
        // SAFETY: nothing is received.
        assert_says("poll and consume", unsafe { rx.poll_and_consume(&mut descs, 20) }, &expected);
        // SAFETY: as above.
        assert_says("poll and consume one", unsafe { rx.poll_and_consume_one(&mut descs[0], 20) }, &expected);
        assert_says("TX poll", tx.poll(20), &expected);
        assert_says("fill wakeup", fill.wakeup(rx.fd_mut(), 20), &expected);
        // Polls that do not wait find out as well, if not each of them.
        assert_says("64 polls", (0..64).try_for_each(|_| rx.poll(0).map(drop)), &expected);
        assert_says("64 polls", (0..64).try_for_each(|_| tx.poll(0).map(drop)), &expected);
        assert_says("64 wakeups", (0..64).try_for_each(|_| fill.wakeup(rx.fd_mut(), 0)), &expected);
        // SAFETY: nothing is there.
        assert_eq!(unsafe { comp.consume(&mut descs) }, 0);
        rx.fd().xdp_statistics().unwrap();
        rx.fd().is_zero_copy().unwrap();
        Port { tx, rx, fill, comp }
    })
}

#[test]
fn a_device_goes_down_and_up_again() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        let (umem, mut descs) = umem(32);
        let mut port = ns.run(|| port(&umem, copy_mode(mode), "b", 0));
        let program = pair.b.xdp().unwrap();
        fill(&mut port.fill, &descs[..8]);
        tap.send(&frame(60, 1)).unwrap();
        assert_eq!(receive(&umem, &mut port.rx, 1)[0].0, frame(60, 1));
        tap.send(&frame(61, 2)).unwrap();
        eventually("the second packet", || port.rx.nb_avail_exact() == 1);

        // A packet waits, and still the kernel reports nothing once the device is down; but it can be taken.
        pair.b.set_up(false).unwrap();
        port.rx = a_poll_without_end_fails(port.rx, &Diagnosis::InterfaceDown);
        assert_eq!(receive(&umem, &mut port.rx, 1)[0].0, frame(61, 2));
        pair.b.set_up(true).unwrap();
        pair.wait_running().unwrap();

        let down = || pair.b.set_up(false).unwrap();
        port.rx = happens_in_a_poll(port.rx, down, &Diagnosis::InterfaceDown);
        let mut port = every_wait_fails(port, &Diagnosis::InterfaceDown);
        // A wakeup takes it for something that passes. The frame stays on the queue.
        send(&umem, &mut port.tx, &mut descs[16], &frame(62, 3));
        port.tx.wakeup().unwrap();
        assert_eq!(port.tx.nb_free_exact(), 2048 - 1);
        assert_eq!(port.comp.nb_avail_exact(), 0);
        // A socket may be opened on a device that is down.
        let (tx2, rx2) = ns.run(|| sharer(&umem, copy_mode(mode), "b", 0));
        drop((a_poll_without_end_fails(rx2, &Diagnosis::InterfaceDown), tx2));

        pair.b.set_up(true).unwrap();
        pair.wait_running().unwrap();
        assert_eq!(pair.b.xdp().unwrap(), program);
        port.tx.wakeup().unwrap();
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(62, 3)));
        assert_eq!(complete(&mut port.comp, 1)[0].addr(), descs[16].addr());
        tap.send(&frame(63, 4)).unwrap();
        assert!(port.rx.poll(1000).unwrap());
        assert_eq!(receive(&umem, &mut port.rx, 1)[0].0, frame(63, 4));
    }
}

#[test]
fn a_peer_goes_down_and_up_again() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        let (umem, mut descs) = umem(32);
        let mut port = ns.run(|| port(&umem, copy_mode(mode), "b", 0));
        fill(&mut port.fill, &descs[..8]);
        pair.a.set_up(false).unwrap();
        // Lost on the wire, as on any network: the frame comes back.
        send(&umem, &mut port.tx, &mut descs[16], &frame(60, 1));
        assert_eq!(complete(&mut port.comp, 1)[0].addr(), descs[16].addr());
        assert!(!port.rx.poll(50).unwrap());
        assert!(port.tx.poll(50).unwrap());
        pair.a.set_up(true).unwrap();
        pair.wait_running().unwrap();
        // The tap saw its interface go down.
        let _ = tap.recv(Duration::ZERO);
        tap.send(&frame(61, 2)).unwrap();
        assert_eq!(receive(&umem, &mut port.rx, 1)[0].0, frame(61, 2));
        send(&umem, &mut port.tx, &mut descs[16], &frame(62, 3));
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(62, 3)));
    }
}

/// A socket that has seen traffic: packets wait on the RX queue, sent frames on the completion queue, empty frames on the
/// fill queue.
struct Scene {
    ns: Namespace,
    pair: VethPair,
    umem: Umem,
    descs: Vec<FrameDesc>,
    port: Port,
}

impl Scene {
    fn new(mode: xsk::config::XdpFlags) -> Self {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        let (umem, mut descs) = umem(32);
        let mut port = ns.run(|| port(&umem, copy_mode(mode), "b", 0));
        fill(&mut port.fill, &descs[..8]);
        for tag in 1..=3 {
            tap.send(&frame(60, tag)).unwrap();
            send(&umem, &mut port.tx, &mut descs[8 + tag as usize], &frame(60, tag));
        }
        eventually("traffic", || port.rx.nb_avail_exact() == 3 && port.comp.nb_avail_exact() == 3);
        Self { ns, pair, umem, descs, port }
    }

    /// The device is gone: nothing hangs, what the kernel gave back before is still there, and what the user has works
    /// with another device.
    fn outlive_device(self, mode: xsk::config::XdpFlags) -> VethPair {
        let Self { pair, umem, mut descs, port: mut dead, .. } = self;
        let gone = Diagnosis::InterfaceGone;
        let got: Vec<_> = receive(&umem, &mut dead.rx, 3).into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(got, [1, 2, 3].map(|tag| frame(60, tag)));
        complete(&mut dead.comp, 3);
        let mut dead = every_wait_fails(dead, &gone);
        assert_says("wakeup", dead.tx.wakeup(), &gone);
        // Frames that were handed over are counted, whatever becomes of the wakeup; its error comes next.
        write(&umem, &mut descs[16], &frame(60, 4));
        for expected in 1..=2 {
            // SAFETY: each of these frames is handed over once, and abandoned.
            let count = unsafe { dead.tx.produce_one_and_wakeup(&descs[15 + expected]) };
            assert_eq!(count.unwrap(), 1);
            // SAFETY: none is handed over.
            assert_says("wakeup", unsafe { dead.tx.produce_and_wakeup(&[]) }, &gone);
            assert_eq!(dead.tx.nb_free_exact(), 2048 - expected as u32);
        }
        // SAFETY: as above.
        assert_eq!(unsafe { dead.fill.produce_and_wakeup(&descs[18..20], dead.rx.fd_mut(), 0) }.unwrap(), 2);
        assert_eq!(dead.fill.nb_free_exact(), 2048 - 8 - 2 + 3);

        // The frames that were never on the dead rings, and those that came back, serve on another device.
        let far = Namespace::new().unwrap();
        let spare =
            VethPair::builder(&far, &far).a(|end| end.name("c")).b(|end| end.name("d")).build().unwrap();
        let tap = Tap::open(&far, "c").unwrap();
        let mut alive = far.run(|| port(&umem, copy_mode(mode), "d", 0));
        fill(&mut alive.fill, &descs[..3]);
        for tag in 5..8 {
            tap.send(&frame(60, tag)).unwrap();
            assert_eq!(receive(&umem, &mut alive.rx, 1)[0].0, frame(60, tag));
            send(&umem, &mut alive.tx, &mut descs[20 + tag as usize], &frame(61, tag));
            assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, tag)));
        }
        complete(&mut alive.comp, 3);
        within_a_second("closing", move || drop(dead));
        drop(alive);
        assert!(spare.b.xdp().unwrap().is_none());
        pair
    }
}

#[test]
fn a_device_is_deleted() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        for which in ["the device", "its peer"] {
            let mut scene = Scene::new(mode);
            let (a, b) = (&scene.pair.a, &scene.pair.b);
            let delete = || if which == "its peer" { a.delete().unwrap() } else { b.delete().unwrap() };
            scene.port.rx = {
                // It returns at once as long as packets wait.
                assert!(scene.port.rx.poll(-1).unwrap());
                let got = receive(&scene.umem, &mut scene.port.rx, 3);
                let rx = happens_in_a_poll(scene.port.rx, delete, &Diagnosis::InterfaceGone);
                assert_eq!(got.len(), 3);
                rx
            };
            complete(&mut scene.port.comp, 3);
            let error = scene.ns.run(|| try_open(&scene.umem, copy_mode(mode), "b", 0)).unwrap_err();
            assert_eq!(error.diagnosis(), &Diagnosis::NoInterface, "{error}");
            drop(every_wait_fails(scene.port, &Diagnosis::InterfaceGone));
        }
    }
}

#[test]
fn the_frames_of_a_deleted_device_are_accounted_for() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let scene = Scene::new(mode);
        scene.pair.b.delete().unwrap();
        scene.outlive_device(mode);
        let scene = Scene::new(mode);
        scene.pair.a.delete().unwrap();
        scene.outlive_device(mode);
    }
}

#[test]
fn a_device_is_moved_to_another_namespace() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let mut scene = Scene::new(mode);
        let other = Namespace::new().unwrap();
        scene.pair.b.move_to(&other).unwrap();
        // The program goes with it, the socket does not.
        let program = scene.pair.b.xdp().unwrap().unwrap();
        scene.pair.b.set_up(true).unwrap();
        scene.pair.wait_running().unwrap();
        let error = other.run(|| try_open(&scene.umem, copy_mode(mode), "b", 0)).unwrap_err();
        let Diagnosis::ProgramAttached { program: attached, .. } = error.diagnosis() else {
            panic!("{error}")
        };
        assert_eq!(attached.id, program.id);
        let (umem, ns, desc) = (scene.umem.clone(), scene.ns.clone(), scene.descs[30]);
        // Closing the socket lets go of it.
        let b = scene.outlive_device(mode).b;
        assert!(b.xdp().unwrap().is_none());
        let mut moved = other.run(|| port(&umem, copy_mode(mode), "b", 0));
        fill(&mut moved.fill, &[desc]);
        let tap = Tap::open(&ns, "a").unwrap();
        tap.send(&frame(70, 9)).unwrap();
        assert_eq!(receive(&umem, &mut moved.rx, 1)[0].0, frame(70, 9));
    }
}

#[test]
fn a_device_that_was_moved_away_and_back_has_no_socket() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let mut scene = Scene::new(mode);
        let (index, program) = (scene.pair.b.ifindex(), scene.pair.b.xdp().unwrap());
        let other = Namespace::new().unwrap();
        scene.pair.b.move_to(&other).unwrap();
        scene.pair.b.move_to(&scene.ns).unwrap();
        scene.pair.b.set_up(true).unwrap();
        scene.pair.wait_running().unwrap();
        assert_eq!((scene.pair.b.ifindex(), scene.pair.b.xdp().unwrap()), (index, program));
        let mut back = scene.ns.run(|| port(&scene.umem, copy_mode(mode), "b", 0));
        assert_eq!(scene.pair.b.xdp().unwrap(), program);
        fill(&mut back.fill, &scene.descs[30..32]);
        let tap = Tap::open(&scene.ns, "a").unwrap();
        tap.send(&frame(70, 9)).unwrap();
        assert_eq!(receive(&scene.umem, &mut back.rx, 1)[0].0, frame(70, 9));
        // The dead one does not get the packets back that it cannot receive: the stack does.
        drop(back);
        let far_tap = Tap::open(&scene.ns, "b").unwrap();
        tap.send(&frame(71, 10)).unwrap();
        assert_eq!(far_tap.recv(SECOND).unwrap(), Some(frame(71, 10)));
        scene.outlive_device(mode);
    }
}

#[test]
fn a_device_with_the_index_of_a_deleted_one_has_a_program_of_its_own() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        for deleted in [true, false] {
            let mut scene = Scene::new(mode);
            let index = scene.pair.b.ifindex();
            let (elsewhere, attic) = (Namespace::new().unwrap(), Namespace::new().unwrap());
            let mut pair = VethPair::builder(&elsewhere, &elsewhere);
            // Interfaces get the first free index, and keep theirs in another namespace if it is free there.
            if scene.pair.a.ifindex() < index {
                pair = pair.a(|end| end.name("b")).b(|end| end.name("a"));
            }
            let mut pair = pair.build().unwrap();
            if deleted {
                scene.pair.b.delete().unwrap();
            } else {
                scene.pair.b.move_to(&attic).unwrap();
            }
            let end = if pair.a.ifindex() == index { &mut pair.a } else { &mut pair.b };
            end.move_to(&scene.ns).unwrap();
            end.set_up(true).unwrap();
            assert_eq!((end.ifindex(), end.xdp().unwrap()), (index, None));
            let (name, far) =
                (end.name().to_owned(), if pair.a.ifindex() == index { &pair.b } else { &pair.a });
            let tap = Tap::open(far.namespace(), far.name()).unwrap();
            let mut port = scene.ns.run(|| port(&scene.umem, copy_mode(mode), &name, 0));
            fill(&mut port.fill, &scene.descs[30..32]);
            pair.wait_running().unwrap();
            tap.send(&frame(70, 9)).unwrap();
            assert_eq!(receive(&scene.umem, &mut port.rx, 1)[0].0, frame(70, 9));
            // The dead socket of the old one takes nothing along.
            drop(scene.port);
            tap.send(&frame(71, 10)).unwrap();
            assert_eq!(receive(&scene.umem, &mut port.rx, 1)[0].0, frame(71, 10));
            drop(port);
            assert!(scene.ns.link(&name).unwrap().xdp.is_none());
        }
    }
}

#[test]
fn a_device_is_renamed() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let mut pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        let (umem, mut descs) = umem(32);
        let mut old = ns.run(|| port(&umem, copy_mode(mode), "b", 0));
        fill(&mut old.fill, &descs[..8]);
        pair.b.rename("renamed").unwrap();
        tap.send(&frame(60, 1)).unwrap();
        assert_eq!(receive(&umem, &mut old.rx, 1)[0].0, frame(60, 1));
        send(&umem, &mut old.tx, &mut descs[16], &frame(61, 2));
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, 2)));

        let error = ns.run(|| try_open(&umem, copy_mode(mode), "b", 0)).unwrap_err();
        assert_eq!(error.diagnosis(), &Diagnosis::NoInterface, "{error}");
        // Under its new name it is the same queue and the same program.
        let program = pair.b.xdp().unwrap();
        let (tx, mut rx) = ns.run(|| sharer(&umem, copy_mode(mode), "renamed", 0));
        assert_eq!(pair.b.xdp().unwrap(), program);
        tap.send(&frame(62, 3)).unwrap();
        assert_eq!(receive(&umem, &mut rx, 1)[0].0, frame(62, 3));
        drop((tx, rx, old));
        assert!(pair.b.xdp().unwrap().is_none());
    }
}
