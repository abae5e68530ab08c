//! What every world on Linux does alike: calls that the backend has no method for, and rights that are taken away.

use std::io;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use xsk::backend::{Capabilities, Handle};

use crate::rights;

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn without(capabilities: Capabilities, body: &mut dyn FnMut()) {
    rights::change(|effective| effective & !capabilities.bits());
    body();
    rights::change(|effective| effective | capabilities.bits());
}

pub(super) fn with_memlock_limit(bytes: u64, body: &mut dyn FnMut()) {
    // The limit is the process's, and what counts is the user's.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rights::limit_locked_memory(bytes);
    body();
    rights::limit_locked_memory(before);
}

pub(super) fn socket_of(kind: i32, protocol: i32) -> io::Result<Handle> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_XDP, kind, protocol) };
    check(fd).map(|()| Handle(fd))
}

pub(super) fn sendto_blocking(socket: Handle) -> io::Result<()> {
    // SAFETY: no payload and no address.
    let sent = unsafe { libc::sendto(socket.0, ptr::null(), 0, 0, ptr::null(), 0) };
    check(sent as libc::c_int)
}

pub(super) fn recvfrom_blocking(socket: Handle) -> io::Result<()> {
    let nothing = ptr::null_mut();
    // SAFETY: a buffer of no bytes and no address.
    let got = unsafe { libc::recvfrom(socket.0, nothing, 0, 0, ptr::null_mut(), ptr::null_mut()) };
    check(got as libc::c_int)
}
