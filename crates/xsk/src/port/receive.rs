//! The receiving half of a port: the fill and the RX ring.

use std::sync::Arc;

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

use super::error::{PortError, ViolationKind};
use super::trouble::Trouble;
use crate::error::Error;
use crate::packet::{Batch, Packet};
use crate::pool::{BURST, Cache, Owner, Pool};
use crate::queue::{ConsumerOf, ProducerOf, Shared};

#[derive(Debug)]
pub(super) struct RxSide {
    pub(super) ring: ConsumerOf<xdp_desc>,
    pub(super) fill: ProducerOf<u64>,
    pub(super) intake: Intake,
    pub(super) trouble: Trouble,
    /// How many frames the fill ring is kept at.
    level: u32,
    /// Frames that are missing before it is topped up.
    step: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) received: u64,
    /// System calls for the receiving side.
    pub(super) wakeups: u64,
}

/// What makes packets of descriptors.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) pool: Pool,
    pub(super) owner: Owner,
    assembly: Assembly,
}

/// A packet of several segments that is on its way.
#[derive(Debug)]
enum Assembly {
    None,
    /// The packet so far, and the frame of its last segment.
    Begun(Packet, u32),
    /// A segment was bad: the rest of the packet goes the same way.
    Spoiled,
}

/// What a descriptor came to.
pub(super) enum Taken {
    Packet(Packet),
    /// A segment of a packet that is not complete, or of one that is spoiled.
    Nothing,
    Bad(ViolationKind),
}

impl Intake {
    /// Takes the frame of a descriptor back from the kernel, if everything about it is right.
    #[inline(always)]
    pub(super) fn take(&mut self, desc: xdp_desc) -> Taken {
        let memory = self.pool.memory();
        let (frame, offset) = memory.split(desc.addr);
        let end = u64::from(offset) + u64::from(desc.len);
        let is_ours = memory.owner(frame) == Some(self.owner);
        let is_plain = desc.options == 0 && matches!(self.assembly, Assembly::None);
        if is_ours && is_plain && end <= u64::from(memory.frame_size()) {
            memory.set_owner(frame as u32, Owner::USER);
            // SAFETY: the frame is one of the pool's, and until now was with the kernel: this port gave it, and the kernel
            // has just given it back. Offset and length are within it, and a frame is at most 32768 bytes.
            return Taken::Packet(unsafe {
                Packet::new(self.pool.pointer(), frame as u32, offset as u16, desc.len as u16)
            });
        }
        self.take_other(desc)
    }

    /// Packets of several segments, and bad descriptors.
    #[cold]
    #[inline(never)]
    fn take_other(&mut self, desc: xdp_desc) -> Taken {
        let memory = self.pool.memory();
        let (frame, offset) = memory.split(desc.addr);
        let more = desc.options & XDP_PKT_CONTD != 0;
        let kind = if frame >= u64::from(memory.frames()) {
            Some(ViolationKind::Address)
        } else if memory.owner(frame) != Some(self.owner) {
            Some(ViolationKind::NotWithKernel)
        } else if u64::from(offset) + u64::from(desc.len) > u64::from(memory.frame_size()) {
            Some(ViolationKind::Length)
        } else if desc.options & !XDP_PKT_CONTD != 0 {
            Some(ViolationKind::Options)
        } else {
            None
        };
        let frame = frame as u32;
        let segment = match kind {
            Some(ViolationKind::Address | ViolationKind::NotWithKernel) => None,
            _ => {
                memory.set_owner(frame, Owner::USER);
                let (offset, len) = if kind.is_some() { (0, 0) } else { (offset as u16, desc.len as u16) };
                // SAFETY: as in `take`; of a bad descriptor the frame alone counts.
                Some(unsafe { Packet::new(self.pool.pointer(), frame, offset, len) })
            }
        };
        let before = std::mem::replace(&mut self.assembly, Assembly::None);
        if let Some(kind) = kind {
            // The rest of its packet is worth nothing, if there is one.
            if desc.options == XDP_PKT_CONTD {
                self.assembly = Assembly::Spoiled;
            }
            return Taken::Bad(kind);
        }
        let Some(segment) = segment else { return Taken::Nothing };
        match (before, more) {
            (Assembly::None, false) => Taken::Packet(segment),
            (Assembly::None, true) => {
                self.assembly = Assembly::Begun(segment, frame);
                Taken::Nothing
            }
            (Assembly::Begun(mut packet, last), more) => {
                segment.into_frames();
                // SAFETY: the frame is ours alone, as `segment` was, and `last` the last of the packet.
                unsafe { packet.add_segment(last, frame, offset as u16, desc.len as u16) };
                if !more {
                    return Taken::Packet(packet);
                }
                self.assembly = Assembly::Begun(packet, frame);
                Taken::Nothing
            }
            (Assembly::Spoiled, more) => {
                if more {
                    self.assembly = Assembly::Spoiled;
                }
                Taken::Nothing
            }
        }
    }
}

impl RxSide {
    pub(super) fn new(
        ring: ConsumerOf<xdp_desc>,
        fill: ProducerOf<u64>,
        pool: &Pool,
        owner: Owner,
        level: u32,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            ring,
            intake: Intake { pool: pool.clone(), owner, assembly: Assembly::None },
            trouble: Trouble::default(),
            level: level.clamp(1, fill.capacity()),
            step: (level / 4).clamp(1, BURST as u32),
            fill,
            shared: Arc::clone(shared),
            received: 0,
            wakeups: 0,
        }
    }

    /// Receives what there is, as far as the batch has room.
    pub(super) fn receive(&mut self, cache: &mut Cache, batch: &mut Batch) -> Result<usize, PortError> {
        let (before, room) = (batch.len(), batch.room());
        self.top_up(cache);
        let mut index = self.ring.index();
        let Self { ring, intake, trouble, .. } = self;
        // Elements of no size: the packets go to the batch.
        let mut run = [(); xsk_core::ring::MAX_CAPACITY as usize];
        let run = &mut run[..room.min(xsk_core::ring::MAX_CAPACITY as usize)];
        let consumed = ring.consume(run, |(), desc| {
            match intake.take(desc) {
                Taken::Packet(packet) => batch.put(packet),
                Taken::Nothing => {}
                Taken::Bad(kind) => trouble.note("RX", index, desc, kind),
            }
            index = index.wrapping_add(1);
        });
        match consumed {
            Ok(0) if room > 0 => self.wake(),
            Ok(_) => {}
            Err(index) => self.trouble.defer(self.shared.broken("RX", index)),
        }
        let count = batch.len() - before;
        self.received += count as u64;
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
        let (memory, owner) = (self.intake.pool.memory(), self.intake.owner);
        let mut put = 0;
        while missing > 0 {
            let frames = cache.at_hand(missing.min(BURST));
            let count = self.fill.produce(frames, |frame| {
                memory.set_owner(*frame, owner);
                memory.address(*frame, 0)
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

    /// Makes the kernel look at the fill ring, if it asks for that.
    #[inline]
    pub(super) fn wake(&mut self) {
        if self.fill.needs_wakeup() {
            self.wakeups += 1;
            self.check(self.shared.wake_rx());
        }
    }

    fn check(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.trouble.defer(error);
        }
    }
}
