//! Models of what only the kernel's half of xsk-sim does: descriptors that go back, buffers counted before they are taken,
//! promises taken back, and what poll(2) sees.

use loom::thread;
use xsk_core::abi::xdp_desc;
use xsk_core::ring::{Consumer, Producer};
use xsk_sim::ring::{KernelConsumer, KernelProducer};

use super::half::Entry;
use super::loom_ring::LoomRing;
use super::models::{Shape, Weakened};

const UNUSED: u32 = 999;

/// TX with a driver that is busy every other time: the pass puts back what it took, and may not have published it
/// (`net/xdp/xsk.c:xsk_cq_cancel_locked` and its caller). Each descriptor is sent once, in order.
pub fn busy_driver(shape: Shape, weakened: Weakened) -> u32 {
    let (ring, theirs) =
        weakened.user_produces(LoomRing::new(shape.capacity, shape.start, xdp_desc::numbered(UNUSED)));
    // SAFETY: the only consumer of this ring.
    let mut kernel = unsafe { KernelConsumer::new(theirs) };
    let pass = move |kernel: &mut KernelConsumer<LoomRing<xdp_desc>>, busy: bool, got: &mut Vec<u32>| {
        let before = kernel.taken();
        let mut packet = Vec::new();
        while packet.len() < shape.batch as usize
            && let Some(desc) = kernel.peek()
        {
            packet.push(desc.number());
            kernel.advance();
            if busy {
                // A packet that is not sent is one descriptor here: what a full ring released meanwhile cannot go back.
                kernel.unwind(1);
                break;
            }
        }
        if !busy {
            got.append(&mut packet);
        }
        if kernel.taken() != before {
            kernel.publish();
        }
    };
    let kernel = thread::spawn(move || {
        let mut got: Vec<u32> = Vec::new();
        for attempt in 0..shape.attempts {
            pass(&mut kernel, attempt % 2 == 0, &mut got);
        }
        (kernel, got)
    });

    // SAFETY: the only producer of this ring.
    let mut user = unsafe { Producer::new(ring) };
    let mut sent = 0;
    for _ in 0..shape.attempts {
        let items: Vec<u32> = (sent..sent + shape.batch).collect();
        sent += user.produce_some(&items, |n| xdp_desc::numbered(*n)).unwrap();
    }
    let (mut kernel, mut got) = kernel.join().unwrap();
    for _ in 0..=sent {
        pass(&mut kernel, false, &mut got);
    }
    assert!(got.iter().copied().eq(0..sent), "sent 0..{sent}, the kernel got {got:?}");
    assert_eq!(user.outstanding(), Ok(0));
    sent
}

/// The fill ring and packets of `batch` buffers: the kernel counts the entries first, takes all or none, and publishes at
/// its flush (`net/xdp/xsk_buff_pool.c:xp_can_alloc`).
pub fn counted_first(shape: Shape, weakened: Weakened) -> u32 {
    let (ring, theirs) =
        weakened.user_produces(LoomRing::new(shape.capacity, shape.start, u64::numbered(UNUSED)));
    // SAFETY: the only consumer of this ring.
    let mut kernel = unsafe { KernelConsumer::new(theirs) };
    let receive = |kernel: &mut KernelConsumer<LoomRing<u64>>, buffers: u32, got: &mut Vec<u32>| {
        if kernel.available(buffers) < buffers {
            return;
        }
        for _ in 0..buffers {
            got.push(kernel.peek().expect("counted before").number());
            kernel.advance();
        }
        kernel.publish();
    };
    let kernel = thread::spawn(move || {
        let mut got: Vec<u32> = Vec::new();
        (0..shape.attempts).for_each(|_| receive(&mut kernel, shape.batch, &mut got));
        (kernel, got)
    });

    // SAFETY: the only producer of this ring.
    let mut user = unsafe { Producer::new(ring) };
    let mut sent = 0;
    for _ in 0..shape.attempts {
        let items: Vec<u32> = (sent..sent + shape.batch).collect();
        sent += user.produce_some(&items, |n| u64::numbered(*n)).unwrap();
    }
    let (mut kernel, mut got) = kernel.join().unwrap();
    for _ in got.len()..sent as usize {
        receive(&mut kernel, 1, &mut got);
    }
    assert!(got.iter().copied().eq(0..sent), "sent 0..{sent}, the kernel got {got:?}");
    assert_eq!(user.outstanding(), Ok(0));
    sent
}

/// Completions that are promised and taken back every other time, and what poll(2) sees of them: never more than was
/// published, and in the end all of it.
pub fn promises(shape: Shape, weakened: Weakened) -> u32 {
    let (ring, theirs) =
        weakened.user_consumes(LoomRing::new(shape.capacity, shape.start, u64::numbered(UNUSED)));
    // SAFETY: the only producer of this ring.
    let mut kernel = unsafe { KernelProducer::new(theirs) };
    let kernel = thread::spawn(move || {
        let mut sent = 0;
        for attempt in 0..shape.attempts {
            let promised = (0..shape.batch).take_while(|_| kernel.reserve()).count() as u32;
            assert!(kernel.unpublished() <= kernel.entries());
            if attempt % 2 == 0 {
                kernel.cancel(promised);
            } else if promised > 0 {
                kernel.submit((sent..sent + promised).map(u64::numbered));
                sent += promised;
            }
            assert_eq!(kernel.unpublished(), 0);
        }
        (kernel, sent)
    });

    // SAFETY: the only consumer of this ring.
    let mut user = unsafe { Consumer::new(ring) };
    let mut got: Vec<u32> = Vec::new();
    let mut take = |user: &mut Consumer<LoomRing<u64>>, room: u32| {
        let mut out = vec![0; room as usize];
        let count = user.consume(&mut out, |to, entry| *to = entry.number()).unwrap();
        got.extend(&out[..count as usize]);
        count
    };
    for _ in 0..shape.attempts {
        take(&mut user, shape.batch);
    }
    let (kernel, sent) = kernel.join().unwrap();
    while take(&mut user, shape.capacity) > 0 {}
    assert!(!kernel.has_entries(), "poll sees entries in an empty ring");
    assert!(got.iter().copied().eq(0..sent), "the kernel sent 0..{sent}, we got {got:?}");
    sent
}
