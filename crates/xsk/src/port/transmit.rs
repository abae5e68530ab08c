//! The sending half of a port: the TX and the completion ring.

use std::sync::Arc;

use xsk_core::abi::{XDP_PKT_CONTD, XDP_TX_METADATA, xdp_desc};

use super::error::{PortError, ViolationKind};
use super::receive::RxSide;
use super::timestamps::{Timestamps, TxTimestamp};
use super::trouble::Trouble;
use crate::backend::TxOffloads;
use crate::config::MIN_TX_BUDGET;
use crate::error::{Diagnosis, Step};
use crate::packet::{Batch, Packet, Requests};
use crate::pool::{BURST, Cache, Owner, Pool};
use crate::queue::{ConsumerOf, ProducerOf, Shared, TxPass};

/// Segments that Linux sends as one packet, with its default of `MAX_SKB_FRAGS` (`net/xdp/xsk.c:xsk_build_skb`).
const MAX_SEGMENTS: usize = 18;

/// Descriptors that a wakeup takes at least where more wait: 16 in Linux 5.10, 32 in 6.1 and later
/// (`net/xdp/xsk.c:TX_BATCH_SIZE`).
const LEAST_PASS: u32 = 16;

#[derive(Debug)]
pub(super) struct TxSide {
    pub(super) ring: ProducerOf<xdp_desc>,
    pub(super) completion: ConsumerOf<u64>,
    pub(super) pool: Pool,
    pub(super) owner: Owner,
    pub(super) trouble: Trouble,
    pub(super) shared: Arc<Shared>,
    /// Packets that were put on the TX ring.
    pub(super) sent: u64,
    /// What the index of the TX ring is ahead of that of the completion ring when no frame is on the TX ring or with the kernel.
    ahead: u32,
    /// The kernel is woken up for whatever there is to send.
    always_wake: bool,
    /// The index of the TX ring when the kernel was woken up last.
    woken: u32,
    /// System calls for the sending side.
    pub(super) wakeups: u64,
    /// What packets may ask for.
    offloads: TxOffloads,
    pub(super) timestamps: Timestamps,
    /// Packets that the driver dropped.
    pub(super) dropped: u64,
}

/// How it went with one packet.
enum One {
    Sent,
    Full,
    Refused(Diagnosis),
}

/// How it went with frames that were sent.
struct Moved {
    /// So many are on the fill ring.
    count: u32,
    /// Of so many.
    back: u32,
    /// So many were lacking there.
    lack: u32,
}

impl Moved {
    /// All are there, and less than `step` are lacking.
    #[inline(always)]
    fn is_done(&self, step: u32) -> bool {
        self.count == self.back && self.lack - self.count < step
    }
}

/// The words of the descriptor of a packet of one segment.
#[inline(always)]
pub(super) fn describe(packet: &Packet) -> (u64, u64) {
    (packet.address(), packet.first_len().into())
}

/// Why what a packet asks for cannot be sent. The kernel would refuse some of it again and again, and send nothing any more
/// (`net/xdp/xsk.c:xsk_skb_metadata`).
fn refused(requests: &Requests, packet: &Packet, offloads: TxOffloads) -> Option<Diagnosis> {
    let missing = requests.offloads() - offloads;
    if !missing.is_empty() {
        return Some(Diagnosis::NoOffload(missing));
    }
    let (start, offset) = requests.checksum?;
    let (end, len) = (u32::from(start) + u32::from(offset) + 2, u32::from(packet.first_len()));
    (end > len).then_some(Diagnosis::ChecksumOutside { end, len })
}

impl TxSide {
    pub(super) fn new(
        ring: ProducerOf<xdp_desc>,
        completion: ConsumerOf<u64>,
        pool: &Pool,
        [owner, stamped]: [Owner; 2],
        shared: &Arc<Shared>,
        offloads: TxOffloads,
    ) -> Self {
        // As many as can be on their way.
        let on_their_way = (ring.capacity() + completion.capacity()) as usize;
        let has_metadata = pool.memory().reserved() > 0;
        Self {
            timestamps: Timestamps::new(stamped, if has_metadata { on_their_way } else { 0 }),
            offloads,
            ahead: ring.index().wrapping_sub(completion.index()),
            always_wake: shared.always_wake,
            woken: ring.index(),
            ring,
            completion,
            pool: pool.clone(),
            owner,
            trouble: Trouble::default(),
            shared: Arc::clone(shared),
            sent: 0,
            wakeups: 0,
            dropped: 0,
        }
    }

