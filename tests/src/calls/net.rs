//! A kernel with a pair of devices, and the simulated one of these.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle, Mapping, PageSize, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use super::op::Place;

const MAP_SLOTS: u32 = 4;
/// Bytes of an Ethernet header.
pub const ETH_HLEN: usize = 14;
/// A kernel with a pair of devices, a redirect program on both.
pub trait Net {
    fn kernel(&self) -> Arc<dyn Backend>;
    fn index(&self, end: usize) -> u32;
    /// The XSKMAP of an end.
    fn map(&self, end: usize) -> Handle;
    /// The stack of an end sends a frame, if it is not too long for its MTU.
    fn inject(&self, end: usize, frame: &[u8]);
    /// Frames that came to the stack of an end since the last time.
    fn arrived(&self, end: usize) -> Vec<Vec<u8>>;
    fn set_up(&self, end: usize, up: bool);
    /// The errno, if it is refused.
    fn set_mtu(&self, end: usize, mtu: u32) -> Result<(), i32>;
    /// The errno, if it is refused.
    fn set_queues(&self, end: usize, rx: u32, tx: u32) -> Result<(), i32>;
    /// Deletes the pair.
    fn remove(&self, end: usize);
    /// Moves an end to where nobody finds it.
    fn move_away(&self, end: usize);
    fn name(&self, end: usize) -> String;
    /// Memory for a UMEM; as much behind it cannot be pinned.
    fn memory(&self, len: usize) -> Mapping;
    /// Lets everything happen that is planned, where that can be known.
    fn settle(&self);
    /// Time to wait for what differs; none where nothing happens by itself.
    fn patience(&self) -> Duration;
}

/// Maps, programs and links of both ends.
pub fn attach(kernel: &Arc<dyn Backend>, place: Place, ends: [u32; 2]) -> ([Handle; 2], Vec<Handle>) {
    let mode = if place.native { XdpFlags::XDP_FLAGS_DRV_MODE } else { XdpFlags::XDP_FLAGS_SKB_MODE };
    let mut kept = Vec::new();
    let maps = ends.map(|end| {
        let map = kernel.xskmap_create(MAP_SLOTS).expect("a map");
        let program = kernel.program_load(&RedirectProgram { map, frags: place.sg }).expect("a program");
        kept.extend([program, kernel.link_create(program, end, mode).expect("a link")]);
        map
    });
    (maps, kept)
}

pub fn mtu(place: Place) -> u32 {
    if place.sg { 9000 } else { 1500 }
}

/// The simulated kernel, made for one history.
#[derive(Debug)]
pub struct SimNet {
    pub kernel: SimKernel,
    pub ends: [SimDevice; 2],
    /// Whether what is planned happens between operations.
    pub settles: Cell<bool>,
    maps: [Handle; 2],
    /// Of each end, the program and its link.
    pub kept: Vec<Handle>,
}

impl SimNet {
    pub fn new(place: Place) -> Self {
        Self::on(SimKernel::new(1), place, DeviceConfig::default())
    }

    /// On a kernel without devices. Of the configuration, queues and MTU are the place's.
    pub fn on(kernel: SimKernel, place: Place, config: DeviceConfig) -> Self {
        let (rx, tx) = place.queues;
        let config = config.rx_queues(rx).tx_queues(tx).mtu(mtu(place));
        let (a, b) = kernel.veth("a", "b", &config).expect("a pair");
        let (maps, kept) = attach(&kernel.backend(), place, [a.index(), b.index()]);
        Self { kernel, ends: [a, b], settles: Cell::new(true), maps, kept }
    }
}

impl Net for SimNet {
    fn kernel(&self) -> Arc<dyn Backend> {
        self.kernel.backend()
    }

    fn index(&self, end: usize) -> u32 {
        self.ends[end].index()
    }

    fn map(&self, end: usize) -> Handle {
        self.maps[end]
    }

    fn inject(&self, end: usize, frame: &[u8]) {
        // What the stack is told when the link is down is not AF_XDP's.
        if frame.len() <= self.ends[end].info().mtu as usize + ETH_HLEN {
            let _ = self.ends[end].send(frame);
        }
    }

    fn arrived(&self, end: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.ends[end].receive()).collect()
    }

    fn set_up(&self, end: usize, up: bool) {
        self.ends[end].set_up(up);
    }

    fn set_mtu(&self, end: usize, mtu: u32) -> Result<(), i32> {
        self.ends[end].set_mtu(mtu).map_err(|e| e.raw_os_error().unwrap_or_default())
    }

    fn set_queues(&self, end: usize, rx: u32, tx: u32) -> Result<(), i32> {
        self.ends[end].set_queues(rx, tx).map_err(|e| e.raw_os_error().unwrap_or_default())
    }

    fn remove(&self, end: usize) {
        self.ends[end].remove();
    }

    fn move_away(&self, end: usize) {
        self.ends[end].move_away();
    }

    fn name(&self, end: usize) -> String {
        self.ends[end].name()
    }

    fn memory(&self, len: usize) -> Mapping {
        self.kernel().mmap_memory(len, PageSize::Normal).expect("memory")
    }

    fn settle(&self) {
        if self.settles.get() {
            self.kernel.run_until_idle(10_000);
        }
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}
