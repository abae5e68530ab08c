use std::time::Duration;

use xsk::backend::RedirectProgram;
use xsk_core::abi::{XDP_RX_RING, XDP_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, xdp_desc};
use xsk_core::errno::EBUSY;

use xsk_tests::raw::{RawSocket, Ring, Setup, frame};
use xsk_tests::world::{End, World};

rules! {
    s9_1_counters_of_a_shared_queue;
    s9_1_completions_of_sharers_are_common;
    s9_2_sharers_outlive_the_owner;
    s9_11_a_closed_socket_leaves_all_its_slots;
    s9_5_what_waits_at_close_is_left;
    s9_3_closing_completes_a_packet_without_an_end;
}

fn s9_1_counters_of_a_shared_queue(world: &dyn World) {
    let setup = Setup { end: End::B, ..Setup::default() };
    let owner = RawSocket::open_receiver(world, &setup);
    let sharer = RawSocket::share(world, &owner, End::B);
    world.send(End::A, &frame(60, 1));
    let (one, two) = (owner.statistics(), sharer.statistics());
    assert_eq!((one.rx_dropped, two.rx_dropped), (1, 0));
    assert_eq!((one.rx_fill_ring_empty_descs, two.rx_fill_ring_empty_descs), (1, 1));
}

fn s9_1_completions_of_sharers_are_common(world: &dyn World) {
    let owner = RawSocket::open(world, &Setup::default());
    let sharer = RawSocket::share(world, &owner, End::A);
    sharer.tx().push([xdp_desc { addr: 0x3000, len: 60, options: 0 }]);
    assert_eq!(sharer.kick(), 0);
    assert_eq!(owner.completion().pop_all::<u64>(), [0x3000]);
}

fn s9_2_sharers_outlive_the_owner(world: &dyn World) {
    let mut owner = RawSocket::open(world, &Setup::default());
    let sharer = RawSocket::share(world, &owner, End::A);
    let memory = owner.memory.take();
    drop(owner);
    world.kernel().sleep(Duration::from_millis(200));
    let offsets = sharer.offsets().cr;
    let mapping = world.kernel().mmap_ring(sharer.handle, XDP_UMEM_PGOFF_COMPLETION_RING, 4096).unwrap();
    let completion = Ring::new::<u64>(mapping, offsets, 64);
    sharer.tx().push([xdp_desc { addr: 0x3000, len: 60, options: 0 }]);
    assert_eq!(sharer.kick(), 0);
    assert_eq!(completion.pop_all::<u64>(), [0x3000]);
    drop(memory);
    // Unmapped, and still the kernel's.
    sharer.tx().push([xdp_desc { addr: 0x4000, len: 60, options: 0 }]);
    assert_eq!(sharer.kick(), 0);
    let mut next = RawSocket::new(&world.kernel());
    next.register(&Setup::default()).unwrap();
    next.make_rings(&Setup::default());
    assert_eq!(next.bind(world, &Setup::default()), EBUSY);
}

fn s9_11_a_closed_socket_leaves_all_its_slots(world: &dyn World) {
    let kernel = world.kernel();
    let mut map = None;
    let mut socket = RawSocket::open(world, &Setup { end: End::B, ..Setup::default() });
    socket.attach(world, End::B, |made| {
        map = Some(made);
        kernel.program_load(&RedirectProgram { map: made, frags: true }).unwrap()
    });
    let map = map.unwrap();
    let other = RawSocket::new(&kernel);
    assert_eq!((other.set(XDP_RX_RING, 8), other.set(XDP_TX_RING, 8)), (0, 0));
    kernel.xskmap_update(map, 0, other.handle).unwrap();
    kernel.xskmap_update(map, 1, other.handle).unwrap();
    drop(other);
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::B), Some(frame(60, 1)), "the slot is empty");
}

fn s9_5_what_waits_at_close_is_left(world: &dyn World) {
    world.hold(End::B);
    let socket = RawSocket::open(world, &Setup::default());
    socket.write(0, &frame(60, 9));
    socket.tx().push([xdp_desc { addr: 0, len: 60, options: 0 }]);
    assert_eq!(socket.kick(), 0);
    socket.tx().push([xdp_desc { addr: 4096, len: 60, options: 0 }]);
    drop(socket);
    world.kernel().sleep(Duration::from_millis(100));
    assert_eq!((world.receive(End::B), world.receive(End::B)), (Some(frame(60, 9)), None));
    world.release(End::B);
}

fn s9_3_closing_completes_a_packet_without_an_end(world: &dyn World) {
    let owner = RawSocket::open(world, &Setup::default());
    let sharer = RawSocket::share(world, &owner, End::A);
    sharer.tx().push([0x1000, 0x2000].map(|addr| xdp_desc { addr, len: 60, options: 1 }));
    assert_eq!(sharer.kick(), 0);
    drop(sharer);
    world.kernel().sleep(Duration::from_millis(100));
    assert_eq!(owner.completion().pop_all::<u64>(), [0x1000, 0x2000]);
}
