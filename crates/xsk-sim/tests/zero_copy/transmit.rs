use std::time::Duration;

use xsk::backend::PollEvents;
use xsk_core::abi::{XDP_PKT_CONTD, XDP_SHARED_UMEM, XDP_USE_SG, xdp_desc};
use xsk_core::errno::{EINVAL, ENETDOWN, ENOBUFS, ENXIO, EOPNOTSUPP};
use xsk_sim::fault::FaultRule;
use xsk_sim::{DeviceConfig, Place};
use xsk_tests::raw::{RawSocket, Setup, errno, frame};

use crate::kit::{FORCED, SLEEPY, World, asks, bound_with, wake_rx};

fn desc(addr: u64, len: u32, options: u32) -> xdp_desc {
    xdp_desc { addr, len, options }
}

/// A sender with a program, without which drivers do not send either.
fn open(world: &World, setup: &Setup) -> RawSocket {
    let socket = world.open(setup);
    world.attach(&socket);
    socket
}

fn sent(world: &World) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| world.card.sent()).collect()
}

#[test]
fn the_driver_takes_and_completes_later() {
    let world = World::new();
    let socket = open(&world, &bound_with(FORCED));
    socket.write(0, &frame(60, 1));
    socket.write(4096 + 100, &frame(61, 2));
    socket.tx().push([desc(0, 60, 0), desc(4196, 61, 0)]);
    assert_eq!((socket.tx().consumer(), sent(&world).len()), (0, 0), "nobody was woken");
    assert_eq!(socket.kick(), 0);
    // Taken, and neither sent nor completed.
    assert_eq!((socket.tx().consumer(), socket.completion().producer(), sent(&world).len()), (2, 0, 0));
    assert_eq!(world.kernel.frames().count(Place::Kernel), 2);
    world.rest();
    assert_eq!(sent(&world), [frame(60, 1), frame(61, 2)]);
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 4196]);
    assert_eq!(world.kernel.frames().count(Place::Kernel), 0);
}

