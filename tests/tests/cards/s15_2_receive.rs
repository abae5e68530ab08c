//! 15.2: receiving into the UMEM itself.

use xsk::backend::PollEvents;
use xsk_core::abi::XDP_SHARED_UMEM;
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, Program, World};

use crate::kit::{
    FORCED, SLEEPY, asks, bound_with, driver, open, open_receiver, open_receiver_last, received,
    sleeps_unasked, soon, vectors_are_apart, wake_rx,
};

zero_copy! {
    s15_2_1_buffers_are_taken_before_packets_come;
    s15_2_2_headroom_moves_the_data;
    s15_2_3_bad_fill_entries_are_passed_over;
    s15_2_4_the_socket_does_not_see_packets_without_a_buffer;
    s15_2_5_a_driver_that_may_sleep_asks_for_a_wakeup;
    s15_2_6_a_driver_that_may_not_sleep_never_asks;
    s15_2_7_a_full_rx_ring_gives_the_buffer_back;
    s15_2_8_the_address_moves_with_the_head;
    s15_2_9_metadata_is_before_the_data;
    s15_2_10_room_behind_a_packet;
    s15_2_11_sharers_get_what_the_program_gives_them;
}

/// From here on virtio_net asks to be woken when it has no buffers (`virtio_net.c:virtnet_add_recvbuf_xsk`). Which release was the
/// first nobody looked: 6.18.15 does not, 7.2.12 does.
const VIRTIO_ASKS: [u32; 3] = [7, 2, 0];

fn s15_2_1_buffers_are_taken_before_packets_come(world: &dyn World) {
    let socket = open_receiver(world, &bound_with(FORCED), Program::Redirect, &[0, 4096, 3 * 4096 + 77]);
    assert_eq!(socket.fill().consumer(), 0, "not published yet");
    world.send(End::A, &frame(60, 1));
    assert_eq!(received(world, &socket, 1), [(256, 60, 0)]);
    assert_eq!(socket.fill().consumer(), 3, "all were taken");
    assert_eq!(socket.bytes(256, 60), frame(60, 1));
    world.send(End::A, &frame(61, 2));
    world.send(End::A, &frame(62, 3));
    assert_eq!(received(world, &socket, 2), [(4096 + 256, 61, 0), (3 * 4096 + 256, 62, 0)]);
    assert_eq!(socket.bytes(3 * 4096 + 256, 62), frame(62, 3));
}

fn s15_2_2_headroom_moves_the_data(world: &dyn World) {
    let setup = Setup { headroom: 100, ..bound_with(FORCED) };
    let socket = open_receiver(world, &setup, Program::Redirect, &[0]);
    world.send(End::A, &frame(60, 1));
    assert_eq!(received(world, &socket, 1), [(0x164, 60, 0)]);
    assert_eq!(socket.bytes(0x164, 60), frame(60, 1));
}

/// The statistics have no place for them.
fn s15_2_3_bad_fill_entries_are_passed_over(world: &dyn World) {
    let entries = [0x40000, 1 << 63, 0x1000, u64::MAX, 0x2000];
    let socket = open_receiver(world, &bound_with(FORCED), Program::Redirect, &entries);
    world.send(End::A, &frame(60, 1));
    world.send(End::A, &frame(60, 2));
    assert_eq!(received(world, &socket, 2), [(0x1100, 60, 0), (0x2100, 60, 0)]);
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_invalid_descs, statistics.rx_dropped, socket.fill().consumer()), (0, 0, 5));
}

fn s15_2_4_the_socket_does_not_see_packets_without_a_buffer(world: &dyn World) {
    let socket = open_receiver(world, &bound_with(SLEEPY), Program::Redirect, &[0]);
    world.send(End::A, &frame(60, 1));
    world.send(End::A, &frame(60, 2));
    assert_eq!(received(world, &socket, 1), [(256, 60, 0)]);
    world.settle();
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_ring_full, socket.rx().producer()), (0, 0, 1));
    assert!(statistics.rx_fill_ring_empty_descs > 0);
}

