use core::cell::Cell;

use super::{BrokenIndex, Storage};
use crate::abi::XDP_RING_NEED_WAKEUP;
use crate::order::Order;

/// How many times in a row [`Producer::needs_wakeup`] sees descriptors that do not move before it asks for a wakeup all
/// the same.
pub const REKICK_AFTER: u32 = 1024;

/// The user half of a fill or TX ring.
#[derive(Debug)]
pub struct Producer<S> {
    storage: S,
    capacity: u32,
    /// The index we published last.
    own: u32,
    /// The consumer index that we saw last, plus the capacity: `limit - own` slots are free.
    /// Invariant: at most `capacity` ahead of `own`.
    limit: u32,
    stall: Cell<Stall>,
}

/// What [`Producer::needs_wakeup`] remembers to notice that nothing moves.
#[derive(Debug, Clone, Copy)]
struct Stall {
    consumer: u32,
    polls: u32,
    bound: u32,
}

impl<S: Storage> Producer<S> {
    /// Takes over the producing side of a ring, wherever its producer index stands.
    ///
    /// # Safety
    /// There is no other producer on this ring while this one lives: slots are owned by the indices.
    pub unsafe fn new(storage: S) -> Self {
        let own = storage.load_producer(Order::ReadProducer);
        let stall = Cell::new(Stall { consumer: own, polls: 0, bound: REKICK_AFTER });
        // `limit: own` counts as full: the first use looks at the consumer index and checks it.
        Self { capacity: storage.capacity(), storage, own, limit: own, stall }
    }

    /// Number of slots.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Where the ring lives.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The index of the next entry to be put.
    #[inline]
    pub fn index(&self) -> u32 {
        self.own
    }

    /// Free slots, from memory if that suffices for `want`, otherwise from a fresh look at the consumer index.
    ///
    /// Not capped at `want`. More slots may have become free since; fewer never.
    #[inline(always)]
    pub fn free(&mut self, want: u32) -> Result<u32, BrokenIndex> {
        let free = self.limit.wrapping_sub(self.own);
        if free >= want { Ok(free) } else { self.free_now() }
    }

    /// Free slots at this moment.
    #[inline(always)]
    pub fn free_now(&mut self) -> Result<u32, BrokenIndex> {
        let peer = self.storage.load_consumer(Order::ReadConsumer);
        if self.own.wrapping_sub(peer) > self.capacity {
            return Err(self.broken(peer));
        }
        self.limit = peer.wrapping_add(self.capacity);
        Ok(self.limit.wrapping_sub(self.own))
    }

    /// Puts all of `items` into the ring and publishes them at once, or nothing if they do not all fit.
    ///
    /// Returns how many were put: `items.len()` or 0. `give` makes the entry of an item. An empty slice touches nothing.
    #[inline(always)]
    pub fn produce<D>(&mut self, items: &[D], give: impl FnMut(&D) -> S::Slot) -> Result<u32, BrokenIndex> {
        let Ok(count) = u32::try_from(items.len()) else { return Ok(0) };
        if count == 0 || self.free(count)? < count {
            return Ok(0);
        }
        // SAFETY: `count` slots from `own` on are free by the peer's checked index, so they are ours until we publish
        // them, and there is no other producer (contract of `new`). `free` is never more than the capacity.
        unsafe { self.storage.write_run(self.own, items, give) };
        self.publish(count);
        Ok(count)
    }

    /// Publishes the next `count` entries, which were written.
    #[inline(always)]
    pub(super) fn publish(&mut self, count: u32) {
        self.own = self.own.wrapping_add(count);
        self.storage.store_producer(self.own, Order::PublishProducer);
    }

    /// Puts as many of `items` into the ring as fit, from the front, and publishes them at once. Returns how many.
    #[inline(always)]
    pub fn produce_some<D>(
        &mut self,
        items: &[D],
        give: impl FnMut(&D) -> S::Slot,
    ) -> Result<u32, BrokenIndex> {
        let want = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let count = self.free(want)?.min(want);
        self.produce(&items[..count as usize], give)
    }

    /// Entries that the peer has not consumed, at this moment.
    pub fn outstanding(&self) -> Result<u32, BrokenIndex> {
        let peer = self.storage.load_consumer(Order::ReadConsumer);
        let outstanding = self.own.wrapping_sub(peer);
        if outstanding > self.capacity { Err(self.broken(peer)) } else { Ok(outstanding) }
    }

    /// Whether the peer has to be woken by a system call to look at this ring.
    ///
    /// True when the need-wakeup flag is set, as seen after everything that was published before this call (a full
    /// fence). The kernel's half of that handshake is not fenced in every driver, so a wakeup can still be missed:
    /// true as well when [`REKICK_AFTER`] calls in a row found entries in the ring and the peer not moving.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.wakeup_fence();
        self.needs_wakeup_fenced()
    }

    /// The fence of [`needs_wakeup`](Self::needs_wakeup) alone. One is enough for all rings that were published before it.
    #[inline]
    pub fn wakeup_fence(&self) {
        self.storage.fence(Order::WakeupFence);
    }

    /// As [`needs_wakeup`](Self::needs_wakeup), if there was a [`wakeup_fence`](Self::wakeup_fence) of this ring or of another
    /// one since this one was published; the caller sees to that.
    #[inline]
    pub fn needs_wakeup_fenced(&self) -> bool {
        self.asks_for_wakeup() || self.is_stalled()
    }

    /// Whether the need-wakeup flag is set, and nothing else: for a ring that is looked at again, with
    /// [`needs_wakeup`](Self::needs_wakeup), before anybody waits for its peer.
    #[inline]
    pub fn asks_for_wakeup(&self) -> bool {
        self.storage.load_flags(Order::ReadFlags) & XDP_RING_NEED_WAKEUP != 0
    }

    /// Sets how many calls of [`needs_wakeup`](Self::needs_wakeup) may find the peer not moving before it says true.
    /// 0 counts as 1. An empty ring never counts.
    pub fn set_rekick_after(&mut self, polls: u32) {
        self.stall.get_mut().bound = polls;
    }

    fn is_stalled(&self) -> bool {
        let consumer = self.storage.load_consumer(Order::ReadConsumer);
        let mut stall = self.stall.get();
        let moved = consumer == self.own || consumer != stall.consumer;
        stall.polls = if moved { 0 } else { stall.polls.saturating_add(1) };
        stall.consumer = consumer;
        let stalled = !moved && stall.polls >= stall.bound;
        if stalled {
            stall.polls = 0;
        }
        self.stall.set(stall);
        stalled
    }

    #[cold]
    fn broken(&self, peer: u32) -> BrokenIndex {
        BrokenIndex { own: self.own, peer, capacity: self.capacity }
    }
}
