//! Each kind of fault, through the ring tier.

mod port;

use std::collections::BTreeSet;
use std::time::Duration;

use port::{Port, broken, receive, umem, world, write};
use xsk::FrameDesc;
use xsk::backend::Backend;
use xsk::config::XdpFlags;
use xsk_core::errno::{EAGAIN, EMFILE, ENOBUFS, ENXIO};
use xsk_sim::fault::{Call, Chance, DeviceFault, Fault, FaultRule, Moment, Point, Ring};
use xsk_sim::{DeviceConfig, Place, Profile, SimKernel, WouldBlockForever};

const MS: Duration = Duration::from_millis(1);

#[test]
fn calls_fail_by_kind_number_and_socket() {
    let (kernel, _a, _b) = world(1);
    let second = kernel.fault(FaultRule::errno(Call::Socket, EMFILE).nth(2));
    let one = kernel.socket().unwrap();
    assert_eq!(kernel.socket().unwrap_err().raw_os_error(), Some(EMFILE));
    let other = kernel.socket().unwrap();
    assert_eq!(second.hits(), 1);
    let of_one = kernel.fault(FaultRule::errno(Call::SendTo, EAGAIN).socket(one));
    assert_eq!(kernel.sendto(one).unwrap_err().raw_os_error(), Some(EAGAIN));
    assert_eq!(kernel.sendto(other).unwrap_err().raw_os_error(), Some(ENXIO));
    drop(of_one);
    assert_eq!(kernel.sendto(one).unwrap_err().raw_os_error(), Some(ENXIO));
    let some = kernel.fault(FaultRule::errno(Call::SendTo, ENOBUFS).chance(0.25));
    let failed = (0..400).filter(|_| kernel.sendto(one).unwrap_err().raw_os_error() == Some(ENOBUFS)).count();
    assert!((60..140).contains(&failed), "{failed}");
    assert_eq!(some.hits(), failed as u64);
}

#[test]
fn the_first_rule_that_answers_wins() {
    let kernel = SimKernel::new(1);
    kernel.watch_frames(true);
    let first = kernel.fault(|point: &Point, _: &mut Chance<'_>| match point.moment {
        Moment::Call(Call::Socket) => Some(Fault::Errno(1)),
        _ => None,
    });
    let second = kernel.fault(FaultRule::errno(Call::Socket, 2));
    assert_eq!(kernel.socket().unwrap_err().raw_os_error(), Some(1));
    drop(first);
    assert_eq!(kernel.socket().unwrap_err().raw_os_error(), Some(2));
    drop(second);
    kernel.socket().unwrap();
}

/// Sends frames 8 to 12 with one wakeup.
fn send_four(port: &mut Port) {
    for i in 8..12 {
        write(&port.umem, &mut port.descs[i], &[i as u8; 60]);
    }
    // SAFETY: each frame is on one queue.
    assert_eq!(unsafe { port.tx.produce_and_wakeup(&port.descs[8..12]) }.unwrap(), 4);
}

fn completed(port: &mut Port) -> Vec<usize> {
    let mut done = [FrameDesc::default(); 16];
    // SAFETY: one UMEM.
    let count = unsafe { port.comp.consume(&mut done) };
    done[..count].iter().map(FrameDesc::addr).collect()
}

fn addresses(port: &Port, frames: [usize; 4]) -> Vec<usize> {
    frames.iter().map(|frame| port.descs[*frame].addr()).collect()
}

