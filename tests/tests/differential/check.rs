//! One history on one kernel, or on two.

use std::fmt;
use std::time::{Duration, Instant};

use xsk_sim::Crash;

use super::guard::Guard;
use xsk_tests::calls::net::{Net, SimNet};

use super::net::LinuxNets;
use super::tally::Tally;
use xsk_tests::calls::op::{History, Op, UMEMS};
use xsk_tests::calls::player::{Player, Seen};

/// Where the kernels part.
#[derive(Debug)]
pub(crate) enum Divergence {
    Step {
        step: usize,
        op: Op,
        what: String,
        simulated: String,
        linux: String,
    },
    /// The simulator, or the test, panicked.
    Panic(String),
}

impl Divergence {
    pub(crate) fn panic(text: &str) -> Box<Self> {
        Box::new(Self::Panic(text.to_owned()))
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { step, op, what, simulated, linux } => {
                write!(f, "operation {step}, {op:?}: {what}\nsimulated: {simulated}\n    Linux: {linux}")
            }
            Self::Panic(text) => write!(f, "a panic: {text}"),
        }
    }
}

/// A history on the simulated kernel alone; the crash that it came to. `guarded`: what the guard refuses is left out.
pub(crate) fn on_the_simulator(history: &History, guarded: bool) -> Option<Crash> {
    let net = SimNet::new(history.place);
    {
        let mut player = Player::new(&net);
        let mut guard = Guard::new(history.place);
        for op in &history.ops {
            if guarded && guard.refuses(op).is_some() {
                continue;
            }
            // Memory that is not the test's is not tried.
            if matches!(op, Op::Register { .. } | Op::Ring { .. }) && guard.refuses(op).is_some() {
                continue;
            }
            let answer = player.apply(op, None);
            guard.done(op, answer.is_ok());
            if net.kernel.check().is_err() {
                break;
            }
        }
    }
    net.kernel.take_crash()
}

/// A history on both kernels.
pub(crate) fn on_both(nets: &LinuxNets, history: &History, tally: &mut Tally) -> Result<(), Box<Divergence>> {
    let simulated_net = SimNet::new(history.place);
    let linux_net = nets.get(history.place);
    let (mut simulated, mut linux) = (Player::new(&simulated_net), Player::new(&*linux_net));
    let mut guard = Guard::new(history.place);
    let mut bound = false;
    tally.histories += 1;
    for (step, op) in history.ops.iter().enumerate() {
        let diverges = |what: &str, simulated: String, linux: String| {
            Box::new(Divergence::Step { step, op: op.clone(), what: what.into(), simulated, linux })
        };
        if guard.is_left_open(op) {
            continue;
        }
        if let Some(reason) = guard.refuses(op) {
            *tally.refused.entry(reason).or_default() += 1;
            continue;
        }
        // The simulator goes first: what it calls a crash never gets to Linux.
        let expected = simulated.apply(op, None);
        if let Some(crash) = simulated_net.kernel.take_crash() {
            return Err(diverges("the guard let a crash through", crash.to_string(), "not asked".into()));
        }
        let answer = linux.apply(op, Some(&expected));
        if answer != expected {
            return Err(diverges("the answer", format!("{expected:?}"), format!("{answer:?}")));
        }
        guard.done(op, answer.is_ok());
        compare(&mut simulated, &mut linux, linux_net.patience(), tally)
            .map_err(|(what, a, b)| diverges(&what, a, b))?;

        tally.operations += 1;
        tally.after_bind += u64::from(bound);
        *tally.answers.entry((op.call(), answer.errno())).or_default() += 1;
        bound |= matches!(op, Op::Bind { .. }) && answer.is_ok();
    }
    Ok(())
}

type Difference = (String, String, String);

/// Compares all that can be seen, once Linux is quiet.
fn compare(
    simulated: &mut Player<'_>,
    linux: &mut Player<'_>,
    patience: Duration,
    tally: &mut Tally,
) -> Result<(), Difference> {
    let start = Instant::now();
    simulated.look();
    loop {
        linux.look();
        let found = if simulated.seen() == linux.seen() {
            match (0..UMEMS).find_map(|umem| Some((umem, simulated.memory_differs(linux, umem)?))) {
                None => break,
                Some((umem, (at, a, b))) => {
                    (format!("UMEM {umem} from byte {at}"), format!("{a:x?}"), format!("{b:x?}"))
                }
            }
        } else {
            difference(simulated.seen(), linux.seen())
        };
        if start.elapsed() > patience {
            return Err(found);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    tally.received += simulated.received();
    tally.passed += simulated.seen().arrived.iter().map(|frames| frames.len() as u64).sum::<u64>();
    Ok(())
}

/// The first thing that differs.
fn difference(simulated: &Seen, linux: &Seen) -> Difference {
    for (s, (a, b)) in simulated.sockets.iter().zip(&linux.sockets).enumerate() {
        if a.statistics != b.statistics {
            return (
                format!("statistics of {s}"),
                format!("{:?}", a.statistics),
                format!("{:?}", b.statistics),
            );
        }
        for (name, (a, b)) in ["RX", "TX", "fill", "completion"].iter().zip(a.rings.iter().zip(&b.rings)) {
            if a != b {
                return (format!("{name} ring of {s}"), format!("{a:x?}"), format!("{b:x?}"));
            }
        }
    }
    if simulated.orphans != linux.orphans {
        return (
            "rings of closed sockets".into(),
            format!("{:x?}", simulated.orphans),
            format!("{:x?}", linux.orphans),
        );
    }
    let short = |frames: &[Vec<Vec<u8>>; 2]| {
        let frames = frames.each_ref().map(|frames| {
            frames
                .iter()
                .map(|frame| format!("{} {:x?}", frame.len(), &frame[..frame.len().min(16)]))
                .collect::<Vec<_>>()
        });
        format!("{frames:?}")
    };
    ("frames that came to the stacks".into(), short(&simulated.arrived), short(&linux.arrived))
}
