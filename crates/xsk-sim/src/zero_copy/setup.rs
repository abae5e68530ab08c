use xsk_core::abi::XDP_USE_SG;
use xsk_core::errno::{EINVAL, EOPNOTSUPP};

use crate::arena::Id;
use crate::device::Device;
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::socket::Socket;
use crate::umem::Umem;

use super::{DriverRings, Sender};

/// Bytes of a frame beside its payload: an Ethernet header, two VLAN tags, the checksum.
const FRAME_EXTRA: u32 = 26;

impl Kernel {
    /// Why a queue has no zero copy for a UMEM (`net/xdp/xsk_buff_pool.c:xp_assign_dev`, and what drivers check).
    pub(crate) fn refuses_zero_copy(
        &self,
        device: Id<Device>,
        queue: u32,
        umem: Id<Umem>,
        flags: u16,
    ) -> Option<i32> {
        let device = &self.devices[device];
        let sg = flags & XDP_USE_SG != 0;
        if device.zc_segments == 0 || (device.zc_segments == 1 && sg) {
            return Some(EOPNOTSUPP);
        }
        let fits = fits(&self.umems[umem], device.mtu, if sg { device.zc_segments } else { 1 });
        (!fits || queue >= device.rx_queues || queue >= device.tx_queues).then_some(EINVAL)
    }

    /// Whether the zero-copy sockets of a device could receive frames of another MTU.
    pub(crate) fn zero_copy_takes_mtu(&self, device: Id<Device>, mtu: u32) -> bool {
        let device = &self.devices[device];
        let mut pools = device.pools.values().map(|pool| &self.pools[*pool]);
        pools.all(|pool| {
            let umem = &self.umems[pool.umem];
            pool.driver.is_none() || fits(umem, mtu, if umem.sg { device.zc_segments } else { 1 })
        })
    }

    /// `XDP_SETUP_XSK_POOL`: the queue of a new pool gets its rings.
    pub(crate) fn enable_zero_copy(&mut self, pool: Id<Pool>) {
        let umem = self.pools[pool].umem;
        self.umems[umem].zero_copy = true;
        self.pools[pool].driver = Some(Box::new(DriverRings::new()));
        self.refresh_driver(pool);
    }

    /// A socket sends by a zero-copy queue, from now on (`net/xdp/xsk_buff_pool.c:xp_add_xsk`).
    pub(crate) fn add_sender(&mut self, socket: Id<Socket>, pool: Id<Pool>) {
        let sends = self.sockets[socket].tx.is_some();
        if let Some(driver) = self.driver(pool).filter(|_| sends) {
            driver.senders.insert(0, Sender { socket, spent: 0 });
        }
    }

    /// No longer (`xp_del_xsk`). What the device has of it stays there.
    pub(crate) fn remove_sender(&mut self, socket: Id<Socket>) {
        if let Some(pool) = self.sockets[socket].pool
            && let Some(driver) = self.driver(pool)
        {
            driver.senders.retain(|sender| sender.socket != socket);
        }
    }

    /// The queues of a device start or stop, as it is up and has a native program, or not.
    pub(crate) fn refresh_drivers(&mut self, device: Id<Device>) {
        if self.devices[device].zc_segments == 0 {
            return;
        }
        let pools: Vec<Id<Pool>> = self.devices[device].pools.values().copied().collect();
        pools.into_iter().for_each(|pool| self.refresh_driver(pool));
    }

    fn refresh_driver(&mut self, pool: Id<Pool>) {
        let device = &self.devices[self.pools[pool].device];
        let runs = device.up && !device.gone && device.is_native();
        match self.driver(pool) {
            Some(driver) if driver.running != runs => driver.running = runs,
            _ => return,
        }
        if runs {
            self.refill(pool);
            self.schedule_driver(pool);
            self.run_softirqs();
        } else {
            self.stop_driver(pool);
        }
    }

    /// The rings of a queue go: buffers back to the pool, and what was to be sent is completed, sent or not
    /// (`igb_main.c:igb_clean_tx_ring`, `igb_xsk.c:igb_clean_rx_ring_zc`).
    pub(crate) fn stop_driver(&mut self, id: Id<Pool>) {
        let pool = &mut self.pools[id];
        let Some(driver) = &mut pool.driver else { return };
        pool.free.extend(driver.buffers());
        driver.running = false;
        driver.scheduled = false;
        driver.posted.clear();
        driver.arrived.clear();
        for packet in std::mem::take(&mut driver.sending) {
            self.complete_owner(packet.owner);
        }
        self.complete_refused(id);
    }
}

/// Whether frames of an MTU fit the buffers of a UMEM.
fn fits(umem: &Umem, mtu: u32, segments: u32) -> bool {
    mtu + FRAME_EXTRA <= umem.frame_size().saturating_mul(segments)
}
