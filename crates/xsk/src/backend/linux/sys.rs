use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

use crate::backend::Mapping;

/// The result of a system call as libc gives it: -1 means errno.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A file descriptor that a system call just made.
pub(super) fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the kernel gave this descriptor to us a moment ago, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Unmaps on drop, with the length that was mapped.
struct Unmap {
    start: usize,
    len: usize,
}

impl Drop for Unmap {
    fn drop(&mut self) {
        // SAFETY: `map` got these pages from mmap, and the Mapping that owns this is gone, with everything it lent out.
        unsafe { libc::munmap(ptr::without_provenance_mut(self.start), self.len) };
    }
}

/// `mmap`, readable and writable.
pub(super) fn map(len: usize, flags: libc::c_int, fd: RawFd, offset: libc::off_t) -> io::Result<Mapping> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: no address is asked for, so the kernel chooses one where nothing of ours is.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, offset) };
    let start = if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast::<u8>()) };
    let start = start.ok_or_else(io::Error::last_os_error)?;
    let unmap = Unmap { start: start.as_ptr().addr(), len };
    // SAFETY: `len` fresh bytes, page aligned, mapped until `unmap` is dropped; no reference to them exists.
    Ok(unsafe { Mapping::from_raw_parts(start, len, Box::new(unmap)) })
}

pub(super) fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec. CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
