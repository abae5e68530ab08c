//! How calls fail.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a call of the simulated kernel failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// As on Linux.
    Errno(i32),
    /// The simulator does not model what was asked for.
    Unsupported(String),
    /// Linux would wait for ever.
    WouldBlockForever(WouldBlockForever),
    /// Linux would have crashed.
    Crashed(Crash),
}

pub(crate) type Sys<T> = Result<T, Failure>;

/// An errno as a failed call.
pub(crate) fn errno<T>(number: i32) -> Sys<T> {
    Err(Failure::Errno(number))
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Errno(number) => Self::from_raw_os_error(number),
            Failure::Unsupported(what) => Self::new(io::ErrorKind::Unsupported, Unsupported { what }),
            Failure::WouldBlockForever(why) => Self::new(io::ErrorKind::WouldBlock, why),
            Failure::Crashed(crash) => Self::other(crash),
        }
    }
}

/// The simulated kernel does not model this, though Linux has it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the simulated kernel does not model {what}")]
pub struct Unsupported {
    /// What was asked for.
    pub what: String,
}

/// A poll without a timeout, while nothing is planned that could ever wake it.
///
/// The inner error of the [`io::Error`] of [`Backend::poll`](xsk::backend::Backend::poll).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this poll would wait for ever: nothing is planned that could wake it ({sockets} socket(s), virtual time {now:?})"
)]
pub struct WouldBlockForever {
    /// How many sockets were polled.
    pub sockets: usize,
    /// The moment.
    pub now: Duration,
}

/// Something that crashes or hangs Linux.
///
/// From then on every call of that kernel fails with this as its inner error, and dropping the kernel panics, unless
/// [`SimKernel::take_crash`](crate::SimKernel::take_crash) took note of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Linux would crash here: {what} ({rule})")]
pub struct Crash {
    /// The function of the kernel where it happens.
    pub rule: &'static str,
    /// What happened.
    pub what: String,
}
