//! Free frames of a UMEM in lists that threads share without a lock.
//!
//! Frames are numbers, and the lists run through a table with one link for each frame: nothing is allocated to put a frame
//! on a list. There are two lists, for two habits:
//!
//! * the **returned** frames: anybody puts a chain of frames on it, whoever needs frames takes all of it.
//! * the **depot** of magazines: chains of many frames, put and taken one magazine at a time. It is how threads that
//!   gain frames feed those that lose them.
//!
//! When its last user is done, the list of returned frames is [closed](FrameLists::close). From then on it only counts: the
//! frame that is missing last is told so, and its holder frees the memory. So memory lives as long as its frames, without a
//! reference count that each frame would pay for.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::order::Order;

/// What follows the last frame of a chain. No frame has this number.
pub const END: u32 = u32::MAX;

/// The two words that all threads meet at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Of the returned frames.
    Returned,
    /// Of the depot.
    Depot,
}

/// Where the lists live. As the rings, they are generic over it, so that a model checker runs the code that ships.
///
/// The tables hold a note for each frame. The heads start as [`EMPTY`](Self::EMPTY).
pub trait Storage {
    /// A list without frames.
    const EMPTY: u64 = END as u64;

    /// Reads a head.
    fn load(&self, head: Head, order: Order) -> u64;
    /// Sets a head if it is still `from`. False if it is not; never without cause.
    fn exchange(&self, head: Head, from: u64, to: u64, order: Order) -> bool;
    /// The frame that follows `frame` in its chain.
    fn next(&self, frame: u32) -> u32;
    /// Sets it. The caller has the frame.
    fn set_next(&self, frame: u32, next: u32);
    /// The first frame of the magazine below the one that starts with `frame`.
    fn below(&self, frame: u32) -> u32;
    /// Sets it. The caller has the frame.
    fn set_below(&self, frame: u32, below: u32);
}

/// The lists of a UMEM's free frames.
#[derive(Debug)]
pub struct FrameLists<S> {
    storage: S,
}

/// The list of returned frames is closed: its upper half counts what is missing, and nothing is linked any more.
const CLOSED: u64 = 1 << 63;

/// A head is a first frame and, above it, a number: how many frames (returned), or how many changes there were (depot).
const fn head(number: u32, first: u32) -> u64 {
    (number as u64) << 32 | first as u64
}

const fn first(head: u64) -> u32 {
    head as u32
}

const fn number(head: u64) -> u32 {
    ((head & !CLOSED) >> 32) as u32
}

impl<S: Storage> FrameLists<S> {
    /// Lists in a storage whose heads are empty.
    pub fn new(storage: S) -> Self {
        Self { storage }
    }

    /// Where the lists live.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Puts the chain of `count` frames from `from` to `to` on the list of returned frames.
    ///
    /// True if the list is closed and these were the last frames that were missing: then nobody else has any, and what
    /// others did with theirs is visible to the caller.
    #[inline]
    pub fn give_back(&self, from: u32, to: u32, count: u32) -> bool {
        loop {
            let old = self.storage.load(Head::Returned, Order::ReadNote);
            if old & CLOSED != 0 {
                return self.count_home(count);
            }
            self.storage.set_next(to, first(old));
            let new = head(number(old).wrapping_add(count), from);
            if self.storage.exchange(Head::Returned, old, new, Order::PutFrames) {
                return false;
            }
        }
    }

    #[cold]
    fn count_home(&self, count: u32) -> bool {
        loop {
            let old = self.storage.load(Head::Returned, Order::ReadNote);
            let missing = number(old).saturating_sub(count);
            let new = CLOSED | head(missing, END);
            if self.storage.exchange(Head::Returned, old, new, Order::PutFrames) {
                return self.is_last(missing);
            }
        }
    }

    /// Whether none is missing any more. What others did with theirs is visible then.
    #[inline]
    fn is_last(&self, missing: u32) -> bool {
        if missing == 0 {
            self.acquire_returned();
        }
        missing == 0
    }

    /// Acquires what was released by whoever gave frames back before the caller's exchange.
    ///
    /// Not by the load before that: a head that was looked at may have become another and the same again until it was
    /// exchanged, as it counts frames and not changes. The head is only ever exchanged, so whatever it is by now releases what each
    /// of its values before did.
    #[inline]
    fn acquire_returned(&self) {
        let _ = self.storage.load(Head::Returned, Order::TakeFrames);
    }

    /// Takes all returned frames: the first of a chain, and how many there are.
    #[inline]
    pub fn take_returned(&self) -> Option<(u32, u32)> {
        loop {
            let old = self.storage.load(Head::Returned, Order::ReadNote);
            if first(old) == END {
                return None;
            }
            if self.storage.exchange(Head::Returned, old, S::EMPTY, Order::UnlinkFrames) {
                self.acquire_returned();
                return Some((first(old), number(old)));
            }
        }
    }

    /// Closes the list of returned frames: of the UMEM's frames, `missing` are neither on it nor anywhere else but with
    /// holders that will [give them back](Self::give_back). True if none is missing. Not to be called twice.
    pub fn close(&self, frames: u32, elsewhere: u32) -> bool {
        loop {
            let old = self.storage.load(Head::Returned, Order::ReadNote);
            let missing = frames.saturating_sub(elsewhere).saturating_sub(number(old));
            if self.storage.exchange(Head::Returned, old, CLOSED | head(missing, END), Order::PutFrames) {
                return self.is_last(missing);
            }
        }
    }

