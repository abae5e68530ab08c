//! The transmit pass of copy mode (`net/xdp/xsk.c:__xsk_generic_xmit`).

mod build;
mod descriptor;
mod metadata;

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};
use xsk_core::errno::{EAGAIN, EBUSY};

use crate::arena::Id;
use crate::device::{Device, Xmit};
use crate::error::{Sys, errno};
use crate::fault::Ring;
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::profile::{InvalidTx, TxPublish};
use crate::skb::{Owner, Skb};
use crate::socket::{Socket, TxRing};
use crate::umem::Umem;
use build::Built;
pub(crate) use descriptor::Rules;

/// Where a socket's packets go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) pool: Id<Pool>,
    pub(crate) umem: Id<Umem>,
    pub(crate) device: Id<Device>,
    pub(crate) queue: u32,
}

/// What the TX ring has next.
pub(crate) enum Next {
    Empty,
    Invalid(xdp_desc),
    Valid(xdp_desc),
}

impl TxRing {
    /// The next descriptor, which stays in the ring; counted if it is refused, or if there is none. `skips`: refused ones
    /// are passed over.
    #[inline]
    pub(crate) fn next(&mut self, rules: &Rules, skips: bool) -> Next {
        loop {
            let Some(desc) = self.ring.peek() else {
                self.empty += 1;
                return Next::Empty;
            };
            if rules.take(&desc) {
                return Next::Valid(desc);
            }
            self.invalid += 1;
            if !skips {
                return Next::Invalid(desc);
            }
            self.ring.advance();
        }
    }
}

impl Kernel {
    /// Sends what is in the TX ring of a bound socket, up to the budget of one pass.
    pub(crate) fn transmit(&mut self, id: Id<Socket>) -> Sys<()> {
        let socket = &self.sockets[id];
        let (Some(tx), Some(pool), Some(umem), Some(device)) =
            (socket.tx.as_ref(), socket.pool, socket.umem, socket.device)
        else {
            return Ok(());
        };
        let route = Route { pool, umem, device, queue: socket.queue };
        if route.queue >= self.devices[device].tx_queues {
            return Ok(());
        }
        let before = tx.ring.taken();
        let mut sent = false;
        let result = self.pass(id, route, &mut sent);
        let Some(tx) = self.sockets[id].tx.as_ref() else { return result };
        let moved = tx.ring.taken() != before;
        let (publishes, wakes) = match self.profile.tx_publish {
            TxPublish::WhenMoved => (moved, moved),
            TxPublish::WhenEmpty => (false, sent),
        };
        if publishes {
            tx.ring.publish();
        }
        if wakes && tx.ring.is_half_empty() {
            self.wake_writers(id);
        }
        if publishes {
            self.forge_index(id, Ring::Tx);
        }
        self.look_at_rings();
        result
    }

    fn pass(&mut self, id: Id<Socket>, route: Route, sent: &mut bool) -> Sys<()> {
        let mut budget = self.sockets[id].tx_budget;
        let rules = Rules::new(&self.profile, &self.umems[route.umem]);
        let skips = self.profile.invalid_tx == InvalidTx::Skip;
        loop {
            if skips && self.has_descriptor(id) {
                // Old kernels look at what stops a pass before they look at the descriptor.
                if budget == 0 {
                    return errno(EAGAIN);
                }
                if self.profile.builds_before_reserving && self.sockets[id].send_buffer_is_full() {
                    return errno(EAGAIN);
                }
                if self.pools[route.pool].completion.ring.free(1) == 0 {
                    return Ok(());
                }
            }
            let Some(tx) = self.sockets[id].tx.as_mut() else { return Ok(()) };
            let desc = match tx.next(&rules, skips) {
                Next::Valid(desc) => desc,
                Next::Empty => return Ok(()),
                Next::Invalid(desc) => return self.end_with_invalid(id, route, desc),
            };
            if self.faults.miss_frames() {
                self.faults.found(route.umem, self.umems[route.umem].frame_of(desc.addr));
            }
            if budget == 0 {
                return errno(EAGAIN);
            }
            budget -= 1;
            let completion = &mut self.pools[route.pool].completion;
            if !completion.ring.reserve() {
                return if self.profile.full_completion_is_error { errno(EAGAIN) } else { Ok(()) };
            }
            if self.profile.completion_written_at_reservation {
                completion.ring.write_reserved(desc.addr);
            }
            let continues = desc.options & XDP_PKT_CONTD != 0;
            if self.sockets[id].draining {
                completion.submit([desc.addr]);
                let socket = &mut self.sockets[id];
                socket.draining = continues;
                count_invalid(&mut socket.tx, 1);
                consume(&mut socket.tx);
                continue;
            }
            match self.build(id, route, desc)? {
                Built::Added => consume(&mut self.sockets[id].tx),
                Built::TooLong => {
                    self.drop_too_long(id, route, desc);
                    continue;
                }
            }
            if continues {
                continue;
            }
            let Some(skb) = self.sockets[id].partial.take() else { return Ok(()) };
            match self.direct_xmit(route.device, route.queue, skb) {
                Xmit::Sent => *sent = true,
                Xmit::Dropped => return errno(EBUSY),
                Xmit::Busy(skb) => {
                    self.take_back(id, skb);
                    return errno(EAGAIN);
                }
            }
        }
    }

