use xsk::backend::{Backend, DriverFeatures, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_SHARED_UMEM, XDP_USE_SG};
use xsk_core::errno::{EBUSY, EINVAL, EOPNOTSUPP};
use xsk_sim::{DeviceConfig, SimKernel, Unsupported};
use xsk_tests::raw::{RawSocket, Setup, errno, frame};

use crate::kit::{FORCED, World, bound_with, is_zero_copy};

#[test]
fn what_bind_flags_come_to() {
    let with = World::new();
    let bind = |world: &World, flags| world.try_bind(&bound_with(flags));
    assert_eq!((bind(&with, 0), bind(&with, FORCED), bind(&with, XDP_COPY)), (Ok(true), Ok(true), Ok(false)));
    assert_eq!(bind(&with, XDP_COPY | FORCED), Err(EINVAL));
    let without = World::with(&DeviceConfig::default());
    assert_eq!((bind(&without, 0), bind(&without, FORCED)), (Ok(false), Err(EOPNOTSUPP)));
    let has = |world: &World| world.card.info().features.unwrap().contains(DriverFeatures::ZERO_COPY);
    assert_eq!((has(&with), has(&without)), (true, false));
}

#[test]
fn packets_of_several_buffers() {
    let of = |segments| World::with(&DeviceConfig::default().zero_copy_segments(segments));
    let bind = |world: &World, flags| world.try_bind(&bound_with(flags));
    assert_eq!(bind(&of(1), FORCED), Ok(true));
    assert_eq!((bind(&of(1), FORCED | XDP_USE_SG), bind(&of(1), XDP_USE_SG)), (Err(EOPNOTSUPP), Ok(false)));
    assert_eq!(bind(&of(2), FORCED | XDP_USE_SG), Ok(true));
}

#[test]
fn frames_must_fit() {
    // 2048 - 256 bytes, less 26.
    let small = |flags| Setup { chunk: 2048, ..bound_with(flags) };
    let world = World::with(&DeviceConfig::default().zero_copy(true).mtu(1766));
    assert_eq!(world.try_bind(&small(FORCED)), Ok(true));
    world.card.set_mtu(1767).unwrap();
    assert_eq!((world.try_bind(&small(FORCED)), world.try_bind(&small(0))), (Err(EINVAL), Ok(false)));
    assert_eq!(world.try_bind(&small(FORCED | XDP_USE_SG)), Ok(true));
    // While it is bound.
    world.card.set_mtu(1500).unwrap();
    let socket = world.open(&small(FORCED));
    assert_eq!((errno(world.card.set_mtu(1767)), errno(world.card.set_mtu(1766))), (EINVAL, 0));
    drop(socket);
    world.rest();
    assert_eq!(errno(world.card.set_mtu(1767)), 0);
}

#[test]
fn busy_wins_over_what_cannot_be() {
    let world = World::with(&DeviceConfig::default());
    let _socket = world.open(&bound_with(XDP_COPY));
    assert_eq!(world.try_bind(&bound_with(FORCED)), Err(EBUSY));
}

#[test]
fn a_queue_of_one_kind_only_has_no_zero_copy() {
    let world = World::with(&DeviceConfig::default().zero_copy(true).rx_queues(1).tx_queues(2));
    let second = |flags| Setup { queue: 1, ..bound_with(flags) };
    assert_eq!((world.try_bind(&second(FORCED)), world.try_bind(&second(0))), (Err(EINVAL), Ok(false)));
}

#[test]
fn other_queues_of_the_umem_are_as_the_first() {
    let world = World::with(&DeviceConfig::default().zero_copy(true).queues(2));
    let plain = world.kernel.card("plain", &DeviceConfig::default()).unwrap();
    let first = world.open(&bound_with(0));
    let share = |index, queue| {
        let mut socket = RawSocket::new(&world.backend);
        socket.make_rings(&Setup::default());
        let result = socket.bind_to(index, queue, XDP_SHARED_UMEM, first.handle.0 as u32);
        (result, result == 0 && is_zero_copy(&socket))
    };
    assert_eq!(share(world.card.index(), 1), (0, true));
    assert_eq!(share(plain.index(), 0), (EOPNOTSUPP, false));
}

#[test]
fn devices_that_have_none_say_so() {
    let kernel = SimKernel::new(1);
    let error = kernel.veth("a", "b", &DeviceConfig::default().zero_copy(true)).unwrap_err();
    assert!(error.get_ref().unwrap().is::<Unsupported>(), "{error}");
    // Nor is any other configuration taken that no such device has.
    assert_eq!(errno(kernel.card("c", &DeviceConfig::default().mtu(67))), EINVAL);
    assert_eq!(errno(kernel.card("c", &DeviceConfig::default().mtu(65536))), EINVAL);
    // Nothing is left behind.
    kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
}

/// Without a native program the driver has no such rings: packets go the way of SKB mode, and are copied.
#[test]
fn a_program_in_skb_mode_copies() {
    let world = World::new();
    let socket = world.open(&bound_with(FORCED));
    socket.fill().push([0_u64]);
    let map = world.map(&socket);
    let program = world.kernel.program_load(&RedirectProgram { map, frags: true }).unwrap();
    world.kernel.link_create(program, world.card.index(), XdpFlags::XDP_FLAGS_SKB_MODE).unwrap();
    assert_eq!((socket.fill().consumer(), world.kernel.frames().count(xsk_sim::Place::Fill)), (0, 1));
    world.inject(&frame(60, 1));
    assert_eq!(socket.bytes(256, 60), frame(60, 1));
    assert_eq!(socket.rx().producer(), 1);
    assert_eq!(socket.kick(), EINVAL, "nobody to wake");
}
