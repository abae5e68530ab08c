//! 15.4: what a queue leaves, and when.

use xsk_core::errno::EBUSY;
use xsk_tests::raw::frame;
use xsk_tests::world::{End, Program, World};

use crate::kit::{FORCED, Kept, bound_with, completed, desc, open, open_receiver, received, soon, try_bind};

zero_copy! {
    s15_4_1_what_was_taken_is_sent_after_the_close;
    s15_4_2_after_the_close_packets_go_to_the_stack;
    s15_4_3_a_device_goes_down_and_up;
    s15_4_4_without_its_program_and_with_it_again;
}

/// The UMEM is unmapped, and what the driver has of it goes out.
fn s15_4_1_what_was_taken_is_sent_after_the_close(world: &dyn World) {
    let socket = open(world, &bound_with(FORCED));
    socket.fill().push([0_u64, 4096, 8192]);
    // The program outlives the socket: some drivers throw away what they have to send when it goes.
    let program = Kept::attach(world, &socket, world.mode());
    socket.write(3 * 4096, &frame(60, 1));
    socket.tx().push([desc(3 * 4096, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    assert!(soon(world, || socket.tx().consumer() == 1));
    drop(socket);
    let mut got = None;
    let sent = soon(world, || {
        got = got.take().or_else(|| world.receive(End::A));
        got.is_some()
    });
    assert!(sent);
    assert_eq!(got, Some(frame(60, 1)));
    drop(program);
    assert_eq!(try_bind(world, &bound_with(FORCED)), Ok(true), "the queue is released some time later");
}

fn s15_4_2_after_the_close_packets_go_to_the_stack(world: &dyn World) {
    let mut socket = open_receiver(world, &bound_with(FORCED), Program::Redirect, &[0, 4096, 8192]);
    world.send(End::A, &frame(60, 1));
    assert_eq!(received(world, &socket, 1), [(256, 60, 0)]);
    // The rings are mapped, and keep the socket: the queue is taken.
    socket.close();
    assert_eq!(busy_now(world), EBUSY);
    world.send(End::A, &frame(60, 2));
    drop(socket);
    assert_eq!(try_bind(world, &bound_with(FORCED)), Ok(true));
    world.send(End::A, &frame(60, 3));
    let mut last = None;
    soon(world, || {
        last = world.receive(End::B).or(last.take());
        last == Some(frame(60, 3))
    });
    assert_eq!(last, Some(frame(60, 3)));
}

fn busy_now(world: &dyn World) -> i32 {
    let other = xsk_tests::raw::RawSocket::prepare(world, &bound_with(FORCED));
    other.bind_to(world.index(End::B), 0, FORCED, 0)
}

/// Frames that were in the driver serve again.
fn s15_4_3_a_device_goes_down_and_up(world: &dyn World) {
    let socket = open_receiver(world, &bound_with(FORCED), Program::Redirect, &[0, 4096, 8192, 12288]);
    world.send(End::A, &frame(60, 1));
    assert_eq!(received(world, &socket, 1).len(), 1);
    socket.tx().push([desc(5 * 4096, 60, 0), desc(6 * 4096, 60, 0)]);
    assert_eq!(socket.kick(), 0);
    world.set_up(End::B, false);
    world.set_up(End::B, true);
    assert_eq!(completed(world, &socket, 2), [5 * 4096, 6 * 4096], "sent or not");
    let mut seen = Vec::new();
    for tag in 2..=4 {
        world.send(End::A, &frame(60, tag));
        let got = received(world, &socket, 1);
        assert_eq!((got.len(), socket.bytes(got[0].0, 60)), (1, frame(60, tag)), "packet {tag}");
        seen.push(got[0].0 / 4096);
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3]);
}

fn s15_4_4_without_its_program_and_with_it_again(world: &dyn World) {
    let mut socket = open_receiver(world, &bound_with(FORCED), Program::Redirect, &[0, 4096, 8192]);
    world.send(End::A, &frame(60, 1));
    assert_eq!(received(world, &socket, 1).len(), 1);
    socket.detach();
    world.ready();
    world.settle();
    world.send(End::A, &frame(60, 2));
    assert_eq!(world.receive(End::B), Some(frame(60, 2)), "to the stack");
    socket.attach(world, End::B, |map| world.program(Program::Redirect, map));
    world.settle();
    world.send(End::A, &frame(60, 3));
    let got = received(world, &socket, 1);
    assert_eq!((got.len(), socket.bytes(got[0].0, 60)), (1, frame(60, 3)));
}
