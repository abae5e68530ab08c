use std::{io, time::Duration};

use crate::Errno;

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused.
    #[error("{step}{}: {errno}{}", on(.interface), remark(.detail))]
    Kernel {
        /// What was attempted, as in "set the MTU to 9000".
        step: String,
        /// The interface concerned.
        interface: Option<String>,
        /// The kernel's answer.
        errno: Errno,
        /// The kernel's own sentence on it, where it sent one.
        detail: Option<String>,
    },
    /// The kernel's netlink answer was not understood.
    #[error("{step}{}: the kernel's answer cannot be read: {reason}", on(.interface))]
    Answer {
        /// What was attempted.
        step: String,
        /// The interface concerned.
        interface: Option<String>,
        /// What is wrong with the answer.
        reason: String,
    },
    /// No interface can have this name.
    #[error(
        "{name:?} cannot name an interface: 1 to 15 bytes without white space, '/', ':' or NUL, not '.' or '..'"
    )]
    Name {
        /// The name as given.
        name: String,
    },
    /// An interface that is up on both ends did not start to run.
    #[error("wait until {interface} runs: still {state} after {waited:?}; is its peer up?")]
    NotRunning {
        /// The interface.
        interface: String,
        /// Its operational state as the kernel names it.
        state: String,
        /// How long this call waited.
        waited: Duration,
    },
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    pub(crate) fn kernel(step: impl Into<String>, interface: Option<&str>, errno: Errno) -> Self {
        Self::Kernel { step: step.into(), interface: interface.map(Into::into), errno, detail: None }
    }

    pub(crate) fn io(step: impl Into<String>, interface: Option<&str>, error: &io::Error) -> Self {
        Self::kernel(step, interface, Errno::of(error))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.errno() {
            Some(errno) => Self::from_raw_os_error(errno.0).kind(),
            None if matches!(error, Error::Name { .. }) => io::ErrorKind::InvalidInput,
            None if matches!(error, Error::NotRunning { .. }) => io::ErrorKind::TimedOut,
            None => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

fn on(interface: &Option<String>) -> String {
    interface.as_ref().map(|name| format!(" on {name}")).unwrap_or_default()
}

fn remark(detail: &Option<String>) -> String {
    detail.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}
