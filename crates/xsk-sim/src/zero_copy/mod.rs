//! Zero copy: the driver's side of a queue whose packets are in the UMEM itself.
//!
//! The driver takes buffers from the fill ring before it needs them and gives them to the device, which writes packets
//! there. What it takes from the TX ring the device reads some time later, straight from the UMEM. The rules are those of
//! `net/xdp/xsk.c`, `net/xdp/xsk_buff_pool.c` and the Intel drivers (`drivers/net/ethernet/intel/igb/igb_xsk.c`); where
//! drivers differ, one way was chosen. `docs/semantics.md`, 15, has what was measured on emulated cards.

mod batch;
mod receive;
mod setup;
mod transmit;

use std::collections::VecDeque;

use xsk_core::abi::{XDP_RING_NEED_WAKEUP, xdp_desc};
use xsk_core::errno::EINVAL;

use crate::arena::Id;
use crate::device::Device;
use crate::error::{Sys, errno};
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::skb::Owner;
use crate::socket::Socket;
use crate::trace::What;

/// `XDP_WAKEUP_RX` and `XDP_WAKEUP_TX`: whom the driver wants to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wakeups {
    pub(crate) rx: bool,
    pub(crate) tx: bool,
}

/// The device's rings of one queue.
#[derive(Debug)]
pub(crate) struct DriverRings {
    /// The device is up, and has a native program: without one there are no such rings.
    running: bool,
    /// NAPI is going to run.
    scheduled: bool,
    /// Buffers that the device may write to.
    posted: VecDeque<u64>,
    /// Packets that NAPI has not seen yet.
    arrived: VecDeque<Arrived>,
    /// Descriptors of packets whose end has not come.
    pending: Vec<(Id<Socket>, xdp_desc)>,
    /// Packets that were given to the device, and not completed yet.
    sending: VecDeque<Sending>,
    /// Descriptors that were taken and refused, to be completed behind all that the device has.
    refused: Vec<u64>,
    /// Sockets with a TX ring, the newest first.
    senders: Vec<Sender>,
    /// What Linux caches of the flags of the rings.
    pub(crate) needs: Wakeups,
}

/// A packet that the device wrote.
#[derive(Debug)]
struct Arrived {
    chunks: Vec<u64>,
    len: usize,
}

/// A packet that the device reads.
#[derive(Debug)]
struct Sending {
    /// Where its bytes are in the UMEM.
    parts: Vec<(u64, usize)>,
    owner: Owner,
    sent: bool,
}

#[derive(Debug)]
struct Sender {
    socket: Id<Socket>,
    /// Descriptors of its share in this round.
    spent: u32,
}

/// Entries of a device's ring, of which one stays empty.
const RING: usize = 256;

impl DriverRings {
    fn new() -> Self {
        Self {
            running: false,
            scheduled: false,
            posted: VecDeque::new(),
            arrived: VecDeque::new(),
            pending: Vec::new(),
            sending: VecDeque::new(),
            refused: Vec::new(),
            senders: Vec::new(),
            // To transmit it has to be woken the first time (xp_assign_dev).
            needs: Wakeups { rx: false, tx: true },
        }
    }

    /// Buffers that the device or NAPI has.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = u64> + '_ {
        self.posted.iter().chain(self.arrived.iter().flat_map(|packet| &packet.chunks)).copied()
    }

    /// Descriptors that were taken from TX rings and not completed.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = u64> + '_ {
        let sending = self.sending.iter().flat_map(|packet| packet.owner.addrs());
        let refused = self.refused.iter().copied();
        self.pending.iter().map(|(_, desc)| desc.addr).chain(sending).chain(refused)
    }

    /// How many buffers wait for packets, packets for NAPI, and packets for being sent or completed.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [self.posted.len(), self.arrived.len(), self.sending.len()]
    }
}

impl Kernel {
    /// The zero-copy pool of a queue, if its rings are running.
    fn running_pool(&self, device: Id<Device>, queue: u32) -> Option<Id<Pool>> {
        let pool = *self.devices[device].pools.get(&queue)?;
        self.pools[pool].driver.as_ref().filter(|driver| driver.running).map(|_| pool)
    }

