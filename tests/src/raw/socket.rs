use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle, Mapping, PageSize, Poll, PollEvents, RedirectProgram};
use xsk_core::abi::{
    AF_XDP, Pod, SOL_XDP, XDP_COPY, XDP_MMAP_OFFSETS, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_RX_RING,
    XDP_SHARED_UMEM, XDP_STATISTICS, XDP_TX_RING, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XDP_UMEM_REG, sockaddr_xdp, xdp_desc,
    xdp_mmap_offsets, xdp_statistics, xdp_umem_reg,
};

use xsk_core::errno::EBUSY;

use super::{Ring, errno};
use crate::world::{End, World};

/// How a socket under test is made: Appendix A's set-up by default.
#[derive(Debug, Clone)]
pub struct Setup {
    pub chunk: u32,
    /// Bytes of the UMEM.
    pub size: u64,
    pub headroom: u32,
    pub umem_flags: u32,
    pub metadata: u32,
    pub rx: u32,
    pub fill: u32,
    pub tx: u32,
    pub completion: u32,
    pub bind_flags: u16,
    pub queue: u32,
    pub end: End,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            chunk: 4096,
            size: 64 * 4096,
            headroom: 0,
            umem_flags: 0,
            metadata: 0,
            rx: 8,
            fill: 8,
            tx: 64,
            completion: 64,
            bind_flags: XDP_COPY,
            queue: 0,
            end: End::A,
        }
    }
}

/// A socket, its rings and its UMEM. Rings first, so that they are unmapped before the socket is closed.
pub struct RawSocket {
    pub rx: Option<Ring>,
    pub tx: Option<Ring>,
    pub fill: Option<Ring>,
    pub completion: Option<Ring>,
    /// Links, programs and maps.
    kept: Vec<Handle>,
    pub handle: Handle,
    closed: bool,
    pub kernel: Arc<dyn Backend>,
    pub memory: Option<Mapping>,
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        (self.rx, self.tx, self.fill, self.completion) = (None, None, None, None);
        self.close();
        self.detach();
    }
}

impl RawSocket {
    pub fn new(kernel: &Arc<dyn Backend>) -> Self {
        let handle = kernel.socket().expect("a socket");
        Self {
            rx: None,
            tx: None,
            fill: None,
            completion: None,
            kept: Vec::new(),
            handle,
            closed: false,
            kernel: Arc::clone(kernel),
            memory: None,
        }
    }

