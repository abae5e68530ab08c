use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};
use xsk_core::errno::ENOBUFS;

use crate::arena::Id;
use crate::device::Device;
use crate::error::{Sys, errno};
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::skb::Skb;
use crate::socket::Socket;
use crate::trace::DropCause;
use crate::xdp::{Mode, Verdict};

use super::{Arrived, RING};

/// Packets of one NAPI poll.
const BUDGET: usize = 64;
/// Buffers are taken when so many are missing (`IGB_RX_BUFFER_WRITE`).
const REFILL: usize = 32;

impl Kernel {
    /// A packet from the wire: the device writes it into buffers that it was given. `None`: this is no zero-copy queue.
    pub(crate) fn zero_copy_arrive(&mut self, device: Id<Device>, skb: Box<Skb>) -> Option<Box<Skb>> {
        let Some(id) = self.running_pool(device, skb.queue) else { return Some(skb) };
        let segments = self.devices[device].zc_segments as usize;
        let umem = &self.umems[self.pools[id].umem];
        let frame = umem.frame_size() as usize;
        let (len, count) = (skb.data.len(), skb.data.len().div_ceil(frame));
        // A driver without need_wakeup never stops looking for buffers.
        let looks = !self.pools[id].need_wakeup;
        let missing = |kernel: &mut Self| kernel.driver(id).is_none_or(|driver| driver.posted.len() < count);
        if looks && missing(self) {
            self.refill(id);
        }
        let umem = &self.umems[self.pools[id].umem];
        let too_long = count > if umem.sg { segments } else { 1 };
        if too_long || missing(self) {
            self.devices[device].rx_dropped += 1;
            let cause = if too_long { DropCause::TooLong } else { DropCause::NoFrame };
            self.note_drop(device, len, cause);
            self.free_skb(skb);
            return None;
        }
        let pool = &mut self.pools[id];
        let umem = &self.umems[pool.umem];
        if let Some(driver) = &mut pool.driver {
            let chunks: Vec<u64> = driver.posted.drain(..count).collect();
            for (chunk, data) in chunks.iter().zip(skb.data.data().chunks(frame)) {
                umem.receive(*chunk, data, &[]);
            }
            driver.arrived.push_back(Arrived { chunks, len });
        }
        self.free_skb(skb);
        self.schedule_driver(id);
        None
    }

    /// Takes buffers for the device (`net/xdp/xsk_buff_pool.c:xp_alloc_batch`). True if there were too few.
    pub(super) fn refill(&mut self, id: Id<Pool>) -> bool {
        let Some(driver) = self.driver(id).filter(|driver| driver.running) else { return false };
        let max = RING - 1 - driver.buffers().count().min(RING - 1);
        if max < REFILL {
            return false;
        }
        let user = self.sockets.iter().find(|(_, socket)| socket.pool == Some(id)).map(|(user, _)| user);
        if user.is_some_and(|user| self.starves(user, id)) {
            return true;
        }
        let pool = &mut self.pools[id];
        let umem = &self.umems[pool.umem];
        let Some(driver) = &mut pool.driver else { return false };
        let used_again = pool.free.len().min(max);
        let mut taken = pool.free.split_off(pool.free.len() - used_again);
        taken.reverse();
        if used_again < max {
            let entries = pool.fill.ring.available((max - used_again) as u32);
            for _ in 0..entries {
                // Nothing is published: that is done when packets are delivered.
                let entry = pool.fill.ring.next_entry();
                pool.fill.ring.advance();
                match entry.and_then(|entry| umem.chunk_of_fill(entry)) {
                    Some(chunk) if umem.is_contiguous(chunk, u64::from(umem.chunk_size)) => taken.push(chunk),
                    _ => pool.fill.invalid += 1,
                }
            }
            if taken.len() == used_again {
                pool.fill.empty += 1;
            }
        }
        let short = taken.len() < max;
        let (umem, chunks) = (pool.umem, taken.clone());
        driver.posted.extend(taken);
        chunks.into_iter().for_each(|chunk| self.faults.found(umem, chunk));
        short
    }

