//! Does operations on one kernel, and says what can be seen of them.

use std::fmt;
use std::io;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xsk::backend::{Backend, Handle, Mapping, Poll, PollEvents};
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_MMAP_OFFSETS, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_PKT_CONTD, XDP_RX_RING,
    XDP_STATISTICS, XDP_TX_RING, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XDP_UMEM_REG, sockaddr_xdp, xdp_mmap_offsets,
    xdp_statistics,
};

use super::net::Net;
use super::op::{MEMORY, Op, RingKind, SOCKETS, SOL_SOCKET, Start, To, UMEMS, With};
use super::ring::{Entry, Ring};

const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
/// A descriptor that nobody has open.
const CLOSED: i32 = 1 << 20 | 77;

/// What came on RX rings.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub descriptors: u64,
    /// With `XDP_PKT_CONTD`.
    pub continued: u64,
}

impl AddAssign for Received {
    fn add_assign(&mut self, other: Self) {
        self.descriptors += other.descriptors;
        self.continued += other.continued;
    }
}

/// What a call returned: an errno, or a number and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Errno(i32),
    /// The simulator does not model it, or says that Linux would have crashed.
    Refused(String),
    Ok(i64, Vec<u8>),
}

impl Answer {
    fn of<T>(result: io::Result<T>, value: impl FnOnce(T) -> (i64, Vec<u8>)) -> Self {
        match result {
            Ok(ok) => {
                let (number, bytes) = value(ok);
                Self::Ok(number, bytes)
            }
            Err(e) => e.raw_os_error().map_or_else(|| Self::Refused(e.to_string()), Self::Errno),
        }
    }

    fn unit(result: io::Result<()>) -> Self {
        Self::of(result, |()| (0, Vec::new()))
    }

    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(..))
    }

    /// 0 for success, -1 for what is no errno.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Errno(errno) => *errno,
            Self::Refused(_) => -1,
            Self::Ok(..) => 0,
        }
    }
}

/// What can be seen of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRing {
    pub producer: u32,
    pub consumer: u32,
    pub flags: u32,
    /// Of rings that the kernel writes.
    pub entries: Vec<Entry>,
}

/// What can be seen of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenSocket {
    pub rings: [Option<SeenRing>; 4],
    pub statistics: xdp_statistics,
}

/// What can be seen of a kernel, besides memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub sockets: Vec<SeenSocket>,
    /// Rings of sockets that were closed while mapped.
    pub orphans: Vec<SeenRing>,
    /// Frames that came to the stacks since the operation began.
    pub arrived: [Vec<Vec<u8>>; 2],
}

/// A socket under test. Rings first: they are unmapped before it is closed.
#[derive(Default)]
struct Slot {
    rings: [Option<Ring>; 4],
    handle: Option<Handle>,
    /// Producer of the RX ring up to which its entries are counted.
    counted: u32,
}

/// One of the two kernels, with the sockets of a history.
pub struct Player<'a> {
    net: &'a dyn Net,
    kernel: Arc<dyn Backend>,
    slots: Vec<Slot>,
    orphans: Vec<Ring>,
    memory: Vec<Mapping>,
    seen: Seen,
    /// Counts injected frames, so that they differ.
    injected: u8,
}

impl fmt::Debug for Player<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Player").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Drop for Player<'_> {
    fn drop(&mut self) {
        self.orphans.clear();
        for slot in &mut self.slots {
            slot.rings = Default::default();
            slot.handle.into_iter().for_each(|handle| self.kernel.close(handle));
        }
    }
}

impl<'a> Player<'a> {
    pub fn new(net: &'a dyn Net) -> Self {
        let kernel = net.kernel();
        let memory: Vec<Mapping> = (0..UMEMS).map(|_| net.memory(MEMORY as usize)).collect();
        for (n, memory) in memory.iter().enumerate() {
            // An EtherType of these bytes means nothing to anyone, wherever in the memory a frame starts.
            let line = |line: usize| [0x90 | ((line + n) % 8 * 2) as u8; 64];
            for at in 0..MEMORY as usize / 64 {
                // SAFETY: within the mapping, of any alignment; the kernel has not heard of it yet.
                unsafe { memory.as_ptr().cast::<[u8; 64]>().add(at).write(line(at)) };
            }
        }
        let slots = (0..SOCKETS).map(|_| Slot::default()).collect();
        let mut player =
            Self { net, kernel, slots, orphans: Vec::new(), memory, seen: Seen::default(), injected: 0 };
        (0..SOCKETS).for_each(|s| player.open(s));
        player
    }

