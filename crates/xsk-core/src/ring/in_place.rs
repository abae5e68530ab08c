//! Entries in place: read from their slots and written there, without arrays between.

use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

use super::{BrokenIndex, Consumer, Producer, Storage};

/// Entries that are moved without a look at how many are left.
const UNROLL: usize = 4;

/// Slots of a ring that are one after the other in memory.
struct Run<C> {
    first: NonNull<C>,
    /// Those that are done with.
    done: u32,
    count: u32,
    /// With those that are from the start of the ring on.
    wanted: u32,
}

/// A run that is cut by the end of the ring is rare: once a lap.
#[cold]
#[inline(never)]
fn cut(until_end: usize) -> u32 {
    until_end as u32
}

impl<C> Run<C> {
    /// The slots from `index` on, `wanted` at most, which must be no more than the ring has, up to the end of the ring.
    #[inline(always)]
    fn new(ring: &impl Storage<Cell = C>, index: u32, wanted: u32) -> Self {
        let (first, until_end) = ring.cell(index);
        let count = if wanted as usize <= until_end { wanted } else { cut(until_end) };
        Self { first, done: 0, count, wanted }
    }

    /// Slots that are left.
    #[inline(always)]
    fn left(&self) -> u32 {
        self.count - self.done
    }

    /// The next slot, or what is behind the last one.
    #[inline(always)]
    fn at(&self) -> NonNull<C> {
        // SAFETY: no more than `count` are done with, and so many are one after the other.
        unsafe { self.first.add(self.done as usize) }
    }

    #[inline(always)]
    fn peek(&self) -> Option<NonNull<C>> {
        (self.done < self.count).then(|| self.at())
    }

    #[inline(always)]
    fn next(&mut self) -> Option<NonNull<C>> {
        let cell = self.peek()?;
        self.done += 1;
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
        Ok(self.run(count))
    }

    /// All entries that wait at this moment.
    #[inline(always)]
    pub fn entries_now(&mut self) -> Result<Entries<'_, S>, BrokenIndex> {
        let count = self.available_now()?;
        Ok(self.run(count))
    }

    /// The next `count` entries, which wait.
    #[inline(always)]
    fn run(&mut self, count: u32) -> Entries<'_, S> {
        let run = Run::new(self.storage(), self.index(), count);
        Entries { consumer: self, run }
    }
}

