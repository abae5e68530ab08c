//! Packets in place: from the RX ring to a TX ring, or back to the fill ring, without an owner in between.

use std::mem::ManuallyDrop;

use xsk_core::abi::xdp_desc;
use xsk_core::ring::Pass;

use super::error::PortError;
use super::intake::Intake;
use super::receive::RxSide;
use super::transmit::{TxSide, describe};
use crate::packet::Packet;
use crate::pool::{BURST, Cache, Owner, View};
use crate::queue::{EntriesOf, SlotsOf};

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
struct Burst<'a> {
    rx: &'a mut RxSide,
    tx: Option<&'a mut TxSide>,
    cache: &'a mut Cache,
    /// Descriptors that it takes at most.
    left: u32,
    done: Forwarded,
}

/// Shows the packets of one burst, and sends those that are to be sent through `tx`, which is of the same pool. The fill ring was
/// seen to before.
#[inline]
pub(super) fn forward(
    rx: &mut RxSide,
    tx: &mut TxSide,
    cache: &mut Cache,
    mut show: impl FnMut(&mut Packet) -> Verdict,
) -> Result<Forwarded, PortError> {
    let mut burst = Burst::new(rx, Some(tx), cache);
    match burst.show_and_send(&mut show) {
        Rest::Nothing => burst.end(),
        rest => burst.go_on(rest, &mut show),
    }
}

/// Shows the packets of one burst, and receives into their frames again.
#[inline]
pub(super) fn for_each(
    rx: &mut RxSide,
    cache: &mut Cache,
    mut show: impl FnMut(&mut Packet),
) -> Result<usize, PortError> {
    cache.make_room();
    let mut show = |packet: &mut Packet| {
        show(packet);
        Verdict::Drop
    };
    let mut burst = Burst::new(rx, None, cache);
    let done = match burst.show_and_drop(&mut show) {
        Rest::Nothing => burst.end(),
        rest => burst.go_on(rest, &mut show),
    };
    done.map(|done| done.received)
}

/// What is not done with in a word or two.
enum Rest {
    /// All that there was is done with.
    Nothing,
    /// More, behind the end of a ring, or if there is no room for it.
    More,
    /// The next descriptor.
    Descriptor,
    Packet(Packet, Verdict),
}

/// Descriptors on their way off the RX ring, and to the TX ring. Those that were moved count, also if the user panics.
struct Moving<'a> {
    entries: EntriesOf<'a, xdp_desc>,
    slots: Option<SlotsOf<'a, xdp_desc>>,
    left: &'a mut u32,
    done: &'a mut Forwarded,
}

impl Drop for Moving<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.left -= self.entries.taken();
        self.done.received += self.entries.taken() as usize;
        self.done.sent += self.slots.as_ref().map_or(0, |slots| slots.written() as usize);
    }
}

/// A frame whose packet is shown, while it is still noted that the kernel has it. When this is dropped that is mended.
///
/// Nobody but the port that shows it, and which is busy with that, believes such a note; nobody else makes one. So whoever got the
/// frame meanwhile and noted something has his note, and a note that is still the old one is nobody's.
struct Shown<'a> {
    view: View<'a>,
    frame: usize,
    owner: Owner,
}

impl<'a> Shown<'a> {
    /// The packet of a descriptor about which there is nothing special.
    #[inline(always)]
    fn new(intake: &Intake<'a>, words: (u64, u64)) -> Option<(Self, Packet)> {
        // SAFETY: what shows it notes whose the frame is before it goes on to the next descriptor, or drops this, which does so.
        let (frame, packet) = unsafe { intake.find_plain(words) }?;
        Some((Self { view: intake.view, frame, owner: intake.owner }, packet))
    }
}

impl Drop for Shown<'_> {
    /// The packet was exchanged, or somebody panics: by now its frame may be anybody's.
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it was found.
        unsafe { self.view.pass_on(self.frame, self.owner, Owner::USER) };
    }
}

impl<'a> Burst<'a> {
    #[inline(always)]
    fn new(rx: &'a mut RxSide, tx: Option<&'a mut TxSide>, cache: &'a mut Cache) -> Self {
        Self { rx, tx, cache, left: BURST as u32, done: Forwarded::default() }
    }