    /// The socket in a slot, as it is now.
    pub fn socket(&self, s: usize) -> Handle {
        self.handle(s)
    }

    fn open(&mut self, s: usize) {
        self.slots[s].handle = Some(self.kernel.socket().expect("a socket"));
    }

    fn handle(&self, s: usize) -> Handle {
        self.slots[s].handle.expect("an open socket")
    }

    fn other(&self, with: With) -> Handle {
        match with {
            With::Nobody => Handle(0),
            With::Socket(of) => self.handle(of),
            With::Closed => Handle(CLOSED),
            With::Map => self.net.map(0),
        }
    }

    fn ring(&self, s: usize, ring: RingKind) -> Option<&Ring> {
        self.slots[s].rings[ring as usize].as_ref()
    }

    /// Does an operation. `expected`: the other kernel's answer.
    pub fn apply(&mut self, op: &Op, expected: Option<&Answer>) -> Answer {
        self.seen.arrived = Default::default();
        let start = Instant::now();
        loop {
            let answer = self.call(op);
            // The sockets that were closed last may not be gone yet (section 15.4).
            let early = match op {
                Op::Bind { .. } => answer == Answer::Errno(EBUSY),
                Op::Queues { .. } => answer == Answer::Errno(EINVAL),
                _ => false,
            };
            let waits = early && expected.is_some_and(|expected| *expected != answer);
            if !waits || start.elapsed() > 10 * self.net.patience() {
                self.net.settle();
                return answer;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn call(&mut self, op: &Op) -> Answer {
        let kernel = Arc::clone(&self.kernel);
        match op {
            Op::Register { s, umem, start, reg, take } => {
                let memory = self.memory[*umem].as_ptr().as_ptr() as u64;
                let addr = match start {
                    Start::Memory => memory,
                    Start::Off(bytes) => memory + bytes,
                    Start::Null => 0,
                };
                let mut reg = *reg;
                reg.addr = addr;
                let mut bytes = reg.as_bytes().to_vec();
                bytes.resize(*take, 0xff);
                Answer::unit(kernel.setsockopt(self.handle(*s), SOL_XDP, XDP_UMEM_REG, &bytes))
            }
            Op::Ring { s, ring, entries, take } => self.make_ring(*s, *ring, *entries, *take),
            Op::Map { s, offset, len } => {
                Answer::unit(kernel.mmap_ring(self.handle(*s), *offset, *len).map(drop))
            }
            Op::Bind { s, family, to, queue, flags, with } => {
                let address = sockaddr_xdp {
                    sxdp_family: *family,
                    sxdp_flags: *flags,
                    sxdp_ifindex: match to {
                        To::End(end) => self.net.index(*end),
                        To::Nothing => 0,
                        To::Nobody => 99_999,
                    },
                    sxdp_queue_id: *queue,
                    sxdp_shared_umem_fd: self.other(*with).0 as u32,
                };
                Answer::unit(kernel.bind(self.handle(*s), &address))
            }
            Op::MapUpdate { s, end, key } => {
                Answer::unit(kernel.xskmap_update(self.net.map(*end), *key, self.handle(*s)))
            }
            Op::MapUpdateOdd { end, key, with } => {
                let socket = self.other(*with);
                Answer::unit(kernel.xskmap_update(self.net.map(*end), *key, socket))
            }
            Op::MapDelete { end, key } => Answer::unit(kernel.xskmap_delete(self.net.map(*end), *key)),
            Op::Write { umem, at, bytes } => {
                let memory = &self.memory[*umem];
                assert!(at + bytes.len() <= MEMORY as usize);
                // SAFETY: within the mapping; the kernel moves within the calls of this thread only.
                unsafe {
                    let to = memory.as_ptr().as_ptr().add(*at);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                }
                Answer::Ok(0, Vec::new())
            }
            Op::Fill { s, entries } => {
                let pushed = self.ring(*s, RingKind::Fill).map_or(0, |ring| ring.push(entries));
                Answer::Ok(pushed.into(), Vec::new())
            }
            Op::Send { s, descs, kick } => {
                let pushed = self.ring(*s, RingKind::Tx).map_or(0, |ring| ring.push(descs));
                if *kick {
                    return Answer::unit(kernel.sendto(self.handle(*s)));
                }
                Answer::Ok(pushed.into(), Vec::new())
            }
            Op::Rewrite { s, skip, desc } => {
                let rewritten = self.ring(*s, RingKind::Tx).is_some_and(|ring| ring.rewrite(*skip, *desc));
                Answer::Ok(rewritten.into(), Vec::new())
            }
            Op::Kick { s } => Answer::unit(kernel.sendto(self.handle(*s))),
            Op::Wake { s } => Answer::unit(kernel.recvfrom(self.handle(*s))),
            Op::Poll { s, events } => self.poll(&[*s], *events),
            Op::PollMany { sockets, events } => self.poll(sockets, *events),
            Op::Corrupt { s, ring, word, by } => {
                if let Some(ring) = self.ring(*s, *ring) {
                    ring.corrupt(*word, *by);
                }
                Answer::Ok(0, Vec::new())
            }
            Op::Inject { end, len, count } => {
                for _ in 0..*count {
                    self.injected = self.injected.wrapping_add(1);
                    // As in memory: nobody answers this.
                    self.net.inject(*end, &vec![0xa0 | ((self.injected % 8) * 2); *len]);
                }
                Answer::Ok(0, Vec::new())
            }
            Op::Receive { s, max } => self.take(*s, RingKind::Rx, *max),
            Op::Complete { s, max } => self.take(*s, RingKind::Completion, *max),
            Op::SetOption { s, level, name, value } => {
                Answer::unit(kernel.setsockopt(self.handle(*s), *level, *name, value))
            }
            Op::GetOption { s, level, name, len } => {
                let mut bytes = vec![0; *len];
                let result = kernel.getsockopt(self.handle(*s), *level, *name, &mut bytes);
                Answer::of(result, |got| (got as i64, bytes))
            }
            Op::BindToDevice { s, to } => {
                const SO_BINDTODEVICE: i32 = 25;
                let name = match to {
                    To::End(end) => self.net.name(*end),
                    To::Nothing => String::new(),
                    To::Nobody => "nobody".to_owned(),
                };
                let name = [name.as_bytes(), &[0]].concat();
                Answer::unit(kernel.setsockopt(self.handle(*s), SOL_SOCKET, SO_BINDTODEVICE, &name))
            }
            Op::Link { end, up } => {
                self.net.set_up(*end, *up);
                Answer::Ok(0, Vec::new())
            }
            Op::Mtu { end, mtu } => match self.net.set_mtu(*end, *mtu) {
                Ok(()) => Answer::Ok(0, Vec::new()),
                Err(errno) => Answer::Errno(errno),
            },
            Op::Queues { end, rx, tx } => match self.net.set_queues(*end, *rx, *tx) {
                Ok(()) => Answer::Ok(0, Vec::new()),
                Err(errno) => Answer::Errno(errno),
            },
            Op::Remove { end } => {
                self.net.remove(*end);
                Answer::Ok(0, Vec::new())
            }
            Op::MoveAway { end } => {
                self.net.move_away(*end);
                Answer::Ok(0, Vec::new())
            }
            Op::Close { s } => {
                self.slots[*s].rings = Default::default();
                self.reopen(*s)
            }
            Op::CloseMapped { s } => {
                let rings = std::mem::take(&mut self.slots[*s].rings);
                self.orphans.extend(rings.into_iter().flatten());
                self.reopen(*s)
            }
            Op::Unmap => {
                self.orphans.clear();
                Answer::Ok(0, Vec::new())
            }
        }
    }

    fn reopen(&mut self, s: usize) -> Answer {
        self.kernel.close(self.handle(s));
        self.open(s);
        Answer::Ok(0, Vec::new())
    }

    fn poll(&self, sockets: &[usize], events: i16) -> Answer {
        let poll = |s: &usize| Poll {
            socket: self.handle(*s),
            events: PollEvents::from_bits_retain(events),
            ready: PollEvents::empty(),
        };
        let mut polls: Vec<_> = sockets.iter().map(poll).collect();
        let result = self.kernel.poll(&mut polls, 0);
        Answer::of(result, |count| {
            (count as i64, polls.iter().flat_map(|poll| poll.ready.bits().to_ne_bytes()).collect())
        })
    }

    fn make_ring(&mut self, s: usize, ring: RingKind, entries: u32, take: usize) -> Answer {
        let (name, offset, size) = match ring {
            RingKind::Rx => (XDP_RX_RING, XDP_PGOFF_RX_RING, 16),
            RingKind::Tx => (XDP_TX_RING, XDP_PGOFF_TX_RING, 16),
            RingKind::Fill => (XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, 8),
            RingKind::Completion => (XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, 8),
        };
        let handle = self.handle(s);
        let mut value = entries.to_ne_bytes().to_vec();
        value.resize(take, 0xff);
        let answer = Answer::unit(self.kernel.setsockopt(handle, SOL_XDP, name, &value));
        if !answer.is_ok() {
            return answer;
        }
        let mut offsets = xdp_mmap_offsets::default();
        let got = self.kernel.getsockopt(handle, SOL_XDP, XDP_MMAP_OFFSETS, offsets.as_bytes_mut());
        assert_eq!(got.expect("offsets"), 128);
        let at = [offsets.rx, offsets.tx, offsets.fr, offsets.cr][ring as usize];
        let len = at.desc as usize + entries as usize * size;
        let mapping = self.kernel.mmap_ring(handle, offset, len).expect("a ring that was just made");
        self.slots[s].rings[ring as usize] = Some(Ring::new(mapping, at, entries, size));
        if ring == RingKind::Rx {
            self.slots[s].counted = 0;
        }
        answer
    }

    fn take(&self, s: usize, ring: RingKind, max: u32) -> Answer {
        let taken = self.ring(s, ring).map_or(0, |ring| ring.take(max));
        Answer::Ok(taken.into(), Vec::new())
    }

    /// What can be seen now.
    pub fn look(&mut self) {
        for (end, arrived) in self.seen.arrived.iter_mut().enumerate() {
            arrived.extend(self.net.arrived(end));
        }
        self.seen.orphans = self.orphans.iter().map(Self::look_at_words).collect();
        self.seen.sockets = self.slots.iter().map(|slot| self.look_at(slot)).collect();
    }

    /// What came on the RX rings since it was asked last. A ring whose index was forged counts from there.
    pub fn received(&mut self) -> Received {
        let mut received = Received::default();
        for slot in &mut self.slots {
            let Some(ring) = &slot.rings[RingKind::Rx as usize] else { continue };
            let producer = ring.producer();
            let came = producer.wrapping_sub(slot.counted);
            if came <= ring.entries() {
                received.descriptors += u64::from(came);
                let continues = |at: &u32| {
                    let (_, _, options) = ring.read(slot.counted.wrapping_add(*at));
                    options & XDP_PKT_CONTD != 0
                };
                received.continued += (0..came).filter(continues).count() as u64;
            }
            slot.counted = producer;
        }
        received
    }

    /// What was seen when it was looked last.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    fn look_at(&self, slot: &Slot) -> SeenSocket {
        let handle = slot.handle.expect("an open socket");
        let mut statistics = xdp_statistics::default();
        // A simulated kernel that has crashed says nothing; its call did.
        let _ = self.kernel.getsockopt(handle, SOL_XDP, XDP_STATISTICS, statistics.as_bytes_mut());
        let mut rings: [Option<SeenRing>; 4] = Default::default();
        for (kind, (seen, ring)) in rings.iter_mut().zip(&slot.rings).enumerate() {
            let kernel_writes = kind == RingKind::Rx as usize || kind == RingKind::Completion as usize;
            *seen = ring.as_ref().map(|ring| {
                let entries = if kernel_writes { ring.pending() } else { Vec::new() };
                SeenRing { entries, ..Self::look_at_words(ring) }
            });
        }
        SeenSocket { rings, statistics }
    }

    fn look_at_words(ring: &Ring) -> SeenRing {
        let (producer, consumer) = (ring.producer(), ring.consumer());
        SeenRing { producer, consumer, flags: ring.flags(), entries: Vec::new() }
    }

    /// Where a UMEM differs from the other player's first, and some bytes of both.
    pub fn memory_differs(&self, other: &Self, umem: usize) -> Option<(usize, Vec<u8>, Vec<u8>)> {
        let (a, b) = (&self.memory[umem], &other.memory[umem]);
        let len = MEMORY as usize;
        assert!(len <= a.len().min(b.len()));
        // SAFETY: both are at least as long. No reference is made: a kernel that is late may still be writing.
        if unsafe { libc::memcmp(a.as_ptr().as_ptr().cast(), b.as_ptr().as_ptr().cast(), len) } == 0 {
            return None;
        }
        let (a, b) = (bytes(a, len), bytes(b, len));
        let at = a.iter().zip(&b).position(|(a, b)| a != b)?;
        let part = |bytes: &[u8]| bytes[at..len.min(at + 16)].to_vec();
        Some((at, part(&a), part(&b)))
    }
}

/// A copy of the part of a mapping that is a UMEM's.
fn bytes(memory: &Mapping, len: usize) -> Vec<u8> {
    assert!(len <= memory.len());
    let mut bytes = vec![0; len];
    // SAFETY: both are at least as long, and what is behind this part, which cannot be read, is left alone.
    unsafe {
        std::ptr::copy_nonoverlapping(memory.as_ptr().as_ptr(), bytes.as_mut_ptr(), bytes.len());
    }
    bytes
}
