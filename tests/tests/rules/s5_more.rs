//! Binding: what follows from it, and what it does not look at.

use std::time::Duration;

use xsk::backend::{Capabilities, Handle};
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_COPY, XDP_OPTIONS, XDP_RX_RING, XDP_SHARED_UMEM, XDP_USE_SG, xdp_desc,
};
use xsk_core::errno::ENOPROTOOPT;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

rules! {
    s1_5_no_capability_is_needed_later;
    s2_2_16_pages_stay_when_they_are_unmapped;
    s2_3_2_the_budget_counts;
    s2_4_3_sharers_of_sockets_on_other_devices;
    s4_6_rings_are_zeroed;
    s5_2_4_frames_may_be_smaller_than_the_mtu;
    s5_2_5_copy_mode_is_the_fallback;
    s5_2_8_no_napi_id;
    s5_3_sockets_of_other_families.not_simulated("the simulated kernel has no sockets of other families");
}

const SO_INCOMING_NAPI_ID: i32 = 56;
const SO_BINDTODEVICE: i32 = 25;

fn s1_5_no_capability_is_needed_later(world: &dyn World) {
    let setup = Setup { size: 4 * 4096, ..Setup::default() };
    let mut socket = RawSocket::new(&world.kernel());
    let all = Capabilities::CAP_NET_RAW
        | Capabilities::CAP_NET_ADMIN
        | Capabilities::CAP_SYS_ADMIN
        | Capabilities::CAP_BPF;
    world.without(all, &mut || {
        socket.register(&setup).unwrap();
        socket.make_rings(&setup);
        assert_eq!(socket.bind(world, &setup), 0);
        socket.write(0, &frame(60, 1));
        socket.tx().push([xdp_desc { addr: 0, len: 60, options: 0 }]);
        assert_eq!(socket.kick(), 0);
        assert_eq!(errno(socket.kernel.recvfrom(socket.handle)), 0);
        let _readable = socket.statistics();
    });
    assert_eq!(world.receive(End::B), Some(frame(60, 1)));
}

fn s2_2_16_pages_stay_when_they_are_unmapped(world: &dyn World) {
    let mut socket = RawSocket::open(world, &Setup::default());
    socket.write(0x3000, &frame(60, 5));
    socket.memory = None;
    socket.tx().push([xdp_desc { addr: 0x3000, len: 60, options: 0 }]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(world.receive(End::B), Some(frame(60, 5)));
}

fn s2_3_2_the_budget_counts(world: &dyn World) {
    use xsk_core::abi::XDP_MAX_TX_SKB_BUDGET;
    let socket = RawSocket::open(world, &Setup::default());
    assert_eq!(socket.set(XDP_MAX_TX_SKB_BUDGET, 40), 0, "bound or not");
    socket.tx().push((0..48).map(|i| xdp_desc { addr: i * 0x1000, len: 60, options: 0 }));
    assert_eq!((socket.kick(), socket.tx().consumer()), (xsk_core::errno::EAGAIN, 40));
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 48));
}

fn s2_4_3_sharers_of_sockets_on_other_devices(world: &dyn World) {
    let owner = RawSocket::open(world, &Setup::default());
    let sharer = RawSocket::new(&world.kernel());
    assert_eq!(sharer.set(XDP_RX_RING, 8), 0);
    let name = world.name(End::A);
    assert_eq!(
        errno(sharer.kernel.setsockopt(sharer.handle, 1, SO_BINDTODEVICE, name.as_bytes_with_nul())),
        0
    );
    assert_eq!(sharer.bind_to(world.index(End::A), 0, XDP_SHARED_UMEM, owner.handle.0 as u32), 0);
    // The owner may be elsewhere: only where the sharer goes counts.
    let other = RawSocket::new(&world.kernel());
    let name = world.name(End::B);
    assert_eq!(errno(other.kernel.setsockopt(other.handle, 1, SO_BINDTODEVICE, name.as_bytes_with_nul())), 0);
    for ring in [XDP_RX_RING, xsk_core::abi::XDP_UMEM_FILL_RING, xsk_core::abi::XDP_UMEM_COMPLETION_RING] {
        assert_eq!(other.set(ring, 8), 0);
    }
    assert_eq!(other.bind_to(world.index(End::B), 0, XDP_SHARED_UMEM, owner.handle.0 as u32), 0);
}

fn s4_6_rings_are_zeroed(world: &dyn World) {
    let mut socket = RawSocket::new(&world.kernel());
    socket.make_rings(&Setup::default());
    for ring in [socket.rx(), socket.tx()] {
        assert_eq!((ring.producer(), ring.consumer()), (0, 0));
        assert!((0..ring.entries()).all(|i| ring.read::<xdp_desc>(i) == xdp_desc::default()));
    }
    for ring in [socket.fill(), socket.completion()] {
        assert_eq!((ring.producer(), ring.consumer()), (0, 0));
        assert!((0..ring.entries()).all(|i| ring.read::<u64>(i) == 0));
    }
}

fn s5_2_4_frames_may_be_smaller_than_the_mtu(world: &dyn World) {
    assert_eq!((world.set_mtu(End::A, 9000), world.set_mtu(End::B, 9000)), (0, 0));
    for (end, bind_flags) in [(End::A, XDP_COPY), (End::B, XDP_COPY | XDP_USE_SG)] {
        let setup = Setup { chunk: 2048, end, bind_flags, ..Setup::default() };
        assert_eq!(RawSocket::prepare(world, &setup).bind(world, &setup), 0);
    }
}

fn s5_2_5_copy_mode_is_the_fallback(world: &dyn World) {
    let setup = Setup { bind_flags: 0, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    let mut options = 9_u32;
    let got = socket.kernel.getsockopt(socket.handle, SOL_XDP, XDP_OPTIONS, options.as_bytes_mut());
    assert_eq!((got.unwrap(), options), (4, 0));
}

fn s5_2_8_no_napi_id(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { end: End::B, ..Setup::default() });
    assert_eq!(socket.socket_option(SO_INCOMING_NAPI_ID), 0);
    socket.fill().push([0_u64]);
    world.send(End::A, &frame(60, 1));
    world.kernel().sleep(Duration::from_millis(1));
    assert_eq!(socket.socket_option(SO_INCOMING_NAPI_ID), 0);
}

fn s5_3_sockets_of_other_families(world: &dyn World) {
    let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let udp = Handle(std::os::fd::AsRawFd::as_raw_fd(&udp));
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(socket.set(XDP_RX_RING, 8), 0);
    assert_eq!(socket.bind_to(world.index(End::A), 0, XDP_SHARED_UMEM, udp.0 as u32), ENOPROTOOPT);
}
