//! Programs on a simulated kernel, at the level of system calls: what the kernel costs.
//!
//! Two programs on the two ends of a veth pair send back what they get, so that packets go round and round. One packet
//! forwarded is one packet received and sent: run through the XDP program, copied into a frame of the fill ring, described,
//! consumed, its addresses swapped in place, produced, copied by a wakeup, given to the other end, its frame reaped and handed
//! back.

use std::ptr;

use xsk::backend::{Backend, Handle, Mapping, PageSize, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{
    AF_XDP, Pod, SOL_XDP, XDP_COPY, XDP_MMAP_OFFSETS, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_RX_RING,
    XDP_TX_RING, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XDP_UMEM_REG, sockaddr_xdp, xdp_desc, xdp_mmap_offsets, xdp_ring_offset,
    xdp_umem_reg,
};
use xsk_core::ring::{Consumer, Mapped, Producer};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel, XdpAction};

/// Packets that a program moves at once, and packets on the way.
pub const BATCH: u32 = 64;
/// Packets of a test.
pub const PACKETS: u32 = 4096;
const PACKET: usize = 64;
const FRAME: u64 = 4096;
const FRAMES: u64 = 256;
const RING: u32 = 256;

/// What leads packets to the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The library's own.
    Redirect,
    /// A closure that looks at each packet.
    Closure,
}

/// The cases: a name, where the programs run, and which they are.
pub const CASES: [(&str, XdpFlags, Program); 4] = [
    ("native", XdpFlags::XDP_FLAGS_DRV_MODE, Program::Redirect),
    ("SKB", XdpFlags::XDP_FLAGS_SKB_MODE, Program::Redirect),
    ("native closure", XdpFlags::XDP_FLAGS_DRV_MODE, Program::Closure),
    ("SKB closure", XdpFlags::XDP_FLAGS_SKB_MODE, Program::Closure),
];

type Ring<T> = Mapped<T, Mapping>;

/// A socket on queue 0 of a device, with frames and a program.
#[derive(Debug)]
struct Side {
    rx: Consumer<Ring<xdp_desc>>,
    tx: Producer<Ring<xdp_desc>>,
    fill: Producer<Ring<u64>>,
    completion: Consumer<Ring<u64>>,
    umem: Mapping,
    kernel: SimKernel,
    socket: Handle,
    descs: [xdp_desc; BATCH as usize],
    frames: [u64; BATCH as usize],
}

impl Side {
    fn open(kernel: &SimKernel, device: &SimDevice, mode: XdpFlags, program: Program) -> Self {
        let socket = kernel.socket().expect("a socket");
        let umem = kernel.mmap_memory((FRAMES * FRAME) as usize, PageSize::Normal).expect("memory");
        let reg = xdp_umem_reg {
            addr: umem.as_ptr().as_ptr() as u64,
            len: FRAMES * FRAME,
            chunk_size: FRAME as u32,
            ..xdp_umem_reg::default()
        };
        kernel.setsockopt(socket, SOL_XDP, XDP_UMEM_REG, reg.as_bytes()).expect("a UMEM");
        let mut at = xdp_mmap_offsets::default();
        kernel.getsockopt(socket, SOL_XDP, XDP_MMAP_OFFSETS, at.as_bytes_mut()).expect("offsets");
        let descs = |option, page, at| ring::<xdp_desc>(kernel, socket, option, page, at);
        let addresses = |option, page, at| ring::<u64>(kernel, socket, option, page, at);
        let rx = descs(XDP_RX_RING, XDP_PGOFF_RX_RING, &at.rx);
        let tx = descs(XDP_TX_RING, XDP_PGOFF_TX_RING, &at.tx);
        let fill = addresses(XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, &at.fr);
        let completion = addresses(XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr);
        let address = sockaddr_xdp {
            sxdp_family: AF_XDP as u16,
            sxdp_flags: XDP_COPY,
            sxdp_ifindex: device.index(),
            ..sockaddr_xdp::default()
        };
        kernel.bind(socket, &address).expect("a free queue");
        let map = kernel.xskmap_create(1).expect("a map");
        kernel.xskmap_update(map, 0, socket).expect("a slot");
        let program = match program {
            Program::Redirect => {
                kernel.program_load(&RedirectProgram { map, frags: false }).expect("a program")
            }
            Program::Closure => kernel.program("forward", false, move |packet| match packet.data()[12..14] {
                [0x88, 0xb5] => XdpAction::RedirectMap { map, key: 0, flags: 0 },
                _ => XdpAction::Pass,
            }),
        };
        kernel.link_create(program, device.index(), mode).expect("a link");
        // SAFETY: rings of a new socket: nobody else produces or consumes.
        let (rx, tx) = unsafe { (Consumer::new(rx), Producer::new(tx)) };
        // SAFETY: as above.
        let (fill, completion) = unsafe { (Producer::new(fill), Consumer::new(completion)) };
        let (descs, frames) = ([xdp_desc::default(); BATCH as usize], [0; BATCH as usize]);
        Self { rx, tx, fill, completion, umem, kernel: kernel.clone(), socket, descs, frames }
    }

