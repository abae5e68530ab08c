use std::time::Duration;

use xsk_core::ring::MAX_CAPACITY;

use super::policy::Policy;
use crate::backend::{DriverFeatures, InterfaceInfo};
use crate::config::{Attach, BindFlags, LibxdpFlags, MIN_TX_BUDGET, QueueSize, SocketConfig, XdpFlags};
use crate::pool::BURST;

/// How packets cross between the kernel and the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The kernel copies them: works with every driver.
    Copy,
    /// The device reads and writes the pool's memory itself.
    ZeroCopy,
}

/// What a port does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    pub(super) rx: bool,
    pub(super) tx: bool,
}

/// Whether the built-in XDP program is attached.
#[derive(Debug, Clone, Copy)]
enum Program {
    IfItReceives,
    Attach(Attach),
    None,
}

/// How a [`Port`](super::Port) is opened: a value with a setter for each thing. The defaults are good to start with.
///
/// ```
/// use xsk::port::{Mode, PortConfig};
///
/// let config = PortConfig::default().mode(Mode::Copy).rx_ring(512).tx_ring(512);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PortConfig {
    rx_ring: u32,
    tx_ring: u32,
    fill_ring: u32,
    completion_ring: u32,
    pub(super) fill_level: Option<u32>,
    mode: Option<Mode>,
    pub(super) policy: Policy,
    multi_buffer: bool,
    xdp_flags: XdpFlags,
    attach: Program,
    pub(super) busy_timeout: Duration,
    tx_budget: Option<u32>,
}

impl Default for PortConfig {
    /// Rings of 2048 entries, the kernel's choice of mode, wakeups when the kernel asks, the built-in XDP program, packets of
    /// one segment.
    fn default() -> Self {
        Self {
            rx_ring: 2048,
            tx_ring: 2048,
            fill_ring: 2048,
            completion_ring: 2048,
            fill_level: None,
            mode: None,
            policy: Policy::default(),
            multi_buffer: false,
            xdp_flags: XdpFlags::empty(),
            attach: Program::IfItReceives,
            busy_timeout: Duration::from_secs(1),
            tx_budget: None,
        }
    }
}

/// A ring has a power of two of entries: the next one, within what this crate makes.
fn rounded(entries: u32) -> u32 {
    entries.clamp(1, MAX_CAPACITY).next_power_of_two()
}

/// A batch at once, where the ring allows to set it at all.
fn default_budget(entries: u32) -> Option<u32> {
    Some(entries.min(BURST as u32)).filter(|budget| *budget > MIN_TX_BUDGET)
}

impl PortConfig {
    /// Entries of the RX ring: packets that wait to be received. Rounded up to a power of two, as all sizes here.
    pub fn rx_ring(mut self, entries: u32) -> Self {
        self.rx_ring = rounded(entries);
        self
    }

    /// Entries of the TX ring: packets that wait to be sent.
    pub fn tx_ring(mut self, entries: u32) -> Self {
        self.tx_ring = rounded(entries);
        self
    }

    /// Entries of the fill ring: frames that the kernel can have to receive into. Best at least as many as the RX ring has,
    /// on a fast network card twice as many.
    pub fn fill_ring(mut self, entries: u32) -> Self {
        self.fill_ring = rounded(entries);
        self
    }

    /// Entries of the completion ring. Best as many as the TX ring has: the kernel sends no more than it can report.
    pub fn completion_ring(mut self, entries: u32) -> Self {
        self.completion_ring = rounded(entries);
        self
    }

    /// How many frames the port keeps on the fill ring. By default as many as that has entries, but at opening no more than
    /// half of the pool's frames that are free. For a port that only sends: see [`PortTx::open`](super::PortTx::open).
    pub fn fill_level(mut self, frames: u32) -> Self {
        self.fill_level = Some(frames);
        self
    }

    /// How packets cross. Without this, zero copy where the driver has it, else copy mode:
    /// [`Port::mode`](super::Port::mode) says how it came out. All ports of a pool have the mode of its first.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Who does the kernel's share of the work, and when. [`Policy::NeedWakeup`] by default.
    pub fn policy(mut self, policy: impl Into<Policy>) -> Self {
        self.policy = policy.into();
        self
    }

