//! What a kernel tells of its devices.

use std::io;

use xsk::backend::RedirectProgram;
use xsk::config::XdpFlags;
use xsk_core::errno::ENOENT;
use xsk_sim::{DeviceConfig, Profile};
use xsk_tests::raw::{RawSocket, frame};
use xsk_tests::world::{End, Shape, SimWorld, VethWorld, World};

use super::{on_b, on_every_kernel, this_kernel};

#[test]
fn whether_a_queue_has_a_socket() {
    let told = [Ok(false), Ok(true)];
    let none = [Err(Some(ENOENT)); 2];
    on_every_kernel([told, told, [Ok(false); 2], none, none], |world| {
        let (index, kernel) = (world.index(End::B), world.kernel());
        let ask = || kernel.queue_is_bound(index, 0).map_err(|error: io::Error| error.raw_os_error());
        let before = ask();
        let _socket = RawSocket::open(world, &on_b());
        [before, ask()]
    });
}

#[test]
fn what_a_driver_says_of_xdp() {
    on_every_kernel([true, true, true, false, false], |world| {
        world.kernel().interface(&world.name(End::B)).expect("a device").features.is_some()
    });
}

/// Whether a socket knows of a NAPI before and after a packet, in both modes: in SKB mode it never does.
#[test]
fn napi_ids() {
    const SO_INCOMING_NAPI_ID: i32 = 56;
    let known = |world: &dyn World| {
        let mut socket = RawSocket::open(world, &on_b());
        // 5.10 knows no programs with fragments.
        socket.attach(world, End::B, |map| {
            world.kernel().program_load(&RedirectProgram { map, frags: false }).expect("a program")
        });
        socket.fill().push([0_u64]);
        let before = socket.socket_option(SO_INCOMING_NAPI_ID) != 0;
        world.send(End::A, &frame(60, 1));
        world.settle();
        (before, socket.socket_option(SO_INCOMING_NAPI_ID) != 0)
    };
    on_every_kernel([(false, false); 5], known);
    let (native, learns) = (XdpFlags::XDP_FLAGS_DRV_MODE, (false, true));
    let expected = [(false, false), (false, false), learns, learns, (false, false)];
    if let Some(at) = this_kernel() {
        let shape = Shape { stays: true, ..Shape::new() };
        return VethWorld::run(native, &shape, |world| assert_eq!(known(world), expected[at]));
    }
    let config = DeviceConfig::default();
    assert_eq!(Profile::ALL.map(|profile| known(&SimWorld::of_kind(profile, native, &config))), expected);
}
