//! What these tests share.

use xsk::pool::{Pool, PoolConfig};
use xsk::port::PortConfig;
use xsk::{Batch, Port};
use xsk_sim::{DeviceConfig, Place, SimDevice, SimKernel};

/// A kernel with a veth pair.
pub(crate) fn world(queues: u32) -> (SimKernel, SimDevice, SimDevice) {
    let kernel = SimKernel::new(3);
    let (a, b) = kernel.veth("a", "b", &DeviceConfig::default().queues(queues)).unwrap();
    (kernel, a, b)
}

pub(crate) fn pool(kernel: &SimKernel, frames: u32) -> Pool {
    Pool::new_in(kernel.backend(), PoolConfig::default().frames(frames)).unwrap()
}

/// Small rings.
pub(crate) fn config() -> PortConfig {
    PortConfig::default().rx_ring(16).tx_ring(16).fill_ring(16).completion_ring(16)
}

pub(crate) fn port(pool: &Pool, interface: &str) -> Port {
    Port::open(pool, interface, 0, config()).unwrap()
}

/// What a port receives, as bytes.
pub(crate) fn received(port: &mut Port) -> Vec<Vec<u8>> {
    let mut batch = Batch::new();
    port.recv(&mut batch).unwrap();
    batch.iter().map(|packet| packet.segments().flatten().copied().collect()).collect()
}

/// The law of the frames, as the simulated kernel sees it and as the pool does.
pub(crate) fn check_frames(kernel: &SimKernel, pool: &Pool) {
    let frames = kernel.frames();
    frames.check().unwrap();
    let places =
        [Place::Pool, Place::Fill, Place::Kernel, Place::Rx, Place::Tx, Place::Completion, Place::Lost];
    let with_kernel: usize = places.iter().map(|place| frames.count(*place)).sum();
    // What a closed port left behind may be on its way there still.
    let (ours, quarantined) = (pool.with_kernel() as usize, pool.quarantined() as usize);
    assert!((with_kernel..=with_kernel + quarantined).contains(&ours), "{ours}, {quarantined}: {frames}");
    assert_eq!(frames.strays().count(), 0, "{frames}");
}

/// How many packets the pool has frames for.
pub(crate) fn free_frames(pool: &Pool) -> usize {
    std::iter::from_fn(|| pool.packet()).collect::<Vec<_>>().len()
}
