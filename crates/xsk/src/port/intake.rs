//! Descriptors from the kernel become packets, once everything about them is right.

use std::ptr::NonNull;

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

use super::error::ViolationKind;
use crate::packet::Packet;
use crate::pool::{Memory, Owner, Pool, View};

/// What is looked at for each descriptor, to be kept in registers over a burst.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intake<'a> {
    pub(super) view: View<'a>,
    memory: &'a Memory,
    pub(super) pointer: NonNull<Memory>,
    owner: Owner,
}

/// What a descriptor came to.
pub(super) enum Taken {
    Packet(Packet),
    /// A segment of a packet that is not complete, or of one that is spoiled.
    Nothing,
    Bad(ViolationKind),
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

    /// Takes the frame of a descriptor back from the kernel.
    #[inline(always)]
    pub(super) fn take(&self, desc: xdp_desc, assembly: &mut Assembly) -> Taken {
        if !assembly.is_under_way
            && let Some(packet) = self.take_plain(desc)
        {
            return Taken::Packet(packet);
        }
        self.take_other(desc, assembly)
    }

    /// As [`take`](Self::take), if there is nothing special about the descriptor, and no packet is assembled.
    #[inline(always)]
    pub(super) fn take_plain(&self, desc: xdp_desc) -> Option<Packet> {
        let (frame, offset) = self.view.find(desc.addr, self.owner)?;
        // One comparison for both: with options it is longer than any frame.
        let len_and_options = u64::from(desc.len) | u64::from(desc.options) << 32;
        if len_and_options > self.view.frame_size() - offset {
            return None;
        }
        // SAFETY: it was found.
        unsafe { self.view.set_owner(frame, Owner::USER) };
        // SAFETY: the frame is one of the pool's, and until now was with the kernel: this port gave it, and the kernel
        // has just given it back. Offset and length are within it, and a frame is at most 32768 bytes.
        Some(unsafe { Packet::new(self.pointer, desc.addr, desc.len as u16) })
    }

    /// Packets of several segments, and bad descriptors.
    #[cold]
    #[inline(never)]
    pub(super) fn take_other(&self, desc: xdp_desc, assembly: &mut Assembly) -> Taken {
        let before = std::mem::take(&mut assembly.state);
        let taken = match self.take_segment(desc) {
            // The rest of its packet is worth nothing, if there is one.
            Err(kind) => {
                if desc.options == XDP_PKT_CONTD {
                    assembly.state = State::Spoiled;
                }
                Taken::Bad(kind)
            }
            Ok(segment) => self.join(desc, segment, before, &mut assembly.state),
        };
        assembly.is_under_way = !matches!(assembly.state, State::Between);
        taken
    }

    /// A packet of this descriptor alone.
    fn take_segment(&self, desc: xdp_desc) -> Result<Packet, ViolationKind> {
        let Some((frame, offset)) = self.view.find(desc.addr, self.owner) else {
            let (frame, _) = self.memory.split(desc.addr);
            let is_outside = frame >= u64::from(self.memory.frames());
            return Err(if is_outside { ViolationKind::Address } else { ViolationKind::NotWithKernel });
        };
        // SAFETY: it was found.
        unsafe { self.view.set_owner(frame, Owner::USER) };
        let fits = offset + u64::from(desc.len) <= self.view.frame_size();
        let len = if fits { desc.len as u16 } else { 0 };
        // SAFETY: as in `take`. Of a bad descriptor the frame alone counts: it goes home.
        let segment = unsafe { Packet::new(self.pointer, desc.addr, len) };
        if !fits {
            Err(ViolationKind::Length)
        } else if desc.options & !XDP_PKT_CONTD != 0 {
            Err(ViolationKind::Options)
        } else {
            Ok(segment)
        }
    }

    fn join(&self, desc: xdp_desc, segment: Packet, before: State, state: &mut State) -> Taken {
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
                return Taken::Nothing;
            }
        };
        if !more {
            return Taken::Packet(packet);
        }
        *state = State::Begun(packet, frame);
        Taken::Nothing
    }
}
