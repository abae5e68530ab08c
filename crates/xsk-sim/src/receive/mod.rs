//! The receive path of copy mode: from the program's verdict to the RX ring (`net/xdp/xsk.c`).

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};
use xsk_core::errno::{EINVAL, EIO, ENOBUFS, ENOMEM, ENOSPC, ENXIO};

use crate::arena::Id;
use crate::device::{Device, Kind};
use crate::error::{Sys, errno};
use crate::fault::Ring;
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::socket::{RxRing, Socket};
use crate::umem::Umem;
use crate::xdp::XdpBuff;

/// The least number of a NAPI: those below are of processors (`include/net/busy_poll.h`).
const MIN_NAPI_ID: u32 = 8193;

impl RxRing {
    /// Writes descriptors, all or none. False if they do not fit.
    #[inline]
    fn describe(&mut self, descs: &[xdp_desc], clears: bool) -> bool {
        let count = descs.len() as u32;
        if self.ring.free(count) < count {
            return false;
        }
        for desc in descs {
            let options =
                if clears { desc.options } else { self.ring.next_slot().map_or(0, |slot| slot.options) };
            self.ring.write(xdp_desc { options, ..*desc });
        }
        true
    }
}

impl Kernel {
    /// A packet for a socket in SKB mode (`net/xdp/xsk.c:xsk_generic_rcv`): published at once, also if it was dropped.
    pub(crate) fn generic_receive(
        &mut self,
        socket: Id<Socket>,
        device: Id<Device>,
        queue: u32,
        packet: &XdpBuff,
    ) -> Sys<()> {
        if self.profile.unbound_generic_crashes && !self.sockets[socket].is_bound() {
            self.crash(
                "net/xdp/xsk.c:xsk_generic_rcv",
                "an unbound socket in an XSKMAP gets a packet in SKB mode",
            );
            return Ok(());
        }
        let pool = self.check_receive(socket, device, queue, packet)?;
        let result = self.receive(socket, pool, packet);
        self.flush(socket);
        result
    }

    /// A packet for a socket in native mode (`net/xdp/xsk.c:__xsk_map_redirect`). The caller flushes what was delivered.
    pub(crate) fn native_receive(
        &mut self,
        socket: Id<Socket>,
        device: Id<Device>,
        queue: u32,
        packet: &XdpBuff,
    ) -> Sys<()> {
        let pool = self.check_receive(socket, device, queue, packet)?;
        if self.profile.learns_napi_id && matches!(self.devices[device].kind, Kind::Veth { .. }) {
            // `include/net/busy_poll.h:sk_mark_napi_id_once_xdp`
            let id = MIN_NAPI_ID + (self.devices[device].index << 8) + queue;
            self.sockets[socket].napi_id.get_or_insert(id);
        }
        self.receive(socket, pool, packet)
    }

    /// `net/xdp/xsk.c:xsk_rcv_check`. A socket that is not bound, or bound elsewhere, does not count what it misses.
    #[inline]
    pub(crate) fn check_receive(
        &mut self,
        id: Id<Socket>,
        device: Id<Device>,
        queue: u32,
        packet: &XdpBuff,
    ) -> Sys<Id<Pool>> {
        let socket = &mut self.sockets[id];
        let (true, Some(pool)) = (socket.is_bound(), socket.pool) else { return errno(ENXIO) };
        if (socket.device, socket.queue) != (Some(device), queue) {
            return errno(EINVAL);
        }
        if !socket.sg && packet.len() > self.umems[self.pools[pool].umem].frame_size() as usize {
            socket.rx_dropped += 1;
            return errno(ENOSPC);
        }
        Ok(pool)
    }

    /// Copies a packet into buffers of the socket's pool, and describes it in the RX ring, without publishing either.
    #[inline]
    fn receive(&mut self, id: Id<Socket>, pool: Id<Pool>, packet: &XdpBuff) -> Sys<()> {
        let frame = self.umems[self.pools[pool].umem].frame_size() as usize;
        if packet.len() <= frame && !packet.has_frags() {
            self.receive_single(id, pool, packet)
        } else {
            let frames = packet.len().div_ceil(frame).max(1);
            self.receive_multi(id, pool, packet, frames as u32)
        }
    }

    /// `net/xdp/xsk.c:__xsk_rcv`, a packet in one buffer.
    fn receive_single(&mut self, id: Id<Socket>, pool_id: Id<Pool>, packet: &XdpBuff) -> Sys<()> {
        if self.starves(id, pool_id) {
            self.sockets[id].rx_dropped += 1;
            return errno(ENOMEM);
        }
        let Some(chunk) = self.take_chunk(pool_id) else {
            self.sockets[id].rx_dropped += 1;
            return errno(ENOMEM);
        };
        let pool = &mut self.pools[pool_id];
        let umem = &self.umems[pool.umem];
        umem.receive(chunk, packet.data(), packet.metadata());
        let mut desc = xdp_desc { addr: umem.rx_address(chunk), len: packet.len() as u32, options: 0 };
        let described = if self.faults.are_off() {
            match self.sockets[id].rx.as_mut() {
                Some(rx) => Ok(rx.describe(&[desc], self.profile.clears_rx_options)),
                None => self.no_rx_ring().map(|()| false),
            }
        } else {
            let umem = pool.umem;
            self.describe_or_fail(id, umem, std::slice::from_mut(&mut desc))
        };
        if described == Ok(true) {
            return Ok(());
        }
        // The buffer was taken: it serves the next packet.
        self.pools[pool_id].free.push(chunk);
        described?;
        self.sockets[id].rx_full += 1;
        errno(ENOBUFS)
    }

