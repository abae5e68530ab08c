use std::ffi::CString;
use std::fmt;
use std::os::fd::BorrowedFd;

use super::attached::{ProgramRef, acquire};
use super::xsk_map::XskMap;
use crate::backend::default_backend;
use crate::config::{Attach, XdpFlags};
use crate::diagnose;
use crate::error::{Diagnosis, Error, Step};

/// The built-in XDP program on an interface, for sockets of other processes, or opened with
/// [`PortConfig::no_program`](crate::PortConfig::no_program).
///
/// It leads the packets of a queue to the socket in the slot of its [map](Self::map) that has the queue's number, and those of
/// queues without one to the network stack. It stays attached as long as this lives, whatever becomes of the sockets. Ports that
/// this process opens on the interface use the same program.
///
/// See [`Linux::with_sockets`](crate::backend::Linux::with_sockets) for processes without rights. Drop it after their sockets are
/// closed: drivers do not expect a zero-copy socket to outlive the program. And trust them: before Linux 7.1, who has the map
/// can put a socket without an RX ring into it, and crash the kernel with the next packet
/// (`net/xdp/xskmap.c:xsk_map_update_elem`). Through [`XskMap`] that cannot happen.
pub struct Redirect {
    program: ProgramRef,
    map: XskMap,
}

impl Redirect {
    /// Attaches it, by a bpf_link (Linux 5.9), which ends with the process. The interface is looked for in the network namespace
    /// of the calling thread. `flags` say where it runs: by default in the driver if that can, else in the stack. It takes
    /// packets of several buffers where the kernel has such programs (5.18).
    ///
    /// # Errors
    /// As opening a port: there is no such interface, another program is attached, `CAP_BPF` or `CAP_NET_ADMIN` is missing.
    pub fn attach(interface: &str, flags: XdpFlags) -> Result<Self, Error> {
        let fail = |error: Error| error.on(interface, None);
        let backend = default_backend();
        // No interface has a name with a zero byte in it.
        let name = CString::new(interface).unwrap_or_default();
        let info = backend.interface(&name).map_err(diagnose::find_interface).map_err(fail)?;
        let namespace = backend.namespace();
        let namespace =
            namespace.map_err(|e| fail(Error::new(Step::FindNamespace, Diagnosis::Unknown).source(e)))?;
        let attach = |frags| acquire(&backend, namespace, &info, flags, Attach::Link, frags);
        let program = attach(true).or_else(|error| match error.diagnosis() {
            Diagnosis::KernelTooOld { .. } => attach(false),
            _ => Err(error),
        });
        let program = program.map_err(fail)?;
        let map = program.map().ok_or_else(|| fail(Error::new(Step::CreateMap, Diagnosis::Unknown)))?;
        // SAFETY: on Linux a handle is a file descriptor, and `program` keeps this one open.
        let map = unsafe { BorrowedFd::borrow_raw(map.0) }.try_clone_to_owned();
        let map = map.map_err(|e| fail(Error::new(Step::CreateMap, Diagnosis::Unknown).source(e)))?;
        Ok(Self { program, map: XskMap::from(map) })
    }

    /// Its map, with a slot for each queue that the interface may have.
    pub fn map(&self) -> &XskMap {
        &self.map
    }
}

impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect").field("program", &self.program.id()).field("map", &self.map).finish()
    }
}
