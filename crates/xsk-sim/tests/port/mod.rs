//! A socket of the ring tier with all that belongs to it.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::io::Write;
use std::num::NonZeroU32;

use xsk::backend::PageSize;
use xsk::config::{SocketConfig, UmemConfig, XdpFlags};
use xsk::error::{Diagnosis, Error};
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

pub struct Port {
    pub tx: TxQueue,
    pub rx: RxQueue,
    pub fill: FillQueue,
    pub comp: CompQueue,
    pub umem: Umem,
    pub descs: Vec<FrameDesc>,
}

impl Port {
    /// On queue 0, with 16 frames of its own.
    pub fn open(kernel: &SimKernel, interface: &str, mode: XdpFlags) -> Self {
        let (umem, descs) = umem(kernel, 16);
        let config = SocketConfig::builder().xdp_flags(mode).build();
        let interface = interface.parse().unwrap();
        // SAFETY: the tests hand each frame over once.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, 0) }.unwrap();
        let (fill, comp) = rings.expect("the first socket of the queue");
        Self { tx, rx, fill, comp, umem, descs }
    }

    /// Puts frames 0 to 7 on the fill queue.
    pub fn fill_eight(&mut self) {
        // SAFETY: each frame is on one queue.
        assert_eq!(unsafe { self.fill.produce(&self.descs[..8]) }, 8);
    }
}

pub fn world(queues: u32) -> (SimKernel, SimDevice, SimDevice) {
    let kernel = SimKernel::new(3);
    kernel.watch_frames(true);
    let (a, b) = kernel.veth("a", "b", &DeviceConfig::default().queues(queues)).unwrap();
    (kernel, a, b)
}

pub fn umem(kernel: &SimKernel, frames: u32) -> (Umem, Vec<FrameDesc>) {
    let frames = NonZeroU32::new(frames).unwrap();
    Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal).unwrap()
}

pub fn write(umem: &Umem, desc: &mut FrameDesc, packet: &[u8]) {
    // SAFETY: the caller's frame.
    let mut data = unsafe { umem.data_mut(desc) };
    data.cursor().set_pos(0);
    data.cursor().write_all(packet).unwrap();
}

pub fn receive(umem: &Umem, rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let mut descs = [FrameDesc::default(); 16];
    // SAFETY: one UMEM.
    let count = unsafe { rx.consume(&mut descs) };
    // SAFETY: received frames are ours.
    descs[..count].iter().map(|desc| unsafe { umem.data(desc) }.to_vec()).collect()
}

/// Whether an error says that a ring's index is impossible.
pub fn broken(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    error.is_some_and(|error| matches!(error.diagnosis(), Diagnosis::BrokenRing(_)))
}
