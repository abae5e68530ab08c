//! Entries in place: read from their slots and written there, without arrays between.

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::{BrokenIndex, Consumer, Producer, Storage};

/// Slots of a ring that are one after the other in memory.
struct Run<C> {
    next: NonNull<C>,
    /// Behind the last one.
    end: NonNull<C>,
    count: u32,
    /// There are more, from the start of the ring on.
    is_cut: bool,
}

impl<C> Run<C> {
    /// The slots from `index` on, `count` at most, which must be no more than the ring has, up to the end of the ring.
    #[inline(always)]
    fn new(ring: &impl Storage<Cell = C>, index: u32, count: u32) -> Self {
        let (next, until_end) = ring.cell(index);
        let straight = (until_end as u32).min(count);
        // SAFETY: no more than the cells from `next` to the end of the ring.
        let end = unsafe { next.add(straight as usize) };
        Self { next, end, count: straight, is_cut: straight < count }
    }

    /// Slots that are left.
    #[inline(always)]
    fn left(&self) -> u32 {
        // SAFETY: both are in the cells of one ring, or just behind, and `next` never passes `end`.
        unsafe { self.end.offset_from_unsigned(self.next) as u32 }
    }

    #[inline(always)]
    fn done(&self) -> u32 {
        self.count - self.left()
    }

    #[inline(always)]
    fn peek(&self) -> Option<NonNull<C>> {
        (self.next != self.end).then_some(self.next)
    }

    #[inline(always)]
    fn next(&mut self) -> Option<NonNull<C>> {
        let cell = self.peek()?;
        // SAFETY: it is before the end.
        self.next = unsafe { cell.add(1) };
        Some(cell)
    }
}

/// Entries that wait on a ring, taken one by one: see [`Consumer::entries`].
///
/// When this is dropped, those that were taken are given back to the peer, all at once. The others stay on the ring.
pub struct Entries<'a, S: Storage> {
    consumer: &'a mut Consumer<S>,
    run: Run<S::Cell>,
}

impl<S: Storage> Consumer<S> {
    /// The entries that wait, `want` at most, to be taken from their slots; none behind the end of the ring, after which one
    /// calls again ([`Entries::is_cut`]). As with [`consume`](Self::consume), the producer index is looked at only if fewer than
    /// `want` are known of.
    #[inline(always)]
    pub fn entries(&mut self, want: u32) -> Result<Entries<'_, S>, BrokenIndex> {
        let count = self.available(want)?.min(want);
        let run = Run::new(self.storage(), self.index(), count);
        Ok(Entries { consumer: self, run })
    }
}

impl<S: Storage> Entries<'_, S> {
    /// How many were taken.
    #[inline(always)]
    pub fn taken(&self) -> u32 {
        self.run.done()
    }

    /// The next one, which stays.
    #[inline(always)]
    pub fn peek(&self) -> Option<S::Slot> {
        // SAFETY: the peer published the entry (the count was checked against its index), and it is not given back yet.
        self.run.peek().map(|cell| unsafe { S::read(cell) })
    }

    /// Whether all were taken up to the end of the ring, behind which more wait of those that were wanted.
    #[inline(always)]
    pub fn is_cut(&self) -> bool {
        self.run.is_cut & (self.run.next == self.run.end)
    }

    /// Moves entries into slots of another ring, as long as there are both and `pass` makes an entry of the one out of that of
    /// the other. Where it does not, the entry stays the next one.
    ///
    /// Should `pass` panic, nothing was moved.
    #[inline(always)]
    pub fn move_to<To: Storage<Slot = S::Slot>>(
        &mut self,
        to: &mut Slots<'_, To>,
        mut pass: impl FnMut(S::Slot) -> Option<S::Slot>,
    ) {
        let (first, slots) = (self.run.next, to.run.next);
        let count = self.run.left().min(to.run.left()) as usize;
        let mut moved = 0;
        while moved < count {
            // SAFETY: as in `peek`: no more than are left.
            let entry = unsafe { S::read(first.add(moved)) };
            let Some(entry) = pass(entry) else { break };
            // SAFETY: as in `put`: no more than are left.
            unsafe { To::write(slots.add(moved), entry) };
            moved += 1;
        }
        // SAFETY: no more than were left.
        self.run.next = unsafe { first.add(moved) };
        // SAFETY: as above.
        to.run.next = unsafe { slots.add(moved) };
    }

    /// Takes entries into the elements of `out`, from its front, as long as `pass` makes an element out of one. Where it does not,
    /// the entry stays the next one. Returns how many it took: so many elements are written.
    #[inline(always)]
    pub fn take_into<D>(
        &mut self,
        out: &mut [MaybeUninit<D>],
        mut pass: impl FnMut(S::Slot) -> Option<D>,
    ) -> usize {
        let first = self.run.next;
        let count = (self.run.left() as usize).min(out.len());
        let mut taken = 0;
        while taken < count {
            // SAFETY: as in `peek`: no more than are left.
            let entry = unsafe { S::read(first.add(taken)) };
            let Some(element) = pass(entry) else { break };
            out[taken].write(element);
            taken += 1;
        }
        // SAFETY: no more than were left.
        self.run.next = unsafe { first.add(taken) };
        taken
    }

    /// The index of the next one.
    #[inline(always)]
    pub fn index(&self) -> u32 {
        self.consumer.index().wrapping_add(self.taken())
    }
}

