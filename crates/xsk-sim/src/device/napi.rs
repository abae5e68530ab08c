use crate::arena::Id;
use crate::fault::{Fault, Moment, Spot};
use crate::kernel::{Event, Kernel};
use crate::skb::Skb;
use crate::trace::{DropCause, What};
use crate::xdp::Mode;

use super::Device;

/// Work at the end of a call.
#[derive(Debug)]
pub(crate) enum Softirq {
    /// A packet for the stack of a device.
    Backlog { device: Id<Device>, skb: Box<Skb> },
    /// NAPI of a receive queue.
    Napi { device: Id<Device>, queue: u32 },
}

impl Softirq {
    /// The packet that it is about.
    pub(crate) fn skb(&self) -> Option<&Skb> {
        match self {
            Self::Backlog { skb, .. } => Some(skb),
            Self::Napi { .. } => None,
        }
    }
}

/// Packets of one NAPI poll (`include/linux/netdevice.h:NAPI_POLL_WEIGHT`).
const NAPI_BUDGET: usize = 64;
/// How often work that makes new work is done before the rest is left to a thread
/// (`kernel/softirq.c:MAX_SOFTIRQ_RESTART`).
const ROUNDS: usize = 10;

impl Kernel {
    #[inline]
    pub(crate) fn schedule_napi(&mut self, device: Id<Device>, queue: u32) {
        if self.devices[device].threaded {
            let after = self.rng.micros(20..200);
            self.clock.plan(after, Event::Napi { device, queue });
        } else {
            self.softirqs.push_back(Softirq::Napi { device, queue });
        }
    }

    /// Does what is left to do at the end of a call. Packets that go round and round are left to a later moment.
    pub(crate) fn run_softirqs(&mut self) {
        if self.in_softirq || self.softirqs.is_empty() || self.leaves_work() {
            return;
        }
        self.in_softirq = true;
        for _ in 0..ROUNDS {
            for _ in 0..self.softirqs.len() {
                if self.crash.is_some() {
                    break;
                }
                if let Some(softirq) = self.softirqs.pop_front() {
                    self.softirq(softirq);
                }
            }
            if self.softirqs.is_empty() {
                break;
            }
        }
        if !self.softirqs.is_empty() {
            let after = self.rng.micros(5..50);
            self.clock.plan(after, Event::Softirqs);
        }
        self.in_softirq = false;
    }

    /// The thread of a queue's NAPI.
    pub(crate) fn napi_thread(&mut self, device: Id<Device>, queue: u32) {
        self.in_softirq = true;
        self.softirq(Softirq::Napi { device, queue });
        self.in_softirq = false;
    }

    #[inline]
    fn softirq(&mut self, softirq: Softirq) {
        if self.faults.are_off() { self.softirq_now(softirq) } else { self.softirq_by_rules(softirq) }
    }

    #[cold]
    fn softirq_by_rules(&mut self, softirq: Softirq) {
        let spot = match &softirq {
            Softirq::Backlog { device, .. } => Spot { device: Some(*device), ..Spot::default() },
            Softirq::Napi { device, queue } => Spot::device(*device, *queue),
        };
        match self.ask(spot, Moment::Napi) {
            Some(Fault::Delay(time)) => self.clock.plan(time, Event::Late(Box::new(softirq))),
            Some(Fault::Stall) => self.faults.stalled.push(softirq),
            _ => self.softirq_now(softirq),
        }
    }

    #[inline]
    fn softirq_now(&mut self, softirq: Softirq) {
        match softirq {
            Softirq::Backlog { device, skb } => self.backlog(device, skb),
            Softirq::Napi { device, queue } => {
                if self.devices[device].zc_segments == 0 || !self.zero_copy_poll(device, queue) {
                    self.napi_poll(device, queue);
                }
            }
        }
    }

    /// What a fault held back is done, whatever the rules say now.
    pub(crate) fn late_softirq(&mut self, softirq: Softirq) {
        self.in_softirq = true;
        self.softirq_now(softirq);
        self.in_softirq = false;
    }

    /// One NAPI poll of a veth (`drivers/net/veth.c:veth_poll`): sockets see what it delivered at its end.
    fn napi_poll(&mut self, device: Id<Device>, queue: u32) {
        let mut delivered = std::mem::take(&mut self.delivered);
        if self.recorder.is_some() {
            self.note_poll(device, queue);
        }
        for _ in 0..NAPI_BUDGET {
            let Some(skb) = self.devices[device].ring(queue).pop_front() else { break };
            self.native_packet(device, queue, skb, &mut delivered);
            if self.crash.is_some() {
                return;
            }
        }
        for socket in &delivered {
            self.flush(*socket);
        }
        delivered.clear();
        self.delivered = delivered;
        if !self.devices[device].ring(queue).is_empty() {
            self.schedule_napi(device, queue);
        }
    }

    #[cold]
    fn note_poll(&mut self, device: Id<Device>, queue: u32) {
        let waiting = self.devices[device].ring(queue).len();
        let packets = waiting.min(NAPI_BUDGET) as u32;
        self.note(None, Some(device), || What::Napi { queue, packets });
    }

    /// A packet from the backlog of the processor (`net/core/dev.c:__netif_receive_skb_core`).
    fn backlog(&mut self, device: Id<Device>, skb: Box<Skb>) {
        if !self.devices[device].up {
            self.note_drop(device, skb.data.len(), DropCause::LinkDown);
            self.free_skb(skb);
            return;
        }
        match self.program_of(device) {
            Some((program, Mode::Skb)) => self.generic_packet(device, program, skb),
            _ => self.pass_to_stack(device, skb),
        }
    }

    /// Frees what waits for the NAPI of a device: it went down, or lost its native program.
    pub(crate) fn free_waiting(&mut self, device: Id<Device>) {
        let rings = std::mem::take(&mut self.devices[device].rings);
        for skb in rings.into_iter().flatten() {
            self.note_drop(device, skb.data.len(), DropCause::LinkDown);
            self.free_skb(skb);
        }
    }
}
