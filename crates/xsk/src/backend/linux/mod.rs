//! The real kernel.

mod bpf;
#[cfg(feature = "libxdp")]
mod dispatcher;
mod ethtool;
mod facts;
mod netlink;
mod sockets;
mod sys;

use std::ffi::CStr;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use xsk_core::abi::sockaddr_xdp;

#[cfg(feature = "libxdp")]
use super::Attachment;
use super::{
    Backend, Capabilities, Handle, HugePages, InterfaceCounters, InterfaceInfo, InterruptDeferral, Mapping,
    NamespaceId, PageSize, Poll, PollEvents, RedirectProgram, TxOffloads,
};
use crate::config::XdpFlags;
use sockets::Given;
use sys::check;

/// Linux, by system calls: one for each method, no policy. A [`Handle`] is a file descriptor, close-on-exec.
#[derive(Debug, Clone, Default)]
pub struct Linux {
    given: Option<Given>,
}

impl Linux {
    /// The kernel this process runs on.
    pub fn new() -> Self {
        Self { given: None }
    }

    /// The same, for a process that may not open AF_XDP sockets: it takes these, in order, which another process
    /// [opened](Self::open_socket) and handed over, as a child's standard input or in a message (`SCM_RIGHTS`).
    ///
    /// A pool takes one, which becomes its first port's, and each further port one (in the ring tier, a UMEM and its sockets).
    /// Closing a port closes its socket: it cannot be used again. When all are used it opens sockets itself, which needs
    /// `CAP_NET_RAW` (`net/xdp/xsk.c:xsk_create`).
    ///
    /// What else a port needs: memory that may be locked (`ulimit -l`), and to be led its packets. For that the other process
    /// attaches a program ([`Redirect`](crate::program::Redirect)) and hands its map over as well, into which a port goes with
    /// [`XskMap::insert_port`](crate::program::XskMap::insert_port), for which Linux 5.19 asks no rights beyond the map's
    /// descriptor (`kernel/bpf/syscall.c:__sys_bpf`). The example `unprivileged` shows all of it.
    ///
    /// The sockets' network namespace, which is that of the thread that opened them, has to be that of the thread that opens
    /// the port.
    ///
    /// # Errors
    /// One is no AF_XDP socket. Whether one is used already comes out when it is to be used.
    pub fn with_sockets(sockets: impl IntoIterator<Item = OwnedFd>) -> io::Result<Self> {
        Ok(Self { given: Some(Given::new(sockets)?) })
    }

    /// Opens an AF_XDP socket for another process, which gives it to [`with_sockets`](Self::with_sockets). Close-on-exec.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; `EAFNOSUPPORT` if the kernel has no AF_XDP.
    pub fn open_socket() -> io::Result<OwnedFd> {
        sockets::open()
    }
}

/// Handles are file descriptors that the owner types above close.
fn handle(fd: OwnedFd) -> Handle {
    Handle(fd.into_raw_fd())
}

impl Backend for Linux {
    fn socket(&self) -> io::Result<Handle> {
        let given = self.given.as_ref().and_then(Given::take);
        given.map_or_else(sockets::open, Ok).map(handle)
    }

    fn close(&self, handle: Handle) {
        // SAFETY: handles come from this backend's own calls, and whoever closes one owns it and uses it no more.
        drop(unsafe { OwnedFd::from_raw_fd(handle.0) });
    }

    fn setsockopt(&self, socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and length are those of `value`, which the kernel only reads.
        let result = unsafe {
            libc::setsockopt(socket.0, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t)
        };
        check(result).map(drop)
    }

    fn getsockopt(&self, socket: Handle, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
        let mut len = value.len() as libc::socklen_t;
        // SAFETY: the pointer and length are those of `value`, and the kernel writes at most that many bytes.
        let result =
            unsafe { libc::getsockopt(socket.0, level, name, value.as_mut_ptr().cast(), &raw mut len) };
        check(result).map(|_| len as usize)
    }

    fn bind(&self, socket: Handle, address: &sockaddr_xdp) -> io::Result<()> {
        let len = size_of_val(address) as libc::socklen_t;
        // SAFETY: `address` is a whole sockaddr_xdp, which the kernel only reads.
        check(unsafe { libc::bind(socket.0, ptr::from_ref(address).cast(), len) }).map(drop)
    }

    fn mmap_ring(&self, socket: Handle, offset: u64, len: usize) -> io::Result<Mapping> {
        let offset = offset.try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        sys::map(len, libc::MAP_SHARED | libc::MAP_POPULATE, socket.0, offset)
    }

