//! Receiving: buffers that are used again, packets of several buffers, and what the program has to do with it.

use xsk::backend::RedirectProgram;
use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};
use xsk_core::errno::ERANGE;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, Program, World, is_native};

rules! {
    s6_1_5_metadata_does_not_count;
    s6_2_4_options_are_written;
    s6_2_5_kept_buffers_serve_all_sharers;
    s6_3_2_the_fill_ring_comes_first;
    s6_3_3_metadata_before_the_first_buffer_only;
    s6_3_7_the_split_depends_on_the_frame_only;
    s6_6_1_pollers_wake_after_a_drop.not_simulated("the simulated kernel has no epoll in virtual time");
    s6_7_1_programs_without_fragments;
    s6_7_3_room_behind_a_copy;
    s6_7_3_room_behind_a_packet_in_place;
}

const SG: u16 = XDP_COPY | XDP_USE_SG;

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

/// Frames of 792 bytes.
fn small(bind_flags: u16) -> Setup {
    Setup { chunk: 2048, headroom: 1000, bind_flags, ..on_b() }
}

fn received(socket: &RawSocket) -> Vec<(u64, u32, u32)> {
    socket.rx().pop_all::<xdp_desc>().into_iter().map(|d| (d.addr, d.len, d.options)).collect()
}

fn s6_1_5_metadata_does_not_count(world: &dyn World) {
    let mut socket = RawSocket::open(world, &small(XDP_COPY));
    socket.attach(world, End::B, |map| world.program(Program::AdjustMeta(-32), map));
    socket.fill().push([0_u64, 2048]);
    world.send(End::A, &frame(792, 1));
    world.send(End::A, &frame(793, 1));
    assert_eq!(received(&socket), [(1256, 792, 0)]);
    assert_eq!(socket.bytes(1256 - 32, 32), [0x4d; 32]);
}

fn s6_2_4_options_are_written(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &on_b());
    socket.rx().write(0, xdp_desc { addr: 0, len: 0, options: 77 });
    socket.fill().push([0_u64]);
    world.send(End::A, &frame(60, 1));
    assert_eq!(received(&socket), [(0x100, 60, 0)]);
}

fn s6_2_5_kept_buffers_serve_all_sharers(world: &dyn World) {
    let mut owner = RawSocket::open(world, &Setup { rx: 1, ..on_b() });
    let sharer = RawSocket::share(world, &owner, End::B);
    let mut map = None;
    owner.attach(world, End::B, |made| {
        map = Some(made);
        world.kernel().program_load(&RedirectProgram { map: made, frags: true }).unwrap()
    });
    owner.fill().push([0x1000_u64, 0x2000]);
    world.send(End::A, &frame(60, 1));
    world.send(End::A, &frame(60, 2));
    assert_eq!(owner.statistics().rx_ring_full, 1);
    // The second packet's buffer is kept, and nothing is left in the fill ring.
    world.kernel().xskmap_update(map.unwrap(), 0, sharer.handle).unwrap();
    world.send(End::A, &frame(60, 3));
    assert_eq!(received(&sharer), [(0x2100, 60, 0)]);
    assert_eq!(received(&owner), [(0x1100, 60, 0)]);
}

fn s6_3_2_the_fill_ring_comes_first(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { rx: 1, ..small(SG) });
    socket.fill().push([0_u64]);
    // Neither ring has room for two buffers.
    world.send(End::A, &frame(1000, 1));
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_ring_full), (1, 0));
    socket.fill().push([2048_u64]);
    world.send(End::A, &frame(1000, 1));
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_ring_full), (1, 1));
}

fn s6_3_3_metadata_before_the_first_buffer_only(world: &dyn World) {
    let mut socket = RawSocket::open(world, &small(SG));
    socket.attach(world, End::B, |map| world.program(Program::AdjustMeta(-8), map));
    socket.fill().push([0_u64, 2048]);
    world.send(End::A, &frame(1000, 1));
    assert_eq!(received(&socket), [(1256, 792, 1), (2048 + 1256, 208, 0)]);
    assert_eq!(socket.bytes(1256 - 8, 8), [0x4d; 8]);
    assert_eq!(socket.bytes(2048 + 1256 - 8, 8), [0; 8]);
    assert_eq!(socket.bytes(1256, 792), frame(792, 1));
    assert_eq!(socket.bytes(2048 + 1256, 208), [1; 208]);
}

fn s6_3_7_the_split_depends_on_the_frame_only(world: &dyn World) {
    assert_eq!((world.set_mtu(End::A, 9000), world.set_mtu(End::B, 9000)), (0, 0));
    let setup = Setup { bind_flags: SG, fill: 64, ..on_b() };
    let socket = RawSocket::open_receiver(world, &setup);
    const F: usize = 3840;
    for len in [3519, 3520, 3521, F, F + 1, 7616, 7617, 2 * F, 2 * F + 1, 9014] {
        socket.fill().push((0..len.div_ceil(F) as u64).map(|i| i * 4096));
        world.send(End::A, &frame(len, 3));
        let got = received(&socket);
        let expected: Vec<u32> = (0..len).step_by(F).map(|at| (len - at).min(F) as u32).collect();
        assert_eq!(got.iter().map(|(_, len, _)| *len).collect::<Vec<_>>(), expected, "{len} bytes");
        let bytes: Vec<u8> =
            got.iter().flat_map(|(addr, len, _)| socket.bytes(*addr, *len as usize)).collect();
        assert_eq!(bytes, frame(len, 3), "{len} bytes");
    }
}

