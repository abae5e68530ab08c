//! The ordering matrix: each row of the table of orderings is weakened in turn, and the models that lean on it must fail.
//!
//! So none is stronger than it needs to be, and none can be lost unnoticed. A new row of [`Order`] does not compile here
//! until [`law`] knows it, and is refused until a model fails without it.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::cycle::{Cycle, cycle};
use support::in_place::{move_over, put, take};
use support::kernel::ModelKernel;
use support::loom_lists::{Reads, closing, depot, returned, shared};
use support::matrix::{self, Model, Side, all_pass, law};
use support::models::{Handshake, Shape, Weakened, consume, handshake, produce};
use xsk_core::abi::xdp_desc;
use xsk_core::order::Order::{
    self, PassNote, PublishConsumer, PublishProducer, PutFrames, ReadConsumer, ReadFlags, ReadNote,
    ReadProducer, TakeFrames, UnlinkFrames, WakeupFence, WriteNote,
};

/// The rows that `law` knows. Written out, so that a row which is missing from `Order::ALL` is noticed as well.
const KNOWN: [Order; 12] = [
    ReadProducer,
    PublishProducer,
    ReadConsumer,
    PublishConsumer,
    ReadFlags,
    WakeupFence,
    PutFrames,
    TakeFrames,
    UnlinkFrames,
    ReadNote,
    WriteNote,
    PassNote,
];

const ONE: Shape = Shape { capacity: 1, start: u32::MAX, batch: 1, attempts: 2 };
const SLEEP: Handshake = Handshake { packets: 1, kernel_fenced: true, rekick_after: u32::MAX, polls: 1 };

const AROUND: Cycle = Cycle { capacity: 1, frames: 1, rounds: 2, sockets: 1, in_place: false };

const MODELS: [Model; 16] = [
    model("fill", |w| produce::<ModelKernel, u64>(ONE, w), &[PublishProducer, ReadConsumer]),
    model("tx", |w| produce::<ModelKernel, xdp_desc>(ONE, w), &[PublishProducer, ReadConsumer]),
    model("rx", |w| consume::<ModelKernel, xdp_desc>(ONE, w), &[ReadProducer, PublishConsumer]),
    model("completion", |w| consume::<ModelKernel, u64>(ONE, w), &[ReadProducer, PublishConsumer]),
    model("fill in place", |w| put::<ModelKernel, u64>(ONE, w), &[PublishProducer, ReadConsumer]),
    model("tx in place", |w| put::<ModelKernel, xdp_desc>(ONE, w), &[PublishProducer, ReadConsumer]),
    model("rx in place", |w| take::<ModelKernel, xdp_desc>(ONE, w), &[ReadProducer, PublishConsumer]),
    model("completion in place", |w| take::<ModelKernel, u64>(ONE, w), &[ReadProducer, PublishConsumer]),
    model(
        "completion to fill",
        |w| move_over::<ModelKernel>(ONE, false, w),
        &[ReadProducer, PublishConsumer, PublishProducer],
    ),
    model(
        "completion to fill, ahead",
        |w| move_over::<ModelKernel>(ONE, true, w),
        &[PublishConsumer, PublishProducer, ReadConsumer],
    ),
    // A frame that is handed around orders the slots of the rings it passed, so the consumer index carries nothing here.
    model("full cycle", |w| cycle::<ModelKernel>(AROUND, w), &[ReadProducer, PublishProducer]),
    model("need-wakeup", |w| handshake::<ModelKernel>(SLEEP, w), &[PublishProducer, WakeupFence]),
    model("depot", |w| depot(1, 1, Reads::Loads, w.user), &[PutFrames, TakeFrames]),
    model("returned frames", |w| returned(Reads::Loads, w.user), &[PutFrames, TakeFrames]),
    model("shared frame", |w| shared(Reads::Loads, w.user), &[PutFrames, TakeFrames]),
    model("closing", |w| closing(Reads::Loads, w.user), &[PutFrames, TakeFrames]),
];

/// The model kernel's orderings are Linux's, and stay.
const fn model(name: &'static str, run: fn(Weakened) -> u32, user_leans_on: &'static [Order]) -> Model {
    Model { name, run, user_leans_on, kernel_leans_on: &[] }
}

