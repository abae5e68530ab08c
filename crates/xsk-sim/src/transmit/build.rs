use xsk_core::abi::{XDP_PKT_CONTD, XDP_TX_METADATA, xdp_desc};
use xsk_core::errno::EAGAIN;

use crate::arena::Id;
use crate::error::{Sys, errno};
use crate::kernel::Kernel;
use crate::skb::{Owner, truesize};
use crate::socket::Socket;

use super::Route;
use super::metadata::Refused;

/// Fragments of a socket buffer, besides its head (`CONFIG_MAX_SKB_FRAGS`).
const MAX_FRAGS: u32 = 17;
/// What a fragment counts against the send buffer.
const FRAG_TRUESIZE: u64 = 4096;

/// What became of a descriptor.
pub(super) enum Built {
    /// It is part of the socket's packet.
    Added,
    /// The packet would have more descriptors than a socket buffer can take.
    TooLong,
}

impl Kernel {
    /// Adds a descriptor, which has a completion slot, to the socket's packet (`net/xdp/xsk.c:xsk_build_skb`). On an error
    /// the slot is given back, and the descriptor stays in the ring.
    #[inline]
    pub(super) fn build(&mut self, id: Id<Socket>, route: Route, desc: xdp_desc) -> Sys<Built> {
        if self.sockets[id].partial.is_some() {
            return Ok(self.go_on(id, route, desc));
        }
        self.start(id, route, desc)
    }

    /// A descriptor that is not the first of its packet.
    fn go_on(&mut self, id: Id<Socket>, route: Route, desc: xdp_desc) -> Built {
        let umem = &self.umems[route.umem];
        let (at, len) = (umem.tx_position(desc.addr), desc.len as usize);
        let socket = &mut self.sockets[id];
        let Some(skb) = socket.partial.as_mut() else { return Built::Added };
        let Some(owner) = skb.owner.as_mut() else { return Built::Added };
        let frags = owner.rest.len() as u32;
        if frags == MAX_FRAGS - 1 && desc.options & XDP_PKT_CONTD != 0 {
            return Built::TooLong;
        }
        umem.memory.append_to(at, len, skb.data.tail());
        if owner.rest.capacity() == 0 {
            owner.rest = self.spare.addresses.pop().unwrap_or_default();
        }
        owner.rest.push(desc.addr);
        owner.truesize += FRAG_TRUESIZE;
        socket.wmem += FRAG_TRUESIZE;
        Built::Added
    }

    /// The first descriptor of a packet.
    #[inline]
    fn start(&mut self, id: Id<Socket>, route: Route, desc: xdp_desc) -> Sys<Built> {
        let socket = &mut self.sockets[id];
        if socket.send_buffer_is_full() {
            self.pools[route.pool].completion.ring.cancel(1);
            return errno(EAGAIN);
        }
        let mut skb = self.spare.packet(route.queue);
        let umem = &self.umems[route.umem];
        let at = umem.tx_position(desc.addr);
        umem.memory.append_to(at, desc.len as usize, skb.data.tail());
        let first = if self.profile.completion_clears_bit_0 { desc.addr & !1 } else { desc.addr };
        let truesize = truesize(desc.len);
        let mut timestamp_at = None;
        if desc.options & XDP_TX_METADATA != 0 {
            match self.apply_metadata(route, at, skb.data.data_mut()) {
                Ok(at) => timestamp_at = at,
                Err(Refused(failure)) => {
                    self.give_skb(skb);
                    let completion = &mut self.pools[route.pool].completion;
                    completion.ring.cancel(1);
                    if self.profile.bad_metadata_completes {
                        // Freeing the packet completes it, although its slot was given back.
                        completion.submit([first]);
                    }
                    return Err(failure);
                }
            }
        }
        let rest = Vec::new();
        skb.owner = Some(Owner { socket: id, pool: route.pool, first, rest, truesize, timestamp_at });
        let socket = &mut self.sockets[id];
        socket.wmem += truesize;
        socket.in_flight += 1;
        socket.partial = Some(skb);
        Ok(Built::Added)
    }
}
