use std::time::Duration;

use crate::arena::Id;
use crate::fault::{Fault, Moment, Spot};
use crate::kernel::{Event, Kernel};
use crate::skb::Skb;
use crate::trace::{DropCause, What};

use super::{Device, Kind, Qdisc, Softirq};

/// What became of a packet that was given to a device.
#[derive(Debug)]
pub(crate) enum Xmit {
    Sent,
    /// The driver dropped it.
    Dropped,
    /// The driver has no room just now; here it is back.
    Busy(Box<Skb>),
}

/// Packets that a queue of a veth holds for NAPI (`drivers/net/veth.c:VETH_RING_SIZE`).
const VETH_RING: usize = 256;
/// Bytes of an Ethernet header.
const ETH_HLEN: usize = 14;

impl Kernel {
    /// Sends a packet on a queue of a device, past its qdisc, and does the work that follows from it
    /// (`net/core/dev.c:__dev_direct_xmit`).
    pub(crate) fn direct_xmit(&mut self, id: Id<Device>, queue: u32, mut skb: Box<Skb>) -> Xmit {
        skb.queue = queue;
        let result = if self.has_carrier(id) { self.xmit(id, skb) } else { self.drop_tx(id, skb) };
        self.run_softirqs();
        result
    }

    /// The driver's transmit.
    #[inline]
    pub(crate) fn xmit(&mut self, id: Id<Device>, skb: Box<Skb>) -> Xmit {
        let len = skb.data.len() as u32;
        self.note(None, Some(id), || What::Packet { len, queue: skb.queue });
        match self.packet_faults(id, skb, false) {
            Some(skb) => self.xmit_now(id, skb),
            None => Xmit::Sent,
        }
    }

    /// The rules on a packet on its way. Nothing is left to do if it is `None`.
    #[inline]
    pub(super) fn packet_faults(&mut self, id: Id<Device>, skb: Box<Skb>, inward: bool) -> Option<Box<Skb>> {
        if self.faults.are_off() { Some(skb) } else { self.packet_rules(id, skb, inward) }
    }

    #[cold]
    fn packet_rules(&mut self, id: Id<Device>, skb: Box<Skb>, inward: bool) -> Option<Box<Skb>> {
        let len = skb.data.len() as u32;
        match self.ask(Spot::device(id, skb.queue), Moment::Packet { len }) {
            Some(Fault::Lose) => {
                self.note_drop(id, len as usize, DropCause::Fault);
                self.free_skb(skb);
                None
            }
            Some(Fault::Delay(time)) => {
                self.clock.plan(time, Event::Packet { device: id, skb, inward });
                None
            }
            _ => Some(skb),
        }
    }

    /// A packet that a fault held back.
    pub(crate) fn late_packet(&mut self, id: Id<Device>, skb: Box<Skb>, inward: bool) {
        if !self.devices[id].up || self.devices[id].gone {
            self.drop_tx(id, skb);
        } else if inward {
            self.wire_packet(id, skb);
        } else if let Xmit::Busy(skb) = self.xmit_now(id, skb) {
            self.drop_tx(id, skb);
        }
    }

    #[inline]
    fn xmit_now(&mut self, id: Id<Device>, mut skb: Box<Skb>) -> Xmit {
        match self.devices[id].kind {
            Kind::Veth { peer } => self.veth_xmit(id, peer, skb),
            Kind::Loopback if skb.data.len() < ETH_HLEN => self.drop_tx(id, skb),
            Kind::Loopback => {
                // The loopback device takes the packet from its socket at once.
                self.orphan(&mut skb);
                self.softirqs.push_back(Softirq::Backlog { device: id, skb });
                Xmit::Sent
            }
            Kind::Wire => {
                if !(ETH_HLEN..=self.devices[id].frame_max()).contains(&skb.data.len()) {
                    return self.drop_tx(id, skb);
                }
                self.orphan(&mut skb);
                match self.devices[id].cable {
                    Some(other) => self.cross_cable(other, skb),
                    None => {
                        let now = self.clock.now();
                        self.devices[id].wire.push_back((now, skb));
                    }
                }
                Xmit::Sent
            }
        }
    }

    /// A frame goes over the cable between two cards, to the queue of the same number if there is one.
    #[cold]
    fn cross_cable(&mut self, to: Id<Device>, skb: Box<Skb>) {
        const CABLE: Duration = Duration::from_micros(1);
        let queue = skb.queue % self.devices[to].rx_queues;
        let frame = self.take_bytes(skb).into();
        self.clock.plan(CABLE, Event::Wire { device: to, queue, frame });
    }

    /// `drivers/net/veth.c:veth_xmit`.
    #[inline]
    fn veth_xmit(&mut self, id: Id<Device>, peer: Option<Id<Device>>, skb: Box<Skb>) -> Xmit {
        let Some(peer) = peer else { return self.drop_tx(id, skb) };
        let receiver = &mut self.devices[peer];
        let fits = (ETH_HLEN..=receiver.frame_max()).contains(&skb.data.len());
        if !fits || !receiver.up {
            return self.drop_tx(id, skb);
        }
        let queue = skb.queue;
        if !receiver.is_native() || queue >= receiver.rx_queues {
            self.softirqs.push_back(Softirq::Backlog { device: peer, skb });
            return Xmit::Sent;
        }
        let ring = receiver.ring(queue);
        if ring.len() >= VETH_RING {
            return match self.devices[id].qdisc {
                Qdisc::None => self.drop_tx(id, skb),
                Qdisc::Fifo => Xmit::Busy(skb),
            };
        }
        ring.push_back(skb);
        if ring.len() == 1 {
            self.schedule_napi(peer, queue);
        }
        Xmit::Sent
    }

    #[cold]
    fn drop_tx(&mut self, id: Id<Device>, skb: Box<Skb>) -> Xmit {
        self.devices[id].tx_dropped += 1;
        let up = self.has_carrier(id);
        let cause = if up { DropCause::Driver } else { DropCause::LinkDown };
        self.note_drop(id, skb.data.len(), cause);
        self.free_skb(skb);
        Xmit::Dropped
    }
}