impl<S: Storage> Entries<'_, S> {
    /// How many there were at the beginning, with those behind the end of the ring.
    #[inline(always)]
    pub fn wanted(&self) -> u32 {
        self.run.wanted
    }

    /// How many were taken.
    #[inline(always)]
    pub fn taken(&self) -> u32 {
        self.run.done
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
        (self.run.count < self.run.wanted) & (self.run.done == self.run.count)
    }

    /// Moves entries into slots of another ring, as long as there are both and they pass. One that does not stays the next one.
    ///
    /// `passes` sees an entry once it is copied. Should it panic, nothing was moved.
    #[inline(always)]
    pub fn move_to<To: Storage<Slot = S::Slot>>(
        &mut self,
        to: &mut Slots<'_, To>,
        mut passes: impl FnMut(S::Slot) -> bool,
    ) {
        let count = self.run.left().min(to.run.left());
        let (first, slots) = (self.run.at(), to.run.at());
        let mut step = |at: usize| {
            // SAFETY: as in `peek`: no more than are left.
            let entry = unsafe { S::read(first.add(at)) };
            // SAFETY: as in `put`: no more than are left. Until it is published nobody sees what is written.
            unsafe { To::write(slots.add(at), entry) };
            passes(entry)
        };
        let count = count as usize;
        let moved = 'moved: {
            let whole = count - count % UNROLL;
            let mut moved = 0;
            while moved != whole {
                for i in 0..UNROLL {
                    if !step(moved + i) {
                        break 'moved moved + i;
                    }
                }
                moved += UNROLL;
            }
            while moved < count && step(moved) {
                moved += 1;
            }
            moved
        };
        self.run.done += moved as u32;
        to.run.done += moved as u32;
    }

    /// Shows entries, and moves them into slots of another ring as `each` says, as long as there are both.
    ///
    /// True if `each` ended it.
    ///
    /// Should `each` panic, the entry that it saw was taken, and not put; those before are where they were to be.
    #[inline(always)]
    pub fn pass_to<To: Storage<Slot = S::Slot>>(
        &mut self,
        to: &mut Slots<'_, To>,
        mut each: impl FnMut(S::Slot) -> Pass<S::Slot>,
    ) -> bool {
        let count = self.run.left().min(to.run.left());
        // One index for both, up to 0.
        // SAFETY: no more than are left, of either.
        let (end, slots) = unsafe { (self.run.at().add(count as usize), to.run.at().add(count as usize)) };
        let mut passing =
            Passing { from: &mut self.run, to: &mut to.run, count, next: -(count as isize), out: 0 };
        while passing.next != 0 {
            // SAFETY: as in `peek`: it is before the end.
            let entry = unsafe { S::read(end.offset(passing.next)) };
            // SAFETY: as in `put`: those that were put so far are `out` less than those that were taken.
            let slot = unsafe { slots.offset(passing.next - passing.out) };
            // SAFETY: as above. Until it is published nobody sees what is written.
            unsafe { To::write(slot, entry) };
            match each(entry) {
                Pass::On => {}
                // SAFETY: as above.
                Pass::OnAs(entry) => unsafe { To::write(slot, entry) },
                Pass::Out => passing.out += 1,
                Pass::End => {
                    passing.end();
                    return true;
                }
            }
            passing.next += 1;
        }
        passing.end();
        false
    }

    /// Takes entries into the elements of `out`, from its front, as long as `pass` makes an element out of one. Where it does not,
    /// the entry stays the next one. Returns how many it took: so many elements are written.
    #[inline(always)]
    pub fn take_into<D>(
        &mut self,
        out: &mut [MaybeUninit<D>],
        mut pass: impl FnMut(S::Slot) -> Option<D>,
    ) -> usize {
        let first = self.run.at();
        let count = (self.run.left() as usize).min(out.len());
        let mut taken = 0;
        while taken < count {
            // SAFETY: as in `peek`: no more than are left.
            let entry = unsafe { S::read(first.add(taken)) };
            let Some(element) = pass(entry) else { break };
            out[taken].write(element);
            taken += 1;
        }
        self.run.done += taken as u32;
        taken
    }

    /// The index of the next one.
    #[inline(always)]
    pub fn index(&self) -> u32 {
        self.consumer.index().wrapping_add(self.taken())
    }
}

/// What becomes of an entry that [`Entries::pass_to`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass<T> {
    /// It is put as it is.
    On,
    /// This is put in its place.
    OnAs(T),
    /// It is taken, and not put.
    Out,
    /// It stays the next one, and no more are shown.
    End,
}

/// Entries that are on their way, also if somebody panics.
struct Passing<'a, C, D> {
    from: &'a mut Run<C>,
    to: &'a mut Run<D>,
    count: u32,
    /// The next one, counted from the end.
    next: isize,
    /// Those that were not put.
    out: isize,
}

impl<C, D> Passing<'_, C, D> {
    #[inline(always)]
    fn note(&mut self) {
        let taken = self.count.wrapping_add_signed(self.next as i32);
        self.from.done += taken;
        self.to.done += taken - self.out as u32;
    }

    #[inline(always)]
    fn end(self) {
        ManuallyDrop::new(self).note();
    }
}

impl<C, D> Drop for Passing<'_, C, D> {
    /// Somebody panics.
    #[inline]
    fn drop(&mut self) {
        self.next += 1;
        self.out += 1;
        self.note();
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
        Ok(self.run(count))
    }

    /// All slots that are free at this moment but the last `spare` of them.
    #[inline(always)]
    pub fn slots_now(&mut self, spare: u32) -> Result<Slots<'_, S>, BrokenIndex> {
        let count = self.free_now()?.saturating_sub(spare);
        Ok(self.run(count))
    }

    /// The next `count` slots, which are free.
    #[inline(always)]
    fn run(&mut self, count: u32) -> Slots<'_, S> {
        let run = Run::new(self.storage(), self.index(), count);
        Slots { producer: self, run }
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

    /// How many there were at the beginning, with those behind the end of the ring.
    #[inline(always)]
    pub fn wanted(&self) -> u32 {
        self.run.wanted
    }

    /// How many entries were put.
    #[inline(always)]
    pub fn written(&self) -> u32 {
        self.run.done
    }

    /// Whether more of those that were wanted are free, behind the end of the ring.
    #[inline(always)]
    pub fn is_cut(&self) -> bool {
        self.run.count < self.run.wanted
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
