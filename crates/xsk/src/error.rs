//! Errors that say what to do.
//!
//! Every error of this crate is an [`Error`] inside: the [`Step`] that failed, the interface and queue, the value that was
//! refused, the errno, and a [`Diagnosis`] in words. [`UmemCreateError`](crate::umem::UmemCreateError) and
//! [`SocketCreateError`](crate::socket::SocketCreateError) deref to it; an [`io::Error`] of a queue carries it as its
//! inner error ([`Error::of_io`]).

mod step;

use std::fmt;
use std::io;

pub use step::Step;
use thiserror::Error as ThisError;
pub use xsk_core::errno;
use xsk_core::errno::describe;
use xsk_core::layout::LayoutError;
use xsk_core::ring::BrokenIndex;

use crate::backend::{AttachedProgram, HugePages, PageSize, TxOffloads, XdpMode};
use crate::config::MIN_TX_BUDGET;
use crate::diagnose;
use crate::port::{BusyPollAdvice, Violation};

/// What went wrong: where, with what value, and why.
#[derive(Debug, ThisError)]
#[error("{}", self.in_words(&self.diagnosis.to_string()))]
pub struct Error {
    step: Step,
    interface: Option<String>,
    queue: Option<u32>,
    value: Option<String>,
    diagnosis: Diagnosis,
    source: Option<io::Error>,
}

