//! Batches of descriptors from TX rings, as Linux takes them from 7.2 on: what is refused is completed.

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

use crate::arena::Id;
use crate::fault::Ring;
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::shared::ring::peek_slot;
use crate::skb::Owner;
use crate::socket::Socket;
use crate::transmit::Rules;

use super::transmit::{SHARE, takes};

/// What one look at a TX ring takes (`net/xdp/xsk_queue.h:struct xsk_tx_batch`).
#[derive(Debug, Default)]
struct Batch {
    /// Of whole packets that are good.
    good: Vec<xdp_desc>,
    /// Of a packet that is not, or of what there is of it: the last ones that were taken.
    refused: Vec<u64>,
    /// There was more than it could take of a packet.
    limited: bool,
}

impl Batch {
    fn taken(&self) -> u32 {
        (self.good.len() + self.refused.len()) as u32
    }
}

impl Kernel {
    /// Of all that send: in turns, if there are several (`net/xdp/xsk.c:xsk_tx_peek_release_desc_batch`).
    pub(super) fn take_batches(&mut self, id: Id<Pool>, room: u32) -> Vec<(Id<Socket>, xdp_desc)> {
        let pool = &mut self.pools[id];
        let max = pool.completion.ring.free(room);
        let Some(driver) = &pool.driver else { return Vec::new() };
        let senders: Vec<Id<Socket>> = driver.senders.iter().map(|sender| sender.socket).collect();
        let (descs, refused) = match senders[..] {
            _ if max == 0 => return Vec::new(),
            [socket] => {
                let batch = self.take_refusing(id, socket, max);
                (batch.good.into_iter().map(|desc| (socket, desc)).collect(), batch.refused)
            }
            _ => self.take_shares(id, &senders, max),
        };
        let completion = &mut self.pools[id].completion.ring;
        for address in descs.iter().map(|(_, desc)| desc.addr).chain(refused.iter().copied()) {
            completion.reserve();
            completion.write_reserved(address);
        }
        if let Some(driver) = self.driver(id) {
            driver.refused = refused;
        }
        self.complete_refused(id);
        descs
    }

    /// `net/xdp/xsk.c:xsk_tx_peek_release_shared_desc_batch`. Nothing is taken behind what is refused.
    fn take_shares(
        &mut self,
        id: Id<Pool>,
        senders: &[Id<Socket>],
        max: u32,
    ) -> (Vec<(Id<Socket>, xdp_desc)>, Vec<u64>) {
        // Enough for the longest packet.
        let share = SHARE.max(self.devices[self.pools[id].device].zc_segments);
        let mut descs = Vec::new();
        loop {
            let (before, mut exhausted) = (descs.len(), false);
            for (i, socket) in senders.iter().enumerate() {
                let remaining = max - descs.len() as u32;
                let spent = self.driver(id).map_or(0, |driver| driver.senders[i].spent);
                if remaining == 0 {
                    break;
                }
                let Some(left) = share.checked_sub(spent).filter(|left| *left > 0) else {
                    exhausted |= self.sockets[*socket].tx.as_mut().is_some_and(|tx| tx.ring.available(1) > 0);
                    continue;
                };
                let batch = self.take_refusing(id, *socket, left.min(remaining));
                exhausted |= batch.taken() == 0 && batch.limited && left < remaining;
                if let Some(driver) = self.driver(id) {
                    driver.senders[i].spent += batch.taken();
                }
                descs.extend(batch.good.into_iter().map(|desc| (*socket, desc)));
                if !batch.refused.is_empty() {
                    return (descs, batch.refused);
                }
            }
            if descs.len() as u32 >= max || (descs.len() == before && !exhausted) {
                return (descs, Vec::new());
            }
            if descs.len() == before
                && let Some(driver) = self.driver(id)
            {
                driver.senders.iter_mut().for_each(|sender| sender.spent = 0);
            }
        }
    }

    /// Of one socket: whole packets, up to one that is refused (`net/xdp/xsk_queue.h:xskq_cons_read_desc_batch`).
    fn take_refusing(&mut self, id: Id<Pool>, from: Id<Socket>, max: u32) -> Batch {
        let pool = &self.pools[id];
        let umem = &self.umems[pool.umem];
        let segments = self.devices[pool.device].zc_segments as usize;
        let rules = Rules::new(&self.profile, umem);
        let mut batch = Batch::default();
        let socket = &mut self.sockets[from];
        let Some(tx) = socket.tx.as_mut() else { return batch };
        let available = tx.ring.available(max);
        if available == 0 {
            return batch;
        }
        let (mut part, mut looked, mut drains) = (Vec::new(), 0, socket.draining);
        while looked < available {
            let Some(desc) = peek_slot(tx.ring.storage(), tx.ring.taken().wrapping_add(looked)) else {
                break;
            };
            looked += 1;
            if !takes(&rules, umem, &desc) {
                tx.invalid += 1;
                drains = true;
            }
            part.push(desc);
            if desc.options & XDP_PKT_CONTD != 0 {
                // With the next one it has too many.
                drains |= part.len() == segments;
            } else if drains {
                break;
            } else {
                batch.good.append(&mut part);
            }
        }
        if drains {
            socket.draining = part.last().is_some_and(|desc| desc.options & XDP_PKT_CONTD != 0);
            batch.refused = part.iter().map(|desc| desc.addr).collect();
        } else {
            batch.limited = !part.is_empty() && looked == max;
        }
        (0..batch.taken()).for_each(|_| tx.ring.advance());
        if batch.taken() == 0 {
            tx.empty += 1;
            return batch;
        }
        tx.ring.publish();
        self.forge_index(from, Ring::Tx);
        self.wake_writers(from);
        batch
    }

    /// A completion that a rule has delayed.
    #[cold]
    pub(crate) fn complete_late(&mut self, owner: &Owner) {
        self.complete_now(owner);
        self.complete_refused(owner.pool);
    }

    /// What was refused is completed once all is that was taken before (`net/xdp/xsk.c:xsk_tx_completed`).
    pub(super) fn complete_refused(&mut self, id: Id<Pool>) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        let Some(driver) = pool.driver.as_mut().filter(|driver| !driver.refused.is_empty()) else { return };
        let unpublished = pool.completion.ring.end().wrapping_sub(pool.completion.next());
        if unpublished == driver.refused.len() as u32 {
            pool.completion.submit(std::mem::take(&mut driver.refused));
            self.look_at_rings();
        }
    }
}
