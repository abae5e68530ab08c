//! Packets, batches and pools as values.

use std::borrow::{Borrow, BorrowMut};

use xsk::backend::PageSize;
use xsk::error::{Diagnosis, Error, Step};
use xsk::{Batch, Packet, Pool, PoolConfig, Port};
use xsk_core::layout::LayoutError;

use crate::kit::{config, free_frames, pool, world};

fn tagged(pool: &Pool, tag: u8) -> Packet {
    let mut packet = pool.packet().unwrap();
    packet.extend_from_slice(&[tag; 60]).unwrap();
    packet
}

fn tags(batch: &Batch) -> Vec<u8> {
    batch.into_iter().map(|packet| packet[0]).collect()
}

#[test]
fn a_batch_is_a_queue_of_fixed_length() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 16);
    let mut batch = Batch::with_capacity(4);
    assert_eq!((batch.capacity(), batch.room(), Batch::default().capacity()), (4, 4, 64));
    (0..4).for_each(|tag| batch.push(tagged(&pool, tag)).unwrap());
    let back = batch.push(tagged(&pool, 9)).unwrap_err();
    assert_eq!((back[0], batch.room()), (9, 0));
    assert_eq!(batch.remove(1).unwrap()[0], 1);
    assert!(batch.remove(3).is_none());
    batch.retain(|packet| packet[0] != 2);
    assert_eq!(tags(&batch), [0, 3]);

    let mut from = Batch::new();
    (4..8).for_each(|tag| from.push(tagged(&pool, tag)).unwrap());
    // As many as there is room for.
    assert_eq!(batch.append(&mut from), 2);
    assert_eq!((tags(&batch), tags(&from)), (vec![0, 3, 4, 5], vec![6, 7]));
    assert_eq!(batch.append(&mut from), 0);
    batch.clear();
    assert_eq!((batch.append(&mut from), from.len()), (2, 0));

    from.append(&mut batch);
    (8..10).for_each(|tag| from.push(tagged(&pool, tag)).unwrap());
    let mut drain = from.drain();
    assert_eq!((drain.len(), drain.next_back().unwrap()[0], drain.next().unwrap()[0]), (4, 9, 6));
    assert_eq!(drain.len(), 2);
    drop(drain);
    assert!(from.is_empty());
    drop(back);
    assert_eq!(free_frames(&pool), 16);
}

#[test]
fn packets_are_bytes() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 4);
    let mut packet = tagged(&pool, 1);
    packet.as_mut()[0] = 2;
    let bytes: &mut [u8] = packet.borrow_mut();
    bytes[1] = 3;
    let bytes: &[u8] = packet.borrow();
    assert_eq!(bytes[..3], [2, 3, 1]);
    assert_eq!(packet.as_ref(), &*packet);
    assert_eq!(packet.segments().collect::<Vec<_>>(), [&*packet]);
    assert_eq!(packet.resize(5000).unwrap_err().to_string(), "5000 bytes wanted, 3840 are there");
    assert_eq!(packet.len(), 60);
    packet.resize(62).unwrap();
    assert_eq!((packet.len(), packet[61]), (62, 0));
    packet.resize(2).unwrap();
    assert_eq!(*packet, [2, 3]);
    // What was there before is not shown.
    packet.resize(4).unwrap();
    assert_eq!(*packet, [2, 3, 0, 0]);
}

/// In one piece: its frames come back in their order.
#[test]
fn a_batch_gives_its_packets_back_at_once() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 3);
    let mut batch = Batch::new();
    (0..3).for_each(|tag| batch.push(tagged(&pool, tag)).unwrap());
    let first = batch[0].as_ptr();
    drop(batch);
    assert_eq!(tagged(&pool, 9).as_ptr(), first);
}

#[test]
fn debug_output_shows_sizes_and_no_bytes() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 8);
    let mut batch = Batch::new();
    batch.push(tagged(&pool, 1)).unwrap();
    assert_eq!(format!("{:?}", batch[0].segments()), "Segments { left: 1, .. }");
    assert_eq!(format!("{batch:?}"), "[Packet { len: 60, segments: 1, headroom: 256, .. }]");
    assert_eq!(format!("{pool:?}"), "Pool { frames: 8, frame_size: 4096, .. }");
    let port = Port::open(&pool, "a", 0, config()).unwrap();
    let text = format!("{port:?}");
    assert!(text.starts_with("Port {"), "{text}");
    assert_eq!(port.pool(), &pool);
}

#[test]
fn what_a_pool_can_be() {
    let (kernel, _a, _b) = world(1);
    let make = |config: PoolConfig| Pool::new_in(kernel.backend(), config);
    let small = make(PoolConfig::default().frames(8).frame_size(2048)).unwrap();
    assert_eq!((small.frames(), small.frame_size(), small.room()), (8, 2048, 2048 - 256));
    let huge = make(PoolConfig::default().frames(512).pages(PageSize::Huge2M)).unwrap();
    assert_eq!(huge.frames(), 512);
    assert!(small.eq(&small.clone()) && small != huge);

    let refused = |config| {
        let error = make(config).unwrap_err();
        assert_eq!(error.step(), Step::CheckConfig, "{error}");
        error.diagnosis().clone()
    };
    let default = PoolConfig::default();
    assert_eq!(refused(default.frame_size(1 << 16)), Diagnosis::FrameSize { max: 1 << 15 });
    assert_eq!(refused(default.frame_size(1024)), Diagnosis::Layout(LayoutError::ChunkSizeTooSmall(1024)));
    assert_eq!(refused(default.frames(0)), Diagnosis::Layout(LayoutError::NoChunks));
    assert_eq!(
        refused(default.frames(u32::MAX)),
        Diagnosis::Layout(LayoutError::TooLong { chunks: u32::MAX, chunk_size: 4096 })
    );
    assert_eq!(
        refused(default.frames(1 << 31).frame_size(1 << 15)),
        Diagnosis::Layout(LayoutError::TooLong { chunks: 1 << 31, chunk_size: 1 << 15 })
    );
    assert!(matches!(refused(default.headroom(4096)), Diagnosis::Layout(_)));
    // What is larger than a page the kernel refuses.
    for size in [8192, 1 << 15] {
        let error = make(default.frame_size(size)).unwrap_err();
        let limit = Diagnosis::FrameSize { max: 4096 };
        assert_eq!((error.step(), error.diagnosis()), (Step::RegisterUmem, &limit));
    }
    // The error of a port is one of the crate's when it passes as one of `io`.
    let error = make(default.frames(0)).unwrap_err();
    let text = error.to_string();
    let error = std::io::Error::from(error);
    assert_eq!(Error::of_io(&error).unwrap().to_string(), text);
}
