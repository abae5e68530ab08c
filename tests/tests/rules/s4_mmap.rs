use xsk_core::abi::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_RX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING,
};
use xsk_core::errno::EINVAL;

use xsk_tests::raw::{RawSocket, Ring, Setup, errno};
use xsk_tests::world::World;

rules! {
    s4_2_rings_of_a_bound_socket;
    s4_offsets_and_lengths;
    s4_5_mappings_of_one_ring_are_one_memory;
}

const OFFSETS: [u64; 4] =
    [XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_FILL_RING, XDP_UMEM_PGOFF_COMPLETION_RING];

fn s4_offsets_and_lengths(world: &dyn World) {
    let kernel = world.kernel();
    let socket = RawSocket::new(&kernel);
    let map = |offset, len| errno(kernel.mmap_ring(socket.handle, offset, len));
    for offset in OFFSETS {
        assert_eq!(map(offset, 4096), EINVAL, "there is no ring yet");
    }
    assert_eq!(socket.set(XDP_RX_RING, 256), 0);
    assert_eq!(socket.set(XDP_UMEM_FILL_RING, 256), 0);
    // 320 + 256 * 16 = 4416 bytes, 320 + 256 * 8 = 2368 bytes.
    let rows = [
        (XDP_PGOFF_RX_RING, 0, EINVAL),
        (XDP_PGOFF_RX_RING, 1, 0),
        (XDP_PGOFF_RX_RING, 4416, 0),
        (XDP_PGOFF_RX_RING, 8192, 0),
        (XDP_PGOFF_RX_RING, 8193, EINVAL),
        (XDP_UMEM_PGOFF_FILL_RING, 4096, 0),
        (XDP_UMEM_PGOFF_FILL_RING, 4097, EINVAL),
        (4096, 4096, EINVAL),
        (1, 4096, EINVAL),
        (0x2_0000_0000, 4096, EINVAL),
    ];
    for (offset, len, expected) in rows {
        assert_eq!(map(offset, len), expected, "{len} bytes at {offset:#x}");
    }
}

fn s4_2_rings_of_a_bound_socket(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    for offset in OFFSETS {
        assert_eq!(errno(world.kernel().mmap_ring(socket.handle, offset, 4096)), 0);
    }
}

fn s4_5_mappings_of_one_ring_are_one_memory(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let again = world.kernel().mmap_ring(socket.handle, XDP_PGOFF_TX_RING, 4096).unwrap();
    let offsets = socket.offsets().tx;
    let again = Ring::new::<xsk_core::abi::xdp_desc>(again, offsets, 64);
    again.set_producer(5);
    assert_eq!((socket.tx().producer(), socket.tx().entries(), again.consumer()), (5, 64, 0));
}
