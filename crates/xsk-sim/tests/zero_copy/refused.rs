//! Descriptors that Linux 7.3 refuses, and completes. On packets of several buffers these rules are from its source
//! (`net/xdp/xsk_queue.h:xskq_cons_read_desc_batch`): no emulated card has them.

use xsk_core::abi::{XDP_PKT_CONTD, XDP_SHARED_UMEM, XDP_USE_SG, xdp_desc};
use xsk_sim::{DeviceConfig, Place, Profile};
use xsk_tests::raw::{RawSocket, Setup, frame};

use crate::kit::{FORCED, World, bound_with};

const MORE: u32 = XDP_PKT_CONTD;
const SEVERAL: u16 = FORCED | XDP_USE_SG;

fn desc(chunk: u64, len: u32, options: u32) -> xdp_desc {
    xdp_desc { addr: chunk * 4096, len, options }
}

fn world(segments: u32) -> World {
    World::of(Profile::LINUX_7_3, &DeviceConfig::default().zero_copy_segments(segments))
}

/// A sender whose frames are numbered.
fn open(world: &World, setup: &Setup) -> RawSocket {
    let socket = world.open(setup);
    world.attach(&socket);
    (0..16).for_each(|i| socket.write(i * 4096, &frame(60, i as u8)));
    socket
}

/// The chunks that came back.
fn back(socket: &RawSocket) -> Vec<u64> {
    socket.completion().pop_all::<u64>().iter().map(|addr| addr / 4096).collect()
}

/// The last byte of each packet that was sent.
fn sent(world: &World) -> Vec<u8> {
    std::iter::from_fn(|| world.card.sent()).filter_map(|packet| packet.last().copied()).collect()
}

/// Taken, and what is behind it not; completed behind what was before it.
#[test]
fn the_refused_one_waits_for_those_before_it() {
    let world = world(1);
    let socket = open(&world, &bound_with(FORCED));
    socket.tx().push([desc(0, 60, 0), desc(1, 0, 0), desc(2, 60, 0)]);
    assert_eq!((socket.kick(), socket.tx().consumer(), socket.completion().producer()), (0, 2, 0));
    assert_eq!(world.kernel.frames().count(Place::Kernel), 2);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 2), "nothing is taken meanwhile");
    world.rest();
    assert_eq!((back(&socket), sent(&world), socket.tx().consumer()), (vec![0, 1, 2], vec![0, 2], 3));
    // With nothing before it it is completed at once, and is no empty ring.
    let before = socket.statistics();
    socket.tx().push([desc(3, 0, 0), desc(4, 60, 0)]);
    assert_eq!((socket.kick(), back(&socket), socket.tx().consumer()), (0, vec![3], 4));
    let after = socket.statistics();
    assert_eq!(after.tx_ring_empty_descs, before.tx_ring_empty_descs);
    assert_eq!(after.tx_invalid_descs, before.tx_invalid_descs + 1);
    assert_eq!(socket.kick(), 0);
    world.rest();
    assert_eq!((back(&socket), sent(&world)), (vec![4], vec![4]));
    world.check();
}

#[test]
fn a_packet_of_too_many_descriptors_is_completed() {
    let world = world(2);
    let socket = open(&world, &bound_with(SEVERAL));
    socket.tx().push([desc(0, 60, 0), desc(1, 60, MORE), desc(2, 60, MORE), desc(3, 60, 0), desc(4, 60, 0)]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 4));
    world.rest();
    assert_eq!((back(&socket), sent(&world)), (vec![0, 1, 2, 3, 4], vec![0, 4]));
    assert_eq!(socket.statistics().tx_invalid_descs, 0, "none of them is invalid");
    world.check();
}

