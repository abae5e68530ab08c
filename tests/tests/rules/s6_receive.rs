use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};

use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, Program, World, is_native};

rules! {
    s6_1_1_the_fallback_of_an_empty_slot;
    s6_3_6_one_chunk_twice.breaks_the_law();
    s6_6_2_native_mode_flushes_once_for_each_poll;
    s6_1_2_the_key_need_not_be_the_queue;
    s6_1_2_an_unbound_socket_in_a_map_loses_packets;
    s6_1_4_a_frame_is_the_chunk_less_256_and_the_headroom;
    s6_3_5_invalid_entries_between_valid_ones;
    s6_6_flush_after_drops;
}

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

fn s6_1_1_the_fallback_of_an_empty_slot(world: &dyn World) {
    let mut socket = RawSocket::open(world, &on_b());
    socket.fill().push([0_u64]);
    for (key, flags, passes) in
        [(1, 2, true), (1, 0, false), (1, 1, false), (1, 4, false), (99, 2, true), (0, 4, false)]
    {
        socket.attach(world, End::B, |map| world.program(Program::To(key, flags), map));
        world.send(End::A, &frame(60, 1));
        assert_eq!(world.receive(End::B).is_some(), passes, "slot {key}, flags {flags}");
        assert_eq!(socket.rx().producer(), 0);
        socket.detach();
    }
}

fn s6_1_2_the_key_need_not_be_the_queue(world: &dyn World) {
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
}

fn s6_1_2_an_unbound_socket_in_a_map_loses_packets(world: &dyn World) {
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
}

fn s6_1_4_a_frame_is_the_chunk_less_256_and_the_headroom(world: &dyn World) {
    let setup = Setup { chunk: 2048, headroom: 300, ..on_b() };
    let socket = RawSocket::open_receiver(world, &setup);
    socket.fill().push([0_u64, 2048]);
    world.send(End::A, &frame(1492, 1));
    world.send(End::A, &frame(1493, 1));
    assert_eq!(socket.rx().pop_all::<xdp_desc>().len(), 1);
    assert_eq!(socket.statistics().rx_dropped, 1);
    assert_eq!(socket.bytes(556, 1492), frame(1492, 1));
}

fn s6_3_5_invalid_entries_between_valid_ones(world: &dyn World) {
    let setup = Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() };
    let socket = RawSocket::open_receiver(world, &setup);
    socket.fill().push([1 << 40, 0_u64, 1 << 41, 2048]);
    world.send(End::A, &frame(1000, 1));
    let got: Vec<_> = socket.rx().pop_all::<xdp_desc>().iter().map(|d| (d.addr, d.len)).collect();
    assert_eq!(got, [(1256, 792), (2048 + 1256, 208)]);
}

fn s6_3_6_one_chunk_twice(world: &dyn World) {
    let setup = Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() };
    let socket = RawSocket::open_receiver(world, &setup);
    socket.fill().push([0_u64, 0]);
    world.send(End::A, &frame(1000, 1));
    let got: Vec<u64> = socket.rx().pop_all::<xdp_desc>().iter().map(|desc| desc.addr).collect();
    assert_eq!(got, [1256, 1256]);
    assert_eq!(socket.statistics().rx_dropped, 0);
}

fn s6_6_flush_after_drops(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { rx: 1, ..on_b() });
    socket.fill().push([0_u64, 4096, 8192]);
    (0..3).for_each(|_| world.send(End::A, &frame(60, 1)));
    assert_eq!(socket.fill().consumer(), if is_native(world) { 1 } else { 2 });
}

fn s6_6_2_native_mode_flushes_once_for_each_poll(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { rx: 256, fill: 256, ..on_b() });
    if !is_native(world) {
        // Each packet is a flush of its own.
        socket.fill().push((0..2).map(|i| i * 4096_u64));
        world.send(End::A, &frame(60, 1));
        assert_eq!((socket.rx().producer(), socket.fill().consumer()), (1, 1));
        return;
    }
    world.defer_napi(End::B);
    socket.fill().push((0..64).map(|i| i * 4096_u64));
    (0..20).for_each(|_| world.send(End::A, &frame(60, 1)));
    assert_eq!(socket.rx().producer(), 0, "its thread has not run");
    world.settle();
    assert_eq!((socket.rx().producer(), socket.fill().consumer()), (20, 20));
}
