//! The kernel behind the sockets.
//!
//! [`Backend`] is the system-call surface that AF_XDP needs, and no more: one method for each call, no policy. The order
//! of the calls, retries, the choice of a socket to share a UMEM with, and the diagnosis of errors live above it, once,
//! and are the same for every backend. [`Linux`] is the real kernel.
//!
//! The data path never crosses this trait: rings are memory that both sides share.

mod counters;
#[cfg(target_os = "linux")]
pub mod linux;
mod mapping;
mod retry;
mod types;

use std::ffi::CStr;
use std::fmt::Debug;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
#[cfg(target_os = "linux")]
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub use counters::{InterfaceCounters, InterfaceLoss};
#[cfg(target_os = "linux")]
pub use linux::Linux;
pub use mapping::Mapping;
pub(crate) use retry::retry;
pub(crate) use types::BackendExt;
pub(crate) use types::OwnedHandle;
pub use types::{
    AttachedProgram, Attachment, Capabilities, DriverFeatures, Handle, HugePages, InterfaceInfo,
    InterruptDeferral, NamespaceId, PageSize, Poll, PollEvents, RedirectProgram, TxOffloads, XdpMode,
};
use xsk_core::abi::sockaddr_xdp;

use crate::config::XdpFlags;

/// A kernel: what AF_XDP needs of one.
///
/// Errors are [`io::Error`]s with Linux's errno ([`io::Error::from_raw_os_error`]), whatever the backend. Methods that
/// name a socket by its [`Handle`] give `EBADF` for a handle that is not open. No method blocks, but [`poll`](Self::poll)
/// and [`sleep`](Self::sleep); all may be called from any thread. The calling thread matters where Linux looks at it: its
/// network namespace is the one in which sockets are made and interfaces are found.
///
/// Later methods have defaults that answer [`io::ErrorKind::Unsupported`], so that a small backend stays small.
pub trait Backend: Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// `socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0)` (`net/xdp/xsk.c:xsk_create`).
    fn socket(&self) -> io::Result<Handle>;

    /// Closes a handle of any kind. A socket whose rings are mapped lives on until they are unmapped.
    fn close(&self, handle: Handle);

    /// `setsockopt`, any level and option (`net/xdp/xsk.c:xsk_setsockopt`).
    fn setsockopt(&self, socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()>;

    /// `getsockopt`, any level and option (`net/xdp/xsk.c:xsk_getsockopt`). Returns how many bytes the kernel wrote: old
    /// kernels have shorter structs.
    fn getsockopt(&self, socket: Handle, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize>;

    /// `bind` (`net/xdp/xsk.c:xsk_bind`).
    fn bind(&self, socket: Handle, address: &sockaddr_xdp) -> io::Result<()>;

    /// `mmap` of a ring: `offset` is one of the `XDP_*PGOFF*` constants, `len` in bytes (`net/xdp/xsk.c:xsk_mmap`).
    fn mmap_ring(&self, socket: Handle, offset: u64, len: usize) -> io::Result<Mapping>;

    /// `mmap` of `len` bytes of fresh, zeroed memory for a UMEM. `len` is a multiple of the page size asked for.
    fn mmap_memory(&self, len: usize, pages: PageSize) -> io::Result<Mapping>;

    /// `poll`: waits until one of the sockets has an event, at most `timeout_ms` milliseconds (-1: for ever, 0: not at
    /// all), and returns how many have. On a socket with a TX ring it also transmits (`net/xdp/xsk.c:xsk_poll`).
    fn poll(&self, polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize>;

    /// `sendto(socket, NULL, 0, MSG_DONTWAIT)`: transmit what is in the TX ring (`net/xdp/xsk.c:xsk_sendmsg`).
    fn sendto(&self, socket: Handle) -> io::Result<()>;

    /// `recvfrom(socket, NULL, 0, MSG_DONTWAIT)`: wake the receiving side (`net/xdp/xsk.c:xsk_recvmsg`, Linux 5.11).
    fn recvfrom(&self, socket: Handle) -> io::Result<()>;

    /// What is known of an interface of the calling thread's network namespace. `ENODEV` if there is none of that name.
    fn interface(&self, name: &CStr) -> io::Result<InterfaceInfo>;

    /// Which network namespace the calling thread is in.
    fn namespace(&self) -> io::Result<NamespaceId>;

    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration);

    /// A file descriptor of the process that is ready when the socket is, for epoll and the like; `None` where there is
    /// none. It is the same one each time, and stays open as long as the handle does: callers borrow it for that time.
    fn fd(&self, socket: Handle) -> Option<i32> {
        let _ = socket;
        None
    }

    /// Whether a poll that found nothing may find something later. False only where that is certain, as on a simulated kernel
    /// on which nothing is planned; a wait without an end is an error then.
    fn may_wake(&self) -> bool {
        true
    }

    /// Makes an XSKMAP with `entries` slots (`bpf(BPF_MAP_CREATE)`).
    fn xskmap_create(&self, entries: u32) -> io::Result<Handle> {
        let _ = entries;
        unsupported()
    }

    /// Puts a socket into slot `key` of an XSKMAP, in place of whatever is there (`bpf(BPF_MAP_UPDATE_ELEM)`).
    ///
    /// The socket must have an RX ring: before 7.1, Linux takes one without and crashes at the next packet.
    fn xskmap_update(&self, map: Handle, key: u32, socket: Handle) -> io::Result<()> {
        let _ = (map, key, socket);
        unsupported()
    }

    /// Empties slot `key` of an XSKMAP (`bpf(BPF_MAP_DELETE_ELEM)`).
    fn xskmap_delete(&self, map: Handle, key: u32) -> io::Result<()> {
        let _ = (map, key);
        unsupported()
    }

    /// Loads the built-in XDP program (`bpf(BPF_PROG_LOAD)`).
    fn program_load(&self, program: &RedirectProgram) -> io::Result<Handle> {
        let _ = program;
        unsupported()
    }

    /// Attaches a program to an interface for as long as the returned link is open (`bpf(BPF_LINK_CREATE)`, Linux 5.9).
    /// `flags` are mode bits only.
    fn link_create(&self, program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle> {
        let _ = (program, ifindex, flags);
        unsupported()
    }

    /// Replaces the program of a link (`bpf(BPF_LINK_UPDATE)`).
    fn link_update(&self, link: Handle, program: Handle) -> io::Result<()> {
        let _ = (link, program);
        unsupported()
    }

    /// Attaches a redirect program beside others through libxdp's dispatcher, or joins the one that is there. `flags` are
    /// mode bits only; without any, the mode is that of the dispatcher that is there, else the kernel's choice.
    ///
    /// What these errnos mean is the same for every backend: `ENOENT`, there is no BPF file system; `EBUSY`, there is a
    /// program that was not attached this way; `EEXIST`, the dispatcher is attached in another mode; `E2BIG`, the dispatcher
    /// is full; `ENOSYS`, the kernel cannot have a dispatcher; `EPERM`, the caller may not look programs up; `EINVAL`, the
    /// dispatcher has no such mode.
    fn attach_dispatcher(&self, interface: &InterfaceInfo, flags: XdpFlags) -> io::Result<Attachment> {
        let _ = (interface, flags);
        unsupported()
    }

    /// The name of a loaded program.
    fn program_name(&self, id: u32) -> io::Result<String> {
        let _ = id;
        unsupported()
    }

    /// The effective capabilities of the calling thread.
    fn capabilities(&self) -> io::Result<Capabilities> {
        unsupported()
    }

    /// The limit of locked memory of this process, in bytes; `None` if there is none.
    fn memlock_limit(&self) -> io::Result<Option<u64>> {
        unsupported()
    }

    /// Whether an AF_XDP socket is bound to a queue of an interface, or was and the kernel has not released the queue yet
    /// (`net/core/netdev-genl.c:netdev_nl_queue_get_doit`, Linux 6.14). An interface of the calling thread's network namespace.
    fn queue_is_bound(&self, ifindex: u32, queue: u32) -> io::Result<bool> {
        let _ = (ifindex, queue);
        unsupported()
    }

    /// What packets of an interface can ask for when they are sent: in copy mode what the kernel takes, in zero-copy mode what
    /// the driver does. One of the calling thread's network namespace.
    fn tx_offloads(&self, name: &CStr, zero_copy: bool) -> io::Result<TxOffloads> {
        let _ = (name, zero_copy);
        unsupported()
    }

    /// What an interface counted. One of the calling thread's network namespace.
    fn interface_counters(&self, name: &CStr) -> io::Result<InterfaceCounters> {
        let _ = name;
        unsupported()
    }

    /// How an interface holds its interrupts back, which busy polling needs. An interface of the calling thread's network
    /// namespace.
    fn interrupt_deferral(&self, name: &CStr) -> io::Result<InterruptDeferral> {
        let _ = name;
        unsupported()
    }

    /// How many huge pages of a size there are.
    fn huge_pages(&self, size: PageSize) -> io::Result<HugePages> {
        let _ = size;
        unsupported()
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The backend of `Umem::new` and friends: always the same.
#[cfg(target_os = "linux")]
pub fn default_backend() -> Arc<dyn Backend> {
    static LINUX: LazyLock<Arc<Linux>> = LazyLock::new(|| Arc::new(Linux::new()));
    LINUX.clone()
}
