//! Packets, which own their frames.

mod batch;
mod metadata;
mod segments;

use std::borrow::{Borrow, BorrowMut};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, size_of};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use thiserror::Error as ThisError;
use xsk_core::frame_lists::{END, Storage};

pub use batch::{Batch, Drain};
pub(crate) use metadata::{METADATA, RESERVED, Stamp, completed};
pub use metadata::{RequestError, Requests};
pub use segments::Segments;

use crate::pool::{ADDRESSES, Memory, free};

/// A packet: bytes in a frame of a [`Pool`](crate::Pool), or in several.
///
/// It owns its frames: dropping it gives them back to the pool (one atomic compare-and-exchange; a [`Batch`], the in-place
/// forms of a port and [`Port::recycle`](crate::Port::recycle) do without). It can be used as long as it lives, whatever became of its pool and port. One that is
/// forgotten ([`std::mem::forget`]) costs its pool a frame, and nothing else.
///
/// It derefs to the bytes of its first segment. Only packets received with
/// [`PortConfig::multi_buffer`](crate::PortConfig::multi_buffer) have more than one: see [`segments`](Self::segments).
///
/// There is room before the data ([`headroom`](Self::headroom)) and behind it ([`tailroom`](Self::tailroom)), which
/// [`push_front`](Self::push_front), [`extend_from_slice`](Self::extend_from_slice) and their like take and give back without
/// moving the data. What is in that room is whatever was in the frame before.
pub struct Packet {
    memory: NonNull<Memory>,
    /// From the low bits up: the address of the data in the pool (47 bits), whether there are more segments (1), and the length
    /// (16). As descriptors have it, and one word, so that a burst goes through registers.
    place: u64,
    _not_sync: PhantomData<*mut u8>,
}

// 16 bytes, where pointers have 8.
const _: () = assert!(
    size_of::<Packet>() == size_of::<usize>() + 8 && size_of::<Option<Packet>>() == size_of::<Packet>()
);

/// Of a packet's place: it has notes, of further segments or of what it asks for.
///
/// They are the notes of the free lists, which a frame in use has no other need for: `next` is the frame of the next segment,
/// `below` of a further segment its offset (upper half) and length, and of the first one what is to be known of the packet.
const MORE: u64 = ADDRESSES;
/// Of a packet's place.
const LEN_SHIFT: u32 = 48;

/// There is not that much room in the packet's frame, or not that much data in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[error("{wanted} bytes wanted, {available} are there")]
pub struct OutOfRoom {
    /// Bytes that were asked for.
    pub wanted: usize,
    /// Bytes that there are.
    pub available: usize,
}

impl OutOfRoom {
    fn check(wanted: usize, available: usize) -> Result<(), Self> {
        if wanted <= available { Ok(()) } else { Err(Self { wanted, available }) }
    }
}

impl Packet {
    /// A packet of one segment.
    ///
    /// # Safety
    /// `memory` came from a pool's handle that lives. The frame of `address` is one of its frames and the caller's: in no list,
    /// no ring and no other packet. `len` bytes from the address on are within it.
    #[inline(always)]
    pub(crate) unsafe fn new(memory: NonNull<Memory>, address: u64, len: u16) -> Self {
        Self { memory, place: address | u64::from(len) << LEN_SHIFT, _not_sync: PhantomData }
    }

