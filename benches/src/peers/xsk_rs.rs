//! xsk-rs: the same calls as xsk's ring tier.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use xsk::backend::Handle;
use xsk_rs::config::{BindFlags, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use crate::counterpart::{ENTRIES, FRAMES};
use crate::drive::Driver;
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
    umem: Umem,
    /// Frames that were on no queue yet.
    spare: Vec<FrameDesc>,
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
        let (umem, spare) = Umem::new(umem.expect("a UMEM"), frames, false).expect("a UMEM");
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let interface = interface.parse().expect("an interface");
        // SAFETY: one socket for this interface and queue, without a program.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, queue) }.expect("a socket");
        let (fill, completion) = rings.expect("the first socket");
        let descs = vec![FrameDesc::default(); MAX_BATCH as usize];
        Self { rx, tx, fill, completion, frames: descs.clone(), descs, umem, spare }
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

impl Driver for XskRs {
    fn prime(&mut self) {
        let half = self.spare.len() / 2;
        let frames: Vec<FrameDesc> = self.spare.drain(..half).collect();
        // SAFETY: frames that were on no queue before.
        assert_eq!(unsafe { self.fill.produce(&frames) }, half);
    }

    fn load(&mut self, count: u32, packet: &[u8]) {
        for (desc, spare) in self.descs.iter_mut().zip(&self.spare[..count as usize]) {
            *desc = *spare;
            // SAFETY: a frame that is on no queue.
            let mut data = unsafe { self.umem.data_mut(desc) };
            std::io::Write::write_all(&mut data.cursor(), packet).expect("it fits a frame");
        }
    }

    #[inline(always)]
    fn recycle(&mut self, count: u32) -> u32 {
        // SAFETY: the frames were just received.
        unsafe { self.fill.produce(&self.descs[..count as usize]) as u32 }
    }

    #[inline(always)]
    fn wake(&mut self) -> u32 {
        let needed = self.tx.needs_wakeup();
        if needed {
            self.tx.wakeup().expect("a wakeup");
        }
        needed.into()
    }
}
