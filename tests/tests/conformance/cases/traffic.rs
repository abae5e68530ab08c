//! Packets arrive: all, in order, whole, where they should in their frames.

use crate::cases::{packets, short_packets};
use crate::socket::{Pair, Setup};
use crate::traffic::{SHORT, run};
use xsk_tests::world::{Program, World};

pub fn send_receive(world: &dyn World) {
    let mut pair = Pair::open(world, &Setup::default());
    run(world, &mut pair.a, &mut pair.b, &short_packets());
}

pub fn small_frames(world: &dyn World) {
    let mut pair = Pair::open(world, &Setup { frame_size: 2048, ..Setup::default() });
    run(world, &mut pair.a, &mut pair.b, &short_packets());
}

pub fn single_packet(world: &dyn World) {
    let mut pair = Pair::open(world, &Setup::default());
    run(world, &mut pair.a, &mut pair.b, &packets(1, SHORT));
}

/// Every other frame lies across two pages: see [`crate::socket::Umem::slot`].
pub fn unaligned(world: &dyn World) {
    let setup = Setup { unaligned: true, huge_pages: true, ..Setup::default() };
    let mut pair = Pair::open(world, &setup);
    run(world, &mut pair.a, &mut pair.b, &short_packets());
}

/// Data starts behind the headroom: see [`crate::socket::Umem::received`].
pub fn headroom(world: &dyn World) {
    let receiver = Setup { headroom: 128, ..Setup::default() };
    let mut pair = Pair::with(world, &Setup::default(), &receiver, Program::Redirect);
    run(world, &mut pair.a, &mut pair.b, &short_packets());
}

pub fn teardown(world: &dyn World) {
    for _ in 0..10 {
        send_receive(world);
    }
}

pub fn bidirectional(world: &dyn World) {
    let mut pair = Pair::open(world, &Setup { both_ways: true, ..Setup::default() });
    run(world, &mut pair.a, &mut pair.b, &short_packets());
    run(world, &mut pair.b, &mut pair.a, &short_packets());
}
