//! AF_XDP sockets: one file for each group of calls (`net/xdp/xsk.c`).

mod bind;
mod create;
mod descriptor;
mod getsockopt;
mod mmap;
mod poll;
mod release;
mod setsockopt;
mod wakeup;

use xsk_core::abi::xdp_desc;

pub(crate) use descriptor::Descriptor;
pub(crate) use poll::{Looked, Watches};

use crate::arena::Id;
use crate::device::Device;
use crate::pool::{CompletionRing, FillRing, Pool};
use crate::profile::Profile;
use crate::shared::{ConsumerRing, ProducerRing, RingMemory};
use crate::skb::Skb;
use crate::umem::Umem;

/// How far a socket is. There is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Bound,
    /// Its device went away, or it is being released.
    Unbound,
}

/// An RX ring.
#[derive(Debug)]
pub(crate) struct RxRing {
    pub(crate) ring: ProducerRing<xdp_desc>,
    pub(crate) memory: RingMemory,
    /// The user was shown an index that is not the true one.
    pub(crate) forged: bool,
}

/// A TX ring.
#[derive(Debug)]
pub(crate) struct TxRing {
    pub(crate) ring: ConsumerRing<xdp_desc>,
    pub(crate) memory: RingMemory,
    /// Descriptors refused, and descriptors of packets that were dropped for that.
    pub(crate) invalid: u64,
    /// Times it was found empty.
    pub(crate) empty: u64,
    /// The user was shown an index that is not the true one.
    pub(crate) forged: bool,
}

/// An AF_XDP socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) state: State,
    /// File descriptors and mappings: the last one to go releases the socket.
    pub(crate) references: u32,
    pub(crate) rx: Option<RxRing>,
    pub(crate) tx: Option<TxRing>,
    /// Rings of the pool to be, before bind.
    pub(crate) fill: Option<FillRing>,
    pub(crate) completion: Option<CompletionRing>,
    pub(crate) umem: Option<Id<Umem>>,
    pub(crate) pool: Option<Id<Pool>>,
    /// Where it is bound. Kept when the device goes.
    pub(crate) device: Option<Id<Device>>,
    pub(crate) queue: u32,
    pub(crate) sg: bool,
    /// Without copying, as XDP_OPTIONS says.
    pub(crate) zero_copy: bool,
    /// A packet to send whose last descriptor has not come yet.
    pub(crate) partial: Option<Box<Skb>>,
    /// What is left of a refused packet is completed without being sent.
    pub(crate) draining: bool,
    pub(crate) tx_budget: u32,
    pub(crate) rx_dropped: u64,
    pub(crate) rx_full: u64,
    /// Bytes and packets that were sent and not freed yet.
    pub(crate) wmem: u64,
    pub(crate) in_flight: u32,
    /// Its time is over, but for packets in flight.
    pub(crate) release_overdue: bool,
    /// `SO_ERROR`.
    pub(crate) error: i32,
    /// `SO_INCOMING_NAPI_ID`.
    pub(crate) napi_id: Option<u32>,
    pub(crate) options: Options,
    /// Once somebody has asked for it.
    pub(crate) descriptor: Option<Descriptor>,
}

/// Options of level `SOL_SOCKET`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) sndbuf: u32,
    pub(crate) rcvbuf: u32,
    pub(crate) mark: u32,
    pub(crate) priority: i32,
    pub(crate) busy_poll: i32,
    pub(crate) prefer_busy_poll: i32,
    pub(crate) busy_poll_budget: i32,
    /// Index of the interface of `SO_BINDTODEVICE`, or 0.
    pub(crate) bound_to: u32,
}

/// `net.core.wmem_default` and `rmem_default`.
const BUFFER_DEFAULT: u32 = 212_992;

impl Socket {
    pub(crate) fn new(profile: &Profile) -> Self {
        Self {
            state: State::Ready,
            references: 1,
            napi_id: None,
            rx: None,
            tx: None,
            fill: None,
            completion: None,
            umem: None,
            pool: None,
            device: None,
            queue: 0,
            sg: false,
            zero_copy: false,
            partial: None,
            draining: false,
            tx_budget: profile.tx_budget,
            rx_dropped: 0,
            rx_full: 0,
            wmem: 0,
            in_flight: 0,
            release_overdue: false,
            error: 0,
            options: Options {
                sndbuf: BUFFER_DEFAULT,
                rcvbuf: BUFFER_DEFAULT,
                mark: 0,
                priority: 0,
                busy_poll: 0,
                prefer_busy_poll: 0,
                busy_poll_budget: 0,
                bound_to: 0,
            },
            descriptor: None,
        }
    }

    /// No packet is built until some are freed (`net/core/sock.c:sock_alloc_send_pskb`).
    pub(crate) fn send_buffer_is_full(&self) -> bool {
        self.wmem >= u64::from(self.options.sndbuf)
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.state == State::Bound
    }
}