    #[inline]
    fn memory(&self) -> &Memory {
        // SAFETY: it lives until the last of its packets is dropped, and this one is not.
        unsafe { self.memory.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn is_of(&self, memory: NonNull<Memory>) -> bool {
        self.memory == memory
    }

    /// Where its data is: to be compared.
    #[inline(always)]
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// Whether it is the packet that was at this place of this memory, unchanged.
    #[inline(always)]
    pub(crate) fn is_at(&self, memory: NonNull<Memory>, place: u64) -> bool {
        self.is_of(memory) & (self.place == place)
    }

    /// Whether a port of the pool with this memory can send it as one descriptor.
    #[inline(always)]
    pub(crate) fn is_plain(&self, memory: NonNull<Memory>) -> bool {
        self.is_of(memory) & self.is_simple() & (self.first_len() != 0)
    }

    /// The address of the data, of the first segment.
    #[inline(always)]
    pub(crate) fn address(&self) -> u64 {
        self.place & (MORE - 1)
    }

    /// The frame, of the first segment.
    #[inline]
    pub(crate) fn frame(&self) -> u32 {
        self.memory().split(self.address()).0 as u32
    }

    #[inline]
    pub(crate) fn offset(&self) -> u16 {
        self.memory().split(self.address()).1 as u16
    }

    /// Bytes of the first segment.
    #[inline(always)]
    pub(crate) fn first_len(&self) -> u16 {
        (self.place >> LEN_SHIFT) as u16
    }

    /// Moves the start of the data by so many bytes, and sets its length. Both are within the frame.
    #[inline(always)]
    fn set_range(&mut self, start: i64, len: u16) {
        let low = (self.place & !(u64::MAX << LEN_SHIFT)).wrapping_add_signed(start);
        self.place = low | u64::from(len) << LEN_SHIFT;
    }

    /// Gives up the frames without giving them back: they are the caller's.
    #[inline(always)]
    pub(crate) fn into_frames(self) {
        let _ = ManuallyDrop::new(self);
    }

    /// Adds a further segment behind `last`, the frame of the last one so far.
    ///
    /// # Safety
    /// As for [`new`](Self::new), and `last` is the packet's last segment.
    pub(crate) unsafe fn add_segment(&mut self, last: u32, frame: u32, offset: u16, len: u16) {
        self.make_special();
        let notes = self.memory().lists().storage();
        notes.set_next(last, frame);
        notes.set_next(frame, END);
        notes.set_below(frame, u32::from(offset) << 16 | u32::from(len));
    }

    /// Frame, offset and length of each segment.
    pub(crate) fn places(&self) -> Places<'_> {
        let more = if self.is_simple() { END } else { self.memory().lists().storage().next(self.frame()) };
        Places {
            first: Some((self.frame(), self.offset(), self.first_len())),
            next: more,
            memory: self.memory(),
        }
    }

    /// The frame of the last segment, and how many there are.
    #[inline]
    fn ends(&self) -> (u32, u32) {
        let first = self.frame();
        if self.is_simple() {
            return (first, 1);
        }
        self.places().fold((first, 0), |(_, count), (frame, ..)| (frame, count + 1))
    }

    /// Whether there are no notes of it.
    #[inline(always)]
    pub(crate) fn is_simple(&self) -> bool {
        self.place & MORE == 0
    }

    /// Whether the packet is in one piece.
    #[inline]
    pub fn is_linear(&self) -> bool {
        self.is_simple() || self.memory().lists().storage().next(self.frame()) == END
    }

    /// Bytes of the whole packet; of the first segment, `len()`.
    pub fn total_len(&self) -> usize {
        self.places().map(|(_, _, len)| usize::from(len)).sum()
    }

    /// The bytes, segment by segment.
    pub fn segments(&self) -> Segments<'_> {
        Segments::new(self.places())
    }