    /// Puts a magazine into the depot: the chain of frames from `from` on, which ends with [`END`].
    #[inline]
    pub fn put_magazine(&self, from: u32) {
        loop {
            let old = self.storage.load(Head::Depot, Order::ReadNote);
            self.storage.set_below(from, first(old));
            let new = head(number(old).wrapping_add(1), from);
            if self.storage.exchange(Head::Depot, old, new, Order::PutFrames) {
                return;
            }
        }
    }

    /// Takes a magazine from the depot: the first frame of a chain that ends with [`END`].
    #[inline]
    pub fn take_magazine(&self) -> Option<u32> {
        loop {
            let old = self.storage.load(Head::Depot, Order::TakeFrames);
            if first(old) == END {
                return None;
            }
            // Another thread may take this magazine and change its notes meanwhile. Then the number of changes is another,
            // and what was read here does not matter. It wraps after 2^32 changes, all during these few instructions.
            let new = head(number(old).wrapping_add(1), self.storage.below(first(old)));
            if self.storage.exchange(Head::Depot, old, new, Order::UnlinkFrames) {
                return Some(first(old));
            }
        }
    }
}

/// A word on a cache line (and its neighbour, which processors fetch along) of its own.
#[repr(align(128))]
#[derive(Debug)]
struct Apart<T>(T);

/// The lists' words and notes on the heap.
#[derive(Debug)]
pub struct Heap {
    returned: Apart<AtomicU64>,
    depot: Apart<AtomicU64>,
    notes: Box<[[AtomicU32; 2]]>,
}

impl Heap {
    /// Empty lists for the frames 0 to `frames`, exclusive.
    pub fn new(frames: u32) -> Self {
        let empty = || Apart(AtomicU64::new(Self::EMPTY));
        let notes = (0..frames).map(|_| [AtomicU32::new(END), AtomicU32::new(END)]).collect();
        Self { returned: empty(), depot: empty(), notes }
    }

    fn head(&self, head: Head) -> &AtomicU64 {
        match head {
            Head::Returned => &self.returned.0,
            Head::Depot => &self.depot.0,
        }
    }

    #[inline]
    fn read(&self, frame: u32, note: usize) -> u32 {
        self.notes[frame as usize][note].load(Order::ReadNote.ordering())
    }

    #[inline]
    fn write(&self, frame: u32, note: usize, value: u32) {
        self.notes[frame as usize][note].store(value, Order::WriteNote.ordering());
    }
}

impl Storage for Heap {
    #[inline]
    fn load(&self, head: Head, order: Order) -> u64 {
        self.head(head).load(order.ordering())
    }

    #[inline]
    fn exchange(&self, head: Head, from: u64, to: u64, order: Order) -> bool {
        self.head(head).compare_exchange(from, to, order.ordering(), Order::FAILED).is_ok()
    }

    #[inline]
    fn next(&self, frame: u32) -> u32 {
        self.read(frame, 0)
    }

    #[inline]
    fn set_next(&self, frame: u32, next: u32) {
        self.write(frame, 0, next);
    }

    #[inline]
    fn below(&self, frame: u32) -> u32 {
        self.read(frame, 1)
    }

    #[inline]
    fn set_below(&self, frame: u32, below: u32) {
        self.write(frame, 1, below);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn chain(lists: &FrameLists<Heap>, frames: &[u32]) -> u32 {
        for pair in frames.windows(2) {
            lists.storage().set_next(pair[0], pair[1]);
        }
        lists.storage().set_next(frames[frames.len() - 1], END);
        frames[0]
    }

    fn frames(lists: &FrameLists<Heap>, first: u32) -> Vec<u32> {
        let next = |frame: &u32| Some(lists.storage().next(*frame)).filter(|next| *next != END);
        core::iter::successors(Some(first), next).collect()
    }

    #[test]
    fn frames_come_back_as_they_went() {
        let lists = FrameLists::new(Heap::new(8));
        assert_eq!((lists.take_returned(), lists.take_magazine()), (None, None));
        lists.put_magazine(chain(&lists, &[0, 1, 2]));
        lists.put_magazine(chain(&lists, &[3]));
        assert!(!lists.give_back(4, 4, 1));
        chain(&lists, &[5, 6]);
        assert!(!lists.give_back(5, 6, 2));
        let (first, count) = lists.take_returned().unwrap();
        assert_eq!((frames(&lists, first), count), ([5, 6, 4].into(), 3));
        assert_eq!(lists.take_returned(), None);
        assert_eq!(lists.take_magazine(), Some(3));
        assert_eq!(lists.take_magazine().map(|first| frames(&lists, first)), Some([0, 1, 2].into()));
        assert_eq!(lists.take_magazine(), None);
    }

    #[test]
    fn the_last_missing_frame_is_told() {
        let lists = FrameLists::new(Heap::new(8));
        assert!(!lists.give_back(0, 0, 1));
        // Five elsewhere, one returned: two are missing.
        assert!(!lists.close(8, 5));
        assert!(!lists.give_back(1, 1, 1));
        assert!(lists.give_back(2, 2, 1));
        assert!(FrameLists::new(Heap::new(8)).close(8, 8));
    }
}
