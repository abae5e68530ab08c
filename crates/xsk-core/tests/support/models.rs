//! The models: a user half and a kernel half on two threads, bounded attempts on each side, join, drain, and the laws.

use loom::thread;
use xsk_core::abi::xdp_desc;
use xsk_core::order::Order;
use xsk_core::ring::{Consumer, Producer};

use super::frames::{Frames, Place};
use super::kernel::{KernelConsumer, KernelProducer, Release};
use super::loom_ring::LoomRing;

/// The size of a model.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Slots of the ring.
    pub capacity: u32,
    /// Where the indices start: so that they wrap while the model runs.
    pub start: u32,
    /// Entries that one attempt moves at most.
    pub batch: u32,
    /// Attempts of each side, successful or not. Never a loop that waits for the other side: that has no end for a model
    /// checker.
    pub attempts: u32,
}

/// The entry of a ring that carries the number `n`.
pub trait Entry: Copy + 'static {
    /// When the kernel publishes its consumer index on a ring of such entries.
    const RELEASE: Release;
    fn new(n: u32) -> Self;
    fn number(self) -> u32;
}

/// Fill and completion.
impl Entry for u64 {
    const RELEASE: Release = Release::WhenEmpty;
    fn new(n: u32) -> Self {
        u64::from(n) << 32 | 7
    }
    fn number(self) -> u32 {
        assert_eq!(self & 0xffff_ffff, 7, "an entry that nobody wrote");
        (self >> 32) as u32
    }
}

/// RX and TX.
impl Entry for xdp_desc {
    const RELEASE: Release = Release::EachPass;
    fn new(n: u32) -> Self {
        Self { addr: u64::from(n) << 11, len: n + 60, options: 7 }
    }
    fn number(self) -> u32 {
        let n = (self.addr >> 11) as u32;
        assert_eq!(self, Self::new(n), "an entry that nobody wrote");
        n
    }
}

const UNUSED: u32 = 999;

/// Fill (`u64`) or TX (`xdp_desc`): our producer, the kernel's consumer. What goes in comes out once, in order.
/// Returns how much that was.
pub fn produce<T: Entry>(shape: Shape, weakened: Option<Order>) -> u32 {
    let ring = LoomRing::new(shape.capacity, shape.start, T::new(UNUSED), weakened);
    let mut kernel = KernelConsumer::new(ring.clone(), shape.start, T::RELEASE);
    let kernel = thread::spawn(move || {
        let mut got = Vec::new();
        for _ in 0..shape.attempts {
            got.extend((0..shape.batch).map_while(|_| kernel.take()));
            kernel.end_pass();
        }
        (kernel, got)
    });

    // SAFETY: the only producer of this ring.
    let mut user = unsafe { Producer::new(ring) };
    let mut sent = 0;
    for attempt in 0..shape.attempts {
        let items: Vec<u32> = (sent..sent + shape.batch).collect();
        let give = |n: &u32| T::new(*n);
        sent += if attempt % 2 == 0 {
            let count = user.produce(&items, give).unwrap();
            assert!(count == 0 || count == shape.batch, "all or nothing, not {count}");
            count
        } else {
            user.produce_some(&items, give).unwrap()
        };
    }

    let (mut kernel, mut got) = kernel.join().unwrap();
    let outstanding = user.outstanding().unwrap();
    got.extend(std::iter::from_fn(|| kernel.take()));
    let got: Vec<u32> = got.into_iter().map(T::number).collect();
    assert!(got.iter().copied().eq(0..sent), "sent 0..{sent}, the kernel got {got:?}");
    // The kernel may hold its index back, and never runs ahead.
    assert!(outstanding <= shape.capacity && outstanding <= sent);
    assert_eq!((user.outstanding(), user.free_now()), (Ok(0), Ok(shape.capacity)));
    sent
}

/// RX (`xdp_desc`) or completion (`u64`): the kernel's producer, our consumer. What goes in comes out once, in order.
/// Returns how much that was.
pub fn consume<T: Entry>(shape: Shape, weakened: Option<Order>) -> u32 {
    let ring = LoomRing::new(shape.capacity, shape.start, T::new(UNUSED), weakened);
    let mut kernel = KernelProducer::new(ring.clone(), shape.start);
    let kernel = thread::spawn(move || {
        let mut sent = 0;
        for _ in 0..shape.attempts {
            let fits = (0..shape.batch).take_while(|i| kernel.reserve(T::new(sent + i))).count();
            // One publication for the batch, as at a flush; none for nothing.
            if fits > 0 {
                kernel.submit();
            }
            sent += fits as u32;
        }
        sent
    });

    // SAFETY: the only consumer of this ring.
    let mut user = unsafe { Consumer::new(ring) };
    let mut got = Vec::new();
    let mut take = |user: &mut Consumer<LoomRing<T>>, room: u32| {
        let mut out = vec![None; room as usize];
        let count = user.consume(&mut out, |slot, entry| *slot = Some(entry)).unwrap() as usize;
        assert!(out[..count].iter().all(Option::is_some) && out[count..].iter().all(Option::is_none));
        got.extend(out.into_iter().flatten().map(T::number));
        count
    };
    for _ in 0..shape.attempts {
        take(&mut user, shape.batch);
    }

    let sent = kernel.join().unwrap();
    while take(&mut user, shape.capacity) > 0 {}
    assert!(got.iter().copied().eq(0..sent), "the kernel sent 0..{sent}, we got {got:?}");
    assert_eq!(user.available_now(), Ok(0));
    sent
}

