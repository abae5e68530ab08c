//! Virtual time, and what happens at which moment.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a kernel does later, by itself.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    now: Duration,
    /// By moment, then in the order in which they were planned.
    events: BTreeMap<(Duration, u64), E>,
    planned: u64,
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Self { now: Duration::ZERO, events: BTreeMap::new(), planned: 0 }
    }
}

impl<E> Clock<E> {
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Plans an event `after` this moment.
    pub(crate) fn plan(&mut self, after: Duration, event: E) {
        self.planned += 1;
        self.events.insert((self.now.saturating_add(after), self.planned), event);
    }

    /// Takes the next event that is not later than `limit`, and moves time to its moment.
    pub(crate) fn take(&mut self, limit: Duration) -> Option<E> {
        let entry = self.events.first_entry().filter(|entry| entry.key().0 <= limit)?;
        let ((moment, _), event) = entry.remove_entry();
        self.now = self.now.max(moment);
        Some(event)
    }

    /// Moves time to `moment`, if that is not in the past.
    pub(crate) fn advance_to(&mut self, moment: Duration) {
        self.now = self.now.max(moment);
    }

    /// What is planned, in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &E> {
        self.events.values()
    }

    /// How many events are planned.
    pub(crate) fn pending(&self) -> usize {
        self.events.len()
    }
}
