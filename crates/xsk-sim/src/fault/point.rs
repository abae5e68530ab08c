use std::fmt;
use std::time::Duration;

use xsk::backend::Handle;
use xsk_core::abi::xdp_desc;

/// A call of [`Backend`](xsk::backend::Backend).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names of the calls")]
pub enum Call {
    Socket,
    /// Cannot fail.
    Close,
    SetSockOpt,
    GetSockOpt,
    Bind,
    MmapRing,
    MmapMemory,
    Poll,
    SendTo,
    RecvFrom,
    Interface,
    InterfaceCounters,
    QueueIsBound,
    TxOffloads,
    InterruptDeferral,
    Namespace,
    XskMapCreate,
    XskMapUpdate,
    XskMapDelete,
    ProgramLoad,
    LinkCreate,
    LinkUpdate,
    ProgramName,
    Capabilities,
    MemlockLimit,
    HugePages,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "socket",
            Self::Close => "close",
            Self::SetSockOpt => "setsockopt",
            Self::GetSockOpt => "getsockopt",
            Self::Bind => "bind",
            Self::MmapRing => "mmap of a ring",
            Self::MmapMemory => "mmap of memory",
            Self::Poll => "poll",
            Self::SendTo => "sendto",
            Self::RecvFrom => "recvfrom",
            Self::Interface => "interface",
            Self::InterfaceCounters => "interface_counters",
            Self::QueueIsBound => "queue_is_bound",
            Self::TxOffloads => "tx_offloads",
            Self::InterruptDeferral => "interrupt_deferral",
            Self::Namespace => "namespace",
            Self::XskMapCreate => "xskmap_create",
            Self::XskMapUpdate => "xskmap_update",
            Self::XskMapDelete => "xskmap_delete",
            Self::ProgramLoad => "program_load",
            Self::LinkCreate => "link_create",
            Self::LinkUpdate => "link_update",
            Self::ProgramName => "program_name",
            Self::Capabilities => "capabilities",
            Self::MemlockLimit => "memlock_limit",
            Self::HugePages => "huge_pages",
        })
    }
}

/// One of the four rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ring {
    /// Received packets: the kernel produces.
    Rx,
    /// Packets to send: the user produces.
    Tx,
    /// Frames to receive into: the user produces.
    Fill,
    /// Frames that were sent: the kernel produces.
    Completion,
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rx => "rx",
            Self::Tx => "tx",
            Self::Fill => "fill",
            Self::Completion => "completion",
        })
    }
}

/// What the kernel is about to do, when it asks the rules whether that goes well.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Moment {
    /// A call begins. Takes [`Fault::Errno`].
    Call(Call),
    /// A sendto or poll of the user makes the kernel look at the TX ring. Takes [`Fault::Lose`].
    Kick,
    /// The kernel wakes a poll that sleeps. Takes [`Fault::Lose`].
    Wake,
    /// A device sends a packet, or a card is sent one. Takes [`Fault::Lose`] and [`Fault::Delay`].
    Packet {
        /// Bytes of the packet.
        len: u32,
    },
    /// NAPI of a receive queue or a processor's backlog runs. Takes [`Fault::Delay`] and [`Fault::Stall`].
    Napi,
    /// A received packet needs frames of the fill ring. Takes [`Fault::Starve`].
    Buffer,
    /// This descriptor goes into the RX ring. Takes [`Fault::Describe`], and [`Fault::Lose`]: then the packet is dropped.
    Receive(xdp_desc),
    /// A sent packet goes back to its socket. Takes [`Fault::Lose`], [`Fault::Delay`] and [`Fault::Address`].
    Completion {
        /// The address of the packet's first descriptor.
        address: u64,
        /// How many descriptors the packet has.
        descriptors: u32,
    },
    /// The kernel published its index of a ring. Takes [`Fault::Index`].
    Publish {
        /// The ring.
        ring: Ring,
        /// The index, as it should be.
        index: u32,
    },
}

/// Where and when a rule is asked.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Point {
    /// What is about to happen.
    pub moment: Moment,
    /// The socket that it happens to, if there is one and it is not closed.
    pub socket: Option<Handle>,
    /// The index of the device where it happens, if there is one.
    pub device: Option<u32>,
    /// The queue of the device.
    pub queue: Option<u32>,
    /// Virtual time.
    pub now: Duration,
}

/// What goes wrong. Each moment takes certain ones ([`Moment`] says which); others do nothing there.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails with this error number, and does nothing.
    Errno(i32),
    /// It does not happen, and nobody is told.
    Lose,
    /// It happens so much later.
    Delay(Duration),
    /// It happens when the rule is withdrawn.
    Stall,
    /// The fill ring looks empty.
    Starve,
    /// The RX ring shows this descriptor instead.
    Describe(xdp_desc),
    /// The completion ring shows this address instead.
    Address(u64),
    /// The user sees this index, until the kernel publishes that index the next time or the rule is withdrawn.
    Index(u32),
    /// This happens to the device with this index, at whatever moment: at once, or as soon as the packet at hand is done.
    /// What was about to happen goes on.
    Device {
        /// Index of the device.
        index: u32,
        /// What happens to it.
        fault: DeviceFault,
    },
}

/// What happens to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFault {
    /// It goes down, and stays so.
    Down,
    /// It goes down, and up again after this time.
    Flap(Duration),
    /// It is removed; a veth takes its peer with it.
    Remove,
}
