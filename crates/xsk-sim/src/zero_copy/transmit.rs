use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

use crate::arena::Id;
use crate::fault::Ring;
use crate::kernel::{Event, Kernel};
use crate::pool::Pool;
use crate::shared::ring::peek_slot;
use crate::skb::Owner;
use crate::socket::Socket;
use crate::transmit::{Next, Rules};
use crate::umem::Umem;

use super::{RING, Sending};

/// Descriptors of one socket before the others of the queue have their turn (`MAX_PER_SOCKET_BUDGET`).
pub(super) const SHARE: u32 = 32;

/// Whether the device takes a descriptor: what copy mode takes, in memory that is in one piece for the device.
pub(super) fn takes(rules: &Rules, umem: &Umem, desc: &xdp_desc) -> bool {
    rules.take(desc) && umem.is_contiguous(umem.tx_position(desc.addr), u64::from(desc.len))
}

impl Kernel {
    /// Takes descriptors from the TX rings of a queue, and gives their packets to the device
    /// (`net/xdp/xsk.c:xsk_tx_peek_release_desc_batch`).
    pub(super) fn take_descriptors(&mut self, id: Id<Pool>) {
        if !self.has_carrier(self.pools[id].device) {
            return;
        }
        let completes = self.profile.zero_copy_completes_refused;
        let several = self.umems[self.pools[id].umem].sg;
        let Some(driver) = self.driver(id) else { return };
        if !driver.refused.is_empty() {
            return;
        }
        let given: usize = driver.sending.iter().map(|packet| packet.parts.len()).sum();
        let room = (RING - 1).saturating_sub(given + driver.pending.len()) as u32;
        let taken = match &driver.senders[..] {
            [] => return,
            senders if completes && (senders.len() == 1 || several) => self.take_batches(id, room),
            [sender] => {
                let socket = sender.socket;
                self.take_batch(id, socket, room).into_iter().map(|desc| (socket, desc)).collect()
            }
            _ => self.take_in_turns(id, room),
        };
        let Some(driver) = self.driver(id) else { return };
        driver.pending.extend(taken);
        self.send_pending(id);
    }

    /// Of the only socket that sends, before 7.2: a batch (`net/xdp/xsk_queue.h:xskq_cons_read_desc_batch`). An invalid
    /// descriptor ends it, and one frame of its packet is lost for each descriptor that is taken then.
    fn take_batch(&mut self, id: Id<Pool>, socket: Id<Socket>, room: u32) -> Vec<xdp_desc> {
        let pool = &mut self.pools[id];
        let umem = &self.umems[pool.umem];
        let segments = self.devices[pool.device].zc_segments;
        let rules = Rules::new(&self.profile, umem);
        let Some(tx) = self.sockets[socket].tx.as_mut() else { return Vec::new() };
        let max = tx.ring.available(room);
        let max = pool.completion.ring.free(max);
        let (mut descs, mut whole, mut parts, mut looked) = (Vec::new(), 0, 0, 0);
        while looked < max {
            let Some(desc) = peek_slot(tx.ring.storage(), tx.ring.taken().wrapping_add(looked)) else {
                break;
            };
            looked += 1;
            if !takes(&rules, umem, &desc) {
                tx.invalid += 1;
                break;
            }
            descs.push(desc);
            if desc.options & XDP_PKT_CONTD == 0 {
                whole = descs.len();
                parts = 0;
            } else {
                parts += 1;
                if parts == segments {
                    // Too many: they are taken, and gone.
                    parts = 0;
                    break;
                }
            }
        }
        descs.truncate(whole);
        (0..looked - parts.min(looked)).for_each(|_| tx.ring.advance());
        if max == 0 {
            return descs;
        }
        if descs.is_empty() {
            tx.empty += 1;
            return descs;
        }
        tx.ring.publish();
        for desc in &descs {
            pool.completion.ring.reserve();
            pool.completion.ring.write_reserved(desc.addr);
        }
        self.forge_index(socket, Ring::Tx);
        self.wake_writers(socket);
        descs
    }

    /// Of several sockets: one descriptor after the other (`net/xdp/xsk.c:xsk_tx_peek_desc`).
    fn take_in_turns(&mut self, id: Id<Pool>, room: u32) -> Vec<(Id<Socket>, xdp_desc)> {
        let mut descs = Vec::new();
        while (descs.len() as u32) < room {
            match self.take_next(id) {
                Some(found) => descs.push(found),
                None => break,
            }
        }
        let senders: Vec<Id<Socket>> = self
            .driver(id)
            .into_iter()
            .flat_map(|driver| driver.senders.iter().map(|it| it.socket))
            .collect();
        for socket in senders {
            let Some(tx) = self.sockets.get(socket).and_then(|socket| socket.tx.as_ref()) else { continue };
            tx.ring.publish();
            if tx.ring.is_half_empty() {
                self.wake_writers(socket);
            }
            self.forge_index(socket, Ring::Tx);
        }
        descs
    }

