//! The receiving half of a port: the fill and the RX ring.

use std::sync::Arc;
use std::time::Duration;

use xsk_core::abi::xdp_desc;

use super::error::PortError;
use super::intake::{Assembly, Intake, Taken};
use super::trouble::Trouble;
use crate::error::Error;
use crate::packet::Batch;
use crate::pool::{BURST, Cache, Owner, Pool};
use crate::queue::{ConsumerOf, ProducerOf, Shared};

/// Descriptors on their way from one ring to another.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) input: [xdp_desc; BURST],
    pub(super) output: [xdp_desc; BURST],
    /// Addresses of frames.
    pub(super) frames: [u64; BURST],
}

#[derive(Debug)]
pub(super) struct RxSide {
    pub(super) ring: ConsumerOf<xdp_desc>,
    pub(super) fill: ProducerOf<u64>,
    pub(super) pool: Pool,
    pub(super) owner: Owner,
    pub(super) assembly: Assembly,
    pub(super) trouble: Trouble,
    pub(super) scratch: Box<Scratch>,
    /// How many frames the fill ring is kept at.
    level: u32,
    /// Frames that are missing before it is topped up.
    step: u32,
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
            scratch: Box::new(Scratch {
                input: [xdp_desc::default(); BURST],
                output: [xdp_desc::default(); BURST],
                frames: [0; BURST],
            }),
            level: level.clamp(1, fill.capacity()),
            step: (level / 4).clamp(1, BURST as u32),
            fill,
            shared: Arc::clone(shared),
            received: 0,
            wakeups: 0,
            polls_for,
        }
    }

    /// Receives what there is, as far as the batch has room.
    pub(super) fn receive(&mut self, cache: &mut Cache, batch: &mut Batch) -> Result<usize, PortError> {
        self.top_up(cache);
        let Self { ring, pool, owner, assembly, trouble, scratch, .. } = self;
        let intake = Intake::new(pool, *owner);
        let mut filler = batch.filler();
        let mut seen = 0;
        while filler.room() > 0 {
            let (index, room) = (ring.index(), filler.room().min(BURST));
            let entries = match ring.consume(&mut scratch.input[..room], |to, desc| *to = desc) {
                Ok(entries) => entries as usize,
                Err(index) => {
                    trouble.defer(self.shared.broken("RX", index));
                    0
                }
            };
            seen += entries;
            for (i, desc) in scratch.input[..entries].iter().enumerate() {
                match intake.take(*desc, assembly) {
                    Taken::Packet(packet) => filler.put(packet),
                    Taken::Nothing => {}
                    Taken::Bad(kind) => trouble.note("RX", index.wrapping_add(i as u32), *desc, kind),
                }
            }
            if entries < room {
                break;
            }
        }
        let count = filler.count();
        drop(filler);
        self.received += count as u64;
        if seen == 0 {
            self.wake_idle();
        }
        self.trouble.or(count, &self.shared)
    }

    /// Puts frames on the fill ring, if it lacks enough of them for a batch.
    #[inline]
    pub(super) fn top_up(&mut self, cache: &mut Cache) {
        let spare = self.fill.capacity() - self.level;
        match self.fill.free(spare + self.step) {
            Ok(free) if free < spare + self.step => {}
            Ok(free) => self.put_frames(cache, (free - spare) as usize),
            Err(index) => self.trouble.defer(self.shared.broken("fill", index)),
        }
    }

    fn put_frames(&mut self, cache: &mut Cache, mut missing: usize) {
        let (view, owner) = (self.pool.memory().view(), self.owner);
        let mut put = 0;
        while missing > 0 {
            let frames = cache.at_hand(missing.min(BURST));
            let count = self.fill.produce(frames, |frame| {
                // SAFETY: a frame of the cache, which is of this pool.
                unsafe { view.set_owner(*frame, owner) };
                view.address(*frame, 0)
            });
            let count = count.unwrap_or(0) as usize;
            cache.taken(count);
            put += count;
            missing -= count;
            if count == 0 {
                break;
            }
        }
        if put > 0 {
            self.wake();
        }
    }

    /// Puts the first frames of the scratch, which are noted to be with the kernel already, on the fill ring. There is room:
    /// [`lacks`](Self::lacks) said so.
    #[inline(always)]
    pub(super) fn put_scratch(&mut self, count: usize) {
        let put = self.fill.produce(&self.scratch.frames[..count], |address| *address);
        debug_assert!(put == Ok(count as u32));
        self.wake();
    }

    /// Whether the fill ring lacks `count` frames, and has room for them.
    #[inline(always)]
    pub(super) fn lacks(&mut self, count: u32) -> bool {
        let spare = self.fill.capacity() - self.level;
        self.fill.free(spare + count).is_ok_and(|free| free >= spare + count)
    }

    /// Makes the kernel look at the fill ring, if it asks for that.
    #[inline]
    pub(super) fn wake(&mut self) {
        if self.fill.needs_wakeup() {
            self.wakeups += 1;
            self.check(self.shared.wake_rx());
        }
    }

    /// As [`wake`](Self::wake), when nothing was there: with busy polling the driver gets its turn in any case.
    #[inline]
    pub(super) fn wake_idle(&mut self) {
        if self.polls_for.is_some() || self.fill.needs_wakeup() {
            self.wakeups += 1;
            self.check(self.shared.wake_rx());
        }
    }

    /// Gives the driver its turn again and again, until a packet is there or this moment has come.
    pub(super) fn poll_busily(&mut self, until: Duration) -> Result<bool, PortError> {
        loop {
            self.wake_idle();
            self.trouble.or(0, &self.shared)?;
            match self.ring.available_now() {
                Ok(0) if self.shared.backend().now() >= until => return Ok(false),
                Ok(0) => {}
                Ok(_) => return Ok(true),
                Err(index) => return Err(self.shared.broken("RX", index).into()),
            }
        }
    }

    fn check(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.trouble.defer(error);
        }
    }
}
