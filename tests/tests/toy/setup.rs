//! A UMEM and sockets on the toy.

use std::num::NonZeroU32;
use std::sync::Arc;

use xsk::backend::{Backend, PageSize};
use xsk::config::{Interface, QueueSize, SocketConfig, UmemConfig};
use xsk::socket::SocketCreateError;
use xsk::umem::UmemCreateError;
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// Entries of every ring.
pub(crate) const SIZE: u32 = 8;

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) tx: TxQueue,
    pub(crate) rx: RxQueue,
    pub(crate) rings: Option<(FillQueue, CompQueue)>,
}

pub(crate) fn size(entries: u32) -> QueueSize {
    QueueSize::new(entries).unwrap()
}

/// Sixteen frames.
pub(crate) fn try_umem<B: Backend + 'static>(
    backend: &Arc<B>,
) -> Result<(Umem, Vec<FrameDesc>), UmemCreateError> {
    let config =
        UmemConfig::builder().fill_queue_size(size(SIZE)).comp_queue_size(size(SIZE)).build().unwrap();
    let backend: Arc<dyn Backend> = Arc::clone(backend) as _;
    Umem::new_in(backend, config, NonZeroU32::new(16).unwrap(), PageSize::Normal)
}

pub(crate) fn umem<B: Backend + 'static>(backend: &Arc<B>) -> (Umem, Vec<FrameDesc>) {
    try_umem(backend).unwrap()
}

pub(crate) fn config() -> SocketConfig {
    SocketConfig::builder().rx_queue_size(size(SIZE)).tx_queue_size(size(SIZE)).build()
}

pub(crate) fn open(
    config: SocketConfig,
    umem: &Umem,
    on: &str,
    queue: u32,
) -> Result<Port, SocketCreateError> {
    let interface: Interface = on.parse().unwrap();
    // SAFETY: the tests hand each frame over once, or no kernel is behind it.
    let (tx, rx, rings) = unsafe { Socket::new(config, umem, &interface, queue) }?;
    Ok(Port { tx, rx, rings })
}

pub(crate) fn port(umem: &Umem, on: &str, queue: u32) -> Port {
    open(config(), umem, on, queue).unwrap()
}
