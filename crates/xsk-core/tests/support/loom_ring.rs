//! A ring of a model checker's cells.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use xsk_core::order::{Access, Order};
use xsk_core::ring::Storage;

/// A ring whose words are loom atomics and whose slots are tracked cells: a handle that both halves hold.
///
/// A slot that is read or written without a happens-before edge to its last use on the other side is a causality
/// violation, whatever value it holds.
#[derive(Clone)]
pub struct LoomRing<T>(Arc<Words<T>>);

struct Words<T> {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    slots: Box<[UnsafeCell<T>]>,
    /// The row of the table that is to be missing: relaxed, or (a fence) left out.
    weakened: Option<Order>,
}

impl<T: Copy> LoomRing<T> {
    /// An empty ring whose indices stand at `start`.
    ///
    /// The count of the `Arc` is not loom's: it must not order anything in the model.
    pub fn new(capacity: u32, start: u32, unused: T, weakened: Option<Order>) -> Self {
        assert!(capacity.is_power_of_two());
        Self(Arc::new(Words {
            producer: AtomicU32::new(start),
            consumer: AtomicU32::new(start),
            flags: AtomicU32::new(0),
            slots: (0..capacity).map(|_| UnsafeCell::new(unused)).collect(),
            weakened,
        }))
    }

    /// The producer index, for the model kernel.
    pub fn producer(&self) -> &AtomicU32 {
        &self.0.producer
    }

    /// The consumer index, for the model kernel.
    pub fn consumer(&self) -> &AtomicU32 {
        &self.0.consumer
    }

    /// The flags, for the model kernel.
    pub fn flags(&self) -> &AtomicU32 {
        &self.0.flags
    }

    /// The slots, for the model kernel.
    pub fn slots(&self) -> &[UnsafeCell<T>] {
        &self.0.slots
    }

    fn ordering(&self, order: Order, access: Access) -> Ordering {
        assert_eq!(order.access(), access, "{order:?} is the wrong row for this access");
        if self.0.weakened == Some(order) { Ordering::Relaxed } else { order.ordering() }
    }

    fn cell(&self, index: u32) -> &UnsafeCell<T> {
        &self.0.slots[index as usize % self.0.slots.len()]
    }
}

impl<T: Copy> Storage for LoomRing<T> {
    type Slot = T;

    fn capacity(&self) -> u32 {
        self.0.slots.len() as u32
    }

    fn load_producer(&self, order: Order) -> u32 {
        self.0.producer.load(self.ordering(order, Access::Load))
    }

    fn store_producer(&self, index: u32, order: Order) {
        self.0.producer.store(index, self.ordering(order, Access::Store));
    }

    fn load_consumer(&self, order: Order) -> u32 {
        self.0.consumer.load(self.ordering(order, Access::Load))
    }

    fn store_consumer(&self, index: u32, order: Order) {
        self.0.consumer.store(index, self.ordering(order, Access::Store));
    }

    fn load_flags(&self, order: Order) -> u32 {
        self.0.flags.load(self.ordering(order, Access::Load))
    }

    fn fence(&self, order: Order) {
        match self.ordering(order, Access::Fence) {
            Ordering::Relaxed => {}
            strength => fence(strength),
        }
    }

    unsafe fn read_run<D>(&self, index: u32, out: &mut [D], mut take: impl FnMut(&mut D, T)) {
        assert!(out.len() <= self.0.slots.len());
        for (i, item) in out.iter_mut().enumerate() {
            // SAFETY: the pointer is good for the closure; loom refuses a concurrent writer.
            let entry = self.cell(index.wrapping_add(i as u32)).with(|slot| unsafe { *slot });
            take(item, entry);
        }
    }

    unsafe fn write_run<D>(&self, index: u32, from: &[D], mut give: impl FnMut(&D) -> T) {
        assert!(from.len() <= self.0.slots.len());
        for (i, item) in from.iter().enumerate() {
            let entry = give(item);
            // SAFETY: the pointer is good for the closure; loom refuses any concurrent use.
            self.cell(index.wrapping_add(i as u32)).with_mut(|slot| unsafe { *slot = entry });
        }
    }
}
