use std::time::Duration;

use crate::arena::Id;
use crate::device::Device;
use crate::skb::Skb;
use crate::socket::Socket;

use super::Kernel;

/// What happens by itself, later.
#[derive(Debug)]
pub(crate) enum Event {
    /// The last reference that the close of a socket left behind goes away.
    ReleaseSocket(Id<Socket>),
    /// The thread of a queue's NAPI runs.
    Napi { device: Id<Device>, queue: u32 },
    /// A packet that a shaper held is freed.
    Free(Box<Skb>),
    /// Work that was too much for the end of a call goes on.
    Softirqs,
}

impl Event {
    /// The packet that it is about.
    pub(crate) fn skb(&self) -> Option<&Skb> {
        match self {
            Self::Free(skb) => Some(skb),
            _ => None,
        }
    }
}

/// What one call costs, so that a loop that waits for a moment by calling gets there.
const CALL: Duration = Duration::from_micros(1);

impl Kernel {
    /// Time passes for a call, and what is due by then happens.
    pub(crate) fn tick(&mut self) {
        self.run_until(self.clock.now() + CALL);
    }

    /// Does everything that is planned up to `moment`, and moves time there.
    pub(crate) fn run_until(&mut self, moment: Duration) {
        while self.crash.is_none() && self.step(moment) {}
        self.clock.advance_to(moment);
    }

    /// Does what is planned next, if that is not later than `limit`. False if there is nothing.
    pub(crate) fn step(&mut self, limit: Duration) -> bool {
        let Some(event) = self.clock.take(limit) else { return false };
        match event {
            Event::ReleaseSocket(socket) => self.release_later(socket),
            Event::Napi { device, queue } => self.napi_thread(device, queue),
            Event::Free(skb) => self.free_skb(*skb),
            Event::Softirqs => {}
        }
        self.run_softirqs();
        true
    }
}
