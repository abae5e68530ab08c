use xsk::backend::PollEvents;
use xsk_core::abi::{UmemFlags, XDP_PKT_CONTD, XDP_USE_SG, xdp_desc};
use xsk_sim::fault::FaultRule;
use xsk_sim::{AdjustError, DeviceConfig, Place, XdpAction};
use xsk_tests::raw::{RawSocket, Setup, frame};

use crate::kit::{FORCED, SLEEPY, World, asks, bound_with, wake_rx};

fn received(socket: &RawSocket) -> Vec<(u64, u32, u32)> {
    socket.rx().pop_all::<xdp_desc>().iter().map(|desc| (desc.addr, desc.len, desc.options)).collect()
}

#[test]
fn buffers_are_taken_before_packets_come() {
    let world = World::new();
    let socket = world.open(&bound_with(FORCED));
    socket.fill().push([0_u64, 4096, 3 * 4096 + 77]);
    assert_eq!(world.kernel.frames().count(Place::Fill), 3);
    world.attach(&socket);
    // They are with the device, though the user does not see it yet.
    assert_eq!((world.kernel.frames().count(Place::Kernel), socket.fill().consumer()), (3, 0));
    world.inject(&frame(60, 1));
    assert_eq!((world.kernel.frames().count(Place::Kernel), socket.fill().consumer()), (2, 3));
    assert_eq!(received(&socket), [(256, 60, 0)]);
    assert_eq!(socket.bytes(256, 60), frame(60, 1));
    world.inject(&frame(61, 2));
    world.inject(&frame(62, 3));
    assert_eq!(received(&socket), [(4096 + 256, 61, 0), (3 * 4096 + 256, 62, 0)]);
    assert_eq!(socket.bytes(3 * 4096 + 256, 62), frame(62, 3));
}

#[test]
fn headroom_moves_the_data() {
    let world = World::new();
    let socket = world.open_receiver(&Setup { headroom: 100, ..bound_with(FORCED) }, &[0]);
    world.inject(&frame(60, 1));
    assert_eq!(received(&socket), [(0x164, 60, 0)]);
    assert_eq!(socket.bytes(0x164, 60), frame(60, 1));
}

/// The statistics have no place for it: `rx_invalid_descs` is a counter of the RX ring (`net/xdp/xsk.c:xsk_getsockopt`).
#[test]
fn bad_fill_entries_are_passed_over() {
    let world = World::new();
    let socket = world.open_receiver(&bound_with(FORCED), &[0x40000, 1 << 63, 0x1000, u64::MAX, 0x2000]);
    assert_eq!(world.kernel.frames().count(Place::Kernel), 2);
    world.inject(&frame(60, 1));
    world.inject(&frame(60, 2));
    assert_eq!(received(&socket), [(0x1100, 60, 0), (0x2100, 60, 0)]);
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_invalid_descs, statistics.rx_dropped, socket.fill().consumer()), (0, 0, 5));
}

#[test]
fn without_buffers_the_device_drops() {
    let world = World::new();
    let socket = world.open_receiver(&bound_with(SLEEPY), &[0]);
    world.inject(&frame(60, 1));
    world.inject(&frame(60, 2));
    let statistics = socket.statistics();
    // The socket never saw it.
    assert_eq!((statistics.rx_dropped, statistics.rx_ring_full), (0, 0));
    assert!(statistics.rx_fill_ring_empty_descs > 0);
    assert_eq!((received(&socket).len(), world.card.dropped().0), (1, 1));
}

#[test]
fn a_driver_that_may_sleep_asks_for_a_wakeup() {
    let world = World::new();
    let socket = world.open_receiver(&bound_with(SLEEPY), &[]);
    assert!(asks(socket.fill()), "there was nothing to receive into");
    socket.fill().push([0_u64, 4096]);
    world.inject(&frame(60, 1));
    assert_eq!(received(&socket), [], "it sleeps");
    assert_eq!(wake_rx(&socket), 0);
    world.inject(&frame(60, 2));
    assert_eq!(received(&socket), [(256, 60, 0)]);
    // A poll wakes it as well.
    socket.fill().push([8192_u64]);
    assert_eq!(world.kernel.frames().count(Place::Fill), 1);
    assert_eq!(socket.poll(PollEvents::IN, 0), PollEvents::empty());
    assert_eq!(world.kernel.frames().count(Place::Fill), 0);
    // With all buffers that it can hold it asks no more.
    let many = Setup { size: 512 * 4096, fill: 512, ..bound_with(SLEEPY) };
    let world = World::new();
    let full: Vec<u64> = (0..300).map(|i| i * 4096).collect();
    let socket = world.open_receiver(&many, &full);
    assert!(!asks(socket.fill()));
    assert_eq!(
        (world.kernel.frames().count(Place::Kernel), world.kernel.frames().count(Place::Fill)),
        (255, 45)
    );
}

