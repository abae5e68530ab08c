use xsk_core::abi::{XDP_TX_RING, xdp_desc};
use xsk_core::errno::{EAGAIN, EBUSY, ENETDOWN, ENOBUFS, ENXIO, EOPNOTSUPP};

use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

const NO_NAPI: &str = "SKB mode has no NAPI, and so no ring that could be full";

rules! {
    s7_1_order_of_checks;
    s7_1_a_queue_that_cannot_send.queues_of_a(4, 1);
    s7_5_4_a_full_ring_without_a_qdisc_drops.native(NO_NAPI);
    s7_5_4_a_full_ring_with_a_qdisc_waits.native(NO_NAPI);
    s7_7_2_completed_addresses_lose_bit_0;
    s7_2_2_metadata_room_is_demanded_of_every_descriptor;
    s7_2_3_unaligned_descriptors;
    s7_3_6_a_packet_without_an_end_waits;
    s7_4_the_send_buffer;
    s7_5_3_the_peers_mtu_counts;
    s7_5_3_the_first_buffer_may_be_short;
    s2_1_5_rings_in_any_order;
}

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

fn s7_1_order_of_checks(world: &dyn World) {
    let unbound = RawSocket::new(&world.kernel());
    let blocking = |socket: &RawSocket| errno(world.sendto_blocking(socket.handle));
    assert_eq!((unbound.kick(), blocking(&unbound)), (ENXIO, ENXIO));
    let socket = RawSocket::open(world, &Setup { tx: 0, ..Setup::default() });
    assert_eq!((socket.kick(), blocking(&socket)), (ENOBUFS, EOPNOTSUPP));
    world.set_up(End::A, false);
    assert_eq!((socket.kick(), blocking(&socket)), (ENETDOWN, ENETDOWN));
}

fn s7_1_a_queue_that_cannot_send(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup { queue: 3, ..Setup::default() });
    socket.tx().push([good(0)]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 0));
}

fn s7_2_2_metadata_room_is_demanded_of_every_descriptor(world: &dyn World) {
    let setup = Setup { umem_flags: 4, metadata: 16, ..Setup::default() };
    for (addr, len, invalid) in
        [(4096, 60, 1), (8, 60, 1), (4112, 60, 0), (4113, 4080, 1), (4112, 4081, 1), (4111, 60, 1)]
    {
        let socket = RawSocket::open(world, &setup);
        socket.tx().push([xdp_desc { addr, len, options: 0 }]);
        let _ = socket.kick();
        assert_eq!(socket.statistics().tx_invalid_descs, invalid, "{len} bytes at {addr}");
    }
}

fn s7_2_3_unaligned_descriptors(world: &dyn World) {
    world.set_mtu(End::B, 9000);
    let (chunk, size) = (3000, 65536);
    let setup = Setup { chunk, size, umem_flags: 1, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    let mut invalid = 0;
    let rows = [
        (5, 60, true),
        (4000, 3000, true),
        (4000, 3001, false),
        (5 | 300 << 48, 60, true),
        (size - 60, 60, true),
        (size - 59, 60, false),
        (size, 60, false),
        ((size - 100) | 41 << 48, 60, false),
        ((size - 100) | 40 << 48, 60, true),
    ];
    for (addr, len, valid) in rows {
        let at = (addr & ((1 << 48) - 1)) + (addr >> 48);
        if valid {
            socket.write(at, &frame(len as usize, 7));
        }
        socket.tx().push([xdp_desc { addr, len, options: 0 }]);
        assert_eq!(socket.kick(), 0);
        invalid += u64::from(!valid);
        assert_eq!(socket.statistics().tx_invalid_descs, invalid, "{len} bytes at {addr:#x}");
        assert_eq!(world.receive(End::B), valid.then(|| frame(len as usize, 7)), "{addr:#x}");
        let completed = if valid { addr & !1 } else { addr };
        assert_eq!(socket.completion().pop_all::<u64>(), [completed]);
    }
}

fn s7_3_6_a_packet_without_an_end_waits(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    socket.write(0, &frame(60, 1));
    socket.write(4096, &frame(60, 2));
    socket.tx().push([xdp_desc { options: 1, ..good(0) }]);
    assert_eq!((socket.kick(), socket.tx().consumer(), socket.completion().producer()), (0, 1, 0));
    assert_eq!(socket.kick(), 0);
    socket.tx().push([good(4096)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 4096]);
    assert_eq!(world.receive(End::B), Some([frame(60, 1), frame(60, 2)].concat()));
    socket.tx().push([xdp_desc { options: 1, ..good(0) }]);
    assert_eq!(socket.kick(), 0);
}

fn s7_4_the_send_buffer(world: &dyn World) {
    world.hold(End::B);
    // Native XDP on the receiving end would copy the packets.
    let setup = Setup { size: 300 * 4096, tx: 512, completion: 512, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    let packet = frame(60, 1);
    (0..300).for_each(|i| socket.write(i * 4096, &packet));
    socket.tx().push((0..300).map(|i| good(i * 4096)));
    let mut kicks = 0;
    while socket.tx().consumer() < 256 {
        assert_eq!(socket.kick(), EAGAIN);
        kicks += 1;
    }
    assert_eq!(kicks, 8);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 256));
    assert_eq!(socket.completion().producer(), 0);
    world.release(End::B);
    assert_eq!(socket.completion().producer(), 256);
    assert_eq!((socket.kick(), socket.kick()), (EAGAIN, 0));
}

