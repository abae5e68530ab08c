//! Packets on their way through the kernel.

use crate::arena::Id;
use crate::kernel::Kernel;
use crate::pool::Pool;
use crate::profile::SHARED_INFO;
use crate::socket::Socket;
use crate::xdp::XdpBuff;

/// A packet. Always in a box, which is used again for a later one.
#[derive(Debug)]
pub(crate) struct Skb {
    pub(crate) data: XdpBuff,
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
    pub(crate) fn free_skb(&mut self, mut skb: Box<Skb>) {
        self.orphan(&mut skb);
        self.give_skb(skb);
    }

    /// The sending socket no longer owns the packet: its frames go back, as the rules say.
    #[inline]
    pub(crate) fn orphan(&mut self, skb: &mut Skb) {
        if self.faults.are_off() {
            if let Some(owner) = &skb.owner {
                self.complete_now(owner);
                self.spare.owner(&mut skb.owner);
            }
        } else if let Some(owner) = skb.owner.take().and_then(|owner| self.completion_faults(owner)) {
            self.complete_now(&owner);
        }
    }

    /// A packet goes back to its socket, whatever the rules say.
    #[inline]
    pub(crate) fn complete_now(&mut self, owner: &Owner) {
        let pool = &mut self.pools[owner.pool];
        if let Some(at) = owner.timestamp_at {
            let now = TAI_AT_START + self.clock.now().as_nanos() as u64;
            self.umems[pool.umem].memory.write(at, &now.to_ne_bytes());
        }
        if self.profile.completion_written_at_reservation && !self.faults.completes_by_address {
            pool.completion.submit_written(owner.descriptors());
        } else if owner.rest.is_empty() {
            pool.completion.submit([owner.first]);
        } else {
            pool.completion.submit(owner.addrs());
        }
        self.forge_completion_index(owner.socket, owner.pool);
        self.look_at_rings();
        self.disown(owner);
    }

    /// The socket's share in a packet ends, without any completion.
    #[inline]
    pub(crate) fn disown(&mut self, owner: &Owner) {
        let socket = &mut self.sockets[owner.socket];
        socket.wmem -= owner.truesize;
        socket.in_flight -= 1;
        let ends = socket.in_flight == 0 && socket.release_overdue;
        // Half of the send buffer is free: whoever waits to write is woken (net/core/sock.c:sock_def_write_space).
        if socket.wmem * 2 <= u64::from(socket.options.sndbuf) {
            self.wake_writers(owner.socket);
        }
        if ends {
            self.destroy_socket(owner.socket);
        }
    }
}

/// Memory of packets that are gone, for those to come.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    #[allow(clippy::vec_box, reason = "packets move from list to list without being copied")]
    packets: Vec<Box<Skb>>,
    pub(crate) addresses: Vec<Vec<u64>>,
}

impl Spare {
    /// An empty packet.
    #[inline]
    pub(crate) fn packet(&mut self, queue: u32) -> Box<Skb> {
        match self.packets.pop() {
            Some(mut skb) => {
                skb.queue = queue;
                skb
            }
            None => Box::new(Skb { data: XdpBuff::empty(), queue, owner: None }),
        }
    }

    /// Takes away an owner who has what it gets.
    #[inline]
    fn owner(&mut self, owner: &mut Option<Owner>) {
        if let Some(Owner { rest, .. }) = owner
            && rest.capacity() > 0
        {
            rest.clear();
            self.addresses.push(std::mem::take(rest));
        }
        *owner = None;
    }
}

impl Kernel {
    /// The packet, which nobody owns, serves again.
    #[inline]
    pub(crate) fn give_skb(&mut self, mut skb: Box<Skb>) {
        const KEPT: usize = 512;
        if self.spare.packets.len() < KEPT {
            skb.data.clear();
            self.spare.packets.push(skb);
        }
    }

    /// The bytes of a packet that leaves the kernel.
    pub(crate) fn take_bytes(&mut self, skb: Box<Skb>) -> Vec<u8> {
        let bytes = skb.data.data().to_vec();
        self.give_skb(skb);
        bytes
    }

    /// A packet of the host itself, which nobody waits for.
    pub(crate) fn host_skb(&mut self, frame: &[u8], queue: u32) -> Box<Skb> {
        let mut skb = self.spare.packet(queue);
        skb.data.tail().extend_from_slice(frame);
        skb
    }
}
