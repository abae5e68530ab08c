//! The vocabulary: what a history is made of.

use xsk_core::abi::{
    SOL_XDP, XDP_MAX_TX_SKB_BUDGET, XDP_MMAP_OFFSETS, XDP_OPTIONS, XDP_STATISTICS, xdp_desc, xdp_umem_reg,
};

/// The level of the options that all sockets have.
pub const SOL_SOCKET: i32 = 1;

/// Sockets of a history.
pub const SOCKETS: usize = 3;
/// UMEMs of a history.
pub const UMEMS: usize = 2;
/// Bytes that are mapped for each UMEM; as many behind them are not.
pub const MEMORY: u64 = 16 * 4096;

/// Which kind of place the calls go to, and the calls.
#[derive(Debug, Clone)]
pub struct History {
    pub place: Place,
    pub ops: Vec<Op>,
}

/// A pair of devices, each with a redirect program and a map of four slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The programs are attached in native mode, not in SKB mode.
    pub native: bool,
    /// MTU 9000, programs that take packets of several buffers, and `XDP_USE_SG` allowed.
    pub sg: bool,
    /// Receive and transmit queues of both ends: one or two. On a receive queue without a transmit queue nothing is sent.
    pub queues: (u32, u32),
}

/// A ring, by the order of its option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RingKind {
    Rx,
    Tx,
    Fill,
    Completion,
}

/// A word of a ring that user space can write, its own or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Producer,
    Consumer,
    Flags,
}

/// What a call says for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// End 0 or 1 of the pair.
    End(usize),
    /// Interface index 0.
    Nothing,
    /// An index that no device has.
    Nobody,
}

/// What a bind says for the socket whose UMEM it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    Nobody,
    Socket(usize),
    /// A descriptor that is not open.
    Closed,
    /// A descriptor that is no socket.
    Map,
}

/// Where a UMEM registration says that its memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Memory,
    /// So many bytes behind it.
    Off(u64),
    Null,
}

