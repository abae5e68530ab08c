use xsk::backend::{Backend, Handle};
use xsk_core::abi::XDP_RX_RING;
use xsk_core::errno::{E2BIG, EBADF, EEXIST, EINVAL, ENOBUFS, ENOENT, ENOTSOCK, EOPNOTSUPP};
use xsk_sim::Profile;

use crate::kit::{RawSocket, SimWorld, World, errno};

#[test]
fn s9_1_update_and_delete() {
    let world = SimWorld::skb();
    let kernel = &world.kernel;
    assert_eq!(errno(kernel.xskmap_create(0)), EINVAL);
    let map = kernel.xskmap_create(4).unwrap();
    let (one, two) = (RawSocket::new(&world.kernel()), RawSocket::new(&world.kernel()));
    let update = |key, socket: Handle, flags| errno(kernel.xskmap_update_flags(map, key, socket, flags));
    let rows = [
        (9, Handle(-1), 3, EINVAL),
        (4, Handle(-1), 0, E2BIG),
        (0, Handle(-1), 0, EBADF),
        (0, map, 0, ENOTSOCK),
        (0, one.handle, 2, ENOENT),
        (0, one.handle, 1, 0),
        (0, one.handle, 1, 0),
        (0, one.handle, 2, 0),
        (0, two.handle, 1, EEXIST),
        (0, two.handle, 2, 0),
        (3, two.handle, 0, 0),
    ];
    for (key, socket, flags, expected) in rows {
        assert_eq!(update(key, socket, flags), expected, "slot {key} {socket:?} flags {flags}");
    }
    assert_eq!(errno(kernel.xskmap_lookup(map)), EOPNOTSUPP);
    assert_eq!(errno(kernel.xskmap_delete(map, 4)), EINVAL);
    assert_eq!(errno(kernel.xskmap_delete(map, 0)), 0);
    assert_eq!(errno(kernel.xskmap_delete(map, 0)), 0);
    assert_eq!(update(0, one.handle, 2), ENOENT);
    assert_eq!(errno(kernel.xskmap_update(one.handle, 0, one.handle)), EINVAL);
    kernel.close(map);
    assert_eq!(errno(kernel.xskmap_delete(map, 0)), EBADF);
}

#[test]
fn s9_1_7_3_wants_an_rx_ring() {
    let world = SimWorld::of(Profile::LINUX_7_3);
    let map = world.kernel.xskmap_create(4).unwrap();
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(errno(world.kernel.xskmap_update(map, 0, socket.handle)), ENOBUFS);
    assert_eq!(socket.set(XDP_RX_RING, 8), 0);
    assert_eq!(errno(world.kernel.xskmap_update(map, 0, socket.handle)), 0);
}
