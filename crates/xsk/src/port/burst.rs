//! Packets in place: from the RX ring to a TX ring, or back to the fill ring, without an owner in between.

use xsk_core::abi::xdp_desc;

use super::error::PortError;
use super::intake::Intake;
use super::receive::RxSide;
use super::transmit::{TxSide, describe};
use crate::packet::Packet;
use crate::pool::{BURST, Cache};

/// What becomes of a packet that [`Port::forward`](super::Port::forward) shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Its frame goes back to be received into.
    Drop,
    /// It is sent.
    Send,
}

/// What became of the packets of one call of [`Port::forward`](super::Port::forward), in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwarded {
    /// Received and shown.
    pub received: usize,
    /// Put on the TX ring.
    pub sent: usize,
    /// To be sent, but they could not be: left without bytes, or exchanged for a packet of another pool or with more segments
    /// than there was room for. They are dropped.
    pub refused: usize,
}

/// What a burst works on. Whatever happens, also a panic of the user, each frame ends up where it belongs: what was put on a
/// ring is published and the kernel told, and what was not shown stays on the RX ring.
struct Burst<'a, 'b> {
    rx: &'a mut RxSide,
    tx: Option<&'b mut TxSide>,
    cache: &'b mut Cache,
    /// Descriptors that it takes at most.
    left: u32,
    /// The index on the TX ring up to which what was put there is counted.
    counted: u32,
}

/// Shows the packets of one burst, and sends those that are to be sent through `tx`.
#[inline]
pub(super) fn run(
    rx: &mut RxSide,
    mut tx: Option<&mut TxSide>,
    cache: &mut Cache,
    mut show: impl FnMut(&mut Packet) -> Verdict,
) -> Result<Forwarded, PortError> {
    if let Some(tx) = tx.as_deref_mut() {
        tx.reap_into(rx, cache);
    }
    cache.make_room();
    let mut done = Forwarded::default();
    let left = {
        let counted = tx.as_deref().map_or(0, |tx| tx.ring.index());
        let mut burst = Burst { rx, tx: tx.as_deref_mut(), cache, left: BURST as u32, counted };
        while burst.show(&mut show, &mut done) {}
        burst.left
    };
    if left == BURST as u32 {
        return nothing(rx, tx);
    }
    rx.received += done.received as u64;
    Ok(done)
}

/// No packet was there.
#[cold]
#[inline(never)]
fn nothing(rx: &mut RxSide, tx: Option<&mut TxSide>) -> Result<Forwarded, PortError> {
    rx.wake_idle();
    if let Some(tx) = tx {
        tx.trouble.or(0, &tx.shared)?;
    }
    rx.trouble.or(0, &rx.shared)?;
    Ok(Forwarded::default())
}

/// Something that is not done with in a word or two.
enum Special {
    /// The next descriptor.
    Descriptor,
    Packet(Packet, Verdict),
}

impl Burst<'_, '_> {
    /// Shows packets and moves them on. False if that is all for now.
    #[inline(always)]
    fn show(&mut self, show: &mut impl FnMut(&mut Packet) -> Verdict, done: &mut Forwarded) -> bool {
        let (special, is_cut) =
            if self.tx.is_some() { self.show_and_send(show, done) } else { self.show_and_drop(show, done) };
        let special = match special {
            None => return is_cut,
            Some(Special::Packet(packet, verdict)) => Some((packet, verdict)),
            Some(Special::Descriptor) => self.take_other().map(|mut packet| {
                let verdict = show(&mut packet);
                done.received += 1;
                (packet, verdict)
            }),
        };
        if let Some((packet, verdict)) = special {
            self.end_other(packet, verdict, done);
        }
        true
    }

    /// Shows packets as long as there is nothing special about them, and sends them in place. What changes for each is in
    /// registers, as nothing but the user is called.
    #[inline(always)]
    fn show_and_send(
        &mut self,
        show: &mut impl FnMut(&mut Packet) -> Verdict,
        done: &mut Forwarded,
    ) -> (Option<Special>, bool) {
        let RxSide { ring, pool, owner, assembly, trouble, shared, .. } = &mut *self.rx;
        let intake = Intake::new(pool, *owner).unless(assembly.is_under_way);
        // Of the same pool as what is received: the callers look.
        let Some(tx) = self.tx.as_deref_mut() else { return (None, false) };
        let mut slots = match tx.ring.slots(self.left, 0) {
            Ok(slots) => slots,
            Err(index) => {
                tx.trouble.defer(tx.shared.broken("TX", index));
                return (None, false);
            }
        };
        let room = slots.room();
        let mut entries = match ring.entries(room) {
            Ok(entries) => entries,
            Err(index) => {
                trouble.defer(shared.broken("RX", index));
                return (None, false);
            }
        };
        let sender = tx.owner;
        let mut special = None;
        while let Some(desc) = entries.peek() {
            let Some((frame, mut packet)) = intake.take_plain(desc.words()) else {
                special = Some(Special::Descriptor);
                break;
            };
            entries.next();
            let before = packet.place();
            let verdict = show(&mut packet);
            // Where it was: nothing has to be found out again.
            let (frame, (addr, len)) = if packet.is_at(intake.pointer, before) {
                (frame, desc.words())
            } else if packet.is_plain(intake.pointer) {
                (intake.view.frame(packet.address()), describe(&packet))
            } else {
                special = Some(Special::Packet(packet, verdict));
                break;
            };
            if verdict == Verdict::Drop {
                self.cache.put(frame as u32);
            } else if slots.put(xdp_desc::from_words(addr, len)) {
                // SAFETY: the frame of a packet of this pool.
                unsafe { intake.view.set_owner(frame, sender) };
            } else {
                special = Some(Special::Packet(packet, verdict));
                break;
            }
            packet.into_frames();
        }
        done.received += entries.taken() as usize;
        done.sent += slots.written() as usize;
        self.left -= entries.taken();
        let is_cut = entries.is_cut() | (slots.is_cut() & (entries.taken() == room));
        (special, is_cut & (self.left > 0))
    }