/// Why it failed, as far as can be told, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Diagnosis {
    /// The interface name cannot be one.
    #[error("an interface name has 1 to 15 bytes, this one has {0}")]
    InterfaceName(usize),
    /// There is no such interface.
    #[error(
        "there is no such interface in this network namespace (absent, renamed or deleted); list them with `ip link`"
    )]
    NoInterface,
    /// The queue id is too large.
    #[error("{}; `ethtool -L` gives it more if the driver can", range(*queues))]
    QueueOutOfRange {
        /// Number of queues.
        queues: u32,
    },
    /// Another socket is bound to the queue.
    #[error(
        "the queue is in use by another UMEM (waited {waited_ms} ms for it): another AF_XDP socket is bound to it, which is to \
         be closed, or one that was closed still has packets in flight, for which a longer `busy_timeout` waits"
    )]
    QueueBusy {
        /// How long the call waited, in milliseconds.
        waited_ms: u64,
    },
    /// There is an XDP program on the interface already.
    #[error(
        "an XDP program is attached already (id {}, {name}, {} mode): stop the program that attached it, or if that is gone \
         use `ip link set dev <interface> xdp off`; or else open the socket with INHIBIT_PROG_LOAD and put it into the XSKMAP \
         of the attached program, or attach beside it through libxdp's dispatcher (feature `libxdp`)",
        program.id,
        program.mode
    )]
    ProgramAttached {
        /// The program.
        program: AttachedProgram,
        /// Its name, quoted, or a word about why it is not known.
        name: String,
    },
    /// The XDP program on the interface is not one of libxdp's dispatcher.
    #[error(
        "the XDP program on the interface (id {}, {name}, {} mode) was not attached through libxdp's dispatcher, so nothing \
         can be attached beside it: detach it, or attach it through the dispatcher too (`xdp-loader load`)",
        program.id,
        program.mode
    )]
    NotDispatched {
        /// The program.
        program: AttachedProgram,
        /// Its name, quoted, or a word about why it is not known.
        name: String,
    },
    /// libxdp's dispatcher is on the interface in another mode.
    #[error("libxdp's dispatcher is on the interface in {attached} mode: ask for that mode, or for none")]
    DispatcherMode {
        /// The mode it is attached in.
        attached: XdpMode,
    },
    /// libxdp's dispatcher calls as many programs as it can.
    #[error("libxdp's dispatcher on the interface has no room for one more XDP program: it takes 10")]
    DispatcherFull,
    /// The kernel cannot have libxdp's dispatcher.
    #[error(
        "libxdp's dispatcher does not work here: it needs BPF programs of type EXT, which came with Linux 5.10 (on arm64 6.0) \
         and which some kernels are built or told to refuse"
    )]
    NoDispatcher,
    /// libxdp has nowhere to pin programs.
    #[error(
        "libxdp's dispatcher needs a BPF file system, and there is none at /sys/fs/bpf (or where the variable LIBXDP_BPFFS \
         says): mount one with `mount -t bpf bpf /sys/fs/bpf`"
    )]
    NoBpffs,
    /// This process has attached its program in another mode.
    #[error(
        "this process has attached its program in {attached} mode: use the same XDP mode flags for every socket of an interface"
    )]
    OtherMode {
        /// The mode it is attached in.
        attached: XdpMode,
    },
    /// A capability is missing.
    #[error(
        "this needs {0}, which the process lacks: run as root, or use `setcap` on the program (a socket with the built-in XDP \
         program needs cap_net_raw,cap_net_admin,cap_bpf+ep)"
    )]
    MissingCapability(&'static str),
    /// The limit of locked memory is too low.
    #[error(
        "the limit of locked memory is too low ({}this UMEM needs {needed} bytes, and all UMEMs of a user count together): raise \
         it with `ulimit -l`, or give the program CAP_IPC_LOCK",
        limit.map_or_else(String::new, |limit| format!("{limit} bytes; "))
    )]
    MemoryLimit {
        /// The limit in bytes, if known.
        limit: Option<u64>,
        /// What the UMEM needs, in bytes.
        needed: u64,
    },
    /// The capabilities are there, and the kernel refuses all the same.
    #[error(
        "the process has the capabilities, but the kernel does not let it: in a container or user namespace they do not count \
         for BPF, a security module may forbid it, and before Linux 5.11 the limit of locked memory (`ulimit -l`) may be too low"
    )]
    Forbidden,
    /// Too many open files.
    #[error("too many files are open: raise the limit with `ulimit -n`")]
    FileLimit,
    /// There is no /proc.
    #[error("/proc is not mounted here, or not readable")]
    NoProc,
    /// There are too few huge pages.
    #[error(
        "there are too few huge pages of {size}: {needed} needed, {}; reserve some in \
         /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages",
        pages.map_or_else(|| "how many are free is not known".to_owned(), |p| format!("{} free of {}", p.free, p.total)),
        size.bytes() >> 10
    )]
    HugePages {
        /// Which size.
        size: PageSize,
        /// How many the UMEM needs.
        needed: u64,
        /// How many there are, if known.
        pages: Option<HugePages>,
    },
    /// The driver has no zero copy.
    #[error("the driver{} has no zero copy here: leave XDP_ZEROCOPY out, or use XDP_COPY", driver.as_ref().map(|d| format!(" {d}")).unwrap_or_default())]
    NoZeroCopy {
        /// The driver, if known.
        driver: Option<String>,
    },
    /// The driver has no native XDP.
    #[error("the driver{} has no native XDP: use XDP_FLAGS_SKB_MODE", driver.as_ref().map(|d| format!(" {d}")).unwrap_or_default())]
    NoNativeXdp {
        /// The driver, if known.
        driver: Option<String>,
    },
    /// The driver has too few queues for native XDP.
    #[error(
        "the driver{} has too few queues for native XDP (a veth needs as many receive queues as its peer has transmit queues): \
         change them with `ethtool -L`, or use XDP_FLAGS_SKB_MODE",
        driver.as_ref().map(|d| format!(" {d}")).unwrap_or_default()
    )]
    TooFewQueues {
        /// The driver, if known.
        driver: Option<String>,
    },
    /// The driver or the kernel does not attach the program.
    #[error(
        "the driver{} does not take the program in this mode (try XDP_FLAGS_SKB_MODE), or the kernel is older than 5.9 and cannot \
         attach by a link (open the socket with INHIBIT_PROG_LOAD and attach a program of your own)",
        driver.as_ref().map(|d| format!(" {d}")).unwrap_or_default()
    )]
    AttachRefused {
        /// The driver, if known.
        driver: Option<String>,
    },
    /// The interface is down.
    #[error("the interface is down: set it up with `ip link set <interface> up`")]
    InterfaceDown,
    /// The interface has gone since the socket was bound.
    #[error(
        "the interface is gone (deleted, or moved to another network namespace): the socket is dead for good, close it and \
         open a new one"
    )]
    InterfaceGone,
    /// The MTU does not fit.
    #[error(
        "a packet of the interface's MTU {mtu} does not fit: a frame has room for {room} bytes with the Ethernet header; \
         lower the MTU, use larger frames or less headroom, or bind with XDP_USE_SG"
    )]
    FrameTooSmall {
        /// MTU of the interface, in bytes.
        mtu: u32,
        /// Bytes of packet data that a frame takes.
        room: u32,
    },
    /// The program takes single buffers only, and the MTU needs more.
    #[error(
        "the driver does not attach a single-buffer program at MTU {mtu} (or, on veth, at the peer's MTU): lower it, bind with \
         XDP_USE_SG, or use XDP_FLAGS_SKB_MODE"
    )]
    MtuTooLargeForProgram {
        /// MTU of the interface, in bytes.
        mtu: u32,
    },
    /// The kernel is too old.
    #[error("the kernel is too old for {feature}, which needs Linux {since}")]
    KernelTooOld {
        /// What it does not know.
        feature: &'static str,
        /// The first version that does.
        since: &'static str,
    },
    /// The kernel has no AF_XDP.
    #[error("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS), or the container forbids it")]
    NoAfXdp,
    /// The values make no UMEM.
    #[error("{0}")]
    Layout(LayoutError),
    /// The kernel refuses this headroom.
    #[error(
        "the headroom is too large for this kernel: it takes at most {max} bytes for frames of this size"
    )]
    Headroom {
        /// What recent kernels take.
        max: u32,
    },
    /// The frame size is out of range.
    #[error("a frame is at most a page, {max} bytes")]
    FrameSize {
        /// Bytes of a page.
        max: u32,
    },
    /// Frames of a pool are of another size.
    #[error(
        "frames of a pool have a power of two of bytes, and not {size}: take 2048, or 4096 (unaligned chunks are in the ring tier, \
         with XDP_UMEM_UNALIGNED_CHUNK_FLAG)"
    )]
    UnalignedFrames {
        /// Bytes that were asked for.
        size: u32,
    },
    /// The ring size is out of range.
    #[error("a ring has a power of two of entries, at most {max}")]
    RingSize {
        /// The largest ring that this crate makes.
        max: u32,
    },
    /// There is not enough memory.
    #[error("not enough memory")]
    OutOfMemory,
    /// The feature was not compiled in.
    #[error("this build of the crate has no feature `{0}`")]
    NoFeature(&'static str),
    /// The peer published an impossible ring index.
    #[error("{0}; nothing was moved")]
    BrokenRing(BrokenIndex),
    /// The kernel published a descriptor that cannot be right.
    #[error("{0}")]
    BadDescriptor(Violation),
    /// A packet, or a port, of another pool.
    #[error(
        "a port sends packets of its own pool only: copy it with `Pool::copy`, or open both ports on one pool"
    )]
    ForeignPool,
    /// Ports of several kernels.
    #[error(
        "the ports are of different kernels, which have no wait in common: make their pools on clones of one backend"
    )]
    ForeignKernel,
    /// A packet with a segment without bytes.
    #[error("the packet, or a segment of it, has no bytes, and the kernel refuses to send that")]
    EmptyPacket,
    /// A packet with too many segments.
    #[error(
        "the packet has more than {max} segments, which is what the kernel sends, or these rings hold, at most"
    )]
    TooManySegments {
        /// Segments of a packet at most.
        max: u32,
    },
    /// A packet asks for what is not done there.
    #[error(
        "the packet asks for {}, which neither this kernel nor, in zero-copy mode, the driver does: withdraw the request",
        diagnose::names(.0)
    )]
    NoOffload(TxOffloads),
    /// A checksum that a packet asks for is not within it.
    #[error(
        "the checksum that the packet asks for would end at byte {end}, and the packet, or its first segment, has {len}"
    )]
    ChecksumOutside {
        /// Where it would end.
        end: u32,
        /// Bytes of the packet's first segment.
        len: u32,
    },
    /// The kernel takes no such budget.
    #[error(
        "a wakeup can be made to send {MIN_TX_BUDGET} descriptors to as many as the TX ring has entries, here {entries}"
    )]
    TxBudget {
        /// Entries of the TX ring.
        entries: u32,
    },
    /// There is no free frame.
    #[error("the pool has no free frame to receive into: make it larger, or drop packets first")]
    NoFrames,
    /// The pool has too many ports.
    #[error("a pool has at most {max} ports: open the others on a second pool")]
    TooManyPorts {
        /// Ports of a pool at most.
        max: u32,
    },
    /// The pool has a port there already.
    #[error("another port of this pool is open on the queue")]
    PortOpen,
    /// Busy polling would do nothing.
    #[error("busy polling would do nothing: {0}")]
    BusyPolling(BusyPollAdvice),
    /// A wait without an end, on a simulated kernel where nothing will happen any more.
    #[error(
        "this wait would never end: nothing is planned in the simulated kernel, and no other thread drives it; bring a packet \
         first, give the wait an end, or run the kernel in the background"
    )]
    WaitsForEver,
    /// Flags that contradict each other.
    #[error("these flags exclude each other, give one of them")]
    Contradiction,
    /// Nothing is known beyond the errno.
    #[error("the kernel refused")]
    Unknown,
}

