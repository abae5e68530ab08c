use super::{BrokenIndex, Storage};
use crate::order::Order;

/// The user half of an RX or completion ring.
#[derive(Debug)]
pub struct Consumer<S> {
    storage: S,
    capacity: u32,
    /// The index we published last.
    own: u32,
    /// The producer index that we saw last: `limit - own` entries wait. Invariant: at most `capacity` ahead of `own`.
    limit: u32,
}

impl<S: Storage> Consumer<S> {
    /// Takes over the consuming side of a ring, wherever its consumer index stands.
    ///
    /// # Safety
    /// There is no other consumer on this ring while this one lives: slots are owned by the indices.
    pub unsafe fn new(storage: S) -> Self {
        let own = storage.load_consumer(Order::ReadConsumer);
        // `limit: own` counts as empty: the first use looks at the producer index and checks it.
        Self { capacity: storage.capacity(), storage, own, limit: own }
    }

    /// Number of slots.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Where the ring lives.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The index of the next entry to be taken.
    #[inline]
    pub fn index(&self) -> u32 {
        self.own
    }

    /// Entries that wait, from memory if that suffices for `want`, otherwise from a fresh look at the producer index.
    ///
    /// Not capped at `want`. More entries may have arrived since; fewer never.
    #[inline(always)]
    pub fn available(&mut self, want: u32) -> Result<u32, BrokenIndex> {
        let available = self.limit.wrapping_sub(self.own);
        if available >= want { Ok(available) } else { self.available_now() }
    }

    /// Entries that wait at this moment.
    #[inline(always)]
    pub fn available_now(&mut self) -> Result<u32, BrokenIndex> {
        let peer = self.storage.load_producer(Order::ReadProducer);
        let available = peer.wrapping_sub(self.own);
        if available > self.capacity {
            return Err(self.broken(peer));
        }
        self.limit = peer;
        Ok(available)
    }

    /// Takes as many entries as there are, up to `out.len()`, and gives their slots back at once.
    ///
    /// `take` stores an entry into an element, from the front; the other elements stay as they are. Returns how many.
    #[inline(always)]
    pub fn consume<D>(
        &mut self,
        out: &mut [D],
        take: impl FnMut(&mut D, S::Slot),
    ) -> Result<u32, BrokenIndex> {
        let want = u32::try_from(out.len()).unwrap_or(u32::MAX);
        let count = self.available(want)?.min(want);
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the peer published `count` entries from `own` on (its index was checked), so their slots are ours
        // until we publish, and there is no other consumer (contract of `new`). `count` is at most the capacity.
        unsafe { self.storage.read_run(self.own, &mut out[..count as usize], take) };
        self.give_back(count);
        Ok(count)
    }

    /// Gives the slots of the next `count` entries, which were taken, back to the peer.
    #[inline(always)]
    pub(super) fn give_back(&mut self, count: u32) {
        self.own = self.own.wrapping_add(count);
        self.storage.store_consumer(self.own, Order::PublishConsumer);
    }

    #[cold]
    fn broken(&self, peer: u32) -> BrokenIndex {
        BrokenIndex { own: self.own, peer, capacity: self.capacity }
    }
}
