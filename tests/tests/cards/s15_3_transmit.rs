//! 15.3: transmitting from the UMEM itself.

use xsk::backend::PollEvents;
use xsk_core::abi::{XDP_PKT_CONTD, XDP_SHARED_UMEM};
use xsk_core::errno::{EINVAL, ENETDOWN, ENOBUFS, EOPNOTSUPP};
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

use crate::kit::{
    FORCED, SLEEPY, asks, bound_with, completed, desc, driver, open, open_sender, soon, wake_rx,
};

zero_copy! {
    s15_3_1_sent_and_completed_as_it_was;
    s15_3_2_the_flag_asks_until_the_driver_is_awake;
    s15_3_3_without_need_wakeup_the_flag_stays;
    s15_3_4_poll_wakes_the_driver;
    s15_3_5_errors_of_wakeups;
    s15_3_5_without_a_program;
    s15_3_6_a_bad_descriptor_ends_the_batch;
    s15_3_6_a_bad_descriptor_takes_its_packet_with_it;
    s15_3_7_an_empty_ring_is_not_counted;
    s15_3_8_the_completion_ring_is_the_limit;
    s15_3_9_sharers_have_their_turns;
    s15_3_10_the_ring_is_drained_without_the_pass_of_copy_mode;
    s15_3_11_several_sockets_pass_over_a_bad_descriptor;
}

