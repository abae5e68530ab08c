//! The frames behind a pool, and who has each of them.

use std::mem::{align_of, size_of};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use xsk_core::frame_lists::{END, FrameLists, Heap, Storage};
use xsk_core::order::Order;

use super::quarantine::Quarantined;
use crate::packet::RESERVED;
use crate::umem::Umem;

/// Who has a frame.
///
/// The notes decide what is believed of the kernel. A note that says "the kernel has it by way of port 3, to receive into" is
/// written by the receiving half of port 3 alone, and taken back by it alone. So when that half reads it, it is its own last
/// word, whatever other threads do with their frames: a frame that this half did not give the kernel, or that came back
/// already, never passes for one that comes back.
///
/// Four bytes: notes of neighbouring frames are written and read one right after the other, and there are processors (AMD's Zen 3)
/// that let a load wait for a store to the other half of the same four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// The pool, a packet, or a cache: in any case this process.
    pub(crate) const USER: Self = Self(0);
    /// A closed port may still have it with the kernel.
    pub(crate) const QUARANTINE: Self = Self(u32::MAX);

    /// The kernel, to receive into, by way of the port with this number.
    pub(crate) fn rx(port: u16) -> Self {
        Self(1 + 3 * u32::from(port))
    }

    /// The kernel, to send, by way of the port with this number.
    pub(crate) fn tx(port: u16) -> Self {
        Self(2 + 3 * u32::from(port))
    }

    /// As [`tx`](Self::tx), of a frame that is looked at when it comes back.
    pub(crate) fn tx_stamped(port: u16) -> Self {
        Self(3 + 3 * u32::from(port))
    }
}

/// Ports that a pool can have: more than a network card has queues, and fewer than an [`Owner`] can tell apart.
pub(crate) const MAX_PORTS: u16 = 1024;

/// What checking a descriptor takes: small enough to be kept in registers over a burst.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    owners: &'a [AtomicU32],
    frame_shift: u32,
    /// The bits of an address that are the frame: the size of a frame is a power of two.
    frame_bits: u64,
}

impl View<'_> {
    /// The same without frames: nothing is found in it.
    #[inline(always)]
    pub(crate) fn empty(self) -> Self {
        Self { owners: &[], ..self }
    }

    /// The frame of an address, if it is a frame that `owner` has.
    #[inline(always)]
    pub(crate) fn find(&self, address: u64, owner: Owner) -> Option<usize> {
        let frame = usize::try_from(address >> self.shift()).ok()?;
        let note = self.owners.get(frame)?;
        // SAFETY: a pool has less than 2^31 frames of at most 2^15 bytes, and this is an address in one of them.
        unsafe { std::hint::assert_unchecked(address < ADDRESSES) };
        (note.load(Order::ReadNote.ordering()) == owner.0).then_some(frame)
    }

    /// Whether so many bytes from an address on are some, and within its frame.
    #[inline(always)]
    pub(crate) fn fits(&self, address: u64, len: u64) -> bool {
        // What is behind the address, less one, is all bits without these: more than that carries.
        (address | self.frame_bits).checked_add(len.wrapping_sub(1)).is_some()
    }

    /// The address of the frame of an address.
    #[inline(always)]
    pub(crate) fn start(&self, address: u64) -> u64 {
        address & self.frame_bits
    }

    /// The frame of an address of the pool.
    #[inline(always)]
    pub(crate) fn frame(&self, address: u64) -> usize {
        (address >> self.shift()) as usize
    }

    /// Notes who has a frame.
    ///
    /// # Safety
    /// It is one of the pool's: found, or that of one of its packets.
    #[inline(always)]
    pub(crate) unsafe fn set_owner(&self, frame: usize, owner: Owner) {
        debug_assert!(frame < self.owners.len());
        // SAFETY: there is a note for each frame of the pool, of which this is one.
        unsafe { self.owners.get_unchecked(frame) }.store(owner.0, Order::WriteNote.ordering());
    }

    /// Notes that `new` has a frame, if `old` has it.
    ///
    /// # Safety
    /// As for [`set_owner`](Self::set_owner).
    #[cold]
    pub(crate) unsafe fn pass_on(&self, frame: usize, old: Owner, new: Owner) {
        // SAFETY: as in `set_owner`.
        let note = unsafe { self.owners.get_unchecked(frame) };
        // If not, somebody else has it by now, whose note it is.
        let _ = note.compare_exchange(old.0, new.0, Order::PassNote.ordering(), Order::FAILED);
    }

    /// The address of a place in a frame, as descriptors have it.
    #[inline(always)]
    pub(crate) fn address(&self, frame: u32, offset: u16) -> u64 {
        u64::from(frame) << self.shift() | u64::from(offset)
    }

    #[inline(always)]
    fn shift(&self) -> u32 {
        // SAFETY: the size of a frame is 1 shifted by this, and fits a u32.
        unsafe { std::hint::assert_unchecked(self.frame_shift < 32) };
        self.frame_shift
    }
}

