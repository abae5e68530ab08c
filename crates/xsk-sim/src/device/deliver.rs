use crate::arena::Id;
use crate::kernel::{Event, Kernel};
use crate::skb::Skb;
use crate::socket::Socket;
use crate::trace::DropCause;
use crate::xdp::{Program, Verdict};

use super::{Device, Kind, Softirq};

impl Kernel {
    /// A packet meets a program in SKB mode (`net/core/dev.c:do_xdp_generic`).
    pub(super) fn generic_packet(&mut self, device: Id<Device>, program: Id<Program>, skb: Skb) {
        let Skb { data, queue, owner } = skb;
        // The stack takes the queue that it was sent on for the one that it was received on, plus one.
        let queue = match queue.saturating_sub(1) {
            queue if queue < self.devices[device].rx_queues => queue,
            _ => 0,
        };
        let (verdict, packet) = self.run_program(program, device, queue, data);
        match verdict {
            Verdict::Socket(socket) => {
                if let Err(failure) = self.generic_receive(socket, device, queue, &packet) {
                    self.devices[device].rx_dropped += 1;
                    self.note_drop(device, packet.len(), failure.into());
                }
                self.give_buffer(packet.into_buffer());
                self.complete(owner);
            }
            Verdict::Pass => self.pass_to_stack(device, Skb { data: packet.into_packet(), queue, owner }),
            Verdict::Tx => self.generic_tx(device, Skb { data: packet.into_packet(), queue, owner }),
            Verdict::Device(to) => self.generic_tx(to, Skb { data: packet.into_packet(), queue: 0, owner }),
            Verdict::Drop => {
                self.devices[device].rx_dropped += 1;
                self.note_drop(device, packet.len(), DropCause::Program);
                self.give_buffer(packet.into_buffer());
                self.complete(owner);
            }
        }
    }

    /// `net/core/dev.c:generic_xdp_tx`.
    fn generic_tx(&mut self, device: Id<Device>, skb: Skb) {
        if !self.devices[device].up {
            self.free_skb(skb);
            return;
        }
        if let super::Xmit::Busy(skb) = self.xmit(device, skb) {
            self.free_skb(skb);
        }
    }

    /// A packet meets a program in native mode (`drivers/net/veth.c:veth_xdp_rcv_skb`). Sockets that got it join
    /// `delivered`.
    pub(super) fn native_packet(
        &mut self,
        device: Id<Device>,
        queue: u32,
        skb: Skb,
        delivered: &mut Vec<Id<Socket>>,
    ) {
        let Some((program, _)) = self.program_of(device).filter(|_| self.devices[device].is_native()) else {
            self.pass_to_stack(device, skb);
            return;
        };
        // The program gets a copy, with more headroom; the packet itself is freed.
        let Skb { data, owner, .. } = skb;
        self.complete(owner);
        let (verdict, packet) = self.run_program(program, device, queue, data);
        match verdict {
            Verdict::Socket(socket) => {
                match self.native_receive(socket, device, queue, &packet) {
                    Ok(()) if !delivered.contains(&socket) => delivered.push(socket),
                    Ok(()) => {}
                    Err(failure) => {
                        self.devices[device].rx_dropped += 1;
                        self.note_drop(device, packet.len(), failure.into());
                    }
                }
                self.give_buffer(packet.into_buffer());
            }
            Verdict::Pass => {
                self.pass_to_stack(device, Skb { data: packet.into_packet(), queue, owner: None })
            }
            Verdict::Tx => self.native_tx(device, queue, packet.into_packet()),
            Verdict::Device(to) => self.native_tx(to, queue, packet.into_packet()),
            Verdict::Drop => {
                self.devices[device].rx_dropped += 1;
                self.note_drop(device, packet.len(), DropCause::Program);
                self.give_buffer(packet.into_buffer());
            }
        }
    }

    /// A frame of native XDP leaves through a device: a veth's peer has to run NAPI, or it is lost.
    fn native_tx(&mut self, device: Id<Device>, queue: u32, data: Vec<u8>) {
        let has_receiver = match self.devices[device].kind {
            Kind::Veth { peer: Some(peer) } => self.devices[peer].is_native() && self.devices[peer].up,
            Kind::Veth { peer: None } | Kind::Loopback => false,
            Kind::Wire => true,
        };
        if !has_receiver || !self.devices[device].up {
            self.devices[device].tx_dropped += 1;
            self.give_buffer(data);
            return;
        }
        if let super::Xmit::Busy(skb) = self.xmit(device, Skb { data, queue, owner: None }) {
            self.free_skb(skb);
        }
    }

    /// The stack gets a packet. It may take its time to free it.
    pub(super) fn pass_to_stack(&mut self, device: Id<Device>, skb: Skb) {
        let device = &mut self.devices[device];
        let delay = device.stack_delay;
        if delay.is_zero() {
            let Skb { data, owner, .. } = skb;
            device.stack.push_back(data);
            self.complete(owner);
        } else {
            device.stack.push_back(skb.data.clone());
            self.clock.plan(delay, Event::Free(Box::new(skb)));
        }
    }

    /// A frame from the wire of a network card.
    pub(crate) fn wire_receive(&mut self, id: Id<Device>, queue: u32, frame: &[u8]) {
        let skb = self.host_skb(frame, queue);
        if !self.devices[id].up {
            self.note_drop(id, frame.len(), DropCause::LinkDown);
            self.free_skb(skb);
            return;
        }
        if let Some(skb) = self.packet_faults(id, skb, true) {
            self.wire_packet(id, skb);
        }
        self.run_softirqs();
    }

    pub(super) fn wire_packet(&mut self, id: Id<Device>, skb: Skb) {
        let queue = skb.queue;
        if self.devices[id].is_native() {
            let ring = self.devices[id].rings.entry(queue).or_default();
            ring.push_back(skb);
            if ring.len() == 1 {
                self.schedule_napi(id, queue);
            }
        } else {
            // Network cards record the receive queue.
            let skb = Skb { queue: queue + 1, ..skb };
            self.softirqs.push_back(Softirq::Backlog { device: id, skb });
        }
    }
}
