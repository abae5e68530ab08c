//! Packets in place: from the RX ring to a TX ring, or back to the fill ring, without an owner in between.

use xsk_core::abi::xdp_desc;

use super::error::PortError;
use super::intake::{Assembly, Intake, Taken};
use super::receive::RxSide;
use super::transmit::{TxSide, describe};
use super::trouble::Trouble;
use crate::packet::Packet;
use crate::pool::{BURST, Cache, Owner};

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

/// The descriptors of one burst. Whatever happens, also a panic of the user, each frame ends up where it belongs.
struct Burst<'a, 'b> {
    intake: Intake<'a>,
    assembly: &'a mut Assembly,
    trouble: &'a mut Trouble,
    tx: Option<&'b mut TxSide>,
    cache: &'b mut Cache,
    input: &'a [xdp_desc],
    /// The index on the RX ring behind the last of `input`.
    end: u32,
    output: &'a mut [xdp_desc; BURST],
    dropped: &'a mut [u64; BURST],
    at: Progress,
}

/// How far a burst is.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Of the input, those before were taken.
    next: usize,
    /// Of the output, those to be sent. Their frames are noted to be with the kernel, to send.
    ready: usize,
    /// Those of the input that are neither in `ready` nor in `dropped`.
    gone: usize,
}

impl Progress {
    /// Of the dropped, those to be received into again.
    #[inline(always)]
    fn dropped(self) -> usize {
        self.next - self.ready - self.gone
    }
}

/// Shows the packets of one burst, and sends those that are to be sent through `tx`.
#[inline]
pub(super) fn run(
    rx: &mut RxSide,
    mut tx: Option<&mut TxSide>,
    cache: &mut Cache,
    mut show: impl FnMut(&mut Packet) -> Verdict,
) -> Result<Forwarded, PortError> {
    let mut room = BURST;
    if let Some(tx) = tx.as_deref_mut() {
        tx.reap_into(rx, cache);
        match tx.ring.free(BURST as u32) {
            Ok(free) => room = room.min(free as usize),
            Err(index) => {
                tx.trouble.defer(tx.shared.broken("TX", index));
                room = 0;
            }
        }
    }
    rx.top_up(cache);
    cache.make_room();
    let RxSide { ring, pool, owner, assembly, trouble, scratch, .. } = rx;
    let count = match ring.consume(&mut scratch.input[..room], |to, desc| *to = desc) {
        Ok(count) => count as usize,
        Err(index) => {
            trouble.defer(rx.shared.broken("RX", index));
            0
        }
    };
    if count == 0 {
        return nothing(rx, tx);
    }
    let intake = Intake::new(pool, *owner);
    let mut burst = Burst {
        intake,
        assembly,
        trouble,
        tx: tx.as_deref_mut(),
        cache,
        input: &scratch.input[..count],
        end: ring.index(),
        output: &mut scratch.output,
        dropped: &mut scratch.frames,
        at: Progress::default(),
    };
    let done = burst.show(&mut show);
    drop(burst);
    rx.received += done.received as u64;
    if tx.is_none() {
        rx.top_up(cache);
    }
    Ok(done)
}

/// No packet was there.
#[cold]
fn nothing(rx: &mut RxSide, tx: Option<&mut TxSide>) -> Result<Forwarded, PortError> {
    rx.wake_idle();
    if let Some(tx) = tx {
        tx.kick();
        tx.trouble.or(0, &tx.shared)?;
    }
    rx.trouble.or(0, &rx.shared)?;
    Ok(Forwarded::default())
}

/// A packet that is not done with in a word or two.
enum Special {
    /// The last one taken.
    Descriptor,
    Packet(Packet, Verdict),
}

impl Burst<'_, '_> {
    #[inline(always)]
    fn show(&mut self, show: &mut impl FnMut(&mut Packet) -> Verdict) -> Forwarded {
        let mut done = Forwarded::default();
        // Of the same pool as what is received: the callers look.
        let sender = self.tx.as_deref().map(|tx| tx.owner);
        while let Some(special) = self.show_plain(show, sender, &mut done.received) {
            let special = match special {
                Special::Packet(packet, verdict) => Some((packet, verdict)),
                Special::Descriptor => self.take_other().map(|mut packet| {
                    let verdict = show(&mut packet);
                    done.received += 1;
                    (packet, verdict)
                }),
            };
            match special {
                Some((packet, Verdict::Send)) => self.send_other(packet, &mut done),
                // Back to its pool.
                Some((_, Verdict::Drop)) | None => {}
            }
        }
        done.sent += self.at.ready;
        done
    }