impl Diagnosis {
    /// What [`KernelTooOld`](Self::KernelTooOld) names where packets of several buffers are asked for, before Linux 6.6.
    pub const SEVERAL_BUFFERS: &'static str = "XDP_USE_SG";
    /// What it names where one UMEM is to serve several queues or interfaces, before Linux 5.10.
    pub const SHARED_UMEM: &'static str = "one UMEM on several queues or interfaces";
}

impl Error {
    pub(crate) fn new(step: Step, diagnosis: Diagnosis) -> Self {
        Self { step, interface: None, queue: None, value: None, diagnosis, source: None }
    }

    pub(crate) fn on(mut self, interface: impl Into<String>, queue: Option<u32>) -> Self {
        self.interface = Some(interface.into());
        self.queue = queue;
        self
    }

    pub(crate) fn value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(value.to_string());
        self
    }

    /// The errno may say something where the step alone did not.
    pub(crate) fn source(mut self, source: io::Error) -> Self {
        if self.diagnosis == Diagnosis::Unknown {
            self.diagnosis = match (self.step, source.raw_os_error()) {
                (_, Some(errno::ENOMEM)) => Diagnosis::OutOfMemory,
                (_, Some(errno::EMFILE | errno::ENFILE)) => Diagnosis::FileLimit,
                (Step::FindNamespace, Some(errno::ENOENT | errno::EACCES)) => Diagnosis::NoProc,
                _ => Diagnosis::Unknown,
            };
        }
        self.source = Some(source);
        self
    }

    /// The call that failed.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Why it failed.
    pub fn diagnosis(&self) -> &Diagnosis {
        &self.diagnosis
    }

    /// The interface, if one was concerned.
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// The queue, if one was concerned.
    pub fn queue(&self) -> Option<u32> {
        self.queue
    }

    /// The value that was refused, in words.
    pub fn refused(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The errno, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.as_ref()?.raw_os_error()
    }

    /// What an [`io::Error`] of this crate says: the queues' calls wrap an [`Error`].
    pub fn of_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// The whole sentence, with other words for why it failed and what to do: of a program that has names of its own for what
    /// the [`Diagnosis`] calls by those of this crate.
    pub fn in_words(&self, diagnosis: &str) -> String {
        let mut text = self.step.to_string();
        match (&self.interface, self.queue) {
            // The step says what the name is of.
            (Some(interface), _) if self.step == Step::FindInterface => text += &format!(" `{interface}`"),
            (Some(interface), Some(queue)) => text += &format!(" on {interface} queue {queue}"),
            (Some(interface), None) => text += &format!(" on {interface}"),
            (None, Some(queue)) => text += &format!(" on queue {queue}"),
            (None, None) => {}
        }
        if let Some(value) = &self.value {
            text += &format!(" with {value}");
        }
        // Commands in it are to be copied.
        let name = self.interface.as_deref().unwrap_or(INTERFACE);
        text += &format!(": {}", diagnosis.replace(INTERFACE, name));
        match (self.errno(), &self.source) {
            (Some(errno), _) => text += &format!(" ({})", describe(errno)),
            (None, Some(source)) => text += &format!(" ({source})"),
            (None, None) => {}
        }
        text
    }
}

/// Where a [`Diagnosis`] means the interface, whose name it does not know.
const INTERFACE: &str = "<interface>";

/// Which queue ids there are.
fn range(queues: u32) -> String {
    match queues {
        0 => "the interface has no queues".to_owned(),
        1 => "the interface has one queue, whose id is 0".to_owned(),
        _ => format!("the interface has {queues} queues, so queue ids go from 0 to {}", queues - 1),
    }
}

/// The kind of the errno survives; the rest is the inner error.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error.source.as_ref().map_or(io::ErrorKind::Other, io::Error::kind);
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_everything() {
        let error = Error::new(Step::Bind, Diagnosis::QueueOutOfRange { queues: 4 })
            .on("eth0", Some(99))
            .value("flags XDP_COPY")
            .source(io::Error::from_raw_os_error(22));
        assert_eq!(
            error.to_string(),
            "cannot bind on eth0 queue 99 with flags XDP_COPY: the interface has 4 queues, so queue ids go from 0 to 3; \
             `ethtool -L` gives it more if the driver can (EINVAL 22)"
        );
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(Error::of_io(&error).unwrap().errno(), Some(22));
    }
}
