//! Who does the kernel's share of the work, and when.

use std::ffi::CString;
use std::fmt;
use std::time::Duration;

use super::error::PortError;
use crate::backend::{Backend, BackendExt, Capabilities, InterruptDeferral};
use crate::error::{Diagnosis, Error, Step, errno};
use crate::queue::Shared;

/// Who does the kernel's share of the work for a port, and when: the driver's, which takes packets from the card and gives it
/// frames and packets, and in copy mode the copying.
///
/// | | the driver works | the port's system calls | an idle port | choose it |
/// |---|---|---|---|---|
/// | `NeedWakeup` | in its interrupt, on that processor | those that the kernel asks for | sleeps | unless you know better |
/// | `Interrupt` | the same, and again and again while it lacks frames | fewer, in zero-copy mode | keeps a processor busy | if the interrupt has a processor to itself |
/// | `BusyPoll` | in the port's calls, on the port's processor | one for each call that finds nothing | as the program does | for latency, and where one processor is to do all |
///
/// In copy mode `NeedWakeup` and `Interrupt` are the same: sending takes a system call for each batch, receiving none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Policy {
    /// The driver works in its interrupt, and says in the rings when it has to be woken up, which the port then does
    /// (`XDP_USE_NEED_WAKEUP`): fewest system calls under load, and a driver that sleeps when there is nothing to do.
    #[default]
    NeedWakeup,
    /// The driver is never woken up for frames: in zero-copy mode it keeps polling while it lacks them, which the processor of
    /// its interrupt pays for.
    Interrupt,
    /// The driver works within the calls of the port, instead of in an interrupt: see [`BusyPoll`].
    BusyPoll(BusyPoll),
}

/// Busy polling: the thread that receives does the driver's work, by a system call each time it finds nothing.
///
/// It saves the way from the card's interrupt to the thread, and the second processor. It costs the thread a system call for
/// each look in vain. Sets `SO_PREFER_BUSY_POLL`, `SO_BUSY_POLL` and `SO_BUSY_POLL_BUDGET` (Linux 5.11; needs `CAP_NET_ADMIN`).
///
/// **The options alone change little.** As long as the interface's interrupts are not held back, each packet still raises one,
/// and the driver does its work there. Two files of the interface hold them back, `napi_defer_hard_irqs` and
/// `gro_flush_timeout` (`net/core/dev.c:busy_poll_stop` and `napi_complete_done`).
/// [`Port::busy_poll_advice`](super::Port::busy_poll_advice) says what is missing, and [`required`](Self::required) makes that
/// an error of opening.
///
/// ```
/// use std::time::Duration;
/// use xsk::PortConfig;
/// use xsk::port::BusyPoll;
///
/// let config = PortConfig::default().policy(BusyPoll::default().budget(32).required());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BusyPoll {
    microseconds: u32,
    budget: u16,
    required: bool,
}

impl Default for BusyPoll {
    /// 20 microseconds, 64 packets, not required.
    fn default() -> Self {
        Self { microseconds: 20, budget: 64, required: false }
    }
}

impl BusyPoll {
    /// How long [`wait`](super::Port::wait) polls before it sleeps; whole microseconds, at least one. While it sleeps, packets
    /// wait for the interface's `gro_flush_timeout` at the longest. `SO_BUSY_POLL` is set to it as well.
    pub fn time(mut self, time: Duration) -> Self {
        const MAX: u32 = i32::MAX as u32;
        self.microseconds = u32::try_from(time.as_micros()).unwrap_or(MAX).clamp(1, MAX);
        self
    }

    /// How many packets the driver handles in one call at most (`SO_BUSY_POLL_BUDGET`): 64 by default, as in an interrupt. 0
    /// leaves it to the kernel, which takes 8.
    pub fn budget(mut self, packets: u16) -> Self {
        self.budget = packets;
        self
    }

    /// Opening fails if the interface's interrupts are not held back, or nothing is known of that.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

impl From<BusyPoll> for Policy {
    fn from(busy_poll: BusyPoll) -> Self {
        Self::BusyPoll(busy_poll)
    }
}

/// What keeps busy polling from working: see [`Port::busy_poll_advice`](super::Port::busy_poll_advice). Its `Display` says what
/// to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusyPollAdvice {
    /// The port was opened with another [`Policy`].
    OtherPolicy,
    /// A file has to be written to, or the driver does its work in its interrupts all the same.
    Write {
        /// The file.
        file: String,
        /// A value that serves.
        value: u64,
    },
    /// Whether interrupts are held back is not known, for this reason.
    Unknown {
        /// The interface.
        interface: String,
        /// Why it is not known.
        reason: String,
    },
    /// The kernel knows of no NAPI instance to poll for this socket (`SO_INCOMING_NAPI_ID` is 0). The driver has told it of none
    /// (veth does not), or on kernels that learn it from packets (Linux 5.11 to 6.13; veth's in native mode as well) none has
    /// come yet.
    NoNapi,
}

