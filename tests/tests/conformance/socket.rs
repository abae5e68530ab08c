//! Sockets at the level of system calls.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle, Mapping, PageSize, Poll, PollEvents};
use xsk_core::abi::{
    AF_XDP, Pod, SOL_XDP, XDP_MMAP_OFFSETS, XDP_PACKET_HEADROOM, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING,
    XDP_RX_RING, XDP_SHARED_UMEM, XDP_STATISTICS, XDP_TX_RING, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XDP_UMEM_REG, XDP_USE_NEED_WAKEUP, XDP_USE_SG,
    XSK_UNALIGNED_BUF_ADDR_MASK, XSK_UNALIGNED_BUF_OFFSET_SHIFT, sockaddr_xdp, xdp_desc, xdp_mmap_offsets,
    xdp_ring_offset, xdp_statistics, xdp_umem_reg,
};
use xsk_core::errno::{EAGAIN, EBUSY};
use xsk_core::ring::{Consumer, Mapped, Producer};

use xsk_tests::world::{End, Program, World};

/// Entries of the rings, but for an RX ring that is to be smaller.
const RING: u32 = 2048;

/// How a socket is made.
#[derive(Debug, Clone)]
pub struct Setup {
    pub frame_size: u32,
    pub frames: u32,
    pub headroom: u32,
    pub unaligned: bool,
    pub huge_pages: bool,
    pub rx_ring: u32,
    /// `XDP_USE_SG`.
    pub several_buffers: bool,
    /// One half of the frames is to send from and the other to receive into. Otherwise A sends from all, B receives into
    /// all.
    pub both_ways: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            frame_size: 4096,
            frames: 1024,
            headroom: 0,
            unaligned: false,
            huge_pages: false,
            rx_ring: RING,
            several_buffers: false,
            both_ways: false,
        }
    }
}

/// The memory of a UMEM.
pub struct Umem {
    mapping: Mapping,
    setup: Setup,
}

/// Where a received buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Start of the frame: an address for the fill ring.
    pub frame: u64,
    /// Start of the data.
    pub data: u64,
}

impl Umem {
    pub fn size(&self) -> u64 {
        u64::from(self.setup.frames) * u64::from(self.setup.frame_size)
    }

    /// Bytes of a frame that packets are received into.
    pub fn room(&self) -> u32 {
        self.setup.frame_size - XDP_PACKET_HEADROOM - self.setup.headroom
    }

    /// Number of frames for use.
    pub fn slots(&self) -> u64 {
        if self.setup.unaligned { self.size() / 8192 } else { self.setup.frames.into() }
    }

    /// Number of frames to send from, from the first on.
    pub fn slots_to_send(&self) -> u64 {
        if self.setup.both_ways { self.slots() / 2 } else { self.slots() }
    }

    /// Start of a frame. Every other unaligned one starts 32 bytes before a page ends.
    pub fn slot(&self, n: u64) -> u64 {
        if !self.setup.unaligned {
            return n * u64::from(self.setup.frame_size);
        }
        n * 8192 + if n.is_multiple_of(2) { 0 } else { 4096 - 32 }
    }

    /// Where the descriptor of a received packet says that it is.
    ///
    /// # Panics
    /// It is not where it has to be.
    pub fn received(&self, desc: &xdp_desc) -> Buffer {
        let Setup { headroom, frame_size, unaligned, .. } = self.setup;
        let offset = u64::from(XDP_PACKET_HEADROOM + headroom);
        let (frame, number) = if unaligned {
            assert_eq!(desc.addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT, offset, "offset in {:#x}", desc.addr);
            let frame = desc.addr & XSK_UNALIGNED_BUF_ADDR_MASK;
            (frame, frame / 8192)
        } else {
            assert_eq!(desc.addr % u64::from(frame_size), offset, "offset of {:#x} in its frame", desc.addr);
            let frame = desc.addr - offset;
            (frame, frame / u64::from(frame_size))
        };
        assert!(number < self.slots() && self.slot(number) == frame, "{frame:#x} is no frame");
        assert!(desc.len > 0 && desc.len <= self.room(), "{} bytes do not fit a frame", desc.len);
        Buffer { frame, data: frame + offset }
    }

