//! 15.1: which sockets have zero copy.

use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_SHARED_UMEM, XDP_USE_SG};
use xsk_core::errno::{EBUSY, EINVAL, EOPNOTSUPP};
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, World};

use crate::kit::{FORCED, Kept, bound_with, driver, is_zero_copy, open, received, soon, try_bind};

zero_copy! {
    s15_1_1_what_bind_flags_come_to;
    s15_1_2_packets_of_several_buffers;
    s15_1_3_frames_must_fit;
    s15_1_4_busy_comes_first;
    s15_1_5_sharers_are_as_the_first;
    s15_1_6_a_program_in_skb_mode_copies;
}

fn s15_1_1_what_bind_flags_come_to(world: &dyn World) {
    let bind = |flags| try_bind(world, &bound_with(flags));
    assert_eq!((bind(0), bind(FORCED), bind(XDP_COPY)), (Ok(true), Ok(true), Ok(false)));
    assert_eq!(bind(XDP_COPY | FORCED), Err(EINVAL));
}

fn s15_1_2_packets_of_several_buffers(world: &dyn World) {
    match try_bind(world, &bound_with(FORCED | XDP_USE_SG)) {
        // The driver takes them.
        Ok(zero_copy) => assert!(zero_copy),
        Err(errno) => {
            assert_eq!(errno, EOPNOTSUPP);
            assert_eq!(try_bind(world, &bound_with(XDP_USE_SG)), Ok(false), "copy mode takes them");
        }
    }
}

fn s15_1_3_frames_must_fit(world: &dyn World) {
    // 2048 - 256 bytes, less 26.
    let small = |flags| Setup { chunk: 2048, ..bound_with(flags) };
    assert_eq!(world.set_mtu(End::B, 1766), 0);
    assert_eq!(try_bind(world, &small(FORCED)), Ok(true));
    // An MTU of the socket's own is another rule's matter.
    world.settle();
    assert_eq!(world.set_mtu(End::B, 1767), 0);
    let long = (try_bind(world, &small(FORCED)), try_bind(world, &small(0)));
    assert_eq!(world.set_mtu(End::B, 1500), 0);
    // Up to some 6.18 nobody asked.
    let expected =
        if world.version() >= [6, 18, 44] { (Err(EINVAL), Ok(false)) } else { (Ok(true), Ok(true)) };
    assert_eq!(long, expected);
}

fn s15_1_4_busy_comes_first(world: &dyn World) {
    let _socket = open(world, &bound_with(FORCED));
    let other = RawSocket::prepare(world, &bound_with(FORCED));
    let index = world.index(End::B);
    assert_eq!(other.bind_to(index, 0, FORCED, 0), EBUSY);
    assert_eq!(other.bind_to(index, 0, FORCED | XDP_USE_SG, 0), EBUSY);
    assert_eq!(other.bind_to(index, 999, FORCED, 0), EINVAL);
}

fn s15_1_5_sharers_are_as_the_first(world: &dyn World) {
    let first = open(world, &bound_with(0));
    let share = |index, fill| {
        let mut socket = RawSocket::new(&world.kernel());
        socket.make_rings(&Setup { fill, completion: fill, ..Setup::default() });
        let result = socket.bind_to(index, 0, XDP_SHARED_UMEM, first.handle.0 as u32);
        (result, result == 0 && is_zero_copy(&socket))
    };
    assert_eq!(share(world.index(End::B), 0), (0, true));
    assert_eq!(share(world.index(End::A), 8), (0, true), "on another card");
    assert_eq!(share(world.loopback(), 8), (EOPNOTSUPP, false));
    world.ready();
}

/// Without a native program packets go the way of SKB mode, into frames that the driver has not taken for itself.
fn s15_1_6_a_program_in_skb_mode_copies(world: &dyn World) {
    let socket = open(world, &bound_with(FORCED));
    socket.fill().push([0_u64, 4096, 8192]);
    let program = Kept::attach(world, &socket, XdpFlags::XDP_FLAGS_SKB_MODE);
    world.settle();
    world.send(End::A, &frame(60, 1));
    if driver(world) == "virtio_net" {
        // It has taken all.
        assert!(soon(world, || socket.statistics().rx_dropped == 1), "{:?}", socket.statistics());
        assert_eq!((socket.rx().producer(), socket.fill().consumer()), (0, 3));
    } else {
        let got = received(world, &socket, 1);
        assert_eq!((got.len(), got[0].0, got[0].1), (1, 256, 60));
        assert_eq!(socket.bytes(256, 60), frame(60, 1));
    }
    drop((socket, program));
}