/// Frames of a magazine at most.
const MAGAZINE: usize = 64;

/// Addresses are below this.
pub(crate) const ADDRESSES: u64 = 1 << 47;

/// The frames of a pool.
///
/// Lives on the heap until the last handle of the pool and the last packet are gone: see [`close`](Self::close).
pub(crate) struct Memory {
    base: NonNull<u8>,
    frame_shift: u32,
    frame_bits: u64,
    owners: Box<[AtomicU32]>,
    lists: FrameLists<Heap>,
    data_offset: u16,
    /// Bytes at the start of each frame that are for no packet's data.
    reserved: u16,
    state: Mutex<State>,
    umem: Umem,
}

/// What changes when ports come and go.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Which port numbers are taken.
    pub(crate) ports: Vec<bool>,
    /// Frames that the kernel may still use.
    pub(crate) quarantine: Vec<Quarantined>,
}

const _: () = assert!(size_of::<AtomicU32>() == 4 && align_of::<AtomicU32>() == 4);

impl Memory {
    /// All frames of a UMEM, which must have been handed to nobody. Its frames are aligned, and no larger than 32768 bytes.
    pub(crate) fn new(umem: Umem) -> Self {
        let layout = umem.layout();
        let frames = layout.chunks();
        Self {
            base: umem.memory(),
            frame_shift: layout.chunk_size().trailing_zeros(),
            frame_bits: !(u64::from(layout.chunk_size()) - 1),
            owners: (0..frames).map(|_| AtomicU32::new(Owner::USER.0)).collect(),
            lists: FrameLists::new(Heap::new(frames)),
            data_offset: layout.data_offset() as u16,
            reserved: if layout.tx_metadata_len() > 0 { RESERVED } else { 0 },
            state: Mutex::default(),
            umem,
        }
    }

    pub(crate) fn umem(&self) -> &Umem {
        &self.umem
    }

