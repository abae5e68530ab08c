use std::time::Duration;

use crate::arena::Id;
use crate::device::{Device, Softirq};
use crate::fault::DeviceFault;
use crate::pool::Pool;
use crate::skb::{Owner, Skb};
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
    /// A frame comes in from the wire of a card.
    Wire { device: Id<Device>, queue: u32, frame: Box<[u8]> },
    /// The device reads and sends the next packet of a zero-copy queue.
    Sent(Id<Pool>),
    /// Work that was too much for the end of a call goes on.
    Softirqs,
    /// Work that a fault held back.
    Late(Box<Softirq>),
    /// A packet that a fault held back goes out of a device, or comes into one from the wire.
    Packet { device: Id<Device>, skb: Box<Skb>, inward: bool },
    /// A completion that a fault held back.
    Complete(Box<Owner>),
    /// Something happens to a device.
    Device(Id<Device>, DeviceFault),
    /// A device comes up again.
    Up(Id<Device>),
}

impl Event {
    /// The socket's packet that it is about.
    pub(crate) fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Free(skb) | Self::Packet { skb, .. } => skb.owner.as_ref(),
            Self::Late(softirq) => softirq.skb()?.owner.as_ref(),
            Self::Complete(owner) => Some(owner),
            _ => None,
        }
    }
}

/// What one call costs, so that a loop that waits for a moment by calling gets there.
const CALL: Duration = Duration::from_micros(1);

impl Kernel {
    /// Time passes for a call, and what is due by then happens. In the background both happen by themselves.
    pub(crate) fn tick(&mut self) {
        if self.running.is_none() {
            self.run_until(self.clock.now().saturating_add(CALL));
        }
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
            Event::Free(skb) => self.free_skb(skb),
            Event::Wire { device, queue, frame } => {
                let card = &self.devices[device];
                if !card.gone && queue < card.rx_queues {
                    self.wire_receive(device, queue, &frame);
                }
            }
            Event::Sent(pool) => self.device_sends(pool),
            Event::Softirqs => {}
            Event::Late(softirq) => self.late_softirq(*softirq),
            Event::Packet { device, skb, inward } => self.late_packet(device, skb, inward),
            Event::Complete(owner) => self.complete_late(&owner),
            Event::Device(device, fault) => self.device_fault(device, fault),
            Event::Up(device) if self.devices[device].gone => {}
            Event::Up(device) => self.set_up(device, true),
        }
        self.run_softirqs();
        self.look_at_rings();
        true
    }
}