    fn take_next(&mut self, id: Id<Pool>) -> Option<(Id<Socket>, xdp_desc)> {
        let pool = &mut self.pools[id];
        let umem = &self.umems[pool.umem];
        let rules = Rules::new(&self.profile, umem);
        let driver = pool.driver.as_mut()?;
        loop {
            let mut exhausted = false;
            for sender in &mut driver.senders {
                if sender.spent >= SHARE {
                    exhausted = true;
                    continue;
                }
                let Some(tx) = self.sockets[sender.socket].tx.as_mut() else { continue };
                let desc = match tx.next(&rules, false) {
                    Next::Empty => continue,
                    Next::Valid(desc) if takes(&rules, umem, &desc) => desc,
                    Next::Valid(_) => {
                        tx.invalid += 1;
                        tx.ring.advance();
                        continue;
                    }
                    Next::Invalid(_) => {
                        tx.ring.advance();
                        continue;
                    }
                };
                sender.spent += 1;
                if !pool.completion.ring.reserve() {
                    return None;
                }
                pool.completion.ring.write_reserved(desc.addr);
                tx.ring.advance();
                return Some((sender.socket, desc));
            }
            if !exhausted {
                return None;
            }
            driver.senders.iter_mut().for_each(|sender| sender.spent = 0);
        }
    }

    /// Whole packets go to the device, which takes its time to read each.
    fn send_pending(&mut self, id: Id<Pool>) {
        let pool = &mut self.pools[id];
        let umem = &self.umems[pool.umem];
        let Some(driver) = &mut pool.driver else { return };
        let mut ends = driver.pending.iter().enumerate();
        while let Some(end) =
            ends.find(|(_, (_, desc))| desc.options & XDP_PKT_CONTD == 0).map(|(end, _)| end)
        {
            let descs: Vec<(Id<Socket>, xdp_desc)> = driver.pending.drain(..=end).collect();
            ends = driver.pending.iter().enumerate();
            let Some(((socket, first), rest)) = descs.split_first() else { continue };
            let parts = descs.iter().map(|(_, desc)| (umem.tx_position(desc.addr), desc.len as usize));
            let owner = Owner {
                socket: *socket,
                pool: id,
                first: first.addr,
                rest: rest.iter().map(|(_, desc)| desc.addr).collect(),
                truesize: 0,
                timestamp_at: None,
            };
            self.sockets[*socket].in_flight += 1;
            driver.sending.push_back(Sending { parts: parts.collect(), owner, sent: false });
            let after = self.rng.micros(1..20);
            self.clock.plan(after, Event::Sent(id));
        }
        for (_, desc) in &driver.pending {
            self.faults.found(pool.umem, umem.frame_of(desc.addr));
        }
    }

    /// The device reads the next packet and sends it.
    pub(crate) fn device_sends(&mut self, id: Id<Pool>) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        let (device, queue, umem) = (pool.device, pool.queue, pool.umem);
        let Some(packet) =
            pool.driver.as_mut().and_then(|driver| driver.sending.iter_mut().find(|packet| !packet.sent))
        else {
            return;
        };
        packet.sent = true;
        let mut skb = self.spare.packet(queue);
        for (at, len) in &packet.parts {
            self.umems[umem].memory.append_to(*at, *len, skb.data.tail());
        }
        if let crate::device::Xmit::Busy(skb) = self.xmit(device, skb) {
            self.free_skb(skb);
        }
        self.schedule_driver(id);
    }

    /// NAPI completes what was sent, in the order in which it was taken (`net/xdp/xsk.c:xsk_tx_completed`).
    pub(super) fn complete_sent(&mut self, id: Id<Pool>) {
        while let Some(driver) = self.driver(id)
            && driver.sending.front().is_some_and(|packet| packet.sent)
            && let Some(packet) = driver.sending.pop_front()
        {
            self.complete_owner(packet.owner);
        }
        self.complete_refused(id);
    }

    /// The frames of a packet go back, as the rules say.
    pub(super) fn complete_owner(&mut self, owner: Owner) {
        if let Some(owner) = self.completion_faults_if_any(owner) {
            self.complete_now(&owner);
        }
    }

    fn completion_faults_if_any(&mut self, owner: Owner) -> Option<Owner> {
        if self.faults.are_off() { Some(owner) } else { self.completion_faults(owner) }
    }
}
