use xsk::backend::Backend;
use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};
use xsk_sim::{DeviceConfig, Profile, XdpAction};

use crate::kit::{End, RawSocket, Setup, SimWorld, World, everywhere, frame};

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

#[test]
fn s6_1_1_the_fallback_of_an_empty_slot() {
    for (key, flags, passes) in
        [(1, 2, true), (1, 0, false), (1, 1, false), (1, 4, false), (99, 2, true), (0, 4, false)]
    {
        let world = SimWorld::skb();
        let mut socket = RawSocket::open(&world, &on_b());
        socket.fill().push([0_u64]);
        socket.attach(&world, End::B, |map| {
            world.kernel.program("fallback", true, move |_| XdpAction::RedirectMap { map, key, flags })
        });
        world.send(End::A, &frame(60, 1));
        assert_eq!(world.receive(End::B).is_some(), passes, "slot {key}, flags {flags}");
        assert_eq!(socket.rx().producer(), 0);
    }
}

#[test]
fn s6_1_2_the_key_need_not_be_the_queue() {
    everywhere(|world| {
        let kernel = world.kernel();
        let mut map = None;
        let mut socket = RawSocket::open(world, &on_b());
        socket.attach(world, End::B, |made| {
            map = Some(made);
            kernel.program_load(&xsk::backend::RedirectProgram { map: made, frags: true }).unwrap()
        });
        // A socket that is bound elsewhere, in the slot of this queue.
        let elsewhere = RawSocket::open(world, &Setup::default());
        kernel.xskmap_update(map.unwrap(), 0, elsewhere.handle).unwrap();
        elsewhere.fill().push([0_u64]);
        world.send(End::A, &frame(60, 1));
        assert_eq!((elsewhere.rx().producer(), world.receive(End::B)), (0, None));
        assert_eq!(elsewhere.statistics(), Default::default());
    });
}

#[test]
fn s6_1_2_an_unbound_socket_in_a_map_loses_packets() {
    everywhere(|world| {
        let setup = on_b();
        let mut socket = RawSocket::new(&world.kernel());
        socket.register(&setup).unwrap();
        socket.make_rings(&setup);
        socket.attach(world, End::B, |map| {
            world.kernel().program_load(&xsk::backend::RedirectProgram { map, frags: true }).unwrap()
        });
        socket.fill().push([0_u64]);
        world.send(End::A, &frame(60, 1));
        assert_eq!((world.receive(End::B), socket.statistics()), (None, Default::default()));
        assert_eq!(socket.bind(world, &setup), 0);
        world.send(End::A, &frame(60, 1));
        assert_eq!(socket.rx().producer(), 1);
    });
}

#[test]
fn s6_1_4_a_frame_is_the_chunk_less_256_and_the_headroom() {
    everywhere(|world| {
        let setup = Setup { chunk: 2048, headroom: 300, ..on_b() };
        let socket = RawSocket::open_receiver(world, &setup);
        socket.fill().push([0_u64, 2048]);
        world.send(End::A, &frame(1492, 1));
        world.send(End::A, &frame(1493, 1));
        assert_eq!(socket.rx().pop_all::<xdp_desc>().len(), 1);
        assert_eq!(socket.statistics().rx_dropped, 1);
        assert_eq!(socket.bytes(556, 1492), frame(1492, 1));
    });
}

#[test]
fn s6_3_5_invalid_entries_between_valid_ones() {
    everywhere(|world| {
        let setup = Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() };
        let socket = RawSocket::open_receiver(world, &setup);
        socket.fill().push([1 << 40, 0_u64, 1 << 41, 2048]);
        world.send(End::A, &frame(1000, 1));
        let got: Vec<_> = socket.rx().pop_all::<xdp_desc>().iter().map(|d| (d.addr, d.len)).collect();
        assert_eq!(got, [(1256, 792), (2048 + 1256, 208)]);
    });
}

fn short_of_valid_entries(world: &SimWorld) -> (u64, u64, Vec<u64>) {
    let setup = Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() };
    let socket = RawSocket::open_receiver(world, &setup);
    socket.fill().push([0_u64, 2048, 1 << 40]);
    // Three buffers for 1600 bytes; the third entry is bad.
    let _ = world.a.send(&frame(1518, 1));
    socket.fill().push([1 << 40, 4096_u64]);
    let _ = world.a.send(&frame(1518, 1));
    let statistics = socket.statistics();
    let got = socket.rx().pop_all::<xdp_desc>().iter().map(|desc| desc.addr).collect();
    (statistics.rx_dropped, statistics.rx_fill_ring_empty_descs, got)
}

#[test]
fn s6_3_5_too_few_valid_entries_crash() {
    let world = SimWorld::skb();
    let setup = Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() };
    let socket = RawSocket::open_receiver(&world, &setup);
    socket.fill().push([0_u64, 1 << 40]);
    let error = world.a.send(&frame(1000, 1)).unwrap_err();
    assert!(error.to_string().starts_with("Linux would crash here: too few of the fill entries"), "{error}");
    assert!(world.kernel.sendto(socket.handle).is_err(), "a crashed kernel answers no call");
    assert!(world.kernel.check().is_err());
    assert!(world.kernel.take_crash().is_some());
    world.kernel.check().unwrap();
}

