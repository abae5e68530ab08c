use std::time::Duration;

use xsk::backend::{Handle, Poll, PollEvents};
use xsk_core::abi::{XDP_SHARED_UMEM, XDP_TX_RING, xdp_desc};
use xsk_core::errno::{ENETDOWN, ENOBUFS, ENXIO, EOPNOTSUPP};

use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

rules! {
    s8_2_poll_transmits_whatever_is_asked_for;
    s8_3_poll_is_woken_by_a_packet.native("SKB mode has no NAPI that could be late");
    s8_6_recvmsg;
    s8_1_sockets_that_are_not_bound_have_no_events;
    s8_2_writable_up_to_half;
    s8_2_readable_while_there_are_entries;
    s8_3_poll_waits_for_its_time;
    s8_4_a_writer_sends_until_half_of_the_ring_is_empty;
    s8_4_invalid_descriptors_wake_nobody;
    s8_5_poll_drives_its_own_ring;
    s8_handles_that_are_not_open;
}

const BOTH: PollEvents = PollEvents::IN.union(PollEvents::OUT);

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

fn bad(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 0, options: 0 }
}

fn s8_1_sockets_that_are_not_bound_have_no_events(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(socket.set(XDP_TX_RING, 8), 0);
    assert_eq!(socket.poll(BOTH, 0), PollEvents::empty());
    assert_eq!(socket.poll(BOTH, 10), PollEvents::empty());
}

fn s8_2_poll_transmits_whatever_is_asked_for(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    socket.write(0, &frame(60, 1));
    socket.tx().push([good(0)]);
    assert_eq!(socket.poll(PollEvents::IN, 0), PollEvents::empty());
    assert_eq!((socket.tx().consumer(), world.receive(End::B).is_some()), (1, true));
}

fn s8_2_writable_up_to_half(world: &dyn World) {
    let setup = Setup { tx: 8, completion: 1, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    // Fill the completion ring, so that nothing more is sent.
    socket.tx().push([good(0)]);
    assert_eq!(socket.kick(), 0);
    for entries in 1..=8 {
        socket.tx().push([good(entries * 0x1000)]);
        let expected = if entries <= 4 { PollEvents::OUT } else { PollEvents::empty() };
        assert_eq!(socket.poll(PollEvents::OUT, 0), expected, "{entries} entries");
    }
}

fn s8_2_readable_while_there_are_entries(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { end: End::B, tx: 0, ..Setup::default() });
    socket.fill().push([0_u64]);
    assert_eq!(socket.poll(BOTH, 0), PollEvents::empty());
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.poll(BOTH, 0), PollEvents::IN);
    assert_eq!(socket.poll(PollEvents::OUT, 0), PollEvents::empty());
    socket.rx().pop_all::<xdp_desc>();
    assert_eq!(socket.poll(BOTH, 0), PollEvents::empty());
}

fn s8_3_poll_waits_for_its_time(world: &dyn World) {
    let kernel = world.kernel();
    let socket = RawSocket::open(world, &Setup::default());
    let start = kernel.now();
    assert_eq!(socket.poll(PollEvents::IN, 250), PollEvents::empty());
    let took = kernel.now() - start;
    // Where time is real, others may have kept the processor.
    let most = Duration::from_millis(if world.concurrent() { 5000 } else { 260 });
    assert!(took >= Duration::from_millis(250) && took < most, "{took:?}");
    // Once at entry, once at the end.
    assert_eq!(socket.statistics().tx_ring_empty_descs, 2);
    assert_eq!(socket.poll(PollEvents::IN, 0), PollEvents::empty());
    assert_eq!(socket.statistics().tx_ring_empty_descs, 3);
}

fn s8_3_poll_is_woken_by_a_packet(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { end: End::B, ..Setup::default() });
    socket.fill().push([0_u64]);
    world.defer_napi(End::B);
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.rx().producer(), 0);
    let start = socket.kernel.now();
    assert_eq!(socket.poll(PollEvents::IN, 10_000), PollEvents::IN);
    assert!(socket.kernel.now() - start < Duration::from_secs(5));
}

fn s8_4_a_writer_sends_until_half_of_the_ring_is_empty(world: &dyn World) {
    let setup = Setup { size: 128 * 4096, tx: 128, completion: 128, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    world.set_up(End::B, false);
    socket.tx().push((0..128).map(|i| good(i * 4096)));
    // Each pass drops one; each dropped one wakes the writer.
    assert_eq!(socket.poll(PollEvents::OUT, 1000), PollEvents::OUT);
    assert_eq!(socket.tx().consumer(), 64);
}

fn s8_4_invalid_descriptors_wake_nobody(world: &dyn World) {
    let setup = Setup { tx: 8, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    socket.tx().push((0..8).map(|i| bad(i * 4096)));
    assert_eq!(socket.poll(PollEvents::OUT, 50), PollEvents::empty());
    assert_eq!(socket.tx().consumer(), 2);
}

fn s8_5_poll_drives_its_own_ring(world: &dyn World) {
    let first = RawSocket::open(world, &Setup::default());
    let second = RawSocket::new(&world.kernel());
    assert_eq!(second.set(XDP_TX_RING, 8), 0);
    let shared = first.handle.0 as u32;
    assert_eq!(second.bind_to(world.index(End::A), 0, XDP_SHARED_UMEM, shared), 0);
    first.tx().push([good(0)]);
    assert_eq!(second.poll(BOTH, 0), PollEvents::OUT);
    assert_eq!(first.tx().consumer(), 0);
}

fn s8_6_recvmsg(world: &dyn World) {
    let blocking = |socket: &RawSocket| errno(world.recvfrom_blocking(socket.handle));
    let plain = |socket: &RawSocket| errno(socket.kernel.recvfrom(socket.handle));
    let unbound = RawSocket::new(&world.kernel());
    assert_eq!((plain(&unbound), blocking(&unbound)), (ENXIO, ENXIO));
    let no_rx = RawSocket::open(world, &Setup { rx: 0, ..Setup::default() });
    assert_eq!((plain(&no_rx), blocking(&no_rx)), (ENOBUFS, ENOBUFS));
    let socket = RawSocket::open(world, &Setup { end: End::B, ..Setup::default() });
    assert_eq!((plain(&socket), blocking(&socket)), (0, EOPNOTSUPP));
    world.set_up(End::B, false);
    assert_eq!((plain(&socket), blocking(&socket)), (ENETDOWN, ENETDOWN));
}

fn s8_handles_that_are_not_open(world: &dyn World) {
    let mut polls = [Poll { socket: Handle(1 << 30), events: BOTH, ready: PollEvents::empty() }];
    assert_eq!(world.kernel().poll(&mut polls, -1).unwrap(), 1);
    assert_eq!(polls[0].ready, PollEvents::NVAL);
}
