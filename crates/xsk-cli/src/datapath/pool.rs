//! The frames that nobody uses, and the memory of all.

use std::num::NonZeroU32;
use std::sync::Arc;

use xsk::backend::{Backend, PageSize};
use xsk::config::UmemConfig;
use xsk::umem::UmemCreateError;
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Umem};

/// Every frame is in `free`, or with a port. `free` has no frame twice.
pub(super) struct Pool {
    umem: Umem,
    free: Vec<FrameDesc>,
}

/// Completions that are taken at once.
const REAP: usize = 256;

impl Pool {
    pub(super) fn new(
        backend: &Arc<dyn Backend>,
        config: UmemConfig,
        frames: NonZeroU32,
        pages: PageSize,
    ) -> Result<Self, UmemCreateError> {
        let (umem, free) = Umem::new_in(Arc::clone(backend), config, frames, pages)?;
        Ok(Self { umem, free })
    }

    pub(super) fn umem(&self) -> &Umem {
        &self.umem
    }

    pub(super) fn backend(&self) -> &Arc<dyn Backend> {
        self.umem.backend()
    }

    pub(super) fn room(&self) -> usize {
        self.umem.layout().room() as usize
    }

    pub(super) fn total(&self) -> u32 {
        self.umem.frame_count()
    }

    pub(super) fn len(&self) -> usize {
        self.free.len()
    }

    /// Takes back a frame that has left its port.
    pub(super) fn put(&mut self, desc: FrameDesc) {
        self.free.push(desc);
    }

    /// Takes back frames that have left their port.
    pub(super) fn put_all(&mut self, descs: impl Iterator<Item = FrameDesc>) {
        self.free.extend(descs);
    }

    /// Shows the packet in a frame that is in a list of this module: as many bytes as its descriptor says.
    pub(super) fn show<R>(&self, desc: &mut FrameDesc, look: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: by the module's invariant the frame is on no ring and its descriptor is unique, here borrowed uniquely.
        let mut data = unsafe { self.umem.data_mut(desc) };
        look(data.contents_mut())
    }

    /// Takes a frame that `write` has made a packet in: it returns the packet's length.
    pub(super) fn take_written(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> Option<FrameDesc> {
        let mut desc = self.free.pop()?;
        self.write(&mut desc, write);
        Some(desc)
    }

    fn write(&self, desc: &mut FrameDesc, write: impl FnOnce(&mut [u8]) -> usize) {
        desc.set_options(0);
        // SAFETY: as in `show`.
        let mut data = unsafe { self.umem.data_mut(desc) };
        data.cursor().set_pos(usize::MAX);
        let len = write(data.contents_mut());
        data.cursor().set_pos(len);
    }

    /// Shows every free frame.
    pub(super) fn write_all(&mut self, mut write: impl FnMut(usize, &mut [u8])) {
        let mut free = std::mem::take(&mut self.free);
        for (index, desc) in free.iter_mut().enumerate() {
            self.write(desc, |bytes| {
                write(index, bytes);
                0
            });
        }
        self.free = free;
    }

    /// Moves up to `count` frames to a fill ring; returns how many.
    pub(super) fn fill(&mut self, fill: &mut FillQueue, count: usize) -> u32 {
        let rest = self.free.len() - count.min(self.free.len());
        // SAFETY: free frames of this UMEM, whose fill ring this is, each of them once; below they leave the pool.
        let moved = unsafe { fill.produce(&self.free[rest..]) };
        if moved > 0 {
            self.free.truncate(rest);
        }
        moved as u32
    }

    /// Takes frames back from a completion ring; returns how many.
    pub(super) fn reap(&mut self, completion: &mut CompQueue) -> u32 {
        let mut total = 0;
        loop {
            let before = self.free.len();
            self.free.resize(before + REAP, FrameDesc::default());
            // SAFETY: the completion ring of this pool's UMEM: what comes back is the pool's.
            let moved = unsafe { completion.consume(&mut self.free[before..]) };
            self.free.truncate(before + moved);
            total += moved as u32;
            if moved < REAP {
                return total;
            }
        }
    }

    /// Takes received frames from an RX ring, at most `count`, to the end of `hand`; returns how many.
    pub(super) fn receive(rx: &mut RxQueue, hand: &mut Vec<FrameDesc>, count: usize) -> u32 {
        let before = hand.len();
        hand.resize(before + count, FrameDesc::default());
        // SAFETY: the RX ring of a port, whose descriptors stay within the module, which has one UMEM.
        let moved = unsafe { rx.consume(&mut hand[before..]) };
        hand.truncate(before + moved);
        moved as u32
    }

    /// Whether no frame is in the pool twice, and all are of the UMEM.
    pub(super) fn is_sound(&self) -> bool {
        let mut seen = vec![false; self.umem.frame_count() as usize];
        let size = u64::from(self.umem.frame_size());
        self.free.iter().all(|desc| {
            let chunk = self.umem.layout().split(desc.addr() as u64).map(|(base, _)| (base / size) as usize);
            chunk.and_then(|chunk| seen.get_mut(chunk)).is_some_and(|seen| !std::mem::replace(seen, true))
        })
    }
}
