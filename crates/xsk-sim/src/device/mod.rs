//! Network devices.

mod deliver;
mod manage;
mod napi;
mod xmit;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(crate) use manage::MTU_MAX;
pub use manage::{DeviceConfig, Qdisc};
pub(crate) use napi::Softirq;
pub(crate) use xmit::Xmit;

use xsk::backend::{InterfaceCounters, InterruptDeferral};

use crate::arena::Id;
use crate::pool::Pool;
use crate::skb::Skb;
use crate::trace::DropCause;
use crate::xdp::{Attached, Mode, PagePool};

/// A network device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) kind: Kind,
    /// Queues in use.
    pub(crate) rx_queues: u32,
    pub(crate) tx_queues: u32,
    /// Queues that it was made with.
    pub(crate) max_rx_queues: u32,
    pub(crate) max_tx_queues: u32,
    pub(crate) mtu: u32,
    /// A program on a veth's other end limits it.
    pub(crate) max_mtu: u32,
    pub(crate) up: bool,
    /// It was removed, or moved to another network namespace: nobody finds it any more.
    pub(crate) gone: bool,
    pub(crate) qdisc: Qdisc,
    /// Buffers of one packet without copying; 0: it has no zero copy.
    pub(crate) zc_segments: u32,
    /// Of a card: the card at the other end of its cable, perhaps itself.
    pub(crate) cable: Option<Id<Device>>,
    /// Its NAPI runs in a thread of its own, and not at the end of the sender's call.
    pub(crate) threaded: bool,
    /// How long its stack holds a packet that it got.
    pub(crate) stack_delay: Duration,
    /// How it holds its interrupts back: no effect, as there are none.
    pub(crate) deferral: InterruptDeferral,
    pub(crate) xdp: Option<Attached>,
    /// The pools of bound sockets, by queue.
    pub(crate) pools: BTreeMap<u32, Id<Pool>>,
    /// Packets that wait for NAPI, by receive queue (veth in native mode).
    pub(crate) rings: Vec<VecDeque<Box<Skb>>>,
    /// What packets are copied into for a native program, by receive queue.
    pub(crate) page_pools: Vec<PagePool>,
    /// What its host's stack was passed.
    pub(crate) stack: VecDeque<Box<Skb>>,
    /// What went out on its wire, and when.
    pub(crate) wire: VecDeque<(Duration, Box<Skb>)>,
    /// Packets that its driver or XDP dropped.
    pub(crate) rx_dropped: u64,
    pub(crate) tx_dropped: u64,
    /// What was dropped there, by cause.
    pub(crate) drops: [u64; DropCause::COUNTERS.len()],
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One end of a pair; the other is `None` once it is gone.
    Veth { peer: Option<Id<Device>> },
    /// What it sends it receives.
    Loopback,
    /// A network card whose wire ends in the test.
    Wire,
}

impl Device {
    pub(crate) fn has_native_xdp(&self) -> bool {
        !matches!(self.kind, Kind::Loopback)
    }

    pub(crate) fn is_native(&self) -> bool {
        self.xdp.is_some_and(|attached| attached.mode == Mode::Native)
    }

    /// What is counted: drops, the driver's own by cause. Packets are not.
    pub(crate) fn counters(&self) -> InterfaceCounters {
        let mut counters = InterfaceCounters::default();
        (counters.rx_dropped, counters.tx_dropped) = (Some(self.rx_dropped), Some(self.tx_dropped));
        counters.driver = DropCause::COUNTERS.map(str::to_owned).into_iter().zip(self.drops).collect();
        counters
    }

    /// What waits for the NAPI of a receive queue.
    #[inline]
    pub(crate) fn ring(&mut self, queue: u32) -> &mut VecDeque<Box<Skb>> {
        let queue = queue as usize;
        if queue >= self.rings.len() {
            self.add_rings(queue + 1);
        }
        &mut self.rings[queue]
    }

    #[cold]
    fn add_rings(&mut self, count: usize) {
        self.rings.resize_with(count, VecDeque::new);
    }

    /// Bytes of the longest frame: with an Ethernet header and a VLAN tag.
    pub(crate) fn frame_max(&self) -> usize {
        self.mtu as usize + 14 + 4
    }
}
