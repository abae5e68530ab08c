//! The ordering matrix over both halves as they ship: xsk-core's and the simulated kernel's. Both name the same table, each
//! for its own side of a ring; here each row is weakened for one side at a time.
//!
//! xsk-core has the same matrix against a kernel of Linux's own orderings, and the check that no ordering hides elsewhere.

mod models;

use models::cycle::{Cycle, cycle};
use models::half::Entry;
use models::in_place::{move_over, put, take};
use models::matrix::{Model, Side, all_pass, each_row_is_load_bearing};
use models::models::{Handshake, Shape, Weakened, consume, handshake, produce};
use models::passes::{busy_driver, counted_first, promises};
use models::sim_half::{OldSimHalf, SimHalf};
use xsk_core::abi::xdp_desc;
use xsk_core::order::Order::{
    self, PassNote, PublishConsumer, PublishProducer, PutFrames, ReadConsumer, ReadFlags, ReadNote,
    ReadProducer, TakeFrames, UnlinkFrames, WakeupFence, WriteNote,
};

const ONE: Shape = Shape { capacity: 1, start: u32::MAX, batch: 1, attempts: 2 };
/// A pass that is busy, or takes back, every other time needs more.
const MORE: Shape = Shape { attempts: 4, ..ONE };
const AROUND: Cycle = Cycle { capacity: 1, frames: 1, rounds: 2, sockets: 1, in_place: false };
const SLEEP: Handshake = Handshake { packets: 1, kernel_fenced: true, rekick_after: u32::MAX, polls: 1 };

/// What each half of a ring leans on that the user fills.
const PRODUCER: &[Order] = &[PublishProducer, ReadConsumer];
const CONSUMER: &[Order] = &[ReadProducer, PublishConsumer];

const fn model(
    name: &'static str,
    run: fn(Weakened) -> u32,
    user_leans_on: &'static [Order],
    kernel_leans_on: &'static [Order],
) -> Model {
    Model { name, run, user_leans_on, kernel_leans_on }
}

fn fill<T: Entry>(weakened: Weakened) -> u32 {
    produce::<SimHalf, T>(ONE, weakened)
}

const MODELS: [Model; 16] = [
    model("fill", fill::<u64>, PRODUCER, CONSUMER),
    model("tx", fill::<xdp_desc>, PRODUCER, CONSUMER),
    model("rx", |w| consume::<SimHalf, xdp_desc>(ONE, w), CONSUMER, PRODUCER),
    model("completion", |w| consume::<SimHalf, u64>(ONE, w), CONSUMER, PRODUCER),
    model("completion, old", |w| consume::<OldSimHalf, u64>(ONE, w), CONSUMER, PRODUCER),
    model("busy driver", |w| busy_driver(ONE, w), PRODUCER, CONSUMER),
    model("counted first", |w| counted_first(ONE, w), PRODUCER, CONSUMER),
    model("promises", |w| promises(MORE, w), CONSUMER, PRODUCER),
    model("fill in place", |w| put::<SimHalf, u64>(ONE, w), PRODUCER, CONSUMER),
    model("tx in place", |w| put::<SimHalf, xdp_desc>(ONE, w), PRODUCER, CONSUMER),
    model("rx in place", |w| take::<SimHalf, xdp_desc>(ONE, w), CONSUMER, PRODUCER),
    model("completion in place", |w| take::<SimHalf, u64>(ONE, w), CONSUMER, PRODUCER),
    model(
        "completion to fill",
        |w| move_over::<SimHalf>(ONE, false, w),
        &[ReadProducer, PublishConsumer, PublishProducer],
        &[ReadProducer, PublishProducer, ReadConsumer],
    ),
    model(
        "completion to fill, ahead",
        |w| move_over::<SimHalf>(ONE, true, w),
        &[PublishConsumer, PublishProducer, ReadConsumer],
        &[ReadProducer, ReadConsumer, PublishConsumer],
    ),
    // A frame that is handed around orders the slots of the rings it passed, so the consumer index carries nothing here.
    model(
        "full cycle",
        |w| cycle::<SimHalf>(AROUND, w),
        &[ReadProducer, PublishProducer],
        &[ReadProducer, PublishProducer],
    ),
    model(
        "need-wakeup",
        |w| handshake::<SimHalf>(SLEEP, w),
        &[PublishProducer, WakeupFence],
        &[ReadProducer],
    ),
];

/// The lists of free frames have models of their own, in xsk-core.
const LISTS: [Order; 6] = [PutFrames, TakeFrames, UnlinkFrames, ReadNote, WriteNote, PassNote];

#[test]
fn the_models_pass_as_the_table_stands() {
    all_pass(&MODELS);
}

#[test]
fn each_row_of_the_user_is_load_bearing() {
    each_row_is_load_bearing(Side::User, &MODELS, &LISTS);
}

/// The kernel's half sets flags and never reads them. Its barrier is its driver's, and not every driver has one: the models
/// of the need-wakeup handshake have it, or not.
#[test]
fn each_row_of_the_kernel_is_load_bearing() {
    let unused = [&LISTS[..], &[ReadFlags, WakeupFence]].concat();
    each_row_is_load_bearing(Side::Kernel, &MODELS, &unused);
}
