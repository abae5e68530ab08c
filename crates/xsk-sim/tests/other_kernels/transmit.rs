//! Transmitting.

use xsk_core::abi::{XDP_ZEROCOPY, xdp_desc};
use xsk_sim::Profile;
use xsk_tests::raw::{RawSocket, Setup};
use xsk_tests::world::{End, Program, Shape, SimWorld, World};

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
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
fn zero_copy_completes_what_it_refuses_from_7_2_on() {
    let completed = |profile| {
        let world = SimWorld::cards(profile, &Shape::new());
        let mut socket = RawSocket::open(&world, &Setup { bind_flags: XDP_ZEROCOPY, ..Setup::default() });
        socket.attach(&world, End::A, |map| world.program(Program::Redirect, map));
        socket.tx().push([good(0), good(1 << 40), good(4096)]);
        for _ in 0..3 {
            assert_eq!(socket.kick(), 0);
            world.settle();
        }
        socket.completion().pop_all::<u64>()
    };
    let [newest, older @ ..] = Profile::ALL.map(completed);
    assert_eq!(newest, [0, 1 << 40, 4096]);
    older.iter().for_each(|older| assert_eq!(older, &[0, 4096]));
}