/// Bit 0 of a completed address is kept.
fn s15_3_1_sent_and_completed_as_it_was(world: &dyn World) {
    let socket = open_sender(world, &bound_with(FORCED));
    socket.write(0, &frame(60, 1));
    socket.write(4096 + 101, &frame(61, 2));
    socket.tx().push([desc(0, 60, 0), desc(4197, 61, 0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(completed(world, &socket, 2), [0, 4197]);
    assert_eq!((world.receive(End::A), world.receive(End::A)), (Some(frame(60, 1)), Some(frame(61, 2))));
    assert_eq!(socket.tx().consumer(), 2);
}

fn s15_3_2_the_flag_asks_until_the_driver_is_awake(world: &dyn World) {
    let socket = open_sender(world, &bound_with(SLEEPY));
    assert!(asks(socket.tx()), "the first kick is wanted always");
    for round in 0..20 {
        socket.tx().push([desc(round % 8 * 4096, 60, 0)]);
        if asks(socket.tx()) {
            assert_eq!(socket.kick(), 0);
        }
        assert_eq!(completed(world, &socket, 1), [round % 8 * 4096], "round {round}");
    }
}

fn s15_3_3_without_need_wakeup_the_flag_stays(world: &dyn World) {
    let socket = open_sender(world, &bound_with(FORCED));
    socket.tx().push([desc(0, 60, 0)]);
    assert_eq!((asks(socket.tx()), socket.kick(), asks(socket.tx())), (true, 0, true));
    assert_eq!(completed(world, &socket, 1), [0]);
    assert!(asks(socket.tx()));
}

fn s15_3_4_poll_wakes_the_driver(world: &dyn World) {
    let socket = open_sender(world, &bound_with(SLEEPY));
    socket.tx().push([desc(0, 60, 0)]);
    socket.poll(PollEvents::IN, 0);
    assert_eq!(completed(world, &socket, 1), [0]);
}

fn s15_3_5_errors_of_wakeups(world: &dyn World) {
    let socket = open_sender(world, &bound_with(SLEEPY));
    assert_eq!((socket.kick(), wake_rx(&socket)), (0, 0));
    assert_eq!(errno(world.sendto_blocking(socket.handle)), EOPNOTSUPP);
    assert_eq!(errno(world.recvfrom_blocking(socket.handle)), EOPNOTSUPP);
    world.set_up(End::B, false);
    assert_eq!((socket.kick(), wake_rx(&socket)), (ENETDOWN, ENETDOWN));
    world.set_up(End::B, true);
    assert_eq!((socket.kick(), wake_rx(&socket)), (0, 0));
    drop(socket);
    let rx_only = open(world, &Setup { tx: 0, ..bound_with(FORCED) });
    assert_eq!(rx_only.kick(), ENOBUFS);
    drop(rx_only);
    let tx_only = open(world, &Setup { rx: 0, ..bound_with(FORCED) });
    assert_eq!(wake_rx(&tx_only), ENOBUFS);
}

/// Intel's drivers have no such rings without a program.
fn s15_3_5_without_a_program(world: &dyn World) {
    let socket = open(world, &bound_with(FORCED));
    socket.tx().push([desc(0, 60, 0)]);
    match driver(world).as_str() {
        "virtio_net" => {
            assert_eq!(socket.kick(), 0);
            assert_eq!(completed(world, &socket, 1), [0]);
        }
        _ => assert_eq!((socket.kick(), socket.tx().consumer()), (EINVAL, 0)),
    }
}

fn s15_3_6_a_bad_descriptor_ends_the_batch(world: &dyn World) {
    let socket = open_sender(world, &bound_with(FORCED));
    socket.tx().push([desc(0, 60, 0), desc(4096, 0, 0), desc(8192, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    let back: &[u64] = if world.completes_bad() { &[0, 4096, 8192] } else { &[0, 8192] };
    assert_eq!((drained(world, &socket, 3), socket.statistics().tx_invalid_descs), (back.to_vec(), 1));
}

/// All that comes back once so many descriptors were taken. A driver that has nothing to complete has to be woken for what
/// is behind a bad one.
fn drained(world: &dyn World, socket: &RawSocket, taken: u32) -> Vec<u64> {
    let mut got = Vec::new();
    let all = soon(world, || {
        let _ = socket.kick();
        got.extend(socket.completion().pop_all::<u64>());
        socket.tx().consumer() == taken
    });
    assert!(all, "{got:?}");
    for _ in 0..3 {
        world.settle();
        got.extend(socket.completion().pop_all::<u64>());
    }
    got
}

/// What is left of its packet is a packet of its own where it is not completed.
fn s15_3_6_a_bad_descriptor_takes_its_packet_with_it(world: &dyn World) {
    let socket = open_sender(world, &bound_with(FORCED));
    let last = frame(60, 4);
    socket.write(3 * 4096, &last);
    let more = XDP_PKT_CONTD;
    socket.tx().push([desc(0, 60, more), desc(4096, 0, more), desc(8192, 60, 0), desc(3 * 4096, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    let back = drained(world, &socket, 4);
    if world.completes_bad() {
        assert_eq!((back, socket.statistics().tx_invalid_descs), (vec![0, 4096, 8192, 3 * 4096], 1));
    } else {
        assert_eq!(back, [8192, 3 * 4096]);
        assert!(world.receive(End::A).is_some_and(|frame| frame != last));
    }
    assert_eq!((world.receive(End::A), world.receive(End::A)), (Some(last), None));
}

/// Those of a queue that shares it without packets of several buffers: one at a time, and a bad one never comes back.
fn s15_3_11_several_sockets_pass_over_a_bad_descriptor(world: &dyn World) {
    let one = open_sender(world, &bound_with(FORCED));
    let mut two = RawSocket::new(&world.kernel());
    two.make_rings(&Setup { fill: 0, completion: 0, ..Setup::default() });
    assert_eq!(two.bind_to(world.index(End::B), 0, XDP_SHARED_UMEM, one.handle.0 as u32), 0);
    one.tx().push([desc(0, 60, 0), desc(4096, 0, 0), desc(8192, 60, 0)]);
    assert_eq!(one.kick(), 0);
    assert_eq!((drained(world, &one, 3), one.statistics().tx_invalid_descs), (vec![0, 8192], 1));
}

fn s15_3_7_an_empty_ring_is_not_counted(world: &dyn World) {
    let socket = open_sender(world, &bound_with(FORCED));
    assert_eq!(socket.kick(), 0);
    world.settle();
    assert_eq!(socket.statistics().tx_ring_empty_descs, 0);
}

fn s15_3_8_the_completion_ring_is_the_limit(world: &dyn World) {
    let socket = open_sender(world, &Setup { completion: 4, ..bound_with(FORCED) });
    socket.tx().push((0..10).map(|i| desc(i * 4096, 60, 0)));
    assert_eq!(socket.kick(), 0);
    assert!(soon(world, || socket.completion().producer() == 4));
    assert_eq!(socket.kick(), 0);
    world.settle();
    assert_eq!((socket.tx().consumer(), socket.completion().producer()), (4, 4));
    assert_eq!(socket.completion().pop::<u64>(3), [0, 4096, 8192]);
    assert_eq!(socket.kick(), 0);
    assert!(soon(world, || socket.completion().producer() == 7));
    assert_eq!(socket.tx().consumer(), 7);
    assert_eq!(socket.completion().pop::<u64>(4), [3 * 4096, 4 * 4096, 5 * 4096, 6 * 4096]);
}

/// The newest first, 32 at a time.
fn s15_3_9_sharers_have_their_turns(world: &dyn World) {
    let setup = Setup { tx: 128, completion: 256, size: 256 * 4096, ..bound_with(FORCED) };
    let one = open_sender(world, &setup);
    let mut two = RawSocket::new(&world.kernel());
    two.make_rings(&Setup { fill: 0, completion: 0, ..setup });
    assert_eq!(two.bind_to(world.index(End::B), 0, XDP_SHARED_UMEM, one.handle.0 as u32), 0);
    one.tx().push((0..40).map(|i| desc(i * 4096, 60, 0)));
    two.tx().push((100..140).map(|i| desc(i * 4096, 60, 0)));
    // One wakes for both.
    assert_eq!(one.kick(), 0);
    let order: Vec<u64> = completed(world, &one, 80).iter().map(|addr| addr / 4096).collect();
    let expected: Vec<u64> = (100..132).chain(0..32).chain(132..140).chain(32..40).collect();
    assert_eq!(order, expected);
    assert_eq!((one.tx().consumer(), two.tx().consumer()), (40, 40));
}

/// More than the 32 of a pass of copy mode, and no `EAGAIN`.
fn s15_3_10_the_ring_is_drained_without_the_pass_of_copy_mode(world: &dyn World) {
    let socket = open_sender(world, &Setup { tx: 64, completion: 64, ..bound_with(FORCED) });
    socket.tx().push((0..50).map(|i| desc(i * 4096, 60, 0)));
    assert_eq!(socket.kick(), 0);
    let expected: Vec<u64> = (0..50).map(|i| i * 4096).collect();
    assert_eq!(completed(world, &socket, 50), expected);
}
