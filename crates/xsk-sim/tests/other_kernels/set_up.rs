//! Sockets, options, maps.

use xsk::backend::{Backend, PageSize, RedirectProgram};
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_COPY, XDP_MAX_TX_SKB_BUDGET, XDP_MMAP_OFFSETS, XDP_RX_RING, XDP_TX_RING,
    XDP_UMEM_FILL_RING, XDP_UMEM_REG, XDP_USE_SG, XDP_ZEROCOPY, xdp_desc, xdp_mmap_offsets, xdp_umem_reg,
};
use xsk_core::errno::{EBUSY, EINVAL, ENOBUFS, ENOMEM, ENOPROTOOPT, EOPNOTSUPP};
use xsk_sim::Profile;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, SimWorld, World};

#[test]
fn large_rings() {
    let world = SimWorld::of(Profile::LINUX_6_1);
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(socket.set(XDP_RX_RING, 1 << 18), ENOMEM);
    assert_eq!(socket.set(XDP_UMEM_FILL_RING, 1 << 18), 0);
}

/// The errno of registering memory of 16 pages, whose address is filled in.
fn register(world: &SimWorld, reg: xdp_umem_reg) -> i32 {
    let memory = world.kernel.mmap_memory(16 * 4096, PageSize::Normal).unwrap();
    let reg = xdp_umem_reg { addr: memory.as_ptr().as_ptr() as u64, len: 16 * 4096, ..reg };
    let socket = RawSocket::new(&world.kernel());
    errno(world.kernel.setsockopt(socket.handle, SOL_XDP, XDP_UMEM_REG, reg.as_bytes()))
}

#[test]
fn registration() {
    let reg = xdp_umem_reg { chunk_size: 4096, ..Default::default() };
    let old = SimWorld::of(Profile::LINUX_5_10);
    for (headroom, expected) in [(3839, 0), (3840, EINVAL)] {
        assert_eq!(register(&old, xdp_umem_reg { headroom, ..reg }), expected);
    }
    assert_eq!(register(&old, xdp_umem_reg { flags: 2, ..reg }), EINVAL);
    let newer = SimWorld::of(Profile::LINUX_7_3);
    let metadata = |tx_metadata_len| xdp_umem_reg { flags: 4, tx_metadata_len, ..reg };
    assert_eq!((register(&newer, metadata(8)), register(&newer, metadata(16))), (EINVAL, 0));
}

#[test]
fn options_that_are_not_there_yet() {
    let world = SimWorld::of(Profile::LINUX_6_12);
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(socket.set(XDP_TX_RING, 64), 0);
    assert_eq!(socket.set(XDP_MAX_TX_SKB_BUDGET, 32), ENOPROTOOPT);
    let world = SimWorld::of(Profile::LINUX_5_10);
    let socket = RawSocket::new(&world.kernel());
    const SO_PREFER_BUSY_POLL: i32 = 69;
    const SO_BUSY_POLL_BUDGET: i32 = 70;
    for name in [SO_PREFER_BUSY_POLL, SO_BUSY_POLL_BUDGET] {
        assert_eq!(errno(world.kernel.setsockopt(socket.handle, 1, name, &[0; 4])), ENOPROTOOPT);
    }
}

#[test]
fn offsets_of_5_10() {
    let world = SimWorld::of(Profile::LINUX_5_10);
    let socket = RawSocket::new(&world.kernel());
    let mut offsets = xdp_mmap_offsets::default();
    world.kernel.getsockopt(socket.handle, SOL_XDP, XDP_MMAP_OFFSETS, offsets.as_bytes_mut()).unwrap();
    assert_eq!((offsets.rx.desc, offsets.rx.flags), (192, 132));
}

#[test]
fn rings_of_a_bound_socket() {
    let world = SimWorld::of(Profile::LINUX_6_1);
    let socket = RawSocket::open(&world, &Setup::default());
    assert_eq!(errno(world.kernel.mmap_ring(socket.handle, 0, 4096)), EBUSY);
}

#[test]
fn failed_binds_leave_no_mark_on_7_3() {
    let world = SimWorld::of(Profile::LINUX_7_3);
    let setup = Setup { chunk: 2048, headroom: 1000, end: End::B, ..Setup::default() };
    let mut socket = RawSocket::prepare(&world, &setup);
    assert_eq!(socket.bind_to(world.index(End::B), 0, XDP_ZEROCOPY | XDP_USE_SG, 0), EOPNOTSUPP);
    assert_eq!(socket.bind_to(world.index(End::B), 0, XDP_COPY, 0), 0);
    socket.attach(&world, End::B, |map| {
        world.kernel.program_load(&RedirectProgram { map, frags: true }).unwrap()
    });
    socket.fill().push([0_u64, 2048]);
    world.send(End::A, &frame(1000, 1));
    assert_eq!(socket.rx().pop_all::<xdp_desc>(), []);
}

#[test]
fn maps_of_7_3_want_an_rx_ring() {
    let world = SimWorld::of(Profile::LINUX_7_3);
    let map = world.kernel.xskmap_create(4).unwrap();
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(errno(world.kernel.xskmap_update(map, 0, socket.handle)), ENOBUFS);
    assert_eq!(socket.set(XDP_RX_RING, 8), 0);
    assert_eq!(errno(world.kernel.xskmap_update(map, 0, socket.handle)), 0);
}
