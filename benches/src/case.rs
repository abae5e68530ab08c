//! The cases whose instructions are counted. What is to be counted is added to [`all`].

use std::fmt;

use xsk::config::XdpFlags;

use crate::counterpart::Counterpart;
use crate::rings::{Floor, User, moves, simulated_core, simulated_ring_tier, step};
use crate::sim::{self, Forward, Program};

/// Packets that move at once.
pub const BATCHES: [u32; 5] = [1, 4, 16, 64, 256];

/// Something that moves packets, a batch a round.
pub struct Case {
    /// Whose code.
    pub who: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Packets of a round.
    pub batch: u32,
    /// Whether it has a budget. What is counted for scale has none: it is not this project's code.
    pub has_budget: bool,
    /// What a budget is more than the count that it is made from, as a factor.
    pub room: f64,
    rounds: Box<dyn FnMut(u32)>,
}

impl Case {
    /// A case. `rounds` does so many rounds.
    pub fn new(who: &'static str, what: &'static str, batch: u32, rounds: impl FnMut(u32) + 'static) -> Self {
        Self { who, what, batch, has_budget: true, room: 1.0, rounds: Box::new(rounds) }
    }

    /// The same without a budget.
    pub fn for_scale(self) -> Self {
        Self { has_budget: false, ..self }
    }

    /// The same with a budget that leaves room, for code that is not tuned to the last instruction.
    pub fn with_room(self, room: f64) -> Self {
        Self { room, ..self }
    }

    /// Moves `packets`, which is a multiple of the batch.
    pub fn run(&mut self, packets: u32) {
        (self.rounds)(packets / self.batch);
    }

    /// The name by which a budget knows it.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.who, self.what, self.batch)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name()).finish()
    }
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases: Vec<_> = BATCHES.into_iter().map(floor).collect();
    rings("core", &mut cases, simulated_core);
    rings("ring", &mut cases, simulated_ring_tier);
    cases.extend(crate::port::cases());
    cases.extend(sim::CASES.map(|(name, mode, program)| simulated(name, mode, program)));
    cases
}

/// A forward loop on the simulated kernel, which is nearly all that is counted.
fn simulated(name: &'static str, mode: XdpFlags, program: Program) -> Case {
    let mut forward = Forward::new(mode, program);
    let rounds = move |rounds| {
        for _ in 0..rounds {
            forward.step();
        }
    };
    Case::new("sim", name, sim::BATCH, rounds).with_room(1.1)
}

fn floor(batch: u32) -> Case {
    let mut floor = Floor::default();
    Case::new("copy", "cycle", batch, move |rounds| {
        for _ in 0..rounds {
            floor.forward(batch);
        }
    })
    .for_scale()
}

/// The four rings of a user, together and one by one. The counts include the kernel's half: a store for each ring and round.
/// They start at an odd index: batches then wrap around the end of the ring as they do in life.
pub fn rings<U: User + 'static>(
    who: &'static str,
    cases: &mut Vec<Case>,
    open: impl Fn() -> (U, Counterpart),
) {
    let open = || {
        let (mut user, mut kernel) = open();
        assert_eq!(step(&mut user, &mut kernel, 3), 3);
        (user, kernel)
    };
    for batch in BATCHES {
        cases.push(case(who, "cycle", batch, open(), step));
        cases.extend(moves().map(|(what, round)| case(who, what, batch, open(), round)));
    }
}

/// Rounds on the rings of a socket.
pub(crate) fn case<U: User + 'static>(
    who: &'static str,
    what: &'static str,
    batch: u32,
    (mut user, mut kernel): (U, Counterpart),
    round: impl Fn(&mut U, &mut Counterpart, u32) -> u32 + 'static,
) -> Case {
    Case::new(who, what, batch, move |rounds| {
        for _ in 0..rounds {
            assert!(round(&mut user, &mut kernel, batch) == batch, "a ring moved less than the batch");
        }
    })
}