    fn has_descriptor(&mut self, id: Id<Socket>) -> bool {
        self.sockets[id].tx.as_mut().is_some_and(|tx| tx.ring.available(1) > 0)
    }

    /// A refused descriptor ends the pass, and the packet that it was part of.
    fn end_with_invalid(&mut self, id: Id<Socket>, route: Route, desc: xdp_desc) -> Sys<()> {
        if self.profile.invalid_tx == InvalidTx::Lose {
            self.drop_partial(id);
            consume(&mut self.sockets[id].tx);
            return Ok(());
        }
        if !self.pools[route.pool].completion.ring.reserve() {
            // It will be counted when there is room to complete it.
            let socket = &mut self.sockets[id];
            if let Some(tx) = &mut socket.tx {
                tx.invalid -= 1;
            }
            // Whatever is at this place then, it is the rest of a refused packet.
            socket.draining |= socket.partial.is_some() || desc.options & XDP_PKT_CONTD != 0;
            self.drop_partial(id);
            return errno(EAGAIN);
        }
        self.drop_partial(id);
        self.pools[route.pool].completion.submit([desc.addr]);
        let socket = &mut self.sockets[id];
        socket.draining = desc.options & XDP_PKT_CONTD != 0;
        consume(&mut socket.tx);
        Ok(())
    }

    /// A packet has more descriptors than a socket buffer has fragments: it is dropped, with the one at hand.
    fn drop_too_long(&mut self, id: Id<Socket>, route: Route, desc: xdp_desc) {
        self.drop_partial(id);
        let completion = &mut self.pools[route.pool].completion;
        let drains = self.profile.invalid_tx == InvalidTx::Complete;
        if drains {
            completion.submit([desc.addr]);
        } else {
            completion.ring.cancel(1);
        }
        let socket = &mut self.sockets[id];
        socket.draining = drains && desc.options & XDP_PKT_CONTD != 0;
        count_invalid(&mut socket.tx, 1);
        consume(&mut socket.tx);
    }

    /// Gives up a packet whose end has not come (`net/xdp/xsk.c:xsk_drop_skb`).
    pub(crate) fn drop_partial(&mut self, id: Id<Socket>) {
        let socket = &mut self.sockets[id];
        let Some(mut skb) = socket.partial.take() else { return };
        let Some(owner) = &skb.owner else { return };
        count_invalid(&mut socket.tx, owner.descriptors());
        if self.profile.invalid_tx == InvalidTx::Complete {
            self.orphan(&mut skb);
        } else {
            self.give_back_reserved(owner);
            skb.owner = None;
        }
        self.give_skb(skb);
    }

    /// The driver is busy: the packet's descriptors go back into the ring.
    fn take_back(&mut self, id: Id<Socket>, mut skb: Box<Skb>) {
        if let Some(owner) = skb.owner.take() {
            if let Some(tx) = &mut self.sockets[id].tx {
                tx.ring.unwind(owner.descriptors());
            }
            self.give_back_reserved(&owner);
        }
        self.give_skb(skb);
    }

    fn give_back_reserved(&mut self, owner: &Owner) {
        self.pools[owner.pool].completion.ring.cancel(owner.descriptors());
        self.disown(owner);
    }
}

fn consume(tx: &mut Option<TxRing>) {
    if let Some(tx) = tx {
        tx.ring.advance();
    }
}

fn count_invalid(tx: &mut Option<TxRing>, count: u32) {
    if let Some(tx) = tx {
        tx.invalid += u64::from(count);
    }
}