fn s15_2_5_a_driver_that_may_sleep_asks_for_a_wakeup(world: &dyn World) {
    for program_first in [false, true] {
        let open = if program_first { open_receiver_last } else { open_receiver };
        let socket = open(world, &bound_with(SLEEPY), Program::Redirect, &[]);
        if driver(world) == "virtio_net" && world.version() < VIRTIO_ASKS {
            // It looks at the fill ring without end instead, and is not woken for it.
            world.settle();
            assert!(!asks(socket.fill()) && socket.statistics().rx_fill_ring_empty_descs > 1000);
            socket.fill().push([0_u64]);
            world.send(End::A, &frame(60, 2));
            assert_eq!(received(world, &socket, 1), [(256, 60, 0)]);
            continue;
        }
        if sleeps_unasked(world, program_first) {
            world.settle();
            assert_eq!((asks(socket.fill()), wake_rx(&socket)), (false, 0));
            world.settle();
            assert!(!asks(socket.fill()), "no wakeup was wanted, and none was done");
            if still_sleeps(world, &socket) {
                continue;
            }
        }
        assert!(soon(world, || asks(socket.fill())), "there was nothing to receive into");
        socket.fill().push([0_u64, 4096]);
        assert_eq!(wake_rx(&socket), 0);
        world.send(End::A, &frame(60, 2));
        assert_eq!(received(world, &socket, 1), [(256, 60, 0)]);
        world.send(End::A, &frame(60, 3));
        assert_eq!(received(world, &socket, 1), [(4096 + 256, 60, 0)]);
        // A poll wakes it as well.
        assert!(soon(world, || asks(socket.fill())));
        socket.fill().push([8192_u64]);
        socket.poll(PollEvents::IN, 0);
        world.send(End::A, &frame(60, 4));
        assert_eq!(received(world, &socket, 1), [(8192 + 256, 60, 0)]);
    }
}

fn s15_2_6_a_driver_that_may_not_sleep_never_asks(world: &dyn World) {
    for program_first in [false, true] {
        let open = if program_first { open_receiver_last } else { open_receiver };
        let socket = open(world, &bound_with(FORCED), Program::Redirect, &[]);
        assert!(!asks(socket.fill()));
        if sleeps_unasked(world, program_first) && still_sleeps(world, &socket) {
            continue;
        }
        for chunk in [0, 4096] {
            socket.fill().push([chunk]);
            // It takes a moment to see it, and what comes before is dropped.
            (0..5).for_each(|_| world.settle());
            world.send(End::A, &frame(60, 1));
            assert_eq!(received(world, &socket, 1), [(chunk + 256, 60, 0)]);
        }
        assert!(!asks(socket.fill()));
    }
}

/// Wakes a sleeping driver for transmitting, which is what its flags ask for. Where that is another matter than receiving,
/// only a card that goes down and up looks at the fill ring.
fn still_sleeps(world: &dyn World, socket: &RawSocket) -> bool {
    assert_eq!(socket.kick(), 0);
    if !vectors_are_apart(world) {
        return false;
    }
    socket.fill().push([0_u64]);
    socket.poll(PollEvents::IN, 0);
    assert_eq!((wake_rx(socket), socket.kick()), (0, 0));
    world.send(End::A, &frame(60, 1));
    assert_eq!((received(world, socket, 1), asks(socket.fill())), (vec![], false));
    world.set_up(End::B, false);
    world.set_up(End::B, true);
    world.send(End::A, &frame(60, 2));
    assert_eq!(received(world, socket, 1).len(), 1);
    true
}

