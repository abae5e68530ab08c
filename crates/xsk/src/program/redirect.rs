use std::fmt;
use std::os::fd::BorrowedFd;

use super::attached::{ProgramRef, acquire};
use super::xsk_map::XskMap;
use crate::backend::default_backend;
use crate::config::{Attach, Interface, XdpFlags};
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
        let interface = Interface::named(interface)?;
        Self::attach_to(&interface, flags).map_err(|error| error.on(interface.shown(), None))
    }

    fn attach_to(interface: &Interface, flags: XdpFlags) -> Result<Self, Error> {
        let fail = |step| move |error| Error::new(step, Diagnosis::Unknown).source(error);
        interface.check()?;
        let backend = default_backend();
        let info = backend.interface(interface.as_c_str()).map_err(diagnose::find_interface)?;
        let namespace = backend.namespace().map_err(fail(Step::FindNamespace))?;
        let attach = |frags| acquire(&backend, namespace, &info, flags, Attach::Link, frags);
        let program = attach(true).or_else(|error| match error.diagnosis() {
            Diagnosis::KernelTooOld { .. } => attach(false),
            _ => Err(error),
        })?;
        let map = program.map().ok_or_else(|| Error::new(Step::CreateMap, Diagnosis::Unknown))?;
        // SAFETY: on Linux a handle is a file descriptor, and `program` keeps this one open.
        let map = unsafe { BorrowedFd::borrow_raw(map.0) }.try_clone_to_owned();
        Ok(Self { program, map: XskMap::from(map.map_err(fail(Step::CreateMap))?) })
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
