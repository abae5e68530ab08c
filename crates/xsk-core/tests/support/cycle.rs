//! The model of full cycles: frames through all four rings, user and kernel concurrent, one socket or two on one UMEM.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;
use xsk_core::abi::xdp_desc;
use xsk_core::ring::{Consumer, Pass, Producer};

use super::frames::{Frames, Place};
use super::half::{ConsumerHalf, KernelHalf, ProducerHalf, Release};
use super::loom_ring::LoomRing;
use super::models::Weakened;

/// The size of the model.
#[derive(Debug, Clone, Copy)]
pub struct Cycle {
    /// Slots of each ring. All frames fit into each of them.
    pub capacity: u32,
    pub frames: usize,
    /// Rounds of each side.
    pub rounds: u32,
    /// 1, or 2: sockets of one queue, each with a thread of its own. They share the fill and the completion ring behind a
    /// lock, as queues that are `Send` and not `Sync` demand.
    pub sockets: usize,
    /// Whether the user goes by entries and slots in place, as the port tier does.
    pub in_place: bool,
}

const START: u32 = u32::MAX;

/// Each frame goes through fill, the kernel's receive, RX, the user, TX, the kernel's transmit and completion, and is written
/// by whoever holds it. Returns how many packets were received.
pub fn cycle<K: KernelHalf>(size: Cycle, weakened: Weakened) -> u32 {
    #![expect(clippy::arc_with_non_send_sync, reason = "loom's threads are coroutines of one thread")]
    let umem = Frames::new(size.frames);
    assert!(size.frames <= size.capacity as usize);
    let addrs = || LoomRing::new(size.capacity, START, u64::MAX);
    let descs = || LoomRing::new(size.capacity, START, xdp_desc::default());
    let (fill, kernel_fill) = weakened.user_produces(addrs());
    let (completion, kernel_completion) = weakened.user_consumes(addrs());
    let (mut sockets, mut kernel_sockets) = (Vec::new(), Vec::new());
    for _ in 0..size.sockets {
        let (rx, kernel_rx) = weakened.user_consumes(descs());
        let (tx, kernel_tx) = weakened.user_produces(descs());
        kernel_sockets.push(KernelSocket {
            rx: K::Producer::new(kernel_rx, START),
            tx: K::Consumer::new(kernel_tx, START, Release::EachPass),
        });
        // SAFETY: the only consumer and producer of these rings.
        let (rx, tx) = unsafe { (Consumer::new(rx), Producer::new(tx)) };
        sockets.push(Socket { umem: umem.clone(), rx, tx, seen: 0, in_place: size.in_place });
    }
    let mut kernel: Kernel<K> = Kernel {
        umem: umem.clone(),
        fill: K::Consumer::new(kernel_fill, START, Release::WhenEmpty),
        completion: K::Producer::new(kernel_completion, START),
        sockets: kernel_sockets,
        received: 0,
    };
    // SAFETY: the only producer and consumer of these rings.
    let (fill, completion) = unsafe { (Producer::new(fill), Consumer::new(completion)) };
    let hand = (0..size.frames as u64).collect();
    let mut home = Home { umem: umem.clone(), hand, fill, completion, in_place: size.in_place };

    // Begin in the middle of things: with few forced switches a frame gets around only from here.
    home.fill();
    (0..size.sockets).for_each(|socket| kernel.receive(socket));
    let kernel = thread::spawn(move || {
        for round in 0..size.rounds as usize {
            (0..size.sockets).for_each(|socket| kernel.transmit(socket));
            kernel.receive(round % size.sockets);
        }
        kernel
    });
    let mut home = if let [socket] = sockets.as_mut_slice() {
        for _ in 0..size.rounds {
            let rest = socket.forward();
            home.take_in(rest);
        }
        home
    } else {
        let shared = Arc::new(Mutex::new(home));
        let run = move |mut socket: Socket, shared: Arc<Mutex<Home>>| {
            for _ in 0..size.rounds {
                let rest = socket.forward();
                shared.lock().unwrap().take_in(rest);
            }
            socket
        };
        let mine = sockets.remove(0);
        let other = sockets.remove(0);
        let theirs = Arc::clone(&shared);
        let other = thread::spawn(move || run(other, theirs));
        sockets.push(run(mine, Arc::clone(&shared)));
        sockets.push(other.join().unwrap());
        let Ok(home) = Arc::try_unwrap(shared) else { panic!("both users are done") };
        home.into_inner().unwrap()
    };
    let mut kernel = kernel.join().unwrap();

    // Stop receiving. What the kernel and the rings hold still has to come home, but for what waits in the fill ring.
    for _ in 0..3 {
        for (i, socket) in sockets.iter_mut().enumerate() {
            kernel.transmit(i);
            home.hand.extend(socket.forward());
        }
        home.reap();
    }
    let waiting = home.fill.outstanding().unwrap() as usize;
    let places = umem.places();
    let in_fill = places.iter().filter(|&&place| place == Place::Fill).count();
    let in_hand = places.iter().filter(|&&place| place == Place::User).count();
    assert_eq!(in_fill + in_hand, size.frames, "a frame did not come home: {places:?}");
    assert_eq!(home.hand.len(), in_hand);
    // The kernel may not have said yet what it took from the fill ring.
    assert!(waiting >= in_fill, "{in_fill} frames wait in a fill ring of {waiting} entries");
    let seen = sockets.iter().map(|socket| socket.seen).sum();
    assert_eq!(kernel.received, seen, "packets lost or duplicated");
    seen
}

/// The user's frames, and the rings that the sockets of a queue share.
struct Home {
    umem: Frames,
    hand: Vec<u64>,
    fill: Producer<LoomRing<u64>>,
    completion: Consumer<LoomRing<u64>>,
    in_place: bool,
}