/// Its end comes later, or does not fit: what is there is completed, and then the rest.
#[test]
fn a_refused_packet_without_its_end() {
    let world = world(4);
    let socket = open(&world, &Setup { completion: 2, ..bound_with(SEVERAL) });
    socket.tx().push([desc(0, 0, MORE), desc(1, 60, MORE), desc(2, 60, MORE)]);
    assert_eq!((socket.kick(), back(&socket), socket.tx().consumer()), (0, vec![0, 1], 2));
    assert_eq!((socket.kick(), back(&socket), socket.tx().consumer()), (0, vec![2], 3));
    socket.tx().push([desc(3, 60, 0), desc(4, 60, 0)]);
    assert_eq!((socket.kick(), back(&socket), socket.tx().consumer()), (0, vec![3], 4));
    assert_eq!(socket.kick(), 0);
    world.rest();
    assert_eq!((back(&socket), sent(&world)), (vec![4], vec![4]));
    assert_eq!(socket.statistics().tx_invalid_descs, 1);
    // A good one without its end stays in the ring.
    socket.tx().push([desc(5, 60, MORE)]);
    assert_eq!((socket.kick(), socket.tx().consumer(), back(&socket)), (0, 5, vec![]));
    world.check();
}

#[test]
fn a_device_that_goes_down_completes_the_refused_as_well() {
    let world = world(1);
    let socket = open(&world, &bound_with(FORCED));
    socket.tx().push([desc(0, 60, 0), desc(1, 0, 0)]);
    assert_eq!(socket.kick(), 0);
    world.card.set_up(false);
    assert_eq!((back(&socket), sent(&world)), (vec![0, 1], vec![]));
    world.check();
}

fn sharer(world: &World, of: &RawSocket, setup: &Setup) -> RawSocket {
    let mut socket = RawSocket::new(&world.backend);
    socket.make_rings(&Setup { fill: 0, completion: 0, ..setup.clone() });
    assert_eq!(socket.bind_to(world.card.index(), 0, XDP_SHARED_UMEM, of.handle.0 as u32), 0);
    socket
}

/// Turns of 32 descriptors, the newest first, as without; a refused packet ends it for all.
#[test]
fn sockets_with_packets_of_several_buffers_have_their_turns() {
    let world = world(4);
    let setup = Setup { tx: 128, completion: 256, size: 256 * 4096, ..bound_with(SEVERAL) };
    let one = open(&world, &setup);
    let two = sharer(&world, &one, &setup);
    one.tx().push((0..40).map(|i| desc(i, 60, 0)));
    two.tx().push((100..140).map(|i| desc(i, 60, 0)));
    assert_eq!(one.kick(), 0);
    world.rest();
    let expected: Vec<u64> = (100..132).chain(0..32).chain(132..140).chain(32..40).collect();
    assert_eq!(back(&one), expected);
    two.tx().push([desc(100, 60, 0), desc(101, 60, MORE), desc(102, 0, 0), desc(103, 60, 0)]);
    one.tx().push([desc(0, 60, 0)]);
    assert_eq!((one.kick(), one.tx().consumer(), two.tx().consumer()), (0, 40, 43));
    world.rest();
    assert_eq!((back(&one), one.tx().consumer(), two.tx().consumer()), (vec![100, 101, 102, 103, 0], 41, 44));
    world.check();
}

/// A packet that does not fit what is left of a turn waits for the next one.
#[test]
fn a_packet_is_not_split_between_turns() {
    let world = world(4);
    let setup = Setup { tx: 128, completion: 256, size: 256 * 4096, ..bound_with(SEVERAL) };
    let one = open(&world, &setup);
    let two = sharer(&world, &one, &setup);
    two.tx().push((100..131).map(|i| desc(i, 60, 0)).chain([desc(131, 60, MORE), desc(132, 60, 0)]));
    one.tx().push([desc(0, 60, 0)]);
    assert_eq!(one.kick(), 0);
    world.rest();
    let expected: Vec<u64> = (100..131).chain([0, 131, 132]).collect();
    assert_eq!(back(&one), expected);
    world.check();
}
