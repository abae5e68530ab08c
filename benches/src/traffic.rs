//! Programs that pass packets, of each library.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use xsk::backend::Handle;
use xsk::port::{Mode as PortMode, Verdict};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};

use crate::case::Case;
use crate::counterpart::{ENTRIES, FRAME_SIZE, FRAMES};
use crate::drive::{Driver, Patience, Tally, drop_packets, flood, forward};
use crate::place::{Place, Target};
use crate::rings::{RingTier, Shape};

/// Packets that move at once.
pub const BATCH: u32 = 64;
/// Bytes of the packets.
pub const LENGTHS: [usize; 3] = [64, 512, 1500];
/// An EtherType for experiments, which nobody listens to (IEEE 802, local experimental 1).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// What a program does with packets, [`BATCH`] of them at a time. Each returns how many.
pub trait Program {
    /// Prepares the packets to send.
    fn load(&mut self, packet: &[u8]);
    /// Takes packets that come, and gives their frames back.
    fn drop_packets(&mut self) -> u32;
    /// Sends packets, and waits for their frames.
    fn flood(&mut self) -> u32;
    /// Sends packets that come back out, and waits for their frames.
    fn forward(&mut self) -> u32;
    /// System calls of the library since the last look.
    fn calls(&mut self) -> u64;
}

/// The loops over rings.
struct Loops<D> {
    user: D,
    calls: u64,
}

impl<D> Loops<D> {
    fn note(&mut self, tally: Tally) -> u32 {
        self.calls += u64::from(tally.calls);
        tally.packets
    }
}

impl<D: Driver> Program for Loops<D> {
    fn load(&mut self, packet: &[u8]) {
        self.user.load(BATCH, packet);
    }

    fn drop_packets(&mut self) -> u32 {
        let tally = drop_packets(&mut self.user, BATCH);
        self.note(tally)
    }

    fn flood(&mut self) -> u32 {
        let tally = flood(&mut self.user, BATCH);
        self.note(tally)
    }

    fn forward(&mut self) -> u32 {
        let tally = forward(&mut self.user, BATCH);
        self.note(tally)
    }

    fn calls(&mut self) -> u64 {
        std::mem::take(&mut self.calls)
    }
}

/// The port tier. It moves received packets in place; a packet to send is one of its own each time, with its bytes written.
struct PortTier {
    port: Port,
    batch: Batch,
    packet: Vec<u8>,
    calls: u64,
}

impl PortTier {
    fn open(place: &Place, at: Target<'_>) -> Self {
        let frames = PoolConfig::default().frames(FRAMES).frame_size(FRAME_SIZE);
        let pool = Pool::new_in(Arc::clone(&place.backend), frames).expect("a pool");
        let mode = if at.mode.zero_copy { PortMode::ZeroCopy } else { PortMode::Copy };
        let config = PortConfig::default().mode(mode).fill_level(FRAMES / 2).no_program();
        let config = config.rx_ring(ENTRIES).tx_ring(ENTRIES).fill_ring(ENTRIES).completion_ring(ENTRIES);
        let port = Port::open(&pool, at.interface, at.queue, config).expect("a port");
        Self { port, batch: Batch::new(), packet: Vec::new(), calls: 0 }
    }

    fn socket(&self) -> Handle {
        self.port.fd().handle()
    }

    /// Waits for the frames of what was sent.
    fn finish(&mut self) {
        let mut patience = Patience::default();
        while self.port.flush().expect("a port") > 0 {
            patience.step(|| "frames do not come back".to_owned());
        }
    }
}

impl Program for PortTier {
    fn load(&mut self, packet: &[u8]) {
        self.packet = packet.to_vec();
    }

    fn drop_packets(&mut self) -> u32 {
        let (mut packets, mut patience) = (0, Patience::default());
        while packets < BATCH {
            let received = self.port.for_each(|_| {}).expect("a port") as u32;
            packets += received;
            patience.saw(received, || format!("{packets} of {BATCH} packets came"));
        }
        packets
    }

    fn flood(&mut self) -> u32 {
        assert_eq!(self.port.packets(&mut self.batch), BATCH as usize, "free frames");
        for packet in &mut *self.batch {
            packet.extend_from_slice(&self.packet).expect("it fits a frame");
        }
        let sent = self.port.send(&mut self.batch).expect("a port") as u32;
        assert_eq!(sent, BATCH, "the TX ring has a place for each packet");
        self.finish();
        sent
    }

    fn forward(&mut self) -> u32 {
        let (mut packets, mut patience) = (0, Patience::default());
        while packets < BATCH {
            let sent = self.port.forward(|_| Verdict::Send).expect("a port").sent as u32;
            packets += sent;
            patience.saw(sent, || format!("{packets} of {BATCH} packets came"));
        }
        self.finish();
        packets
    }

