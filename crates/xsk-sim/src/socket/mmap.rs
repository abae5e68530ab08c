use std::sync::Weak;

use xsk::backend::Mapping;
use xsk_core::abi::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING,
};
use xsk_core::errno::{EBUSY, EINVAL};
use xsk_core::region::PAGE_SIZE;

use crate::arena::Id;
use crate::error::{Failure, Sys, errno};
use crate::kernel::Kernel;
use crate::sim_kernel::Inner;

use super::{Socket, State};

/// What a mapping of a ring drops: its reference to the socket's file.
#[derive(Debug)]
struct Unmap {
    kernel: Weak<Inner>,
    socket: Id<Socket>,
}

impl Drop for Unmap {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.upgrade() {
            kernel.lock().put_socket(self.socket);
        }
    }
}

impl Kernel {
    /// `net/xdp/xsk.c:xsk_mmap`. The mapping holds the socket's file: see [`put_socket`](Self::put_socket).
    pub(crate) fn mmap_ring(
        &mut self,
        id: Id<Socket>,
        offset: u64,
        len: usize,
        kernel: Weak<Inner>,
    ) -> Sys<Mapping> {
        if len == 0 || !offset.is_multiple_of(PAGE_SIZE as u64) {
            return errno(EINVAL);
        }
        let socket = &self.sockets[id];
        match socket.state {
            State::Unbound => return errno(EBUSY),
            State::Bound if !self.profile.maps_rings_of_bound => return errno(EBUSY),
            State::Ready | State::Bound => {}
        }
        // A bound socket's fill and completion ring are its pool's.
        let pool = socket.pool.filter(|_| socket.is_bound()).map(|pool| &self.pools[pool]);
        let memory = match offset {
            XDP_PGOFF_RX_RING => socket.rx.as_ref().map(|rx| &rx.memory),
            XDP_PGOFF_TX_RING => socket.tx.as_ref().map(|tx| &tx.memory),
            XDP_UMEM_PGOFF_FILL_RING => match pool {
                Some(pool) => Some(&pool.fill.memory),
                None => socket.fill.as_ref().map(|fill| &fill.memory),
            },
            XDP_UMEM_PGOFF_COMPLETION_RING => match pool {
                Some(pool) => Some(&pool.completion.memory),
                None => socket.completion.as_ref().map(|completion| &completion.memory),
            },
            _ => None,
        };
        let Some(memory) = memory.filter(|memory| len <= memory.len()) else { return errno(EINVAL) };
        let memory = memory.clone();
        self.sockets[id].references += 1;
        memory.map(len, Box::new(Unmap { kernel, socket: id })).ok_or(Failure::Errno(EINVAL))
    }
}
