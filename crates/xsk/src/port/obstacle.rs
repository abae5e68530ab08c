//! What keeps packets from coming to a port.

use std::ffi::CString;
use std::fmt;

use super::error::PortError;
use super::{Port, PortRx, PortTx};
use crate::backend::{AttachedProgram, BackendExt, InterfaceCounters};
use crate::diagnose;
use crate::error::{Diagnosis, Step, errno};
use crate::queue::Shared;

/// What keeps packets from coming to a port: see [`Port::obstacles`]. Its `Display` says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The interface is gone, and the port dead.
    InterfaceGone,
    /// The interface is down.
    InterfaceDown,
    /// The interface has no carrier: a cable, or on veth a peer that is up.
    NoCarrier,
    /// There is no XDP program on the interface: everything goes to the network stack.
    NoProgram,
    /// There is an XDP program on the interface that this crate did not attach. Whether it leads packets to the port is its
    /// author's to know.
    OtherProgram {
        /// The program.
        program: AttachedProgram,
        /// Its name, where the kernel tells it.
        name: Option<String>,
    },
    /// The interface receives on more queues than the pool has ports for. What arrives on the others goes to the network stack,
    /// or to whoever has those.
    OtherQueues {
        /// Queues that receive.
        of: u32,
        /// Those that this pool has ports on.
        open: Vec<u32>,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceGone => write!(f, "{}", Diagnosis::InterfaceGone),
            Self::InterfaceDown => write!(f, "{}", Diagnosis::InterfaceDown),
            Self::NoCarrier => f.write_str("the interface has no carrier: is its cable, or the other end of the veth pair, up?"),
            Self::NoProgram => f.write_str(
                "no XDP program is on the interface, so everything goes to the network stack: attach yours, or open the port \
                 without `no_program`",
            ),
            Self::OtherProgram { program, name } => {
                let name = name.as_ref().map_or_else(String::new, |name| format!(" `{name}`"));
                write!(f, "the XDP program on the interface (id {}{name}, {} mode) is not ", program.id, program.mode)?;
                f.write_str("this crate's: the port receives what that redirects to it, if it has it in its XSKMAP")
            }
            Self::OtherQueues { of, open } => {
                write!(f, "the interface receives on {of} queues, and this pool has ports on {open:?} only: open the others ")?;
                f.write_str("(`Port::open_all`), or lead packets there (`ethtool -L`, `-X` and `-N`)")
            }
        }
    }
}

fn obstacles(shared: &Shared) -> Result<Vec<Obstacle>, PortError> {
    let backend = shared.backend();
    if backend.ask(shared.handle()).is_err_and(|error| error.raw_os_error() == Some(errno::ENXIO)) {
        return Ok(vec![Obstacle::InterfaceGone]);
    }
    let name = CString::new(shared.interface.as_str()).unwrap_or_default();
    let here = |error: crate::error::Error| error.on(&shared.interface, Some(shared.queue));
    let info = backend.interface(&name).map_err(|error| here(diagnose::find_interface(error)))?;
    let mut found = Vec::new();
    if !info.up {
        found.push(Obstacle::InterfaceDown);
    } else if !info.carrier {
        found.push(Obstacle::NoCarrier);
    }
    match (info.program, &shared._program) {
        (None, _) => found.push(Obstacle::NoProgram),
        // Through a dispatcher there is no telling.
        (Some(program), Some(ours)) if ours.id().is_none_or(|id| id == program.id) => {}
        (Some(program), _) => {
            let name = backend.program_name(program.id).ok().filter(|name| !name.is_empty());
            found.push(Obstacle::OtherProgram { program, name });
        }
    }
    let namespace = backend.namespace();
    let namespace =
        namespace.map_err(|error| shared.error(Step::FindNamespace, Diagnosis::Unknown).source(error))?;
    let mut open = shared._umem.lock().queues_of(namespace, info.index);
    open.sort_unstable();
    open.dedup();
    if (0..info.rx_queues).any(|queue| !open.contains(&queue)) {
        found.push(Obstacle::OtherQueues { of: info.rx_queues, open });
    }
    Ok(found)
}

fn interface_counters(shared: &Shared) -> Result<InterfaceCounters, PortError> {
    let name = CString::new(shared.interface.as_str()).unwrap_or_default();
    let counters = shared.backend().interface_counters(&name);
    Ok(counters.map_err(|error| {
        let diagnosis = match error.raw_os_error() {
            Some(errno::ENODEV) => Diagnosis::NoInterface,
            _ => Diagnosis::Unknown,
        };
        shared.error(Step::Statistics, diagnosis).source(error)
    })?)
}

impl Port {
    /// What keeps packets from coming to this port at all, as far as it can be seen from here; nothing, if nothing is seen.
    ///
    /// [`stats`](Self::stats) counts packets that came to the port's socket and were lost; this is about those that never come
    /// there. Makes some system calls.
    ///
    /// # Errors
    /// What the kernel does not tell.
    pub fn obstacles(&self) -> Result<Vec<Obstacle>, PortError> {
        obstacles(&self.link.shared)
    }

    /// What the interface counted, all of its queues together: it knows of packets that the socket never saw. Makes some system
    /// calls, and allocates.
    ///
    /// # Errors
    /// What the kernel or backend does not tell; the interface is gone.
    pub fn interface_counters(&self) -> Result<InterfaceCounters, PortError> {
        interface_counters(&self.link.shared)
    }
}

impl PortRx {
    /// As [`Port::obstacles`].
    ///
    /// # Errors
    /// As [`Port::obstacles`].
    pub fn obstacles(&self) -> Result<Vec<Obstacle>, PortError> {
        obstacles(&self.link.shared)
    }

    /// As [`Port::interface_counters`].
    ///
    /// # Errors
    /// As [`Port::interface_counters`].
    pub fn interface_counters(&self) -> Result<InterfaceCounters, PortError> {
        interface_counters(&self.link.shared)
    }
}

impl PortTx {
    /// As [`Port::interface_counters`].
    ///
    /// # Errors
    /// As [`Port::interface_counters`].
    pub fn interface_counters(&self) -> Result<InterfaceCounters, PortError> {
        interface_counters(&self.link.shared)
    }
}