#[test]
fn nothing_is_copied() {
    let world = World::new();
    let socket = open(&world, &bound_with(FORCED));
    socket.write(0, &frame(60, 1));
    socket.tx().push([desc(0, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    // The frame is the device's now. What is written there all the same goes out.
    socket.write(0, &frame(60, 9));
    world.rest();
    assert_eq!(sent(&world), [frame(60, 9)]);
}

#[test]
fn the_flag_says_when_a_wakeup_is_wanted() {
    let world = World::new();
    let socket = open(&world, &bound_with(SLEEPY));
    assert!(asks(socket.tx()));
    socket.tx().push([desc(0, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    // While a completion is to come the driver will look by itself.
    assert!(!asks(socket.tx()));
    socket.tx().push([desc(4096, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.tx().consumer(), 1, "the kick was not needed, and did nothing");
    world.rest();
    assert!(asks(socket.tx()));
    assert_eq!((socket.tx().consumer(), socket.completion().pop_all::<u64>()), (2, vec![0, 4096]));
    // Without need_wakeup the flag stays as it was made.
    let world = World::new();
    let socket = open(&world, &bound_with(FORCED));
    socket.tx().push([desc(0, 60, 0)]);
    assert_eq!((asks(socket.tx()), socket.kick(), asks(socket.tx())), (true, 0, true));
}

#[test]
fn poll_wakes_the_driver_as_the_flags_say() {
    let world = World::new();
    let socket = open(&world, &bound_with(SLEEPY));
    socket.tx().push([desc(0, 60, 0)]);
    socket.poll(PollEvents::IN, 0);
    assert_eq!(socket.tx().consumer(), 1);
    world.rest();
    assert_eq!(socket.completion().producer(), 1);
}

#[test]
fn errors_of_wakeups() {
    let world = World::new();
    let unprogrammed = world.open(&bound_with(FORCED));
    assert_eq!(unprogrammed.kick(), EINVAL, "drivers have no rings without a program");
    drop(unprogrammed);
    world.rest();
    let socket = open(&world, &bound_with(SLEEPY));
    assert_eq!((socket.kick(), wake_rx(&socket)), (0, 0));
    assert_eq!(errno(world.kernel.sendto_blocking(socket.handle)), EOPNOTSUPP);
    assert_eq!(errno(world.kernel.recvfrom_blocking(socket.handle)), EOPNOTSUPP);
    world.card.set_up(false);
    assert_eq!((socket.kick(), wake_rx(&socket)), (ENETDOWN, ENETDOWN));
    world.card.set_up(true);
    assert_eq!((socket.kick(), wake_rx(&socket)), (0, 0));
    world.card.remove();
    assert_eq!((socket.kick(), wake_rx(&socket)), (ENXIO, ENXIO));
    let world = World::new();
    let rx_only = world.open(&Setup { tx: 0, ..bound_with(FORCED) });
    let tx_only = Setup { rx: 0, queue: 0, ..bound_with(FORCED) };
    assert_eq!(rx_only.kick(), ENOBUFS);
    drop(rx_only);
    world.rest();
    let tx_only = world.open(&tx_only);
    assert_eq!(wake_rx(&tx_only), ENOBUFS);
}

#[test]
fn a_bad_descriptor_ends_the_batch() {
    let world = World::new();
    let socket = open(&world, &bound_with(FORCED));
    socket.tx().push([desc(0, 60, 0), desc(4096, 0, 0), desc(8192, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!((socket.tx().consumer(), socket.statistics().tx_invalid_descs), (2, 1));
    // The next look, after the completion, takes the rest. The bad one is never completed.
    world.rest();
    assert_eq!((socket.tx().consumer(), socket.completion().pop_all::<u64>()), (3, vec![0, 8192]));
    // Alone it is taken, but not seen to be: that counts as an empty ring.
    let empty = socket.statistics().tx_ring_empty_descs;
    socket.tx().push([desc(4096, 0, 0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!((socket.tx().consumer(), socket.statistics().tx_ring_empty_descs), (3, empty + 1));
    socket.tx().push([desc(0, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.tx().consumer(), 5);
}

#[test]
fn an_empty_ring_counts_only_when_something_was_refused() {
    let world = World::new();
    let socket = open(&world, &bound_with(FORCED));
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.statistics().tx_ring_empty_descs, 0);
}

#[test]
fn packets_of_several_descriptors() {
    let world = World::with(&DeviceConfig::default().zero_copy_segments(3));
    let socket = open(&world, &bound_with(FORCED | XDP_USE_SG));
    (0..8).for_each(|i| socket.write(i * 4096, &frame(60, i as u8)));
    let more = XDP_PKT_CONTD;
    // Its end has not come: it waits in the ring.
    socket.tx().push([desc(0, 60, more), desc(4096, 60, more)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.tx().consumer(), 0);
    socket.tx().push([desc(8192, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.tx().consumer(), 3);
    world.rest();
    assert_eq!(sent(&world), [[frame(60, 0), frame(60, 1), frame(60, 2)].concat()]);
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 4096, 8192]);
}

#[test]
fn a_packet_of_too_many_descriptors_is_gone() {
    let world = World::with(&DeviceConfig::default().zero_copy_segments(2));
    let socket = open(&world, &bound_with(FORCED | XDP_USE_SG));
    let more = XDP_PKT_CONTD;
    socket.tx().push([desc(0, 60, 0), desc(4096, 60, more), desc(8192, 60, more), desc(12288, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    // The limit is met before the end: those two are taken, and come back never.
    assert_eq!(socket.tx().consumer(), 3);
    world.rest();
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 12288]);
    assert_eq!(sent(&world).len(), 2);
}

#[test]
fn the_completion_ring_is_the_limit() {
    let world = World::new();
    let socket = open(&world, &Setup { completion: 4, ..bound_with(FORCED) });
    socket.tx().push((0..10).map(|i| desc(i * 4096, 60, 0)));
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 4));
    world.rest();
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 4));
    assert_eq!(socket.completion().pop::<u64>(3), [0, 4096, 8192]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 7));
    world.rest();
}

#[test]
fn sockets_of_one_queue_have_their_turns() {
    let world = World::new();
    let setup = Setup { tx: 128, completion: 256, size: 256 * 4096, ..bound_with(FORCED) };
    let one = open(&world, &setup);
    let mut two = RawSocket::new(&world.backend);
    two.make_rings(&Setup { fill: 0, completion: 0, ..setup });
    assert_eq!(two.bind_to(world.card.index(), 0, XDP_SHARED_UMEM, one.handle.0 as u32), 0);
    one.tx().push((0..40).map(|i| desc(i * 4096, 60, 0)));
    two.tx().push((100..140).map(|i| desc(i * 4096, 60, 0)));
    // One wakes for both.
    assert_eq!(one.kick(), 0);
    assert_eq!((one.tx().consumer(), two.tx().consumer()), (40, 40));
    world.rest();
    let order: Vec<u64> = one.completion().pop_all::<u64>().iter().map(|addr| addr / 4096).collect();
    // The newest first, 32 at a time.
    let expected: Vec<u64> = (100..132).chain(0..32).chain(132..140).chain(32..40).collect();
    assert_eq!(order, expected);
}

#[test]
fn what_is_no_frame_is_completed_and_not_sent() {
    let world = World::new();
    let socket = open(&world, &bound_with(FORCED));
    socket.tx().push([desc(0, 13, 0), desc(4096, 1519, 0), desc(8192, 1518, 0)]);
    assert_eq!(socket.kick(), 0);
    world.rest();
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 4096, 8192]);
    assert_eq!((sent(&world).len(), world.card.dropped().1), (1, 2));
}

#[test]
fn rules_apply() {
    let world = World::new();
    let socket = open(&world, &bound_with(FORCED));
    let late = Duration::from_millis(3)..Duration::from_millis(4);
    let late = world.kernel.fault(FaultRule::delay_completions(late));
    socket.tx().push([desc(0, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    world.pass(Duration::from_millis(2));
    assert_eq!((sent(&world).len(), socket.completion().producer(), late.hits()), (1, 0, 1));
    drop(late);
    world.rest();
    assert_eq!(socket.completion().pop_all::<u64>(), [0]);
    let lost = world.kernel.fault(FaultRule::lose_kicks());
    socket.tx().push([desc(0, 60, 0)]);
    assert_eq!((socket.kick(), socket.tx().consumer(), lost.hits()), (0, 1, 1));
}
