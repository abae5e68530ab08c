//! Entries in place: read from their slots and written there, without arrays between.

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::{BrokenIndex, Consumer, Mapped, Producer};

/// Slots of a ring that are one after the other in memory.
struct Run<T> {
    next: NonNull<T>,
    /// Behind the last one.
    end: NonNull<T>,
    count: u32,
    /// There are more, from the start of the ring on.
    is_cut: bool,
}

impl<T: Copy> Run<T> {
    /// The slots from `index` on, `count` at most, which must be no more than the ring has, up to the end of the ring.
    #[inline(always)]
    fn new<K>(ring: &Mapped<T, K>, index: u32, count: u32) -> Self {
        let (next, until_end) = ring.slot(index);
        let straight = (until_end as u32).min(count);
        // SAFETY: no more than the slots from `next` to the end of the ring.
        let end = unsafe { next.add(straight as usize) };
        Self { next, end, count: straight, is_cut: straight < count }
    }

    /// Slots that are left.
    #[inline(always)]
    fn left(&self) -> u32 {
        // SAFETY: both are in the slots of one ring, or just behind, and `next` never passes `end`.
        unsafe { self.end.offset_from_unsigned(self.next) as u32 }
    }

    #[inline(always)]
    fn done(&self) -> u32 {
        self.count - self.left()
    }

    #[inline(always)]
    fn peek(&self) -> Option<NonNull<T>> {
        (self.next != self.end).then_some(self.next)
    }

    #[inline(always)]
    fn next(&mut self) -> Option<NonNull<T>> {
        let slot = self.peek()?;
        // SAFETY: it is before the end.
        self.next = unsafe { slot.add(1) };
        Some(slot)
    }
}

/// Entries that wait on a ring, taken one by one: see [`Consumer::entries`].
///
/// When this is dropped, those that were taken are given back to the peer, all at once. The others stay on the ring.
pub struct Entries<'a, T: Copy, K> {
    consumer: &'a mut Consumer<Mapped<T, K>>,
    run: Run<T>,
}

impl<T: Copy, K> Consumer<Mapped<T, K>> {
    /// The entries that wait, `want` at most, to be taken from their slots; none behind the end of the ring, after which one
    /// calls again ([`Entries::is_cut`]). As with [`consume`](Self::consume), the producer index is looked at only if fewer than
    /// `want` are known of.
    #[inline(always)]
    pub fn entries(&mut self, want: u32) -> Result<Entries<'_, T, K>, BrokenIndex> {
        let count = self.available(want)?.min(want);
        let run = Run::new(self.storage(), self.index(), count);
        Ok(Entries { consumer: self, run })
    }
}

impl<T: Copy, K> Entries<'_, T, K> {
    /// How many were taken.
    #[inline(always)]
    pub fn taken(&self) -> u32 {
        self.run.done()
    }

    /// The next one, which stays.
    #[inline(always)]
    pub fn peek(&self) -> Option<T> {
        // SAFETY: the peer published the entry (the count was checked against its index), and it is not given back yet.
        self.run.peek().map(|slot| unsafe { slot.read() })
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
    pub fn move_to<L>(&mut self, to: &mut Slots<'_, T, L>, mut pass: impl FnMut(T) -> Option<T>) {
        let (first, slots) = (self.run.next, to.run.next);
        let count = self.run.left().min(to.run.left()) as usize;
        let mut moved = 0;
        while moved < count {
            // SAFETY: as in `peek`: no more than are left.
            let entry = unsafe { first.add(moved).read() };
            let Some(entry) = pass(entry) else { break };
            // SAFETY: as in `put`: no more than are left.
            unsafe { slots.add(moved).write(entry) };
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
        mut pass: impl FnMut(T) -> Option<D>,
    ) -> usize {
        let first = self.run.next;
        let count = (self.run.left() as usize).min(out.len());
        let mut taken = 0;
        while taken < count {
            // SAFETY: as in `peek`: no more than are left.
            let entry = unsafe { first.add(taken).read() };
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

impl<T: Copy, K> Iterator for Entries<'_, T, K> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        // SAFETY: as in `peek`.
        self.run.next().map(|slot| unsafe { slot.read() })
    }

    #[inline(always)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.run.left() as usize;
        (left, Some(left))
    }
}

impl<T: Copy, K> ExactSizeIterator for Entries<'_, T, K> {}

impl<T: Copy, K> Drop for Entries<'_, T, K> {
    #[inline(always)]
    fn drop(&mut self) {
        let taken = self.taken();
        if taken > 0 {
            self.consumer.give_back(taken);
        }
    }
}

impl<T: Copy, K> fmt::Debug for Entries<'_, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("taken", &self.taken()).field("left", &self.run.left()).finish()
    }
}

/// Free slots of a ring, filled one by one: see [`Producer::slots`].
///
/// When this is dropped, the entries that were put are published, all at once.
pub struct Slots<'a, T: Copy, K> {
    producer: &'a mut Producer<Mapped<T, K>>,
    run: Run<T>,
}

impl<T: Copy, K> Producer<Mapped<T, K>> {
    /// Free slots, `want` at most and all but the last `spare` of them; none behind the end of the ring, after which one calls
    /// again ([`Slots::is_cut`]). As with [`produce`](Self::produce), the consumer index is looked at only if fewer are known of.
    #[inline(always)]
    pub fn slots(&mut self, want: u32, spare: u32) -> Result<Slots<'_, T, K>, BrokenIndex> {
        let count = self.free(want.saturating_add(spare))?.saturating_sub(spare).min(want);
        let run = Run::new(self.storage(), self.index(), count);
        Ok(Slots { producer: self, run })
    }
}

impl<T: Copy, K> Slots<'_, T, K> {
    /// Puts an entry into the next slot. False if there is none.
    #[inline(always)]
    pub fn put(&mut self, entry: T) -> bool {
        let Some(slot) = self.run.next() else { return false };
        // SAFETY: the slot is free (the count was checked against the peer's index), and not published yet.
        unsafe { slot.write(entry) };
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

impl<T: Copy, K> Drop for Slots<'_, T, K> {
    #[inline(always)]
    fn drop(&mut self) {
        let written = self.written();
        if written > 0 {
            self.producer.publish(written);
        }
    }
}

impl<T: Copy, K> fmt::Debug for Slots<'_, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("written", &self.written()).field("room", &self.room()).finish()
    }
}