#[test]
fn the_models_pass_as_the_table_stands() {
    all_pass(&MODELS);
}

#[test]
fn each_row_is_load_bearing() {
    matrix::each_row_is_load_bearing(Side::User, &MODELS, &[]);
}

#[test]
fn the_matrix_knows_every_row() {
    assert_eq!(Order::ALL, KNOWN);
    for order in Order::ALL {
        assert_eq!(law(order).is_some(), order.is_load_bearing(), "{order:?}");
        // A ring moves entries both ways with acquire and release alone; only the fence may cost more.
        let is_fence = order.access() == xsk_core::order::Access::Fence;
        let is_strongest = order.ordering() == std::sync::atomic::Ordering::SeqCst;
        assert_eq!(is_fence, is_strongest, "{order:?}");
    }
}

/// Files besides the table that may name a memory ordering, and why. Ring code never may.
const ALLOWED: [(&str, &str); 7] = [
    ("xsk-cli/src/stop.rs", "a request to end, which carries nothing along"),
    ("xsk-cli/src/threads.rs", "how many packets are left to be moved by all threads: a count"),
    ("xsk-sim/src/fault/inject.rs", "counts how often a fault rule hit"),
    ("xsk-sim/src/fault/mod.rs", "reads that count"),
    ("xsk-sim/src/sim_kernel.rs", "a count of the kernels that were made"),
    ("xsk-sim/src/shared/memory.rs", "the kernel's half of the flags word: Linux has a plain store there"),
    ("xsk-veth/src/process.rs", "a flag that a forked child finds as it was at the fork: nothing to order"),
];

/// The table is the only one: no other source file names a memory ordering.
#[test]
fn no_ordering_hides_outside_the_table() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_workspace =
        fs::read_to_string(here.join("../../Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"));
    let mut files = Vec::new();
    if in_workspace {
        for package in fs::read_dir(here.join("..")).unwrap() {
            rust_files(&package.unwrap().path().join("src"), &mut files);
        }
    } else {
        rust_files(&here.join("src"), &mut files);
    }
    let mut found = Vec::new();
    for file in &files {
        if names_an_ordering(&fs::read_to_string(file).unwrap()) {
            // As `package/src/..`.
            let start = file.components().rev().position(|part| part.as_os_str() == "src").unwrap() + 2;
            let parts: Vec<_> = file.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            found.push(parts[parts.len() - start..].join("/"));
        }
    }
    let own =
        found.iter().position(|path| path == "xsk-core/src/order.rs").expect("the table itself was seen");
    found.swap_remove(own);
    for (allowed, why) in ALLOWED.iter().filter(|_| in_workspace) {
        let listed = found.iter().position(|path| path == allowed);
        found.swap_remove(listed.unwrap_or_else(|| panic!("{allowed} needs no entry any more ({why})")));
    }
    assert!(
        found.is_empty(),
        "{found:?} name memory orderings. Ring code takes them from xsk_core::order; for other code say why in ALLOWED."
    );
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Whether code names a variant of the atomic `Ordering`, or imports its variants, or renames it. Comments may.
fn names_an_ordering(code: &str) -> bool {
    code.lines().map(|line| line.split("//").next().unwrap_or("")).any(|line| {
        let variants = line.match_indices("Ordering::").map(|(at, name)| &line[at + name.len()..]);
        let of_cmp =
            |rest: &str| ["Less", "Equal", "Greater"].iter().any(|variant| rest.starts_with(variant));
        variants.into_iter().any(|rest| !of_cmp(rest)) || line.contains("Ordering as ")
    })
}

#[test]
fn orderings_are_recognised() {
    for code in [
        "x.load(Ordering::Relaxed)",
        "use core::sync::atomic::Ordering::{Acquire, Release};",
        "use core::sync::atomic::Ordering::*;",
        "use core::sync::atomic::{AtomicU32, Ordering as O};",
        "a();\n    fence(std::sync::atomic::Ordering::SeqCst); // why",
    ] {
        assert!(names_an_ordering(code), "{code}");
    }
    for code in ["// Ordering::Relaxed", "a.cmp(&b) == Ordering::Less", "use core::sync::atomic::Ordering;"] {
        assert!(!names_an_ordering(code), "{code}");
    }
}
