//! Receiving.

use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};
use xsk_sim::Profile;
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, SimWorld};

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