impl Home {
    fn fill(&mut self) {
        if self.in_place {
            return self.fill_in_place();
        }
        let count = self.fill.produce_some(&self.hand, |&frame| {
            self.umem.hand_over(frame, Place::User, Place::Fill);
            frame
        });
        self.hand.drain(..count.unwrap() as usize);
    }

    fn fill_in_place(&mut self) {
        loop {
            let mut slots = self.fill.slots(self.hand.len() as u32, 0).unwrap();
            while slots.room() > 0
                && let Some(frame) = self.hand.pop()
            {
                self.umem.hand_over(frame, Place::User, Place::Fill);
                assert!(slots.put(frame));
            }
            if !slots.is_cut() {
                break;
            }
        }
    }

    /// What was sent is received into again.
    fn move_over(&mut self) {
        loop {
            let mut slots = self.fill.slots(self.completion.capacity(), 0).unwrap();
            let mut entries = self.completion.entries(slots.room()).unwrap();
            entries.move_to(&mut slots, |frame| {
                self.umem.hand_over(frame, Place::Completion, Place::Fill);
                true
            });
            let more = entries.is_cut() || (slots.is_cut() && slots.room() == 0);
            if !more {
                break;
            }
        }
    }

    fn reap_in_place(&mut self) {
        loop {
            let mut entries = self.completion.entries(u32::MAX).unwrap();
            for frame in entries.by_ref() {
                self.umem.hand_over(frame, Place::Completion, Place::User);
                self.umem.write(frame, 0);
                self.hand.push(frame);
            }
            if !entries.is_cut() {
                break;
            }
        }
    }

    fn reap(&mut self) {
        if self.in_place {
            return self.reap_in_place();
        }
        let mut got = vec![0; self.completion.capacity() as usize];
        let count = self.completion.consume(&mut got, |to, frame| {
            self.umem.hand_over(frame, Place::Completion, Place::User);
            // It is ours again: any use must be ordered behind the kernel's.
            self.umem.write(frame, 0);
            *to = frame;
        });
        self.hand.extend(&got[..count.unwrap() as usize]);
    }

    fn take_in(&mut self, rest: Vec<u64>) {
        self.hand.extend(rest);
        if self.in_place {
            // All frames fit into the fill ring, so there is room: none is left to be reaped.
            self.move_over();
        } else {
            self.reap();
        }
        self.fill();
    }
}

struct Socket {
    umem: Frames,
    rx: Consumer<LoomRing<xdp_desc>>,
    tx: Producer<LoomRing<xdp_desc>>,
    seen: u32,
    in_place: bool,
}

impl Socket {
    /// Receives what there is, checks and changes it, and sends it on. Returns what did not fit.
    fn forward(&mut self) -> Vec<u64> {
        if self.in_place {
            return self.forward_in_place();
        }
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
        got.drain(..sent.unwrap() as usize);
        got
    }

    /// The same without an array between. What does not fit stays where it is; a packet in three is not sent, and returned.
    fn forward_in_place(&mut self) -> Vec<u64> {
        let mut dropped = Vec::new();
        loop {
            let mut slots = self.tx.slots(self.rx.capacity(), 0).unwrap();
            let mut entries = self.rx.entries(slots.room()).unwrap();
            entries.pass_to(&mut slots, |desc| {
                self.umem.hand_over(desc.addr, Place::Rx, Place::User);
                assert_eq!(
                    desc.len,
                    self.umem.read(desc.addr),
                    "the kernel wrote this packet before it said so"
                );
                let len = desc.len + 1000;
                self.umem.write(desc.addr, len);
                self.seen += 1;
                if self.seen.is_multiple_of(3) {
                    dropped.push(desc.addr);
                    return Pass::Out;
                }
                self.umem.hand_over(desc.addr, Place::User, Place::Tx);
                Pass::OnAs(xdp_desc { len, ..desc })
            });
            let more = entries.is_cut() || (slots.is_cut() && slots.room() == 0);
            if !more {
                break;
            }
        }
        dropped
    }
}

struct KernelSocket<K: KernelHalf> {
    rx: K::Producer<xdp_desc>,
    tx: K::Consumer<xdp_desc>,
}

struct Kernel<K: KernelHalf> {
    umem: Frames,
    fill: K::Consumer<u64>,
    completion: K::Producer<u64>,
    sockets: Vec<KernelSocket<K>>,
    received: u32,
}

impl<K: KernelHalf> Kernel<K> {
    /// Delivers one packet, if there is a frame for it and room in the RX ring.
    fn receive(&mut self, socket: usize) {
        let Some(frame) = self.fill.take() else { return };
        self.umem.hand_over(frame, Place::Fill, Place::KernelRx);
        let len = 60 + self.received;
        self.umem.write(frame, len);
        self.umem.hand_over(frame, Place::KernelRx, Place::Rx);
        // All frames fit into the RX ring, so there is room: no frame is stuck here.
        let rx = &mut self.sockets[socket].rx;
        assert!(rx.reserve(xdp_desc { addr: frame, len, options: 0 }));
        rx.submit();
        self.received += 1;
    }

    /// One transmit pass. As in the kernel, no descriptor is taken without room for its completion.
    fn transmit(&mut self, socket: usize) {
        let tx = &mut self.sockets[socket].tx;
        while let Some(desc) = tx.peek() {
            self.umem.hand_over(desc.addr, Place::Tx, Place::KernelTx);
            assert_eq!(desc.len, self.umem.read(desc.addr), "the user wrote this packet before it said so");
            self.umem.hand_over(desc.addr, Place::KernelTx, Place::Completion);
            assert!(self.completion.reserve(desc.addr));
            self.completion.submit();
            tx.release();
        }
        tx.end_pass();
    }
}