fn s15_2_7_a_full_rx_ring_gives_the_buffer_back(world: &dyn World) {
    let setup = Setup { rx: 2, ..bound_with(FORCED) };
    let socket = open_receiver(world, &setup, Program::Redirect, &[0, 4096, 8192, 12288]);
    (1..=4).for_each(|tag| world.send(End::A, &frame(60, tag)));
    assert!(soon(world, || socket.statistics().rx_ring_full == 2));
    assert_eq!(socket.statistics().rx_dropped, 0);
    assert_eq!(received(world, &socket, 2), [(256, 60, 0), (4096 + 256, 60, 0)]);
    // What was dropped left its buffers: two more packets need no entry.
    world.send(End::A, &frame(60, 5));
    world.send(End::A, &frame(60, 6));
    let got = received(world, &socket, 2);
    let mut buffers: Vec<u64> = got.iter().map(|(addr, _, _)| *addr).collect();
    let tags: Vec<u8> = buffers.iter().map(|addr| socket.bytes(*addr, 60)[59]).collect();
    buffers.sort_unstable();
    assert_eq!((buffers, tags), (vec![8192 + 256, 12288 + 256], vec![5, 6]));
}

/// Unlike in copy mode, the address says where the packet starts now.
fn s15_2_8_the_address_moves_with_the_head(world: &dyn World) {
    for shift in [4, -4, -200] {
        let socket = open_receiver(world, &bound_with(FORCED), Program::AdjustHead(shift), &[4096]);
        world.send(End::A, &frame(60, 1));
        let start = (4096_u64 + 256).wrapping_add_signed(i64::from(shift));
        let len = (60 - shift) as u32;
        assert_eq!(received(world, &socket, 1), [(start, len, 0)]);
        let bytes = socket.bytes(start, len as usize);
        assert_eq!(bytes[bytes.len() - 40..], frame(60, 1)[20..]);
    }
}

fn s15_2_9_metadata_is_before_the_data(world: &dyn World) {
    let socket = open_receiver(world, &bound_with(FORCED), Program::AdjustMeta(-8), &[0]);
    world.send(End::A, &frame(60, 1));
    assert_eq!(received(world, &socket, 1), [(256, 60, 0)]);
    assert_eq!(socket.bytes(248, 8), [0x4d; 8]);
    assert_eq!(socket.bytes(256, 60), frame(60, 1));
}

/// The shared info that a packet of several buffers would have lies there.
fn s15_2_10_room_behind_a_packet(world: &dyn World) {
    const ROOM: i32 = 4096 - 256 - 320 - 60;
    for (grow, len) in [(ROOM, 60 + ROOM as u32), (ROOM + 1, 60)] {
        let socket = open_receiver(world, &bound_with(FORCED), Program::AdjustTail(grow), &[0]);
        world.send(End::A, &frame(60, 1));
        assert_eq!(received(world, &socket, 1), [(256, len, 0)]);
        let mut grown = frame(60, 1);
        grown.resize(len as usize, 0);
        assert_eq!(socket.bytes(256, len as usize), grown);
    }
}

fn s15_2_11_sharers_get_what_the_program_gives_them(world: &dyn World) {
    let mut one = open(world, &bound_with(FORCED));
    one.fill().push([0_u64, 4096]);
    let mut two = RawSocket::new(&world.kernel());
    two.make_rings(&Setup { fill: 0, completion: 0, ..Setup::default() });
    assert_eq!(two.bind_to(world.index(End::B), 0, XDP_SHARED_UMEM, one.handle.0 as u32), 0);
    let kernel = world.kernel();
    let mut map_of_both = None;
    one.attach(world, End::B, |map| {
        map_of_both = Some(map);
        kernel.xskmap_update(map, 1, two.handle).expect("a slot");
        world.program(Program::ByAddress, map)
    });
    world.settle();
    let to = |key: u8| {
        let mut frame = frame(60, key);
        frame[5] = 2 * key;
        frame
    };
    world.send(End::A, &to(1));
    world.send(End::A, &to(0));
    assert_eq!(received(world, &two, 1), [(256, 60, 0)]);
    assert_eq!(received(world, &one, 1), [(4096 + 256, 60, 0)]);
    assert_eq!((one.bytes(256, 60), one.bytes(4096 + 256, 60)), (to(1), to(0)));
}
