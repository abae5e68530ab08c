//! What goes wrong: faults by rule, for as long as a guard lives.
//!
//! The kernel asks its rules at every [`Point`] where something can go wrong; the first rule that answers wins. A rule is a
//! closure or a [`FaultRule`]. All chance comes from the kernel's seed, so a history with faults repeats as any other; while
//! no rule is there, none is drawn.
//!
//! A rule is asked inside the kernel, with its lock held: a call of the same kernel from there never returns.

mod inject;
mod point;
mod rule;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub(crate) use inject::{Faults, Forged, Spot};
pub use point::{Call, DeviceFault, Fault, Moment, Point, Ring};
pub use rule::FaultRule;

use crate::rng::Rng;
use crate::sim_kernel::{Inner, SimKernel};

/// Says what goes wrong where. Closures `FnMut(&Point, &mut Chance) -> Option<Fault>` are rules.
pub trait Rule: Send {
    /// The fault that happens at this point; `None` leaves it to the next rule.
    fn ask(&mut self, point: &Point, chance: &mut Chance<'_>) -> Option<Fault>;
}

impl<F: FnMut(&Point, &mut Chance<'_>) -> Option<Fault> + Send> Rule for F {
    fn ask(&mut self, point: &Point, chance: &mut Chance<'_>) -> Option<Fault> {
        self(point, chance)
    }
}

/// The kernel's seed, for rules.
#[derive(Debug)]
pub struct Chance<'a> {
    rng: &'a mut Rng,
}

impl Chance<'_> {
    /// True with this probability: never at 0 or below, always at 1 or above.
    pub fn happens(&mut self, probability: f64) -> bool {
        const BITS: u32 = 53;
        ((self.rng.next() >> (64 - BITS)) as f64) < probability * (1_u64 << BITS) as f64
    }

    /// A number of the range; its start if it is empty.
    pub fn number(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() { range.start } else { self.rng.range(range) }
    }

    /// A time of the range, in whole nanoseconds; its start if it is empty.
    pub fn time(&mut self, range: Range<Duration>) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.number(nanos(range.start)..nanos(range.end)))
    }
}

/// Withdraws a rule when it is dropped. What the rule stalled goes on then, and the indices that it forged are put right;
/// what it lost stays lost.
#[must_use = "the rule is withdrawn when this is dropped"]
pub struct FaultGuard {
    kernel: Weak<Inner>,
    number: u64,
    hits: Arc<AtomicU64>,
}

impl FaultGuard {
    /// How often the rule answered so far.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        if let Some(inner) = self.kernel.upgrade() {
            let mut kernel = inner.lock();
            let rule = kernel.withdraw(self.number);
            // What a rule captured may be of this very kernel, and its end a call.
            drop(kernel);
            drop(rule);
        }
    }
}

impl fmt::Debug for FaultGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultGuard").field("number", &self.number).field("hits", &self.hits()).finish()
    }
}

impl SimKernel {
    /// Installs a rule of what goes wrong, behind those that are there. It holds until the guard is dropped.
    ///
    /// ```
    /// use xsk::backend::Backend;
    /// use xsk_sim::fault::{Call, Fault, FaultRule, Moment};
    ///
    /// let kernel = xsk_sim::SimKernel::new(1);
    /// let once = kernel.fault(FaultRule::errno(Call::Socket, 23).times(1));
    /// assert_eq!(kernel.socket().unwrap_err().raw_os_error(), Some(23));
    /// assert!(kernel.socket().is_ok());
    /// assert_eq!(once.hits(), 1);
    ///
    /// // A closure is a rule.
    /// let guard = kernel.fault(|point: &xsk_sim::fault::Point, chance: &mut xsk_sim::fault::Chance<'_>| match point.moment {
    ///     Moment::Call(Call::Socket) if chance.happens(0.5) => Some(Fault::Errno(24)),
    ///     _ => None,
    /// });
    /// let failed = (0..100).filter(|_| kernel.socket().is_err()).count();
    /// assert!((20..80).contains(&failed));
    /// drop(guard);
    /// assert!(kernel.socket().is_ok());
    /// ```
    pub fn fault(&self, rule: impl Rule + 'static) -> FaultGuard {
        let hits = Arc::new(AtomicU64::new(0));
        let number = self.lock().faults.install(Box::new(rule), Arc::clone(&hits));
        FaultGuard { kernel: Arc::downgrade(self.inner()), number, hits }
    }
}
