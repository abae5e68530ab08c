//! Who is measured on the rings.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use xsk::backend::{Backend, Handle, Mapping, PageSize};
use xsk::config::{LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};
use xsk_core::abi::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, xdp_desc,
    xdp_ring_offset,
};
use xsk_core::ring::{Consumer, Mapped, Producer};
use xsk_sim::{DeviceConfig, SimKernel};

use crate::choice::Mode;
use crate::counterpart::{Counterpart, ENTRIES, FRAMES, offsets};
use crate::place::Target;

/// The largest batch.
pub const MAX_BATCH: u32 = 256;

/// The user's part on the four rings of a socket. Every method moves a batch of `count` entries, at most [`MAX_BATCH`],
/// and returns how many it moved.
pub trait User {
    /// The socket, to map its rings.
    fn socket(&self) -> Handle;
    /// Takes packets off the RX ring.
    fn receive(&mut self, count: u32) -> u32;
    /// Puts packets that were taken on the TX ring.
    fn transmit(&mut self, count: u32) -> u32;
    /// Takes sent frames off the completion ring.
    fn complete(&mut self, count: u32) -> u32;
    /// Puts frames that came back on the fill ring.
    fn refill(&mut self, count: u32) -> u32;

    /// One step of a forward loop: RX to TX, completion to fill. The least of the four counts.
    #[inline(always)]
    fn forward(&mut self, count: u32) -> u32 {
        let received = self.receive(count);
        let sent = self.transmit(received);
        let done = self.complete(count);
        let filled = self.refill(done);
        received.min(sent).min(done).min(filled)
    }
}

/// Bare copies between arrays of the rings' own types: what no user of rings can go below.
#[derive(Debug)]
pub struct Floor {
    slots: Vec<xdp_desc>,
    addrs: Vec<u64>,
    descs: Vec<xdp_desc>,
    frames: Vec<u64>,
}

impl Default for Floor {
    fn default() -> Self {
        let (descs, frames) = (vec![xdp_desc::default(); MAX_BATCH as usize], vec![0; MAX_BATCH as usize]);
        Self { slots: descs.clone(), addrs: frames.clone(), descs, frames }
    }
}

impl Floor {
    /// The copies of one step of a forward loop.
    #[inline(always)]
    pub fn forward(&mut self, count: u32) -> u32 {
        let n = count as usize;
        self.descs[..n].copy_from_slice(black_box(&self.slots[..n]));
        self.slots[..n].copy_from_slice(black_box(&self.descs[..n]));
        self.frames[..n].copy_from_slice(black_box(&self.addrs[..n]));
        self.addrs[..n].copy_from_slice(black_box(&self.frames[..n]));
        count
    }
}

/// The sizes of a user of rings.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Entries of each ring.
    pub entries: u32,
    /// Frames of the UMEM.
    pub frames: u32,
    /// Descriptors that a wakeup sends at most; `None` for the kernel's number.
    pub tx_budget: Option<u32>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { entries: ENTRIES, frames: FRAMES, tx_budget: None }
    }
}

/// The ring tier: xsk's queues.
#[derive(Debug)]
pub struct RingTier {
    rx: RxQueue,
    pub(crate) tx: TxQueue,
    pub(crate) fill: FillQueue,
    completion: CompQueue,
    pub(crate) descs: Vec<FrameDesc>,
    frames: Vec<FrameDesc>,
    pub(crate) umem: Umem,
    /// Frames that were on no queue yet.
    pub(crate) spare: Vec<FrameDesc>,
}

impl RingTier {
    /// Opens a socket that no program leads to: nothing comes.
    ///
    /// # Panics
    /// If that fails.
    pub fn open(backend: Arc<dyn Backend>, interface: &str, queue: u32) -> Self {
        Self::open_as(backend, Target { interface, queue, mode: Mode::VETH }, Shape::default())
    }

    /// The same, of any shape.
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_as(backend: Arc<dyn Backend>, at: Target<'_>, shape: Shape) -> Self {
        let Target { interface, queue, mode } = at;
        let size = QueueSize::new(shape.entries).expect("a power of two");
        let umem = UmemConfig::builder().fill_queue_size(size).comp_queue_size(size).build();
        let frames = NonZeroU32::new(shape.frames).expect("some frames");
        let (umem, spare) =
            Umem::new_in(backend, umem.expect("a UMEM"), frames, PageSize::Normal).expect("a UMEM");
        let mut config = SocketConfig::builder();
        config
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(mode.bind_flags());
        if let Some(budget) = shape.tx_budget {
            config.tx_budget(budget);
        }
        let config = config.build();
        let interface = interface.parse().expect("an interface");
        // SAFETY: frames are handed over once; where they are not, the counterpart is the kernel, and the true one looks at none.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, queue) }.expect("a socket");
        let (fill, completion) = rings.expect("the first socket");
        let descs = vec![FrameDesc::default(); MAX_BATCH as usize];
        Self { rx, tx, fill, completion, frames: descs.clone(), descs, umem, spare }
    }
}

/// The methods of [`User`] by the calls of the ring tier, which are xsk's and xsk-rs's.
macro_rules! by_queues {
    () => {
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
    };
}
#[cfg(feature = "peers")]
pub(crate) use by_queues;

impl User for RingTier {
    fn socket(&self) -> Handle {
        self.rx.fd().handle()
    }

    by_queues!();
}

