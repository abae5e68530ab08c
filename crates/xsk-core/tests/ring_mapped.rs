//! The rings in memory against a plain queue: random histories, and all short ones.

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use support::heap_ring::{HeapRing, OFFSETS};
use support::histories::{ConsumerHalf, HeapStorage, Op, ProducerHalf, ROOM, history};
use support::regressions;
use xsk_core::abi::{XDP_RING_NEED_WAKEUP, xdp_desc, xdp_ring_offset};
use xsk_core::region::Region;
use xsk_core::ring::{BrokenIndex, Consumer, MAX_CAPACITY, Mapped, Producer, REKICK_AFTER};

/// Every history of six operations on rings of 1, 2 and 4 slots, across the wrap.
fn all_short_histories(run: impl Fn(&HeapRing, u32, [Op; 6])) {
    for capacity in [1, 2, 4] {
        let ring = HeapRing::new(capacity);
        // Both neighbours of the possible indices, by turns.
        let alphabet = [
            Op::Move(1),
            Op::Move(2),
            Op::MoveSome(capacity + 1),
            Op::Look(1),
            Op::LookNow,
            Op::Peer(1),
            Op::Peer(capacity),
            Op::Break(0),
            Op::Break(u32::MAX - capacity - 1),
        ];
        let base = alphabet.len();
        for number in 0..base.pow(6) {
            let mut digits = number;
            let ops = [(); 6].map(|()| {
                let op = alphabet[digits % base];
                digits /= base;
                op
            });
            run(&ring, u32::MAX - 1, ops);
        }
        ring.check_canaries();
    }
}