#[test]
fn s6_3_5_too_few_valid_entries_are_survived_by_7_3() {
    let world = SimWorld::of(Profile::LINUX_7_3);
    let (dropped, empty, got) = short_of_valid_entries(&world);
    // The first packet needed two buffers and got them; the second found one valid entry for two.
    assert_eq!((dropped, empty, got), (1, 1, vec![1256, 2048 + 1256]));
}

#[test]
fn s6_3_6_one_chunk_twice() {
    let setup = Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() };
    let run = |profile| {
        let world = SimWorld::of(profile);
        let socket = RawSocket::open_receiver(&world, &setup);
        socket.fill().push([0_u64, 0]);
        world.send(End::A, &frame(1000, 1));
        (socket.rx().pop_all::<xdp_desc>().len(), socket.statistics().rx_dropped)
    };
    assert_eq!((run(Profile::LINUX_6_18), run(Profile::LINUX_7_3)), ((2, 0), (0, 1)));
}

#[test]
fn s6_6_flush_after_drops() {
    everywhere(|world| {
        let socket = RawSocket::open_receiver(world, &Setup { rx: 1, ..on_b() });
        socket.fill().push([0_u64, 4096, 8192]);
        (0..3).for_each(|_| world.send(End::A, &frame(60, 1)));
        let native = world.mode() == XdpFlags::XDP_FLAGS_DRV_MODE;
        assert_eq!(socket.fill().consumer(), if native { 1 } else { 2 });
    });
}

#[test]
fn s6_6_2_native_mode_flushes_once_for_each_poll() {
    let world = SimWorld::native();
    world.b.set_threaded(true);
    let socket = RawSocket::open_receiver(&world, &Setup { rx: 256, fill: 256, ..on_b() });
    socket.fill().push((0..64).map(|i| i * 4096_u64));
    (0..20).for_each(|_| world.send(End::A, &frame(60, 1)));
    assert_eq!(socket.rx().producer(), 0, "its thread has not run");
    assert!(world.kernel.step());
    assert_eq!((socket.rx().producer(), socket.fill().consumer()), (20, 20));
}

#[test]
fn s6_a_ring_that_lacks_receive_crashes() {
    let world = SimWorld::skb();
    let mut socket = RawSocket::open(&world, &Setup { rx: 0, ..on_b() });
    socket.attach(&world, End::B, |map| {
        world.kernel.program_load(&xsk::backend::RedirectProgram { map, frags: true }).unwrap()
    });
    socket.fill().push([0_u64]);
    let error = world.a.send(&frame(60, 1)).unwrap_err();
    assert!(error.to_string().contains("a socket without an RX ring"), "{error}");
    assert!(world.kernel.take_crash().is_some());
}

#[test]
#[should_panic = "Linux would crash here"]
fn a_crash_that_nobody_takes_note_of_fails_the_test() {
    let world = SimWorld::skb();
    let mut socket = RawSocket::open(&world, &Setup { rx: 0, ..on_b() });
    socket.attach(&world, End::B, |map| {
        world.kernel.program_load(&xsk::backend::RedirectProgram { map, frags: true }).unwrap()
    });
    socket.fill().push([0_u64]);
    let _ = world.a.send(&frame(60, 1));
}

#[test]
fn s12_4_a_fill_ring_that_never_ends() {
    let world = SimWorld::skb();
    let socket = RawSocket::open_receiver(&world, &on_b());
    for i in 0..8 {
        socket.fill().write(i, u64::MAX);
    }
    socket.fill().set_producer(u32::MAX - 1);
    assert!(world.a.send(&frame(60, 1)).is_err());
    assert_eq!(world.kernel.take_crash().unwrap().rule, "net/xdp/xsk_buff_pool.c:__xp_alloc");
}

#[test]
fn s12_4_an_unbound_socket_crashes_5_10() {
    let world = SimWorld::of(Profile::LINUX_5_10);
    let mut socket = RawSocket::new(&world.kernel());
    socket.make_rings(&on_b());
    socket.attach(&world, End::B, |map| {
        world.kernel.program_load(&xsk::backend::RedirectProgram { map, frags: true }).unwrap()
    });
    assert!(world.a.send(&frame(60, 1)).is_err());
    assert!(world.kernel.take_crash().is_some());
}

#[test]
fn s12_2_old_kernels_leave_the_options_of_a_descriptor() {
    let left = |profile| {
        let world = SimWorld::of(profile);
        let socket = RawSocket::open_receiver(&world, &on_b());
        socket.rx().write(0, xdp_desc { addr: 0, len: 0, options: 77 });
        socket.fill().push([0_u64]);
        world.send(End::A, &frame(60, 1));
        socket.rx().read::<xdp_desc>(0).options
    };
    assert_eq!((left(Profile::LINUX_6_1), left(Profile::LINUX_6_12)), (77, 0));
}

#[test]
fn s6_a_card_delivers_whole_batches() {
    let kernel = xsk_sim::SimKernel::new(1);
    let card = kernel.card("c", &DeviceConfig::default()).unwrap();
    (0..3).for_each(|i| card.inject(0, &frame(60, i)).unwrap());
    assert_eq!(std::iter::from_fn(|| card.receive()).count(), 3);
    assert!(card.inject(1, &frame(60, 0)).is_err());
}
