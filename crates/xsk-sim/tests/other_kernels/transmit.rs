//! Transmitting.

use xsk_core::abi::xdp_desc;
use xsk_sim::Profile;
use xsk_tests::raw::{RawSocket, Setup};
use xsk_tests::world::SimWorld;

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
