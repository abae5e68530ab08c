use xsk::backend::Handle;
use xsk_core::errno::{E2BIG, EBADF, EEXIST, EINVAL, ENOENT, ENOTSOCK, EOPNOTSUPP};

use xsk_tests::raw::{RawSocket, errno};
use xsk_tests::world::World;

rules! {
    s9_1_2_update_and_delete;
}

fn s9_1_2_update_and_delete(world: &dyn World) {
    let kernel = world.kernel();
    assert_eq!(errno(kernel.xskmap_create(0)), EINVAL);
    let map = kernel.xskmap_create(4).unwrap();
    let (one, two) = (RawSocket::new(&kernel), RawSocket::new(&kernel));
    let update = |key, socket: Handle, flags| errno(world.xskmap_update_flags(map, key, socket, flags));
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
    assert_eq!(errno(world.xskmap_lookup(map)), EOPNOTSUPP);
    assert_eq!(errno(kernel.xskmap_delete(map, 4)), EINVAL);
    assert_eq!(errno(kernel.xskmap_delete(map, 0)), 0);
    assert_eq!(errno(kernel.xskmap_delete(map, 0)), 0);
    assert_eq!(update(0, one.handle, 2), ENOENT);
    assert_eq!(errno(kernel.xskmap_update(one.handle, 0, one.handle)), EINVAL);
    kernel.close(map);
    assert_eq!(errno(kernel.xskmap_delete(map, 0)), EBADF);
}
