//! The user half of the four rings.
//!
//! A ring is two free-running `u32` indices, a flags word and a power-of-two number of slots, shared with a kernel. One
//! side writes slots and publishes the producer index, the other reads slots and publishes the consumer index; the slot of
//! an index is `index & (capacity - 1)`, and the number of entries in the ring is `producer - consumer`, wrapping.
//!
//! * [`Producer`]: the user half of the fill and TX rings.
//! * [`Consumer`]: the user half of the RX and completion rings.
//! * [`Entries`] and [`Slots`]: both without arrays, entry by entry.
//! * [`Storage`]: where a ring lives. [`Mapped`] is memory; a test may bring anything else.
//!
//! # Rules
//! * Our own index is published by one plain store for each batch, never by a read-modify-write.
//! * The peer's index is untrusted: one that claims more entries than the ring has is a [`BrokenIndex`], in every build.
//!   Nothing is read, written or published then, and the next call looks again.
//! * Nothing here blocks, allocates or makes a system call.

mod consumer;
mod in_place;
mod mapped;
mod producer;

use core::fmt;
use core::ptr::NonNull;

pub use consumer::Consumer;
pub use in_place::{Entries, Pass, Slots};
pub use mapped::{Mapped, RingShapeError};
pub use producer::{Producer, REKICK_AFTER};

use crate::order::Order;

/// The largest capacity that a ring may have: 2^22 entries, 64 MiB of descriptors.
///
/// The kernel has no such limit and really allocates what it is asked for (`net/xdp/xsk_queue.c:xskq_create`), which for
/// an absurd size takes the machine down.
pub const MAX_CAPACITY: u32 = 1 << 22;

/// Where a ring lives: its indices, its flags and its slots.
///
/// The ring code is generic over this trait so that the code which ships is the code which a model checker runs.
/// Atomic accesses name their row of the ordering table; an implementation for memory uses [`Order::ordering`].
///
/// # Safety
/// What [`cell`](Self::cell) says is so: [`Entries`] and [`Slots`] go from cell to cell by it.
pub unsafe trait Storage {
    /// What a slot holds: a descriptor, or an address.
    type Slot: Copy;
    /// What a slot is in memory: its entry, or what a model checker watches it by.
    type Cell;

    /// Number of slots: a power of two, the same on every call.
    fn capacity(&self) -> u32;
    /// Reads the producer index.
    fn load_producer(&self, order: Order) -> u32;
    /// Publishes the producer index.
    fn store_producer(&self, index: u32, order: Order);
    /// Reads the consumer index.
    fn load_consumer(&self, order: Order) -> u32;
    /// Publishes the consumer index.
    fn store_consumer(&self, index: u32, order: Order);
    /// Reads the flags word.
    fn load_flags(&self, order: Order) -> u32;
    /// Orders the accesses before it with those after it.
    fn fence(&self, order: Order);

    /// The cell of the slot of `index`, and how many there are from it to the end of the ring, itself included: one after the
    /// other in memory, and valid while `self` lives.
    fn cell(&self, index: u32) -> (NonNull<Self::Cell>, usize);

    /// Reads a slot.
    ///
    /// # Safety
    /// `cell` is of a ring that lives, and the caller owns its slot, as in [`read_run`](Self::read_run).
    unsafe fn read(cell: NonNull<Self::Cell>) -> Self::Slot;

    /// Writes a slot.
    ///
    /// # Safety
    /// `cell` is of a ring that lives, and the caller owns its slot, as in [`write_run`](Self::write_run).
    unsafe fn write(cell: NonNull<Self::Cell>, entry: Self::Slot);

    /// Reads the slots from `index` on, one for each element of `out`, in order.
    ///
    /// A run instead of single slots, so that an implementation splits it once at the end of the ring and copies wide.
    ///
    /// # Safety
    /// `out` is no longer than the capacity, and the caller owns the slots: the peer wrote them before it published
    /// them, and will not write them again before the caller gives them back.
    unsafe fn read_run<D>(&self, index: u32, out: &mut [D], take: impl FnMut(&mut D, Self::Slot));

    /// Writes the slots from `index` on, one for each element of `from`, in order.
    ///
    /// # Safety
    /// `from` is no longer than the capacity, and the caller owns the slots: the peer gave them back, and will not
    /// read them before the caller publishes them.
    unsafe fn write_run<D>(&self, index: u32, from: &[D], give: impl FnMut(&D) -> Self::Slot);
}

/// The peer's index claims more entries than the ring has slots.
///
/// A correct kernel never does this; a foreign process that maps the ring, or memory corruption, may. Nothing was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BrokenIndex {
    /// Our index.
    pub own: u32,
    /// The index that the peer published.
    pub peer: u32,
    /// Slots in the ring.
    pub capacity: u32,
}

impl fmt::Display for BrokenIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, peer, capacity } = self;
        write!(
            f,
            "the peer's ring index {peer} is impossible: ours is {own} and the ring has {capacity} entries"
        )
    }
}

impl core::error::Error for BrokenIndex {}