    /// Shows packets as long as there is nothing special about them. What changes for each is in registers, as nothing but
    /// the user is called.
    #[inline(always)]
    fn show_plain(
        &mut self,
        show: &mut impl FnMut(&mut Packet) -> Verdict,
        sender: Option<Owner>,
        received: &mut usize,
    ) -> Option<Special> {
        let (intake, sends, sender) = (self.intake, sender.is_some(), sender.unwrap_or(Owner::USER));
        let (input, output, dropped) = (self.input, &mut *self.output, &mut *self.dropped);
        let mut at = self.at;
        let mut special = None;
        let first = at.next;
        if !self.assembly.is_under_way {
            while let Some(desc) = input.get(at.next) {
                at.next += 1;
                let Some(mut packet) = intake.take_plain(*desc) else {
                    special = Some(Special::Descriptor);
                    at.gone += 1;
                    break;
                };
                // For the case that the user panics: this one is gone then.
                (self.at.next, self.at.ready, self.at.gone) = (at.next, at.ready, at.gone + 1);
                let verdict = show(&mut packet);
                if !packet.is_plain(intake.pointer) || (verdict == Verdict::Send && !sends) {
                    special = Some(Special::Packet(packet, verdict));
                    at.gone += 1;
                    break;
                }
                let address = packet.address();
                if verdict == Verdict::Send {
                    // SAFETY: a packet of this pool.
                    unsafe { intake.view.set_owner(intake.view.frame(address), sender) };
                    // SAFETY: no more are ready than were taken from the input, which has `BURST` at most.
                    *unsafe { output.get_unchecked_mut(at.ready) } = describe(&packet);
                    at.ready += 1;
                } else {
                    dropped[(at.dropped() - 1) % BURST] = address;
                }
                packet.into_frames();
            }
        } else if at.next < input.len() {
            (at.next, at.gone) = (at.next + 1, at.gone + 1);
            special = Some(Special::Descriptor);
        }
        self.at = at;
        *received += at.next - first - usize::from(matches!(special, Some(Special::Descriptor)));
        special
    }

    /// The packet of the descriptor that was taken last, which has something special about it.
    #[cold]
    #[inline(never)]
    fn take_other(&mut self) -> Option<Packet> {
        let number = self.at.next - 1;
        let desc = self.input[number];
        match self.intake.take(desc, self.assembly) {
            Taken::Packet(packet) => Some(packet),
            Taken::Nothing => None,
            Taken::Bad(kind) => {
                let behind = (self.input.len() - number) as u32;
                self.trouble.note("RX", self.end.wrapping_sub(behind), desc, kind);
                None
            }
        }
    }

    /// Packets of several segments, and those that cannot be sent.
    #[cold]
    #[inline(never)]
    fn send_other(&mut self, packet: Packet, done: &mut Forwarded) {
        done.sent += self.at.ready;
        self.put();
        if let Some(tx) = self.tx.as_deref_mut()
            && tx.put_in_burst(&packet)
        {
            packet.into_frames();
            done.sent += 1;
        } else {
            done.refused += 1;
        }
    }

    /// Puts what is ready on the TX ring.
    #[inline(never)]
    fn put(&mut self) {
        let Some(tx) = self.tx.as_deref_mut() else { return };
        // There is room for one descriptor for each that was received. Where a packet of several was sent as well, they were
        // as many that were received, unless the user exchanged packets: what does not fit then goes home.
        let ready = &self.output[..self.at.ready];
        let put = tx.ring.produce_some(ready, |desc| *desc).unwrap_or(0) as usize;
        tx.sent += put as u64;
        tx.outstanding += put;
        for desc in &ready[put..] {
            let (frame, _) = tx.pool.memory().split(desc.addr);
            tx.pool.memory().set_owner(frame as u32, Owner::USER);
            self.cache.put(frame as u32);
        }
        (self.at.gone, self.at.ready) = (self.at.gone + self.at.ready, 0);
    }
}

impl Drop for Burst<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // None is left, unless the user panicked.
        while self.at.next < self.input.len() {
            (self.at.next, self.at.gone) = (self.at.next + 1, self.at.gone + 1);
            drop(self.take_other());
        }
        let view = self.intake.view;
        self.cache.put_all(self.dropped[..self.at.dropped()].iter().map(|address| view.frame(*address)));
        self.put();
        if let Some(tx) = self.tx.as_deref_mut() {
            tx.kick();
        }
    }
}
