//! The sending half of a port: the TX and the completion ring.

use std::sync::Arc;

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

use super::error::{PortError, ViolationKind};
use super::trouble::Trouble;
use crate::error::{Diagnosis, Step};
use crate::packet::{Batch, Packet};
use crate::pool::{BURST, Cache, Memory, Owner, Pool};
use crate::queue::{ConsumerOf, ProducerOf, Shared};

/// Segments that Linux sends as one packet, with its default of `MAX_SKB_FRAGS` (`net/xdp/xsk.c:xsk_build_skb`).
const MAX_SEGMENTS: usize = 18;
/// Descriptors that a copy-mode wakeup sends at most (`net/xdp/xsk.c:__xsk_generic_xmit`).
const BUDGET: u32 = 32;

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
    /// Frames on the TX ring or with the kernel.
    pub(super) outstanding: usize,
    /// System calls for the sending side.
    pub(super) wakeups: u64,
}

/// How it went with one packet.
enum One {
    Sent,
    Full,
    Refused(Diagnosis),
}

/// Whether a packet goes out without a second look.
#[inline(always)]
pub(super) fn is_plain(packet: &Packet, pool: &Pool) -> bool {
    packet.is_of(pool.pointer()) & packet.is_linear() & (packet.first_len() != 0)
}

#[inline(always)]
pub(super) fn describe(packet: &Packet, memory: &Memory) -> xdp_desc {
    let addr = memory.address(packet.frame(), packet.offset());
    xdp_desc { addr, len: packet.first_len().into(), options: 0 }
}

impl TxSide {
    pub(super) fn new(
        ring: ProducerOf<xdp_desc>,
        completion: ConsumerOf<u64>,
        pool: &Pool,
        owner: Owner,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            ring,
            completion,
            pool: pool.clone(),
            owner,
            trouble: Trouble::default(),
            shared: Arc::clone(shared),
            sent: 0,
            outstanding: 0,
            wakeups: 0,
        }
    }

    /// Sends packets from the front of the batch, as many as fit.
    pub(super) fn send(&mut self, cache: &mut Cache, batch: &mut Batch) -> Result<usize, PortError> {
        self.reap(cache);
        let mut sent = 0;
        loop {
            sent += self.put_plain(batch);
            let Some(next) = batch.first() else { break };
            if is_plain(next, &self.pool) {
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

    /// Puts the packets of the batch up to the first that is not plain on the ring, as far as there is room.
    #[inline]
    fn put_plain(&mut self, batch: &mut Batch) -> usize {
        let free = match self.ring.free(batch.len() as u32) {
            Ok(free) => free as usize,
            Err(index) => {
                self.trouble.defer(self.shared.broken("TX", index));
                return 0;
            }
        };
        let (memory, owner) = (self.pool.memory(), self.owner);
        let count = batch.iter().take(free).take_while(|packet| is_plain(packet, &self.pool)).count();
        let put = self.ring.produce(&batch[..count], |packet| {
            memory.set_owner(packet.frame(), owner);
            describe(packet, memory)
        });
        // There is room: that was seen above.
        let put = put.unwrap_or(0) as usize;
        batch.forget_front(put);
        self.outstanding += put;
        put
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
        match self.ring.produce(&descs[..count], |desc| *desc) {
            Ok(0) => One::Full,
            Ok(_) => {
                packet.places().for_each(|(frame, ..)| memory.set_owner(frame, self.owner));
                self.outstanding += count;
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
        let sent = matches!(self.put_other(packet), One::Sent);
        self.sent += u64::from(sent);
        sent
    }

    /// Takes back the frames that were sent.
    #[inline]
    pub(super) fn reap(&mut self, cache: &mut Cache) {
        loop {
            cache.make_room();
            let mut index = self.completion.index();
            let Self { completion, pool, owner, trouble, .. } = self;
            let memory = pool.memory();
            let mut good = 0;
            let consumed = completion.consume(&mut [(); BURST], |(), addr| {
                let (frame, _) = memory.split(addr);
                if memory.owner(frame) == Some(*owner) {
                    memory.set_owner(frame as u32, Owner::USER);
                    cache.put(frame as u32);
                    good += 1;
                } else {
                    let outside = frame >= u64::from(memory.frames());
                    let kind = if outside { ViolationKind::Address } else { ViolationKind::NotWithKernel };
                    trouble.note("completion", index, xdp_desc { addr, len: 0, options: 0 }, kind);
                }
                index = index.wrapping_add(1);
            });
            // A frame of this port came back for each, and no frame comes back that was not counted when it went.
            self.outstanding -= good;
            match consumed {
                Ok(count) if count as usize == BURST => {}
                Ok(_) => return,
                Err(index) => return self.trouble.defer(self.shared.broken("completion", index)),
            }
        }
    }

    /// Wakes the kernel up if there is something to send and it asks for that; again, as long as that sends more, as one
    /// wakeup may send part of it only.
    #[inline]
    pub(super) fn kick(&mut self) {
        if self.outstanding == 0 {
            return;
        }
        match self.ring.outstanding() {
            Ok(0) => {}
            Ok(left) => {
                if self.shared.always_wake || self.ring.needs_wakeup() {
                    self.wake(left);
                }
            }
            Err(index) => self.trouble.defer(self.shared.broken("TX", index)),
        }
    }

    fn wake(&mut self, mut left: u32) {
        for _ in 0..2 + left / BUDGET {
            self.wakeups += 1;
            if let Err(error) = self.shared.wake_tx() {
                return self.trouble.defer(error);
            }
            match self.ring.outstanding() {
                Ok(now) if now > 0 && now < left => left = now,
                _ => return,
            }
        }
    }

    /// Wakes the kernel if need be, and takes back what was sent. Returns how many frames are not back.
    pub(super) fn flush(&mut self, cache: &mut Cache) -> Result<usize, PortError> {
        self.reap(cache);
        self.kick();
        self.reap(cache);
        self.trouble.or(0, &self.shared)?;
        Ok(self.outstanding)
    }
}

impl Drop for TxSide {
    /// What was accepted goes out, and what is back goes home; the rest is found when the port is closed.
    fn drop(&mut self) {
        if self.outstanding > 0 {
            let mut cache = Cache::new(&self.pool);
            self.reap(&mut cache);
            self.kick();
            self.reap(&mut cache);
        }
    }
}
