use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bitflags::bitflags;
use xsk_core::abi::Pod;

use super::Backend;
use crate::error::errno;

/// A socket, map, program or link of a backend: a plain number, as a file descriptor is.
///
/// On [`Linux`](super::Linux) it is the file descriptor. A simulated kernel counts from 2^20, so that its handles are
/// never taken for file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub i32);

/// A handle that is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnedHandle {
    backend: Arc<dyn Backend>,
    handle: Handle,
}

impl OwnedHandle {
    pub(crate) fn new(backend: &Arc<dyn Backend>, handle: Handle) -> Self {
        Self { backend: Arc::clone(backend), handle }
    }

    pub(crate) fn get(&self) -> Handle {
        self.handle
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }
}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        self.backend.close(self.handle);
    }
}

/// Options as values instead of bytes.
pub(crate) trait BackendExt {
    fn set_option<T: Pod>(&self, socket: Handle, name: i32, value: &T) -> io::Result<()>;
    fn get_option<T: Pod>(&self, socket: Handle, level: i32, name: i32) -> io::Result<(T, usize)>;
    fn ask(&self, socket: Handle) -> io::Result<()>;
}

impl BackendExt for dyn Backend {
    fn set_option<T: Pod>(&self, socket: Handle, name: i32, value: &T) -> io::Result<()> {
        self.setsockopt(socket, xsk_core::abi::SOL_XDP, name, value.as_bytes())
    }

    /// The value, and how many bytes of it the kernel wrote; the rest is zero.
    fn get_option<T: Pod>(&self, socket: Handle, level: i32, name: i32) -> io::Result<(T, usize)> {
        let mut value = T::default();
        let len = self.getsockopt(socket, level, name, value.as_bytes_mut())?;
        Ok((value, len))
    }

    /// How a bound socket is: ENETDOWN if its interface is down, ENXIO if that is gone. Asks on the receiving side, which
    /// has no effect in copy mode; before Linux 5.11 that side cannot be asked, and the transmitting one is.
    fn ask(&self, socket: Handle) -> io::Result<()> {
        match self.recvfrom(socket) {
            Err(e) if e.raw_os_error() == Some(errno::EOPNOTSUPP) => self.sendto(socket),
            answer => answer,
        }
    }
}

bitflags! {
    /// What to poll for, and what happened: the bits of poll(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct PollEvents: i16 {
        /// `POLLIN`: the RX ring has entries.
        const IN = 1;
        /// `POLLOUT`: the TX ring is at most half full.
        const OUT = 4;
        /// `POLLERR`.
        const ERR = 8;
        /// `POLLHUP`.
        const HUP = 16;
        /// `POLLNVAL`: the handle is not open.
        const NVAL = 32;
    }
}

/// One socket of a [`Backend::poll`] call.
#[derive(Debug, Clone, Copy)]
pub struct Poll {
    /// The socket.
    pub socket: Handle,
    /// What to wait for.
    pub events: PollEvents,
    /// What happened: set by the call.
    pub ready: PollEvents,
}

/// The pages of a UMEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PageSize {
    /// The system's pages (4 KiB on x86-64). The kernel is asked to make large ones of them where it has the memory for that
    /// (`MADV_HUGEPAGE`): nothing is reserved, and nothing fails if it does not.
    #[default]
    Normal,
    /// Huge pages of 2 MiB.
    Huge2M,
    /// Huge pages of 1 GiB.
    Huge1G,
}

impl PageSize {
    /// The size in bytes; of normal pages, the 4096 that lengths are rounded to.
    pub fn bytes(self) -> usize {
        match self {
            Self::Normal => xsk_core::region::PAGE_SIZE,
            Self::Huge2M => 2 << 20,
            Self::Huge1G => 1 << 30,
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Huge2M => "2 MiB",
            Self::Huge1G => "1 GiB",
        })
    }
}

/// How many huge pages of one size there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// Reserved pages.
    pub total: u64,
    /// Of those, pages that nobody uses.
    pub free: u64,
}

/// How an interface holds its interrupts back (`net/core/dev.c:napi_complete_done`).
///
/// With both set, a NAPI instance that has nothing to do leaves its interrupt off for a while, so that somebody who polls finds
/// its packets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterruptDeferral {
    /// How often in a row the driver may find nothing before its interrupt is on again: sysfs `napi_defer_hard_irqs` (Linux
    /// 5.8).
    pub hard_irqs: u32,
    /// How long a timer waits then, after which the driver looks by itself: sysfs `gro_flush_timeout`, in nanoseconds.
    pub flush_timeout: Duration,
}

