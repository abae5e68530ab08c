//! Entries in place: they are those that `consume` and `produce` would move, across the end of the ring and of the indices.

mod support;

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use support::heap_ring::HeapRing;
use xsk_core::abi::xdp_desc;
use xsk_core::ring::{Consumer, Pass, Producer};

const CAPACITY: u32 = 8;

/// A ring in which `waiting` entries wait, numbered by their index, from `start` on.
fn ring(start: u32, waiting: u32) -> HeapRing {
    let ring = HeapRing::new(CAPACITY);
    ring.reset(start);
    for i in 0..waiting {
        let index = start.wrapping_add(i);
        ring.set_entry(index, index.into());
    }
    ring.set_producer(start.wrapping_add(waiting));
    ring
}

#[test]
fn entries_are_taken_in_order_and_given_back_at_once() {
    for start in [0, 5, u32::MAX - 2] {
        let ring = ring(start, 7);
        // SAFETY: the only consumer of the ring.
        let mut consumer = unsafe { Consumer::new(ring.mapped()) };
        let mut seen = Vec::new();
        loop {
            let mut entries = consumer.entries(u32::MAX).unwrap();
            let before = ring.consumer();
            while let Some(entry) = entries.peek() {
                assert_eq!((entries.index(), Some(entry)), (entry as u32, entries.next()));
                seen.push(entry as u32);
                assert_eq!(ring.consumer(), before);
            }
            let is_cut = entries.is_cut();
            drop(entries);
            assert_eq!(ring.consumer(), start.wrapping_add(seen.len() as u32));
            if !is_cut {
                break;
            }
        }
        assert_eq!(seen, (0..7).map(|i| start.wrapping_add(i)).collect::<Vec<_>>());
    }
}

#[test]
fn no_more_are_taken_than_were_wanted() {
    let ring = ring(6, 5);
    // SAFETY: the only consumer of the ring.
    let mut consumer = unsafe { Consumer::new(ring.mapped()) };
    let entries = consumer.entries(2).unwrap();
    assert_eq!((entries.len(), entries.taken(), entries.is_cut()), (2, 0, false));
    drop(entries);
    assert_eq!(ring.consumer(), 6);
    let mut entries = consumer.entries(3).unwrap();
    assert_eq!((entries.len(), entries.is_cut()), (2, false));
    assert_eq!((entries.next(), entries.next(), entries.next()), (Some(6), Some(7), None));
    assert!(entries.is_cut());
    drop(entries);
    assert_eq!(consumer.entries(9).unwrap().len(), 3);
    ring.set_producer(6 + 2 + CAPACITY + 1);
    assert_eq!(consumer.entries(9).unwrap_err().peer, 6 + 2 + CAPACITY + 1);
    assert_eq!(ring.consumer(), 8);
}

#[test]
fn slots_are_filled_in_order_and_published_at_once() {
    for start in [0, 5, u32::MAX - 2] {
        let ring = ring(start, 0);
        // SAFETY: the only producer of the ring.
        let mut producer = unsafe { Producer::new(ring.mapped()) };
        let mut put = 0;
        loop {
            // All but two.
            let mut slots = producer.slots(u32::MAX, 2).unwrap();
            while slots.put(u64::from(put)) {
                put += 1;
                assert_ne!(ring.producer(), start.wrapping_add(put));
            }
            let is_cut = slots.is_cut();
            drop(slots);
            assert_eq!(ring.producer(), start.wrapping_add(put));
            if !is_cut {
                break;
            }
        }
        assert_eq!(put, CAPACITY - 2);
        let entries: Vec<_> = (0..6).map(|i| ring.entry(start.wrapping_add(i))).collect();
        assert_eq!(entries, (0..6).collect::<Vec<u64>>());
        ring.check_canaries();
        assert_eq!(producer.slots(1, 2).unwrap().room(), 0);
        assert_eq!(producer.slots(1, 0).unwrap().room(), 1);
    }
}

/// Both halves of two rings, with entries in the one.
fn pair(from: u32, waiting: u32, to: u32) -> (HeapRing, HeapRing) {
    (ring(from, waiting), ring(to, 0))
}

#[test]
fn all_that_there_is_at_this_moment() {
    let (source, target) = pair(6, 2, 7);
    // SAFETY: the only consumer of the ring.
    let mut consumer = unsafe { Consumer::new(source.mapped()) };
    // SAFETY: the only producer of the ring.
    let mut producer = unsafe { Producer::new(target.mapped()) };
    assert_eq!((consumer.available(2), producer.free(8)), (Ok(2), Ok(8)));
    source.set_producer(6 + 5);
    let entries = consumer.entries_now().unwrap();
    assert_eq!((entries.wanted(), entries.len(), entries.taken()), (5, 2, 0));
    drop(entries);
    let slots = producer.slots_now(3).unwrap();
    assert_eq!((slots.wanted(), slots.room(), slots.written()), (5, 1, 0));
    drop(slots);
    assert_eq!(producer.slots_now(9).unwrap().wanted(), 0);
    source.set_producer(6 + CAPACITY + 1);
    assert_eq!(consumer.entries_now().unwrap_err().own, 6);
    target.set_consumer(8);
    assert_eq!(producer.slots_now(0).unwrap_err().own, 7);
}

