//! The kernel half of the four rings (`net/xdp/xsk_queue.h`).
//!
//! It has index arithmetic of its own, and shares none with the user half, so that one mistake cannot be on both sides. It
//! has no locks, is generic over where a ring lives, and so runs under a model checker as well as in a kernel.
//!
//! Unlike the user half it trusts what it reads, as Linux does: indices that the user corrupted have the effects that they
//! have there.

use xsk_core::order::Order;
use xsk_core::ring::Storage;

/// The kernel as the producer of an RX or completion ring.
///
/// `reserved` is private: entries between the published producer index and it are written, or promised, and not yet seen.
#[derive(Debug)]
pub struct KernelProducer<S> {
    storage: S,
    entries: u32,
    reserved: u32,
    /// The user's index, as seen last.
    released: u32,
}

impl<S: Storage> KernelProducer<S> {
    /// The producing half of a ring, wherever its indices stand.
    ///
    /// # Safety
    /// There is no other producer on this ring while this one lives.
    pub unsafe fn new(storage: S) -> Self {
        let reserved = storage.load_producer(Order::ReadProducer);
        let released = storage.load_consumer(Order::ReadConsumer);
        Self { entries: storage.capacity(), storage, reserved, released }
    }

    /// Number of slots.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Where the ring lives.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Free slots, at most `want`. Looks at the user's index only if what it knows does not suffice.
    ///
    /// A user's index that is impossible makes the ring look free, as in Linux (`xskq_prod_nb_free`).
    pub fn free(&mut self, want: u32) -> u32 {
        let unused = |released: u32| self.entries.wrapping_sub(self.reserved.wrapping_sub(released));
        if unused(self.released) < want {
            self.released = self.storage.load_consumer(Order::ReadConsumer);
        }
        self.entries.wrapping_sub(self.reserved.wrapping_sub(self.released)).min(want)
    }

    /// Promises the next slot; false if there is none. What goes into it is written by [`submit`](Self::submit).
    pub fn reserve(&mut self) -> bool {
        if self.free(1) == 0 {
            return false;
        }
        self.reserved = self.reserved.wrapping_add(1);
        true
    }

    /// Takes back the last `count` promises.
    pub fn cancel(&mut self, count: u32) {
        self.reserved = self.reserved.wrapping_sub(count);
    }

    /// Writes the next slot without publishing it. The caller has seen that it is [`free`](Self::free).
    pub fn write(&mut self, entry: S::Slot) {
        self.put(self.reserved, entry);
        self.reserved = self.reserved.wrapping_add(1);
    }

    /// What the slot that is written next holds so far.
    pub fn next_slot(&self) -> Option<S::Slot> {
        peek_slot(&self.storage, self.reserved)
    }

    /// Writes the slot that was promised last, without publishing it.
    pub fn write_reserved(&mut self, entry: S::Slot) {
        self.put(self.reserved.wrapping_sub(1), entry);
    }

    /// Publishes all that was written.
    pub fn publish(&self) {
        self.storage.store_producer(self.reserved, Order::PublishProducer);
    }

    /// Writes entries behind those that are published, and publishes them.
    ///
    /// The published index is read back from memory, which the user may have written: Linux trusts it
    /// (`net/xdp/xsk.c:xsk_cq_submit_addr_locked`).
    pub fn submit(&mut self, entries: impl IntoIterator<Item = S::Slot>) {
        let mut at = self.storage.load_producer(Order::ReadProducer);
        for entry in entries {
            self.put(at, entry);
            at = at.wrapping_add(1);
        }
        self.storage.store_producer(at, Order::PublishProducer);
    }

    /// Publishes `count` entries that were written when they were promised.
    pub fn submit_written(&mut self, count: u32) {
        let published = self.storage.load_producer(Order::ReadProducer);
        self.storage.store_producer(published.wrapping_add(count), Order::PublishProducer);
    }

    /// The private index: behind all that is written or promised.
    pub fn end(&self) -> u32 {
        self.reserved
    }

    /// Shows the user an index, whatever is true.
    pub fn show(&self, index: u32) {
        self.storage.store_producer(index, Order::PublishProducer);
    }

    /// How many entries are promised or written, and not published.
    pub fn unpublished(&self) -> u32 {
        self.reserved.wrapping_sub(self.published())
    }

    /// The published producer index.
    pub fn published(&self) -> u32 {
        self.storage.load_producer(Order::ReadProducer)
    }