bitflags! {
    /// What packets can ask for when they are sent (`include/uapi/linux/if_xdp.h:XDP_TXMD_FLAGS_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TxOffloads: u64 {
        /// To tell when the packet was sent.
        const TIMESTAMP = 1;
        /// To compute a checksum.
        const CHECKSUM = 2;
        /// To send the packet at a given time.
        const LAUNCH_TIME = 4;
    }
}

/// A network namespace, on any backend.
///
/// Two namespaces of one process that differ have different ids, on whatever backends they are: Linux uses device and
/// inode of the namespace, other backends take a first number of their own that no device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceId(pub [u64; 2]);

/// What is known of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceInfo {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// Transmit queues in use.
    pub tx_queues: u32,
    /// Queues that it may be given at most, of either kind.
    pub max_queues: u32,
    /// Largest payload of a frame, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Its Ethernet address, if it has one (of six bytes).
    pub mac: Option<[u8; 6]>,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// The name of its driver, if it has one.
    pub driver: Option<String>,
    /// The XDP program on it, if there is one.
    pub program: Option<AttachedProgram>,
    /// What its driver says of XDP; `None` where the kernel does not tell (before Linux 6.3).
    pub features: Option<DriverFeatures>,
}

impl InterfaceInfo {
    /// An interface with one queue of each kind, MTU 1500, up, and nothing else known.
    pub fn new(name: impl Into<String>, index: u32) -> Self {
        Self {
            name: name.into(),
            index,
            rx_queues: 1,
            tx_queues: 1,
            max_queues: 1,
            mtu: 1500,
            mac: None,
            up: true,
            carrier: true,
            driver: None,
            program: None,
            features: None,
        }
    }

    /// Number of queue ids that a socket may bind: 0 to this, exclusive (`net/xdp/xsk_buff_pool.c:xp_assign_dev`).
    pub fn queues(&self) -> u32 {
        self.rx_queues.max(self.tx_queues)
    }
}

/// An XDP program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttachedProgram {
    /// The id of the program.
    pub id: u32,
    /// How it is attached.
    pub mode: XdpMode,
}

/// Where an XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack, on socket buffers.
    Skb,
    /// In the device.
    Offloaded,
    /// Several at once.
    Multiple,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Skb => "SKB",
            Self::Offloaded => "offloaded",
            Self::Multiple => "several",
        })
    }
}

bitflags! {
    /// What a driver says of XDP (`include/uapi/linux/netdev.h:netdev_xdp_act`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct DriverFeatures: u64 {
        /// Native XDP.
        const BASIC = 1;
        /// `XDP_REDIRECT`.
        const REDIRECT = 2;
        /// Can be redirected to.
        const NDO_XMIT = 4;
        /// AF_XDP zero copy.
        const ZERO_COPY = 8;
        /// Offload to the device.
        const HW_OFFLOAD = 16;
        /// Receives packets of several buffers.
        const RX_SG = 32;
        /// Can be redirected packets of several buffers to.
        const NDO_XMIT_SG = 64;
    }
}

/// The built-in XDP program: redirects a packet to the socket in the slot of its receive queue, and passes it to the
/// stack if the slot is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedirectProgram {
    /// The XSKMAP.
    pub map: Handle,
    /// Whether the program declares that it takes packets of several buffers (Linux 5.18).
    pub frags: bool,
}

/// A redirect program that something else than a link keeps attached.
pub struct Attachment {
    /// The XSKMAP of the program; the receiver closes it.
    pub map: Handle,
    /// What keeps the program attached. Dropping it detaches, if nobody else uses it.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("map", &self.map).finish_non_exhaustive()
    }
}

bitflags! {
    /// The capabilities that matter here, as bits of `CapEff` (`include/uapi/linux/capability.h`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Capabilities: u64 {
        /// Attach programs, use XSKMAPs, raise busy polling.
        const CAP_NET_ADMIN = 1 << 12;
        /// Make AF_XDP sockets.
        const CAP_NET_RAW = 1 << 13;
        /// Lock memory beyond the limit.
        const CAP_IPC_LOCK = 1 << 14;
        /// Stands for `CAP_BPF`.
        const CAP_SYS_ADMIN = 1 << 21;
        /// Load programs (Linux 5.8).
        const CAP_BPF = 1 << 39;
    }
}