    pub(crate) fn lists(&self) -> &FrameLists<Heap> {
        &self.lists
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every moment when something may panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline(always)]
    pub(crate) fn view(&self) -> View<'_> {
        View { owners: &self.owners, frame_shift: self.frame_shift, frame_bits: self.frame_bits }
    }

    /// Number of frames.
    #[inline]
    pub(crate) fn frames(&self) -> u32 {
        self.owners.len() as u32
    }

    /// Bytes of a frame.
    #[inline]
    pub(crate) fn frame_size(&self) -> u32 {
        1 << self.frame_shift
    }

    /// Where the data of a received packet starts in its frame, and of an empty packet as well.
    #[inline]
    pub(crate) fn data_offset(&self) -> u16 {
        self.data_offset
    }

    /// Bytes before a packet's data that are not for headers: some in a pool with TX metadata.
    #[inline]
    pub(crate) fn reserved(&self) -> u16 {
        self.reserved
    }

    /// The byte at an address of the pool.
    #[inline(always)]
    pub(crate) fn at(&self, address: u64) -> NonNull<u8> {
        debug_assert!(address >> self.frame_shift <= u64::from(self.frames()));
        // SAFETY: every caller's address is that of a packet of this pool, whose data is within the memory.
        unsafe { self.base.add(address as usize) }
    }

    /// The address of a place in a frame, as descriptors have it.
    #[inline]
    pub(crate) fn address(&self, frame: u32, offset: u16) -> u64 {
        self.view().address(frame, offset)
    }

    /// The frame of an address, which may be none of this UMEM, and the place in it.
    #[inline]
    pub(crate) fn split(&self, address: u64) -> (u64, u32) {
        (address >> self.frame_shift, address as u32 & (self.frame_size() - 1))
    }

    /// Notes who has a frame.
    #[inline]
    pub(crate) fn set_owner(&self, frame: u32, owner: Owner) {
        self.owners[frame as usize].store(owner.0, Order::WriteNote.ordering());
    }

    /// Who has a frame; nobody, if there is no such frame.
    #[inline]
    pub(crate) fn owner(&self, frame: u64) -> Option<Owner> {
        let note = self.owners.get(usize::try_from(frame).ok()?)?;
        Some(Owner(note.load(Order::ReadNote.ordering())))
    }

    /// The frames that one of `owners` has, in order. They get another owner.
    pub(crate) fn take_from(&self, owner: Owner, new: Owner) -> Vec<u32> {
        let theirs = (0..self.frames()).filter(|frame| self.owner(u64::from(*frame)) == Some(owner));
        let frames: Vec<u32> = theirs.collect();
        frames.iter().for_each(|frame| self.set_owner(*frame, new));
        frames
    }

    /// How many frames are with the kernel, or in quarantine.
    pub(crate) fn away(&self) -> usize {
        let note = |note: &&AtomicU32| note.load(Order::ReadNote.ordering()) != Owner::USER.0;
        self.owners.iter().filter(note).count()
    }

    /// Frames of a magazine: few in a small pool, so that what lies in caches starves nobody.
    pub(crate) fn magazine(&self) -> usize {
        (self.frames() as usize / 32).clamp(1, MAGAZINE)
    }

    /// Puts frames into the depot, in magazines.
    pub(crate) fn put(&self, frames: &[u32]) {
        for magazine in frames.chunks(self.magazine()) {
            self.put_magazine(magazine);
        }
    }

    /// Puts the rest of a chain into the depot, in magazines. Its links are read before they are changed.
    pub(crate) fn put_chain(&self, rest: impl Iterator<Item = u32>) {
        let (mut magazine, mut count) = ([0; MAGAZINE], 0);
        for frame in rest {
            if count == self.magazine() {
                self.put_magazine(&magazine[..count]);
                count = 0;
            }
            magazine[count] = frame;
            count += 1;
        }
        self.put_magazine(&magazine[..count]);
    }

    /// Puts frames into the depot as one magazine.
    pub(crate) fn put_magazine(&self, frames: &[u32]) {
        let Some((first, rest)) = frames.split_first() else { return };
        let mut last = *first;
        for frame in rest {
            self.lists.storage().set_next(last, *frame);
            last = *frame;
        }
        self.lists.storage().set_next(last, END);
        self.lists.put_magazine(*first);
    }

    /// The frames of a chain.
    pub(crate) fn chain(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let some = |frame: u32| (frame != END).then_some(frame);
        std::iter::successors(some(first), move |frame| some(self.lists.storage().next(*frame)))
    }

    /// To be called once, when the last handle is gone: no cache and no port has any frames. True if no packet has any
    /// either; otherwise the packet that is dropped last is told so ([`FrameLists::give_back`]).
    fn close(&self) -> bool {
        let mut elsewhere = 0;
        while let Some(first) = self.lists.take_magazine() {
            elsewhere += self.chain(first).count();
        }
        // The kernel keeps the pages of what it still uses.
        elsewhere += self.quarantined();
        self.lists.close(self.frames(), elsewhere as u32)
    }
}

// SAFETY: the pointer is that of the UMEM's memory, which lives as long as `umem` and is valid on any thread. This type makes
// no reference to the bytes: packets do, each to the frame that it alone has.
unsafe impl Send for Memory {}
// SAFETY: as above; all else is atomic, or behind a lock.
unsafe impl Sync for Memory {}

/// Frees memory that nobody has anything of any more.
///
/// # Safety
/// `memory` came from a [`Handle`], whose drop or a packet's was told that it was the last, and is used nowhere any more.
#[cold]
pub(crate) unsafe fn free(memory: NonNull<Memory>) {
    // SAFETY: made by `Box::leak` in `Handle::new`, and the caller is the last to have it.
    drop(unsafe { Box::from_raw(memory.as_ptr()) });
}

/// What handles of a pool share. When it goes, the pool is closed; its memory stays for the packets that are left.
pub(crate) struct Handle {
    memory: NonNull<Memory>,
}

impl Handle {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { memory: NonNull::from(Box::leak(Box::new(memory))) }
    }

    #[inline]
    pub(crate) fn pointer(&self) -> NonNull<Memory> {
        self.memory
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        // SAFETY: it is freed by `drop` at the earliest, and never while this handle lives: packets free it only after
        // `close`.
        unsafe { self.memory.as_ref() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.memory().close() {
            // SAFETY: no packet is left, and this was the last handle.
            unsafe { free(self.memory) }
        }
    }
}

// SAFETY: a Handle is a pointer to a Memory, which is Sync, and frees it on whatever thread: a Memory is Send.
unsafe impl Send for Handle {}
// SAFETY: as above: `&Handle` gives `&Memory` and the pointer itself.
unsafe impl Sync for Handle {}
