//! The kernel's halves of a socket's rings, moved by the benchmark.
//!
//! The rings are those of an open socket, mapped a second time. No packet ever reaches the socket and nobody wakes it, so
//! its kernel never looks at them, and the counterpart of every library that is measured is the same: one store for a
//! ring and batch. The slots that the kernel writes are written once, before the measurement.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use xsk::backend::{Backend, Handle, Mapping};
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_MMAP_OFFSETS, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, xdp_desc, xdp_mmap_offsets, xdp_ring_offset,
};
use xsk_core::ring::Mapped;

/// Entries of each ring.
pub const ENTRIES: u32 = 2048;
/// Bytes of a frame.
pub const FRAME_SIZE: u32 = 4096;
/// Frames of a UMEM: one for each entry.
pub const FRAMES: u32 = ENTRIES;
/// Where received data starts in a frame.
pub const HEADROOM: u32 = 256;
/// Bytes of a packet.
const LEN: u32 = 64;

/// The kernel's half of one ring.
#[derive(Debug)]
pub struct Half {
    index: u32,
    word: NonNull<AtomicU32>,
    /// The user's index.
    other: NonNull<AtomicU32>,
    _memory: Mapping,
}

// SAFETY: the words are in the mapping that this value keeps, and only accessed atomically.
unsafe impl Send for Half {}

impl Half {
    /// The kernel consumes or produces `count` entries.
    #[inline(always)]
    pub fn moves(&mut self, count: u32) {
        self.index = self.index.wrapping_add(count);
        // SAFETY: the word is in the mapping that this value keeps, aligned, and only accessed atomically.
        unsafe { self.word.as_ref() }.store(self.index, Ordering::Release);
    }

    /// How far the user is ahead, or behind.
    #[inline(always)]
    fn distance(&self) -> u32 {
        // SAFETY: as above.
        let other = unsafe { self.other.as_ref() }.load(Ordering::Acquire);
        other.wrapping_sub(self.index)
    }
}

/// The kernel's halves of the four rings.
#[derive(Debug)]
pub struct Counterpart {
    /// Produces.
    pub rx: Half,
    /// Consumes.
    pub tx: Half,
    /// Consumes.
    pub fill: Half,
    /// Produces.
    pub completion: Half,
    /// In the mapping of `tx`.
    tx_flags: NonNull<AtomicU32>,
    entries: u32,
}

// SAFETY: as for a half: the flags are in the mapping of `tx`.
unsafe impl Send for Counterpart {}

impl Counterpart {
    /// Maps the rings of a bound socket, of [`ENTRIES`] entries each, and names a frame in each slot that a kernel writes.
    ///
    /// # Panics
    /// If they cannot be mapped.
    pub fn new(backend: &dyn Backend, socket: Handle) -> Self {
        Self::of_size(backend, socket, ENTRIES)
    }

    /// The same for rings of other sizes.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn of_size(backend: &dyn Backend, socket: Handle, entries: u32) -> Self {
        let at = offsets(backend, socket);
        let addr = |i: u32| u64::from(i % FRAMES * FRAME_SIZE + HEADROOM);
        let descs: Vec<_> = (0..entries).map(|i| xdp_desc { addr: addr(i), len: LEN, options: 0 }).collect();
        let addrs: Vec<_> = (0..entries).map(addr).collect();
        let map = |offset, len| backend.mmap_ring(socket, offset, len).expect("a mapping");
        let desc_ring =
            |offset, at: &xdp_ring_offset| map(offset, Mapped::<xdp_desc, ()>::bytes(at, entries));
        let addr_ring = |offset, at: &xdp_ring_offset| map(offset, Mapped::<u64, ()>::bytes(at, entries));
        let rx = desc_ring(XDP_PGOFF_RX_RING, &at.rx);
        let completion = addr_ring(XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr);
        write_slots(&rx, &at.rx, &descs);
        write_slots(&completion, &at.cr, &addrs);
        let tx = desc_ring(XDP_PGOFF_TX_RING, &at.tx);
        Self {
            rx: half(rx, at.rx.producer, at.rx.consumer),
            tx_flags: word(&tx, at.tx.flags),
            tx: half(tx, at.tx.consumer, at.tx.producer),
            fill: half(addr_ring(XDP_UMEM_PGOFF_FILL_RING, &at.fr), at.fr.consumer, at.fr.producer),
            completion: half(completion, at.cr.producer, at.cr.consumer),
            entries,
        }
    }

    /// The kernel says that it need not be woken up to send.
    pub fn stays_awake(&mut self) {
        // SAFETY: in the mapping, at an offset that a kernel aligned (checked when it was made); only accessed atomically.
        unsafe { self.tx_flags.as_ref() }.store(0, Ordering::Release);
    }

    /// The kernel receives `count` packets, and has sent as many frames.
    #[inline(always)]
    pub fn gives(&mut self, count: u32) {
        self.rx.moves(count);
        self.completion.moves(count);
    }

    /// What a kernel on another thread does: sends all that is on the TX ring, and receives into all that is on the fill ring, as
    /// far as there is room to say so. Returns how many it did of both.
    #[inline(always)]
    pub fn turn(&mut self) -> u32 {
        // The user consumes what is completed and received, so that it is behind.
        let sent = self.tx.distance().min(self.entries - self.completion.distance().wrapping_neg());
        if sent > 0 {
            self.tx.moves(sent);
            self.completion.moves(sent);
        }
        let received = self.fill.distance().min(self.entries - self.rx.distance().wrapping_neg());
        if received > 0 {
            self.fill.moves(received);
            self.rx.moves(received);
        }
        sent + received
    }

    /// The kernel takes `count` entries each off the TX and fill rings, which must be there.
    #[inline(always)]
    pub fn takes(&mut self, count: u32) {
        self.tx.moves(count);
        self.fill.moves(count);
    }
}

/// Where the words of a socket's rings are.
///
/// # Panics
/// If the kernel does not say.
pub fn offsets(backend: &dyn Backend, socket: Handle) -> xdp_mmap_offsets {
    let mut at = xdp_mmap_offsets::default();
    let len = backend.getsockopt(socket, SOL_XDP, XDP_MMAP_OFFSETS, at.as_bytes_mut()).expect("offsets");
    assert_eq!(len, size_of_val(&at), "a kernel before 5.4");
    at
}

fn word(memory: &Mapping, at: u64) -> NonNull<AtomicU32> {
    assert!(at as usize + size_of::<AtomicU32>() <= memory.len());
    // SAFETY: within the mapping (asserted).
    unsafe { memory.as_ptr().byte_add(at as usize) }.cast()
}

fn half(memory: Mapping, at: u64, other: u64) -> Half {
    let (word, other) = (word(&memory, at), word(&memory, other));
    // SAFETY: in the mapping, which is page aligned, at an offset that a kernel aligned; only accessed atomically.
    let index = unsafe { word.as_ref() }.load(Ordering::Acquire);
    Half { index, word, other, _memory: memory }
}

fn write_slots<T: Copy>(memory: &Mapping, at: &xdp_ring_offset, slots: &[T]) {
    assert!(at.desc as usize + size_of_val(slots) <= memory.len());
    // SAFETY: within the mapping (asserted), aligned as the kernel places slots.
    let first = unsafe { memory.as_ptr().byte_add(at.desc as usize) }.cast::<T>();
    // SAFETY: as above; the ring is empty, so that its slots are the kernel's, which this stands in for.
    unsafe { first.copy_from_nonoverlapping(NonNull::from(slots).cast(), slots.len()) };
}
