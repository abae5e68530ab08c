use xsk::backend::Handle;
use xsk_core::abi::{
    AF_XDP, XDP_COPY, XDP_SHARED_UMEM, XDP_USE_NEED_WAKEUP, XDP_USE_SG, XDP_ZEROCOPY, sockaddr_xdp,
};
use xsk_core::errno::{EBADF, EBUSY, EINVAL, ENODEV, ENOTSOCK, EOPNOTSUPP};

use crate::arena::Id;
use crate::device::Device;
use crate::error::{Sys, errno};
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::umem::Umem;

use super::{Socket, State};

impl Kernel {
    /// `net/xdp/xsk.c:xsk_bind`. A failed bind leaves the socket as it was, but for the UMEM's multi-buffer bit.
    pub(crate) fn bind(&mut self, id: Id<Socket>, address: &sockaddr_xdp) -> Sys<()> {
        let flags = address.sxdp_flags;
        let mut known = XDP_SHARED_UMEM | XDP_COPY | XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP;
        if self.profile.has_sg {
            known |= XDP_USE_SG;
        }
        if i32::from(address.sxdp_family) != AF_XDP || flags & !known != 0 {
            return errno(EINVAL);
        }
        let socket = &self.sockets[id];
        let bound_to = socket.options.bound_to;
        if bound_to != 0 && bound_to != address.sxdp_ifindex {
            return errno(EINVAL);
        }
        if socket.state != State::Ready {
            return errno(EBUSY);
        }
        let Some(device) = self.device_by_index(address.sxdp_ifindex) else { return errno(ENODEV) };
        let socket = &self.sockets[id];
        if socket.rx.is_none() && socket.tx.is_none() {
            return errno(EINVAL);
        }
        let place = Place { device, queue: address.sxdp_queue_id };
        let (umem, pool) = if flags & XDP_SHARED_UMEM != 0 {
            if flags != XDP_SHARED_UMEM || socket.umem.is_some() {
                return errno(EINVAL);
            }
            self.share(id, place, Handle(address.sxdp_shared_umem_fd as i32))?
        } else {
            let Some(umem) = socket.umem.filter(|_| socket.fill.is_some() && socket.completion.is_some())
            else {
                return errno(EINVAL);
            };
            (umem, self.create_pool(id, umem, place, flags)?)
        };
        let socket = &mut self.sockets[id];
        if socket.umem != Some(umem) {
            socket.umem = Some(umem);
            self.umems[umem].users += 1;
        }
        let socket = &mut self.sockets[id];
        socket.pool = Some(pool);
        socket.device = Some(device);
        socket.queue = place.short();
        socket.sg = self.umems[umem].sg;
        socket.zero_copy = self.umems[umem].zero_copy;
        socket.state = State::Bound;
        self.add_sender(id, pool);
        Ok(())
    }

    /// `XDP_SHARED_UMEM`: the UMEM of another socket, and its pool if that is of the very queue.
    fn share(&mut self, id: Id<Socket>, place: Place, with: Handle) -> Sys<(Id<Umem>, Id<Pool>)> {
        let Ok(other) = self.socket(with) else { return errno(ENOTSOCK) };
        let other = &self.sockets[other];
        let (true, Some(umem), Some(pool)) = (other.is_bound(), other.umem, other.pool) else {
            return errno(EBADF);
        };
        let socket = &self.sockets[id];
        // The queue id is compared in full, though only its low half counts later.
        if other.device == Some(place.device) && other.queue == place.queue {
            if socket.fill.is_some() || socket.completion.is_some() {
                return errno(EINVAL);
            }
            self.pools[pool].users += 1;
            return Ok((umem, pool));
        }
        if socket.fill.is_none() || socket.completion.is_none() {
            return errno(EINVAL);
        }
        let mut flags = if self.umems[umem].zero_copy { XDP_ZEROCOPY } else { XDP_COPY };
        if self.pools[pool].need_wakeup {
            flags |= XDP_USE_NEED_WAKEUP;
        }
        if self.umems[umem].sg {
            flags |= XDP_USE_SG;
        }
        Ok((umem, self.create_pool(id, umem, place, flags)?))
    }

    /// A pool for a queue that has none, with the socket's fill and completion ring
    /// (`net/xdp/xsk_buff_pool.c:xp_assign_dev`).
    fn create_pool(&mut self, id: Id<Socket>, umem: Id<Umem>, place: Place, flags: u16) -> Sys<Id<Pool>> {
        if flags & XDP_COPY != 0 && flags & XDP_ZEROCOPY != 0 {
            return errno(EINVAL);
        }
        let device = &self.devices[place.device];
        let queue = place.short();
        if device.pools.contains_key(&queue) {
            return errno(EBUSY);
        }
        if queue >= device.rx_queues.max(device.tx_queues) {
            return errno(EINVAL);
        }
        let had_sg = self.umems[umem].sg;
        if flags & XDP_USE_SG != 0 {
            self.umems[umem].sg = true;
        }
        let refused = if flags & XDP_COPY != 0 {
            Some(EOPNOTSUPP)
        } else {
            self.refuses_zero_copy(place.device, queue, umem, flags)
        };
        // Asking for zero copy fails where there is none, not asking against it falls back.
        if let Some(refused) = refused.filter(|_| flags & XDP_ZEROCOPY != 0) {
            self.umems[umem].sg = self.umems[umem].sg && (had_sg || self.profile.failed_bind_keeps_sg);
            return errno(refused);
        }
        let socket = &mut self.sockets[id];
        let (Some(fill), Some(completion)) = (socket.fill.take(), socket.completion.take()) else {
            return errno(EINVAL);
        };
        self.umems[umem].users += 1;
        let pool = self.pools.insert(Pool {
            umem,
            device: place.device,
            queue,
            fill,
            completion,
            free: Vec::new(),
            need_wakeup: flags & XDP_USE_NEED_WAKEUP != 0,
            users: 1,
            driver: None,
        });
        self.devices[place.device].pools.insert(queue, pool);
        if refused.is_none() {
            self.enable_zero_copy(pool);
        }
        Ok(pool)
    }
}

/// Where a socket is to be bound.
#[derive(Debug, Clone, Copy)]
struct Place {
    device: Id<Device>,
    queue: u32,
}

impl Place {
    /// The kernel keeps the low 16 bits of a queue id only.
    fn short(self) -> u32 {
        self.queue & 0xffff
    }
}