#[test]
fn entries_move_from_ring_to_ring() {
    for (from, to, waiting) in
        [(0, 0), (6, 3), (3, 6)].map(|(from, to)| (0..=8).map(move |n| (from, to, n))).into_iter().flatten()
    {
        // The one at `stop` does not pass.
        for stop in 0..=waiting {
            let (source, target) = pair(from, waiting, to);
            // SAFETY: the only consumer of the ring.
            let mut consumer = unsafe { Consumer::new(source.mapped()) };
            // SAFETY: the only producer of the ring.
            let mut producer = unsafe { Producer::new(target.mapped()) };
            let mut moved = 0;
            while moved < stop {
                let (mut entries, mut slots) =
                    (consumer.entries_now().unwrap(), producer.slots_now(0).unwrap());
                let count = (entries.len() as u32).min(slots.room()).min(stop - moved);
                entries.move_to(&mut slots, |entry| entry as u32 != from + stop);
                assert_eq!((entries.taken(), slots.written()), (count, count));
                moved += count;
            }
            assert_eq!((source.consumer(), target.producer()), (from + stop, to + stop));
            let entries: Vec<_> = (0..stop).map(|i| target.entry(to + i)).collect();
            assert_eq!(entries, (0..stop).map(|i| u64::from(from + i)).collect::<Vec<_>>());
            source.check_canaries();
            target.check_canaries();
        }
    }
}

#[test]
fn entries_pass_from_ring_to_ring() {
    for (from, to) in [(0, 0), (6, 3), (3, 6)] {
        for last in [5, 6, 7] {
            let (source, target) = pair(from, 7, to);
            // SAFETY: the only consumer of the ring.
            let mut consumer = unsafe { Consumer::new(source.mapped()) };
            // SAFETY: the only producer of the ring.
            let mut producer = unsafe { Producer::new(target.mapped()) };
            let mut seen = 0;
            let mut each = |entry: u64| {
                assert_eq!(entry, u64::from(from + seen));
                seen += 1;
                match seen - 1 {
                    this if this == last => Pass::End,
                    1 | 2 => Pass::Out,
                    4 => Pass::OnAs(99),
                    _ => Pass::On,
                }
            };
            loop {
                let (mut entries, mut slots) =
                    (consumer.entries_now().unwrap(), producer.slots_now(0).unwrap());
                if entries.pass_to(&mut slots, &mut each) || entries.wanted() == 0 {
                    break;
                }
            }
            assert_eq!((source.consumer(), target.producer()), (from + last, to + last - 2));
            let entries: Vec<_> = (0..last - 2).map(|i| target.entry(to + i)).collect();
            let passed: Vec<u64> =
                [0, 3, 99, 5, 6].map(|i| if i == 99 { i } else { u64::from(from) + i }).into();
            assert_eq!(entries, passed[..last as usize - 2]);
            target.check_canaries();
        }
    }
}

#[test]
fn entries_are_taken_into_elements() {
    let ring = ring(0, 7);
    // SAFETY: the only consumer of the ring.
    let mut consumer = unsafe { Consumer::new(ring.mapped()) };
    let mut out = [MaybeUninit::new(99); 3];
    let mut entries = consumer.entries(7).unwrap();
    assert_eq!(entries.take_into(&mut out, Some), 3);
    assert_eq!(entries.take_into(&mut out, |entry| (entry < 4).then_some(entry)), 1);
    drop(entries);
    assert_eq!(ring.consumer(), 4);
    // SAFETY: all were written when it was made.
    assert_eq!(out.map(|element| unsafe { element.assume_init() }), [3, 1, 2]);
}

#[test]
fn a_panic_leaves_rings_that_are_whole() {
    let (source, target) = (ring(0, 7), ring(0, 0));
    // SAFETY: the only consumer of the ring.
    let mut consumer = unsafe { Consumer::new(source.mapped()) };
    // SAFETY: the only producer of the ring.
    let mut producer = unsafe { Producer::new(target.mapped()) };
    let panics = AssertUnwindSafe(|| {
        let (entries, mut slots) = (consumer.entries(7).unwrap(), producer.slots(7, 0).unwrap());
        for entry in entries {
            assert!(entry < 4, "as the test wants it");
            slots.put(entry);
        }
    });
    catch_unwind(panics).unwrap_err();
    // The one on which it panicked was taken.
    assert_eq!((source.consumer(), target.producer()), (5, 4));
    let panics = AssertUnwindSafe(|| {
        let (mut entries, mut slots) = (consumer.entries(7).unwrap(), producer.slots(7, 0).unwrap());
        entries.move_to(&mut slots, |_| panic!("as the test wants it"));
    });
    catch_unwind(panics).unwrap_err();
    assert_eq!((source.consumer(), target.producer()), (5, 4));
    let panics = AssertUnwindSafe(|| {
        let (mut entries, mut slots) = (consumer.entries(7).unwrap(), producer.slots(7, 0).unwrap());
        entries.pass_to(&mut slots, |entry| {
            assert!(entry < 6, "as the test wants it");
            Pass::On
        });
    });
    catch_unwind(panics).unwrap_err();
    // The one before is put, and the one on which it panicked was taken.
    assert_eq!((source.consumer(), target.producer(), target.entry(4)), (7, 5, 5));
}

#[test]
fn words_of_descriptors() {
    let desc = xdp_desc { addr: 0x1234_5678_9abc_def0, len: 0x11, options: 0x22 };
    let words = (desc.addr, 0x22_0000_0011);
    assert_eq!((desc.words(), xdp_desc::from_words(words.0, words.1)), (words, desc));
}
