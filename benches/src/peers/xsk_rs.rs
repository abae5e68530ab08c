//! xsk-rs: the same calls as xsk's ring tier.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use xsk::backend::Handle;
use xsk_rs::config::{BindFlags, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use crate::counterpart::{ENTRIES, FRAMES};
use crate::drive::{Driver, drive_by_queues};
use crate::place::Target;
use crate::rings::{MAX_BATCH, User, by_queues};

/// xsk-rs's queues.
#[derive(Debug)]
pub(super) struct XskRs {
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    descs: Vec<FrameDesc>,
    frames: Vec<FrameDesc>,
    umem: Umem,
    /// Frames that were on no queue yet.
    spare: Vec<FrameDesc>,
}

impl XskRs {
    /// Opens a socket that no program leads to.
    ///
    /// # Panics
    /// If that fails.
    pub(super) fn open(at: Target<'_>) -> Self {
        let size = QueueSize::new(ENTRIES).expect("a power of two");
        let umem = UmemConfig::builder().fill_queue_size(size).comp_queue_size(size).build();
        let frames = NonZeroU32::new(FRAMES).expect("some frames");
        let (umem, spare) = Umem::new(umem.expect("a UMEM"), frames, false).expect("a UMEM");
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::from_bits_retain(at.mode.bind_flags().bits()))
            .build();
        let interface = at.interface.parse().expect("an interface");
        // SAFETY: one socket for this interface and queue, without a program.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, at.queue) }.expect("a socket");
        let (fill, completion) = rings.expect("the first socket");
        let descs = vec![FrameDesc::default(); MAX_BATCH as usize];
        Self { rx, tx, fill, completion, frames: descs.clone(), descs, umem, spare }
    }
}

impl User for XskRs {
    fn socket(&self) -> Handle {
        Handle(self.rx.fd().as_raw_fd())
    }

    by_queues!();
}

impl Driver for XskRs {
    drive_by_queues!();
}