    /// Writes `count` numbered packets, sends them and takes their frames back.
    fn send(&mut self, first: u32, count: u32) {
        for (i, desc) in (0..count).zip(&mut self.descs) {
            let at = u64::from(i) * FRAME;
            write(&self.umem, at, &numbered(first + i));
            *desc = xdp_desc { addr: at, len: PACKET as u32, options: 0 };
        }
        let sent = self.tx.produce(&self.descs[..count as usize], |desc| *desc).expect("a sound ring");
        assert_eq!(sent, count, "the TX ring is as large as the batch");
        self.flush(count);
    }

    /// Makes the kernel send `count` packets, and takes as many completions.
    fn flush(&mut self, count: u32) {
        let mut done = 0;
        while done < count {
            // EAGAIN: more than the budget of one wakeup.
            let _ = self.kernel.sendto(self.socket);
            let free = &mut self.frames[done as usize..count as usize];
            let reaped = self.completion.consume(free, |to, addr| *to = addr).expect("a sound ring");
            assert!(reaped > 0, "a wakeup sends something");
            done += reaped;
        }
    }

    /// Takes `count` numbered packets, checks them and gives their frames back.
    fn receive(&mut self, first: u32, count: u32) {
        let descs = &mut self.descs[..count as usize];
        assert_eq!(self.rx.consume(descs, |to, desc| *to = desc).expect("a sound ring"), count);
        for ((i, desc), frame) in (0..count).zip(descs).zip(&mut self.frames) {
            assert_eq!((desc.len, desc.options), (PACKET as u32, 0));
            assert_eq!(read(&self.umem, desc.addr), numbered(first + i));
            *frame = desc.addr / FRAME * FRAME;
        }
        let frames = self.frames;
        self.refill(&frames[..count as usize]);
    }

    fn refill(&mut self, frames: &[u64]) {
        let put = self.fill.produce(frames, |frame| *frame).expect("a sound ring");
        assert_eq!(put as usize, frames.len(), "the fill ring has a place for each frame");
    }

    /// Sends back the packets that came, at most a batch. Returns how many.
    fn turn(&mut self) -> u32 {
        let count = self.rx.consume(&mut self.descs, |to, desc| *to = desc).expect("a sound ring");
        for desc in &self.descs[..count as usize] {
            swap_addresses(&self.umem, desc.addr);
        }
        let sent = self.tx.produce(&self.descs[..count as usize], |desc| *desc).expect("a sound ring");
        assert_eq!(sent, count, "the TX ring has a place for each frame");
        self.flush(count);
        let free = self.frames;
        self.refill(&free[..count as usize]);
        count
    }
}