    fn mmap_memory(&self, len: usize, pages: PageSize) -> io::Result<Mapping> {
        let huge = match pages {
            PageSize::Normal => return sys::own_memory(len),
            PageSize::Huge2M => libc::MAP_HUGETLB | libc::MAP_HUGE_2MB,
            PageSize::Huge1G => libc::MAP_HUGETLB | libc::MAP_HUGE_1GB,
        };
        // Shared with a child: of reserved pages a child cannot be given zeros (mm/madvise.c:madvise_vma_behavior).
        sys::map(len, libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | huge, -1, 0)
    }

    fn poll(&self, polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize> {
        // The usual call is for one or two sockets: no allocation for up to four.
        let mut few = [libc::pollfd { fd: -1, events: 0, revents: 0 }; 4];
        let mut many;
        let fds = if let Some(fds) = few.get_mut(..polls.len()) {
            fds
        } else {
            many = vec![few[0]; polls.len()];
            &mut many[..]
        };
        for (fd, poll) in fds.iter_mut().zip(polls.iter()) {
            *fd = libc::pollfd { fd: poll.socket.0, events: poll.events.bits(), revents: 0 };
        }
        // SAFETY: the pointer and count are those of `fds`.
        let ready = check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) })?;
        for (fd, poll) in fds.iter().zip(polls.iter_mut()) {
            poll.ready = PollEvents::from_bits_retain(fd.revents);
        }
        Ok(ready as usize)
    }

    fn sendto(&self, socket: Handle) -> io::Result<()> {
        // SAFETY: no payload and no address: the kernel reads no memory of ours.
        let sent = unsafe { libc::sendto(socket.0, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        check(sent as libc::c_int).map(drop)
    }

    fn recvfrom(&self, socket: Handle) -> io::Result<()> {
        let (flags, none) = (libc::MSG_DONTWAIT, ptr::null_mut());
        // SAFETY: a buffer of no bytes and no address: the kernel writes no memory of ours.
        let got = unsafe { libc::recvfrom(socket.0, ptr::null_mut(), 0, flags, ptr::null_mut(), none) };
        check(got as libc::c_int).map(drop)
    }

    fn fd(&self, socket: Handle) -> Option<i32> {
        Some(socket.0)
    }

    fn interface(&self, name: &CStr) -> io::Result<InterfaceInfo> {
        facts::interface(name)
    }

    fn namespace(&self) -> io::Result<NamespaceId> {
        facts::namespace()
    }

    fn now(&self) -> Duration {
        sys::monotonic()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn xskmap_create(&self, entries: u32) -> io::Result<Handle> {
        bpf::xskmap_create(entries).map(handle)
    }

    fn xskmap_update(&self, map: Handle, key: u32, socket: Handle) -> io::Result<()> {
        bpf::map_update(map.0, key, socket.0)
    }

    fn xskmap_delete(&self, map: Handle, key: u32) -> io::Result<()> {
        bpf::map_delete(map.0, key)
    }

    fn program_load(&self, program: &RedirectProgram) -> io::Result<Handle> {
        bpf::program_load(program).map(handle)
    }

    fn link_create(&self, program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle> {
        bpf::link_create(program.0, ifindex, flags.bits()).map(handle)
    }

    fn link_update(&self, link: Handle, program: Handle) -> io::Result<()> {
        bpf::link_update(link.0, program.0)
    }

    #[cfg(feature = "libxdp")]
    fn attach_dispatcher(&self, interface: &InterfaceInfo, flags: XdpFlags) -> io::Result<Attachment> {
        dispatcher::attach(interface, flags)
    }

    fn program_name(&self, id: u32) -> io::Result<String> {
        bpf::program_name(id)
    }

    fn capabilities(&self) -> io::Result<Capabilities> {
        facts::capabilities()
    }

    fn memlock_limit(&self) -> io::Result<Option<u64>> {
        facts::memlock_limit()
    }

    fn queue_is_bound(&self, ifindex: u32, queue: u32) -> io::Result<bool> {
        netlink::queue_is_bound(ifindex, queue)
    }

    fn tx_offloads(&self, name: &CStr, zero_copy: bool) -> io::Result<TxOffloads> {
        facts::tx_offloads(name, zero_copy)
    }

    fn interface_counters(&self, name: &CStr) -> io::Result<InterfaceCounters> {
        facts::interface_counters(name)
    }

    fn interrupt_deferral(&self, name: &CStr) -> io::Result<InterruptDeferral> {
        facts::interrupt_deferral(name)
    }

    fn huge_pages(&self, size: PageSize) -> io::Result<HugePages> {
        facts::huge_pages(size)
    }
}

/// An XSKMAP as a file descriptor of its own.
pub(crate) fn xskmap(entries: u32) -> io::Result<OwnedFd> {
    bpf::xskmap_create(entries)
}
