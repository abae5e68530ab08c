use std::time::Duration;

use xsk_core::abi::{XDP_TX_RING, xdp_desc};
use xsk_core::errno::{EAGAIN, EBUSY, ENETDOWN, ENOBUFS, ENXIO, EOPNOTSUPP};
use xsk_sim::{DeviceConfig, Profile, Qdisc};

use crate::kit::{End, RawSocket, Setup, SimWorld, World, errno, everywhere, frame};

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

#[test]
fn s7_1_order_of_checks() {
    let world = SimWorld::skb();
    let unbound = RawSocket::new(&world.kernel());
    let blocking = |socket: &RawSocket| errno(world.kernel.sendto_blocking(socket.handle));
    assert_eq!((unbound.kick(), blocking(&unbound)), (ENXIO, ENXIO));
    let socket = RawSocket::open(&world, &Setup { tx: 0, ..Setup::default() });
    assert_eq!((socket.kick(), blocking(&socket)), (ENOBUFS, EOPNOTSUPP));
    world.set_up(End::A, false);
    assert_eq!((socket.kick(), blocking(&socket)), (ENETDOWN, ENETDOWN));
    let old = SimWorld::of(Profile::LINUX_5_10);
    let socket = RawSocket::open(&old, &Setup::default());
    old.set_up(End::A, false);
    assert_eq!(errno(old.kernel.sendto_blocking(socket.handle)), EOPNOTSUPP);
    assert_eq!(socket.kick(), ENETDOWN);
}

#[test]
fn s7_1_a_queue_that_cannot_send() {
    let world = SimWorld::new(
        Profile::default(),
        xsk::config::XdpFlags::XDP_FLAGS_SKB_MODE,
        &DeviceConfig::default().rx_queues(4),
    );
    let socket = RawSocket::open(&world, &Setup { queue: 3, ..Setup::default() });
    socket.tx().push([good(0)]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 0));
}

#[test]
fn s7_2_2_metadata_room_is_demanded_of_every_descriptor() {
    everywhere(|world| {
        let setup = Setup { umem_flags: 4, metadata: 16, ..Setup::default() };
        for (addr, len, invalid) in
            [(4096, 60, 1), (8, 60, 1), (4112, 60, 0), (4113, 4080, 1), (4112, 4081, 1), (4111, 60, 1)]
        {
            let socket = RawSocket::open(world, &setup);
            socket.tx().push([xdp_desc { addr, len, options: 0 }]);
            let _ = socket.kick();
            assert_eq!(socket.statistics().tx_invalid_descs, invalid, "{len} bytes at {addr}");
            drop(socket);
            world.kernel().sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn s7_2_3_unaligned_descriptors() {
    everywhere(|world| {
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
    });
}

#[test]
fn s7_3_6_a_packet_without_an_end_waits() {
    everywhere(|world| {
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
    });
}

#[test]
fn s7_4_the_send_buffer() {
    everywhere(|world| {
        world.hold_at(End::B, 50);
        // Native XDP on the receiving end would copy the packets.
        let setup = Setup { tx: 512, completion: 512, ..Setup::default() };
        let socket = RawSocket::open(world, &setup);
        socket.tx().push((0..300).map(|i| good(i % 64 * 4096)));
        let mut kicks = 0;
        while socket.tx().consumer() < 256 {
            assert_eq!(socket.kick(), EAGAIN);
            kicks += 1;
        }
        assert_eq!(kicks, 8);
        assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 256));
        assert_eq!(socket.completion().producer(), 0);
        world.kernel().sleep(Duration::from_millis(60));
        assert_eq!(socket.completion().producer(), 256);
        assert_eq!((socket.kick(), socket.kick()), (EAGAIN, 0));
    });
}

#[test]
fn s7_5_3_the_peers_mtu_counts() {
    everywhere(|world| {
        let socket = RawSocket::open(world, &Setup::default());
        world.set_mtu(End::A, 68);
        world.set_mtu(End::B, 2000);
        for (len, expected) in [(2018, 0), (2019, EBUSY)] {
            socket.tx().push([xdp_desc { len, ..good(0) }]);
            assert_eq!(socket.kick(), expected);
        }
        assert_eq!(socket.completion().producer(), 2);
    });
}

#[test]
fn s7_5_3_the_first_buffer_may_be_short() {
    everywhere(|world| {
        let socket = RawSocket::open(world, &Setup::default());
        let packet = frame(64, 1);
        socket.write(0, &packet[..4]);
        socket.write(4096, &packet[4..]);
        socket.tx().push([xdp_desc { len: 4, options: 1, addr: 0 }, good(4096)]);
        assert_eq!(socket.kick(), 0);
        assert_eq!(world.receive(End::B), Some(packet));
    });
}

/// Sends into a threaded NAPI until the ring of the peer is full.
fn overrun(qdisc: Qdisc) -> (RawSocket, RawSocket, SimWorld) {
    let config = DeviceConfig::default().qdisc(qdisc).threaded(true);
    let world = SimWorld::new(Profile::default(), xsk::config::XdpFlags::XDP_FLAGS_DRV_MODE, &config);
    let receiver = RawSocket::open_receiver(&world, &Setup { end: End::B, ..Setup::default() });
    // Larger frames would hit the send buffer first.
    let socket = RawSocket::open(&world, &Setup { tx: 512, completion: 512, ..Setup::default() });
    enlarge_send_buffer(&socket);
    socket.tx().push((0..300).map(|i| good(i % 64 * 4096)));
    while socket.tx().consumer() < 256 {
        assert_eq!(socket.kick(), EAGAIN);
    }
    (socket, receiver, world)
}

fn enlarge_send_buffer(socket: &RawSocket) {
    const SO_SNDBUF: i32 = 7;
    socket.kernel.setsockopt(socket.handle, 1, SO_SNDBUF, &212_992_i32.to_ne_bytes()).unwrap();
    assert_eq!(socket.socket_option(SO_SNDBUF), 425_984);
}

#[test]
fn s7_5_4_a_full_ring_without_a_qdisc_drops() {
    let (socket, _receiver, _world) = overrun(Qdisc::None);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EBUSY, 257));
    assert_eq!(socket.completion().producer(), 1, "the dropped one");
}

