//! A ring of a model checker's cells.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use xsk_core::order::{Access, Order};
use xsk_core::ring::Storage;

/// A ring whose words are loom atomics and whose slots are tracked cells: a handle, of which each half holds one.
///
/// A slot that is read or written without a happens-before edge to its last use on the other side is a causality
/// violation, whatever value it holds.
#[derive(Clone)]
pub struct LoomRing<T> {
    words: Arc<Words<T>>,
    /// The index that the holder publishes, and its value.
    ///
    /// A load of one's own word is answered from here: it can only return what one stored last. Loom must not see it: it
    /// remembers one last access of each word, so such a load hides the peer's load before it from the store that follows,
    /// and whole classes of interleavings are never tried.
    own: (Index, Cell<u32>),
    /// The row of the table that is to be missing for the holder of this handle: relaxed, or (a fence) left out.
    weakened: Option<Order>,
}

/// One of the two indices of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    Producer,
    Consumer,
}

struct Words<T> {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    slots: Box<[UnsafeCell<T>]>,
}

impl<T: Copy> LoomRing<T> {
    /// The producer's and the consumer's handle of an empty ring whose indices stand at `start`.
    ///
    /// The count of the `Arc` is not loom's: it must not order anything in the model.
    pub fn new(capacity: u32, start: u32, unused: T) -> (Self, Self) {
        assert!(capacity.is_power_of_two());
        let words = Words {
            producer: AtomicU32::new(start),
            consumer: AtomicU32::new(start),
            flags: AtomicU32::new(0),
            slots: (0..capacity).map(|_| UnsafeCell::new(unused)).collect(),
        };
        let words = Arc::new(words);
        let half = |index| Self { words: Arc::clone(&words), own: (index, Cell::new(start)), weakened: None };
        (half(Index::Producer), half(Index::Consumer))
    }

    /// This handle, to whose holder `weakened` is missing.
    pub fn without(self, weakened: Option<Order>) -> Self {
        Self { weakened, ..self }
    }

    fn store(&self, index: Index, value: u32, order: Order) {
        assert_eq!(self.own.0, index, "the index of the other side");
        self.own.1.set(value);
        self.word(index).store(value, self.ordering(order, Access::Store));
    }

    fn load(&self, index: Index, order: Order) -> u32 {
        let ordering = self.ordering(order, Access::Load);
        if self.own.0 == index { self.own.1.get() } else { self.word(index).load(ordering) }
    }

    fn word(&self, index: Index) -> &AtomicU32 {
        match index {
            Index::Producer => &self.words.producer,
            Index::Consumer => &self.words.consumer,
        }
    }

    /// The producer index, for the model kernel.
    pub fn producer(&self) -> &AtomicU32 {
        &self.words.producer
    }

    /// The consumer index, for the model kernel.
    pub fn consumer(&self) -> &AtomicU32 {
        &self.words.consumer
    }

    /// The flags, for the model kernel.
    pub fn flags(&self) -> &AtomicU32 {
        &self.words.flags
    }

    /// The slots, for the model kernel.
    pub fn slots(&self) -> &[UnsafeCell<T>] {
        &self.words.slots
    }

    fn ordering(&self, order: Order, access: Access) -> Ordering {
        assert_eq!(order.access(), access, "{order:?} is the wrong row for this access");
        if self.weakened == Some(order) { Ordering::Relaxed } else { order.ordering() }
    }

    fn slot(&self, index: u32) -> &UnsafeCell<T> {
        &self.words.slots[index as usize % self.words.slots.len()]
    }
}

// SAFETY: `cell` stays in the slots, which live as long as the Arc.
unsafe impl<T: Copy> Storage for LoomRing<T> {
    type Slot = T;
    type Cell = UnsafeCell<T>;

    fn capacity(&self) -> u32 {
        self.words.slots.len() as u32
    }

    fn load_producer(&self, order: Order) -> u32 {
        self.load(Index::Producer, order)
    }

    fn store_producer(&self, index: u32, order: Order) {
        self.store(Index::Producer, index, order);
    }

    fn load_consumer(&self, order: Order) -> u32 {
        self.load(Index::Consumer, order)
    }

    fn store_consumer(&self, index: u32, order: Order) {
        self.store(Index::Consumer, index, order);
    }

    fn load_flags(&self, order: Order) -> u32 {
        self.words.flags.load(self.ordering(order, Access::Load))
    }

    fn fence(&self, order: Order) {
        match self.ordering(order, Access::Fence) {
            Ordering::Relaxed => {}
            strength => fence(strength),
        }
    }

    fn cell(&self, index: u32) -> (NonNull<UnsafeCell<T>>, usize) {
        let at = index as usize % self.words.slots.len();
        let until_end = &self.words.slots[at..];
        (NonNull::from(until_end).cast(), until_end.len())
    }

    unsafe fn read(cell: NonNull<UnsafeCell<T>>) -> T {
        // SAFETY: the ring lives (the caller's promise).
        let cell = unsafe { cell.as_ref() };
        // SAFETY: the pointer is good for the closure; loom refuses a concurrent writer.
        cell.with(|slot| unsafe { *slot })
    }

    unsafe fn write(cell: NonNull<UnsafeCell<T>>, entry: T) {
        // SAFETY: the ring lives (the caller's promise).
        let cell = unsafe { cell.as_ref() };
        // SAFETY: the pointer is good for the closure; loom refuses any concurrent use.
        cell.with_mut(|slot| unsafe { *slot = entry });
    }

    unsafe fn read_run<D>(&self, index: u32, out: &mut [D], mut take: impl FnMut(&mut D, T)) {
        assert!(out.len() <= self.words.slots.len());
        for (i, item) in out.iter_mut().enumerate() {
            // SAFETY: the pointer is good for the closure; loom refuses a concurrent writer.
            let entry = self.slot(index.wrapping_add(i as u32)).with(|slot| unsafe { *slot });
            take(item, entry);
        }
    }

    unsafe fn write_run<D>(&self, index: u32, from: &[D], mut give: impl FnMut(&D) -> T) {
        assert!(from.len() <= self.words.slots.len());
        for (i, item) in from.iter().enumerate() {
            let entry = give(item);
            // SAFETY: the pointer is good for the closure; loom refuses any concurrent use.
            self.slot(index.wrapping_add(i as u32)).with_mut(|slot| unsafe { *slot = entry });
        }
    }
}
