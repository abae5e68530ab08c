use std::fmt;

/// The call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Checking the values that were given, before any call.
    CheckConfig,
    /// Finding the interface.
    FindInterface,
    /// Finding out which network namespace this is.
    FindNamespace,
    /// Mapping the UMEM's memory.
    MapMemory,
    /// `socket(AF_XDP)`.
    CreateSocket,
    /// `setsockopt(XDP_UMEM_REG)`.
    RegisterUmem,
    /// `setsockopt` of one of the four rings.
    CreateRing,
    /// `setsockopt(XDP_MAX_TX_SKB_BUDGET)`.
    TxBudget,
    /// `getsockopt(XDP_MMAP_OFFSETS)`.
    RingOffsets,
    /// `mmap` of one of the four rings.
    MapRing,
    /// `bind`.
    Bind,
    /// Making the XSKMAP.
    CreateMap,
    /// Loading the XDP program.
    LoadProgram,
    /// Attaching the XDP program.
    AttachProgram,
    /// Putting a socket into the XSKMAP, or taking it out.
    UpdateMap,
    /// `poll`.
    Poll,
    /// Waking the kernel up.
    Wakeup,
    /// Moving descriptors through a ring.
    MoveDescriptors,
    /// `getsockopt(XDP_STATISTICS)`.
    Statistics,
    /// `getsockopt(XDP_OPTIONS)`.
    Options,
    /// `setsockopt` of the options of busy polling, and what an interface needs for it.
    BusyPoll,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckConfig => "cannot use this configuration",
            Self::FindInterface => "cannot find the interface",
            Self::FindNamespace => "cannot find out the network namespace",
            Self::MapMemory => "cannot map memory for the UMEM",
            Self::CreateSocket => "cannot create an AF_XDP socket",
            Self::RegisterUmem => "cannot register the UMEM (XDP_UMEM_REG)",
            Self::CreateRing => "cannot create a ring",
            Self::TxBudget => "cannot set how much a wakeup sends (XDP_MAX_TX_SKB_BUDGET)",
            Self::RingOffsets => "cannot read the ring offsets (XDP_MMAP_OFFSETS)",
            Self::MapRing => "cannot map a ring",
            Self::Bind => "cannot bind",
            Self::CreateMap => "cannot create an XSKMAP",
            Self::LoadProgram => "cannot load the XDP program",
            Self::AttachProgram => "cannot attach the XDP program",
            Self::UpdateMap => "cannot update the XSKMAP",
            Self::Poll => "cannot poll",
            Self::Wakeup => "cannot wake the kernel",
            Self::MoveDescriptors => "cannot move descriptors",
            Self::Statistics => "cannot read the statistics (XDP_STATISTICS)",
            Self::Options => "cannot read the options (XDP_OPTIONS)",
            Self::BusyPoll => "cannot busy-poll",
        })
    }
}
