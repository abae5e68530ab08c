//! The free frames that a port has at hand.

use xsk::{Batch, Packet, Pool};

use crate::kit::{pool, port, world};

/// All frames that are free for everybody.
fn free(pool: &Pool) -> Vec<Packet> {
    std::iter::from_fn(|| pool.packet()).collect()
}

/// A 32nd of the pool moves at once, at most 64 frames, so that what lies in ports with few packets starves nobody.
#[test]
fn a_port_takes_a_32nd_of_the_pool_at_once() {
    let (kernel, _a, _b) = world(1);
    for (frames, step) in [(40, 1), (64, 2), (256, 8), (2080, 64), (4128, 64)] {
        let pool = pool(&kernel, frames);
        let (mut left, mut right) = (port(&pool, "a"), port(&pool, "b"));
        // They come back one by one: whoever needs some first takes its part, and puts the others in order.
        let all = free(&pool).len();
        let first = left.packet();
        let second = right.packet();
        assert!(first.is_some() && second.is_some());
        assert_eq!(free(&pool).len(), all - 2 * step, "{frames} frames");
    }
}

/// Four times that at most, and when it is more those go that came first.
#[test]
fn what_a_port_has_too_many_of_is_for_others() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 256);
    let mut port = port(&pool, "a");
    let mut all = free(&pool);
    let mut batch = Batch::new();
    let oldest: Vec<_> = all[..9].iter().map(|packet| packet.as_ptr()).collect();
    all.drain(..33).for_each(|packet| batch.push(packet).unwrap());
    port.recycle(&mut batch);
    assert!(batch.is_empty() && pool.packet().is_none());
    batch.push(all.pop().unwrap()).unwrap();
    port.recycle(&mut batch);
    let gone: Vec<_> = free(&pool).iter().map(|packet| packet.as_ptr()).collect();
    assert_eq!(gone.len(), 9);
    assert!(oldest.iter().all(|frame| gone.contains(frame)));
}

#[test]
fn what_was_sent_is_taken_back_when_nothing_else_is_at_hand() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    let mut all = free(&pool);
    for mut packet in all.drain(..2) {
        packet.resize(60).unwrap();
        port.send_one(packet).unwrap();
        assert!(b.receive().is_some());
    }
    // Sending the second took the first one back, which is at hand: the completion ring is not looked at for it.
    assert_eq!(pool.with_kernel(), 17);
    let at_hand = port.packet();
    assert_eq!((at_hand.is_some(), pool.with_kernel()), (true, 17));
    assert!(pool.packet().is_none());
    let sent = port.packet();
    assert_eq!((sent.is_some(), pool.with_kernel()), (true, 16));
    assert!(port.packet().is_none());
}
