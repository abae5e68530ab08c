//! Why the tool ends, and with which exit code.

use std::fmt;
use std::io;

use xsk::error::{Diagnosis, Error, Step};

/// What `--help` says of exit codes; here, beside their numbers.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done: --count or --duration reached, or ended by Ctrl-C, SIGTERM, SIGHUP, or standard output closed
  1  failed while running: an interface went down or away, no reply to any ping,
     a capture that is broken or cannot be written
  2  wrong usage: an option, a value, a queue that the interface does not have
  3  cannot run here: no such interface, interface down, privilege, kernel or driver support, memory missing,
     no capture of Ethernet in the file, or none can be made
  4  in use: the queue, or the interface's XDP program, belongs to somebody else";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Running = 1,
    Usage = 2,
    CannotRun = 3,
    InUse = 4,
}

/// The end of the tool, other than success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads standard output any more: no more to do, and nothing to say.
    OutputClosed,
    /// Something to tell.
    Told(Told),
}

#[derive(Debug)]
pub(crate) struct Told {
    kind: Kind,
    text: String,
}

impl Failure {
    fn told(kind: Kind, text: impl Into<String>) -> Self {
        Self::Told(Told { kind, text: text.into() })
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::told(Kind::Usage, text)
    }

    pub(crate) fn cannot_run(text: impl Into<String>) -> Self {
        Self::told(Kind::CannotRun, text)
    }

    /// While packets were moving.
    pub(crate) fn running(error: &impl fmt::Display) -> Self {
        Self::told(Kind::Running, error.to_string())
    }

    /// As [`running`](Self::running), of a port.
    pub(crate) fn of_running(error: &Error) -> Self {
        Self::told(Kind::Running, sentence(error))
    }

    /// As [`running`](Self::running), in words of our own.
    pub(crate) fn running_text(text: impl Into<String>) -> Self {
        Self::told(Kind::Running, text)
    }

    /// While printing.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::told(Kind::Running, format!("cannot write to standard output: {error}"))
    }

    /// While setting up.
    pub(crate) fn of(error: &Error) -> Self {
        use Diagnosis::{
            Contradiction, FrameSize, Headroom, InterfaceName, Layout, OtherMode, ProgramAttached, QueueBusy,
            QueueOutOfRange, RingSize,
        };
        let kind = match error.diagnosis() {
            InterfaceName(_)
            | QueueOutOfRange { .. }
            | Layout(_)
            | Headroom { .. }
            | FrameSize { .. }
            | RingSize { .. }
            | Contradiction => Kind::Usage,
            QueueBusy { .. } | ProgramAttached { .. } | OtherMode { .. } => Kind::InUse,
            _ => Kind::CannotRun,
        };
        Self::told(kind, sentence(error))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Told(Told { kind, .. }) => *kind as u8,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputClosed => f.write_str("standard output was closed"),
            Self::Told(Told { text, .. }) => f.write_str(text),
        }
    }
}

/// What the library says, in the words of this tool: its options instead of the library's names.
fn sentence(error: &Error) -> String {
    let words = words(error.diagnosis()).unwrap_or_else(|| error.diagnosis().to_string());
    let or_without = match error.diagnosis() {
        _ if error.step() == Step::BusyPoll => "; or leave --busy-poll out",
        Diagnosis::HugePages { .. } => "; or leave --huge-pages out",
        Diagnosis::MemoryLimit { .. } | Diagnosis::OutOfMemory => "; or use fewer --frames",
        _ => "",
    };
    error.in_words(&(words + or_without))
}