    /// Sends packets from the front of the batch, as many as fit.
    pub(super) fn send(&mut self, cache: &mut Cache, batch: &mut Batch) -> Result<usize, PortError> {
        self.reap(cache);
        let mut sent = 0;
        loop {
            let (put, is_cut) = self.put_plain(batch);
            sent += put;
            if is_cut {
                continue;
            }
            let Some(next) = batch.first() else { break };
            if next.is_plain(self.pool.pointer()) {
                break;
            }
            match self.put_other(next) {
                One::Sent => {
                    batch.forget_front(1);
                    sent += 1;
                }
                One::Full => break,
                One::Refused(diagnosis) => {
                    if sent == 0 {
                        return Err(self.shared.error(Step::MoveDescriptors, diagnosis).into());
                    }
                    break;
                }
            }
        }
        self.sent += sent as u64;
        self.kick();
        self.trouble.or(sent, &self.shared)
    }

    /// Puts the packets of the batch up to the first that is not plain on the ring, as far as there is room before its end.
    /// How many, and whether there is more room behind.
    #[inline]
    fn put_plain(&mut self, batch: &mut Batch) -> (usize, bool) {
        let mut slots = match self.ring.slots(batch.len() as u32, 0) {
            Ok(slots) => slots,
            Err(index) => {
                self.trouble.defer(self.shared.broken("TX", index));
                return (0, false);
            }
        };
        let (view, pointer, owner) = (self.pool.memory().view(), self.pool.pointer(), self.owner);
        for packet in batch.iter() {
            let (addr, len) = describe(packet);
            if !packet.is_plain(pointer) || !slots.put(xdp_desc::from_words(addr, len)) {
                break;
            }
            // SAFETY: a packet of this pool.
            unsafe { view.set_owner(view.frame(addr), owner) };
        }
        let (put, is_cut) = (slots.written() as usize, slots.is_cut() && slots.room() == 0);
        drop(slots);
        batch.forget_front(put);
        (put, is_cut)
    }

    /// Puts a packet on the ring that has several segments, or none that can be sent.
    #[cold]
    fn put_other(&mut self, packet: &Packet) -> One {
        if !packet.is_of(self.pool.pointer()) {
            return One::Refused(Diagnosis::ForeignPool);
        }
        let memory = self.pool.memory();
        let (mut descs, mut count) = ([xdp_desc::default(); MAX_SEGMENTS], 0);
        let most = self.ring.capacity().min(self.completion.capacity()).min(MAX_SEGMENTS as u32);
        for (frame, offset, len) in packet.places() {
            if len == 0 {
                return One::Refused(Diagnosis::EmptyPacket);
            }
            if count == most as usize {
                return One::Refused(Diagnosis::TooManySegments { max: most });
            }
            let addr = memory.address(frame, offset);
            descs[count] = xdp_desc { addr, len: len.into(), options: XDP_PKT_CONTD };
            count += 1;
        }
        descs[count - 1].options = 0;
        let requests = packet.requests();
        if packet.asks() {
            if let Some(diagnosis) = refused(&requests, packet, self.offloads) {
                return One::Refused(diagnosis);
            }
            packet.write_metadata();
            descs[0].options |= XDP_TX_METADATA;
        }
        match self.ring.produce(&descs[..count], |desc| *desc) {
            Ok(0) => One::Full,
            Ok(_) => {
                packet.places().for_each(|(frame, ..)| memory.set_owner(frame, self.owner));
                if let Some(token) = requests.timestamp {
                    self.timestamps.expect(memory, packet, token);
                }
                One::Sent
            }
            Err(index) => {
                self.trouble.defer(self.shared.broken("TX", index));
                One::Full
            }
        }
    }