impl<S: Storage> Iterator for Entries<'_, S> {
    type Item = S::Slot;

    #[inline(always)]
    fn next(&mut self) -> Option<S::Slot> {
        // SAFETY: as in `peek`.
        self.run.next().map(|cell| unsafe { S::read(cell) })
    }

    #[inline(always)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.run.left() as usize;
        (left, Some(left))
    }
}

impl<S: Storage> ExactSizeIterator for Entries<'_, S> {}

impl<S: Storage> Drop for Entries<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        let taken = self.taken();
        if taken > 0 {
            self.consumer.give_back(taken);
        }
    }
}

impl<S: Storage> fmt::Debug for Entries<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("taken", &self.taken()).field("left", &self.run.left()).finish()
    }
}

/// Free slots of a ring, filled one by one: see [`Producer::slots`].
///
/// When this is dropped, the entries that were put are published, all at once.
pub struct Slots<'a, S: Storage> {
    producer: &'a mut Producer<S>,
    run: Run<S::Cell>,
}

impl<S: Storage> Producer<S> {
    /// Free slots, `want` at most and all but the last `spare` of them; none behind the end of the ring, after which one calls
    /// again ([`Slots::is_cut`]). As with [`produce`](Self::produce), the consumer index is looked at only if fewer are known of.
    #[inline(always)]
    pub fn slots(&mut self, want: u32, spare: u32) -> Result<Slots<'_, S>, BrokenIndex> {
        let count = self.free(want.saturating_add(spare))?.saturating_sub(spare).min(want);
        let run = Run::new(self.storage(), self.index(), count);
        Ok(Slots { producer: self, run })
    }
}

impl<S: Storage> Slots<'_, S> {
    /// Puts an entry into the next slot. False if there is none.
    #[inline(always)]
    pub fn put(&mut self, entry: S::Slot) -> bool {
        let Some(cell) = self.run.next() else { return false };
        // SAFETY: the slot is free (the count was checked against the peer's index), and not published yet.
        unsafe { S::write(cell, entry) };
        true
    }

    /// How many entries were put.
    #[inline(always)]
    pub fn written(&self) -> u32 {
        self.run.done()
    }

    /// Whether more of those that were wanted are free, behind the end of the ring.
    #[inline(always)]
    pub fn is_cut(&self) -> bool {
        self.run.is_cut
    }

    /// How many more can be put.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.run.left()
    }
}

impl<S: Storage> Drop for Slots<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        let written = self.written();
        if written > 0 {
            self.producer.publish(written);
        }
    }
}

impl<S: Storage> fmt::Debug for Slots<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("written", &self.written()).field("room", &self.room()).finish()
    }
}
