use xsk_core::abi::{
    XDP_COPY, XDP_RX_RING, XDP_SHARED_UMEM, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING,
    XDP_USE_NEED_WAKEUP, XDP_USE_SG, XDP_ZEROCOPY, sockaddr_xdp, xdp_desc,
};
use xsk_core::errno::{EBADF, EBUSY, EINVAL, ENODEV, ENOTSOCK, EOPNOTSUPP};

use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

rules! {
    s5_2_6_a_failed_bind_leaves_its_mark;
    s5_2_3_queue_ids_have_16_bits.queues(2);
    s5_2_7_down_and_loopback;
    s5_3_sharing.queues(2);
    s5_1_order_of_checks;
    s5_2_device_assignment;
}

fn s5_1_order_of_checks(world: &dyn World) {
    let setup = Setup::default();
    let index = world.index(End::A);
    let socket = RawSocket::prepare(world, &setup);
    let address = sockaddr_xdp { sxdp_family: 2, sxdp_flags: 0xffff, ..Default::default() };
    assert_eq!(errno(world.kernel().bind(socket.handle, &address)), EINVAL);
    assert_eq!(socket.bind_to(999, 0, 1 << 5, 0), EINVAL);
    assert_eq!(socket.bind_to(999, 0, XDP_COPY, 0), ENODEV);
    assert_eq!(socket.bind_to(0, 0, XDP_COPY, 0), ENODEV);
    assert_eq!(socket.bind_to(index, 1, XDP_COPY, 0), EINVAL, "one queue");
    // Refused, and as good as before.
    assert_eq!(socket.bind_to(index, 0, XDP_COPY, 0), 0);
    assert_eq!(socket.bind_to(999, 0, XDP_COPY, 0), EBUSY);
    assert_eq!(socket.bind_to(index, 0, 1 << 5, 0), EINVAL);

    let bare = RawSocket::new(&world.kernel());
    assert_eq!(bare.bind_to(index, 0, XDP_COPY, 0), EINVAL);
    assert_eq!(bare.bind_to(999, 0, XDP_COPY, 0), ENODEV);
    for missing in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING] {
        let mut socket = RawSocket::new(&world.kernel());
        socket.register(&setup).unwrap();
        assert_eq!(socket.set(XDP_RX_RING, 8), 0);
        let other = XDP_UMEM_FILL_RING + XDP_UMEM_COMPLETION_RING - missing;
        assert_eq!(socket.set(other, 8), 0);
        assert_eq!(socket.bind_to(index, 0, XDP_COPY, 0), EINVAL, "busy or not");
    }
}

fn s5_2_device_assignment(world: &dyn World) {
    let setup = Setup::default();
    let index = world.index(End::A);
    let socket = RawSocket::prepare(world, &setup);
    let first = RawSocket::open(world, &setup);
    let rows = [
        (0, XDP_COPY | XDP_ZEROCOPY, EINVAL),
        (0, XDP_COPY, EBUSY),
        (0, XDP_ZEROCOPY, EBUSY),
        (1, XDP_ZEROCOPY, EINVAL),
        (65536, XDP_COPY, EBUSY),
    ];
    for (queue, flags, expected) in rows {
        assert_eq!(socket.bind_to(index, queue, flags, 0), expected, "queue {queue} flags {flags}");
    }
    drop(first);
    world.kernel().sleep(std::time::Duration::from_millis(200));
    assert_eq!(socket.bind_to(index, 0, XDP_ZEROCOPY, 0), EOPNOTSUPP);
    assert_eq!(socket.bind_to(index, 0, XDP_ZEROCOPY | XDP_USE_SG, 0), EOPNOTSUPP);
    assert_eq!(socket.bind_to(index, 65536, XDP_USE_NEED_WAKEUP, 0), 0);
    assert_eq!((socket.tx().flags(), socket.fill().flags()), (1, 0));
}

