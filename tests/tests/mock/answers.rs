//! The errnos that a call may give, and a telling part of what is to be said of each, to a process that may do everything.

use xsk_core::errno::*;

pub(crate) type Answers = &'static [(i32, &'static str)];

pub(crate) const OTHER: &str = "the kernel refused";
pub(crate) const MEMORY: &str = "not enough memory";
const FILES: &str = "raise the limit with `ulimit -n`";
const NO_AF_XDP: &str = "this kernel has no AF_XDP";
const NO_INTERFACE: &str = "there is no such interface";
const FORBIDDEN: &str = "the process has the capabilities, but the kernel does not let it";

pub(crate) const MMAP_MEMORY: Answers = &[(ENOMEM, MEMORY), (EAGAIN, OTHER), (EPERM, OTHER)];
pub(crate) const SOCKET: Answers = &[
    (EPERM, NO_AF_XDP),
    (EAFNOSUPPORT, NO_AF_XDP),
    (ESOCKTNOSUPPORT, NO_AF_XDP),
    (EMFILE, FILES),
    (ENFILE, FILES),
    (ENOMEM, MEMORY),
];
pub(crate) const NAMESPACE: Answers =
    &[(ENOENT, "/proc is not mounted"), (EACCES, "/proc is not mounted"), (EMFILE, FILES)];
pub(crate) const REGISTER: Answers =
    &[(EINVAL, OTHER), (EFAULT, OTHER), (EBUSY, OTHER), (ENOPROTOOPT, OTHER), (ENOMEM, MEMORY)];
/// A closed socket may hold locked memory for a moment.
pub(crate) const REGISTER_AGAIN: Answers = &[(ENOBUFS, "")];
pub(crate) const RING: Answers =
    &[(EINVAL, "a ring has a power of two of entries"), (EBUSY, OTHER), (ENOMEM, MEMORY)];
pub(crate) const OFFSETS: Answers = &[(EINVAL, OTHER), (ENOPROTOOPT, OTHER), (EFAULT, OTHER)];
/// Taken for zero copy.
pub(crate) const OPTIONS: Answers = &[(ENOPROTOOPT, ""), (EINVAL, ""), (EFAULT, "")];
pub(crate) const MMAP: Answers =
    &[(EINVAL, OTHER), (EBUSY, OTHER), (EAGAIN, OTHER), (EPERM, OTHER), (ENOMEM, MEMORY)];
pub(crate) const BIND: Answers = &[
    (EINVAL, OTHER),
    (ENODEV, NO_INTERFACE),
    (EOPNOTSUPP, "has no zero copy here"),
    (ENETDOWN, "the interface is down"),
    (ENXIO, OTHER),
    (ENOMEM, MEMORY),
];
/// A closed socket may hold the queue for a moment.
pub(crate) const BIND_AGAIN: Answers = &[(EBUSY, "")];
/// The socket to share with may have lost its device.
pub(crate) const BIND_WITH_ANOTHER: Answers = &[(EBADF, "")];
pub(crate) const SHARING_BIND: Answers =
    &[(EINVAL, "one UMEM on several queues or interfaces, which needs Linux 5.10"), (ENOMEM, MEMORY)];
pub(crate) const LOOK: Answers =
    &[(ENODEV, NO_INTERFACE), (ENXIO, NO_INTERFACE), (EMFILE, FILES), (ENOMEM, MEMORY)];
/// Which program it is, for errors.
pub(crate) const LOOK_AGAIN: Answers = &[(ENODEV, ""), (EMFILE, ""), (ENOMEM, "")];
pub(crate) const MAP: Answers = &[
    (EPERM, FORBIDDEN),
    (ENOSYS, "the kernel is too old for bpf(2)"),
    (EINVAL, OTHER),
    (EMFILE, FILES),
    (ENOMEM, MEMORY),
];
pub(crate) const LOAD: Answers =
    &[(EPERM, FORBIDDEN), (EACCES, FORBIDDEN), (EINVAL, OTHER), (EMFILE, FILES), (ENOMEM, MEMORY)];
pub(crate) const LOAD_FRAGS: Answers =
    &[(EINVAL, "XDP programs for packets of several buffers, which needs Linux 5.18"), (EPERM, FORBIDDEN)];
pub(crate) const LINK: Answers = &[
    (EPERM, FORBIDDEN),
    // There is no program: it went away meanwhile.
    (EBUSY, OTHER),
    (EEXIST, OTHER),
    (EINVAL, "the driver veth does not take the program in this mode"),
    (EOPNOTSUPP, "the driver veth has no native XDP"),
    (ERANGE, "does not attach a single-buffer program at MTU 1500"),
    (ENOSPC, "the driver veth has too few queues for native XDP"),
    (ENODEV, NO_INTERFACE),
    (EMFILE, FILES),
    (ENOMEM, MEMORY),
];
pub(crate) const LINK_UPDATE: Answers =
    &[(EINVAL, "does not take the program"), (EPERM, FORBIDDEN), (ENOMEM, MEMORY)];
pub(crate) const UPDATE: Answers =
    &[(E2BIG, OTHER), (EBADF, OTHER), (EOPNOTSUPP, OTHER), (ENOBUFS, OTHER), (ENOMEM, MEMORY)];
