//! Packets on their way through the kernel.

use crate::arena::Id;
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::profile::SHARED_INFO;
use crate::socket::Socket;

/// A packet.
#[derive(Debug)]
pub(crate) struct Skb {
    pub(crate) data: Vec<u8>,
    /// The queue that it was sent on.
    pub(crate) queue: u32,
    /// The AF_XDP socket that sent it, to be told when it is freed.
    pub(crate) owner: Option<Owner>,
}

/// What freeing a packet of an AF_XDP socket completes.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) socket: Id<Socket>,
    pub(crate) pool: Id<Pool>,
    /// The address of the first descriptor, as it will be on the completion ring.
    pub(crate) first: u64,
    /// Those of the others, in order.
    pub(crate) rest: Vec<u64>,
    /// What it counts against the send buffer, in bytes.
    pub(crate) truesize: u64,
    /// Where in the UMEM the time of completion is wanted.
    pub(crate) timestamp_at: Option<u64>,
}

impl Owner {
    pub(crate) fn descriptors(&self) -> u32 {
        1 + self.rest.len() as u32
    }

    pub(crate) fn addrs(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }
}

/// What a packet of `len` bytes counts against the send buffer (`net/core/skbuff.c:__alloc_skb`): the sk_buff itself, and a
/// head from the cache for small ones or of a power of two.
pub(crate) fn truesize(len: u32) -> u64 {
    const SK_BUFF: u64 = 256;
    const SMALL_HEAD: u64 = 576;
    const HEADROOM: u64 = 64;
    let head = (HEADROOM + u64::from(len)).next_multiple_of(64) + u64::from(SHARED_INFO);
    SK_BUFF + if head <= SMALL_HEAD { SMALL_HEAD } else { head.next_power_of_two() }
}

/// The moment 0 of virtual time in nanoseconds of CLOCK_TAI.
const TAI_AT_START: u64 = 1_700_000_037_000_000_000;

impl Kernel {
    /// Frees a packet; a socket that sent it gets its frames back (`net/xdp/xsk.c:xsk_destruct_skb`).
    pub(crate) fn free_skb(&mut self, skb: Skb) {
        let Skb { data, owner, .. } = skb;
        self.give_buffer(data);
        self.complete(owner);
    }

    /// The sending socket no longer owns the packet: its frames go back.
    pub(crate) fn complete(&mut self, owner: Option<Owner>) {
        let Some(owner) = owner.and_then(|owner| self.completion_faults(owner)) else { return };
        self.complete_now(owner);
    }

    /// As [`complete`](Self::complete), whatever the rules say.
    pub(crate) fn complete_now(&mut self, owner: Owner) {
        let now = TAI_AT_START + self.clock.now().as_nanos() as u64;
        let pool = &mut self.pools[owner.pool];
        if let Some(at) = owner.timestamp_at {
            self.umems[pool.umem].memory.write(at, &now.to_ne_bytes());
        }
        if self.profile.completion_written_at_reservation && !self.faults.completes_by_address {
            pool.completion.submit_written(owner.descriptors());
        } else {
            pool.completion.submit(owner.addrs());
        }
        self.forge_completion_index(owner.socket, owner.pool);
        self.look_at_rings();
        self.disown(&owner);
    }

    /// The socket's share in a packet ends, without any completion.
    pub(crate) fn disown(&mut self, owner: &Owner) {
        let socket = &mut self.sockets[owner.socket];
        socket.wmem -= owner.truesize;
        socket.in_flight -= 1;
        // Half of the send buffer is free: whoever waits to write is woken (net/core/sock.c:sock_def_write_space).
        if socket.wmem * 2 <= u64::from(socket.options.sndbuf) {
            self.wake_writers(owner.socket);
        }
        let socket = &self.sockets[owner.socket];
        if socket.in_flight == 0 && socket.release_overdue {
            self.destroy_socket(owner.socket);
        }
    }
}