fn ring<T: Copy>(
    kernel: &SimKernel,
    socket: Handle,
    option: i32,
    page: u64,
    at: &xdp_ring_offset,
) -> Ring<T> {
    kernel.setsockopt(socket, SOL_XDP, option, RING.as_bytes()).expect("a ring");
    let len = Mapped::<T, ()>::bytes(at, RING);
    let mapping = kernel.mmap_ring(socket, page, len).expect("a mapping");
    // SAFETY: a mapping of a ring, aligned to a page, that the ring keeps. Only it and the kernel write there.
    unsafe { Mapped::new(mapping.as_ptr(), mapping.len(), at, RING, mapping) }.expect("a ring that fits")
}

/// Swaps the Ethernet addresses of a packet.
fn swap_addresses(umem: &Mapping, at: u64) {
    let at = usize::try_from(at).expect("an address in the UMEM");
    assert!(at + 12 <= umem.len());
    // SAFETY: in bounds; the frame is the program's, and nobody makes references into the UMEM.
    unsafe {
        let packet = umem.as_ptr().as_ptr().add(at);
        ptr::swap_nonoverlapping(packet, packet.add(6), 6);
    }
}

/// A packet that nobody's stack answers, with a number.
fn numbered(number: u32) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    for word in packet[16..].chunks_exact_mut(4) {
        word.copy_from_slice(&number.to_be_bytes());
    }
    packet
}

fn write(umem: &Mapping, at: u64, packet: &[u8; PACKET]) {
    let at = usize::try_from(at).expect("an address in the UMEM");
    assert!(at + PACKET <= umem.len());
    // SAFETY: in bounds; the frame is the program's, and nobody makes references into the UMEM.
    unsafe { umem.as_ptr().add(at).cast::<[u8; PACKET]>().write_unaligned(*packet) };
}

fn read(umem: &Mapping, at: u64) -> [u8; PACKET] {
    let at = usize::try_from(at).expect("an address in the UMEM");
    assert!(at + PACKET <= umem.len());
    // SAFETY: as above.
    unsafe { umem.as_ptr().add(at).cast::<[u8; PACKET]>().read_unaligned() }
}

/// A whole test in the manner of the kernel's SEND_RECEIVE: a kernel, a pair, two sockets, 4096 packets one way, each checked.
pub fn send_receive(mode: XdpFlags, program: Program) {
    let kernel = SimKernel::new(1);
    let (a, b) = kernel.veth("a", "b", &DeviceConfig::default()).expect("a pair");
    let [mut from, mut to] = [&a, &b].map(|device| Side::open(&kernel, device, mode, program));
    let frames: Vec<u64> = (0..FRAMES).map(|n| n * FRAME).collect();
    to.refill(&frames);
    for first in (0..PACKETS).step_by(BATCH as usize) {
        from.send(first, BATCH);
        to.receive(first, BATCH);
    }
    kernel.frames().check().expect("each frame is in one place");
}

/// Two programs, and packets between them.
#[derive(Debug)]
pub struct Forward {
    sides: [Side; 2],
    turn: usize,
}

impl Forward {
    /// With a batch of packets on the way to each.
    pub fn new(mode: XdpFlags, program: Program) -> Self {
        let kernel = SimKernel::new(1);
        let (a, b) = kernel.veth("a", "b", &DeviceConfig::default()).expect("a pair");
        let mut sides = [&a, &b].map(|device| Side::open(&kernel, device, mode, program));
        let frames: Vec<u64> = (0..FRAMES).map(|n| n * FRAME).collect();
        for side in &mut sides {
            side.refill(&frames);
        }
        for number in 0..BATCH {
            a.send(&numbered(number)).expect("the link is up");
            b.send(&numbered(number)).expect("the link is up");
        }
        Self { sides, turn: 0 }
    }

    /// One of them forwards a batch, and next time the other. Returns how many packets.
    pub fn step(&mut self) -> u32 {
        self.turn = 1 - self.turn;
        let count = self.sides[self.turn].turn();
        assert!(count == BATCH, "packets were lost");
        count
    }
}
