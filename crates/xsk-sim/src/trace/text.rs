use std::fmt;

use super::{DropCause, Movement, Trace, TraceEvent, TracePlace, What};

impl fmt::Display for TracePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Socket(Some(handle)) => write!(f, "socket {}", handle.0),
            Self::Socket(None) => f.write_str("closed socket"),
            Self::Device(name) => f.write_str(name),
            Self::Queue(name, queue) => write!(f, "{name} queue {queue}"),
        }
    }
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFrame => "no frame in the fill ring",
            Self::RxRingFull => "RX ring full",
            Self::TooLong => "longer than a frame",
            Self::NotBound => "socket not bound",
            Self::OtherQueue => "socket of another queue",
            Self::Program => "program",
            Self::LinkDown => "link down",
            Self::Driver => "driver",
            Self::Fault => "fault",
        })
    }
}

fn movement(f: &mut fmt::Formatter<'_>, verb: &str, moved: &Movement) -> fmt::Result {
    let Movement { ring, from, to, waiting, addresses } = moved;
    write!(f, "{ring} {verb} {} ({from} to {to}, {waiting} wait)", to.wrapping_sub(*from))?;
    addresses.iter().try_for_each(|address| write!(f, " {address:#x}"))
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { call, result } => write!(f, "{call}: {result}"),
            Self::Produced(moved) => movement(f, "produced", moved),
            Self::Consumed(moved) => movement(f, "consumed", moved),
            Self::Kick { lost: false } => f.write_str("kick"),
            Self::Kick { lost: true } => f.write_str("kick lost"),
            Self::Wake { lost: false } => f.write_str("wakeup"),
            Self::Wake { lost: true } => f.write_str("wakeup lost"),
            Self::Packet { len, queue } => write!(f, "sends {len} bytes on queue {queue}"),
            Self::Napi { queue, packets } => write!(f, "NAPI of queue {queue}: {packets} packets"),
            Self::Drop { len, cause } => write!(f, "drops {len} bytes: {cause}"),
            Self::Device { state } => write!(f, "{state:?}"),
            Self::Fault { moment, fault } => write!(f, "fault: {fault:?} at {moment:?}"),
        }
    }
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.at.as_nanos();
        write!(
            f,
            "{:>12}.{:03} us  {:<16}  {}",
            nanos / 1000,
            nanos % 1000,
            self.place.to_string(),
            self.what
        )?;
        if self.lasted.is_zero() { Ok(()) } else { write!(f, " ({:?})", self.lasted) }
    }
}

/// One line for each event.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten > 0 {
            writeln!(f, "({} older events are forgotten)", self.forgotten)?;
        }
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}