    /// The rings of a pool that is known to have some.
    fn driver(&mut self, pool: Id<Pool>) -> Option<&mut DriverRings> {
        self.pools.get_mut(pool)?.driver.as_deref_mut()
    }

    /// Which side of a socket wants to be woken. Copy mode: always the sender.
    pub(crate) fn wanted_wakeups(&self, socket: &Socket) -> Wakeups {
        let driver = socket.pool.and_then(|pool| self.pools[pool].driver.as_ref());
        driver.map_or(Wakeups { rx: false, tx: true }, |driver| driver.needs)
    }

    /// `ndo_xsk_wakeup` (`igb_xsk.c:igb_xsk_wakeup`): NAPI runs.
    pub(crate) fn wake_driver(&mut self, id: Id<Socket>) -> Sys<()> {
        let socket = &self.sockets[id];
        let (Some(device), queue) = (socket.device, socket.queue) else { return Ok(()) };
        let Some(pool) = self.running_pool(device, queue) else { return errno(EINVAL) };
        self.schedule_driver(pool);
        self.run_softirqs();
        Ok(())
    }

    /// NAPI of the queue is to run, if it is not going to anyway.
    fn schedule_driver(&mut self, id: Id<Pool>) {
        let pool = &mut self.pools[id];
        let (device, queue) = (pool.device, pool.queue);
        if let Some(driver) = &mut pool.driver
            && !std::mem::replace(&mut driver.scheduled, true)
        {
            self.schedule_napi(device, queue);
        }
    }

    /// One NAPI poll of a zero-copy queue (`igb_main.c:igb_poll`). False if it is none.
    pub(crate) fn zero_copy_poll(&mut self, device: Id<Device>, queue: u32) -> bool {
        let Some(pool) = self.running_pool(device, queue) else { return false };
        self.poll_rings(pool, device, queue);
        true
    }

    #[inline(never)]
    fn poll_rings(&mut self, pool: Id<Pool>, device: Id<Device>, queue: u32) {
        if let Some(driver) = self.driver(pool) {
            driver.scheduled = false;
            let packets = driver.arrived.len() as u32;
            self.note(None, Some(device), || What::Napi { queue, packets });
        }
        self.complete_sent(pool);
        self.take_descriptors(pool);
        let mut delivered = std::mem::take(&mut self.delivered);
        self.receive_arrived(pool, &mut delivered);
        if self.crash.is_some() {
            return;
        }
        for socket in &delivered {
            self.flush(*socket);
        }
        delivered.clear();
        self.delivered = delivered;
        let short = self.refill(pool);
        if self.pools[pool].need_wakeup {
            self.show_needs(pool, short);
        }
        if self.driver(pool).is_some_and(|driver| !driver.arrived.is_empty()) {
            self.schedule_driver(pool);
        }
        self.look_at_rings();
    }

    /// The flags of the rings: receiving wants a wakeup when there were too few buffers, transmitting when no completion is
    /// to come that would make NAPI look (`mlx5e_xsk_update_tx_wakeup`; Intel's drivers want one always).
    fn show_needs(&mut self, id: Id<Pool>, short: bool) {
        let offsets = self.profile.ring_shape().offsets;
        let flags = |needs: bool| if needs { XDP_RING_NEED_WAKEUP } else { 0 };
        let pool = &mut self.pools[id];
        let Some(driver) = &mut pool.driver else { return };
        let needs = Wakeups { rx: short || driver.posted.is_empty(), tx: driver.sending.is_empty() };
        if driver.needs.rx != needs.rx {
            pool.fill.memory.store_flags(&offsets, flags(needs.rx));
        }
        if driver.needs.tx != needs.tx {
            for sender in &driver.senders {
                if let Some(tx) = self.sockets.get(sender.socket).and_then(|socket| socket.tx.as_ref()) {
                    tx.memory.store_flags(&offsets, flags(needs.tx));
                }
            }
        }
        driver.needs = needs;
    }
}