/// A full cycle: each frame goes through fill, the kernel's receive, RX, the user, TX, the kernel's transmit and
/// completion, and is written by whoever holds it. Rings of `capacity` slots, `frames` frames, `rounds` on each side.
/// Returns how many packets were received.
pub fn cycle(capacity: u32, frames: usize, rounds: u32, weakened: Option<Order>) -> u32 {
    const START: u32 = u32::MAX;
    let umem = Frames::new(frames);
    let addrs = || LoomRing::new(capacity, START, u64::MAX, weakened);
    let descs = || LoomRing::new(capacity, START, xdp_desc::default(), weakened);
    let (fill, rx, tx, completion) = (addrs(), descs(), descs(), addrs());

    let mut kernel = Kernel {
        umem: umem.clone(),
        fill: KernelConsumer::new(fill.clone(), START, Release::WhenEmpty),
        rx: KernelProducer::new(rx.clone(), START),
        tx: KernelConsumer::new(tx.clone(), START, Release::EachPass),
        completion: KernelProducer::new(completion.clone(), START),
        received: 0,
    };
    // SAFETY: the only producers and consumers of these rings.
    let mut user = unsafe {
        User {
            umem: umem.clone(),
            hand: (0..frames as u64).collect(),
            fill: Producer::new(fill),
            rx: Consumer::new(rx),
            tx: Producer::new(tx),
            completion: Consumer::new(completion),
            seen: 0,
        }
    };
    // Begin in the middle of things: with few forced switches a frame gets around only from here.
    user.fill();
    kernel.receive();
    let kernel = thread::spawn(move || {
        for _ in 0..rounds {
            kernel.transmit();
            kernel.receive();
        }
        kernel
    });
    for _ in 0..rounds {
        user.forward();
        user.reap();
        user.fill();
    }
    let mut kernel = kernel.join().unwrap();

    // Stop receiving. What the kernel and the rings hold still has to come home, but for what waits in the fill ring.
    for _ in 0..2 {
        kernel.transmit();
        user.forward();
        user.reap();
    }
    kernel.transmit();
    user.reap();
    let waiting = user.fill.outstanding().unwrap() as usize;
    let places = umem.places();
    let in_fill = places.iter().filter(|&&place| place == Place::Fill).count();
    let in_hand = places.iter().filter(|&&place| place == Place::User).count();
    assert_eq!(in_fill + in_hand, frames, "a frame did not come home: {places:?}");
    assert_eq!(user.hand.len(), in_hand);
    // The kernel may not have said yet what it took from the fill ring.
    assert!(waiting >= in_fill, "{in_fill} frames wait in a fill ring of {waiting} entries");
    assert_eq!(user.seen, kernel.received, "packets lost or duplicated");
    user.seen
}

struct User {
    umem: Frames,
    hand: Vec<u64>,
    fill: Producer<LoomRing<u64>>,
    rx: Consumer<LoomRing<xdp_desc>>,
    tx: Producer<LoomRing<xdp_desc>>,
    completion: Consumer<LoomRing<u64>>,
    seen: u32,
}

impl User {
    fn fill(&mut self) {
        let count = self.fill.produce_some(&self.hand, |&frame| {
            self.umem.hand_over(frame, Place::User, Place::Fill);
            frame
        });
        self.hand.drain(..count.unwrap() as usize);
    }