/// Of what the library says in words that are not those of this tool.
fn words(diagnosis: &Diagnosis) -> Option<String> {
    let of = |driver: &Option<String>| driver.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    Some(match diagnosis {
        Diagnosis::QueueBusy { waited_ms } => format!(
            "the queue is in use (waited {waited_ms} ms for it): end the program that has an AF_XDP socket on it; or if it has \
             ended a moment ago, try again, as packets may be in flight still"
        ),
        Diagnosis::ProgramAttached { program, name } => format!(
            "an XDP program is attached already (id {}, {name}, {} mode): end the program that attached it, or if that is gone \
             use `ip link set dev <interface> xdp off`",
            program.id, program.mode
        ),
        Diagnosis::OtherMode { attached } => {
            format!(
                "the XDP program is attached in {attached} mode already: ask for that mode (--skb, --native), or for none"
            )
        }
        Diagnosis::NoZeroCopy { driver } => {
            format!("the driver{} has no zero copy here: leave --zero-copy out", of(driver))
        }
        Diagnosis::NoNativeXdp { driver } => {
            format!("the driver{} has no native XDP: use --skb instead of --native", of(driver))
        }
        Diagnosis::TooFewQueues { driver } => format!(
            "the driver{} has too few queues for native XDP (a veth needs as many receive queues as its peer has transmit queues): \
             change them with `ethtool -L`, or use --skb",
            of(driver)
        ),
        Diagnosis::AttachRefused { driver } => format!(
            "the driver{} does not take the program in this mode (try --skb), or the kernel is older than 5.9, which xsk needs",
            of(driver)
        ),
        Diagnosis::InterfaceGone => {
            "the interface is gone (deleted, or moved to another network namespace)".to_owned()
        }
        Diagnosis::FrameTooSmall { mtu, room } => format!(
            "a packet of the interface's MTU {mtu} does not fit: a frame has room for {room} bytes with the Ethernet header; \
             lower the MTU, or use --frame-size 4096, --multi-buffer or --copy"
        ),
        Diagnosis::MtuTooLargeForProgram { mtu } => format!(
            "the driver does not attach a program for packets of one frame at MTU {mtu} (or, on veth, at the peer's MTU): lower \
             it, or use --multi-buffer or --skb"
        ),
        Diagnosis::KernelTooOld { feature: Diagnosis::SEVERAL_BUFFERS, since } => {
            format!("the kernel is too old for --multi-buffer, which needs Linux {since}")
        }
        Diagnosis::KernelTooOld { feature: feature @ Diagnosis::SHARED_UMEM, since } => {
            format!(
                "the kernel is too old for {feature}, which needs Linux {since}: name one queue, as in IF:0"
            )
        }
        Diagnosis::NoFrames => "there is no free frame to receive into: use more --frames".to_owned(),
        Diagnosis::TooManyPorts { max } => {
            format!("xsk takes at most {max} queues at a time: name one queue, as in IF:0")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use xsk::backend::{AttachedProgram, PageSize, XdpMode};
    use xsk::{Pool, PoolConfig, Port, PortConfig};
    use xsk_sim::{DeviceConfig, Profile, SimKernel};

    use super::*;

    #[test]
    fn more_queues_than_ports_are_named_one_by_one() {
        let kernel = SimKernel::new(0);
        kernel.card("wide", &DeviceConfig::default().queues(1025)).unwrap();
        let pool = Pool::new_in(kernel.backend(), PoolConfig::default()).unwrap();
        let error = Port::open_all(&pool, "wide", PortConfig::default()).unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().ends_with(": name one queue, as in IF:0"), "{failure}");
    }

    #[test]
    fn what_an_old_kernel_lacks_is_named_by_its_option() {
        let kernel = SimKernel::with_profile(0, Profile::LINUX_6_1);
        kernel.card("old", &DeviceConfig::default()).unwrap();
        let pool = Pool::new_in(kernel.backend(), PoolConfig::default()).unwrap();
        let error = Port::open(&pool, "old", 0, PortConfig::default().multi_buffer(true)).unwrap_err();
        let text = Failure::of(&error).to_string();
        assert!(text.contains("the kernel is too old for --multi-buffer, which needs Linux 6.6"), "{text}");
    }

    /// What the tool can meet, of what there is to say.
    fn diagnoses() -> Vec<Diagnosis> {
        use Diagnosis::*;
        let driver = || Some("veth".to_owned());
        let program = AttachedProgram { id: 7, mode: XdpMode::Native };
        vec![
            InterfaceName(0),
            NoInterface,
            QueueOutOfRange { queues: 2 },
            QueueBusy { waited_ms: 1 },
            ProgramAttached { program, name: "`p`".to_owned() },
            OtherMode { attached: XdpMode::Skb },
            MissingCapability("CAP_BPF"),
            MemoryLimit { limit: None, needed: 1 },
            Forbidden,
            FileLimit,
            NoProc,
            HugePages { size: PageSize::Huge2M, needed: 1, pages: None },
            NoZeroCopy { driver: driver() },
            NoNativeXdp { driver: driver() },
            TooFewQueues { driver: driver() },
            AttachRefused { driver: driver() },
            InterfaceDown,
            InterfaceGone,
            FrameTooSmall { mtu: 1500, room: 100 },
            MtuTooLargeForProgram { mtu: 9000 },
            KernelTooOld { feature: Diagnosis::SEVERAL_BUFFERS, since: "6.6" },
            KernelTooOld { feature: Diagnosis::SHARED_UMEM, since: "5.10" },
            NoAfXdp,
            FrameSize { max: 4096 },
            OutOfMemory,
            NoFrames,
            TooManyPorts { max: 1024 },
            Unknown,
        ]
    }

    #[test]
    fn nothing_is_said_in_names_of_the_library() {
        for diagnosis in diagnoses() {
            let text = words(&diagnosis).unwrap_or_else(|| diagnosis.to_string());
            for name in [
                "busy_timeout",
                "INHIBIT",
                "XDP_FLAGS",
                "XDP_USE",
                "XDP_COPY",
                "XDP_ZEROCOPY",
                "pool",
                "libxdp",
                "bind with",
                "open a",
            ] {
                assert!(!text.contains(name), "{name}: {text}");
            }
        }
    }
}