/// One operation. `s` is a socket's slot.
#[derive(Debug, Clone)]
pub enum Op {
    /// `XDP_UMEM_REG`; of `reg`, the address is replaced. `take`: bytes of the struct that the call passes.
    Register {
        s: usize,
        umem: usize,
        start: Start,
        reg: xdp_umem_reg,
        take: usize,
    },
    /// A ring's option; the ring is mapped if that worked.
    Ring {
        s: usize,
        ring: RingKind,
        entries: u32,
        take: usize,
    },
    /// `mmap` of any offset and length; unmapped at once.
    Map {
        s: usize,
        offset: u64,
        len: usize,
    },
    Bind {
        s: usize,
        family: u16,
        to: To,
        queue: u32,
        flags: u16,
        with: With,
    },
    /// Puts the socket into a slot of an end's XSKMAP.
    MapUpdate {
        s: usize,
        end: usize,
        key: u32,
    },
    /// Puts something that is no socket there.
    MapUpdateOdd {
        end: usize,
        key: u32,
        with: With,
    },
    MapDelete {
        end: usize,
        key: u32,
    },
    /// Writes into a UMEM's memory.
    Write {
        umem: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    /// Fill entries, as many as there is room for.
    Fill {
        s: usize,
        entries: Vec<u64>,
    },
    /// TX descriptors, as many as there is room for, and a kick.
    Send {
        s: usize,
        descs: Vec<xdp_desc>,
        kick: bool,
    },
    /// Replaces a TX descriptor that the kernel has not taken yet, so many after the next.
    Rewrite {
        s: usize,
        skip: u32,
        desc: xdp_desc,
    },
    /// `sendto`.
    Kick {
        s: usize,
    },
    /// `recvfrom`.
    Wake {
        s: usize,
    },
    /// `poll` without waiting.
    Poll {
        s: usize,
        events: i16,
    },
    /// The same for several sockets, or for one several times.
    PollMany {
        sockets: Vec<usize>,
        events: i16,
    },
    /// Writes into a word of a ring: an index that is moved by a number, flags that are replaced by it.
    Corrupt {
        s: usize,
        ring: RingKind,
        word: Word,
        by: u32,
    },
    /// An end's stack sends frames to the other end, as far as its MTU lets it.
    Inject {
        end: usize,
        len: usize,
        count: usize,
    },
    /// Takes entries off the RX ring.
    Receive {
        s: usize,
        max: u32,
    },
    /// Takes entries off the completion ring.
    Complete {
        s: usize,
        max: u32,
    },
    SetOption {
        s: usize,
        level: i32,
        name: i32,
        value: Vec<u8>,
    },
    GetOption {
        s: usize,
        level: i32,
        name: i32,
        len: usize,
    },
    /// `SO_BINDTODEVICE`.
    BindToDevice {
        s: usize,
        to: To,
    },
    Link {
        end: usize,
        up: bool,
    },
    Mtu {
        end: usize,
        mtu: u32,
    },
    /// `ethtool -L`: the number of receive and transmit queues in use.
    Queues {
        end: usize,
        rx: u32,
        tx: u32,
    },
    /// Deletes the pair.
    Remove {
        end: usize,
    },
    /// Moves an end to another namespace.
    MoveAway {
        end: usize,
    },
    /// Closes, without unmapping, and makes another socket in its place. A mapped ring keeps the old one alive.
    CloseMapped {
        s: usize,
    },
    /// Unmaps all rings of sockets that were closed that way.
    Unmap,
    /// Unmaps, closes, and makes another socket in its place.
    Close {
        s: usize,
    },
}

impl Op {
    /// The name of the call.
    pub fn call(&self) -> &'static str {
        match self {
            Self::Register { .. } => "setsockopt XDP_UMEM_REG",
            Self::Ring { .. } => "setsockopt XDP_*_RING",
            Self::Map { .. } => "mmap",
            Self::MapUpdateOdd { .. } => "map update",
            Self::PollMany { .. } => "poll",
            Self::Corrupt { .. } => "(corrupt)",
            Self::Rewrite { .. } => "(rewrite)",
            Self::BindToDevice { .. } => "setsockopt SO_BINDTODEVICE",
            Self::Mtu { .. } => "(MTU)",
            Self::Queues { .. } => "(queues)",
            Self::Remove { .. } => "(remove)",
            Self::MoveAway { .. } => "(move away)",
            Self::CloseMapped { .. } => "close, still mapped",
            Self::Unmap => "(unmap)",
            Self::Bind { .. } => "bind",
            Self::MapUpdate { .. } => "map update",
            Self::MapDelete { .. } => "map delete",
            Self::Write { .. } => "(write)",
            Self::Fill { .. } => "(fill)",
            Self::Send { kick: false, .. } => "(send)",
            Self::Send { kick: true, .. } | Self::Kick { .. } => "sendto",
            Self::Wake { .. } => "recvfrom",
            Self::Poll { .. } => "poll",
            Self::Inject { .. } => "(inject)",
            Self::Receive { .. } => "(receive)",
            Self::Complete { .. } => "(complete)",
            Self::SetOption { level: SOL_XDP, name: XDP_MAX_TX_SKB_BUDGET, .. } => {
                "setsockopt XDP_MAX_TX_SKB_BUDGET"
            }
            Self::SetOption { level: SOL_XDP, .. } => "setsockopt SOL_XDP, others",
            Self::SetOption { level: SOL_SOCKET, .. } => "setsockopt SOL_SOCKET",
            Self::SetOption { .. } => "setsockopt, other levels",
            Self::GetOption { level: SOL_XDP, name: XDP_STATISTICS, .. } => "getsockopt XDP_STATISTICS",
            Self::GetOption { level: SOL_XDP, name: XDP_MMAP_OFFSETS, .. } => "getsockopt XDP_MMAP_OFFSETS",
            Self::GetOption { level: SOL_XDP, name: XDP_OPTIONS, .. } => "getsockopt XDP_OPTIONS",
            Self::GetOption { level: SOL_XDP, .. } => "getsockopt SOL_XDP, others",
            Self::GetOption { level: SOL_SOCKET, .. } => "getsockopt SOL_SOCKET",
            Self::GetOption { .. } => "getsockopt, other levels",
            Self::Link { .. } => "(link)",
            Self::Close { .. } => "close",
        }
    }
}
