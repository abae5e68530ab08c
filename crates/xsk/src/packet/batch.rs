use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::{slice, vec};

use xsk_core::frame_lists::Storage;

use super::Packet;
use crate::pool::free;

/// Packets in order, up to a number that is fixed when it is made: what ports receive into and send from.
///
/// It derefs to a slice of packets. Making one allocates; filling and emptying it does not. Dropping or
/// [clearing](Self::clear) it gives all packets back at once.
pub struct Batch {
    packets: Vec<Packet>,
    capacity: usize,
}

impl Batch {
    /// A batch of up to 64 packets: as many as a driver handles at once.
    pub fn new() -> Self {
        Self::with_capacity(64)
    }

    /// A batch of up to `capacity` packets.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { packets: Vec::with_capacity(capacity), capacity }
    }

    /// How many packets it holds at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many more packets it takes.
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity - self.packets.len()
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// The batch is full: here is the packet again.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.room() == 0 {
            return Err(packet);
        }
        self.packets.push(packet);
        Ok(())
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Packet> {
        self.packets.pop()
    }

    /// Takes the packet at `index`; those behind it move up. `None` if there is none.
    pub fn remove(&mut self, index: usize) -> Option<Packet> {
        (index < self.packets.len()).then(|| self.packets.remove(index))
    }

    /// Keeps the packets for which `keep` is true, in order. The others go back to their pools.
    pub fn retain(&mut self, keep: impl FnMut(&mut Packet) -> bool) {
        self.packets.retain_mut(keep);
    }

    /// Takes all packets, from the first on.
    pub fn drain(&mut self) -> Drain<'_> {
        Drain { packets: self.packets.drain(..) }
    }

    /// Moves packets of `from` to the end, from its first on, as many as there is room for. Returns how many.
    pub fn append(&mut self, from: &mut Self) -> usize {
        let count = self.room().min(from.packets.len());
        self.packets.extend(from.packets.drain(..count));
        count
    }

    /// Gives all packets back to their pools, with one atomic compare-and-exchange for each run of packets of one pool.
    pub fn clear(&mut self) {
        let mut rest = self.packets.drain(..).peekable();
        while let Some(packet) = rest.next() {
            let packet = ManuallyDrop::new(packet);
            let (first, memory) = (packet.frame(), packet.memory);
            let (mut last, mut count) = packet.ends();
            while let Some(packet) = rest.next_if(|packet| packet.is_of(memory)) {
                let packet = ManuallyDrop::new(packet);
                packet.memory().lists().storage().set_next(last, packet.frame());
                let (end, more) = packet.ends();
                (last, count) = (end, count + more);
            }
            if packet.memory().lists().give_back(first, last, count) {
                // SAFETY: the pool is closed, and these were the last frames that were missing: no other packet is left,
                // and those of this run are used no more.
                unsafe { free(memory) }
            }
        }
    }

    /// The first `count` packets are the caller's now.
    #[inline]
    pub(crate) fn forget_front(&mut self, count: usize) {
        if count == self.packets.len() {
            // SAFETY: 0 is within the capacity. The packets are the caller's, who has taken their frames.
            unsafe { self.packets.set_len(0) }
        } else {
            self.packets.drain(..count).for_each(Packet::into_frames);
        }
    }

    /// Room for packets to be written in place; what was put is in the batch once the filler is dropped.
    #[inline(always)]
    pub(crate) fn filler(&mut self) -> Filler<'_> {
        let room = self.room();
        let before = self.packets.len();
        let packets = &mut self.packets;
        Filler { packets, before, room, count: 0 }
    }

    /// Adds a packet. The caller has looked that there is room.
    #[inline(always)]
    pub(crate) fn put(&mut self, packet: Packet) {
        debug_assert!(self.room() > 0);
        self.packets.push(packet);
    }
}

/// Adds packets to a batch without looking at the vector for each.
pub(crate) struct Filler<'a> {
    packets: &'a mut Vec<Packet>,
    before: usize,
    room: usize,
    count: usize,
}

impl Filler<'_> {
    /// Adds a packet. If there is no room, which the caller has looked for, it goes back to its pool.
    #[inline(always)]
    pub(crate) fn put(&mut self, packet: Packet) {
        if let Some(place) = self.packets.spare_capacity_mut().get_mut(self.count) {
            place.write(packet);
            self.count += 1;
        }
    }

    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        self.room - self.count
    }

    /// The room: to be written from the front, and then [counted](Self::add).
    #[inline(always)]
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<Packet>] {
        let (count, room) = (self.count, self.room());
        // The vector's length is still what it was before.
        &mut self.packets.spare_capacity_mut()[count..][..room]
    }

    /// Counts packets that were written.
    ///
    /// # Safety
    /// So many were, at the front of [`spare`](Self::spare).
    #[inline(always)]
    pub(crate) unsafe fn add(&mut self, count: usize) {
        self.count += count;
    }

    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Filler<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: within the capacity, and `put` and the callers of `add` have written them.
        unsafe { self.packets.set_len(self.before + self.count) }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Deref for Batch {
    type Target = [Packet];

    fn deref(&self) -> &[Packet] {
        &self.packets
    }
}

impl DerefMut for Batch {
    fn deref_mut(&mut self) -> &mut [Packet] {
        &mut self.packets
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Packet;
    type IntoIter = slice::Iter<'a, Packet>;

    fn into_iter(self) -> Self::IntoIter {
        self.packets.iter()
    }
}

impl<'a> IntoIterator for &'a mut Batch {
    type Item = &'a mut Packet;
    type IntoIter = slice::IterMut<'a, Packet>;

    fn into_iter(self) -> Self::IntoIter {
        self.packets.iter_mut()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.packets).finish()
    }
}

/// The packets of a batch on their way out: see [`Batch::drain`]. Those that are not taken go back to their pools.
#[derive(Debug)]
pub struct Drain<'a> {
    packets: vec::Drain<'a, Packet>,
}

impl Iterator for Drain<'_> {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        self.packets.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.packets.size_hint()
    }
}

impl DoubleEndedIterator for Drain<'_> {
    fn next_back(&mut self) -> Option<Packet> {
        self.packets.next_back()
    }
}

impl ExactSizeIterator for Drain<'_> {}