#[test]
fn completions_are_lost() {
    for profile in [Profile::LINUX_6_18, Profile::LINUX_6_12] {
        let kernel = SimKernel::with_profile(3, profile);
        kernel.watch_frames(true);
        let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let mut port = Port::open(&kernel, "a", XdpFlags::empty());
        let second = kernel.fault(FaultRule::lose_completions().nth(2));
        send_four(&mut port);
        assert_eq!(second.hits(), 1);
        let all = addresses(&port, [8, 9, 10, 11]);
        assert_eq!(completed(&mut port), [all[0], all[2], all[3]]);
        assert_eq!((0..4).filter_map(|_| b.receive()).count(), 4);
        let frames = kernel.frames();
        frames.check().unwrap();
        assert_eq!((frames.count(Place::Lost), frames.with_user()), (1, 15));
        assert_eq!(frames.faults(0).len(), 1);
        assert_eq!((frames.faults(0)[0].ring, frames.faults(0)[0].shown), (Ring::Completion, None));
        // The user gives up waiting for it, and sends it again.
        // SAFETY: the kernel forgot it.
        assert_eq!(unsafe { port.tx.produce_one_and_wakeup(&port.descs[9]) }.unwrap(), 1);
        assert_eq!(completed(&mut port), [all[1]]);
        assert_eq!(kernel.frames().with_user(), 16);
        drop(port);
        kernel.run_until_idle(100);
        assert!(
            !kernel.snapshot().contains("umem"),
            "a lost completion keeps nothing: {}",
            kernel.snapshot()
        );
    }
}

