//! A.4: what happens when user space writes indices that it should not.

use xsk_core::abi::xdp_desc;
use xsk_core::errno::EAGAIN;

use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, World};

rules! {
    a4_tx_producer_too_far.breaks_the_law();
    a4_tx_consumer.breaks_the_law();
    a4_completion_producer.breaks_the_law();
    a4_completion_consumer_ahead.breaks_the_law();
    a4_completion_consumer_behind.breaks_the_law();
    a4_rx_consumer.breaks_the_law();
    a4_rx_producer.breaks_the_law();
    a4_fill_producer_too_far.breaks_the_law();
    a4_fill_producer_back.breaks_the_law();
}

fn sender(world: &dyn World, tx: u32, completion: u32) -> RawSocket {
    let socket = RawSocket::open(world, &Setup { tx, completion, ..Setup::default() });
    for i in 0..tx {
        socket.write(u64::from(i) * 0x1000, &frame(60, 1));
        socket.tx().write(i, xdp_desc { addr: u64::from(i) * 0x1000, len: 60, options: 0 });
    }
    socket
}

fn receiver(world: &dyn World, rx: u32, fill: u32) -> RawSocket {
    RawSocket::open_receiver(world, &Setup { rx, fill, end: End::B, ..Setup::default() })
}

fn arrived(world: &dyn World) -> usize {
    std::iter::from_fn(|| world.receive(End::B)).count()
}

fn a4_tx_producer_too_far(world: &dyn World) {
    let socket = sender(world, 8, 64);
    socket.tx().set_producer(20);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 20));
    let sent: Vec<u64> = (0..20).map(|i| i % 8 * 0x1000).collect();
    assert_eq!(socket.completion().producer(), 20);
    assert_eq!(socket.completion().pop_all::<u64>(), sent);
    assert_eq!(arrived(world), 20);
    // Back: the ring seems to hold 2^32 - 1 entries.
    socket.tx().set_producer(19);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 52));
    assert_eq!(arrived(world), 32);
}

fn a4_tx_consumer(world: &dyn World) {
    let socket = sender(world, 8, 64);
    socket.tx().set_consumer(77);
    socket.tx().set_producer(1);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 1));
    assert_eq!(arrived(world), 1);
}

fn a4_completion_producer(world: &dyn World) {
    let socket = sender(world, 8, 8);
    socket.completion().set_producer(100);
    socket.tx().set_producer(2);
    socket.tx().write(0, xdp_desc { addr: 0x5000, len: 60, options: 0 });
    socket.tx().set_producer(1);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.completion().producer(), 101);
    assert_eq!(socket.completion().read::<u64>(4), 0x5000);
}

fn a4_completion_consumer_ahead(world: &dyn World) {
    let socket = sender(world, 16, 4);
    socket.completion().set_consumer(10);
    socket.tx().set_producer(12);
    assert_eq!(socket.kick(), 0);
    assert_eq!((arrived(world), socket.completion().producer()), (12, 12));
}

fn a4_completion_consumer_behind(world: &dyn World) {
    let socket = sender(world, 16, 4);
    socket.tx().set_producer(4);
    assert_eq!(socket.kick(), 0);
    socket.completion().set_consumer(u32::MAX);
    socket.tx().set_producer(10);
    assert_eq!(socket.kick(), 0);
    assert_eq!((arrived(world), socket.completion().producer()), (10, 10));
}

fn a4_rx_consumer(world: &dyn World) {
    let socket = receiver(world, 4, 16);
    socket.fill().push((0..16).map(|i| i * 0x1000_u64));
    (0..4).for_each(|_| world.send(End::A, &frame(60, 1)));
    assert_eq!(socket.rx().producer(), 4);
    socket.rx().set_consumer(u32::MAX);
    (0..6).for_each(|_| world.send(End::A, &frame(60, 1)));
    assert_eq!(socket.rx().producer(), 10);
    assert_eq!(socket.statistics().rx_ring_full, 0);
}

fn a4_rx_producer(world: &dyn World) {
    let socket = receiver(world, 4, 16);
    socket.fill().push((0..16).map(|i| i * 0x1000_u64));
    world.send(End::A, &frame(60, 1));
    socket.rx().set_producer(50);
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.rx().producer(), 2);
}

fn a4_fill_producer_too_far(world: &dyn World) {
    let socket = receiver(world, 32, 4);
    socket.fill().push((0..4).map(|i| i * 0x1000_u64));
    socket.fill().set_producer(20);
    (0..20).for_each(|_| world.send(End::A, &frame(60, 1)));
    let got: Vec<u64> = socket.rx().pop_all::<xdp_desc>().iter().map(|desc| desc.addr).collect();
    let expected: Vec<u64> = (0..20).map(|i| i % 4 * 0x1000 + 0x100).collect();
    assert_eq!(got, expected);
    assert_eq!(socket.statistics().rx_fill_ring_empty_descs, 0);
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.statistics().rx_fill_ring_empty_descs, 1);
}

fn a4_fill_producer_back(world: &dyn World) {
    let socket = receiver(world, 8, 4);
    socket.fill().set_producer(u32::MAX - 1);
    (0..3).for_each(|_| world.send(End::A, &frame(60, 1)));
    let got: Vec<u64> = socket.rx().pop_all::<xdp_desc>().iter().map(|desc| desc.addr).collect();
    assert_eq!(got, [0x100; 3]);
}