#[test]
fn a_driver_that_may_not_sleep_never_does() {
    let world = World::new();
    let socket = world.open_receiver(&bound_with(FORCED), &[]);
    assert!(!asks(socket.fill()));
    socket.fill().push([0_u64]);
    world.inject(&frame(60, 1));
    assert_eq!(received(&socket), [(256, 60, 0)]);
    assert!(!asks(socket.fill()));
}

#[test]
fn a_full_rx_ring_gives_the_buffer_back_to_the_driver() {
    let world = World::new();
    let socket = world.open_receiver(&Setup { rx: 2, ..bound_with(FORCED) }, &[0, 4096, 8192]);
    (1..=4).for_each(|tag| world.inject(&frame(60, tag)));
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_ring_full, statistics.rx_dropped), (2, 0));
    assert_eq!(received(&socket), [(256, 60, 0), (4096 + 256, 60, 0)]);
    world.inject(&frame(60, 5));
    assert_eq!(received(&socket), [(8192 + 256, 60, 0)]);
    assert_eq!(socket.bytes(8192 + 256, 60), frame(60, 5));
    world.check();
}

#[test]
fn programs_work_on_the_frame_itself() {
    for shift in [4, -4, -216] {
        let world = World::new();
        let socket = world.open(&bound_with(FORCED));
        socket.fill().push([4096_u64]);
        world.attach_adjusting(&socket, move |packet| {
            packet.adjust_head(shift).unwrap();
            packet.data_mut()[0] = 0x77;
        });
        world.inject(&frame(60, 1));
        // Unlike in copy mode, the address says where the packet starts now.
        let start = (4096_u64 + 256).wrapping_add_signed(i64::from(shift));
        assert_eq!(received(&socket), [(start, (60 - shift) as u32, 0)]);
        let bytes = socket.bytes(start, (60 - shift) as usize);
        assert_eq!(bytes[0], 0x77);
        assert_eq!(bytes[bytes.len() - 40..], frame(60, 1)[20..]);
    }
}

#[test]
fn metadata_is_before_the_data() {
    let world = World::new();
    let socket = world.open(&bound_with(FORCED));
    socket.fill().push([0_u64]);
    world.attach_adjusting(&socket, |packet| {
        packet.adjust_meta(-8).unwrap();
        packet.metadata_mut().fill(0x4d);
        packet.adjust_head(-2).unwrap();
    });
    world.inject(&frame(60, 1));
    assert_eq!(received(&socket), [(254, 62, 0)]);
    assert_eq!(socket.bytes(246, 8), [0x4d; 8]);
}

#[test]
fn a_packet_grows_up_to_where_the_shared_info_would_be() {
    let world = World::new();
    let socket = world.open(&bound_with(FORCED));
    socket.fill().push([0_u64, 4096]);
    world.attach_adjusting(&socket, |packet| {
        let room = (4096 - 256 - 320 - packet.len()) as i32;
        assert_eq!(packet.adjust_tail(room + 1), Err(AdjustError));
        assert_eq!(packet.adjust_tail(room), Ok(()));
    });
    world.inject(&frame(60, 1));
    assert_eq!(received(&socket), [(256, 3520, 0)]);
    let mut grown = frame(60, 1);
    grown.resize(3520, 0);
    assert_eq!(socket.bytes(256, 3520), grown);
}

fn several(flags: u16) -> Setup {
    Setup { chunk: 2048, size: 64 * 2048, ..bound_with(flags | XDP_USE_SG) }
}

#[test]
fn a_long_packet_comes_in_several_frames() {
    let world = World::with(&DeviceConfig::default().zero_copy_segments(3).mtu(4000));
    let socket = world.open_receiver(&several(FORCED), &[0, 2048, 4096, 6144]);
    let long: Vec<u8> = (0..4000_u32).map(|i| i as u8).collect();
    world.inject(&long);
    let parts = [(256, 1792, XDP_PKT_CONTD), (2304, 1792, XDP_PKT_CONTD), (4352, 416, 0)];
    assert_eq!(received(&socket), parts);
    let bytes: Vec<u8> = parts.iter().flat_map(|(at, len, _)| socket.bytes(*at, *len as usize)).collect();
    assert_eq!(bytes, long);
    // Three buffers and no more; and one that is left is not enough.
    socket.fill().push([0_u64, 2048, 4096]);
    world.inject(&[1; 3 * 1792 + 1]);
    assert_eq!((received(&socket), world.card.dropped().0), (vec![], 1));
    world.inject(&[1; 3 * 1792]);
    assert_eq!(received(&socket).len(), 3);
    world.inject(&[1; 1793]);
    assert_eq!((received(&socket), world.card.dropped().0), (vec![], 2));
    world.check();
}

