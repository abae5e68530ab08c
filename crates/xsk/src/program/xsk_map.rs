use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::backend::{Backend, Handle, Linux};
use crate::error::{Diagnosis, Error, Step, errno};
use crate::port::{Port, PortRx};
use crate::socket::{Fd, RxQueue};

/// An XSKMAP that the caller brought: its own program redirects packets through it.
///
/// Open sockets with [`INHIBIT_PROG_LOAD`](crate::config::LibxdpFlags), so that they attach nothing, and put them into the
/// map. The file descriptor may come from any loader (aya, libbpf), or from a pinned path.
///
/// Only a socket that receives can be put in, by way of its [`RxQueue`]: before 7.1, Linux takes one without an RX ring
/// as well, and crashes when a packet comes for it (`net/xdp/xskmap.c:xsk_map_update_elem`).
#[derive(Debug)]
pub struct XskMap {
    fd: OwnedFd,
}

impl XskMap {
    /// Makes a map of `entries` slots, for a program that is loaded later. Needs `CAP_BPF` and `CAP_NET_ADMIN`.
    pub fn new(entries: u32) -> io::Result<Self> {
        crate::backend::linux::xskmap(entries).map(Self::from)
    }

    /// Leads packets that the program redirects to slot `key` to the socket of `rx`. Whatever was in the slot is replaced.
    ///
    /// The kernel drops packets of another interface or queue than the socket's (`net/xdp/xsk.c:xsk_rcv_check`).
    /// The slot is emptied when the socket is closed.
    pub fn insert(&self, key: u32, rx: &RxQueue) -> io::Result<()> {
        self.insert_fd(key, rx.fd())
    }

    /// As [`insert`](Self::insert), for the port tier: opened with [`PortConfig::no_program`](crate::PortConfig::no_program).
    pub fn insert_port(&self, key: u32, port: &Port) -> io::Result<()> {
        self.insert_fd(key, &port.fd())
    }

    /// As [`insert_port`](Self::insert_port), for a port that only receives, or the receiving half of one.
    pub fn insert_port_rx(&self, key: u32, port: &PortRx) -> io::Result<()> {
        self.insert_fd(key, &port.fd())
    }

    fn insert_fd(&self, key: u32, fd: &Fd) -> io::Result<()> {
        let socket = fd.handle();
        if fd.os() != Some(socket.0) {
            return Err(Error::new(Step::UpdateMap, Diagnosis::Unknown)
                .value("a socket of another backend")
                .into());
        }
        let result = Linux::new().xskmap_update(Handle(self.fd.as_raw_fd()), key, socket);
        result.map_err(|e| Self::error(key, e))
    }

    /// Empties slot `key`.
    pub fn remove(&self, key: u32) -> io::Result<()> {
        let result = Linux::new().xskmap_delete(Handle(self.fd.as_raw_fd()), key);
        result.map_err(|e| Self::error(key, e))
    }

    fn error(key: u32, source: io::Error) -> io::Error {
        let diagnosis = match source.raw_os_error() {
            // `kernel/bpf/syscall.c:__sys_bpf`, with the sysctl unprivileged_bpf_disabled.
            Some(errno::EPERM) => {
                Diagnosis::MissingCapability("CAP_BPF (before Linux 5.19 also to change a map that is open)")
            }
            _ => Diagnosis::Unknown,
        };
        Error::new(Step::UpdateMap, diagnosis).value(format!("slot {key}")).source(source).into()
    }
}

impl From<OwnedFd> for XskMap {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<XskMap> for OwnedFd {
    fn from(map: XskMap) -> Self {
        map.fd
    }
}

impl AsFd for XskMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
