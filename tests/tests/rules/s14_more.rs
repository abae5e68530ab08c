//! Veth: what reaches a program, and what is counted when it goes wrong.

use xsk::backend::{DriverFeatures, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, Program, World, XDP_DROP, XDP_PASS, is_native};

rules! {
    s14_2_3_a_link_follows_its_device;
    s14_3_1_frames_go_to_the_other_end;
    s14_3_2_the_limit_of_the_mtu_stays_with_the_first_program;
    s14_3_9_all_addresses_reach_the_program;
    s14_3_10_features;
    s14_3_11_failed_redirects_are_counted;
}

const NOTHING: xsk::backend::Handle = xsk::backend::Handle(-1);

/// A device that moves to another namespace takes its program along.
fn s14_2_3_a_link_follows_its_device(world: &dyn World) {
    let kernel = world.kernel();
    let pass = world.program(Program::Verdict(XDP_PASS), NOTHING);
    let link = kernel.link_create(pass, world.index(End::B), world.mode()).unwrap();
    world.move_away(End::B);
    assert_eq!(errno(kernel.link_update(link, pass)), 0);
    kernel.close(link);
    kernel.close(pass);
}

fn s14_3_1_frames_go_to_the_other_end(world: &dyn World) {
    for (from, to) in [(End::A, End::B), (End::B, End::A)] {
        let socket = RawSocket::open(world, &Setup { end: from, ..Setup::default() });
        socket.write(0, &frame(60, 1));
        socket.tx().push([xsk_core::abi::xdp_desc { addr: 0, len: 60, options: 0 }]);
        assert_eq!(socket.kick(), 0);
        assert_eq!((world.receive(to), world.receive(from)), (Some(frame(60, 1)), None));
    }
}

fn s14_3_2_the_limit_of_the_mtu_stays_with_the_first_program(world: &dyn World) {
    let kernel = world.kernel();
    let plain = world.load(Program::Verdict(XDP_PASS), false, NOTHING);
    let frags = world.load(Program::Verdict(XDP_PASS), true, NOTHING);
    let link = kernel.link_create(plain, world.index(End::B), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    assert_ne!(world.set_mtu(End::A, 3507), 0);
    kernel.link_update(link, frags).unwrap();
    assert_ne!(world.set_mtu(End::A, 3507), 0);
    kernel.close(link);
    assert_eq!(world.set_mtu(End::A, 3507), 0);
    [plain, frags].into_iter().for_each(|handle| kernel.close(handle));
}

fn s14_3_9_all_addresses_reach_the_program(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { end: End::B, ..Setup::default() });
    for (i, to) in [[2, 9, 9, 9, 9, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]].into_iter().enumerate() {
        let mut frame = frame(60, 1);
        frame[..6].copy_from_slice(&to);
        socket.fill().push([i as u64 * 4096]);
        world.send(End::A, &frame);
        assert_eq!(socket.rx().producer(), i as u32 + 1);
        assert_eq!(socket.bytes(i as u64 * 4096 + 256, 60), frame);
    }
}

fn s14_3_10_features(world: &dyn World) {
    let kernel = world.kernel();
    let features = || kernel.interface(&world.name(End::A)).unwrap().features.unwrap();
    let always = DriverFeatures::BASIC | DriverFeatures::REDIRECT | DriverFeatures::RX_SG;
    let sends = DriverFeatures::NDO_XMIT | DriverFeatures::NDO_XMIT_SG;
    assert_eq!(features(), always);
    // The other end runs NAPI.
    let pass = world.program(Program::Verdict(XDP_PASS), NOTHING);
    let link = kernel.link_create(pass, world.index(End::B), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    assert_eq!(features(), always | sends);
    kernel.close(link);
    assert_eq!(features(), always);
    kernel.close(pass);
}

fn s14_3_11_failed_redirects_are_counted(world: &dyn World) {
    let mut socket = RawSocket::open(world, &Setup { end: End::B, ..Setup::default() });
    socket.attach(world, End::B, |map| {
        world.kernel().program_load(&RedirectProgram { map, frags: true }).unwrap()
    });
    let before = world.dropped(End::B);
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.statistics().rx_dropped, 1);
    let counted = world.dropped(End::B) - before;
    assert_eq!(counted, u64::from(is_native(world)), "in native mode only");
    // What a program drops is no failure.
    socket.detach();
    socket.attach(world, End::B, |map| world.program(Program::Verdict(XDP_DROP), map));
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.dropped(End::B) - before, counted);
}