fn s6_6_1_pollers_wake_after_a_drop(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { tx: 0, ..on_b() });
    let fd = socket.kernel.fd(socket.handle).unwrap();
    socket.fill().push([0_u64]);
    world.send(End::A, &frame(60, 1));
    // SAFETY: takes no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0);
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 };
    // SAFETY: an event to read.
    assert_eq!(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) }, 0);
    let mut wait = || {
        // SAFETY: room for one event.
        unsafe { libc::epoll_wait(epoll, &raw mut event, 1, 0) }
    };
    assert_eq!((wait(), wait()), (1, 0), "one entry, told once");
    // There is no buffer for this one.
    world.send(End::A, &frame(60, 2));
    assert_eq!(socket.statistics().rx_dropped, 1);
    assert_eq!(wait(), if is_native(world) { 0 } else { 1 });
    // SAFETY: a descriptor that nothing else has.
    assert_eq!(unsafe { libc::close(epoll) }, 0);
}

fn s6_7_1_programs_without_fragments(world: &dyn World) {
    assert_eq!((world.set_mtu(End::A, 9000), world.set_mtu(End::B, 9000)), (0, 0));
    let kernel = world.kernel();
    let mut socket = RawSocket::open(world, &Setup { bind_flags: SG, ..on_b() });
    let map = kernel.xskmap_create(1).unwrap();
    let program = kernel.program_load(&RedirectProgram { map, frags: false }).unwrap();
    let attach = || kernel.link_create(program, world.index(End::B), world.mode());
    if is_native(world) {
        assert_eq!(errno(attach()), ERANGE);
        assert_eq!((world.set_mtu(End::A, 3506), world.set_mtu(End::B, 3506)), (0, 0));
    }
    let link = attach().unwrap();
    kernel.xskmap_update(map, 0, socket.handle).unwrap();
    let len = if is_native(world) { 3520 } else { 9014 };
    socket.fill().push([0_u64, 4096, 8192]);
    world.send(End::A, &frame(len, 1));
    let bytes: Vec<u8> =
        received(&socket).into_iter().flat_map(|(addr, len, _)| socket.bytes(addr, len as usize)).collect();
    assert_eq!(bytes, frame(len, 1));
    socket.close();
    [link, program, map].into_iter().for_each(|handle| kernel.close(handle));
}

/// Sends 12 packets through a program that makes them longer by `delta`; which of them it did.
fn grown(world: &dyn World, frags: bool, af_xdp: bool, len: usize, delta: i32) -> Vec<bool> {
    let mut socket = RawSocket::open(world, &Setup { rx: 16, fill: 16, ..on_b() });
    let sender = RawSocket::open(world, &Setup::default());
    socket.attach(world, End::B, |map| world.load(Program::AdjustTail(delta), frags, map));
    socket.fill().push((0..12).map(|i| i * 4096_u64));
    for i in 0..12 {
        if af_xdp {
            sender.write(i * 4096, &frame(len, 1));
            sender.tx().push([xdp_desc { addr: i * 4096, len: len as u32, options: 0 }]);
            assert_eq!(sender.kick(), 0);
        } else {
            world.send(End::A, &frame(len, 1));
        }
    }
    let got = received(&socket);
    assert_eq!(got.len(), 12);
    got.iter().map(|(_, got, _)| *got as usize == len + delta as usize).collect()
}

/// Copies of short packets share a page: there is room up to the next 64 bytes, and the last one has the rest of the page.
fn s6_7_3_room_behind_a_copy(world: &dyn World) {
    // Length, room for all, room for the last one of a page, and how many there are in one.
    for (len, always, last, period) in
        [(60, 4, 260, 6), (100, 28, 604, 5), (500, 12, 844, 3), (1000, 24, 920, 2), (1473, 2047, 2047, 1)]
    {
        for af_xdp in [false, true] {
            assert_eq!(grown(world, true, af_xdp, len, always), [true; 12], "{len} bytes");
            assert_eq!(grown(world, true, af_xdp, len, last + 1), [false; 12], "{len} bytes");
            if period == 1 {
                continue;
            }
            // In native mode each queue has pages of its own, from the first packet on. In SKB mode each CPU has, and what
            // else it receives takes of them as well.
            let patterns =
                |phase: usize| (0..12).map(|i| (i + phase) % period == period - 1).collect::<Vec<_>>();
            let phases = if is_native(world) { 1 } else { period };
            let fits = |got: &Vec<bool>| (0..phases).any(|phase| *got == patterns(phase));
            for delta in [always + 1, last] {
                let tries = if is_native(world) { 1 } else { 5 };
                let grown = || grown(world, true, af_xdp, len, delta);
                assert!((0..tries).any(|_| fits(&grown())), "{len} bytes and {delta}: {:?}", grown());
            }
        }
    }
}

/// For programs that take no fragments SKB mode makes the packet's own buffer larger: a power of two.
fn s6_7_3_room_behind_a_packet_in_place(world: &dyn World) {
    let rows = [(60, 386), (192, 254), (500, 970), (1000, 2518), (1500, 2018)];
    for (len, room) in rows {
        for af_xdp in [false, true] {
            // The two bytes that the stack leaves before a packet are lost.
            let room = room + if af_xdp { 2 } else { 0 };
            if is_native(world) {
                // No difference there: the copy of 1500 bytes has a page.
                let expected = if len == 1500 { [true, false] } else { [false, false] };
                let got = [2020, 2021].map(|delta| grown(world, false, af_xdp, len, delta)[0]);
                assert_eq!(got, expected, "{len} bytes");
                continue;
            }
            assert_eq!(grown(world, false, af_xdp, len, room), [true; 12], "{len} bytes");
            assert_eq!(grown(world, false, af_xdp, len, room + 1), [false; 12], "{len} bytes");
        }
    }
}
