//! The ordering matrix: each row of the table is weakened in turn, for one side, and the models that lean on it must fail.

use xsk_core::order::Order::{
    self, PassNote, PublishConsumer, PublishProducer, PutFrames, ReadConsumer, ReadFlags, ReadNote,
    ReadProducer, TakeFrames, UnlinkFrames, WakeupFence, WriteNote,
};

use super::explore::{Outcome, Seen, explore};
use super::models::{SOUND, Weakened};

const CAUSALITY: &str = "Causality violation";
const LOST: &str = "lost wakeup";

/// How a model says that this row is missing; `None` for a row that has nothing to lose.
pub const fn law(order: Order) -> Option<&'static str> {
    match order {
        ReadProducer | PublishProducer | ReadConsumer | PublishConsumer | PutFrames | TakeFrames => {
            Some(CAUSALITY)
        }
        WakeupFence => Some(LOST),
        ReadFlags | UnlinkFrames | ReadNote | WriteNote | PassNote => None,
    }
}

/// Whose use of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    User,
    Kernel,
}

impl Side {
    fn without(self, order: Order) -> Weakened {
        match self {
            Self::User => Weakened { user: Some(order), ..SOUND },
            Self::Kernel => Weakened { kernel: Some(order), ..SOUND },
        }
    }
}

pub struct Model {
    pub name: &'static str,
    pub run: fn(Weakened) -> u32,
    /// The rows without which it fails. It passes without any other.
    pub user_leans_on: &'static [Order],
    /// The same for the kernel's half.
    pub kernel_leans_on: &'static [Order],
}

impl Model {
    fn leans_on(&self, side: Side) -> &'static [Order] {
        match side {
            Side::User => self.user_leans_on,
            Side::Kernel => self.kernel_leans_on,
        }
    }
}

/// All models are small enough to be complete.
const PREEMPTIONS: Option<usize> = None;

/// Each model passes as the table stands, over more than a few interleavings.
pub fn all_pass(models: &[Model]) {
    for model in models {
        let run = model.run;
        match explore(PREEMPTIONS, move || run(SOUND)) {
            Outcome::Passed(Seen { executions, .. }) => {
                assert!(executions > 10, "{}: {executions}", model.name)
            }
            Outcome::Failed { seen, message } => panic!("{} fails ({seen:?}): {message}", model.name),
        }
    }
}

/// Each row that is load bearing for `side` fails the models that lean on it, by its law, and no other. `unused` are rows that
/// this side has no use for.
#[expect(clippy::print_stdout, reason = "the matrix is what the test is for")]
pub fn each_row_is_load_bearing(side: Side, models: &[Model], unused: &[Order]) {
    for order in Order::ALL {
        let mut failures = Vec::new();
        for model in models {
            let run = model.run;
            let outcome = explore(PREEMPTIONS, move || run(side.without(order)));
            match (outcome, model.leans_on(side).contains(&order)) {
                (Outcome::Passed(_), false) => {}
                (Outcome::Failed { seen, message }, true) => {
                    let law = law(order).expect("a row that a model leans on has something to lose");
                    // Data races may come to light before a lost wakeup.
                    assert!(message.contains(law), "{order:?} weakened: '{}' says {message}", model.name);
                    failures.push(format!("'{}' fails after {} executions", model.name, seen.executions));
                }
                (Outcome::Passed(seen), true) => {
                    panic!("{side:?}: {order:?} weakened: '{}' still passes ({seen:?})", model.name)
                }
                (Outcome::Failed { seen, message }, false) => {
                    panic!(
                        "{side:?}: {order:?} weakened: '{}' fails, unexpected ({seen:?}): {message}",
                        model.name
                    )
                }
            }
        }
        let bears = order.is_load_bearing() && !unused.contains(&order);
        assert_eq!(failures.is_empty(), !bears, "{side:?}: {order:?} weakened: {failures:?}");
        let what = if bears {
            format!("weakened: model {}", failures.join(", "))
        } else if unused.contains(&order) {
            "no use for it".to_owned()
        } else {
            "relaxed already, no model leans on it".to_owned()
        };
        println!("orderings: {side:?}: {order:?}: {what}");
    }
}
