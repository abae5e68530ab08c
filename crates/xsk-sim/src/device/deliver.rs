use crate::arena::Id;
use crate::kernel::{Event, Kernel};
use crate::skb::Skb;
use crate::socket::Socket;
use crate::trace::DropCause;
use crate::xdp::{HEAD_MAX, Mode, Program, Verdict};

use super::{Device, Kind, Softirq};

impl Kernel {
    /// A packet meets a program in SKB mode (`net/core/dev.c:do_xdp_generic`).
    pub(super) fn generic_packet(&mut self, device: Id<Device>, program: Id<Program>, mut skb: Box<Skb>) {
        // The stack takes the queue that it was sent on for the one that it was received on, plus one.
        let queue = match skb.queue.saturating_sub(1) {
            queue if queue < self.devices[device].rx_queues => queue,
            _ => 0,
        };
        skb.queue = queue;
        if self.programs[program].frags {
            // The program gets a copy (net/core/skbuff.c:skb_pp_cow_data); the packet itself is freed.
            self.orphan(&mut skb);
        }
        let verdict = self.run_program(program, device, Mode::Skb, &mut skb);
        let Verdict::Socket(socket) = verdict else {
            return self.leave(device, Mode::Skb, verdict, skb);
        };
        if let Err(failure) = self.generic_receive(socket, device, queue, &skb.data) {
            // The device does not count it.
            self.note_drop(device, skb.data.len(), failure.into());
        }
        skb.data.end();
        self.free_skb(skb);
    }

    /// A packet whose program did not give it to a socket.
    pub(crate) fn leave(&mut self, device: Id<Device>, mode: Mode, verdict: Verdict, mut skb: Box<Skb>) {
        skb.data.end();
        match (verdict, mode) {
            (Verdict::Pass, _) => self.pass_to_stack(device, skb),
            (Verdict::Tx, Mode::Skb) => self.generic_tx(device, skb),
            (Verdict::Tx, Mode::Native) => self.native_tx(device, skb),
            (Verdict::Device(to), Mode::Skb) => {
                skb.queue = 0;
                self.generic_tx(to, skb);
            }
            (Verdict::Device(to), Mode::Native) => self.native_tx(to, skb),
            (Verdict::Drop | Verdict::Socket(_), _) => {
                self.note_drop(device, skb.data.len(), DropCause::Program);
                self.free_skb(skb);
            }
        }
    }

    /// `net/core/dev.c:generic_xdp_tx`.
    fn generic_tx(&mut self, device: Id<Device>, skb: Box<Skb>) {
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
        mut skb: Box<Skb>,
        delivered: &mut Vec<Id<Socket>>,
    ) {
        let Some((program, Mode::Native)) = self.program_of(device) else {
            self.pass_to_stack(device, skb);
            return;
        };
        // The program gets a copy, with more headroom; the packet itself is freed.
        self.orphan(&mut skb);
        skb.queue = queue;
        let veth = matches!(self.devices[device].kind, Kind::Veth { .. });
        if self.profile.native_takes_one_page && veth && skb.data.len() > HEAD_MAX {
            self.devices[device].rx_dropped += 1;
            self.note_drop(device, skb.data.len(), DropCause::Driver);
            return self.give_skb(skb);
        }
        let verdict = self.run_program(program, device, Mode::Native, &mut skb);
        let Verdict::Socket(socket) = verdict else {
            return self.leave(device, Mode::Native, verdict, skb);
        };
        match self.native_receive(socket, device, queue, &skb.data) {
            Ok(()) if !delivered.contains(&socket) => delivered.push(socket),
            Ok(()) => {}
            Err(failure) => {
                self.devices[device].rx_dropped += 1;
                self.note_drop(device, skb.data.len(), failure.into());
            }
        }
        skb.data.end();
        self.give_skb(skb);
    }

    /// A frame of native XDP leaves through a device: a veth's peer has to run NAPI, or it is lost.
    fn native_tx(&mut self, device: Id<Device>, skb: Box<Skb>) {
        let has_receiver = match self.devices[device].kind {
            Kind::Veth { peer: Some(peer) } => self.devices[peer].is_native() && self.devices[peer].up,
            Kind::Veth { peer: None } | Kind::Loopback => false,
            Kind::Wire => true,
        };
        if !has_receiver || !self.devices[device].up {
            self.devices[device].tx_dropped += 1;
            self.give_skb(skb);
            return;
        }
        if let super::Xmit::Busy(skb) = self.xmit(device, skb) {
            self.free_skb(skb);
        }
    }

    /// The stack gets a packet. It may take its time to free it.
    pub(super) fn pass_to_stack(&mut self, device: Id<Device>, mut skb: Box<Skb>) {
        let delay = self.devices[device].stack_delay;
        if delay.is_zero() {
            self.orphan(&mut skb);
            self.devices[device].stack.push_back(skb);
        } else {
            let copy = self.host_skb(skb.data.data(), skb.queue);
            self.devices[device].stack.push_back(copy);
            self.clock.plan(delay, Event::Free(skb));
        }
    }

    /// A frame from the wire of a network card.
    pub(crate) fn wire_receive(&mut self, id: Id<Device>, queue: u32, frame: &[u8]) {
        if !self.devices[id].up {
            self.note_drop(id, frame.len(), DropCause::LinkDown);
            return;
        }
        let skb = self.host_skb(frame, queue);
        if let Some(skb) = self.packet_faults(id, skb, true) {
            self.wire_packet(id, skb);
        }
        self.run_softirqs();
    }

    pub(super) fn wire_packet(&mut self, id: Id<Device>, mut skb: Box<Skb>) {
        let queue = skb.queue;
        if self.devices[id].is_native() {
            if self.devices[id].zc_segments > 0 {
                let Some(left) = self.zero_copy_arrive(id, skb) else { return };
                skb = left;
            }
            let ring = self.devices[id].ring(queue);
            ring.push_back(skb);
            if ring.len() == 1 {
                self.schedule_napi(id, queue);
            }
        } else {
            // Network cards record the receive queue.
            skb.queue = queue + 1;
            self.softirqs.push_back(Softirq::Backlog { device: id, skb });
        }
    }
}
