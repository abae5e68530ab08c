//! XDP programs, and sockets that share a queue.

use crate::cases::{PACKETS, packets, short_packets};
use crate::socket::{Attached, Pair, Setup, Xsk};
use crate::traffic::{
    Expected, Item, Receiver, SHORT, Sender, UNDER_WAY, UnderWay, act, expected, packet, run_expecting,
};
use xsk_tests::world::{End, Program, World};

/// Two sockets on each end: the second one of each takes over, and in the end the stack does.
pub fn cleanup(world: &dyn World) {
    {
        let mut pair = Pair::open(world, &Setup::default());
        let (mut a2, mut b2) = (pair.a.share(world, End::A), pair.b.share(world, End::B));
        for second in [false, true] {
            if second {
                pair.at_a.insert(0, &a2);
                pair.at_b.insert(0, &b2);
            }
            let mut items = short_packets();
            items.iter_mut().for_each(|item| item.from = usize::from(second));
            let mut expected = expected(&items);
            expected.iter_mut().for_each(|expected| expected.at = usize::from(second));
            let under_way = UnderWay::default();
            let mut sender = Sender::new(world, vec![&mut pair.a, &mut a2], &items, &under_way);
            let mut receiver = Receiver::new(vec![&mut pair.b, &mut b2], &expected, &under_way);
            act(world, &mut [&mut sender, &mut receiver]);
            receiver.finish(world);
        }
        assert!(program_at(world, End::A) && program_at(world, End::B));
    }
    assert!(!program_at(world, End::A) && !program_at(world, End::B));
    world.ready();
    world.send(End::A, &packet(7, 0, SHORT));
    assert_eq!(world.receive(End::B), Some(packet(7, 0, SHORT)));
}

fn program_at(world: &dyn World, end: End) -> bool {
    world.kernel().interface(&world.name(end)).expect("an interface").program.is_some()
}

pub fn drop_half(world: &dyn World) {
    let mut pair = Pair::with(world, &Setup::default(), &Setup::default(), Program::DropHalf);
    let mut items = short_packets();
    items.iter_mut().filter(|item| item.number % 2 == 1).for_each(|item| item.frames = 0);
    let expected = expected(&items);
    let under_way = UnderWay::default();
    let mut sender = Sender::new(world, vec![&mut pair.a], &items, &under_way);
    // For each one that is seen to arrive there is one that is not.
    sender.most = UNDER_WAY / 2;
    let mut receiver = Receiver::new(vec![&mut pair.b], &expected, &under_way);
    act(world, &mut [&mut sender, &mut receiver]);
    receiver.finish(world);
}

/// Packets with even numbers from and to the first sockets, with odd ones from and to the second ones.
pub fn shared_umem(world: &dyn World) {
    let setup = Setup::default();
    let mut first = [Xsk::open(world, End::A, &setup), Xsk::open(world, End::B, &setup)];
    let mut second = [first[0].share(world, End::A), first[1].share(world, End::B)];
    // Zero-copy drivers may send with a program only.
    let at_a = world.zero_copy().then(|| Attached::new(world, End::A, Program::Redirect));
    let at_b = Attached::new(world, End::B, Program::ByAddress);
    at_b.insert(0, &first[1]);
    at_b.insert(1, &second[1]);
    let mut items = short_packets();
    for item in &mut items {
        let which = item.number % 2;
        (item.from, item.to) = (which as usize, 2 * which as u8);
    }
    let mut expected = expected(&items);
    expected.iter_mut().for_each(|expected| expected.at = usize::from(expected.to / 2));
    let ([a, b], [a2, b2]) = (&mut first, &mut second);
    let under_way = UnderWay::default();
    let mut sender = Sender::new(world, vec![a, a2], &items, &under_way);
    let mut receiver = Receiver::new(vec![b, b2], &expected, &under_way);
    act(world, &mut [&mut sender, &mut receiver]);
    receiver.finish(world);
    // The sockets before the program.
    drop((first, second));
    drop((at_a, at_b));
}

fn metadata(world: &dyn World, setup: &Setup, items: &[Item]) {
    let mut pair = Pair::with(world, setup, setup, Program::CountInMetadata);
    let mut expected = expected(items);
    expected.iter_mut().zip(0..).for_each(|(expected, count)| expected.metadata = Some(count));
    run_expecting(world, &mut pair.a, &mut pair.b, items, &expected);
}

pub fn metadata_copy(world: &dyn World) {
    metadata(world, &Setup::default(), &short_packets());
}

pub fn metadata_copy_several_buffers(world: &dyn World) {
    let setup = Setup { several_buffers: true, ..Setup::default() };
    let items: Vec<Item> = (0..PACKETS / 8).map(|number| Item::split(number, 9000, 3840)).collect();
    metadata(world, &setup, &items);
}

/// The packets that arrive are longer by `delta`, in a frame each.
fn adjust_tail(world: &dyn World, setup: &Setup, items: &mut [Item], delta: i32) {
    let mut pair = Pair::with(world, setup, setup, Program::AdjustTail(delta));
    items.iter_mut().for_each(|item| item.frames = 1);
    let adjust = |expected: &mut Expected| match delta {
        ..0 => expected.len -= delta.unsigned_abs(),
        0.. => expected.zeros = delta.unsigned_abs(),
    };
    let mut expected = expected(items);
    expected.iter_mut().for_each(adjust);
    run_expecting(world, &mut pair.a, &mut pair.b, items, &expected);
}

pub fn shrink(world: &dyn World) {
    adjust_tail(world, &Setup::default(), &mut packets(PACKETS, 128), -4);
}

pub fn shrink_several_buffers(world: &dyn World) {
    let setup = Setup { several_buffers: true, ..Setup::default() };
    let mut items: Vec<Item> = (0..PACKETS / 8).map(|number| Item::split(number, 6144, 3840)).collect();
    adjust_tail(world, &setup, &mut items, -4096);
}

/// What a program of several buffers gets is a copy, with room up to the next multiple of 64 bytes
/// (`net/core/skbuff.c:skb_pp_cow_data`): none for the kernel's 128 bytes, which on veth do not grow.
pub fn grow(world: &dyn World) {
    adjust_tail(world, &Setup::default(), &mut packets(PACKETS, 100), 4);
}

/// The kernel refuses to make the last fragment longer, so that packets arrive as they were.
pub fn cannot_grow_several_buffers(world: &dyn World) {
    let setup = Setup { several_buffers: true, ..Setup::default() };
    let mut pair = Pair::with(world, &setup, &setup, Program::AdjustTail(448));
    let items: Vec<Item> = (0..16).map(|number| Item::split(number, 6144, 3840)).collect();
    run_expecting(world, &mut pair.a, &mut pair.b, &items, &expected(&items));
}