    fn at(&self, start: u64, len: usize) -> *mut u8 {
        let start = usize::try_from(start).expect("an address in the UMEM");
        assert!(start.checked_add(len).is_some_and(|end| end <= self.mapping.len()), "outside of the UMEM");
        // SAFETY: in bounds of the mapping.
        unsafe { self.mapping.as_ptr().as_ptr().add(start) }
    }

    /// Writes a frame that is ours.
    pub fn write(&self, start: u64, bytes: &[u8]) {
        // SAFETY: in bounds (checked by `at`), and nobody makes references into the mapping.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(start, bytes.len()), bytes.len()) };
    }

    /// Appends bytes of a frame that is ours.
    pub fn read(&self, start: u64, len: usize, to: &mut Vec<u8>) {
        to.reserve(len);
        // SAFETY: in bounds (checked by `at`), `to` has room for `len` more bytes, which are then initialised.
        unsafe {
            ptr::copy_nonoverlapping(self.at(start, len), to.as_mut_ptr().add(to.len()), len);
            to.set_len(to.len() + len);
        }
    }
}

type Ring<T> = Mapped<T, Mapping>;

/// The rings of a queue.
pub struct Pool {
    pub fill: Producer<Ring<u64>>,
    pub completion: Consumer<Ring<u64>>,
}

/// A bound socket with RX and TX ring. Both always: one without an RX ring in an XSKMAP crashes kernels before 7.1.
pub struct Xsk {
    pub rx: Consumer<Ring<xdp_desc>>,
    pub tx: Producer<Ring<xdp_desc>>,
    /// `None`: it shares the queue of another.
    pub pool: Option<Pool>,
    pub umem: Arc<Umem>,
    socket: Socket,
}

/// An open socket. Behind the rings in [`Xsk`]: a mapping keeps the socket open.
struct Socket {
    kernel: Arc<dyn Backend>,
    handle: Handle,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.kernel.close(self.handle);
    }
}

impl Socket {
    fn new(world: &dyn World) -> Self {
        let kernel = world.kernel();
        let handle = kernel.socket().expect("a socket");
        Self { kernel, handle }
    }

    fn set<T: Pod>(&self, name: i32, value: &T) {
        let result = self.kernel.setsockopt(self.handle, SOL_XDP, name, value.as_bytes());
        result.unwrap_or_else(|error| panic!("option {name}: {error}"));
    }

    fn get<T: Pod>(&self, name: i32) -> T {
        let mut value = T::default();
        let len =
            self.kernel.getsockopt(self.handle, SOL_XDP, name, value.as_bytes_mut()).expect("an option");
        assert_eq!(len, size_of::<T>(), "option {name}");
        value
    }

    fn ring<T: Copy>(&self, option: i32, size: u32, page: u64, offsets: &xdp_ring_offset) -> Ring<T> {
        self.set(option, &size);
        let len = Mapped::<T, ()>::bytes(offsets, size);
        let mapping = self.kernel.mmap_ring(self.handle, page, len).expect("a ring");
        // SAFETY: a mapping of a ring, aligned to a page, that the ring keeps. Only it and the kernel write there.
        unsafe { Mapped::new(mapping.as_ptr(), mapping.len(), offsets, size, mapping) }.expect("a ring")
    }

    /// Binds; a socket that was closed a moment ago may still have the queue.
    fn bind(&self, world: &dyn World, end: End, flags: u16, shared: u32) {
        let interface = self.kernel.interface(&world.name(end)).expect("an interface");
        let address = sockaddr_xdp {
            sxdp_family: AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface.index,
            sxdp_queue_id: 0,
            sxdp_shared_umem_fd: shared,
        };
        let start = self.kernel.now();
        loop {
            match self.kernel.bind(self.handle, &address) {
                Ok(()) => return world.ready(),
                Err(error) if error.raw_os_error() == Some(EBUSY) => {}
                Err(error) => panic!("bind: {error}"),
            }
            assert!(self.kernel.now() - start < Duration::from_secs(3), "the queue stays busy");
            self.kernel.sleep(Duration::from_millis(1));
        }
    }
}

