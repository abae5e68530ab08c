//! The vocabulary: what a history is made of.

use xsk_core::abi::{xdp_desc, xdp_umem_reg};

/// Sockets of a history.
pub(crate) const SOCKETS: usize = 3;
/// UMEMs of a history.
pub(crate) const UMEMS: usize = 2;
/// Bytes that are mapped for each UMEM.
pub(crate) const MEMORY: u64 = 16 * 4096;

/// Which kind of place the calls go to, and the calls.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) place: Place,
    pub(crate) ops: Vec<Op>,
}

/// A pair of devices, each with a redirect program and a map of four slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The programs are attached in native mode, not in SKB mode.
    pub(crate) native: bool,
    /// MTU 9000, programs that take packets of several buffers, and `XDP_USE_SG` allowed.
    pub(crate) sg: bool,
    /// One or two.
    pub(crate) queues: u32,
}

/// A ring, by the order of its option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RingKind {
    Rx,
    Tx,
    Fill,
    Completion,
}

/// What a call says for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// End 0 or 1 of the pair.
    End(usize),
    /// Interface index 0.
    Nothing,
    /// An index that no device has.
    Nobody,
}

/// What a bind says for the socket whose UMEM it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Nobody,
    Socket(usize),
    /// A descriptor that is not open.
    Closed,
    /// A descriptor that is no socket.
    Map,
}

/// Where a UMEM registration says that its memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Memory,
    /// So many bytes behind it.
    Off(u64),
    Null,
}

/// One operation. `s` is a socket's slot.
#[derive(Debug, Clone)]
pub(crate) enum Op {
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
    /// An end's stack sends frames to the other end.
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
    Link {
        end: usize,
        up: bool,
    },
    /// Unmaps, closes, and makes another socket in its place.
    Close {
        s: usize,
    },
}

impl Op {
    /// The end that it binds to.
    pub(crate) fn bound_end(&self) -> Option<usize> {
        match self {
            Self::Bind { to: To::End(end), .. } => Some(*end),
            _ => None,
        }
    }

    /// The name of the call.
    pub(crate) fn call(&self) -> &'static str {
        match self {
            Self::Register { .. } => "setsockopt XDP_UMEM_REG",
            Self::Ring { .. } => "setsockopt XDP_*_RING",
            Self::Map { .. } => "mmap",
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
            Self::SetOption { .. } => "setsockopt, others",
            Self::GetOption { .. } => "getsockopt",
            Self::Link { .. } => "(link)",
            Self::Close { .. } => "close",
        }
    }
}
