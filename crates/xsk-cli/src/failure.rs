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
        let hint = match error.diagnosis() {
            Diagnosis::NoZeroCopy { .. } => "; here: leave --zero-copy out",
            Diagnosis::NoNativeXdp { .. } => "; here: --skb, or leave --native out",
            Diagnosis::MtuTooLargeForProgram { .. } => "; here: --multi-buffer or --skb",
            Diagnosis::FrameTooSmall { .. } => "; here: --frame-size 4096, --multi-buffer or --copy",
            QueueBusy { .. } | ProgramAttached { .. } => "; here: end the other program",
            Diagnosis::TooManyPorts { .. } => "; here: name one queue, as in IF:0",
            Diagnosis::HugePages { .. } => "; or leave --huge-pages out",
            _ if error.step() == Step::BusyPoll => "; or leave --busy-poll out",
            _ => "",
        };
        Self::told(kind, format!("{error}{hint}"))
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

#[cfg(test)]
mod tests {
    use xsk::{Pool, PoolConfig, Port, PortConfig};
    use xsk_sim::{DeviceConfig, SimKernel};

    use super::*;

    #[test]
    fn more_queues_than_ports_are_named_one_by_one() {
        let kernel = SimKernel::new(0);
        kernel.card("wide", &DeviceConfig::default().queues(1025)).unwrap();
        let pool = Pool::new_in(kernel.backend(), PoolConfig::default()).unwrap();
        let error = Port::open_all(&pool, "wide", PortConfig::default()).unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().ends_with("; here: name one queue, as in IF:0"), "{failure}");
    }
}
