//! xsk-rs: the same calls as xsk's ring tier.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use xsk::backend::Handle;
use xsk_rs::config::{BindFlags, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use crate::counterpart::{ENTRIES, FRAMES};
use crate::rings::{MAX_BATCH, User};

/// xsk-rs's queues.
#[derive(Debug)]
pub(super) struct XskRs {
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    descs: Vec<FrameDesc>,
    frames: Vec<FrameDesc>,
}

impl XskRs {
    /// Opens a socket that no program leads to.
    ///
    /// # Panics
    /// If that fails.
    pub(super) fn open(interface: &str, queue: u32) -> Self {
        let size = QueueSize::new(ENTRIES).expect("a power of two");
        let umem = UmemConfig::builder().fill_queue_size(size).comp_queue_size(size).build();
        let frames = NonZeroU32::new(FRAMES).expect("some frames");
        let (umem, _) = Umem::new(umem.expect("a UMEM"), frames, false).expect("a UMEM");
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_COPY)
            .build();
        let interface = interface.parse().expect("an interface");
        // SAFETY: one socket for this interface and queue, without a program.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, queue) }.expect("a socket");
        let (fill, completion) = rings.expect("the first socket");
        let descs = vec![FrameDesc::default(); MAX_BATCH as usize];
        Self { rx, tx, fill, completion, frames: descs.clone(), descs }
    }
}

impl User for XskRs {
    fn socket(&self) -> Handle {
        Handle(self.rx.fd().as_raw_fd())
    }

    #[inline(always)]
    fn receive(&mut self, count: u32) -> u32 {
        // SAFETY: used with this socket only.
        unsafe { self.rx.consume(&mut self.descs[..count as usize]) as u32 }
    }

    #[inline(always)]
    fn transmit(&mut self, count: u32) -> u32 {
        // SAFETY: no kernel looks at the frames.
        unsafe { self.tx.produce(black_box(&self.descs[..count as usize])) as u32 }
    }

    #[inline(always)]
    fn complete(&mut self, count: u32) -> u32 {
        // SAFETY: used with this socket only.
        unsafe { self.completion.consume(&mut self.frames[..count as usize]) as u32 }
    }

    #[inline(always)]
    fn refill(&mut self, count: u32) -> u32 {
        // SAFETY: no kernel looks at the frames.
        unsafe { self.fill.produce(black_box(&self.frames[..count as usize])) as u32 }
    }
}