    /// Closes the descriptor, while the rings stay mapped.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.kernel.close(self.handle);
        }
    }

    /// A bound socket with all four rings.
    pub fn open(world: &dyn World, setup: &Setup) -> Self {
        let socket = Self::prepare(world, setup);
        assert_eq!(socket.bind_in_time(world, setup), 0);
        socket
    }

    /// A socket with a UMEM and all four rings that is not bound.
    pub fn prepare(world: &dyn World, setup: &Setup) -> Self {
        let mut socket = Self::new(&world.kernel());
        socket.register(setup).expect("a UMEM");
        socket.make_rings(setup);
        socket
    }

    /// Binds; a socket that was closed a moment ago may still have the queue. The errno.
    pub fn bind_in_time(&self, world: &dyn World, setup: &Setup) -> i32 {
        const TRIES: u32 = 2000;
        for _ in 0..TRIES {
            match self.bind(world, setup) {
                EBUSY => self.kernel.sleep(Duration::from_millis(1)),
                errno => return errno,
            }
        }
        EBUSY
    }

    /// A socket on the queue of another, with RX and TX ring.
    pub fn share(world: &dyn World, with: &Self, end: End) -> Self {
        let mut socket = Self::new(&world.kernel());
        socket.make_rings(&Setup { rx: 4, tx: 8, fill: 0, completion: 0, ..Setup::default() });
        assert_eq!(socket.bind_to(world.index(end), 0, XDP_SHARED_UMEM, with.handle.0 as u32), 0);
        socket
    }

    /// As [`open`](Self::open), and a program that redirects to it in slot 0 of a map.
    pub fn open_receiver(world: &dyn World, setup: &Setup) -> Self {
        let mut socket = Self::open(world, setup);
        socket.attach(world, setup.end, |map| {
            world.kernel().program_load(&RedirectProgram { map, frags: true }).expect("a program")
        });
        socket
    }

    /// Attaches a program and puts the socket into slot 0 of its map.
    pub fn attach(&mut self, world: &dyn World, end: End, load: impl FnOnce(Handle) -> Handle) {
        let map = self.kernel.xskmap_create(4).expect("a map");
        let program = load(map);
        let link = self.kernel.link_create(program, world.index(end), world.mode()).expect("a link");
        self.kernel.xskmap_update(map, 0, self.handle).expect("a slot");
        self.kept.extend([map, program, link]);
        world.ready();
    }

    /// Takes away what [`attach`](Self::attach) put there.
    pub fn detach(&mut self) {
        self.kept.drain(..).rev().for_each(|handle| self.kernel.close(handle));
    }

    pub fn register(&mut self, setup: &Setup) -> std::io::Result<()> {
        let pages = setup.size.next_multiple_of(4096) as usize;
        let memory = self.kernel.mmap_memory(pages, PageSize::Normal)?;
        let reg = xdp_umem_reg {
            addr: memory.as_ptr().as_ptr() as u64,
            len: setup.size,
            chunk_size: setup.chunk,
            headroom: setup.headroom,
            flags: setup.umem_flags,
            tx_metadata_len: setup.metadata,
        };
        self.memory = Some(memory);
        self.kernel.setsockopt(self.handle, SOL_XDP, XDP_UMEM_REG, reg.as_bytes())
    }

    /// The errno of setting an option to a number.
    pub fn set(&self, name: i32, value: u32) -> i32 {
        errno(self.kernel.setsockopt(self.handle, SOL_XDP, name, value.as_bytes()))
    }

    pub fn offsets(&self) -> xdp_mmap_offsets {
        let mut offsets = xdp_mmap_offsets::default();
        let got = self.kernel.getsockopt(self.handle, SOL_XDP, XDP_MMAP_OFFSETS, offsets.as_bytes_mut());
        assert_eq!(got.expect("offsets"), 128);
        offsets
    }

    /// Makes and maps the rings whose size is not 0.
    pub fn make_rings(&mut self, setup: &Setup) {
        let offsets = self.offsets();
        let make = |name, entries, offset, ring: xdp_ring_offset, size: u64| {
            assert_eq!(self.set(name, entries), 0, "option {name}");
            let len = ring.desc + u64::from(entries) * size;
            self.kernel.mmap_ring(self.handle, offset, len as usize).expect("a ring")
        };
        use xsk_core::abi::xdp_ring_offset;
        let descs = |name, entries, offset, ring| {
            (entries > 0).then(|| Ring::new::<xdp_desc>(make(name, entries, offset, ring, 16), ring, entries))
        };
        let addrs = |name, entries, offset, ring| {
            (entries > 0).then(|| Ring::new::<u64>(make(name, entries, offset, ring, 8), ring, entries))
        };
        let rx = descs(XDP_RX_RING, setup.rx, XDP_PGOFF_RX_RING, offsets.rx);
        let tx = descs(XDP_TX_RING, setup.tx, XDP_PGOFF_TX_RING, offsets.tx);
        let fill = addrs(XDP_UMEM_FILL_RING, setup.fill, XDP_UMEM_PGOFF_FILL_RING, offsets.fr);
        let completion =
            addrs(XDP_UMEM_COMPLETION_RING, setup.completion, XDP_UMEM_PGOFF_COMPLETION_RING, offsets.cr);
        (self.rx, self.tx, self.fill, self.completion) = (rx, tx, fill, completion);
    }

    /// The errno of binding.
    pub fn bind(&self, world: &dyn World, setup: &Setup) -> i32 {
        // What is to be copied in other worlds is not in one of zero copy.
        let flags = match setup.bind_flags & XDP_COPY {
            0 => setup.bind_flags,
            _ => setup.bind_flags & !XDP_COPY | world.bind_mode(),
        };
        let errno = self.bind_to(world.index(setup.end), setup.queue, flags, 0);
        if errno == 0 {
            world.ready();
        }
        errno
    }

    pub fn bind_to(&self, ifindex: u32, queue: u32, flags: u16, shared: u32) -> i32 {
        errno(self.kernel.bind(
            self.handle,
            &sockaddr_xdp {
                sxdp_family: AF_XDP as u16,
                sxdp_flags: flags,
                sxdp_ifindex: ifindex,
                sxdp_queue_id: queue,
                sxdp_shared_umem_fd: shared,
            },
        ))
    }

    pub fn rx(&self) -> &Ring {
        self.rx.as_ref().expect("an RX ring")
    }

    pub fn tx(&self) -> &Ring {
        self.tx.as_ref().expect("a TX ring")
    }

    pub fn fill(&self) -> &Ring {
        self.fill.as_ref().expect("a fill ring")
    }

    pub fn completion(&self) -> &Ring {
        self.completion.as_ref().expect("a completion ring")
    }

    /// Writes bytes into the UMEM.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        let memory = self.memory.as_ref().expect("memory");
        assert!(at as usize + bytes.len() <= memory.len());
        // SAFETY: within the mapping (asserted), and the kernel only moves within the calls of this thread.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), memory.as_ptr().as_ptr().add(at as usize), bytes.len())
        };
    }

    /// Reads bytes of the UMEM.
    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let memory = self.memory.as_ref().expect("memory");
        assert!(at as usize + len <= memory.len());
        let mut bytes = vec![0; len];
        // SAFETY: as in `write`.
        unsafe {
            ptr::copy_nonoverlapping(memory.as_ptr().as_ptr().add(at as usize), bytes.as_mut_ptr(), len)
        };
        bytes
    }

    /// Kicks the transmitter; the errno.
    pub fn kick(&self) -> i32 {
        errno(self.kernel.sendto(self.handle))
    }

    /// Polls this socket alone; what is ready.
    pub fn poll(&self, events: PollEvents, timeout_ms: i32) -> PollEvents {
        let mut polls = [Poll { socket: self.handle, events, ready: PollEvents::empty() }];
        let count = self.kernel.poll(&mut polls, timeout_ms).expect("poll");
        assert_eq!(count, usize::from(!polls[0].ready.is_empty()));
        polls[0].ready
    }

    pub fn statistics(&self) -> xdp_statistics {
        let mut statistics = xdp_statistics::default();
        let got = self.kernel.getsockopt(self.handle, SOL_XDP, XDP_STATISTICS, statistics.as_bytes_mut());
        assert_eq!(got.expect("statistics"), 48);
        statistics
    }

    /// An option of level SOL_SOCKET that is an int.
    pub fn socket_option(&self, name: i32) -> i32 {
        let mut value = 0_i32;
        let got = self.kernel.getsockopt(self.handle, 1, name, value.as_bytes_mut());
        assert_eq!(got.expect("an option"), 4);
        value
    }
}