    /// Packets of several segments (`XDP_USE_SG`, Linux 6.6): those that do not fit into a frame come in several. All ports of
    /// a pool do as its first.
    pub fn multi_buffer(mut self, on: bool) -> Self {
        self.multi_buffer = on;
        self
    }

    /// Where the XDP program runs. By default in the driver if that can, else in the stack.
    pub fn xdp_flags(mut self, flags: XdpFlags) -> Self {
        self.xdp_flags = flags;
        self
    }

    /// How the built-in XDP program is attached, which leads the packets of the queue to the port. By a link, by default.
    ///
    /// A port that [only sends](super::PortTx::open) attaches it only if it is told so here.
    pub fn attach(mut self, attach: Attach) -> Self {
        self.attach = Program::Attach(attach);
        self
    }

    /// Attach no program: put the port into the XSKMAP of your own, with `XskMap::insert_port`.
    pub fn no_program(mut self) -> Self {
        self.attach = Program::None;
        self
    }

    /// How long opening waits for a queue that a closed socket has not released yet, or if the pool has no free frame, for the
    /// frames of closed ports; one second by default.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many descriptors a wakeup sends at most in copy mode (`XDP_MAX_TX_SKB_BUDGET`, Linux 6.17): 64 by default, as many as a
    /// batch has packets, or all of a TX ring that has fewer entries. At least [`MIN_TX_BUDGET`](crate::config::MIN_TX_BUDGET)
    /// and at most as many as the TX ring has entries, or opening fails. Older kernels send 32 at a time whatever is said here.
    pub fn tx_budget(mut self, descriptors: u32) -> Self {
        self.tx_budget = Some(descriptors);
        self
    }

    /// Entries of the fill and of the completion ring. The kernel wants both (`net/xdp/xsk.c:xsk_bind`), also where only one is
    /// used.
    pub(super) fn pool_rings(&self, sides: Sides, frames: u32) -> (u32, u32) {
        let fill =
            if sides.rx { self.fill_ring } else { frames.clamp(1, self.fill_ring).next_power_of_two() };
        (fill, if sides.tx { self.completion_ring } else { 1 })
    }

    /// How many frames are to be put on the fill ring, of so many that are free and are shared by `of` ports.
    pub(super) fn frames(&self, sides: Sides, info: Option<&InterfaceInfo>, free: u32, of: u32) -> u32 {
        // A zero-copy driver receives for the network stack into frames of the fill ring. Whether it is one is not known yet.
        let may_receive = match self.mode {
            Some(Mode::Copy) => false,
            Some(Mode::ZeroCopy) => true,
            None => info
                .and_then(|info| info.features)
                .is_none_or(|features| features.contains(DriverFeatures::ZERO_COPY)),
        };
        let wanted = match self.fill_level {
            None if !sides.rx && !may_receive => 0,
            Some(0) if !sides.rx => 0,
            Some(level) => level.max(1),
            None => (free / (2 * of)).max(1),
        };
        wanted.min(self.fill_ring)
    }

    pub(super) fn socket(&self, sides: Sides) -> SocketConfig {
        let mut bind = match self.mode {
            None => BindFlags::empty(),
            Some(Mode::Copy) => BindFlags::XDP_COPY,
            Some(Mode::ZeroCopy) => BindFlags::XDP_ZEROCOPY,
        };
        bind.set(BindFlags::XDP_USE_NEED_WAKEUP, self.policy != Policy::Interrupt);
        bind.set(BindFlags::XDP_USE_SG, self.multi_buffer);
        let mut builder = SocketConfig::builder();
        // Powers of two, all of them.
        if let (Ok(rx), Ok(tx)) = (QueueSize::new(self.rx_ring), QueueSize::new(self.tx_ring)) {
            builder.rx_queue_size(rx).tx_queue_size(tx);
        }
        if let Some(budget) = self.tx_budget.or_else(|| default_budget(self.tx_ring)) {
            builder.tx_budget(budget);
        }
        match self.attach {
            Program::Attach(attach) => builder.attach(attach),
            Program::IfItReceives if sides.rx => builder.attach(Attach::default()),
            Program::IfItReceives | Program::None => {
                builder.libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            }
        };
        builder.xdp_flags(self.xdp_flags).bind_flags(bind).busy_timeout(self.busy_timeout).build()
    }
}