    /// Receives what there is, checks and changes it, and sends it on. The TX ring is as large as the RX ring and its
    /// frames are reaped in the same order, so what does not fit is kept in the hand.
    fn forward(&mut self) {
        let mut got = vec![0; self.rx.capacity() as usize];
        let count = self.rx.consume(&mut got, |to, desc| {
            self.umem.hand_over(desc.addr, Place::Rx, Place::User);
            assert_eq!(desc.len, self.umem.read(desc.addr), "the kernel wrote this packet before it said so");
            *to = desc.addr;
        });
        got.truncate(count.unwrap() as usize);
        self.seen += got.len() as u32;
        for &frame in &got {
            self.umem.write(frame, self.umem.read(frame) + 1000);
        }
        let sent = self.tx.produce_some(&got, |&frame| {
            self.umem.hand_over(frame, Place::User, Place::Tx);
            xdp_desc { addr: frame, len: self.umem.read(frame), options: 0 }
        });
        self.hand.extend(got.drain(sent.unwrap() as usize..));
    }

    fn reap(&mut self) {
        let mut got = vec![0; self.completion.capacity() as usize];
        let count = self.completion.consume(&mut got, |to, frame| {
            self.umem.hand_over(frame, Place::Completion, Place::User);
            // It is ours again: any use must be ordered behind the kernel's.
            self.umem.write(frame, 0);
            *to = frame;
        });
        self.hand.extend(&got[..count.unwrap() as usize]);
    }
}

struct Kernel {
    umem: Frames,
    fill: KernelConsumer<u64>,
    rx: KernelProducer<xdp_desc>,
    tx: KernelConsumer<xdp_desc>,
    completion: KernelProducer<u64>,
    received: u32,
}

impl Kernel {
    /// Delivers one packet, if there is a frame for it and room in the RX ring.
    fn receive(&mut self) {
        let Some(frame) = self.fill.take() else { return };
        self.umem.hand_over(frame, Place::Fill, Place::KernelRx);
        let len = 60 + self.received;
        self.umem.write(frame, len);
        self.umem.hand_over(frame, Place::KernelRx, Place::Rx);
        // All frames fit into the RX ring, so there is room: no frame is stuck here.
        assert!(self.rx.reserve(xdp_desc { addr: frame, len, options: 0 }));
        self.rx.submit();
        self.received += 1;
    }

    /// One transmit pass. As in the kernel, no descriptor is taken without room for its completion.
    fn transmit(&mut self) {
        while let Some(desc) = self.tx.peek() {
            self.umem.hand_over(desc.addr, Place::Tx, Place::KernelTx);
            assert_eq!(desc.len, self.umem.read(desc.addr), "the user wrote this packet before it said so");
            self.umem.hand_over(desc.addr, Place::KernelTx, Place::Completion);
            assert!(self.completion.reserve(desc.addr));
            self.completion.submit();
            self.tx.release();
        }
        self.tx.end_pass();
    }
}

/// The need-wakeup handshake.
#[derive(Debug, Clone, Copy)]
pub struct Handshake {
    /// Descriptors that the user sends, one by one.
    pub packets: u32,
    /// Whether the kernel has a full barrier between setting the flag and looking at the ring again.
    pub kernel_fenced: bool,
    /// The bound of the user's second kick ([`Producer::set_rekick_after`]).
    pub rekick_after: u32,
    /// How often the user asks [`Producer::needs_wakeup`] after its last packet.
    pub polls: u32,
}

/// The kernel goes to sleep while the user sends: no history ends with descriptors waiting and nobody awake.
/// Returns how many packets the kernel took before it slept.
pub fn handshake(shape: Handshake, weakened: Option<Order>) -> u32 {
    const START: u32 = u32::MAX;
    let ring = LoomRing::new(2, START, xdp_desc::new(UNUSED), weakened);
    let mut kernel = KernelConsumer::new(ring.clone(), START, Release::EachPass);
    let kernel = thread::spawn(move || {
        let mut got = 0;
        // Each turn but the last takes a packet, so this ends.
        loop {
            kernel.set_need_wakeup();
            if shape.kernel_fenced {
                loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
            }
            if kernel.peek().is_none() {
                // Asleep, until a system call.
                break got;
            }
            kernel.clear_need_wakeup();
            while kernel.take().is_some() {
                got += 1;
            }
            kernel.end_pass();
        }
    });

    // SAFETY: the only producer of this ring.
    let mut user = unsafe { Producer::new(ring) };
    user.set_rekick_after(shape.rekick_after);
    let mut sent = 0;
    // A kick is a system call: the kernel sees all that was sent before it.
    let mut kicked_at = 0;
    for packet in 0..shape.packets {
        sent += user.produce(&[packet], |n| xdp_desc::new(*n)).unwrap();
        let polls = if packet + 1 == shape.packets { shape.polls } else { 1 };
        if (0..polls).any(|_| user.needs_wakeup()) {
            kicked_at = sent;
        }
    }
    let got = kernel.join().unwrap();
    assert!(got == sent || kicked_at == sent, "lost wakeup: {sent} sent, {got} taken, kicked at {kicked_at}");
    got
}
