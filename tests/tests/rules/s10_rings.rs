//! The protocol of the rings, and what counts.

use xsk_core::abi::{xdp_desc, xdp_statistics};
use xsk_core::errno::EAGAIN;
use xsk_tests::raw::sequence::D::{B, G};
use xsk_tests::raw::sequence::load;
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, World};

rules! {
    s10_1_entries_before_indices;
    s10_3_all_slots_are_used;
    s10_3_indices_count_on;
    s10_5_entries_are_read_once;
    s10_5_what_was_not_taken_is_read_again;
    s11_rx_dropped;
    s11_rx_ring_full_and_fill_empty;
    s11_tx_ring_empty;
    s11_reading_clears_nothing;
}

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

/// An entry without an index is not there.
fn s10_1_entries_before_indices(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    socket.tx().write(0, good(0));
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 0));
    socket.tx().set_producer(1);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 1));
}

fn s10_3_all_slots_are_used(world: &dyn World) {
    let receiver = RawSocket::open_receiver(world, &Setup { rx: 4, fill: 4, ..on_b() });
    let sender = RawSocket::open(world, &Setup { tx: 4, completion: 4, ..Setup::default() });
    receiver.fill().push((0..4).map(|i| i * 4096_u64));
    sender.tx().push((0..4).map(|i| good(i * 4096)));
    (0..4).for_each(|i| sender.write(i * 4096, &frame(60, 1)));
    assert_eq!((sender.kick(), sender.tx().consumer(), sender.completion().producer()), (0, 4, 4));
    assert_eq!((receiver.rx().producer(), receiver.fill().consumer()), (4, 4));
}

fn s10_3_indices_count_on(world: &dyn World) {
    let receiver = RawSocket::open_receiver(world, &Setup { rx: 2, fill: 2, ..on_b() });
    let sender = RawSocket::open(world, &Setup { tx: 2, completion: 2, ..Setup::default() });
    sender.write(0, &frame(60, 1));
    for i in 0..7_u64 {
        receiver.fill().push([i * 4096]);
        sender.tx().push([good(0)]);
        assert_eq!(sender.kick(), 0);
        assert_eq!(sender.completion().pop_all::<u64>(), [0]);
        assert_eq!(receiver.rx().pop_all::<xdp_desc>(), [good(i * 4096 + 256)]);
    }
    let indices = [receiver.fill(), receiver.rx(), sender.tx(), sender.completion()].map(|r| r.consumer());
    assert_eq!(indices, [7; 4]);
}

fn s10_5_entries_are_read_once(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    socket.write(0, &frame(60, 1));
    socket.write(4096, &frame(60, 2));
    socket.tx().push([xdp_desc { options: 1, ..good(0) }]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 1));
    // Taken, though the packet has not left: neither slot nor frame matter any more.
    socket.tx().write(0, xdp_desc { addr: 0x9000, len: 0, options: 99 });
    socket.write(0, &[0; 60]);
    socket.tx().push([good(4096)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(world.receive(End::B), Some([frame(60, 1), frame(60, 2)].concat()));
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 4096]);
}

fn s10_5_what_was_not_taken_is_read_again(world: &dyn World) {
    let socket = load(world, &[G, G], 1);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 1));
    socket.tx().write(1, xdp_desc { len: 99, ..good(0x1000) });
    assert_eq!(socket.completion().pop_all::<u64>(), [0]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 2));
    let lengths: Vec<_> = [world.receive(End::B), world.receive(End::B)].map(|f| f.unwrap().len()).into();
    assert_eq!(lengths, [60, 99]);
}

fn s11_rx_dropped(world: &dyn World) {
    // Frames of 792 bytes.
    let socket = RawSocket::open_receiver(world, &Setup { chunk: 2048, headroom: 1000, ..on_b() });
    let counted = |dropped, empty| xdp_statistics {
        rx_dropped: dropped,
        rx_fill_ring_empty_descs: empty,
        ..xdp_statistics::default()
    };
    // Too long, whether there is a buffer or not.
    world.send(End::A, &frame(793, 1));
    assert_eq!(socket.statistics(), counted(1, 0));
    world.send(End::A, &frame(60, 1));
    assert_eq!(socket.statistics(), counted(2, 1));
    socket.fill().push([0_u64]);
    world.send(End::A, &frame(793, 1));
    assert_eq!(socket.statistics(), counted(3, 1));
}

fn s11_rx_ring_full_and_fill_empty(world: &dyn World) {
    let socket = RawSocket::open_receiver(world, &Setup { rx: 1, ..on_b() });
    let unbound = RawSocket::new(&world.kernel());
    assert_eq!(unbound.set(xsk_core::abi::XDP_UMEM_FILL_RING, 8), 0);
    socket.fill().push([0_u64, 4096]);
    (0..3).for_each(|_| world.send(End::A, &frame(60, 1)));
    let expected = xdp_statistics { rx_ring_full: 2, ..xdp_statistics::default() };
    assert_eq!(socket.statistics(), expected);
    assert_eq!(unbound.statistics(), xdp_statistics::default());
}

fn s11_tx_ring_empty(world: &dyn World) {
    let socket = load(world, &[G; 32], 64);
    let empty = || socket.statistics().tx_ring_empty_descs;
    assert_eq!((socket.kick(), empty()), (0, 1));
    assert_eq!((socket.kick(), empty()), (0, 2), "nothing to send");
    socket.poll(xsk::backend::PollEvents::OUT, 0);
    assert_eq!(empty(), 3);
    socket.completion().pop_all::<u64>();
    // An invalid descriptor ended this pass, the budget the next one, a full completion ring the last.
    socket.tx().push([xdp_desc { len: 0, ..good(0) }]);
    assert_eq!((socket.kick(), empty()), (0, 3));
    socket.completion().pop_all::<u64>();
    socket.tx().push((0..33).map(|i| good(i * 4096)));
    assert_eq!((socket.kick(), empty()), (EAGAIN, 3));
    drop(socket);
    let socket = load(world, &[G, G, B], 1);
    assert_eq!((socket.kick(), socket.statistics().tx_ring_empty_descs), (EAGAIN, 0));
}

fn s11_reading_clears_nothing(world: &dyn World) {
    let socket = load(world, &[B, G], 64);
    assert_eq!(socket.kick(), 0);
    let first = socket.statistics();
    assert_eq!((first.tx_invalid_descs, socket.statistics()), (1, first));
    world.set_up(End::A, false);
    assert_eq!(socket.statistics(), first);
    world.remove();
    assert_eq!(socket.statistics(), first);
}