impl Xsk {
    /// A socket on queue 0 with a UMEM of its own.
    pub fn open(world: &dyn World, end: End, setup: &Setup) -> Self {
        const UNALIGNED_CHUNK: u32 = 1;
        let socket = Socket::new(world);
        let pages = if setup.huge_pages { PageSize::Huge2M } else { PageSize::Normal };
        let size = u64::from(setup.frames) * u64::from(setup.frame_size);
        let bytes = (size as usize).next_multiple_of(pages.bytes());
        let mapping = socket.kernel.mmap_memory(bytes, pages).expect("memory");
        let umem = Arc::new(Umem { mapping, setup: setup.clone() });
        socket.set(
            XDP_UMEM_REG,
            &xdp_umem_reg {
                addr: umem.mapping.as_ptr().as_ptr() as u64,
                len: size,
                chunk_size: setup.frame_size,
                headroom: setup.headroom,
                flags: if setup.unaligned { UNALIGNED_CHUNK } else { 0 },
                tx_metadata_len: 0,
            },
        );
        let offsets: xdp_mmap_offsets = socket.get(XDP_MMAP_OFFSETS);
        let fill = socket.ring(XDP_UMEM_FILL_RING, RING, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr);
        let completion =
            socket.ring(XDP_UMEM_COMPLETION_RING, RING, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr);
        // SAFETY: rings of a new socket: nobody else produces or consumes.
        let pool = unsafe { Pool { fill: Producer::new(fill), completion: Consumer::new(completion) } };
        let mut xsk = Self::with_rings(socket, umem, Some(pool), setup.rx_ring);
        let sg = if setup.several_buffers { XDP_USE_SG } else { 0 };
        xsk.socket.bind(world, end, world.bind_mode() | XDP_USE_NEED_WAKEUP | sg, 0);
        let first = match (end, setup.both_ways) {
            (_, true) => xsk.umem.slots_to_send(),
            (End::A, false) => xsk.umem.slots(),
            (End::B, false) => 0,
        };
        let frames: Vec<u64> = (first..xsk.umem.slots()).map(|n| xsk.umem.slot(n)).collect();
        xsk.refill(&frames);
        xsk
    }

    /// A socket on the same queue with the same UMEM.
    pub fn share(&self, world: &dyn World, end: End) -> Self {
        let xsk = Self::with_rings(Socket::new(world), Arc::clone(&self.umem), None, RING);
        xsk.socket.bind(world, end, XDP_SHARED_UMEM, self.handle().0.cast_unsigned());
        xsk
    }

    fn with_rings(socket: Socket, umem: Arc<Umem>, pool: Option<Pool>, rx_ring: u32) -> Self {
        let offsets: xdp_mmap_offsets = socket.get(XDP_MMAP_OFFSETS);
        let rx = socket.ring(XDP_RX_RING, rx_ring, XDP_PGOFF_RX_RING, &offsets.rx);
        let tx = socket.ring(XDP_TX_RING, RING, XDP_PGOFF_TX_RING, &offsets.tx);
        // SAFETY: rings of a new socket: nobody else produces or consumes.
        let (rx, tx) = unsafe { (Consumer::new(rx), Producer::new(tx)) };
        Self { rx, tx, pool, umem, socket }
    }

    pub fn handle(&self) -> Handle {
        self.socket.handle
    }

    pub fn kernel(&self) -> &Arc<dyn Backend> {
        &self.socket.kernel
    }

    /// Puts frames on the fill ring.
    pub fn refill(&mut self, frames: &[u64]) {
        let pool = self.pool.as_mut().expect("the first socket of the queue");
        let put = pool.fill.produce(frames, |frame| *frame).expect("the fill ring is sound");
        assert_eq!(put as usize, frames.len(), "the fill ring has room for all frames");
    }

