//! Rights of a thread, taken from it and given back.

use std::io;

/// Changes the effective capabilities of the calling thread, given as bits. Those that it was permitted at first it can
/// take again.
///
/// # Panics
/// If the kernel refuses.
pub fn change(change: impl FnOnce(u64) -> u64) {
    // _LINUX_CAPABILITY_VERSION_3; the calling thread; two words each of effective, permitted, inheritable.
    let mut header = [0x2008_0522_u32, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: a header of version 3 and the six words that go with it.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) }, 0);
    let effective = change(u64::from(sets[0]) | u64::from(sets[3]) << 32);
    (sets[0], sets[3]) = (effective as u32, (effective >> 32) as u32);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) }, 0);
}

/// Sets the limit of locked memory of the whole process, in bytes; returns what it was.
///
/// # Panics
/// If the kernel refuses.
pub fn limit_locked_memory(bytes: u64) -> u64 {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    assert_eq!(unsafe { libc::getrlimit64(libc::RLIMIT_MEMLOCK, &raw mut limit) }, 0);
    let before = std::mem::replace(&mut limit.rlim_cur, bytes.min(limit.rlim_max));
    // SAFETY: the kernel only reads `limit`.
    let result = unsafe { libc::setrlimit64(libc::RLIMIT_MEMLOCK, &raw const limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    before
}
