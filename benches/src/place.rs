//! Where a benchmark runs: a pair of interfaces, and a program on the first that leads each queue to a socket.

use std::any::Any;
use std::ffi::CString;
use std::fmt;
use std::sync::Arc;

use xsk::backend::{Backend, Handle, Linux, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_sim::{DeviceConfig, SimKernel};
use xsk_veth::{Namespace, VethPair};

const QUEUES: u32 = 32;

/// Two interfaces that are connected. On Linux, the calling thread is in their network namespace as long as this lives.
pub struct Place {
    /// The kernel.
    pub backend: Arc<dyn Backend>,
    /// What place it is, in words.
    pub name: &'static str,
    is_linux: bool,
    map: Handle,
    /// The map of [`B`](Self::B), once it has one.
    back: Option<Handle>,
    queues: u32,
    _keep: Box<dyn Any>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Place {
    /// The interface that is measured.
    pub const A: &'static str = "a";
    /// The other one.
    pub const B: &'static str = "b";

    /// The best place that can be had here: Linux if there are the rights for a private network, else the simulated kernel.
    ///
    /// # Panics
    /// If a network can be made, but no program be attached.
    pub fn best() -> Self {
        Self::veth().unwrap_or_else(|_| Self::simulated())
    }

    /// A veth pair in a network namespace of its own.
    ///
    /// # Errors
    /// Without the rights to make one.
    ///
    /// # Panics
    /// If no program can be attached.
    pub fn veth() -> Result<Self, xsk_veth::Error> {
        let namespace = Namespace::new()?;
        let guard = namespace.enter()?;
        let pair = VethPair::builder(&namespace, &namespace).queues(QUEUES).build()?;
        Ok(Self::new(
            Arc::new(Linux::new()),
            "a veth pair in a private network, copy mode, XDP in native mode",
            true,
            Box::new((guard, pair)),
        ))
    }

    /// A pair on the simulated kernel.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn simulated() -> Self {
        let kernel = SimKernel::new(1);
        let config = DeviceConfig::default().queues(QUEUES);
        let devices = kernel.veth(Self::A, Self::B, &config).expect("a pair");
        Self::new(kernel.backend(), "the simulated kernel (without root)", false, Box::new((devices, kernel)))
    }

    fn new(backend: Arc<dyn Backend>, name: &'static str, is_linux: bool, keep: Box<dyn Any>) -> Self {
        let map = attach(&*backend, Self::A);
        Self { backend, name, is_linux, map, back: None, queues: 0, _keep: keep }
    }

    /// Whether the kernel is Linux: other libraries know no other.
    pub fn is_linux(&self) -> bool {
        self.is_linux
    }

    /// A queue that nobody has.
    ///
    /// # Panics
    /// If all are taken.
    pub fn queue(&mut self) -> u32 {
        assert!(self.queues < QUEUES, "no queue is left");
        self.queues += 1;
        self.queues - 1
    }

    /// Leads the packets of a queue to a socket, which has an RX ring.
    ///
    /// # Panics
    /// If the kernel refuses it.
    pub fn lead(&self, queue: u32, socket: Handle) {
        self.backend.xskmap_update(self.map, queue, socket).expect("a slot of the map");
    }

    /// The same on [`B`](Self::B), where there is a program only from the first such call on.
    ///
    /// # Panics
    /// If the kernel refuses it.
    pub fn lead_back(&mut self, queue: u32, socket: Handle) {
        let map = *self.back.get_or_insert_with(|| attach(&*self.backend, Self::B));
        self.backend.xskmap_update(map, queue, socket).expect("a slot of the map");
    }
}

/// Attaches a program, and returns its map. It stays as long as the interface.
fn attach(backend: &dyn Backend, interface: &str) -> Handle {
    let map = backend.xskmap_create(QUEUES).expect("an XSKMAP");
    let program = backend.program_load(&RedirectProgram { map, frags: false }).expect("a program");
    let name = CString::new(interface).expect("no NUL");
    let index = backend.interface(&name).expect("the interface").index;
    backend.link_create(program, index, XdpFlags::XDP_FLAGS_DRV_MODE).expect("a link");
    map
}
