//! xdpilone.

use std::fmt;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::Arc;

use xdpilone::xdp::XdpDesc;
use xdpilone::{CompletionQueue, FillQueue, IfInfo, RingRx, RingTx, Socket, SocketConfig, Umem, UmemConfig};
use xsk::backend::Handle;
use xsk_core::region::Region;

use crate::counterpart::{ENTRIES, FRAME_SIZE, FRAMES};
use crate::drive::Driver;
use crate::place::Target;
use crate::rings::{MAX_BATCH, User};

/// xdpilone's queues, through arrays or, in place, from reader to writer.
pub(super) struct Xdpilone<const IN_PLACE: bool> {
    rx: RingRx,
    tx: RingTx,
    fill: FillQueue,
    completion: CompletionQueue,
    descs: Vec<XdpDesc>,
    frames: Vec<u64>,
    _umem: Umem,
    memory: Arc<Region>,
}

impl<const IN_PLACE: bool> fmt::Debug for Xdpilone<IN_PLACE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Xdpilone(..)")
    }
}

impl<const IN_PLACE: bool> Xdpilone<IN_PLACE> {
    /// Opens a socket that no program leads to.
    ///
    /// # Panics
    /// If that fails.
    pub(super) fn open(at: Target<'_>) -> Self {
        let memory = Region::new((FRAMES * FRAME_SIZE) as usize).expect("memory");
        let bytes = NonNull::slice_from_raw_parts(memory.as_ptr(), memory.len());
        let config = UmemConfig {
            fill_size: ENTRIES,
            complete_size: ENTRIES,
            frame_size: FRAME_SIZE,
            headroom: 0,
            flags: 0,
        };
        // SAFETY: page-aligned memory that lives as long as the UMEM, kept beside it.
        let umem = unsafe { Umem::new(config, bytes) }.expect("a UMEM");
        let mut info = IfInfo::invalid();
        info.from_name(&at.c_name()).expect("an interface");
        info.set_queue(at.queue);
        let socket = Socket::with_shared(&info, &umem).expect("a socket");
        let (fill, completion) = umem.fq_cq(&socket).expect("fill and completion queue").into_parts();
        let size = NonZeroU32::new(ENTRIES);
        let config = SocketConfig { rx_size: size, tx_size: size, bind_flags: at.mode.bind_flags().bits() };
        let user = umem.rx_tx(&socket, &config).expect("RX and TX queue");
        umem.bind(&user).expect("a free queue");
        let (rx, tx) = (user.map_rx().expect("an RX ring"), user.map_tx().expect("a TX ring"));
        let desc = XdpDesc { addr: 0, len: 0, options: 0 };
        let (descs, frames) = (vec![desc; MAX_BATCH as usize], vec![0; MAX_BATCH as usize]);
        Self { rx, tx, fill, completion, descs, frames, _umem: umem, memory }
    }
}

impl<const IN_PLACE: bool> User for Xdpilone<IN_PLACE> {
    fn socket(&self) -> Handle {
        Handle(self.rx.as_raw_fd())
    }

    #[inline(always)]
    fn receive(&mut self, count: u32) -> u32 {
        let mut reader = self.rx.receive(count);
        let received = reader.capacity();
        self.descs.iter_mut().zip(reader.by_ref()).for_each(|(to, desc)| *to = desc);
        reader.release();
        received
    }

    #[inline(always)]
    fn transmit(&mut self, count: u32) -> u32 {
        let mut writer = self.tx.transmit(count);
        let sent = writer.insert(black_box(&self.descs[..count as usize]).iter().copied());
        writer.commit();
        sent
    }

    #[inline(always)]
    fn complete(&mut self, count: u32) -> u32 {
        let mut reader = self.completion.complete(count);
        let done = reader.capacity();
        self.frames.iter_mut().zip(reader.by_ref()).for_each(|(to, frame)| *to = frame);
        reader.release();
        done
    }

    #[inline(always)]
    fn refill(&mut self, count: u32) -> u32 {
        let mut writer = self.fill.fill(count);
        let filled = writer.insert(black_box(&self.frames[..count as usize]).iter().copied());
        writer.commit();
        filled
    }

    #[inline(always)]
    fn forward(&mut self, count: u32) -> u32 {
        if !IN_PLACE {
            let received = self.receive(count);
            let sent = self.transmit(received);
            let done = self.complete(count);
            return received.min(sent).min(done).min(self.refill(done));
        }
        let mut reader = self.rx.receive(count);
        let mut writer = self.tx.transmit(reader.capacity());
        let sent = writer.insert(reader.by_ref());
        writer.commit();
        reader.release();
        let mut reader = self.completion.complete(count);
        let mut writer = self.fill.fill(reader.capacity());
        let filled = writer.insert(reader.by_ref());
        writer.commit();
        reader.release();
        sent.min(filled)
    }
}

impl<const IN_PLACE: bool> Driver for Xdpilone<IN_PLACE> {
    fn prime(&mut self) {
        let half = FRAMES / 2;
        let mut writer = self.fill.fill(half);
        assert_eq!(writer.insert((0..half).map(|n| u64::from(n * FRAME_SIZE))), half);
        writer.commit();
    }

    fn load(&mut self, count: u32, packet: &[u8]) {
        for (desc, n) in self.descs.iter_mut().zip(FRAMES / 2..).take(count as usize) {
            let addr = u64::from(n * FRAME_SIZE);
            *desc = XdpDesc { addr, len: packet.len() as u32, options: 0 };
            // SAFETY: within the memory, in a frame that is on no queue.
            unsafe {
                let frame = self.memory.as_ptr().add(addr as usize);
                frame.copy_from_nonoverlapping(NonNull::from(packet).cast(), packet.len());
            }
        }
    }

    #[inline(always)]
    fn recycle(&mut self, count: u32) -> u32 {
        let mut writer = self.fill.fill(count);
        let filled = writer.insert(self.descs[..count as usize].iter().map(|desc| desc.addr));
        writer.commit();
        filled
    }

    #[inline(always)]
    fn wake(&mut self) -> u32 {
        let needed = self.tx.needs_wakeup();
        if needed {
            self.tx.wake();
        }
        needed.into()
    }
}
