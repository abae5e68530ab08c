//! Packets in place: from the RX ring to a TX ring, or back to the fill ring, without an owner in between.

use xsk_core::abi::xdp_desc;

use super::error::PortError;
use super::receive::{RxSide, Taken};
use super::transmit::{TxSide, describe, is_plain};
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

/// The descriptors of one burst. Whatever happens, also a panic of the user, each frame ends up where it belongs.
struct Burst<'a, 'b> {
    rx: &'a mut RxSide,
    tx: Option<&'a mut TxSide>,
    cache: &'a mut Cache,
    input: &'b [xdp_desc],
    /// Of `input`, those before were shown.
    next: usize,
    /// The index on the RX ring of the first of `input`.
    index: u32,
    output: &'b mut [xdp_desc; BURST],
    /// Of `output`, those to be sent. Their frames are noted to be with the kernel, to send.
    ready: usize,
}

/// Shows the packets of one burst, and sends those that are to be sent through `tx`.
pub(super) fn run(
    rx: &mut RxSide,
    mut tx: Option<&mut TxSide>,
    cache: &mut Cache,
    mut show: impl FnMut(&mut Packet) -> Verdict,
) -> Result<Forwarded, PortError> {
    let mut room = BURST;
    if let Some(tx) = tx.as_deref_mut() {
        tx.reap(cache);
        match tx.ring.free(BURST as u32) {
            Ok(free) => room = room.min(free as usize),
            Err(index) => {
                tx.trouble.defer(tx.shared.broken("TX", index));
                room = 0;
            }
        }
    }
    cache.make_room();
    rx.top_up(cache);
    let (mut input, mut output) = ([xdp_desc::default(); BURST], [xdp_desc::default(); BURST]);
    let index = rx.ring.index();
    let count = match rx.ring.consume(&mut input[..room], |to, desc| *to = desc) {
        Ok(count) => count as usize,
        Err(index) => {
            rx.trouble.defer(rx.shared.broken("RX", index));
            0
        }
    };
    if count == 0 {
        rx.wake();
        if let Some(tx) = tx {
            tx.kick();
            tx.trouble.or(0, &tx.shared)?;
        }
        rx.trouble.or(0, &rx.shared)?;
        return Ok(Forwarded::default());
    }
    let input = &input[..count];
    let mut burst = Burst { rx, tx, cache, input, next: 0, index, output: &mut output, ready: 0 };
    let mut done = Forwarded::default();
    while let Some(mut packet) = burst.next() {
        done.received += 1;
        match show(&mut packet) {
            Verdict::Send => burst.send(packet, &mut done),
            Verdict::Drop => burst.recycle(packet),
        }
    }
    burst.rx.received += done.received as u64;
    drop(burst);
    Ok(done)
}

impl Burst<'_, '_> {
    /// The next packet of the burst.
    #[inline(always)]
    fn next(&mut self) -> Option<Packet> {
        while let Some(desc) = self.input.get(self.next) {
            self.next += 1;
            match self.rx.intake.take(*desc) {
                Taken::Packet(packet) => return Some(packet),
                Taken::Nothing => {}
                Taken::Bad(kind) => {
                    let index = self.index.wrapping_add(self.next as u32 - 1);
                    self.rx.trouble.note("RX", index, *desc, kind);
                }
            }
        }
        None
    }

    #[inline(always)]
    fn send(&mut self, packet: Packet, done: &mut Forwarded) {
        if let Some(tx) = self.tx.as_deref_mut()
            && is_plain(&packet, &tx.pool)
            // Each packet before was at least one descriptor of the input, unless the user exchanged it.
            && self.ready < self.next
        {
            let memory = tx.pool.memory();
            memory.set_owner(packet.frame(), tx.owner);
            self.output[self.ready] = describe(&packet, memory);
            self.ready += 1;
            packet.into_frames();
            done.sent += 1;
        } else {
            self.send_other(packet, done);
        }
    }

    /// Packets of several segments, and those that cannot be sent.
    #[cold]
    #[inline(never)]
    fn send_other(&mut self, packet: Packet, done: &mut Forwarded) {
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

    /// The packet's frame is at hand for the fill ring.
    #[inline(always)]
    fn recycle(&mut self, packet: Packet) {
        if packet.is_of(self.cache.pool().pointer()) && packet.is_linear() {
            self.cache.put(packet.frame());
            packet.into_frames();
        }
    }

    /// Puts what is ready on the TX ring.
    #[inline]
    fn put(&mut self) {
        let Some(tx) = self.tx.as_deref_mut() else { return };
        let put = tx.ring.produce(&self.output[..self.ready], |desc| *desc).unwrap_or(0) as usize;
        tx.sent += put as u64;
        tx.outstanding += put;
        self.ready -= put;
    }
}

impl Drop for Burst<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // Nothing is left, unless the user panicked.
        while let Some(packet) = self.next() {
            drop(packet);
        }
        self.put();
        if let Some(tx) = self.tx.as_deref_mut() {
            tx.kick();
        }
        self.rx.top_up(self.cache);
    }
}