    /// `net/xdp/xsk.c:__xsk_rcv`, a packet that needs several buffers, or came in several.
    #[inline(never)]
    fn receive_multi(&mut self, id: Id<Socket>, pool: Id<Pool>, packet: &XdpBuff, frames: u32) -> Sys<()> {
        if self.starves(id, pool) || !self.pools[pool].can_take(frames) {
            self.sockets[id].rx_dropped += 1;
            return errno(ENOMEM);
        }
        let Some(rx) = self.sockets[id].rx.as_mut() else { return self.no_rx_ring() };
        if rx.ring.free(frames) < frames {
            self.sockets[id].rx_full += 1;
            return errno(ENOBUFS);
        }
        let chunks = self.take_chunks(id, pool, frames)?;
        let umem = &self.umems[self.pools[pool].umem];
        let frame = umem.frame_size() as usize;
        let mut descs = Vec::with_capacity(chunks.len());
        for (i, (chunk, data)) in chunks.iter().zip(packet.data().chunks(frame)).enumerate() {
            let more = i + 1 < chunks.len();
            descs.push(xdp_desc {
                addr: umem.rx_address(*chunk),
                len: data.len() as u32,
                options: if more { XDP_PKT_CONTD } else { 0 },
            });
            umem.receive(*chunk, data, if i == 0 { packet.metadata() } else { &[] });
        }
        let umem = self.pools[pool].umem;
        let result = self.describe_or_fail(id, umem, &mut descs);
        if result.is_err() {
            self.pools[pool].free.extend(chunks);
        }
        result.map(drop)
    }

    /// As many buffers as a packet needs. Fill entries that name no chunk may leave fewer than there seemed to be.
    fn take_chunks(&mut self, id: Id<Socket>, pool: Id<Pool>, count: u32) -> Sys<Vec<u64>> {
        let mut chunks: Vec<u64> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let chunk = self.take_chunk(pool);
            if chunk.is_none() && self.profile.short_sg_fill_crashes {
                let what = "too few of the fill entries for a packet of several buffers name a chunk";
                self.crash("net/xdp/xsk.c:__xsk_rcv", what);
                return errno(ENOMEM);
            }
            let twice = |chunk: &u64| self.profile.refuses_duplicate_sg && chunks.contains(chunk);
            match chunk.filter(|chunk| !twice(chunk)) {
                Some(chunk) => chunks.push(chunk),
                None => {
                    self.sockets[id].rx_dropped += 1;
                    // The one taken last is the next to be used.
                    self.pools[pool].free.extend(chunks);
                    return errno(ENOMEM);
                }
            }
        }
        Ok(chunks)
    }

    /// Writes descriptors into the RX ring as the rules say, all or none. False if they do not fit. On an error the frames
    /// are unused.
    #[inline(never)]
    pub(crate) fn describe_or_fail(
        &mut self,
        id: Id<Socket>,
        umem: Id<Umem>,
        descs: &mut [xdp_desc],
    ) -> Sys<bool> {
        let mut clears = self.profile.clears_rx_options;
        let fits = |rx: &mut RxRing| rx.ring.free(descs.len() as u32) == descs.len() as u32;
        if !self.faults.are_off() && self.sockets[id].rx.as_mut().is_some_and(fits) {
            let Some(forged) = self.receive_faults(id, umem, descs) else { return errno(EIO) };
            clears |= forged;
        }
        let Some(rx) = self.sockets[id].rx.as_mut() else { return self.no_rx_ring().map(|()| false) };
        Ok(rx.describe(descs, clears))
    }

    #[cold]
    fn no_rx_ring(&mut self) -> Sys<()> {
        self.crash("net/xdp/xsk.c:__xsk_rcv", "a socket without an RX ring gets a packet through an XSKMAP");
        errno(ENOBUFS)
    }

    /// Shows user space what was received since the last time (`net/xdp/xsk.c:xsk_flush`).
    #[inline]
    pub(crate) fn flush(&mut self, id: Id<Socket>) {
        let socket = &self.sockets[id];
        let Some(rx) = &socket.rx else {
            let _ = self.no_rx_ring();
            return;
        };
        rx.ring.publish();
        if let Some(pool) = socket.pool {
            self.pools[pool].fill.ring.publish();
        }
        if !self.faults.are_off() {
            self.forge_index(id, Ring::Rx);
            self.forge_index(id, Ring::Fill);
        }
        self.look_at_rings();
        self.wake_readers(id);
    }
}