    /// Whether entries wait for the user, as poll sees it: by the shared indices.
    pub fn has_entries(&self) -> bool {
        self.published() != self.storage.load_consumer(Order::ReadConsumer)
    }

    fn put(&mut self, index: u32, entry: S::Slot) {
        // SAFETY: one slot, which the user gave back or never had. A user that moves its index over entries that it still
        // reads has broken the contract of its own half.
        unsafe { self.storage.write_run(index, &[entry], |entry| *entry) };
    }
}

/// The kernel as the consumer of a fill or TX ring.
///
/// `taken` is private: the shared consumer index follows it only when [`publish`](Self::publish) says so, or when the ring
/// looks empty.
#[derive(Debug)]
pub struct KernelConsumer<S> {
    storage: S,
    entries: u32,
    /// The user's index, as seen last.
    filled: u32,
    taken: u32,
}

impl<S: Storage> KernelConsumer<S> {
    /// The consuming half of a ring, wherever its indices stand.
    ///
    /// # Safety
    /// There is no other consumer on this ring while this one lives.
    pub unsafe fn new(storage: S) -> Self {
        let taken = storage.load_consumer(Order::ReadConsumer);
        Self { entries: storage.capacity(), storage, filled: taken, taken }
    }

    /// Number of slots.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Where the ring lives.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The next entry. Before it calls the ring empty it publishes its own index and looks at the user's.
    pub fn peek(&mut self) -> Option<S::Slot> {
        if self.is_drained() {
            self.publish();
            self.look();
        }
        if self.is_drained() { None } else { self.entry(self.taken) }
    }

    /// The entry that is next, be it filled or not.
    pub(crate) fn next_entry(&self) -> Option<S::Slot> {
        self.entry(self.taken)
    }

    /// Steps over the entry that [`peek`](Self::peek) showed.
    pub fn advance(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// Puts the last `count` entries back.
    pub fn unwind(&mut self, count: u32) {
        self.taken = self.taken.wrapping_sub(count);
    }

    /// Entries that wait, at most `want`. Looks at the user's index only if what it knows does not suffice; publishes
    /// nothing.
    pub fn available(&mut self, want: u32) -> u32 {
        if self.filled.wrapping_sub(self.taken) < want {
            self.look();
        }
        self.filled.wrapping_sub(self.taken).min(want)
    }

    /// Publishes the consumer index.
    pub fn publish(&self) {
        self.storage.store_consumer(self.taken, Order::PublishConsumer);
    }

    /// Shows the user an index, whatever is true.
    pub fn show(&self, index: u32) {
        self.storage.store_consumer(index, Order::PublishConsumer);
    }

    /// The private consumer index.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Whether at most half of the ring is in use, as poll sees it: by the shared indices (`net/xdp/xsk.c:xsk_tx_writeable`).
    pub fn is_half_empty(&self) -> bool {
        let producer = self.storage.load_producer(Order::ReadProducer);
        let consumer = self.storage.load_consumer(Order::ReadConsumer);
        producer.wrapping_sub(consumer) <= self.entries / 2
    }

    fn is_drained(&self) -> bool {
        self.filled == self.taken
    }

    fn look(&mut self) {
        self.filled = self.storage.load_producer(Order::ReadProducer);
    }

    fn entry(&self, index: u32) -> Option<S::Slot> {
        peek_slot(&self.storage, index)
    }
}

/// A slot of a ring, whoever owns it: for looking, while the user stands still. Always there.
pub(crate) fn peek_slot<S: Storage>(storage: &S, index: u32) -> Option<S::Slot> {
    let mut slot = [None];
    // SAFETY: one slot, which the user published. A user that publishes what it still writes has broken the contract of its
    // own half.
    unsafe { storage.read_run(index, &mut slot, |slot, entry| *slot = Some(entry)) };
    slot[0]
}

/// As [`peek_slot`], of the slots from `index` on, at most as many as there are.
pub(crate) fn peek_slots<S: Storage>(storage: &S, index: u32, count: u32) -> Vec<Option<S::Slot>> {
    let mut slots = vec![None; count.min(storage.capacity()) as usize];
    // SAFETY: no more slots than there are; the rest as in `peek_slot`.
    unsafe { storage.read_run(index, &mut slots, |slot, entry| *slot = Some(entry)) };
    slots
}