type Ring<T> = Mapped<T, Mapping>;

/// xsk-core's rings alone, with the descriptors of the kernel.
#[derive(Debug)]
pub struct Core {
    rx: Consumer<Ring<xdp_desc>>,
    tx: Producer<Ring<xdp_desc>>,
    fill: Producer<Ring<u64>>,
    completion: Consumer<Ring<u64>>,
    descs: Vec<xdp_desc>,
    frames: Vec<u64>,
    /// Keeps the socket open.
    tier: RingTier,
}

impl Core {
    /// As [`RingTier::open`].
    ///
    /// # Panics
    /// If that fails.
    pub fn open(backend: Arc<dyn Backend>, interface: &str, queue: u32) -> Self {
        let tier = RingTier::open(Arc::clone(&backend), interface, queue);
        let at = offsets(&*backend, tier.socket());
        let descs = |offset, at| ring::<xdp_desc>(&*backend, tier.socket(), offset, at);
        let addrs = |offset, at| ring::<u64>(&*backend, tier.socket(), offset, at);
        let (rx, tx) = (descs(XDP_PGOFF_RX_RING, &at.rx), descs(XDP_PGOFF_TX_RING, &at.tx));
        let fill = addrs(XDP_UMEM_PGOFF_FILL_RING, &at.fr);
        let completion = addrs(XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr);
        // SAFETY: the tier's queues are not used, so nobody else produces or consumes.
        let (rx, tx) = unsafe { (Consumer::new(rx), Producer::new(tx)) };
        // SAFETY: as above.
        let (fill, completion) = unsafe { (Producer::new(fill), Consumer::new(completion)) };
        let (descs, frames) = (vec![xdp_desc::default(); MAX_BATCH as usize], vec![0; MAX_BATCH as usize]);
        Self { rx, tx, fill, completion, descs, frames, tier }
    }
}

fn ring<T: Copy>(backend: &dyn Backend, socket: Handle, offset: u64, at: &xdp_ring_offset) -> Ring<T> {
    let mapping = backend.mmap_ring(socket, offset, Ring::<T>::bytes(at, ENTRIES)).expect("a mapping");
    // SAFETY: a mapping of a ring, aligned to a page, that the ring keeps; who else writes there follows the protocol.
    unsafe { Mapped::new(mapping.as_ptr(), mapping.len(), at, ENTRIES, mapping) }.expect("a ring that fits")
}

impl User for Core {
    fn socket(&self) -> Handle {
        self.tier.socket()
    }

    #[inline(always)]
    fn receive(&mut self, count: u32) -> u32 {
        let descs = &mut self.descs[..count as usize];
        self.rx.consume(descs, |to, desc| *to = desc).expect("a sound index")
    }

    #[inline(always)]
    fn transmit(&mut self, count: u32) -> u32 {
        self.tx.produce(black_box(&self.descs[..count as usize]), |desc| *desc).expect("a sound index")
    }

    #[inline(always)]
    fn complete(&mut self, count: u32) -> u32 {
        let frames = &mut self.frames[..count as usize];
        self.completion.consume(frames, |to, addr| *to = addr).expect("a sound index")
    }

    #[inline(always)]
    fn refill(&mut self, count: u32) -> u32 {
        self.fill.produce(black_box(&self.frames[..count as usize]), |addr| *addr).expect("a sound index")
    }
}

/// A kernel with an interface `a`, for which nobody needs any right.
pub(crate) fn simulated() -> Arc<dyn Backend> {
    let kernel = SimKernel::new(1);
    kernel.veth("a", "b", &DeviceConfig::default()).expect("a pair");
    kernel.backend()
}

/// The ring tier on a simulated kernel.
///
/// # Panics
/// If the socket cannot be opened.
pub fn simulated_ring_tier() -> (RingTier, Counterpart) {
    let backend = simulated();
    let user = RingTier::open(Arc::clone(&backend), "a", 0);
    let kernel = Counterpart::new(&*backend, user.socket());
    (user, kernel)
}

/// xsk-core's rings on a simulated kernel.
///
/// # Panics
/// If the socket cannot be opened.
pub fn simulated_core() -> (Core, Counterpart) {
    let backend = simulated();
    let user = Core::open(Arc::clone(&backend), "a", 0);
    let kernel = Counterpart::new(&*backend, user.socket());
    (user, kernel)
}

/// A round: moves a batch on one ring or on all, with the kernel's half, and says how many.
pub type Round<U> = fn(&mut U, &mut Counterpart, u32) -> u32;

/// One ring each.
pub fn moves<U: User>() -> [(&'static str, Round<U>); 4] {
    [
        ("rx", |user, kernel, count| {
            kernel.rx.moves(count);
            user.receive(count)
        }),
        ("tx", |user, kernel, count| {
            let moved = user.transmit(count);
            kernel.tx.moves(moved);
            moved
        }),
        ("completion", |user, kernel, count| {
            kernel.completion.moves(count);
            user.complete(count)
        }),
        ("fill", |user, kernel, count| {
            let moved = user.refill(count);
            kernel.fill.moves(moved);
            moved
        }),
    ]
}

/// A step of a forward loop, over all four rings.
#[inline(always)]
pub fn step<U: User>(user: &mut U, kernel: &mut Counterpart, count: u32) -> u32 {
    kernel.gives(count);
    let moved = user.forward(count);
    kernel.takes(moved);
    moved
}
