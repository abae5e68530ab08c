//! Sockets that another process opened.

use std::collections::VecDeque;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use xsk_core::abi::AF_XDP;

use super::sys::{check, owned};

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
            let domain = domain(&socket)?;
            if domain != AF_XDP {
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

/// The address family of a socket; -1 of anything else.
fn domain(socket: &OwnedFd) -> io::Result<i32> {
    let (mut domain, mut len) = (-1, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the pointer is that of an int, and the length its size.
    let result = check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut len,
        )
    });
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => Ok(-1),
        result => result.map(|_| domain),
    }
}