    /// Shows packets as long as there is nothing special about them, and sends them in place.
    #[inline(always)]
    fn show_and_send(&mut self, show: &mut impl FnMut(&mut Packet) -> Verdict) -> Rest {
        let RxSide { ring, pool, owner, assembly, trouble, shared, .. } = &mut *self.rx;
        let Some(tx) = self.tx.as_deref_mut() else { return Rest::Nothing };
        let entries = match ring.entries(self.left) {
            Ok(entries) => entries,
            Err(index) => {
                trouble.defer(shared.broken("RX", index));
                return Rest::Nothing;
            }
        };
        let wanted = entries.wanted();
        let slots = match tx.ring.slots(wanted, 0) {
            Ok(slots) => slots,
            Err(index) => {
                tx.trouble.defer(tx.shared.broken("TX", index));
                return Rest::Nothing;
            }
        };
        let mut moving = Moving { entries, slots: Some(slots), left: &mut self.left, done: &mut self.done };
        let intake = Intake::new(pool, *owner).unless(assembly.is_under_way);
        let sender = tx.owner;
        let mut special = ManuallyDrop::new(None);
        let Moving { entries, slots: Some(slots), .. } = &mut moving else { return Rest::Nothing };
        let is_ended = entries.pass_to(slots, |desc| {
            let Some((shown, mut packet)) = Shown::new(&intake, desc.words()) else {
                return Pass::End;
            };
            let (frame, before) = (shown.frame, packet.place());
            let verdict = show(&mut packet);
            // Where it was: nothing has to be found out again.
            let (frame, pass) = if packet.is_at(intake.pointer, before) {
                std::mem::forget(shown);
                (frame, Pass::On)
            } else if packet.is_plain(intake.pointer) {
                let (addr, len) = describe(&packet);
                let now = intake.view.frame(addr);
                if now == frame {
                    std::mem::forget(shown);
                }
                (now, Pass::OnAs(xdp_desc::from_words(addr, len)))
            } else {
                *special = Some((packet, verdict));
                return Pass::End;
            };
            packet.into_frames();
            if verdict == Verdict::Drop {
                // SAFETY: the frame of a packet of this pool.
                unsafe { intake.view.set_owner(frame, Owner::USER) };
                self.cache.make_room();
                self.cache.put(frame as u32);
                return Pass::Out;
            }
            // SAFETY: the frame of a packet of this pool.
            unsafe { intake.view.set_owner(frame, sender) };
            pass
        });
        let taken = entries.taken();
        drop(moving);
        // Nothing ended it.
        if taken == wanted {
            return Rest::Nothing;
        }
        match ManuallyDrop::into_inner(special) {
            Some((packet, verdict)) => {
                self.take_shown();
                Rest::Packet(packet, verdict)
            }
            None if is_ended => Rest::Descriptor,
            None => Rest::More,
        }
    }

    /// As [`show_and_send`](Self::show_and_send), but the frames are received into again.
    #[inline(always)]
    fn show_and_drop(&mut self, show: &mut impl FnMut(&mut Packet) -> Verdict) -> Rest {
        let RxSide { ring, fill, pool, owner, assembly, trouble, shared, spare, filled, .. } = &mut *self.rx;
        let intake = Intake::new(pool, *owner).unless(assembly.is_under_way);
        let mut dropped = match fill.slots(self.left, *spare) {
            Ok(slots) => slots,
            Err(index) => {
                trouble.defer(shared.broken("fill", index));
                return Rest::Nothing;
            }
        };
        let entries = match ring.entries(self.left) {
            Ok(entries) => entries,
            Err(index) => {
                trouble.defer(shared.broken("RX", index));
                return Rest::Nothing;
            }
        };
        let mut moving = Moving { entries, slots: None, left: &mut self.left, done: &mut self.done };
        let entries = &mut moving.entries;
        let mut rest = Rest::More;
        while let Some(desc) = entries.peek() {
            let Some((shown, mut packet)) = Shown::new(&intake, desc.words()) else {
                rest = Rest::Descriptor;
                break;
            };
            entries.next();
            let (frame, before) = (shown.frame, packet.place());
            let verdict = show(&mut packet);
            if !packet.is_at(intake.pointer, before) {
                rest = Rest::Packet(packet, verdict);
                break;
            }
            std::mem::forget(shown);
            // What is noted of it is so again.
            if !dropped.put(intake.view.start(desc.addr)) {
                // SAFETY: the frame of a packet of this pool.
                unsafe { intake.view.set_owner(frame, Owner::USER) };
                self.cache.put(frame as u32);
            }
            packet.into_frames();
        }
        *filled |= dropped.written() > 0;
        let (wanted, taken) = (entries.wanted(), entries.taken());
        drop((moving, dropped));
        if taken == wanted && matches!(rest, Rest::More) { Rest::Nothing } else { rest }
    }