    /// Runs the program over what arrived.
    pub(super) fn receive_arrived(&mut self, id: Id<Pool>, delivered: &mut Vec<Id<Socket>>) {
        for _ in 0..BUDGET {
            let Some(packet) = self.driver(id).and_then(|driver| driver.arrived.pop_front()) else { break };
            self.receive_packet(id, packet, delivered);
            if self.crash.is_some() {
                break;
            }
        }
    }

    fn receive_packet(&mut self, id: Id<Pool>, packet: Arrived, delivered: &mut Vec<Id<Socket>>) {
        let pool = &self.pools[id];
        let (device, queue) = (pool.device, pool.queue);
        let umem = &self.umems[pool.umem];
        let (frame, start) = (umem.frame_size() as usize, u64::from(umem.data_offset()));
        let mut skb = self.spare.packet(queue);
        for (i, chunk) in packet.chunks.iter().enumerate() {
            let len = frame.min(packet.len - i * frame);
            umem.memory.append_to(chunk + start, len, skb.data.tail());
        }
        let program = self.program_of(device).map(|(program, _)| program);
        let verdict = match program {
            // A program that takes no fragments never sees such a packet.
            Some(program) if packet.chunks.len() > 1 && !self.programs[program].frags => Verdict::Drop,
            Some(program) => self.run_program_on_frame(program, device, frame, &mut skb),
            None => Verdict::Pass,
        };
        let Verdict::Socket(socket) = verdict else {
            // What goes anywhere else is copied.
            self.pools[id].free.extend(packet.chunks);
            return self.leave(device, Mode::Native, verdict, skb);
        };
        match self.give_to_socket(socket, id, &packet.chunks, &skb) {
            Ok(()) if !delivered.contains(&socket) => delivered.push(socket),
            Ok(()) => {}
            Err(failure) => {
                self.pools[id].free.extend(packet.chunks);
                self.devices[device].rx_dropped += 1;
                self.note_drop(device, skb.data.len(), failure.into());
            }
        }
        skb.data.end();
        self.give_skb(skb);
    }

    /// `net/xdp/xsk.c:xsk_rcv_zc`: the frames as the program left them go to the user. On an error they are unused.
    fn give_to_socket(&mut self, id: Id<Socket>, pool: Id<Pool>, chunks: &[u64], skb: &Skb) -> Sys<()> {
        let (device, queue) = (self.pools[pool].device, self.pools[pool].queue);
        self.check_receive(id, device, queue, &skb.data)?;
        let umem_id = self.pools[pool].umem;
        let umem = &self.umems[umem_id];
        let (head, rest) = skb.data.data().split_at(skb.data.linear_len());
        let shift = skb.data.shift();
        let parts = std::iter::once(head).chain(rest.chunks(umem.frame_size() as usize));
        let mut descs: Vec<xdp_desc> = Vec::with_capacity(chunks.len());
        for (i, (chunk, data)) in chunks.iter().zip(parts).enumerate() {
            // The program worked on the frame itself: the data starts where it moved it to.
            let (shift, metadata) = if i == 0 { (shift, skb.data.metadata()) } else { (0, &[][..]) };
            umem.receive_at(*chunk, shift, data, metadata);
            let options = XDP_PKT_CONTD;
            descs.push(xdp_desc { addr: umem.rx_address_at(*chunk, shift), len: data.len() as u32, options });
        }
        if let Some(last) = descs.last_mut() {
            last.options = 0;
        }
        let used = descs.len();
        if !self.describe_or_fail(id, umem_id, &mut descs)? {
            self.sockets[id].rx_full += 1;
            return errno(ENOBUFS);
        }
        // Frames that the program cut off.
        self.pools[pool].free.extend(&chunks[used..]);
        Ok(())
    }
}