    /// As [`show_and_send`](Self::show_and_send), but the frames are received into again.
    #[inline(always)]
    fn show_and_drop(
        &mut self,
        show: &mut impl FnMut(&mut Packet) -> Verdict,
        done: &mut Forwarded,
    ) -> (Option<Special>, bool) {
        let RxSide { ring, fill, pool, owner, assembly, trouble, shared, level, filled, .. } = &mut *self.rx;
        let intake = Intake::new(pool, *owner).unless(assembly.is_under_way);
        let mut dropped = match fill.slots(self.left, fill.capacity() - *level) {
            Ok(slots) => slots,
            Err(index) => {
                trouble.defer(shared.broken("fill", index));
                return (None, false);
            }
        };
        let mut entries = match ring.entries(self.left) {
            Ok(entries) => entries,
            Err(index) => {
                trouble.defer(shared.broken("RX", index));
                return (None, false);
            }
        };
        let mut special = None;
        while let Some(desc) = entries.peek() {
            let Some((frame, mut packet)) = intake.take_plain(desc.words()) else {
                special = Some(Special::Descriptor);
                break;
            };
            entries.next();
            let before = packet.place();
            let verdict = show(&mut packet);
            if !packet.is_at(intake.pointer, before) {
                special = Some(Special::Packet(packet, verdict));
                break;
            }
            if dropped.put(intake.view.start(desc.addr)) {
                // SAFETY: the frame of a packet of this pool.
                unsafe { intake.view.set_owner(frame, intake.owner) };
            } else {
                self.cache.put(frame as u32);
            }
            packet.into_frames();
        }
        *filled |= dropped.written() > 0;
        done.received += entries.taken() as usize;
        self.left -= entries.taken();
        (special, entries.is_cut() & (self.left > 0))
    }

    /// Takes the next descriptor, which has something special about it, and those that belong to it: its packet, if it is one.
    #[cold]
    #[inline(never)]
    fn take_other(&mut self) -> Option<Packet> {
        let RxSide { ring, pool, owner, assembly, trouble, .. } = &mut *self.rx;
        let intake = Intake::new(pool, *owner);
        let most = match self.tx.as_deref_mut() {
            Some(tx) => tx.ring.free(self.left).unwrap_or(0).min(self.left),
            None => self.left,
        };
        let mut entries = ring.entries(most).ok()?;
        let mut packet = None;
        while let Some(desc) = entries.next() {
            let index = entries.index().wrapping_sub(1);
            packet = intake.take_other(desc, assembly, trouble, index);
            if packet.is_some() || !assembly.is_under_way {
                break;
            }
        }
        self.left -= entries.taken();
        packet
    }

    /// Packets of several segments, and those that cannot be sent.
    #[cold]
    #[inline(never)]
    fn end_other(&mut self, packet: Packet, verdict: Verdict, done: &mut Forwarded) {
        self.count();
        if verdict == Verdict::Drop {
            // Back to its pool.
        } else if let Some(tx) = self.tx.as_deref_mut()
            && tx.put_in_burst(&packet)
        {
            packet.into_frames();
            done.sent += 1;
            self.counted = tx.ring.index();
        } else {
            done.refused += 1;
        }
    }

    /// Counts what was put on the TX ring in place: a frame for each packet.
    #[inline(always)]
    fn count(&mut self) {
        if let Some(tx) = self.tx.as_deref_mut() {
            let put = tx.ring.index().wrapping_sub(self.counted);
            tx.sent += u64::from(put);
            tx.outstanding += put as usize;
            self.counted = tx.ring.index();
        }
    }
}

impl Drop for Burst<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        self.count();
        self.rx.fill_up(self.cache);
        // One fence for both rings.
        let asks_tx = self.tx.as_deref_mut().and_then(TxSide::waiting);
        if asks_tx.is_some() || self.rx.filled {
            self.rx.fill.wakeup_fence();
            if let (Some(tx), Some(left)) = (self.tx.as_deref_mut(), asks_tx) {
                tx.wake_fenced(left);
            }
            self.rx.wake_fenced();
        }
    }
}