/// The UMEM stays marked by a bind that failed.
fn s5_2_6_a_failed_bind_leaves_its_mark(world: &dyn World) {
    let setup = Setup { chunk: 2048, headroom: 1000, end: End::B, ..Setup::default() };
    let mut socket = RawSocket::prepare(world, &setup);
    assert_eq!(socket.bind_to(world.index(End::B), 0, XDP_ZEROCOPY | XDP_USE_SG, 0), EOPNOTSUPP);
    assert_eq!(socket.bind(world, &setup), 0);
    socket.attach(world, End::B, |map| {
        world.kernel().program_load(&xsk::backend::RedirectProgram { map, frags: true }).unwrap()
    });
    socket.fill().push([0_u64, 2048]);
    world.send(End::A, &frame(1000, 1));
    assert_eq!(socket.rx().pop_all::<xdp_desc>().len(), 2);
}

fn s5_2_3_queue_ids_have_16_bits(world: &dyn World) {
    let socket = RawSocket::prepare(world, &Setup::default());
    let index = world.index(End::A);
    assert_eq!(socket.bind_to(index, 65541, XDP_COPY, 0), EINVAL);
    assert_eq!(socket.bind_to(index, 65537, XDP_COPY, 0), 0);
    let other = RawSocket::prepare(world, &Setup::default());
    assert_eq!(other.bind_to(index, 1, XDP_COPY, 0), EBUSY);
}

fn s5_2_7_down_and_loopback(world: &dyn World) {
    world.set_up(End::A, false);
    drop(RawSocket::open(world, &Setup::default()));
    let socket = RawSocket::prepare(world, &Setup::default());
    assert_eq!(socket.bind_to(world.loopback(), 0, XDP_COPY, 0), 0);
}

fn s5_3_sharing(world: &dyn World) {
    let kernel = world.kernel();
    let index = world.index(End::A);
    let owner = RawSocket::open(world, &Setup::default());
    let fd = owner.handle.0 as u32;
    let sharer = |rings: &[i32]| {
        let socket = RawSocket::new(&kernel);
        rings.iter().for_each(|ring| assert_eq!(socket.set(*ring, 8), 0));
        socket
    };
    let all = [XDP_RX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING];
    let socket = sharer(&[XDP_RX_RING]);
    for flag in [XDP_COPY, XDP_ZEROCOPY, XDP_USE_NEED_WAKEUP, XDP_USE_SG] {
        assert_eq!(socket.bind_to(index, 0, XDP_SHARED_UMEM | flag, fd), EINVAL);
    }
    assert_eq!(RawSocket::prepare(world, &Setup::default()).bind_to(index, 0, XDP_SHARED_UMEM, fd), EINVAL);
    let map = kernel.xskmap_create(1).unwrap();
    for no_socket in [map.0 as u32, 1 << 29, u32::MAX] {
        assert_eq!(socket.bind_to(index, 0, XDP_SHARED_UMEM, no_socket), ENOTSOCK);
    }
    assert_eq!(socket.bind_to(index, 0, XDP_SHARED_UMEM, socket.handle.0 as u32), EBADF);
    assert_eq!(sharer(&all).bind_to(index, 0, XDP_SHARED_UMEM, fd), EINVAL, "rings on a queue that has some");
    assert_eq!(socket.bind_to(index, 1, XDP_SHARED_UMEM, fd), EINVAL, "no rings on a queue that has none");
    assert_eq!(socket.bind_to(index, 0, XDP_SHARED_UMEM, fd), 0);
    assert_eq!(errno(kernel.setsockopt(socket.handle, 283, 4, &[0; 32])), EBUSY, "it has a UMEM");

    let second = sharer(&all);
    assert_eq!(second.bind_to(index, 2, XDP_SHARED_UMEM, fd), EINVAL);
    // A sharer may be named as well.
    assert_eq!(second.bind_to(index, 1, XDP_SHARED_UMEM, socket.handle.0 as u32), 0);
    assert_eq!(sharer(&all).bind_to(index, 1, XDP_SHARED_UMEM, fd), EBUSY);
    assert_eq!(sharer(&[XDP_RX_RING]).bind_to(index, 1, XDP_SHARED_UMEM, fd), EINVAL);
    let third = sharer(&[XDP_RX_RING]);
    assert_eq!(third.bind_to(index, 1, XDP_SHARED_UMEM, second.handle.0 as u32), 0);
    let other_end = sharer(&all);
    assert_eq!(other_end.bind_to(world.index(End::B), 0, XDP_SHARED_UMEM, fd), 0);
}