    /// The rest of a burst in which something is rare.
    #[cold]
    #[inline(never)]
    fn go_on(
        mut self,
        mut rest: Rest,
        mut show: &mut dyn FnMut(&mut Packet) -> Verdict,
    ) -> Result<Forwarded, PortError> {
        loop {
            let before = self.left;
            match rest {
                Rest::Nothing => break,
                Rest::More => {}
                Rest::Packet(packet, verdict) => self.end_other(packet, verdict),
                Rest::Descriptor => {
                    if let Some(mut packet) = self.take_other() {
                        self.done.received += 1;
                        let verdict = show(&mut packet);
                        self.end_other(packet, verdict);
                    }
                }
            }
            rest =
                if self.tx.is_some() { self.show_and_send(&mut show) } else { self.show_and_drop(&mut show) };
            if self.left == before && matches!(rest, Rest::More) {
                break;
            }
        }
        self.end()
    }

    /// Takes the next descriptor, whose packet was shown.
    #[cold]
    #[inline(never)]
    fn take_shown(&mut self) {
        let Ok(entries) = self.rx.ring.entries(1) else { return };
        let mut moving = Moving { entries, slots: None, left: &mut self.left, done: &mut self.done };
        moving.entries.next();
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
            if packet.is_some() {
                break;
            }
        }
        self.left -= entries.taken();
        packet
    }

    /// Packets of several segments, and those that cannot be sent.
    #[cold]
    #[inline(never)]
    fn end_other(&mut self, packet: Packet, verdict: Verdict) {
        if verdict == Verdict::Drop {
            // Back to its pool.
        } else if let Some(tx) = self.tx.as_deref_mut()
            && tx.put_in_burst(&packet)
        {
            packet.into_frames();
            self.done.sent += 1;
        } else {
            self.done.refused += 1;
        }
    }

    /// The end, if nobody panics.
    #[inline(always)]
    fn end(self) -> Result<Forwarded, PortError> {
        let burst = &mut *ManuallyDrop::new(self);
        if burst.left == BURST as u32 {
            return nothing(burst.rx, burst.tx.as_deref_mut(), burst.cache);
        }
        account(burst.rx, burst.tx.as_deref_mut(), burst.cache, burst.done);
        Ok(burst.done)
    }
}

/// No packet was there.
#[cold]
#[inline(never)]
fn nothing(rx: &mut RxSide, tx: Option<&mut TxSide>, cache: &mut Cache) -> Result<Forwarded, PortError> {
    match tx {
        Some(tx) => {
            tx.kick();
            rx.wake_idle();
            tx.trouble.or(0, &tx.shared)?;
        }
        None => {
            rx.fill_up(cache);
            rx.wake_idle();
        }
    }
    rx.trouble.or(0, &rx.shared)?;
    Ok(Forwarded::default())
}

/// Counts what was done, and wakes the kernel up.
#[inline(always)]
fn account(rx: &mut RxSide, mut tx: Option<&mut TxSide>, cache: &mut Cache, done: Forwarded) {
    rx.received += done.received as u64;
    // Some frames came back.
    if done.sent != done.received {
        rx.fill_up(cache);
    }
    let mut is_waiting = rx.filled;
    if let Some(tx) = tx.as_deref_mut() {
        tx.sent += done.sent as u64;
        let has_sent = done.sent > 0;
        is_waiting |= has_sent || tx.outstanding() > 0;
    }
    // One fence for both rings.
    if is_waiting {
        rx.fill.wakeup_fence();
        if let Some(tx) = tx {
            tx.wake_fenced();
        }
        rx.wake_fenced();
    }
}

impl Drop for Burst<'_> {
    /// The user panics: the rings were published, and what was moved counts.
    #[inline(always)]
    fn drop(&mut self) {
        account_late(self.rx, self.tx.as_deref_mut(), self.cache, self.done);
    }
}

#[cold]
#[inline(never)]
fn account_late(rx: &mut RxSide, tx: Option<&mut TxSide>, cache: &mut Cache, done: Forwarded) {
    account(rx, tx, cache, done);
}
