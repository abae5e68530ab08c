//! Running a model over its interleavings, and catching its failure.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use loom::model::Builder;

/// What a search saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Interleavings, a failing one included.
    pub executions: usize,
    /// The most that a model returned: how far the furthest of them came. A search in which the two sides never meet
    /// proves nothing.
    pub most: u32,
}

/// How a model came out.
#[derive(Debug)]
pub enum Outcome {
    /// No interleaving breaks a law.
    Passed(Seen),
    /// One does.
    Failed {
        /// What was seen until then.
        seen: Seen,
        /// What the failing one said.
        message: String,
    },
}

#[derive(Default)]
struct Counters {
    executions: AtomicUsize,
    most: AtomicU32,
}

impl Counters {
    fn seen(&self) -> Seen {
        Seen { executions: self.executions.load(Ordering::Relaxed), most: self.most.load(Ordering::Relaxed) }
    }
}

fn run(preemptions: Option<usize>, counters: Arc<Counters>, model: impl Fn() -> u32 + Send + Sync + 'static) {
    let mut builder = Builder::new();
    // `LOOM_MAX_PREEMPTIONS` is for longer campaigns: it deepens a bounded model, and never cuts a complete one short.
    builder.preemption_bound = preemptions.map(|ours| builder.preemption_bound.unwrap_or(0).max(ours));
    builder.check(move || {
        counters.executions.fetch_add(1, Ordering::Relaxed);
        counters.most.fetch_max(model(), Ordering::Relaxed);
    });
}

/// Runs `model` over all its interleavings with at most `preemptions` forced switches (`None`: all). Panics if one fails.
pub fn check(preemptions: Option<usize>, model: impl Fn() -> u32 + Send + Sync + 'static) -> Seen {
    let counters = Arc::new(Counters::default());
    run(preemptions, Arc::clone(&counters), model);
    counters.seen()
}

/// Says what a search saw, for a campaign to report.
#[expect(clippy::print_stdout, reason = "what a campaign reports")]
pub fn note(name: &str, bound: Option<usize>, shape: &dyn fmt::Debug, seen: Seen) {
    let bound = bound.map_or_else(|| "complete".to_owned(), |n| format!("{n} forced switches or more"));
    println!("loom: {name}: {} executions, {bound}: {shape:?}", seen.executions);
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// As [`check`], but a failure is an outcome and says nothing on standard error.
pub fn explore(preemptions: Option<usize>, model: impl Fn() -> u32 + Send + Sync + 'static) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Loom's threads are coroutines of the thread that called `explore`, so its thread-local is theirs.
            if !SILENT.get() {
                before(info);
            }
        }));
    });
    let counters = Arc::new(Counters::default());
    let shared = Arc::clone(&counters);
    SILENT.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| run(preemptions, shared, model)));
    SILENT.set(false);
    let seen = counters.seen();
    match result {
        Ok(()) => Outcome::Passed(seen),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            Outcome::Failed { seen, message: text.unwrap_or_else(|| "a panic without a text".into()) }
        }
    }
}