fn s7_5_3_the_peers_mtu_counts(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    assert_eq!(world.set_mtu(End::A, 68), 0);
    assert_eq!(world.set_mtu(End::B, 2000), 0);
    for (addr, len, expected) in [(0, 2018, 0), (0x1000, 2019, EBUSY)] {
        socket.tx().push([xdp_desc { len, ..good(addr) }]);
        assert_eq!(socket.kick(), expected);
    }
    assert_eq!(socket.completion().producer(), 2);
}

fn s7_5_3_the_first_buffer_may_be_short(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let packet = frame(64, 1);
    socket.write(0, &packet[..4]);
    socket.write(4096, &packet[4..]);
    socket.tx().push([xdp_desc { len: 4, options: 1, addr: 0 }, good(4096)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(world.receive(End::B), Some(packet));
}

/// Sends to a NAPI that does not run until the ring of the peer is full.
fn overrun(world: &dyn World) -> (RawSocket, RawSocket) {
    let receiver = RawSocket::open_receiver(world, &Setup { end: End::B, ..Setup::default() });
    let setup = Setup { size: 300 * 4096, tx: 512, completion: 512, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    // Larger frames would hit the send buffer first.
    const SO_SNDBUF: i32 = 7;
    socket.kernel.setsockopt(socket.handle, 1, SO_SNDBUF, &212_992_i32.to_ne_bytes()).unwrap();
    assert_eq!(socket.socket_option(SO_SNDBUF), 425_984);
    let packet = frame(60, 1);
    (0..300).for_each(|i| socket.write(i * 4096, &packet));
    socket.tx().push((0..300).map(|i| good(i * 4096)));
    world.defer_napi(End::B);
    while socket.tx().consumer() < 256 {
        assert_eq!(socket.kick(), EAGAIN);
    }
    (socket, receiver)
}

fn s7_5_4_a_full_ring_without_a_qdisc_drops(world: &dyn World) {
    let (socket, _receiver) = overrun(world);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EBUSY, 257));
    assert_eq!(socket.completion().producer(), 1, "the dropped one");
}

fn s7_5_4_a_full_ring_with_a_qdisc_waits(world: &dyn World) {
    world.add_qdisc(End::A);
    let (socket, _receiver) = overrun(world);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 256));
    assert_eq!(socket.completion().producer(), 0);
    world.settle();
    assert_eq!(socket.completion().producer(), 256);
    while socket.tx().consumer() < 300 {
        let _ = socket.kick();
    }
    world.settle();
    assert_eq!((socket.completion().producer(), socket.statistics().tx_invalid_descs), (300, 0));
}

fn s7_7_2_completed_addresses_lose_bit_0(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    socket.tx().push([xdp_desc { options: 1, ..good(0x101) }, good(0x1101)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.completion().pop_all::<u64>(), [0x100, 0x1101]);
}

fn s2_1_5_rings_in_any_order(world: &dyn World) {
    let mut socket = RawSocket::new(&world.kernel());
    assert_eq!(socket.set(XDP_TX_RING, 8), 0);
    socket.register(&Setup::default()).unwrap();
    socket.make_rings(&Setup { tx: 0, ..Setup::default() });
    assert_eq!(socket.bind(world, &Setup::default()), 0);
    assert_eq!(socket.kick(), 0);
}
