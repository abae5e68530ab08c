use std::{
    io::{self, Write},
    os::fd::{FromRawFd, OwnedFd},
    sync::OnceLock,
    thread,
};

use crate::{Errno, Error, Namespace, VethPair};

/// What this process may do, found out by doing it. Each field is `Ok` or the kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abilities {
    /// Make a network namespace.
    pub namespace: Result<(), Errno>,
    /// Make a veth pair in it. Where no namespace can be made this is not tried, and carries that answer.
    pub veth: Result<(), Errno>,
    /// Open an AF_XDP socket in it. Where no namespace can be made this is tried in the present one.
    pub af_xdp: Result<(), Errno>,
    /// Load an XDP program.
    pub bpf: Result<(), Errno>,
}

/// What this process may do. Tried once, remembered for the life of the process.
pub fn abilities() -> &'static Abilities {
    static ABILITIES: OnceLock<Abilities> = OnceLock::new();
    ABILITIES.get_or_init(Abilities::probe)
}

/// Whether tests that need veth and AF_XDP can run here.
///
/// If not, it writes one line, `SKIPPED <test>: <reasons>`, to standard error, past the capturing of libtest, and
/// returns false:
///
/// ```
/// # #[cfg(target_os = "linux")]
/// fn frames_cross() {
///     if !xsk_veth::require() {
///         return;
///     }
///     // ...
/// }
/// ```
///
/// # Panics
/// Instead of returning false, where the environment variable `XSK_REQUIRE_VETH` is `1`: set it wherever skipping
/// would be a silent failure.
#[must_use = "return from the test if false"]
pub fn require() -> bool {
    let Some(missing) = abilities().missing() else { return true };
    if std::env::var_os("XSK_REQUIRE_VETH").is_some_and(|value| value == "1") {
        panic!("XSK_REQUIRE_VETH=1, but {missing}");
    }
    skip(&missing);
    false
}

/// Says that the calling test is skipped, and why: one line, `SKIPPED <name of the thread>: <why>`, straight to standard
/// error, so that no test harness hides it.
pub fn skip(why: &str) {
    let thread = thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("unnamed thread"));
    // A closed stderr is no reason to fail a test.
    let _ = io::stderr().write_all(line.as_bytes());
}

impl Abilities {
    /// Tries everything afresh. [`abilities`] remembers; this is for processes that change their own rights. It may
    /// make the kernel load modules (veth), as any use of them would.
    pub fn probe() -> Self {
        let errno = |error: Error| error.errno().unwrap_or(Errno(libc::EIO));
        let ns = Namespace::new().map_err(errno);
        let veth = match &ns {
            Ok(ns) => VethPair::builder(ns, ns).build().map(drop).map_err(errno),
            Err(errno) => Err(*errno),
        };
        let af_xdp = match &ns {
            Ok(ns) => ns.try_run(open_af_xdp).map_err(errno).and_then(|opened| opened),
            Err(_) => open_af_xdp(),
        };
        Self { namespace: ns.map(drop), veth, af_xdp, bpf: load_xdp_program() }
    }

    /// What is missing for tests with veth, AF_XDP and XDP programs, one sentence each; `None` if nothing is.
    pub fn missing(&self) -> Option<String> {
        let mut sentences = Vec::new();
        if let Err(errno) = self.namespace {
            let cure = match errno.0 {
                libc::EPERM => "run as root or with CAP_SYS_ADMIN",
                libc::EINVAL => "the kernel needs CONFIG_NET_NS",
                libc::ENOSPC => "raise the sysctl user.max_net_namespaces",
                libc::ENOENT => "mount /proc",
                _ => "see unshare(2)",
            };
            sentences.push(format!("no network namespace can be made: {errno}; {cure}"));
        } else if let Err(errno) = self.veth {
            let cure = match errno.0 {
                libc::EPERM => "run as root or with CAP_NET_ADMIN",
                libc::EOPNOTSUPP => "the kernel needs CONFIG_VETH, or its module veth loaded",
                _ => "see veth(4)",
            };
            sentences.push(format!("no veth pair can be made: {errno}; {cure}"));
        }
        if let Err(errno) = self.af_xdp {
            let cure = match errno.0 {
                libc::EPERM => "run as root or with CAP_NET_RAW",
                libc::EAFNOSUPPORT => "the kernel needs CONFIG_XDP_SOCKETS",
                _ => "see socket(2)",
            };
            sentences.push(format!("no AF_XDP socket can be opened: {errno}; {cure}"));
        }
        if let Err(errno) = self.bpf {
            let cure = match errno.0 {
                libc::EPERM => "run as root or with CAP_BPF and CAP_NET_ADMIN",
                libc::ENOSYS => "the kernel needs CONFIG_BPF_SYSCALL",
                _ => "see bpf(2)",
            };
            sentences.push(format!("no XDP program can be loaded: {errno}; {cure}"));
        }
        if sentences.is_empty() { None } else { Some(sentences.join(". ")) }
    }
}

fn open_af_xdp() -> Result<(), Errno> {
    // SAFETY: socket takes no pointers.
    own(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) }.into())
}

/// Loads `return XDP_PASS`.
fn load_xdp_program() -> Result<(), Errno> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    /// The attributes of BPF_PROG_LOAD up to the licence and the (absent) log; the kernel takes shorter ones for zero.
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
    }
    // mov r0, 2 (XDP_PASS); exit. The immediate is in host order.
    let [i0, i1, i2, i3] = 2u32.to_ne_bytes();
    let program: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, i0, i1, i2, i3], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut load = Load {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr().expose_provenance() as u64,
        license: c"MIT".as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    // SAFETY: `load` has the layout and size stated, and its two addresses are of live memory: `insn_cnt` instructions
    // of eight bytes, and a terminated string.
    own(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw mut load, size_of_val(&load)) })
}

/// Closes a new descriptor again, or says why there is none.
fn own(fd: libc::c_long) -> Result<(), Errno> {
    let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) else { return Err(Errno::last()) };
    // SAFETY: the kernel just returned `fd`, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities = Abilities { namespace: Ok(()), veth: Ok(()), af_xdp: Ok(()), bpf: Ok(()) };

    #[test]
    fn nothing_missing_is_no_sentence() {
        assert_eq!(ALL.missing(), None);
    }

    #[test]
    fn each_lack_has_its_sentence_and_cure() {
        let eperm = Err(Errno(libc::EPERM));
        let cases = [
            (
                Abilities { namespace: eperm, veth: eperm, ..ALL },
                "no network namespace can be made: EPERM (1, Operation not permitted); run as root or with \
                 CAP_SYS_ADMIN",
            ),
            (
                Abilities { veth: Err(Errno(libc::EOPNOTSUPP)), ..ALL },
                "no veth pair can be made: EOPNOTSUPP (95, Operation not supported); the kernel needs CONFIG_VETH, or \
                 its module veth loaded",
            ),
            (
                Abilities { af_xdp: Err(Errno(libc::EAFNOSUPPORT)), bpf: eperm, ..ALL },
                "no AF_XDP socket can be opened: EAFNOSUPPORT (97, Address family not supported by protocol); the \
                 kernel needs CONFIG_XDP_SOCKETS. no XDP program can be loaded: EPERM (1, Operation not permitted); \
                 run as root or with CAP_BPF and CAP_NET_ADMIN",
            ),
        ];
        for (abilities, sentence) in cases {
            assert_eq!(abilities.missing().as_deref(), Some(sentence));
        }
    }
}
