//! Blocking in poll.

use std::time::Duration;

use xsk::backend::PollEvents;
use xsk_core::abi::xdp_desc;

use crate::cases::short_packets;
use crate::socket::{Attached, Pair, Setup, Xsk};
use crate::traffic::{Receiver, Sender, UnderWay, act, expected};
use xsk_tests::world::{End, Program, World};

const TIMEOUT_MS: i32 = 300;

fn with_polls(world: &dyn World, sender_polls: bool, receiver_polls: bool) {
    let mut pair = Pair::open(world, &Setup::default());
    let (items, under_way) = (short_packets(), UnderWay::default());
    let mut sender = Sender::new(world, vec![&mut pair.a], &items, &under_way);
    let mut receiver = Receiver::new(vec![&mut pair.b], &expected(&items), &under_way);
    (sender.polls, receiver.polls) = (sender_polls, receiver_polls);
    act(world, &mut [&mut sender, &mut receiver]);
    receiver.finish(world);
}

pub fn receiver(world: &dyn World) {
    with_polls(world, false, true);
}

pub fn sender(world: &dyn World) {
    with_polls(world, true, false);
}

/// How long a poll that is to come to nothing took.
fn times_out(xsk: &Xsk, events: PollEvents) -> Duration {
    let start = xsk.kernel().now();
    assert!(!xsk.poll(events, TIMEOUT_MS), "{events:?} came");
    xsk.kernel().now() - start
}

/// A receiver alone.
pub fn nothing_to_receive(world: &dyn World) {
    let pair = Pair::open(world, &Setup::default());
    let took = times_out(&pair.b, PollEvents::IN);
    assert!(took >= Duration::from_millis(TIMEOUT_MS as u64), "{took:?}");
}

/// A sender alone, who takes no completions.
pub fn completions_full(world: &dyn World) {
    const PACKETS: u32 = 8192;
    const BATCH: u32 = 64;
    let setup = Setup { frame_size: 2048, ..Setup::default() };
    let mut sender = Xsk::open(world, End::A, &setup);
    // Zero-copy drivers may send with a program only.
    let _at_a = world.zero_copy().then(|| Attached::new(world, End::A, Program::Redirect));
    // Drops what comes: no socket is in its map.
    let _at_b = Attached::new(world, End::B, Program::Redirect);
    let mut sent = 0;
    // Frames are sent again before they are completed, which does no harm to bytes that nobody reads.
    while sender.tx.free_now().expect("a sound ring") >= BATCH && sent < PACKETS {
        let umem = &sender.umem;
        let addr = |n: u32| umem.slot(u64::from(n) % umem.slots());
        let desc = |n| xdp_desc { addr: addr(n), len: 2048, options: 0 };
        let descs: Vec<_> = (sent..sent + BATCH).map(desc).collect();
        sender.put(&descs);
        sent += BATCH;
        if !sender.poll(PollEvents::OUT, TIMEOUT_MS) {
            // More than half of the TX ring is full, behind as many completions as their ring holds.
            let pool = sender.pool.as_mut().expect("the first socket of the queue");
            let completed = pool.completion.available_now().expect("a sound ring");
            assert_eq!(completed, pool.completion.capacity());
            assert!(sender.unsent() > sender.tx.capacity() / 2);
            assert_eq!(sent, completed + sender.unsent());
            // Room in the completion ring is room in the TX ring.
            assert_eq!(sender.completed().len() as u32, completed);
            assert!(sender.poll(PollEvents::OUT, TIMEOUT_MS));
            return;
        }
    }
    panic!("{sent} packets were sent, and poll never timed out");
}
