//! xdp.

use std::fmt;
use std::os::fd::AsRawFd;

use xdp::nic::NicIndex;
use xdp::slab::{Slab, StackSlab};
use xdp::socket::{XdpSocket, XdpSocketBuilder};
use xdp::umem::{FrameSize, UmemCfgBuilder};
use xdp::{RingConfigBuilder, Rings, Umem};
use xsk::backend::{Backend, Handle, Linux};

use crate::counterpart::{ENTRIES, FRAMES};
use crate::drive::Driver;
use crate::place::Target;
use crate::rings::User;

/// xdp's rings. Its batch is the size of its buffer of packets.
pub(super) struct Xdp<const BATCH: usize> {
    rings: Rings,
    slab: StackSlab<BATCH>,
    umem: Umem,
    socket: XdpSocket,
    /// Bytes of a packet to send.
    len: i32,
}

impl<const BATCH: usize> fmt::Debug for Xdp<BATCH> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Xdp(..)")
    }
}

impl<const BATCH: usize> Xdp<BATCH> {
    /// Opens a socket that no program leads to.
    ///
    /// # Panics
    /// If that fails.
    pub(super) fn open(at: Target<'_>) -> Self {
        let config =
            UmemCfgBuilder { frame_size: FrameSize::FourK, frame_count: FRAMES, ..Default::default() };
        let umem = Umem::map(config.build().expect("a UMEM")).expect("memory");
        let rings = RingConfigBuilder {
            rx_count: ENTRIES,
            tx_count: ENTRIES,
            fill_count: ENTRIES,
            completion_count: ENTRIES,
        };
        let mut builder = XdpSocketBuilder::new().expect("a socket");
        let (rings, mut flags) =
            builder.build_rings(&umem, rings.build().expect("powers of two")).expect("rings");
        if at.mode.zero_copy {
            flags.force_zerocopy();
        } else {
            flags.force_copy();
        }
        let interface = NicIndex::lookup_by_name(&at.c_name()).expect("a look-up").expect("an interface");
        let socket = builder.bind(interface, at.queue, flags).expect("a free queue");
        Self { rings, slab: StackSlab::new(), umem, socket, len: 0 }
    }
}

impl<const BATCH: usize> User for Xdp<BATCH> {
    fn socket(&self) -> Handle {
        Handle(self.socket.as_raw_fd())
    }

    #[inline(always)]
    fn receive(&mut self, _: u32) -> u32 {
        let Some(rx) = &mut self.rings.rx_ring else { return 0 };
        // SAFETY: the packets do not outlive the UMEM beside them.
        unsafe { rx.recv(&self.umem, &mut self.slab) as u32 }
    }

    #[inline(always)]
    fn transmit(&mut self, _: u32) -> u32 {
        let Some(tx) = &mut self.rings.tx_ring else { return 0 };
        // SAFETY: the UMEM is beside the socket, and no kernel looks at the frames.
        unsafe { tx.send(&mut self.slab) as u32 }
    }

    #[inline(always)]
    fn complete(&mut self, count: u32) -> u32 {
        self.rings.completion_ring.dequeue(&mut self.umem, count as usize) as u32
    }

    #[inline(always)]
    fn refill(&mut self, count: u32) -> u32 {
        // SAFETY: as above.
        unsafe { self.rings.fill_ring.enqueue(&mut self.umem, count as usize) as u32 }
    }
}

impl<const BATCH: usize> Driver for Xdp<BATCH> {
    fn prime(&mut self) {
        let half = FRAMES / 2;
        assert_eq!(self.refill(half), half);
    }

    fn load(&mut self, _: u32, packet: &[u8]) {
        self.len = packet.len() as i32;
        // Every frame that it may send has the bytes.
        let mut packets = Vec::new();
        // SAFETY: given back below.
        while let Some(mut free) = unsafe { self.umem.alloc() } {
            free.append(packet).expect("it fits a frame");
            packets.push(free);
        }
        packets.into_iter().for_each(|packet| self.umem.free_packet(packet));
    }

    #[inline(always)]
    fn reload(&mut self) {
        while self.slab.available() > 0 {
            // SAFETY: sent before the UMEM is gone.
            let mut packet = unsafe { self.umem.alloc() }.expect("a free frame");
            packet.adjust_tail(self.len).expect("it fits a frame");
            self.slab.push_front(packet);
        }
    }

    #[inline(always)]
    fn recycle(&mut self, count: u32) -> u32 {
        while let Some(packet) = self.slab.pop_back() {
            self.umem.free_packet(packet);
        }
        self.refill(count)
    }

    /// The library has no look at the flag: a caller says whether to wake.
    #[inline(always)]
    fn wake(&mut self) -> u32 {
        // Busy is no error.
        let _ = Linux::new().sendto(Handle(self.socket.as_raw_fd()));
        1
    }
}
