//! Virtual time, and what happens at which moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar};
use std::time::Duration;

/// Wakes whoever waits for the next event, if one is planned for an earlier moment.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) moment: Duration,
    pub(crate) bell: Arc<Condvar>,
}

/// What a kernel does later, by itself.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    now: Duration,
    /// By moment, then in the order in which they were planned.
    events: BTreeMap<(Duration, u64), E>,
    planned: u64,
    alarm: Option<Alarm>,
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Self { now: Duration::ZERO, events: BTreeMap::new(), planned: 0, alarm: None }
    }
}

impl<E> Clock<E> {
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Plans an event `after` this moment.
    pub(crate) fn plan(&mut self, after: Duration, event: E) {
        self.planned += 1;
        let moment = self.now.saturating_add(after);
        self.events.insert((moment, self.planned), event);
        if let Some(alarm) = self.alarm.take_if(|alarm| moment < alarm.moment) {
            alarm.bell.notify_all();
        }
    }

    pub(crate) fn set_alarm(&mut self, alarm: Option<Alarm>) {
        self.alarm = alarm;
    }

    /// The moment of the next event.
    pub(crate) fn next_moment(&self) -> Option<Duration> {
        self.events.first_key_value().map(|((moment, _), _)| *moment)
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
