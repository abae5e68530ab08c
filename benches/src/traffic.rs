//! Programs that pass packets, of each library.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::case::Case;
use crate::drive::{Driver, Tally, drop_packets, flood, forward};
use crate::place::Place;
use crate::rings::RingTier;

/// Packets that move at once.
pub const BATCH: u32 = 64;
/// Bytes of the packets.
pub const LENGTHS: [usize; 3] = [64, 512, 1500];
/// An EtherType for experiments, which nobody listens to (IEEE 802, local experimental 1).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// What a program does with packets, [`BATCH`] of them at a time.
pub trait Program {
    /// Prepares the packets to send.
    fn load(&mut self, packet: &[u8]);
    /// Takes packets that wait, and gives their frames back.
    fn drop_packets(&mut self) -> Tally;
    /// Sends packets, and waits for their frames.
    fn flood(&mut self) -> Tally;
    /// Sends packets that wait back out, and waits for their frames.
    fn forward(&mut self) -> Tally;
}

/// The loops over rings.
struct Loops<D>(D);

impl<D: Driver> Program for Loops<D> {
    fn load(&mut self, packet: &[u8]) {
        self.0.load(BATCH, packet);
    }

    fn drop_packets(&mut self) -> Tally {
        drop_packets(&mut self.0, BATCH)
    }

    fn flood(&mut self) -> Tally {
        flood(&mut self.0, BATCH)
    }

    fn forward(&mut self) -> Tally {
        forward(&mut self.0, BATCH)
    }
}

/// What is measured, and how a round of it goes.
pub type Workload = (&'static str, fn(&mut Stand) -> Tally);

/// The workloads.
pub const WORKLOADS: [Workload; 3] = [
    ("rx drop", |stand| {
        flood(&mut stand.generator, BATCH);
        stand.program.drop_packets()
    }),
    ("tx flood", |stand| stand.program.flood()),
    ("forward", |stand| {
        flood(&mut stand.generator, BATCH);
        stand.program.forward()
    }),
];

/// A program and what sends it packets, which is the same for all.
pub struct Stand {
    program: Box<dyn Program>,
    generator: RingTier,
}

impl fmt::Debug for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stand(..)")
    }
}

/// A program that takes part.
pub struct Contestant {
    /// Whose library.
    pub who: &'static str,
    stand: Rc<RefCell<Stand>>,
    /// What the program has done since somebody last looked.
    pub tally: Rc<Cell<Tally>>,
}

impl fmt::Debug for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contestant").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Contestant {
    /// A program with a socket on a queue of [`Place::A`].
    pub fn new<D: Driver + 'static>(who: &'static str, place: &Place, queue: u32, mut user: D) -> Self {
        place.lead(queue, user.socket());
        user.prime();
        let generator = RingTier::open(Arc::clone(&place.backend), Place::B, queue);
        let stand = Stand { program: Box::new(Loops(user)), generator };
        Self { who, stand: Rc::new(RefCell::new(stand)), tally: Rc::default() }
    }

    /// A workload with packets of `len` bytes, an Ethernet header included.
    pub fn case(&self, (what, round): Workload, len: usize) -> Case {
        let mut packet = vec![0; len];
        packet[12..14].copy_from_slice(&ETHERTYPE);
        let mut stand = self.stand.borrow_mut();
        stand.program.load(&packet);
        stand.generator.load(BATCH, &packet);
        drop(stand);
        let (stand, tally) = (Rc::clone(&self.stand), Rc::clone(&self.tally));
        Case::new(self.who, what, BATCH, move |rounds| {
            let mut stand = stand.borrow_mut();
            for _ in 0..rounds {
                let done = round(&mut stand);
                let before = tally.get();
                let (packets, calls) = (before.packets + done.packets, before.calls + done.calls);
                tally.set(Tally { packets, calls });
            }
        })
        .for_scale()
    }
}

/// Opens a program's socket.
pub type Opener = fn(&mut Place) -> Contestant;

/// xsk's tiers.
pub const OWN: [Opener; 1] = [|place| {
    let queue = place.queue();
    let user = RingTier::open(Arc::clone(&place.backend), Place::A, queue);
    Contestant::new("xsk ring tier", place, queue, user)
}];
