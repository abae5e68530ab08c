use xsk::backend::{Backend, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::xdp_desc;
use xsk_core::errno::EINVAL;
use xsk_sim::{DeviceConfig, Profile, XdpAction};

use crate::kit::{End, RawSocket, Setup, SimWorld, World, errno, frame};

fn queues(mode: XdpFlags, queues: u32) -> SimWorld {
    SimWorld::new(Profile::default(), mode, &DeviceConfig::default().queues(queues))
}

#[test]
fn s14_3_5_the_receive_queue() {
    for (mode, expected) in
        [(XdpFlags::XDP_FLAGS_SKB_MODE, [0, 0, 1, 2]), (XdpFlags::XDP_FLAGS_DRV_MODE, [0, 1, 2, 3])]
    {
        let world = queues(mode, 4);
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let program = {
            let seen = std::sync::Arc::clone(&seen);
            world.kernel.program("look", true, move |packet| {
                seen.lock().unwrap().push(packet.rx_queue());
                XdpAction::Drop
            })
        };
        world.kernel.link_create(program, world.index(End::B), mode).unwrap();
        for queue in 0..4 {
            let socket = RawSocket::open(&world, &Setup { queue, ..Setup::default() });
            socket.tx().push([xdp_desc { addr: 0, len: 60, options: 0 }]);
            assert_eq!(socket.kick(), 0);
        }
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}

#[test]
fn s14_3_4_sending_back_needs_napi_on_the_other_end() {
    for (mode, napi, arrives) in [
        (XdpFlags::XDP_FLAGS_SKB_MODE, false, true),
        (XdpFlags::XDP_FLAGS_DRV_MODE, false, false),
        (XdpFlags::XDP_FLAGS_DRV_MODE, true, true),
    ] {
        let world = queues(mode, 1);
        let bounce = world.kernel.program("bounce", true, |_| XdpAction::Tx);
        let pass = world.kernel.program("pass", true, |_| XdpAction::Pass);
        world.kernel.link_create(bounce, world.index(End::B), mode).unwrap();
        if napi {
            world.kernel.link_create(pass, world.index(End::A), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
        }
        world.send(End::A, &frame(60, 1));
        assert_eq!(world.receive(End::A), arrives.then(|| frame(60, 1)), "{mode:?}");
    }
}

#[test]
fn two_ends_that_bounce_do_not_hang_a_call() {
    let world = queues(XdpFlags::XDP_FLAGS_DRV_MODE, 1);
    let bounce = world.kernel.program("bounce", true, |_| XdpAction::Tx);
    for end in [End::A, End::B] {
        world.kernel.link_create(bounce, world.index(end), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    }
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.kernel.run_until_idle(50), 50, "it goes on and on, a step at a time");
}

#[test]
fn redirecting_to_another_device() {
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        let world = queues(mode, 1);
        let card = world.kernel.card("card", &DeviceConfig::default()).unwrap();
        let ifindex = card.index();
        let program = world.kernel.program("redirect", true, move |_| XdpAction::Redirect { ifindex });
        world.kernel.link_create(program, world.index(End::B), mode).unwrap();
        world.send(End::A, &frame(60, 1));
        assert_eq!((card.sent(), world.receive(End::B)), (Some(frame(60, 1)), None));
    }
}

#[test]
fn s9_9_queues_with_sockets_stay() {
    let world = queues(XdpFlags::XDP_FLAGS_SKB_MODE, 4);
    let socket = RawSocket::open(&world, &Setup { queue: 2, ..Setup::default() });
    assert_eq!(errno(world.a.set_queues(2, 2)), EINVAL);
    assert_eq!(errno(world.a.set_queues(3, 3)), 0);
    assert_eq!(errno(world.a.set_queues(5, 5)), EINVAL);
    drop(socket);
    world.kernel.run_until_idle(10);
    assert_eq!(errno(world.a.set_queues(1, 1)), 0);
}

#[test]
fn s14_2_4_without_a_program_the_stack_gets_it() {
    let world = queues(XdpFlags::XDP_FLAGS_SKB_MODE, 1);
    let socket = RawSocket::open(&world, &Setup { end: End::B, ..Setup::default() });
    socket.fill().push([0_u64]);
    world.send(End::A, &frame(60, 1));
    assert_eq!((socket.rx().producer(), world.receive(End::B)), (0, Some(frame(60, 1))));
    // And with one, until the link is closed.
    let map = world.kernel.xskmap_create(1).unwrap();
    world.kernel.xskmap_update(map, 0, socket.handle).unwrap();
    let program = world.kernel.program_load(&RedirectProgram { map, frags: false }).unwrap();
    let link = world.kernel.link_create(program, world.index(End::B), world.mode()).unwrap();
    world.kernel.close(program);
    world.kernel.close(map);
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.rx().producer(), 1);
    world.kernel.close(link);
    world.send(End::A, &frame(61, 1));
    assert_eq!((socket.rx().producer(), world.receive(End::B)), (1, Some(frame(61, 1))));
}
