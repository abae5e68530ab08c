//! What happened, event by event, in virtual time.
//!
//! A trace has the calls with their results, every movement of a ring's indices as far as the kernel sees them, wakeups in
//! both directions, packets, drops with their cause, and the faults. It is text, or a file for Chrome's trace viewer and
//! Perfetto. The same calls on the same seed have the same trace, to the byte. While no trace is recorded none costs.
//!
//! The user moves its indices without a call, so the kernel sees that at the next call or event only, and the trace has it
//! there.

mod chrome;
mod record;
mod text;

use std::time::Duration;

use xsk::backend::Handle;

pub(crate) use record::Recorder;

use crate::error::Failure;
use crate::fault::{Call, Fault, Moment, Ring};
use crate::sim_kernel::SimKernel;

/// A copy of what was recorded: see [`SimKernel::trace`].
#[derive(Debug, Clone, Default)]
pub struct Trace {
    events: Vec<TraceEvent>,
    forgotten: u64,
}

impl Trace {
    /// The events, oldest first. A call stands where it ended.
    pub fn events(&self) -> &[TraceEvent] {
        &self.events
    }

    /// How many older events there was no room for.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TraceEvent {
    /// When it began, in virtual time.
    pub at: Duration,
    /// How long it took; only calls take time.
    pub lasted: Duration,
    /// Where it happened.
    pub place: TracePlace,
    /// What it was.
    pub what: What,
}

/// Where something happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TracePlace {
    /// In the kernel at large.
    Kernel,
    /// On a socket; `None` for one that was closed.
    Socket(Option<Handle>),
    /// On a device.
    Device(String),
    /// On the fill and completion ring of a device's queue.
    Queue(String, u32),
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum What {
    /// A call.
    Call {
        /// Which.
        call: Call,
        /// `ok`, or the error.
        result: String,
    },
    /// The producer index of a ring moved: entries were put in.
    Produced(Movement),
    /// The consumer index of a ring moved: entries were taken out.
    Consumed(Movement),
    /// A call of the user asked the kernel to look at the TX ring.
    Kick {
        /// A fault lost it.
        lost: bool,
    },
    /// The kernel woke somebody who slept in poll.
    Wake {
        /// A fault lost it.
        lost: bool,
    },
    /// A device was given a packet to send.
    Packet {
        /// Bytes.
        len: u32,
        /// The queue.
        queue: u32,
    },
    /// NAPI ran.
    Napi {
        /// The receive queue.
        queue: u32,
        /// Packets of this poll.
        packets: u32,
    },
    /// A packet was dropped.
    Drop {
        /// Bytes.
        len: u32,
        /// Why.
        cause: DropCause,
    },
    /// A device changed.
    Device {
        /// What it is now.
        state: DeviceState,
    },
    /// A rule made something go wrong.
    Fault {
        /// What was about to happen.
        moment: Moment,
        /// What went wrong.
        fault: Fault,
    },
}

/// How an index of a ring moved.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Movement {
    /// The ring.
    pub ring: Ring,
    /// The index before.
    pub from: u32,
    /// The index now. It counts on and on: a ring of 8 has places 0 to 7 at indices 0 to 7, 8 to 15 and so on.
    pub to: u32,
    /// Entries in the ring now, by both indices.
    pub waiting: u32,
    /// The addresses of the first entries that were put in; empty for those that were taken out.
    pub addresses: Vec<u64>,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropCause {
    /// There was no fill entry for it.
    NoFrame,
    /// The RX ring was full.
    RxRingFull,
    /// It is longer than a frame, and the socket takes no packets of several.
    TooLong,
    /// The program redirected it to a socket that is not bound.
    NotBound,
    /// The program redirected it to a socket of another queue or device.
    OtherQueue,
    /// The program dropped it.
    Program,
    /// The device was down, or its peer.
    LinkDown,
    /// The driver did not take it.
    Driver,
    /// A fault.
    Fault,
}

impl DropCause {
    /// The names of the counters that devices have for them, in order.
    pub(crate) const COUNTERS: [&'static str; 9] = [
        "drop_no_frame",
        "drop_rx_ring_full",
        "drop_too_long",
        "drop_not_bound",
        "drop_other_queue",
        "drop_program",
        "drop_link_down",
        "drop_driver",
        "drop_fault",
    ];
}

impl From<Failure> for DropCause {
    fn from(failure: Failure) -> Self {
        use xsk_core::errno::{EINVAL, EIO, ENOBUFS, ENOSPC, ENXIO};
        match failure {
            Failure::Errno(EIO) => Self::Fault,
            Failure::Errno(ENOBUFS) => Self::RxRingFull,
            Failure::Errno(ENOSPC) => Self::TooLong,
            Failure::Errno(ENXIO) => Self::NotBound,
            Failure::Errno(EINVAL) => Self::OtherQueue,
            _ => Self::NoFrame,
        }
    }
}

/// The state of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceState {
    /// Up.
    Up,
    /// Down.
    Down,
    /// Removed, or moved away.
    Gone,
}

impl SimKernel {
    /// Records what happens from now on, the last `events` of it. Forgets what was recorded before. 0 ends it.
    pub fn record(&self, events: usize) {
        let mut kernel = self.lock();
        kernel.recorder = None;
        if events > 0 {
            kernel.start_recording(events);
        }
    }

    /// What was recorded so far; empty if nothing is.
    ///
    /// ```
    /// use xsk::backend::Backend;
    ///
    /// let kernel = xsk_sim::SimKernel::new(1);
    /// kernel.record(1000);
    /// let socket = kernel.socket()?;
    /// kernel.sendto(socket).unwrap_err();
    /// let trace = kernel.trace();
    /// assert!(trace.to_string().contains("sendto: ENXIO 6"), "{trace}");
    /// // In a file: to be opened in https://ui.perfetto.dev or chrome://tracing.
    /// assert!(trace.to_chrome_json().contains("traceEvents"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn trace(&self) -> Trace {
        let mut kernel = self.lock();
        kernel.look_at_rings();
        kernel.recorder.as_ref().map_or_else(Trace::default, |recorder| recorder.copy())
    }
}
