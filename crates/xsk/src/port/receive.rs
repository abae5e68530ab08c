//! The receiving half of a port: the fill and the RX ring.

use std::sync::Arc;
use std::time::Duration;

use xsk_core::abi::xdp_desc;

use super::error::PortError;
use super::intake::{Assembly, Intake};
use super::trouble::Trouble;
use crate::packet::Batch;
use crate::pool::{BURST, Cache, Owner, Pool};
use crate::queue::{ConsumerOf, ProducerOf, Shared};

#[derive(Debug)]
pub(super) struct RxSide {
    pub(super) ring: ConsumerOf<xdp_desc>,
    pub(super) fill: ProducerOf<u64>,
    pub(super) pool: Pool,
    pub(super) owner: Owner,
    pub(super) assembly: Assembly,
    pub(super) trouble: Trouble,
    /// Slots of the fill ring that are left free.
    pub(super) spare: u32,
    /// Frames that are missing before it is topped up.
    pub(super) step: u32,
    /// Frames were put on the fill ring, and the kernel was not asked yet whether it waits for them.
    pub(super) filled: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) received: u64,
    /// System calls for the receiving side.
    pub(super) wakeups: u64,
    /// The driver works in this side's calls: how long to poll before sleeping.
    pub(super) polls_for: Option<Duration>,
}

impl RxSide {
    pub(super) fn new(
        ring: ConsumerOf<xdp_desc>,
        fill: ProducerOf<u64>,
        pool: &Pool,
        owner: Owner,
        level: u32,
        shared: &Arc<Shared>,
        polls_for: Option<Duration>,
    ) -> Self {
        Self {
            ring,
            pool: pool.clone(),
            owner,
            assembly: Assembly::default(),
            trouble: Trouble::default(),
            spare: fill.capacity() - level.clamp(1, fill.capacity()),
            step: (level / 4).clamp(1, BURST as u32),
            filled: false,
            fill,
            shared: Arc::clone(shared),
            received: 0,
            wakeups: 0,
            polls_for,
        }
    }

    /// Receives what there is, as far as the batch has room.
    ///
    /// The fill ring was seen to before.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> Result<usize, PortError> {
        let Self { ring, pool, owner, assembly, trouble, .. } = self;
        let intake = Intake::new(pool, *owner);
        let mut filler = batch.filler();
        let mut seen = 0;
        loop {
            let mut entries = match ring.entries(filler.room() as u32) {
                Ok(entries) => entries,
                Err(index) => {
                    trouble.defer(self.shared.broken("RX", index));
                    break;
                }
            };
            let plain = intake.unless(assembly.is_under_way);
            let taken = entries.take_into(filler.spare(), |desc| Some(plain.take_plain(desc.words())?.1));
            // SAFETY: so many were written.
            unsafe { filler.add(taken) };
            if let Some(desc) = entries.next() {
                let index = entries.index().wrapping_sub(1);
                if let Some(packet) = intake.take_other(desc, assembly, trouble, index) {
                    filler.put(packet);
                }
                seen += entries.taken();
                continue;
            }
            seen += entries.taken();
            // The batch is full, or the ring empty.
            if !entries.is_cut() {
                break;
            }
        }
        let count = filler.count();
        drop(filler);
        self.received += count as u64;
        if seen == 0 {
            self.wake_idle();
        } else {
            self.wake();
        }
        self.trouble.or(count, &self.shared)
    }

    /// Puts frames on the fill ring, if it lacks enough of them for a batch, and makes the kernel look, if it asks for that.
    #[inline]
    pub(super) fn top_up(&mut self, cache: &mut Cache) {
        self.fill_up(cache);
        self.wake();
    }

    /// As [`top_up`](Self::top_up), but the kernel is left alone.
    #[inline]
    pub(super) fn fill_up(&mut self, cache: &mut Cache) {
        match self.fill.free(self.spare + self.step) {
            Ok(free) if free < self.spare + self.step => {}
            Ok(free) => self.put_frames(cache, (free - self.spare) as usize),
            Err(index) => self.trouble.defer(self.shared.broken("fill", index)),
        }
    }

    fn put_frames(&mut self, cache: &mut Cache, mut missing: usize) {
        let (view, owner) = (self.pool.memory().view(), self.owner);
        while missing > 0 {
            let frames = cache.at_hand(missing.min(BURST));
            let count = self.fill.produce(frames, |frame| {
                // SAFETY: a frame of the cache, which is of this pool.
                unsafe { view.set_owner(*frame as usize, owner) };
                view.address(*frame, 0)
            });
            let count = count.unwrap_or(0) as usize;
            cache.taken(count);
            self.filled |= count > 0;
            missing -= count;
            if count == 0 {
                break;
            }
        }
    }

    /// Makes the kernel look at the fill ring, if something was put there and it asks for that.
    #[inline]
    pub(super) fn wake(&mut self) {
        if self.filled {
            self.fill.wakeup_fence();
            self.wake_fenced();
        }
    }

    /// As [`wake`](Self::wake), if there was a fence since something was put there. Whether the kernel moves is seen to when
    /// nothing is there ([`wake_idle`](Self::wake_idle)).
    #[inline]
    pub(super) fn wake_fenced(&mut self) {
        if self.filled {
            self.filled = false;
            if self.fill.asks_for_wakeup() {
                self.call_rx();
            }
        }
    }

    /// As [`wake`](Self::wake), when nothing was there: with busy polling the driver gets its turn in any case.
    #[inline]
    pub(super) fn wake_idle(&mut self) {
        self.filled = false;
        if self.polls_for.is_some() || self.fill.needs_wakeup() {
            self.call_rx();
        }
    }

    #[cold]
    #[inline(never)]
    fn call_rx(&mut self) {
        self.wakeups += 1;
        if let Err(error) = self.shared.wake_rx() {
            self.trouble.defer(error);
        }
    }

    /// Whether a packet is there.
    pub(super) fn has_packets(&mut self) -> Result<bool, PortError> {
        match self.ring.available_now() {
            Ok(count) => Ok(count > 0),
            Err(index) => Err(self.shared.broken("RX", index).into()),
        }
    }

    /// Whether a packet is there, after the driver had its turn.
    pub(super) fn look_busily(&mut self) -> Result<bool, PortError> {
        self.wake_idle();
        self.trouble.or(0, &self.shared)?;
        self.has_packets()
    }
}
