//! Ctrl-C, SIGTERM and SIGHUP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request to end. Clones are the same request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A request that the signals set. A second signal ends the process at once; the kernel detaches what it attached.
    pub(crate) fn on_signals() -> Self {
        let stop = Self::default();
        let (asked, signalled) = (stop.clone(), AtomicBool::new(false));
        // Fails only if there is a handler already: then the default action ends the process.
        let _ = ctrlc::set_handler(move || {
            asked.ask();
            if signalled.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        });
        stop
    }

    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
