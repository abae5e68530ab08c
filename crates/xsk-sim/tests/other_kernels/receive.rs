//! Receiving.

use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};
use xsk_core::errno::EOPNOTSUPP;
use xsk_sim::Profile;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, SimWorld, World};

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

/// Frames of 792 bytes.
fn several_buffers() -> Setup {
    Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() }
}

#[test]
fn too_few_valid_entries_are_survived_by_7_3() {
    let world = SimWorld::of(Profile::LINUX_7_3);
    let socket = RawSocket::open_receiver(&world, &several_buffers());
    socket.fill().push([0_u64, 2048, 1 << 40]);
    // The first packet needs two buffers and gets them; the second finds one valid entry for two.
    let _ = world.a.send(&frame(1518, 1));
    socket.fill().push([1 << 40, 4096_u64]);
    let _ = world.a.send(&frame(1518, 1));
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_fill_ring_empty_descs), (1, 1));
    let got: Vec<u64> = socket.rx().pop_all::<xdp_desc>().iter().map(|desc| desc.addr).collect();
    assert_eq!(got, [1256, 2048 + 1256]);
}

#[test]
fn one_chunk_twice() {
    let run = |profile| {
        let world = SimWorld::of(profile);
        let socket = RawSocket::open_receiver(&world, &several_buffers());
        socket.fill().push([0_u64, 0]);
        world.send(End::A, &frame(1000, 1));
        (socket.rx().pop_all::<xdp_desc>().len(), socket.statistics().rx_dropped)
    };
    assert_eq!((run(Profile::LINUX_6_18), run(Profile::LINUX_7_3)), ((2, 0), (0, 1)));
}

#[test]
fn old_kernels_leave_the_options_of_a_descriptor() {
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
fn recvmsg_of_5_10() {
    let world = SimWorld::of(Profile::LINUX_5_10);
    let socket = RawSocket::open(&world, &Setup::default());
    assert_eq!(errno(socket.kernel.recvfrom(socket.handle)), EOPNOTSUPP);
}
