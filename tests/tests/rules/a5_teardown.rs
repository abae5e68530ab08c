//! A.5: teardown, and what happens to devices.

use std::time::Duration;

use xsk::backend::PollEvents;
use xsk_core::abi::{XDP_COPY, XDP_RX_RING, XDP_UMEM_PGOFF_FILL_RING, xdp_desc};
use xsk_core::errno::{EBUSY, ENETDOWN, ENXIO};

use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

rules! {
    a5_a_mapping_keeps_the_socket;
    a5_a_queue_is_released_some_time_after_the_close;
    a5_a_packet_in_flight_keeps_the_queue;
    a5_the_device_is_deleted;
    a5_the_device_moves_to_another_namespace;
    a5_the_device_goes_down_and_up;
    a5_the_peer_goes_down;
    a5_an_empty_slot_passes_to_the_stack;
}

const SO_ERROR: i32 = 4;

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

/// Tries to bind for two seconds; how long it took.
fn bind_in_time(world: &dyn World, socket: &RawSocket, setup: &Setup) -> Duration {
    let kernel = world.kernel();
    let start = kernel.now();
    while socket.bind(world, setup) == EBUSY {
        assert!(kernel.now() - start < Duration::from_secs(2), "the queue stays busy");
        kernel.sleep(Duration::from_millis(1));
    }
    kernel.now() - start
}

fn a5_a_mapping_keeps_the_socket(world: &dyn World) {
    let mut socket = RawSocket::open_receiver(world, &on_b());
    socket.fill().push([0_u64, 0x1000, 0x2000]);
    socket.close();
    let next = RawSocket::prepare(world, &on_b());
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.rx().pop_all::<xdp_desc>().len(), 1);
    world.kernel().sleep(Duration::from_millis(200));
    assert_eq!(next.bind(world, &on_b()), EBUSY);
    (socket.fill, socket.completion, socket.tx) = (None, None, None);
    world.kernel().sleep(Duration::from_millis(200));
    assert_eq!(next.bind(world, &on_b()), EBUSY);
    socket.rx = None;
    bind_in_time(world, &next, &on_b());
}

fn a5_a_queue_is_released_some_time_after_the_close(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let next = RawSocket::prepare(world, &Setup::default());
    drop(socket);
    assert_eq!(next.bind(world, &Setup::default()), EBUSY);
    let waited = bind_in_time(world, &next, &Setup::default());
    assert!(waited > Duration::from_millis(1), "{waited:?}");
}

fn a5_a_packet_in_flight_keeps_the_queue(world: &dyn World) {
    world.hold(End::B);
    let socket = RawSocket::open(world, &Setup::default());
    socket.tx().push([xdp_desc { addr: 0, len: 60, options: 0 }]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.completion().producer(), 0);
    let next = RawSocket::prepare(world, &Setup::default());
    drop(socket);
    world.kernel().sleep(Duration::from_millis(200));
    assert_eq!(next.bind(world, &Setup::default()), EBUSY);
    world.release(End::B);
    bind_in_time(world, &next, &Setup::default());
}

fn assert_dead(world: &dyn World, socket: &RawSocket) {
    assert_eq!(socket.socket_option(SO_ERROR), ENETDOWN);
    assert_eq!(socket.socket_option(SO_ERROR), 0);
    assert_eq!(socket.kick(), ENXIO);
    assert_eq!(errno(world.kernel().recvfrom(socket.handle)), ENXIO);
    assert_eq!(socket.poll(PollEvents::IN | PollEvents::OUT, 0), PollEvents::empty());
    assert_eq!(socket.bind_to(99, 0, XDP_COPY, 0), EBUSY);
    assert_eq!(socket.set(XDP_RX_RING, 8), EBUSY);
    assert_eq!(errno(world.kernel().mmap_ring(socket.handle, XDP_UMEM_PGOFF_FILL_RING, 4096)), EBUSY);
    let _still_there = (socket.statistics(), socket.offsets());
}

fn a5_the_device_is_deleted(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &on_b());
    world.remove();
    assert_dead(world, &socket);
}

fn a5_the_device_moves_to_another_namespace(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &on_b());
    world.move_away(End::B);
    assert_dead(world, &socket);
}

fn a5_the_device_goes_down_and_up(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &on_b());
    socket.fill().push([0_u64, 0x1000]);
    world.send(End::A, &frame(60, 1));
    world.set_up(End::B, false);
    assert_eq!(socket.kick(), ENETDOWN);
    assert_eq!(errno(world.kernel().recvfrom(socket.handle)), ENETDOWN);
    assert_eq!(socket.poll(PollEvents::IN | PollEvents::OUT, 0), PollEvents::empty());
    world.set_up(End::B, true);
    assert_eq!(socket.poll(PollEvents::IN, 0), PollEvents::IN);
    world.send(End::A, &frame(61, 1));
    let lengths: Vec<u32> = socket.rx().pop_all::<xdp_desc>().iter().map(|desc| desc.len).collect();
    assert_eq!(lengths, [60, 61]);
}

fn a5_the_peer_goes_down(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    socket.tx().push((0..3).map(|i| xdp_desc { addr: i * 0x1000, len: 60, options: 0 }));
    world.set_up(End::B, false);
    for kick in 1..=2 {
        assert_eq!((socket.kick(), socket.tx().consumer()), (EBUSY, kick));
        assert_eq!(socket.completion().producer(), kick);
    }
    world.set_up(End::B, true);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 3));
}

fn a5_an_empty_slot_passes_to_the_stack(world: &dyn World) {
    let kernel = world.kernel();
    let mut socket = RawSocket::open(world, &on_b());
    let mut map = None;
    socket.attach(world, End::B, |made| {
        map = Some(made);
        kernel.program_load(&xsk::backend::RedirectProgram { map: made, frags: false }).unwrap()
    });
    let map = map.unwrap();
    socket.fill().push([0_u64, 0x1000]);
    world.send(End::A, &frame(60, 1));
    assert_eq!((socket.rx().producer(), world.receive(End::B)), (1, None));
    kernel.xskmap_delete(map, 0).unwrap();
    world.send(End::A, &frame(61, 1));
    assert_eq!((socket.rx().producer(), world.receive(End::B)), (1, Some(frame(61, 1))));
    kernel.xskmap_update(map, 0, socket.handle).unwrap();
    socket.close();
    (socket.rx, socket.tx, socket.fill, socket.completion) = (None, None, None, None);
    world.send(End::A, &frame(62, 1));
    assert_eq!(world.receive(End::B), Some(frame(62, 1)));
}
