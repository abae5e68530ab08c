//! Maps: slots, and what keeps them.

use xsk::backend::{Handle, RedirectProgram};
use xsk_core::abi::XDP_RX_RING;
use xsk_core::errno::{EINVAL, ENOENT};
use xsk_tests::bpf;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

rules! {
    s9_1_1_create;
    s9_1_2_sockets_that_are_not_ready;
    s9_10_a_socket_keeps_the_map.not_simulated("the simulated kernel has no map ids");
    s9_11_an_update_replaces_in_its_slot_only;
}

fn s9_1_1_create(world: &dyn World) {
    let kernel = world.kernel();
    assert_eq!(errno(kernel.xskmap_create(0)), EINVAL);
    for entries in [1, 3, 4096] {
        kernel.close(kernel.xskmap_create(entries).unwrap());
    }
}

fn s9_1_2_sockets_that_are_not_ready(world: &dyn World) {
    let kernel = world.kernel();
    let map = kernel.xskmap_create(4).unwrap();
    // In a map that no program looks at.
    let socket = RawSocket::new(&kernel);
    assert_eq!(errno(kernel.xskmap_update(map, 0, socket.handle)), 0);
    assert_eq!(errno(kernel.xskmap_update(map, 3, socket.handle)), 0);
    drop(socket);
    let next = RawSocket::new(&kernel);
    assert_eq!(errno(world.xskmap_update_flags(map, 3, next.handle, 2)), ENOENT, "the slot is empty again");
    kernel.close(map);
}

fn s9_10_a_socket_keeps_the_map(world: &dyn World) {
    let kernel = world.kernel();
    let map = kernel.xskmap_create(1).unwrap();
    let id = bpf::map_id(map.0).unwrap();
    let socket = RawSocket::new(&kernel);
    assert_eq!(socket.set(XDP_RX_RING, 8), 0);
    kernel.xskmap_update(map, 0, socket.handle).unwrap();
    kernel.close(map);
    world.settle();
    assert_eq!(errno(bpf::map_by_id(id)), 0);
    drop(socket);
    let mut tries = 0;
    while errno(bpf::map_by_id(id)) != ENOENT {
        tries += 1;
        assert!(tries < 200, "the map stays");
        world.settle();
    }
}

fn s9_11_an_update_replaces_in_its_slot_only(world: &dyn World) {
    let kernel = world.kernel();
    let mut map = Handle(-1);
    let setup = Setup { end: End::B, ..Setup::default() };
    let mut first = RawSocket::open(world, &setup);
    let second = RawSocket::share(world, &first, End::B);
    first.attach(world, End::B, |made| {
        map = made;
        kernel.program_load(&RedirectProgram { map, frags: true }).unwrap()
    });
    kernel.xskmap_update(map, 1, first.handle).unwrap();
    kernel.xskmap_update(map, 1, second.handle).unwrap();
    first.fill().push([0_u64, 0x1000]);
    world.send(End::A, &frame(60, 1));
    assert_eq!((first.rx().producer(), second.rx().producer()), (1, 0), "slot 0 is as it was");
    kernel.xskmap_update(map, 0, second.handle).unwrap();
    world.send(End::A, &frame(60, 1));
    assert_eq!((first.rx().producer(), second.rx().producer()), (1, 1));
}
