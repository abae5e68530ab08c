//! The buffer pool of a queue: its fill and completion ring, and the buffers that the kernel kept (`net/xdp/xsk_buff_pool.c`).

use crate::arena::Id;
use crate::device::Device;
use crate::fault::{Fault, Moment};
use crate::kernel::Kernel;
use crate::shared::{ConsumerRing, ProducerRing, RingMemory};
use crate::socket::Socket;
use crate::umem::Umem;
use crate::zero_copy::DriverRings;

/// A fill ring.
#[derive(Debug)]
pub(crate) struct FillRing {
    pub(crate) ring: ConsumerRing<u64>,
    pub(crate) memory: RingMemory,
    /// Entries that named no chunk. Linux tells nobody.
    pub(crate) invalid: u64,
    /// Times it was found empty.
    pub(crate) empty: u64,
    /// The user was shown an index that is not the true one.
    pub(crate) forged: bool,
}

/// A completion ring.
#[derive(Debug)]
pub(crate) struct CompletionRing {
    pub(crate) ring: ProducerRing<u64>,
    pub(crate) memory: RingMemory,
    /// The true index, if the user is shown another one.
    pub(crate) hidden: Option<u32>,
}

impl CompletionRing {
    /// As [`KernelProducer::submit`](crate::ring::KernelProducer::submit), on the true index.
    pub(crate) fn submit(&mut self, entries: impl IntoIterator<Item = u64>) {
        self.put_right();
        self.ring.submit(entries);
    }

    /// As [`KernelProducer::submit_written`](crate::ring::KernelProducer::submit_written), on the true index.
    pub(crate) fn submit_written(&mut self, count: u32) {
        self.put_right();
        self.ring.submit_written(count);
    }

    /// The true published index.
    pub(crate) fn next(&self) -> u32 {
        self.hidden.unwrap_or_else(|| self.ring.published())
    }

    /// Shows the user an index.
    pub(crate) fn show(&mut self, index: u32) {
        self.hidden = Some(self.next());
        self.ring.show(index);
    }

    /// Shows the user the true index.
    #[inline]
    pub(crate) fn put_right(&mut self) {
        if let Some(index) = self.hidden {
            self.hidden = None;
            self.ring.show(index);
        }
    }
}

/// A pool: one for each queue that sockets are bound to.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) umem: Id<Umem>,
    pub(crate) device: Id<Device>,
    pub(crate) queue: u32,
    pub(crate) fill: FillRing,
    pub(crate) completion: CompletionRing,
    /// Chunks that were taken from the fill ring and not used, last in first out.
    pub(crate) free: Vec<u64>,
    pub(crate) need_wakeup: bool,
    /// Sockets that use it.
    pub(crate) users: u32,
    /// Without copying: what the driver has of it.
    pub(crate) driver: Option<Box<DriverRings>>,
}

/// How many fill entries one packet may skip before the simulator calls it a hang: Linux has no bound.
const SKIPPED_MAX: u32 = 1 << 20;

/// What taking a buffer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Chunk(u64),
    Empty,
    /// Far too many entries that name no chunk.
    Spinning,
}

impl FillRing {
    /// The next chunk that an entry names. Invalid entries are skipped.
    fn take(&mut self, umem: &Umem) -> Taken {
        for _ in 0..SKIPPED_MAX {
            let Some(entry) = self.ring.peek() else {
                self.empty += 1;
                return Taken::Empty;
            };
            self.ring.advance();
            match umem.chunk_of_fill(entry) {
                Some(chunk) => return Taken::Chunk(chunk),
                None => self.invalid += 1,
            }
        }
        Taken::Spinning
    }
}

impl Pool {
    /// A buffer: one that was kept, else one from the fill ring.
    pub(crate) fn take(&mut self, umem: &Umem) -> Taken {
        match self.free.pop() {
            Some(chunk) => Taken::Chunk(chunk),
            None => self.fill.take(umem),
        }
    }

    /// Whether there are `count` buffers, be their fill entries valid or not (`xp_can_alloc`).
    pub(crate) fn can_take(&mut self, count: u32) -> bool {
        let Some(missing) = count.checked_sub(self.free.len() as u32).filter(|&n| n > 0) else {
            return true;
        };
        let available = self.fill.ring.available(missing);
        if available == 0 {
            self.fill.empty += 1;
        }
        available >= missing
    }
}

impl Kernel {
    /// Whether a rule makes the fill ring of a socket look empty.
    #[inline]
    pub(crate) fn starves(&mut self, socket: Id<Socket>, pool: Id<Pool>) -> bool {
        if self.faults.are_off() {
            return false;
        }
        let starves = matches!(self.ask_of(socket, Moment::Buffer), Some(Fault::Starve));
        if starves {
            self.pools[pool].fill.empty += 1;
        }
        starves
    }

    /// A buffer of a pool; `None` if there is none.
    #[inline]
    pub(crate) fn take_chunk(&mut self, pool: Id<Pool>) -> Option<u64> {
        let pool = &mut self.pools[pool];
        match pool.take(&self.umems[pool.umem]) {
            Taken::Chunk(chunk) => {
                self.faults.found(pool.umem, chunk);
                Some(chunk)
            }
            Taken::Empty => None,
            Taken::Spinning => {
                self.crash_spinning();
                None
            }
        }
    }

    #[cold]
    fn crash_spinning(&mut self) {
        let what = format!("one packet skips over {SKIPPED_MAX} fill entries that name no chunk, in softirq");
        self.crash("net/xdp/xsk_buff_pool.c:__xp_alloc", what);
    }

    /// One user less; the last one frees the queue.
    pub(crate) fn put_pool(&mut self, id: Id<Pool>) {
        self.pools[id].users -= 1;
        if self.pools[id].users > 0 {
            return;
        }
        let Some(pool) = self.pools.remove(id) else { return };
        if let Some(device) = self.devices.get_mut(pool.device) {
            device.pools.retain(|_, at| *at != id);
        }
        self.put_umem(pool.umem);
    }
}