    /// Takes received descriptors.
    pub fn take(&mut self, max: usize) -> Vec<xdp_desc> {
        let mut descs = vec![xdp_desc::default(); max];
        let got = self.rx.consume(&mut descs, |to, desc| *to = desc).expect("the RX ring is sound");
        descs.truncate(got as usize);
        descs
    }

    pub fn received(&mut self) -> u32 {
        self.rx.available_now().expect("the RX ring is sound")
    }

    /// Puts descriptors on the TX ring.
    pub fn put(&mut self, descs: &[xdp_desc]) {
        let put = self.tx.produce(descs, |desc| *desc).expect("the TX ring is sound");
        assert_eq!(put as usize, descs.len(), "the TX ring has room");
    }

    /// Descriptors on the TX ring.
    pub fn unsent(&mut self) -> u32 {
        self.tx.capacity() - self.tx.free_now().expect("the TX ring is sound")
    }

    /// Takes completed addresses.
    pub fn completed(&mut self) -> Vec<u64> {
        let pool = self.pool.as_mut().expect("the first socket of the queue");
        let waiting = pool.completion.available_now().expect("the completion ring is sound");
        let mut addresses = vec![0; waiting as usize];
        pool.completion.consume(&mut addresses, |to, addr| *to = addr).expect("the completion ring is sound");
        addresses
    }

    /// Makes the kernel transmit; whether it is to be asked again.
    pub fn kick(&self) -> bool {
        match self.socket.kernel.sendto(self.socket.handle) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(EAGAIN) => true,
            Err(error) => panic!("sendto: {error}"),
        }
    }

    /// Whether what is waited for came within the time.
    pub fn poll(&self, events: PollEvents, timeout_ms: i32) -> bool {
        let mut polls = [Poll { socket: self.socket.handle, events, ready: PollEvents::empty() }];
        let ready = self.socket.kernel.poll(&mut polls, timeout_ms).expect("poll");
        assert!(events.contains(polls[0].ready), "{:?}", polls[0].ready);
        assert_eq!(ready, usize::from(!polls[0].ready.is_empty()));
        ready > 0
    }

    pub fn statistics(&self) -> xdp_statistics {
        self.socket.get(XDP_STATISTICS)
    }
}

/// A program on an end, with an XSKMAP of four slots. To be dropped after its sockets.
pub struct Attached {
    kernel: Arc<dyn Backend>,
    map: Handle,
    program: Handle,
    link: Handle,
}

impl Attached {
    pub fn new(world: &dyn World, end: End, program: Program) -> Self {
        let kernel = world.kernel();
        let map = kernel.xskmap_create(4).expect("a map");
        let program = world.program(program, map);
        let interface = kernel.interface(&world.name(end)).expect("an interface");
        let link = kernel.link_create(program, interface.index, world.mode()).expect("a link");
        world.ready();
        Self { kernel, map, program, link }
    }

    /// Puts a socket into a slot.
    pub fn insert(&self, slot: u32, xsk: &Xsk) {
        self.kernel.xskmap_update(self.map, slot, xsk.handle()).expect("a slot");
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        for handle in [self.link, self.program, self.map] {
            self.kernel.close(handle);
        }
    }
}

/// A socket on each end, each in slot 0 of a program there.
pub struct Pair {
    pub a: Xsk,
    pub b: Xsk,
    pub at_a: Attached,
    pub at_b: Attached,
}

impl Pair {
    pub fn open(world: &dyn World, setup: &Setup) -> Self {
        Self::with(world, setup, setup, Program::Redirect)
    }

    /// Ends that differ, and a program at B.
    pub fn with(world: &dyn World, a: &Setup, b: &Setup, program: Program) -> Self {
        let (a, b) = (Xsk::open(world, End::A, a), Xsk::open(world, End::B, b));
        let at_a = Attached::new(world, End::A, Program::Redirect);
        let at_b = Attached::new(world, End::B, program);
        at_a.insert(0, &a);
        at_b.insert(0, &b);
        Self { a, b, at_a, at_b }
    }
}
