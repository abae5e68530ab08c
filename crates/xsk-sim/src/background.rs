//! Threaded mode: the kernel in a thread of its own, in real time, beside the threads of its users.
//!
//! What is planned happens in that thread, and so does part of what a call leaves for its end: where work runs is Linux's
//! freedom as well. User threads move entries on their rings meanwhile, without any call. Calls still take their turns.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use xsk::backend::Poll;

use crate::clock::Alarm;
use crate::error::Sys;
use crate::kernel::{Event, Kernel};
use crate::sim_kernel::{Inner, SimKernel};
use crate::socket::Looked;

/// What threads of a kernel in the background wait on.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    /// The kernel's own thread: there is something to do sooner than it knew.
    pub(crate) work: Arc<Condvar>,
    /// Polls: somebody was woken.
    pub(crate) polls: Condvar,
}

/// How a kernel runs in the background.
#[derive(Debug)]
pub(crate) struct Running {
    /// The kernel's time at `start`.
    base: Duration,
    start: Instant,
    stopping: bool,
    /// What happens now happens in the kernel's own thread.
    in_thread: bool,
}

/// How often a kernel with nothing else to do looks at what users change without a call.
const LOOK: Duration = Duration::from_millis(1);

/// A kernel runs in the background for as long as this lives: see [`SimKernel::run_in_background`].
#[must_use = "dropping it stops the kernel's thread"]
pub struct Background {
    kernel: SimKernel,
    thread: Option<JoinHandle<()>>,
}

impl SimKernel {
    /// As [`new`](Self::new), and in the background at once.
    ///
    /// # Errors
    /// As [`run_in_background`](Self::run_in_background).
    pub fn threaded(seed: u64) -> io::Result<(Self, Background)> {
        let kernel = Self::new(seed);
        let background = kernel.run_in_background()?;
        Ok((kernel, background))
    }

    /// Runs the kernel in a thread of its own, in real time, until the guard is dropped. What is planned happens by itself,
    /// while user threads fill and empty their rings; [`poll`](xsk::backend::Backend::poll) and
    /// [`sleep`](xsk::backend::Backend::sleep) block for real, and descriptors
    /// ([`fd`](xsk::backend::Backend::fd)) become ready. [`step`](Self::step) has nothing to do meanwhile.
    ///
    /// Nothing is deterministic then. When the guard is gone, the kernel stands still again at the moment that it has come
    /// to; a poll that still waits goes on in virtual time.
    ///
    /// # Errors
    /// `ErrorKind::AlreadyExists`: it runs already. There can be no more threads.
    pub fn run_in_background(&self) -> io::Result<Background> {
        let mut kernel = self.lock();
        if kernel.running.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the kernel is in the background already",
            ));
        }
        let inner = Arc::clone(self.inner());
        let thread = std::thread::Builder::new().name("xsk-sim".to_owned()).spawn(move || run(&inner))?;
        let base = kernel.clock.now();
        kernel.running = Some(Running { base, start: Instant::now(), stopping: false, in_thread: false });
        Ok(Background { kernel: self.clone(), thread: Some(thread) })
    }

    /// `poll`, in virtual time or blocking.
    pub(crate) fn poll_on<'a>(
        &'a self,
        mut kernel: MutexGuard<'a, Kernel>,
        polls: &mut [Poll],
        timeout_ms: i32,
    ) -> (MutexGuard<'a, Kernel>, Sys<usize>) {
        let mut poller = match kernel.begin_poll(polls, timeout_ms) {
            Ok(poller) => poller,
            Err(failure) => return (kernel, Err(failure)),
        };
        let result = loop {
            match kernel.look_at(&mut poller, polls) {
                Ok(Looked::Done(ready)) => break Ok(ready),
                Ok(Looked::Nothing) => {}
                Err(failure) => break Err(failure),
            }
            while kernel.running.is_some() && !kernel.is_woken(&poller) && kernel.crash.is_none() {
                let left = poller.deadline().map(|deadline| deadline.saturating_sub(kernel.clock.now()));
                if left.is_some_and(|left| left.is_zero()) {
                    break;
                }
                kernel = wait(&self.inner().bells().polls, kernel, left);
            }
            if let Err(failure) = kernel.await_wakeup(&mut poller) {
                break Err(failure);
            }
        };
        kernel.end_poll(poller);
        (kernel, result)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(running) = &mut self.kernel.lock().running {
            running.stopping = true;
        }
        self.kernel.inner().bells().work.notify_all();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            // A program or a rule of the user panicked in the kernel's thread.
            std::panic::resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("kernel", &self.kernel).finish_non_exhaustive()
    }
}

