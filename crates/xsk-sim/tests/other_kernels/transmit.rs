//! Transmitting, and the poll that does.

use xsk::backend::PollEvents;
use xsk_core::abi::{Pod, XDP_COPY, XDP_USE_NEED_WAKEUP, xdp_desc, xsk_tx_metadata_request};
use xsk_core::errno::{EINVAL, ENETDOWN, EOPNOTSUPP};
use xsk_sim::Profile;
use xsk_tests::raw::{RawSocket, Setup, errno};
use xsk_tests::world::{End, SimWorld, World};

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

#[test]
fn refused_metadata_completes_nothing_on_7_3() {
    let world = SimWorld::of(Profile::LINUX_7_3);
    let socket = RawSocket::open(&world, &Setup::default());
    socket.tx().push([xdp_desc { options: 2, ..good(0) }]);
    assert_eq!((socket.kick(), socket.tx().consumer(), socket.completion().producer()), (EINVAL, 0, 0));
}

/// Sends a packet that asks to be launched at a time, behind `room` bytes of metadata.
fn launch(profile: Profile, room: u32) -> i32 {
    const TX_METADATA_LEN: u32 = 4;
    const LAUNCH_TIME: u64 = 4;
    let world = SimWorld::of(profile);
    let setup = Setup { umem_flags: TX_METADATA_LEN, metadata: room, ..Setup::default() };
    let socket = RawSocket::open(&world, &setup);
    let request = xsk_tx_metadata_request { flags: LAUNCH_TIME, ..Default::default() };
    socket.write(4096, request.as_bytes());
    socket.tx().push([xdp_desc { options: 2, ..good(4096 + u64::from(room)) }]);
    socket.kick()
}

#[test]
fn launch_times() {
    assert_eq!(launch(Profile::LINUX_6_12, 24), EINVAL);
    assert_eq!((launch(Profile::LINUX_6_18, 24), launch(Profile::LINUX_7_3, 24)), (0, 0));
    assert_eq!((launch(Profile::LINUX_6_18, 16), launch(Profile::LINUX_7_3, 16)), (0, EINVAL));
}

#[test]
fn order_of_checks_of_5_10() {
    let world = SimWorld::of(Profile::LINUX_5_10);
    let socket = RawSocket::open(&world, &Setup::default());
    world.set_up(End::A, false);
    assert_eq!(errno(world.sendto_blocking(socket.handle)), EOPNOTSUPP);
    assert_eq!(socket.kick(), ENETDOWN);
}

#[test]
fn completed_addresses_keep_bit_0_before_6_17() {
    let completed = |profile| {
        let world = SimWorld::of(profile);
        let socket = RawSocket::open(&world, &Setup::default());
        socket.tx().push([xdp_desc { options: 1, ..good(0x101) }, good(0x1101)]);
        assert_eq!(socket.kick(), 0);
        socket.completion().pop_all::<u64>()
    };
    assert_eq!(completed(Profile::LINUX_7_3), [0x100, 0x1101]);
    assert_eq!(completed(Profile::LINUX_6_12), [0x101, 0x1101]);
}

#[test]
fn completions_of_6_12_are_written_when_they_are_reserved() {
    let world = SimWorld::of(Profile::LINUX_6_12);
    let socket = RawSocket::open(&world, &Setup { completion: 8, ..Setup::default() });
    socket.completion().set_producer(100);
    socket.tx().push([good(0x5000)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!((socket.completion().producer(), socket.completion().read::<u64>(0)), (101, 0x5000));
}

#[test]
fn poll_of_5_10_transmits_only_with_need_wakeup() {
    for (flags, expected) in [(XDP_COPY, 0), (XDP_COPY | XDP_USE_NEED_WAKEUP, 1)] {
        let world = SimWorld::of(Profile::LINUX_5_10);
        let socket = RawSocket::open(&world, &Setup { bind_flags: flags, ..Setup::default() });
        socket.tx().push([good(0)]);
        socket.poll(PollEvents::IN, 0);
        assert_eq!(socket.completion().producer(), expected);
    }
}

#[test]
fn poll_of_5_10_does_not_look_at_the_device() {
    let world = SimWorld::of(Profile::LINUX_5_10);
    let socket = RawSocket::open(&world, &Setup::default());
    world.set_up(End::A, false);
    assert_eq!(socket.poll(PollEvents::IN | PollEvents::OUT, 0), PollEvents::OUT);
}
