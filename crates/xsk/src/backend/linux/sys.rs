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

/// Zeroed memory that this process keeps to itself, in pages as large as the kernel sees fit.
///
/// A child that is forked finds zeros of its own there. So it cannot write into this process's frames, and its fork cannot
/// make this process's next write go to another page than the one that the kernel has pinned (`mm/memory.c:copy_present_page`
/// prevents that only since Linux 5.12).
pub(super) fn own_memory(len: usize) -> io::Result<Mapping> {
    // Not populated: XDP_UMEM_REG does that, and packets through pages that it has populated are faster by some percent
    // (docs/performance.md).
    let mapping = map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
    let advise = |advice| {
        // SAFETY: the pages of the mapping, to which nobody has a pointer yet; neither advice changes what is in them.
        check(unsafe { libc::madvise(mapping.as_ptr().as_ptr().cast(), len, advice) })
    };
    advise(libc::MADV_WIPEONFORK)?;
    // A kernel built without huge pages refuses it.
    let _ = advise(libc::MADV_HUGEPAGE);
    Ok(mapping)
}

pub(super) fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec. CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