impl fmt::Display for BusyPollAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherPolicy => {
                f.write_str("the port does not busy-poll: open it with `PortConfig::policy(BusyPoll::default())`")
            }
            Self::Write { file, value } => {
                write!(f, "write {value} to {file}, which is 0: the interface does not hold its interrupts back")
            }
            Self::Unknown { interface, reason } => {
                write!(f, "whether {interface} holds its interrupts back is not known ({reason}): see to it that ")?;
                write!(f, "{} and {} are not 0", file(interface, HARD_IRQS), file(interface, FLUSH_TIMEOUT))
            }
            Self::NoNapi => f.write_str(
                "the kernel knows of nothing to poll for this queue (SO_INCOMING_NAPI_ID is 0): its driver is not made for busy \
                 polling, or on older kernels no packet has come yet",
            ),
        }
    }
}

/// The files, and values that serve: those of the kernel's documentation (`Documentation/networking/napi.rst`).
const HARD_IRQS: (&str, u64) = ("napi_defer_hard_irqs", 2);
const FLUSH_TIMEOUT: (&str, u64) = ("gro_flush_timeout", 200_000);

fn file(interface: &str, (name, _): (&str, u64)) -> String {
    format!("/sys/class/net/{interface}/{name}")
}

/// What is missing on the interface.
fn of_interface(backend: &dyn Backend, interface: &str) -> Vec<BusyPollAdvice> {
    let name = CString::new(interface).unwrap_or_default();
    let write = |which: (&str, u64)| BusyPollAdvice::Write { file: file(interface, which), value: which.1 };
    match backend.interrupt_deferral(&name) {
        Ok(InterruptDeferral { hard_irqs, flush_timeout }) => {
            let missing = [(hard_irqs == 0, HARD_IRQS), (flush_timeout.is_zero(), FLUSH_TIMEOUT)];
            missing.into_iter().filter(|(missing, _)| *missing).map(|(_, which)| write(which)).collect()
        }
        Err(error) => {
            vec![BusyPollAdvice::Unknown { interface: interface.to_owned(), reason: error.to_string() }]
        }
    }
}

const SOL_SOCKET: i32 = 1;
const SO_BUSY_POLL: i32 = 46;
const SO_INCOMING_NAPI_ID: i32 = 56;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;

impl Policy {
    /// How long to poll before sleeping.
    pub(super) fn polls_for(&self) -> Option<Duration> {
        match self {
            Self::BusyPoll(busy_poll) => Some(Duration::from_micros(busy_poll.microseconds.into())),
            Self::NeedWakeup | Self::Interrupt => None,
        }
    }

    /// What has to be so before the socket is opened.
    pub(super) fn check(&self, backend: &dyn Backend, interface: &str) -> Result<(), Error> {
        match self {
            Self::BusyPoll(BusyPoll { required: true, .. }) => {
                let first = of_interface(backend, interface).into_iter().next();
                first.map_or(Ok(()), |advice| Err(Error::new(Step::BusyPoll, Diagnosis::BusyPolling(advice))))
            }
            _ => Ok(()),
        }
    }

    /// Tells the kernel, of a socket that was opened.
    pub(super) fn apply(&self, shared: &Shared) -> Result<(), Error> {
        let Self::BusyPoll(BusyPoll { microseconds, budget, .. }) = *self else { return Ok(()) };
        let backend = shared.backend();
        for (name, option, value) in [
            ("SO_PREFER_BUSY_POLL", SO_PREFER_BUSY_POLL, 1),
            ("SO_BUSY_POLL", SO_BUSY_POLL, microseconds),
            ("SO_BUSY_POLL_BUDGET", SO_BUSY_POLL_BUDGET, budget.into()),
        ] {
            backend.setsockopt(shared.handle(), SOL_SOCKET, option, &value.to_ne_bytes()).map_err(
                |error| {
                    let may =
                        backend.capabilities().is_ok_and(|has| has.contains(Capabilities::CAP_NET_ADMIN));
                    let diagnosis = match error.raw_os_error() {
                        Some(errno::EPERM) if !may => {
                            Diagnosis::MissingCapability("CAP_NET_ADMIN (to prefer busy polling)")
                        }
                        Some(errno::ENOPROTOOPT) => {
                            Diagnosis::KernelTooOld { feature: "preferred busy polling", since: "5.11" }
                        }
                        _ => Diagnosis::Unknown,
                    };
                    shared.error(Step::BusyPoll, diagnosis).value(format!("{name} {value}")).source(error)
                },
            )?;
        }
        Ok(())
    }
}

/// What keeps busy polling from working on a port.
pub(super) fn advice(shared: &Shared, polls: bool) -> Result<Vec<BusyPollAdvice>, PortError> {
    let backend = shared.backend();
    let mut advice = Vec::new();
    if !polls {
        advice.push(BusyPollAdvice::OtherPolicy);
    }
    advice.extend(of_interface(&**backend, &shared.interface));
    let id = backend.get_option::<u32>(shared.handle(), SOL_SOCKET, SO_INCOMING_NAPI_ID);
    let (id, _) = id.map_err(|error| shared.error(Step::BusyPoll, Diagnosis::Unknown).source(error))?;
    if id == 0 {
        advice.push(BusyPollAdvice::NoNapi);
    }
    Ok(advice)
}