    /// Sends one packet.
    pub(super) fn send_one(
        &mut self,
        cache: &mut Cache,
        packet: Packet,
    ) -> Result<(), (Packet, Option<PortError>)> {
        self.reap(cache);
        match self.put_other(&packet) {
            One::Sent => {
                packet.into_frames();
                self.sent += 1;
                self.kick();
                Ok(())
            }
            One::Full => {
                self.kick();
                let error = self.trouble.or(0, &self.shared).err();
                Err((packet, error))
            }
            One::Refused(diagnosis) => {
                Err((packet, Some(self.shared.error(Step::MoveDescriptors, diagnosis).into())))
            }
        }
    }

    /// Puts a packet of several segments on the ring, if it can be sent and there is room.
    pub(super) fn put_in_burst(&mut self, packet: &Packet) -> bool {
        matches!(self.put_other(packet), One::Sent)
    }

    /// Frames on the TX ring or with the kernel. Each comes back once on the completion ring: what is no frame of this port's there
    /// is taken into account when it is found.
    #[inline]
    pub(super) fn outstanding(&self) -> u32 {
        self.ring.index().wrapping_sub(self.completion.index()).wrapping_sub(self.ahead)
    }

    /// Takes back the frames that were sent.
    #[inline]
    pub(super) fn reap(&mut self, cache: &mut Cache) {
        match self.completion.available_now() {
            Ok(0) => {}
            Ok(_) => self.reap_home(cache),
            Err(index) => self.trouble.defer(self.shared.broken("completion", index)),
        }
    }

    #[inline(never)]
    fn reap_home(&mut self, cache: &mut Cache) {
        loop {
            cache.make_room();
            let (view, owner) = (self.pool.memory().view(), self.owner);
            let Ok(mut entries) = self.completion.entries(BURST as u32) else { return };
            while let Some(frame) = entries.peek().and_then(|address| view.find(address, owner)) {
                entries.next();
                // SAFETY: it was found.
                unsafe { view.set_owner(frame, Owner::USER) };
                cache.put(frame as u32);
            }
            let (is_special, more) = (entries.len() > 0, entries.taken() == BURST as u32 || entries.is_cut());
            drop(entries);
            if is_special {
                self.take_special(cache);
            } else if !more {
                return;
            }
        }
    }

    /// Takes back the frames that were sent: as many as `rx` lacks go there at once. What it still lacks comes from the cache.
    ///
    /// Both sides are of one pool.
    #[inline(always)]
    pub(super) fn refill(&mut self, rx: &mut RxSide, cache: &mut Cache) {
        if !self.move_back(rx).is_done(rx.step) {
            self.refill_slowly(rx, cache);
        }
    }

    /// Moves frames that were sent to the fill ring, up to the first about which there is something special, and up to the end of
    /// a ring.
    #[inline(always)]
    fn move_back(&mut self, rx: &mut RxSide) -> Moved {
        let mut entries = match self.completion.entries_now() {
            Ok(entries) => entries,
            Err(index) => {
                self.trouble.defer(self.shared.broken("completion", index));
                return Moved { count: 0, back: 0, lack: u32::MAX };
            }
        };
        let mut slots = match rx.fill.slots_now(rx.spare) {
            Ok(slots) => slots,
            Err(index) => {
                rx.trouble.defer(rx.shared.broken("fill", index));
                return Moved { count: 0, back: entries.wanted(), lack: 0 };
            }
        };
        let (view, owner, new) = (self.pool.memory().view(), self.owner, rx.owner);
        // The kernel takes an address for its frame.
        entries.move_to(&mut slots, |address| {
            let Some(frame) = view.find(address, owner) else { return false };
            // SAFETY: it was found.
            unsafe { view.set_owner(frame, new) };
            true
        });
        let moved = Moved { count: entries.taken(), back: entries.wanted(), lack: slots.wanted() };
        if moved.count > 0 {
            rx.filled = true;
        }
        moved
    }