    fn calls(&mut self) -> u64 {
        let stats = self.port.stats().expect("a port");
        let before = std::mem::replace(&mut self.calls, stats.rx_wakeups + stats.tx_wakeups);
        self.calls - before
    }
}

/// What is measured, and how a round of it goes.
pub struct Workload {
    /// What it is.
    pub name: &'static str,
    /// Whether somebody has to send the packets.
    pub needs_sender: bool,
    round: fn(&mut Stand) -> u32,
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workload").field(&self.name).finish()
    }
}

/// The workloads.
pub const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "rx drop",
        needs_sender: true,
        round: |stand| {
            stand.generate();
            stand.program.drop_packets()
        },
    },
    Workload { name: "tx flood", needs_sender: false, round: |stand| stand.program.flood() },
    Workload {
        name: "forward",
        needs_sender: true,
        round: |stand| {
            stand.generate();
            stand.program.forward()
        },
    },
];

/// A program and what sends it packets, which is the same for all.
struct Stand {
    program: Box<dyn Program>,
    generator: Option<RingTier>,
}

impl Stand {
    fn generate(&mut self) {
        flood(self.generator.as_mut().expect("a sender"), BATCH);
    }
}

/// A program that takes part.
pub struct Contestant {
    /// Whose library.
    pub who: &'static str,
    queue: u32,
    stand: Rc<RefCell<Stand>>,
    packets: Rc<Cell<u64>>,
}

impl fmt::Debug for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contestant").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Contestant {
    /// A program with a socket of a place.
    fn new(
        who: &'static str,
        place: &Place,
        at: Target<'_>,
        program: Box<dyn Program>,
        socket: Handle,
    ) -> Self {
        place.lead(at.queue, socket);
        let stand = Stand { program, generator: None };
        Self { who, queue: at.queue, stand: Rc::new(RefCell::new(stand)), packets: Rc::default() }
    }

    /// Opens what sends it packets, if the place has somebody who does.
    pub fn meet_sender(&self, place: &Place) {
        // The same for all: the kernel's own budget.
        let open = |at| RingTier::open_as(Arc::clone(&place.backend), at, Shape::default());
        self.stand.borrow_mut().generator = place.sender(self.queue).map(open);
    }

    /// Closes what sends it packets later than the program.
    pub fn part(&self) -> Option<RingTier> {
        self.stand.borrow_mut().generator.take()
    }

    /// A program that is loops over rings.
    pub fn of_rings<D: Driver + 'static>(
        who: &'static str,
        place: &Place,
        at: Target<'_>,
        mut user: D,
    ) -> Self {
        user.prime();
        let socket = user.socket();
        Self::new(who, place, at, Box::new(Loops { user, calls: 0 }), socket)
    }

    /// A workload with packets of `len` bytes, an Ethernet header included.
    pub fn case(&self, workload: &Workload, len: usize) -> Case {
        let mut packet = vec![0; len];
        packet[12..14].copy_from_slice(&ETHERTYPE);
        let mut stand = self.stand.borrow_mut();
        stand.program.load(&packet);
        if let Some(generator) = &mut stand.generator {
            generator.load(BATCH, &packet);
        }
        drop(stand);
        let (stand, packets, round) = (Rc::clone(&self.stand), Rc::clone(&self.packets), workload.round);
        Case::new(self.who, workload.name, BATCH, move |rounds| {
            let mut stand = stand.borrow_mut();
            for _ in 0..rounds {
                packets.set(packets.get() + u64::from(round(&mut stand)));
            }
        })
        .for_scale()
    }

    /// System calls for each packet since the last look.
    pub fn calls_per_packet(&self) -> f64 {
        let calls = self.stand.borrow_mut().program.calls();
        calls as f64 / self.packets.take().max(1) as f64
    }
}

/// A name, and what opens a program's socket.
pub type Opener = (&'static str, fn(&Place, Target<'_>) -> Contestant);

/// xsk's tiers.
pub const OWN: [Opener; 3] = [
    ("xsk ring tier", |place, at| {
        let user = RingTier::open_as(Arc::clone(&place.backend), at, Shape::default());
        Contestant::of_rings("xsk ring tier", place, at, user)
    }),
    ("xsk ring, budget 64", |place, at| {
        let shape = Shape { tx_budget: Some(BATCH), ..Shape::default() };
        let user = RingTier::open_as(Arc::clone(&place.backend), at, shape);
        Contestant::of_rings("xsk ring, budget 64", place, at, user)
    }),
    ("xsk port", |place, at| {
        let port = PortTier::open(place, at);
        let socket = port.socket();
        Contestant::new("xsk port", place, at, Box::new(port), socket)
    }),
];
