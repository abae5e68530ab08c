//! What errors and debug output say, and what the table of orderings says of its rows.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use xsk_core::abi::{xdp_desc, xdp_ring_offset};
use xsk_core::errno;
use xsk_core::layout::DescError;
use xsk_core::order::{Access, Order};
use xsk_core::region::{Region, RegionError};
use xsk_core::ring::{BrokenIndex, Consumer, Mapped, Producer};

#[test]
fn errors_name_the_value() {
    let desc = xdp_desc { addr: 0x1000, len: 60, options: 6 };
    for (error, text) in [
        (DescError::Empty, "a descriptor of length 0"),
        (DescError::Options(6), "a descriptor with unknown option bits 0x6"),
        (DescError::OutOfBounds(desc), "a descriptor of 60 bytes at 0x1000, which is not within one frame"),
    ] {
        assert_eq!(error.to_string(), text);
    }
    let broken = BrokenIndex { own: 3, peer: 12, capacity: 8 };
    let text = "the peer's ring index 12 is impossible: ours is 3 and the ring has 8 entries";
    assert_eq!(broken.to_string(), text);
    assert_eq!(RegionError { len: 7 }.to_string(), "cannot allocate a region of 7 bytes");
}

#[test]
fn errnos_have_their_names() {
    assert_eq!((errno::name(errno::EINVAL), errno::name(0), errno::name(4095)), (Some("EINVAL"), None, None));
    assert_eq!(errno::describe(4095).to_string(), "errno 4095");
}

#[test]
fn debug_output_names_the_type_and_its_sizes() {
    let offsets = xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };
    let region = Region::new(Mapped::<u64, ()>::bytes(&offsets, 8)).unwrap();
    assert!(format!("{region:?}").starts_with("Region { memory: 0x"), "{region:?}");
    assert!(format!("{region:?}").ends_with(", len: 4096 }"), "{region:?}");
    // SAFETY: the region is page aligned, outlives the ring, and is used for nothing else.
    let ring = unsafe { Mapped::<u64, _>::new(region.as_ptr(), region.len(), &offsets, 8, "kept") }.unwrap();
    assert_eq!(*ring.keep(), "kept");
    let text = format!("{ring:?}");
    assert!(text.starts_with("Mapped { capacity: 8, slots: 0x") && text.ends_with(", .. }"), "{text}");

    // SAFETY: the ring is new, all zeros, and no other half is a producer of it.
    let mut producer = unsafe { Producer::new(ring) };
    let mut slots = producer.slots(3, 0).unwrap();
    assert!(slots.put(1));
    assert_eq!(format!("{slots:?}"), "Slots { written: 1, room: 2 }");
    drop(slots);
    // SAFETY: the region is page aligned and outlives both rings, which are the two halves of one.
    let ring = unsafe { Mapped::<u64, _>::new(region.as_ptr(), region.len(), &offsets, 8, ()) }.unwrap();
    // SAFETY: no other half is a consumer of it.
    let mut consumer = unsafe { Consumer::new(ring) };
    let mut entries = consumer.entries(8).unwrap();
    assert_eq!(format!("{entries:?}"), "Entries { taken: 0, left: 1 }");
    assert_eq!(
        (entries.next(), format!("{entries:?}")),
        (Some(1), "Entries { taken: 1, left: 0 }".to_owned())
    );
}

/// `Acquire` on a store and `Release` on a load do not exist: they panic when they run.
#[test]
fn every_row_has_a_strength_that_its_access_can_have() {
    assert_eq!(Order::ALL.iter().collect::<HashSet<_>>().len(), Order::ALL.len());
    for row in Order::ALL {
        let can_be: &[Ordering] = match row.access() {
            Access::Load => &[Ordering::Relaxed, Ordering::Acquire],
            Access::Store => &[Ordering::Relaxed, Ordering::Release],
            Access::Exchange => &[Ordering::Relaxed, Ordering::Acquire, Ordering::Release, Ordering::AcqRel],
            Access::Fence => &[Ordering::SeqCst],
        };
        assert!(can_be.contains(&row.ordering()), "{row:?}");
        assert_eq!(row.is_load_bearing(), row.ordering() != Ordering::Relaxed, "{row:?}");
    }
    let of = |access| Order::ALL.into_iter().filter(|row| row.access() == access).collect::<Vec<_>>();
    assert_eq!(of(Access::Store), [Order::PublishProducer, Order::PublishConsumer, Order::WriteNote]);
    assert_eq!(of(Access::Exchange), [Order::PutFrames, Order::UnlinkFrames, Order::PassNote]);
    assert_eq!(of(Access::Fence), [Order::WakeupFence]);
}