    /// The rest of [`refill`](Self::refill), with all that is rare: rings that end, completions that are special or more than are
    /// lacking, and frames from the cache.
    #[cold]
    #[inline(never)]
    fn refill_slowly(&mut self, rx: &mut RxSide, cache: &mut Cache) {
        let mut left = self.completion.available_now().unwrap_or(0);
        while left > 0 {
            let moved = self.move_back(rx);
            if moved.lack == 0 {
                self.reap_home(cache);
                break;
            }
            if moved.count == 0 {
                self.take_special(cache);
            }
            left = left.saturating_sub(moved.count.max(1));
        }
        rx.fill_up(cache);
    }

    /// Takes an address off the completion ring about which there is something special: a packet that asked when it was sent,
    /// or no frame that was the kernel's to give back, of which it makes a note.
    #[cold]
    #[inline(never)]
    fn take_special(&mut self, cache: &mut Cache) {
        let index = self.completion.index();
        let Some(addr) = self.completion.entries(1).ok().and_then(|mut entries| entries.next()) else {
            return;
        };
        let memory = self.pool.memory();
        if let Some(frame) = self.timestamps.find(memory, addr) {
            memory.set_owner(frame as u32, Owner::USER);
            cache.make_room();
            cache.put(frame as u32);
            return;
        }
        // No frame is back.
        self.ahead = self.ahead.wrapping_sub(1);
        let is_outside = memory.split(addr).0 >= u64::from(memory.frames());
        let kind = if is_outside { ViolationKind::Address } else { ViolationKind::NotWithKernel };
        self.trouble.note("completion", index, xdp_desc { addr, len: 0, options: 0 }, kind);
    }

    /// Wakes the kernel up if there is something to send and it asks for that.
    #[inline]
    pub(super) fn kick(&mut self) {
        if self.outstanding() > 0 {
            self.ring.wakeup_fence();
            self.wake_fenced();
        }
    }

    /// As [`kick`](Self::kick), if there was a fence since the descriptors were published.
    #[inline]
    pub(super) fn wake_fenced(&mut self) {
        if self.always_wake || self.ring.needs_wakeup_fenced() {
            self.wake();
        }
    }

    /// Wakes the kernel up if there is something to send; again, as long as that sends more, as one wakeup may send part of it
    /// only.
    #[cold]
    #[inline(never)]
    fn wake(&mut self) {
        let mut left = match self.ring.outstanding() {
            Ok(0) => return,
            Ok(left) => left,
            Err(index) => return self.trouble.defer(self.shared.broken("TX", index)),
        };
        // Linux before 6.17 shows what it has taken when it has taken all, and ends before (`net/xdp/xsk.c:xsk_generic_xmit`): it
        // is asked again without that, but not more often than what is new can need.
        let new = self.ring.index().wrapping_sub(self.woken);
        let mut unseen = new.saturating_sub(1) / LEAST_PASS;
        self.woken = self.ring.index();
        let mut seen = 1 + left / MIN_TX_BUDGET;
        loop {
            self.wakeups += 1;
            let pass = match self.shared.wake_tx() {
                Ok(pass) => pass,
                Err(error) => return self.trouble.defer(error),
            };
            self.dropped += u64::from(pass == TxPass::Dropped);
            match self.ring.outstanding() {
                Ok(now) if 0 < now && now < left && seen > 0 => (left, seen) = (now, seen - 1),
                Ok(now) if now == left && pass != TxPass::Done && unseen > 0 => unseen -= 1,
                _ => return,
            }
        }
    }

    pub(super) fn next_timestamp(&mut self, cache: &mut Cache) -> Option<TxTimestamp> {
        self.reap(cache);
        self.timestamps.next()
    }

    /// Wakes the kernel if need be, and takes back what was sent. Returns how many frames are not back.
    pub(super) fn flush(&mut self, cache: &mut Cache) -> Result<usize, PortError> {
        self.reap(cache);
        self.kick();
        self.reap(cache);
        self.trouble.or(0, &self.shared)?;
        Ok(self.outstanding() as usize)
    }
}

impl Drop for TxSide {
    /// What was accepted goes out, and what is back goes home; the rest is found when the port is closed.
    fn drop(&mut self) {
        if self.outstanding() > 0 {
            let mut cache = Cache::new(&self.pool);
            self.reap(&mut cache);
            self.kick();
            self.reap(&mut cache);
        }
    }
}