    /// Free bytes before the data. In pools with [`PoolConfig::tx_metadata`](crate::PoolConfig::tx_metadata), less what that needs.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.offset().saturating_sub(self.memory().reserved()))
    }

    /// Free bytes behind the data; none if the packet has further segments.
    #[inline]
    pub fn tailroom(&self) -> usize {
        let end = usize::from(self.offset()) + usize::from(self.first_len());
        if self.is_linear() { self.memory().frame_size() as usize - end } else { 0 }
    }

    /// Lengthens the packet by `count` bytes at its front, and returns these: for a header. They hold whatever was there.
    ///
    /// # Errors
    /// There is less headroom than that. Nothing changes.
    #[inline]
    pub fn push_front(&mut self, count: usize) -> Result<&mut [u8], OutOfRoom> {
        OutOfRoom::check(count, self.headroom())?;
        // At most the headroom, and length and headroom are together at most a frame.
        self.set_range(-(count as i64), self.first_len() + count as u16);
        Ok(&mut self[..count])
    }

    /// Takes `count` bytes away at the front. (A packet without bytes starts before the end of its frame: of one that ended there,
    /// one byte of headroom is missing when all its bytes are taken.)
    ///
    /// # Errors
    /// The (first segment of the) packet is shorter than that. Nothing changes.
    #[inline]
    pub fn pull_front(&mut self, count: usize) -> Result<(), OutOfRoom> {
        OutOfRoom::check(count, self.len())?;
        if count == self.len() {
            let last = self.memory().frame_size() as usize - 1;
            let before = usize::from(self.offset());
            let start = (before + count).min(last) - before;
            self.set_range(start as i64, 0);
            return Ok(());
        }
        self.set_range(count as i64, self.first_len() - count as u16);
        Ok(())
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// There is less tailroom than that. Nothing changes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), OutOfRoom> {
        OutOfRoom::check(bytes.len(), self.tailroom())?;
        let len = self.len();
        self.set_range(0, (len + bytes.len()) as u16);
        self[len..].copy_from_slice(bytes);
        Ok(())
    }

    /// Makes the packet `len` bytes long: cuts it off, or adds zeros.
    ///
    /// # Errors
    /// There is less tailroom than that, or the packet has further segments. Nothing changes.
    pub fn resize(&mut self, len: usize) -> Result<(), OutOfRoom> {
        let old = self.len();
        if !self.is_linear() {
            return Err(OutOfRoom { wanted: len, available: 0 });
        }
        OutOfRoom::check(len, old + self.tailroom())?;
        self.set_range(0, len as u16);
        if let Some(new) = self.get_mut(old..) {
            new.fill(0);
        }
        Ok(())
    }

    /// Cuts the packet off behind `len` bytes, if it is longer. Not if it has further segments.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if self.is_linear() {
            let len = u16::try_from(len).unwrap_or(u16::MAX);
            self.set_range(0, self.first_len().min(len));
        }
    }
}

/// Frame, offset and length of each segment of a packet.
#[derive(Clone)]
pub(crate) struct Places<'a> {
    first: Option<(u32, u16, u16)>,
    next: u32,
    memory: &'a Memory,
}

impl Iterator for Places<'_> {
    type Item = (u32, u16, u16);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.next == END {
            return None;
        }
        let (notes, frame) = (self.memory.lists().storage(), self.next);
        self.next = notes.next(frame);
        let place = notes.below(frame);
        Some((frame, (place >> 16) as u16, place as u16))
    }
}

impl Deref for Packet {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.memory().at(self.address());
        // SAFETY: offset and length are within the frame (`new`, and every method keeps it so), which is this packet's: the
        // kernel does not have it, nor has any other packet. It was zeroed when it was mapped.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), usize::from(self.first_len())) }
    }
}

impl DerefMut for Packet {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.memory().at(self.address());
        // SAFETY: as in `deref`, and the packet is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), usize::from(self.first_len())) }
    }
}

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Packet {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Borrow<[u8]> for Packet {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl BorrowMut<[u8]> for Packet {
    fn borrow_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Drop for Packet {
    #[inline]
    fn drop(&mut self) {
        let (last, count) = self.ends();
        if self.memory().lists().give_back(self.frame(), last, count) {
            // SAFETY: the pool is closed, and these were the last frames that were missing: no other packet is left.
            unsafe { free(self.memory) }
        }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.total_len())
            .field("segments", &self.places().count())
            .field("headroom", &self.headroom())
            .finish_non_exhaustive()
    }
}

// SAFETY: a packet is the only one that uses its frames' bytes, so they may go to another thread with it. Memory is Sync, and
// freeing it on any thread is fine, as it is Send.
unsafe impl Send for Packet {}
