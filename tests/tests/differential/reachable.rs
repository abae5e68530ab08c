//! Which errors each call can meet on Linux 6.18.44, on a healthy machine, as root: and so must be met.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use xsk_core::errno::{
    E2BIG, EACCES, EAGAIN, EBADF, EBUSY, EFAULT, EINVAL, ENETDOWN, ENOBUFS, ENODEV, ENOMEM, ENOPROTOOPT,
    ENOTSOCK, ENXIO, EOPNOTSUPP,
};

/// Success.
const OK: i32 = 0;

/// Calls, and all that they may answer.
const REACHABLE: &[(&str, &[i32])] = &[
    ("setsockopt XDP_UMEM_REG", &[OK, EINVAL, EBUSY, EFAULT, ENOMEM]),
    ("setsockopt XDP_*_RING", &[OK, EINVAL, EBUSY]),
    ("setsockopt XDP_MAX_TX_SKB_BUDGET", &[OK, EINVAL, EACCES]),
    ("setsockopt SOL_XDP, others", &[ENOPROTOOPT]),
    ("setsockopt SOL_SOCKET", &[OK, EINVAL, ENOPROTOOPT]),
    ("setsockopt SO_BINDTODEVICE", &[OK, ENODEV]),
    ("setsockopt, other levels", &[ENOPROTOOPT]),
    ("getsockopt XDP_MMAP_OFFSETS", &[OK, EINVAL]),
    ("getsockopt XDP_STATISTICS", &[OK, EINVAL]),
    ("getsockopt XDP_OPTIONS", &[OK, EINVAL]),
    ("getsockopt SOL_XDP, others", &[EOPNOTSUPP]),
    ("getsockopt SOL_SOCKET", &[OK, ENOPROTOOPT]),
    ("getsockopt, other levels", &[ENOPROTOOPT]),
    ("mmap", &[OK, EINVAL, EBUSY]),
    ("bind", &[OK, EINVAL, EBUSY, ENODEV, EBADF, ENOTSOCK, EOPNOTSUPP]),
    ("map update", &[OK, E2BIG, EBADF, ENOTSOCK]),
    ("map delete", &[OK, EINVAL]),
    ("sendto", &[OK, EAGAIN, EBUSY, EINVAL, ENXIO, ENETDOWN, ENOBUFS]),
    ("recvfrom", &[OK, ENXIO, ENETDOWN, ENOBUFS]),
    ("poll", &[OK]),
    ("close", &[OK]),
    ("close, still mapped", &[OK]),
    // Not AF_XDP's calls, but what they are for is.
    ("(link)", &[OK]),
    ("(MTU)", &[OK, EINVAL]),
    ("(queues)", &[OK, EINVAL]),
    ("(remove)", &[OK]),
    ("(move away)", &[OK]),
];

/// What the same calls can answer elsewhere, and why it is not met here.
const UNREACHABLE: &[(&str, &str, &str)] = &[
    (
        "socket",
        "EPERM, ESOCKTNOSUPPORT, EPROTONOSUPPORT",
        "the tests have CAP_NET_RAW, and the backend says type and protocol",
    ),
    ("setsockopt XDP_UMEM_REG", "ENOBUFS", "RLIMIT_MEMLOCK does not bind who has CAP_IPC_LOCK"),
    ("setsockopt, getsockopt", "EFAULT", "values are slices: no bad pointers (but for the memory of a UMEM)"),
    ("setsockopt XDP_*_RING", "ENOMEM", "takes a ring that is larger than memory"),
    ("setsockopt SOL_SOCKET", "EPERM", "the tests have CAP_NET_ADMIN"),
    ("getsockopt", "EINVAL of a negative length", "values are slices"),
    (
        "mmap",
        "ENOMEM, EACCES, EBADF",
        "takes a process without address space, or rights, or a handle that is not open",
    ),
    ("bind", "EFAULT, EINVAL of a short address", "the address is a whole struct"),
    ("bind", "ENOPROTOOPT", "takes a socket of another family"),
    ("bind", "ENOMEM", "takes a machine without memory"),
    ("map update", "EEXIST, ENOENT, EINVAL", "the backend passes no flags"),
    ("map update", "EOPNOTSUPP", "takes a socket of another family"),
    ("map update", "ENOBUFS", "from 7.1 on, for a socket without an RX ring"),
    ("sendto, recvfrom", "EOPNOTSUPP", "the backend always says MSG_DONTWAIT"),
    ("sendto", "ENOMEM", "takes a machine without memory"),
    ("sendto", "EAGAIN of a full send buffer", "veth on one processor frees each packet within the call"),
    ("poll", "EINVAL, ENOMEM", "takes more descriptors than a process may have"),
];

/// Histories from which on all must be met, and what part of them.
const ENOUGH: u64 = 2000;
const PER_HISTORIES: u64 = 1000;

/// A table of what was met, and what is wrong with it.
pub(crate) fn check(histories: u64, met: &BTreeMap<(&'static str, i32), u64>) -> (String, Vec<String>) {
    let mut table = String::new();
    let mut wrong = Vec::new();
    let floor = if histories < ENOUGH { 0 } else { histories / PER_HISTORIES };
    for (call, errnos) in REACHABLE {
        for errno in *errnos {
            let count = met.get(&(*call, *errno)).copied().unwrap_or_default();
            let _ = writeln!(table, "{count:>10}  {call}: {}", name(*errno));
            if count < floor {
                wrong.push(format!("{call}: {}: met {count} times in {histories} histories", name(*errno)));
            }
        }
    }
    for (call, errno, why) in UNREACHABLE {
        let _ = writeln!(table, "     never  {call}: {errno}: {why}");
    }
    for ((call, errno), count) in met {
        let known = REACHABLE.iter().find(|(name, _)| name == call);
        let known = known.map_or(call.starts_with('(') && *errno == OK, |(_, errnos)| errnos.contains(errno));
        if !known {
            wrong.push(format!("{call}: {}: met {count} times, and not in the table", name(*errno)));
        }
    }
    (table, wrong)
}

fn name(errno: i32) -> String {
    if errno == OK { "ok".to_owned() } else { xsk_veth::Errno(errno).to_string() }
}
