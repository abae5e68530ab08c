use xsk::backend::{Handle, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::xdp_desc;
use xsk_core::errno::EINVAL;
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, Program, World, XDP_PASS, XDP_TX, is_native};

rules! {
    s14_3_5_the_receive_queue.queues(4);
    s14_3_4_sending_back_needs_napi_on_the_other_end;
    s14_3_4_redirecting_to_another_device;
    s9_9_queues_with_sockets_stay.queues(4);
    s14_2_4_without_a_program_the_stack_gets_it;
}

fn s14_3_5_the_receive_queue(world: &dyn World) {
    let kernel = world.kernel();
    let program = world.program(Program::SeeQueue, Handle(-1));
    let link = kernel.link_create(program, world.index(End::B), world.mode()).unwrap();
    let seen: Vec<_> = (0..4)
        .map(|queue| {
            let socket = RawSocket::open(world, &Setup { queue, ..Setup::default() });
            socket.tx().push([xdp_desc { addr: 0, len: 60, options: 0 }]);
            assert_eq!(socket.kick(), 0);
            world.settle();
            world.queue_seen().expect("a packet")
        })
        .collect();
    assert_eq!(seen, if is_native(world) { [0, 1, 2, 3] } else { [0, 0, 1, 2] });
    kernel.close(link);
    kernel.close(program);
}

fn s14_3_4_sending_back_needs_napi_on_the_other_end(world: &dyn World) {
    let kernel = world.kernel();
    let bounce = world.program(Program::Verdict(XDP_TX), Handle(-1));
    let pass = world.program(Program::Verdict(XDP_PASS), Handle(-1));
    let link = kernel.link_create(bounce, world.index(End::B), world.mode()).unwrap();
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::A), (!is_native(world)).then(|| frame(60, 1)));
    let napi = kernel.link_create(pass, world.index(End::A), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::A), Some(frame(60, 1)));
    [link, napi, bounce, pass].into_iter().for_each(|handle| kernel.close(handle));
}

/// Back out of the device that it came in on, by its index.
fn s14_3_4_redirecting_to_another_device(world: &dyn World) {
    let kernel = world.kernel();
    let pass = world.program(Program::Verdict(XDP_PASS), Handle(-1));
    let to = world.program(Program::ToDevice(world.index(End::B)), Handle(-1));
    let link = kernel.link_create(to, world.index(End::B), world.mode()).unwrap();
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::B), None);
    assert_eq!(world.receive(End::A), (!is_native(world)).then(|| frame(60, 1)));
    let napi = kernel.link_create(pass, world.index(End::A), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    world.send(End::A, &frame(61, 1));
    assert_eq!(world.receive(End::A), Some(frame(61, 1)));
    [link, napi, to, pass].into_iter().for_each(|handle| kernel.close(handle));
}

fn s9_9_queues_with_sockets_stay(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup { queue: 2, ..Setup::default() });
    assert_eq!(world.set_queues(End::A, 2, 2), EINVAL);
    assert_eq!(world.set_queues(End::A, 3, 3), 0);
    assert_eq!(world.set_queues(End::A, 5, 5), EINVAL);
    drop(socket);
    world.kernel().sleep(std::time::Duration::from_millis(200));
    assert_eq!(world.set_queues(End::A, 1, 1), 0);
}

fn s14_2_4_without_a_program_the_stack_gets_it(world: &dyn World) {
    let kernel = world.kernel();
    let socket = RawSocket::open(world, &Setup { end: End::B, ..Setup::default() });
    socket.fill().push([0_u64]);
    world.send(End::A, &frame(60, 1));
    assert_eq!((socket.rx().producer(), world.receive(End::B)), (0, Some(frame(60, 1))));
    // And with one, until the link is closed.
    let map = kernel.xskmap_create(1).unwrap();
    kernel.xskmap_update(map, 0, socket.handle).unwrap();
    let program = kernel.program_load(&RedirectProgram { map, frags: false }).unwrap();
    let link = kernel.link_create(program, world.index(End::B), world.mode()).unwrap();
    kernel.close(program);
    kernel.close(map);
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.rx().producer(), 1);
    kernel.close(link);
    world.send(End::A, &frame(61, 1));
    assert_eq!((socket.rx().producer(), world.receive(End::B)), (1, Some(frame(61, 1))));
}