#[test]
fn lost_completions_leave_their_places_free() {
    let (kernel, _a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    write(&port.umem, &mut port.descs[8], &[8; 60]);
    let lost = kernel.fault(FaultRule::lose_completions());
    // More than the completion ring has places.
    for _ in 0..5000 {
        // SAFETY: the kernel forgets it each time.
        assert_eq!(unsafe { port.tx.produce_one_and_wakeup(&port.descs[8]) }.unwrap(), 1);
        assert!(b.receive().is_some());
    }
    assert_eq!(lost.hits(), 5000);
}

#[test]
fn completions_come_late_and_in_another_order() {
    for profile in [Profile::LINUX_6_18, Profile::LINUX_6_1] {
        let mut orders = BTreeSet::new();
        for seed in 0..20 {
            let kernel = SimKernel::with_profile(seed, profile);
            kernel.watch_frames(true);
            let (_a, _b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
            let mut port = Port::open(&kernel, "a", XdpFlags::empty());
            let late = kernel.fault(FaultRule::delay_completions(MS..20 * MS));
            send_four(&mut port);
            assert_eq!(completed(&mut port), []);
            let frames = kernel.frames();
            frames.check().unwrap();
            assert_eq!((frames.count(Place::Kernel), frames.with_user()), (4, 12));
            kernel.sleep(20 * MS);
            assert_eq!(late.hits(), 4);
            let order = completed(&mut port);
            assert_eq!(
                order.iter().copied().collect::<BTreeSet<_>>(),
                addresses(&port, [8, 9, 10, 11]).into_iter().collect()
            );
            orders.insert(order);
            assert_eq!(kernel.frames().with_user(), 16);
        }
        assert!(orders.len() > 5, "{orders:?}");
    }
}

#[test]
fn napi_is_stalled_until_the_rule_is_withdrawn() {
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        for threaded in [false, true] {
            let (kernel, a, b) = world(1);
            a.set_threaded(threaded);
            let mut port = Port::open(&kernel, "a", mode);
            port.fill_eight();
            let stall = kernel.fault(FaultRule::stall_napi().on(&a));
            b.send(&[1; 60]).unwrap();
            b.send(&[2; 60]).unwrap();
            assert!(!port.rx.poll(50).unwrap());
            // Nothing is planned that could end it, and poll for ever says so.
            let socket = [xsk::backend::Poll {
                socket: port.rx.fd().handle(),
                events: xsk::backend::PollEvents::IN,
                ready: xsk::backend::PollEvents::empty(),
            }];
            let error = kernel.poll(&mut socket.clone(), -1).unwrap_err();
            assert!(error.get_ref().unwrap().is::<WouldBlockForever>(), "{error}");
            drop(stall);
            assert!(port.rx.poll(50).unwrap());
            assert_eq!(receive(&port.umem, &mut port.rx), [vec![1; 60], vec![2; 60]]);
            kernel.frames().check().unwrap();
        }
    }
}

#[test]
fn napi_is_late() {
    let (kernel, a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    port.fill_eight();
    let _late = kernel.fault(FaultRule::delay_napi(5 * MS..6 * MS).on(&a).queue(0));
    b.send(&[1; 60]).unwrap();
    assert!(!port.rx.poll(4).unwrap());
    assert!(port.rx.poll(4).unwrap());
}

#[test]
fn kicks_are_lost() {
    let (kernel, _a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    let lost = kernel.fault(FaultRule::lose_kicks().times(1));
    send_four(&mut port);
    assert_eq!((lost.hits(), b.receive()), (1, None));
    assert_eq!(kernel.frames().count(Place::Tx), 4);
    port.tx.wakeup().unwrap();
    assert_eq!((0..5).filter_map(|_| b.receive()).count(), 4);
}

#[test]
fn sleepers_are_not_woken() {
    let (kernel, a, b) = world(1);
    a.set_threaded(true);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    port.fill_eight();
    let wait = |port: &mut Port| {
        b.send(&[1; 60]).unwrap();
        let before = kernel.time();
        assert!(port.rx.poll(10).unwrap());
        assert_eq!(receive(&port.umem, &mut port.rx).len(), 1);
        kernel.time() - before
    };
    assert!(wait(&mut port) < MS);
    let lost = kernel.fault(FaultRule::lose_wakes());
    assert!(wait(&mut port) >= 10 * MS, "poll looks again when its time is over");
    assert_eq!(lost.hits(), 1);
    drop(lost);
    assert!(wait(&mut port) < MS);
}

#[test]
fn the_fill_ring_starves() {
    let (kernel, _a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    port.fill_eight();
    let starve = kernel.fault(FaultRule::starve());
    b.send(&[1; 60]).unwrap();
    assert_eq!(receive(&port.umem, &mut port.rx).len(), 0);
    let statistics = port.rx.fd().xdp_statistics().unwrap();
    assert_eq!((statistics.rx_dropped(), statistics.rx_fill_ring_empty_descs()), (1, 1));
    drop(starve);
    b.send(&[2; 60]).unwrap();
    assert_eq!(receive(&port.umem, &mut port.rx), [vec![2; 60]]);
    assert_eq!(kernel.frames().count(Place::Fill), 7);
}

#[test]
fn packets_are_lost_and_late() {
    let (kernel, a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    let lost = kernel.fault(FaultRule::lose_packets().on(&a).nth(2));
    send_four(&mut port);
    assert_eq!(completed(&mut port).len(), 4);
    assert_eq!((0..5).filter_map(|_| b.receive()).map(|packet| packet[0]).collect::<Vec<_>>(), [8, 10, 11]);
    drop(lost);
    let late = kernel.fault(FaultRule::delay_packets(MS..9 * MS));
    send_four(&mut port);
    assert_eq!((b.receive(), kernel.frames().count(Place::Kernel)), (None, 4));
    kernel.sleep(10 * MS);
    assert_eq!((0..5).filter_map(|_| b.receive()).count(), 4);
    assert_eq!((completed(&mut port).len(), late.hits()), (4, 4));
    let card = kernel.card("card", &DeviceConfig::default()).unwrap();
    card.inject(0, &[1; 60]).unwrap();
    assert_eq!(card.receive(), None);
    kernel.sleep(10 * MS);
    assert_eq!(card.receive(), Some(vec![1; 60]));
}

#[test]
fn corrupt_descriptors_harm_nobody() {
    let mut shown = BTreeSet::new();
    for seed in 0..200 {
        let kernel = SimKernel::new(seed);
        kernel.watch_frames(true);
        let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let mut port = Port::open(&kernel, "a", XdpFlags::empty());
        port.fill_eight();
        let corrupt = kernel.fault(FaultRule::corrupt_rx().times(3));
        for i in 0..5 {
            b.send(&[i; 60]).unwrap();
        }
        assert_eq!(corrupt.hits(), 3);
        let mut lost = 0;
        for taken in [false, true] {
            if taken {
                let mut descs = [FrameDesc::default(); 16];
                // SAFETY: one UMEM.
                let count = unsafe { port.rx.consume(&mut descs) };
                assert_eq!(count, 5);
                for desc in &descs[..3] {
                    let bad = (desc.addr() >= 16 * 4096, desc.lengths().data() > 4096, desc.options() > 3);
                    assert!(bad.0 || bad.1 || bad.2, "seed {seed}: {desc:?}");
                    shown.insert(bad);
                    // SAFETY: nobody writes the frame.
                    assert!(unsafe { port.umem.data(desc) }.len() <= 4096);
                }
                // SAFETY: received frames are ours.
                assert_eq!(unsafe { port.umem.data(&descs[4]) }.to_vec(), [4; 60]);
            }
            let frames = kernel.frames();
            frames.check().unwrap();
            assert_eq!(frames.strays().count(), 0);
            lost = frames.count(Place::Lost);
            assert_eq!(frames.faults(0).len(), lost);
            assert_eq!(frames.count(Place::Rx), if taken { 0 } else { 5 - lost });
        }
        assert_eq!(kernel.frames().with_user(), 13 - lost as u64);
        // The kernel goes on.
        b.send(&[9; 60]).unwrap();
        assert_eq!(receive(&port.umem, &mut port.rx), [vec![9; 60]]);
    }
    assert_eq!(shown.len(), 3, "address, length and options");
}

#[test]
fn corrupt_completions_harm_nobody() {
    for seed in 0..100 {
        let kernel = SimKernel::new(seed);
        kernel.watch_frames(true);
        let (_a, _b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let mut port = Port::open(&kernel, "a", XdpFlags::empty());
        let corrupt = kernel.fault(FaultRule::corrupt_completions().nth(2));
        send_four(&mut port);
        let all = addresses(&port, [8, 9, 10, 11]);
        assert_eq!(kernel.frames().count(Place::Lost), 1);
        let done = completed(&mut port);
        assert_eq!((done[0], done[2], done[3], corrupt.hits()), (all[0], all[2], all[3], 1));
        assert_ne!(done[1], all[1]);
        let frames = kernel.frames();
        frames.check().unwrap();
        assert_eq!((frames.count(Place::Lost), frames.with_user()), (1, 15));
        assert_eq!(frames.faults(0)[0].shown, Some(done[1] as u64));
    }
}

#[test]
fn impossible_indices_are_typed_errors_and_pass() {
    for seed in 0..20 {
        for ring in [Ring::Rx, Ring::Tx, Ring::Fill, Ring::Completion] {
            let kernel = SimKernel::new(seed);
            kernel.watch_frames(true);
            let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
            let mut port = Port::open(&kernel, "a", XdpFlags::empty());
            port.fill_eight();
            let corrupt = kernel.fault(FaultRule::corrupt_index(ring));
            b.send(&[1; 60]).unwrap();
            send_four(&mut port);
            assert!(corrupt.hits() > 0, "{ring}");
            kernel.frames().check().unwrap();
            let error = match ring {
                Ring::Rx => {
                    assert_eq!(receive(&port.umem, &mut port.rx).len(), 0);
                    port.rx.poll(0).unwrap_err()
                }
                Ring::Tx => {
                    assert_eq!(port.tx.nb_free_exact(), 0);
                    port.tx.wakeup().unwrap_err()
                }
                Ring::Fill => {
                    assert_eq!(port.fill.nb_free_exact(), 0);
                    port.fill.wakeup(port.rx.fd_mut(), 0).unwrap_err()
                }
                Ring::Completion => {
                    assert_eq!(completed(&mut port), []);
                    port.comp.check().unwrap_err()
                }
            };
            assert!(broken(&error), "{ring}: {error}");
            drop(corrupt);
            assert_eq!(receive(&port.umem, &mut port.rx), [vec![1; 60]]);
            assert_eq!(completed(&mut port).len(), 4);
            let size = port.tx.nb_free_exact();
            assert!(size.is_power_of_two() && port.fill.nb_free_exact() > 0, "{ring}: {size}");
            assert_eq!(kernel.frames().with_user(), 9, "{ring}");
        }
    }
}

/// Some traffic in both directions. Calls may fail.
fn traffic(kernel: &SimKernel, port: &mut Port, b: &xsk_sim::SimDevice) {
    for i in 0..6 {
        let _ = b.send(&[i; 60]);
        // SAFETY: on one queue each, as far as the device lives; the test looks at no bytes.
        let _ = unsafe { port.tx.produce_one_and_wakeup(&port.descs[8 + usize::from(i)]) };
        let _ = port.rx.poll(1);
        kernel.frames().check().unwrap();
    }
}

#[test]
fn a_device_is_removed_at_any_point() {
    let mut points = 0;
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        for point in 0..200 {
            let (kernel, a, b) = world(1);
            let mut port = Port::open(&kernel, "a", mode);
            port.fill_eight();
            (8..14).for_each(|i| write(&port.umem, &mut port.descs[i], &[7; 60]));
            let remove = kernel.fault(FaultRule::device_fault(&a, DeviceFault::Remove).after(point));
            traffic(&kernel, &mut port, &b);
            points += remove.hits();
            if remove.hits() == 1 {
                assert!(port.rx.poll(1).is_err(), "point {point}");
                assert!(kernel.interface(c"a").is_err());
            }
            drop(port);
            kernel.run_until_idle(1000);
            kernel.check().unwrap();
            let left = kernel.snapshot();
            assert!(!left.contains("umem") && !left.contains("socket"), "point {point}: {left}");
        }
    }
    assert!(points > 100, "{points} points");
}

#[test]
fn a_link_flaps() {
    let (kernel, a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    port.fill_eight();
    let flap = kernel.fault(FaultRule::device_fault(&a, DeviceFault::Flap(5 * MS)));
    // The packet that was about to come is the first not to.
    let _ = b.send(&[1; 60]);
    assert_eq!((flap.hits(), a.info().up), (1, false));
    assert!(b.send(&[2; 60]).is_err());
    kernel.sleep(6 * MS);
    assert!(a.info().up);
    b.send(&[3; 60]).unwrap();
    assert_eq!(receive(&port.umem, &mut port.rx), [vec![3; 60]]);
    let (_umem, _) = umem(&kernel, 4);
}

#[test]
fn a_closure_chooses_what_is_shown() {
    for profile in [Profile::LINUX_6_18, Profile::LINUX_6_1] {
        let kernel = SimKernel::with_profile(1, profile);
        kernel.watch_frames(true);
        let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let mut port = Port::open(&kernel, "a", XdpFlags::empty());
        port.fill_eight();
        let mut packets = 0;
        let guard = kernel.fault(move |point: &Point, _: &mut Chance<'_>| {
            let Moment::Receive(mut desc) = point.moment else { return None };
            packets += 1;
            desc.options = 0x80;
            (desc.addr, desc.len) = (15 * 4096, 77);
            if packets == 1 { Some(Fault::Lose) } else { Some(Fault::Describe(desc)) }
        });
        b.send(&[1; 60]).unwrap();
        b.send(&[2; 60]).unwrap();
        let mut descs = [FrameDesc::default(); 4];
        // SAFETY: one UMEM.
        assert_eq!(unsafe { port.rx.consume(&mut descs) }, 1);
        let desc = (descs[0].addr(), descs[0].lengths().data(), descs[0].options());
        assert_eq!((desc, guard.hits()), ((15 * 4096, 77, 0x80), 2));
        // The frame of the packet that was lost served the next one, and that one is lost.
        let frames = kernel.frames();
        frames.check().unwrap();
        assert_eq!((frames.count(Place::Fill), frames.count(Place::Lost), frames.with_user()), (7, 1, 8));
        assert!(frames.to_string().contains("a fault showed 0xf000 for 0x"), "{frames}");
    }
}

#[test]
fn a_fault_that_means_nothing_there_does_nothing() {
    let (kernel, _a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    port.fill_eight();
    let guard = kernel.fault(|_: &Point, _: &mut Chance<'_>| Some(Fault::Starve));
    kernel.socket().unwrap();
    send_four(&mut port);
    assert_eq!((0..5).filter_map(|_| b.receive()).count(), 4);
    b.send(&[1; 60]).unwrap();
    assert_eq!(receive(&port.umem, &mut port.rx).len(), 0, "but a starving fill ring");
    assert!(guard.hits() > 5);
}