/// Waits with the kernel unlocked, and tells it the time afterwards.
fn wait<'a>(
    bell: &Condvar,
    kernel: MutexGuard<'a, Kernel>,
    limit: Option<Duration>,
) -> MutexGuard<'a, Kernel> {
    let mut kernel = match limit {
        Some(limit) => bell.wait_timeout(kernel, limit).unwrap_or_else(PoisonError::into_inner).0,
        None => bell.wait(kernel).unwrap_or_else(PoisonError::into_inner),
    };
    kernel.catch_up();
    kernel
}

/// However the thread ends, the kernel is no longer in the background then.
struct End<'a>(&'a Inner);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut kernel = self.0.lock();
        kernel.running = None;
        kernel.clock.set_alarm(None);
        self.0.bells().polls.notify_all();
    }
}

/// The kernel's own thread.
fn run(inner: &Inner) {
    let _end = End(inner);
    let mut kernel = inner.lock();
    while kernel.running.as_ref().is_some_and(|running| !running.stopping) {
        if kernel.step_in_thread() {
            // Between two events calls get their turn.
            drop(kernel);
            kernel = inner.lock();
            continue;
        }
        let looks_again = kernel.look_at_users();
        let now = kernel.clock.now();
        let next = kernel.clock.next_moment().filter(|_| kernel.crash.is_none());
        let look = looks_again.then(|| now.saturating_add(LOOK));
        let until = next.into_iter().chain(look).min();
        kernel.clock.set_alarm(Some(Alarm {
            moment: until.unwrap_or(Duration::MAX),
            bell: Arc::clone(&inner.bells().work),
        }));
        kernel = wait(&inner.bells().work, kernel, until.map(|until| until.saturating_sub(now)));
        kernel.clock.set_alarm(None);
    }
}

impl Kernel {
    /// In the background time is real: it is what it is whenever somebody comes in.
    pub(crate) fn catch_up(&mut self) {
        if let Some(running) = &self.running {
            self.clock.advance_to(running.base.saturating_add(running.start.elapsed()));
        }
    }

    /// Does one thing that is due. False if nothing is.
    fn step_in_thread(&mut self) -> bool {
        if self.crash.is_some() {
            return false;
        }
        self.set_in_thread(true);
        let stepped = self.step(self.clock.now());
        self.set_in_thread(false);
        if self.crash.is_some() {
            // Every call fails with it, those that wait as well.
            self.bells.polls.notify_all();
        }
        stepped
    }

    fn set_in_thread(&mut self, in_thread: bool) {
        if let Some(running) = &mut self.running {
            running.in_thread = in_thread;
        }
    }

    /// Whether what is left to do at the end of a call is left to the kernel's thread: sometimes.
    pub(crate) fn leaves_work(&mut self) -> bool {
        let beside = self.running.as_ref().is_some_and(|running| !running.in_thread && !running.stopping);
        if !beside || self.rng.next() & 1 == 0 {
            return false;
        }
        self.clock.plan(Duration::ZERO, Event::Softirqs);
        true
    }

    /// What users changed without a call. True if that has to be looked at again soon.
    fn look_at_users(&mut self) -> bool {
        self.refresh_descriptors()
    }
}