#[test]
fn a_program_that_cuts_frames_off_gives_them_back_to_the_driver() {
    let world = World::with(&DeviceConfig::default().zero_copy(true).mtu(4000));
    let socket = world.open(&several(FORCED));
    socket.fill().push([0_u64, 2048, 4096]);
    world.attach_adjusting(&socket, |packet| {
        assert!(packet.has_frags());
        assert_eq!((packet.linear_len(), packet.adjust_tail(1)), (1792, Err(AdjustError)));
        packet.adjust_head(2).unwrap();
        packet.adjust_tail(-1000).unwrap();
    });
    world.inject(&[7; 4000]);
    assert_eq!(received(&socket), [(258, 1790, XDP_PKT_CONTD), (2304, 1208, 0)]);
    assert_eq!(world.kernel.frames().of(0, 4096).len(), 1);
    world.check();
}

#[test]
fn a_program_without_fragments_never_sees_a_long_packet() {
    let world = World::with(&DeviceConfig::default().zero_copy(true).mtu(3000));
    let socket = world.open(&several(FORCED));
    socket.fill().push([0_u64, 2048, 4096]);
    world.link(world.kernel.program("plain", false, |packet| {
        assert!(packet.len() < 1000);
        XdpAction::Pass
    }));
    world.inject(&frame(60, 1));
    world.inject(&[7; 3000]);
    assert_eq!((world.card.receive(), world.card.receive()), (Some(frame(60, 1)), None));
    world.check();
}

#[test]
fn unaligned_chunks_must_not_leave_their_page() {
    let flags = UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG.bits();
    let setup = Setup { chunk: 2048, umem_flags: flags, headroom: 10, ..bound_with(FORCED) };
    let world = World::new();
    let socket = world.open_receiver(&setup, &[5, 3000, 2048, 6200]);
    (1..=3).for_each(|tag| world.inject(&frame(60, tag)));
    let at = |base: u64| base | (256 + 10) << 48;
    assert_eq!(received(&socket), [(at(5), 60, 0), (at(2048), 60, 0)]);
    assert_eq!(socket.bytes(5 + 266, 60), frame(60, 1));
    // The base and where the data is are told apart also after the program moved it.
    let world = World::new();
    let socket = world.open(&setup);
    socket.fill().push([5_u64]);
    world.attach_adjusting(&socket, |packet| packet.adjust_head(4).unwrap());
    world.inject(&frame(60, 1));
    assert_eq!(received(&socket), [(5 | (256 + 10 + 4) << 48, 56, 0)]);
}

#[test]
fn sockets_that_share_a_queue_get_what_the_program_gives_them() {
    let world = World::new();
    let one = world.open(&bound_with(FORCED));
    one.fill().push([0_u64, 4096]);
    let mut two = RawSocket::new(&world.backend);
    two.make_rings(&Setup { fill: 0, completion: 0, ..Setup::default() });
    let shared = xsk_core::abi::XDP_SHARED_UMEM;
    assert_eq!(two.bind_to(world.card.index(), 0, shared, one.handle.0 as u32), 0);
    let map = world.map(&one);
    xsk::backend::Backend::xskmap_update(&world.kernel, map, 1, two.handle).unwrap();
    world.link(world.kernel.program("last byte", true, move |packet| {
        let key = u32::from(*packet.data().last().unwrap());
        XdpAction::RedirectMap { map, key, flags: 0 }
    }));
    world.inject(&frame(60, 1));
    world.inject(&frame(60, 0));
    assert_eq!((received(&one), received(&two)), (vec![(4096 + 256, 60, 0)], vec![(256, 60, 0)]));
}

#[test]
fn rules_apply() {
    let world = World::new();
    let socket = world.open_receiver(&bound_with(FORCED), &[0, 4096]);
    let lost = world.kernel.fault(FaultRule::lose_packets().times(1));
    world.inject(&frame(60, 1));
    assert_eq!((received(&socket), lost.hits()), (vec![], 1));
    drop(lost);
    let stalled = world.kernel.fault(FaultRule::stall_napi());
    world.inject(&frame(60, 2));
    assert_eq!(received(&socket), []);
    drop(stalled);
    world.rest();
    assert_eq!(received(&socket), [(256, 60, 0)]);
}
