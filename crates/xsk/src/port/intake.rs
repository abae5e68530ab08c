//! Descriptors from the kernel become packets, once everything about them is right.

use std::ptr::NonNull;

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

use super::error::ViolationKind;
use super::trouble::Trouble;
use crate::packet::Packet;
use crate::pool::{Memory, Owner, Pool, View};

/// What is looked at for each descriptor, to be kept in registers over a burst.
#[derive(Clone, Copy)]
pub(super) struct Intake<'a> {
    pub(super) view: View<'a>,
    memory: &'a Memory,
    pub(super) pointer: NonNull<Memory>,
    pub(super) owner: Owner,
}

/// A packet of several segments that is on its way.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    state: State,
    /// The state is not `Between`.
    pub(super) is_under_way: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    /// The packet so far, and the frame of its last segment.
    Begun(Packet, u32),
    /// A segment was bad: the rest of the packet goes the same way.
    Spoiled,
}

impl<'a> Intake<'a> {
    /// Takes back frames of `pool` that `owner` has.
    #[inline(always)]
    pub(super) fn new(pool: &'a Pool, owner: Owner) -> Self {
        let memory = pool.memory();
        Self { view: memory.view(), memory, pointer: pool.pointer(), owner }
    }

    /// The same, which takes nothing if `other`: for packets of several segments, which [`take_other`](Self::take_other) takes.
    #[inline(always)]
    pub(super) fn unless(self, other: bool) -> Self {
        if other { Self { view: self.view.empty(), ..self } } else { self }
    }

    /// Takes the frame of a descriptor, as its words, back from the kernel, if there is nothing special about it. The frame, and
    /// the packet in it, which has some bytes.
    #[inline(always)]
    pub(super) fn take_plain(&self, words: (u64, u64)) -> Option<(usize, Packet)> {
        // SAFETY: it is noted before another descriptor is looked at.
        let (frame, packet) = unsafe { self.find_plain(words) }?;
        // SAFETY: it was found.
        unsafe { self.view.set_owner(frame, Owner::USER) };
        Some((frame, packet))
    }

    /// As [`take_plain`](Self::take_plain), but it is still noted that the kernel has the frame.
    ///
    /// # Safety
    /// No other descriptor is looked at before that is mended, or the kernel has the frame again and the packet is gone.
    #[inline(always)]
    pub(super) unsafe fn find_plain(&self, (addr, len_and_options): (u64, u64)) -> Option<(usize, Packet)> {
        let frame = self.view.find(addr, self.owner)?;
        // Options, above the length, make it longer than any frame.
        if !self.view.fits(addr, len_and_options) {
            return None;
        }
        // SAFETY: the frame is one of the pool's, and until now was with the kernel: this port gave it, and the kernel
        // has just given it back. Offset and length are within it, and a frame is at most 32768 bytes.
        Some((frame, unsafe { Packet::new(self.pointer, addr, len_and_options as u16) }))
    }

    /// Packets of several segments, those without bytes, and bad descriptors, of which it takes a note. The packet, if it is
    /// complete.
    #[cold]
    #[inline(never)]
    pub(super) fn take_other(
        self,
        desc: xdp_desc,
        assembly: &mut Assembly,
        trouble: &mut Trouble,
        index: u32,
    ) -> Option<Packet> {
        let before = std::mem::take(&mut assembly.state);
        let taken = match self.take_segment(desc) {
            // The rest of its packet is worth nothing, if there is one.
            Err(kind) => {
                if desc.options == XDP_PKT_CONTD {
                    assembly.state = State::Spoiled;
                }
                trouble.note("RX", index, desc, kind);
                None
            }
            Ok(segment) => self.join(desc, segment, before, &mut assembly.state),
        };
        assembly.is_under_way = !matches!(assembly.state, State::Between);
        taken
    }

    /// A packet of this descriptor alone.
    fn take_segment(&self, desc: xdp_desc) -> Result<Packet, ViolationKind> {
        let Some(frame) = self.view.find(desc.addr, self.owner) else {
            let (frame, _) = self.memory.split(desc.addr);
            let is_outside = frame >= u64::from(self.memory.frames());
            return Err(if is_outside { ViolationKind::Address } else { ViolationKind::NotWithKernel });
        };
        // SAFETY: it was found.
        unsafe { self.view.set_owner(frame, Owner::USER) };
        let fits = desc.len == 0 || self.view.fits(desc.addr, desc.len.into());
        let len = if fits { desc.len as u16 } else { 0 };
        // SAFETY: as in `take_plain`. Of a bad descriptor the frame alone counts: it goes home.
        let segment = unsafe { Packet::new(self.pointer, desc.addr, len) };
        if !fits {
            Err(ViolationKind::Length)
        } else if desc.options & !XDP_PKT_CONTD != 0 {
            Err(ViolationKind::Options)
        } else {
            Ok(segment)
        }
    }

    fn join(&self, desc: xdp_desc, segment: Packet, before: State, state: &mut State) -> Option<Packet> {
        let (more, frame) = (desc.options & XDP_PKT_CONTD != 0, segment.frame());
        let packet = match before {
            State::Between => segment,
            State::Begun(mut packet, last) => {
                let (offset, len) = (segment.offset(), segment.first_len());
                segment.into_frames();
                // SAFETY: the frame is ours alone, as `segment` was, and `last` the last of the packet.
                unsafe { packet.add_segment(last, frame, offset, len) };
                packet
            }
            State::Spoiled => {
                if more {
                    *state = State::Spoiled;
                }
                return None;
            }
        };
        if !more {
            return Some(packet);
        }
        *state = State::Begun(packet, frame);
        None
    }
}