#[test]
fn s7_5_4_a_full_ring_with_a_qdisc_waits() {
    let (socket, _receiver, world) = overrun(Qdisc::Fifo);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 256));
    assert_eq!(socket.completion().producer(), 0);
    world.kernel.run_until_idle(100);
    assert_eq!(socket.completion().producer(), 256);
    while socket.tx().consumer() < 300 {
        let _ = socket.kick();
    }
    world.kernel.run_until_idle(100);
    assert_eq!((socket.completion().producer(), socket.statistics().tx_invalid_descs), (300, 0));
}

#[test]
fn s7_7_completed_addresses_lose_bit_0() {
    let completed = |profile| {
        let world = SimWorld::of(profile);
        let socket = RawSocket::open(&world, &Setup::default());
        socket.tx().push([xdp_desc { options: 1, ..good(0x101) }, good(0x1101)]);
        assert_eq!(socket.kick(), 0);
        socket.completion().pop_all::<u64>()
    };
    assert_eq!(completed(Profile::LINUX_6_18), [0x100, 0x1101]);
    assert_eq!(completed(Profile::LINUX_6_12), [0x101, 0x1101]);
}

#[test]
fn s12_2_completions_of_6_12_are_written_when_they_are_reserved() {
    let world = SimWorld::of(Profile::LINUX_6_12);
    let socket = RawSocket::open(&world, &Setup { completion: 8, ..Setup::default() });
    socket.completion().set_producer(100);
    socket.tx().push([good(0x5000)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!((socket.completion().producer(), socket.completion().read::<u64>(0)), (101, 0x5000));
}

#[test]
fn a_ring_made_after_all_others() {
    everywhere(|world| {
        let mut socket = RawSocket::new(&world.kernel());
        assert_eq!(socket.set(XDP_TX_RING, 8), 0);
        socket.register(&Setup::default()).unwrap();
        socket.make_rings(&Setup { tx: 0, ..Setup::default() });
        assert_eq!(socket.bind(world, &Setup::default()), 0);
        assert_eq!(socket.kick(), 0);
    });
}
