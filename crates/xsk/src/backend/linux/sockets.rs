//! Sockets that another process opened.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use xsk_core::abi::AF_XDP;

use super::Linux;
use super::sys::{check, owned};
use crate::backend::{Backend, BackendExt, Handle};

/// A new one.
pub(super) fn open() -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers.
    owned(unsafe { libc::socket(AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })
}

/// Sockets that wait to be used.
#[derive(Debug, Clone)]
pub(super) struct Given(Arc<Mutex<VecDeque<OwnedFd>>>);

impl Given {
    pub(super) fn new(sockets: impl IntoIterator<Item = OwnedFd>) -> io::Result<Self> {
        let checked = sockets.into_iter().map(|socket| {
            if domain(&socket)? != AF_XDP as u32 {
                let error = format!("file descriptor {} is no AF_XDP socket", socket.as_raw_fd());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
            // SAFETY: plain system call without pointers, on a descriptor that is ours.
            check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
            Ok(socket)
        });
        Ok(Self(Arc::new(Mutex::new(checked.collect::<io::Result<_>>()?))))
    }

    /// The next.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The address family of a socket; 0 of anything else.
fn domain(socket: &OwnedFd) -> io::Result<u32> {
    let linux: &dyn Backend = &Linux::new();
    match linux.get_option(Handle(socket.as_raw_fd()), libc::SOL_SOCKET, libc::SO_DOMAIN) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => Ok(0),
        result => result.map(|(domain, _)| domain),
    }
}