#[test]
fn all_short_histories_of_a_producer() {
    all_short_histories(|ring, start, ops| history::<ProducerHalf<'_>>(ring, start, ops));
}

#[test]
fn all_short_histories_of_a_consumer() {
    all_short_histories(|ring, start, ops| history::<ConsumerHalf<'_>>(ring, start, ops));
}

fn any_capacity() -> impl Strategy<Value = u32> {
    (0..=6_u32).prop_map(|bits| 1 << bits)
}

fn any_start() -> impl Strategy<Value = u32> {
    prop_oneof![3 => u32::MAX - 200..=u32::MAX, 1 => any::<u32>()]
}

fn any_op() -> impl Strategy<Value = Op> {
    let count = || prop_oneof![4 => 0..6_u32, 2 => 0..70_u32, 1 => 0..ROOM as u32];
    prop_oneof![
        5 => count().prop_map(Op::Move),
        3 => count().prop_map(Op::MoveSome),
        2 => count().prop_map(Op::Look),
        1 => any::<u32>().prop_map(Op::Look),
        1 => Just(Op::LookNow),
        1 => Just(Op::Outstanding),
        7 => count().prop_map(Op::Peer),
        1 => any::<u32>().prop_map(Op::Break),
    ]
}

fn any_history() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(any_op(), 1..200)
}

/// What a peer may do that keeps no rule at all: any value in its index, at any time.
#[derive(Debug, Clone, Copy)]
enum Wild {
    Index(u32),
    Near(i32),
    Op(u32, u32),
}

fn any_wild() -> impl Strategy<Value = Wild> {
    prop_oneof![
        any::<u32>().prop_map(Wild::Index),
        (-70..70).prop_map(Wild::Near),
        (0..4_u32, 0..ROOM as u32).prop_map(|(what, count)| Wild::Op(what, count)),
    ]
}

proptest! {
    #![proptest_config(regressions::config("ring_mapped"))]

    #[test]
    fn a_producer_is_a_queue(capacity in any_capacity(), start in any_start(), ops in any_history()) {
        let ring = HeapRing::new(capacity);
        history::<ProducerHalf<'_>>(&ring, start, ops);
        ring.check_canaries();
    }

    #[test]
    fn a_consumer_is_a_queue(capacity in any_capacity(), start in any_start(), ops in any_history()) {
        let ring = HeapRing::new(capacity);
        history::<ConsumerHalf<'_>>(&ring, start, ops);
        ring.check_canaries();
    }

    /// Whatever the peer claims, each answer follows from the two indices, and nothing outside the ring is touched.
    #[test]
    fn a_wild_consumer_is_contained(capacity in any_capacity(), start in any_start(), ops in prop::collection::vec(any_wild(), 1..100)) {
        let ring = HeapRing::new(capacity);
        ring.reset(start);
        // SAFETY: the only producer of the ring.
        let mut producer = unsafe { Producer::new(ring.mapped()) };
        let mut own = start;
        // Slots that the producer believes are free.
        let mut known = 0;
        for op in ops {
            let peer = ring.consumer();
            let waiting = own.wrapping_sub(peer);
            let fresh = if waiting <= capacity { Ok(capacity - waiting) } else { Err(BrokenIndex { own, peer, capacity }) };
            match op {
                Wild::Index(index) => ring.set_consumer(index),
                Wild::Near(by) => ring.set_consumer(own.wrapping_add_signed(by)),
                Wild::Op(0, want) => {
                    let free = if known >= want { Ok(known) } else { fresh };
                    prop_assert_eq!(producer.free(want), free);
                    known = free.unwrap_or(known);
                }
                Wild::Op(1, _) => {
                    prop_assert_eq!(producer.free_now(), fresh);
                    known = fresh.unwrap_or(known);
                }
                Wild::Op(2, _) => prop_assert_eq!(producer.outstanding(), fresh.map(|free| capacity - free)),
                Wild::Op(_, want) => {
                    let free = if known >= want { Ok(known) } else { fresh };
                    let moved = producer.produce_some(&[7; ROOM][..want as usize], |item| *item);
                    prop_assert_eq!(moved, free.map(|free| free.min(want)));
                    let count = moved.unwrap_or(0);
                    known = free.unwrap_or(known) - count;
                    own = own.wrapping_add(count);
                }
            }
            prop_assert_eq!(ring.producer(), own);
            let _ = producer.needs_wakeup();
        }
        ring.check_canaries();
    }

    #[test]
    fn a_wild_producer_is_contained(capacity in any_capacity(), start in any_start(), ops in prop::collection::vec(any_wild(), 1..100)) {
        let ring = HeapRing::new(capacity);
        ring.reset(start);
        // SAFETY: the only consumer of the ring.
        let mut consumer = unsafe { Consumer::new(ring.mapped()) };
        let mut own = start;
        let mut known = 0;
        for op in ops {
            let peer = ring.producer();
            let waiting = peer.wrapping_sub(own);
            let fresh = if waiting <= capacity { Ok(waiting) } else { Err(BrokenIndex { own, peer, capacity }) };
            match op {
                Wild::Index(index) => ring.set_producer(index),
                Wild::Near(by) => ring.set_producer(own.wrapping_add_signed(by)),
                Wild::Op(0, want) => {
                    let available = if known >= want { Ok(known) } else { fresh };
                    prop_assert_eq!(consumer.available(want), available);
                    known = available.unwrap_or(known);
                }
                Wild::Op(1, _) => {
                    prop_assert_eq!(consumer.available_now(), fresh);
                    known = fresh.unwrap_or(known);
                }
                Wild::Op(_, want) => {
                    let available = if known >= want { Ok(known) } else { fresh };
                    let moved = consumer.consume(&mut [0; ROOM][..want as usize], |to, entry| *to = entry);
                    prop_assert_eq!(moved, available.map(|available| available.min(want)));
                    let count = moved.unwrap_or(0);
                    known = available.unwrap_or(known) - count;
                    own = own.wrapping_add(count);
                }
            }
            prop_assert_eq!(ring.consumer(), own);
        }
        ring.check_canaries();
    }
}

#[test]
fn a_ring_is_taken_over_where_it_stands() {
    let ring = HeapRing::new(4);
    // Three entries wait, across the wrap.
    ring.set_consumer(u32::MAX - 1);
    ring.set_producer(1);
    for (i, index) in [u32::MAX - 1, u32::MAX, 0].into_iter().enumerate() {
        ring.set_entry(index, 10 + i as u64);
    }
    // SAFETY: the only producer of the ring.
    let mut producer = unsafe { Producer::new(ring.mapped()) };
    assert_eq!((producer.outstanding(), producer.free(1)), (Ok(3), Ok(1)));
    assert_eq!(producer.produce(&[13], |item| *item), Ok(1));
    // SAFETY: the only consumer of the ring.
    let mut consumer = unsafe { Consumer::new(ring.mapped()) };
    assert_eq!(consumer.index(), u32::MAX - 1);
    let mut out = [0; 8];
    assert_eq!(consumer.consume(&mut out, |to, entry| *to = entry), Ok(4));
    assert_eq!(consumer.index(), 2);
    assert_eq!(out, [10, 11, 12, 13, 0, 0, 0, 0]);
    assert_eq!(producer.free_now(), Ok(4));
    assert_eq!((producer.capacity(), consumer.capacity()), (4, 4));
}

#[test]
fn a_wakeup_is_needed_when_the_flag_says_so() {
    let ring = HeapRing::new(4);
    // SAFETY: the only producer of the ring.
    let producer = unsafe { Producer::new(ring.mapped()) };
    for (flags, needed) in
        [(0, false), (XDP_RING_NEED_WAKEUP, true), (!XDP_RING_NEED_WAKEUP, false), (u32::MAX, true)]
    {
        ring.set_flags(flags);
        assert_eq!(producer.needs_wakeup(), needed, "{flags:#x}");
        assert_eq!(ring.flags(), flags);
    }
}

#[test]
fn a_wakeup_is_needed_when_nothing_moves() {
    /// Polls until the producer asks for a wakeup.
    fn polls(producer: &Producer<HeapStorage>, most: u32) -> Option<u32> {
        (1..=most).find(|_| producer.needs_wakeup())
    }
    let ring = HeapRing::new(4);
    ring.reset(u32::MAX);
    // SAFETY: the only producer of the ring.
    let mut producer = unsafe { Producer::new(ring.mapped()) };
    assert_eq!(polls(&producer, 3 * REKICK_AFTER), None, "an empty ring waits for nothing");
    assert_eq!(producer.produce(&[1, 2, 3], |item| *item), Ok(3));
    assert_eq!(polls(&producer, 2 * REKICK_AFTER), Some(REKICK_AFTER));
    // And again, as long as it stays so.
    assert_eq!(polls(&producer, 2 * REKICK_AFTER), Some(REKICK_AFTER));

    producer.set_rekick_after(5);
    assert_eq!(polls(&producer, 4), None);
    ring.set_consumer(0);
    // One poll sees the index move, and the count starts anew.
    assert_eq!(polls(&producer, 9), Some(6));
    assert_eq!(polls(&producer, 9), Some(5));
    ring.set_consumer(2);
    assert_eq!(polls(&producer, 99), None);
    // An entry that comes later has its full count of polls.
    assert_eq!(producer.produce(&[1], |item| *item), Ok(1));
    assert_eq!(polls(&producer, 9), Some(5));

    for bound in [0, 1] {
        producer.set_rekick_after(bound);
        assert_eq!(polls(&producer, 9), Some(1), "{bound}");
    }
    ring.set_consumer(3);
    for bound in [0, 1] {
        producer.set_rekick_after(bound);
        assert_eq!(polls(&producer, 9), None, "an empty ring waits for nothing, bound {bound}");
    }
}

#[test]
fn rings_that_do_not_fit_are_refused() {
    let region = Region::new(4096).unwrap();
    let shape = |capacity: u32, len: usize, offsets: &xdp_ring_offset| {
        assert!(len <= region.len());
        // SAFETY: the region is page aligned, at least `len` bytes long, and kept by the Arc; nobody uses it.
        let ring = unsafe {
            Mapped::<xdp_desc, _>::new(region.as_ptr(), len, offsets, capacity, Arc::clone(&region))
        };
        if let Err(error) = ring {
            assert_eq!((error.capacity, error.len, error.offsets), (capacity, len, *offsets));
            assert!(error.to_string().contains(&format!("a ring of {capacity} entries")));
        }
        ring.is_ok()
    };
    let bytes = |capacity| Mapped::<xdp_desc, ()>::bytes(&OFFSETS, capacity);
    assert_eq!(bytes(4), 320 + 64);

    // No power of two, none at all, too large.
    for capacity in 0..=64_u32 {
        assert_eq!(shape(capacity, 4096, &OFFSETS), capacity.is_power_of_two(), "{capacity}");
    }
    for capacity in [3, 96, 1 << 31, u32::MAX, MAX_CAPACITY * 2, MAX_CAPACITY + 1, MAX_CAPACITY] {
        assert!(!shape(capacity, 4096, &OFFSETS), "{capacity}");
    }
    // Exactly as long as it must be.
    assert!(shape(4, bytes(4), &OFFSETS) && !shape(4, bytes(4) - 1, &OFFSETS) && !shape(4, 0, &OFFSETS));

    let with = |change: fn(&mut xdp_ring_offset, u64), to: u64| {
        let mut offsets = OFFSETS;
        change(&mut offsets, to);
        shape(4, 4096, &offsets)
    };
    let words: [fn(&mut xdp_ring_offset, u64); 3] =
        [|o, to| o.producer = to, |o, to| o.consumer = to, |o, to| o.flags = to];
    for word in words {
        assert!(with(word, 4) && with(word, 4092));
        for bad in [1, 2, 3, 66, 4093, 4096, 1 << 32, u64::MAX - 3, u64::MAX] {
            assert!(!with(word, bad), "a word at {bad}");
        }
    }
    let desc: fn(&mut xdp_ring_offset, u64) = |o, to| o.desc = to;
    assert!(with(desc, 512) && with(desc, 4096 - 64));
    for bad in [4, 513, 4096 - 56, 4096, 1 << 32, u64::MAX - 63, u64::MAX - 7, u64::MAX] {
        assert!(!with(desc, bad), "descriptors at {bad}");
    }
}

#[test]
fn the_bytes_of_absurd_rings_do_not_wrap() {
    let far = xdp_ring_offset { desc: u64::MAX, ..OFFSETS };
    assert_eq!(Mapped::<xdp_desc, ()>::bytes(&far, u32::MAX), usize::MAX);
}

#[test]
fn the_largest_ring_is_made_and_no_larger_one() {
    // Room for twice as much, so that only the cap refuses.
    let region = Region::new(Mapped::<u8, ()>::bytes(&OFFSETS, 2 * MAX_CAPACITY)).unwrap();
    // SAFETY: the region is page aligned and kept by the Arc; nobody else uses it.
    let ring = |capacity| unsafe {
        Mapped::<u8, _>::new(region.as_ptr(), region.len(), &OFFSETS, capacity, Arc::clone(&region))
    };
    assert_eq!(ring(2 * MAX_CAPACITY).unwrap_err().capacity, 2 * MAX_CAPACITY);
    // SAFETY: the only producer of the ring.
    let mut producer = unsafe { Producer::new(ring(MAX_CAPACITY).unwrap()) };
    assert_eq!(producer.free_now(), Ok(MAX_CAPACITY));
}
