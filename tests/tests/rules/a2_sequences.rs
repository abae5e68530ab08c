//! A.2: sequences of descriptors, and what each of successive kicks does.

use xsk_core::abi::xdp_desc;
use xsk_core::errno::{EAGAIN, EINVAL};
use xsk_tests::raw::sequence::D::{B, BC, C, End as Last, Frag, G};
use xsk_tests::raw::sequence::{STEP, kick, lengths, load, run};
use xsk_tests::raw::{RawSocket, Setup};
use xsk_tests::world::{End, World};

rules! {
    a2_an_invalid_descriptor_ends_the_pass;
    a2_packets_of_several_descriptors;
    a2_a_packet_has_18_descriptors_at_most;
    a2_the_budget_of_a_pass_is_32;
    a2_a_full_completion_ring_stops_the_pass;
    a2_a_full_completion_ring_keeps_the_invalid_descriptor;
    a2_a_packet_longer_than_the_completion_ring_never_leaves;
    a2_an_invalid_end_with_one_completion_slot;
    s7_3_a_descriptor_rewritten_while_the_completion_ring_is_full;
    s7_7_addresses_of_dropped_packets_lose_bit_0_too.breaks_the_law();
}

fn a2_an_invalid_descriptor_ends_the_pass(world: &dyn World) {
    run(world, &[B, G, G], &[(0, 1, &[0], 1), (0, 3, &[1, 2], 1)], &[60, 60]);
    run(world, &[G, B, G], &[(0, 2, &[0, 1], 1), (0, 3, &[2], 1)], &[60, 60]);
    run(world, &[B, B, G], &[(0, 1, &[0], 1), (0, 2, &[1], 2), (0, 3, &[2], 2)], &[60]);
}

fn a2_packets_of_several_descriptors(world: &dyn World) {
    run(world, &[C, G], &[(0, 2, &[0, 1], 0)], &[120]);
    run(world, &[C, B, G], &[(0, 2, &[0, 1], 2), (0, 3, &[2], 2)], &[60]);
    run(world, &[C, BC, C, G, G], &[(0, 2, &[0, 1], 2), (0, 5, &[2, 3, 4], 4)], &[60]);
    run(world, &[BC, G, G], &[(0, 1, &[0], 1), (0, 3, &[1, 2], 2)], &[60]);
}

fn a2_a_packet_has_18_descriptors_at_most(world: &dyn World) {
    assert_eq!(world.set_mtu(End::B, 9000), 0);
    let frags = |count: usize| [vec![Frag; count - 1], vec![Last, G]].concat();
    let all: Vec<u64> = (0..20).collect();
    run(world, &frags(18), &[(0, 19, &all[..19], 0)], &[1800, 60]);
    run(world, &frags(19), &[(0, 20, &all, 19)], &[60]);
    let long: Vec<u64> = (0..31).collect();
    run(world, &frags(30), &[(0, 31, &long, 30)], &[60]);
}

fn a2_the_budget_of_a_pass_is_32(world: &dyn World) {
    let all: Vec<u64> = (0..40).collect();
    run(world, &[G; 40], &[(EAGAIN, 32, &all[..32], 0), (0, 40, &all[32..], 0)], &[60; 40]);
    run(world, &[G; 32], &[(0, 32, &all[..32], 0)], &[60; 32]);
    let then_bad = [vec![G; 32], vec![B]].concat();
    run(world, &then_bad, &[(0, 33, &all[..33], 1)], &[60; 32]);
}

fn a2_a_full_completion_ring_stops_the_pass(world: &dyn World) {
    let socket = load(world, &[G; 8], 4);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 4));
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 4));
    assert_eq!(socket.completion().pop::<u64>(2), [0, STEP]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 6));
    assert_eq!(lengths(world), [60; 6]);
}

fn a2_a_full_completion_ring_keeps_the_invalid_descriptor(world: &dyn World) {
    let socket = load(world, &[G, G, G, G, B, G], 4);
    for _ in 0..2 {
        assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 4));
        assert_eq!(socket.statistics().tx_invalid_descs, 0);
    }
    assert_eq!(socket.completion().pop::<u64>(1), [0]);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 5));
    assert_eq!(socket.statistics().tx_invalid_descs, 1);
}

fn a2_a_packet_longer_than_the_completion_ring_never_leaves(world: &dyn World) {
    let socket = load(world, &[C, C, C, C, C, G], 4);
    for _ in 0..3 {
        assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 4));
        assert_eq!(socket.completion().producer(), 0);
    }
    assert_eq!(lengths(world), []);
}

fn a2_an_invalid_end_with_one_completion_slot(world: &dyn World) {
    let socket = load(world, &[C, B, G], 1);
    kick(&socket, 1, (EAGAIN, 1, &[0], 1));
    kick(&socket, 2, (0, 2, &[1], 2));
    kick(&socket, 3, (0, 3, &[2], 2));
    assert_eq!(lengths(world), [60]);
}

/// What was found invalid while the completion ring was full is looked at again; what it said before counts all the same.
fn s7_3_a_descriptor_rewritten_while_the_completion_ring_is_full(world: &dyn World) {
    for (first, bad, drained) in [(G, B, false), (G, BC, true), (C, B, true), (C, BC, true)] {
        let socket = load(world, &[first, bad, G], 1);
        let dropped = u64::from(first == C);
        kick(&socket, 1, (EAGAIN, 1, &[0], dropped));
        socket.tx().write(1, xdp_desc { addr: STEP, len: 60, options: 0 });
        kick(&socket, 2, (EAGAIN, 2, &[1], dropped + u64::from(drained)));
        kick(&socket, 3, (0, 3, &[2], dropped + u64::from(drained)));
        let sent = 3 - usize::from(drained) - dropped as usize;
        assert_eq!(lengths(world), vec![60; sent], "{first:?} {bad:?}");
    }
}

fn s7_7_addresses_of_dropped_packets_lose_bit_0_too(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let desc = |addr, len, options| xdp_desc { addr, len, options };
    socket.tx().push([desc(0x1101, 60, 1), desc(0x2101, 60, 1), desc(0x3101, 0, 0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.completion().pop_all::<u64>(), [0x1100, 0x2101, 0x3101]);
    socket.tx().push([desc(0x1101, 60, 2)]);
    assert_eq!(socket.kick(), EINVAL);
    assert_eq!(socket.completion().pop_all::<u64>(), [0x1100]);
}
