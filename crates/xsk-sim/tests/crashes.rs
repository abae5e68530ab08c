//! What crashes Linux is an outcome of its own, and fails the test that does not expect it.

use xsk::backend::{Backend, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, Shape, SimWorld};

fn skb() -> SimWorld {
    SimWorld::new(XdpFlags::XDP_FLAGS_SKB_MODE, &Shape { lawful: false, ..Shape::new() })
}

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

fn attach(world: &SimWorld, socket: &mut RawSocket) {
    socket.attach(world, End::B, |map| {
        world.kernel.program_load(&RedirectProgram { map, frags: true }).unwrap()
    });
}

#[test]
fn too_few_valid_fill_entries_for_a_packet_of_several_buffers() {
    let world = skb();
    let setup = Setup { chunk: 2048, headroom: 1000, bind_flags: XDP_COPY | XDP_USE_SG, ..on_b() };
    let socket = RawSocket::open_receiver(&world, &setup);
    socket.fill().push([0_u64, 1 << 40]);
    let error = world.a.send(&frame(1000, 1)).unwrap_err();
    assert!(error.to_string().starts_with("Linux would crash here: too few of the fill entries"), "{error}");
    assert!(world.kernel.sendto(socket.handle).is_err(), "a crashed kernel answers no call");
    assert!(world.kernel.check().is_err());
    assert!(world.kernel.take_crash().is_some());
    world.kernel.check().unwrap();
}

#[test]
fn a_socket_without_an_rx_ring_in_a_map() {
    let world = skb();
    let mut socket = RawSocket::open(&world, &Setup { rx: 0, ..on_b() });
    attach(&world, &mut socket);
    socket.fill().push([0_u64]);
    let error = world.a.send(&frame(60, 1)).unwrap_err();
    assert!(error.to_string().contains("a socket without an RX ring"), "{error}");
    assert!(world.kernel.take_crash().is_some());
}

#[test]
#[should_panic = "Linux would crash here"]
fn a_crash_that_nobody_takes_note_of_fails_the_test() {
    let world = skb();
    let mut socket = RawSocket::open(&world, &Setup { rx: 0, ..on_b() });
    attach(&world, &mut socket);
    socket.fill().push([0_u64]);
    let _ = world.a.send(&frame(60, 1));
}

#[test]
fn a_fill_ring_that_never_ends() {
    let world = skb();
    let socket = RawSocket::open_receiver(&world, &on_b());
    for i in 0..8 {
        socket.fill().write(i, u64::MAX);
    }
    socket.fill().set_producer(u32::MAX - 1);
    assert!(world.a.send(&frame(60, 1)).is_err());
    assert_eq!(world.kernel.take_crash().unwrap().rule, "net/xdp/xsk_buff_pool.c:__xp_alloc");
}

#[test]
fn short_metadata_at_the_very_end_is_read_beyond_it() {
    const TX_METADATA_LEN: u32 = 4;
    const TIMESTAMP: u64 = 1;
    let world = skb();
    let setup = Setup { umem_flags: TX_METADATA_LEN, metadata: 8, ..Setup::default() };
    let socket = RawSocket::open(&world, &setup);
    socket.write(0x40000 - 9, &TIMESTAMP.to_ne_bytes());
    socket.tx().push([xdp_desc { addr: 0x40000 - 1, len: 1, options: 2 }]);
    assert!(world.kernel.sendto(socket.handle).is_err());
    assert!(world.kernel.take_crash().is_some());
}
