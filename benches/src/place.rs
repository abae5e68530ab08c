//! Where a benchmark runs: an interface, a program on it that leads each queue to a socket, and one that sends it packets.

use std::any::Any;
use std::ffi::CString;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use xsk::backend::{Backend, DriverFeatures, Handle, InterfaceInfo, Linux, RedirectProgram};
use xsk_sim::{DeviceConfig, SimKernel};
use xsk_veth::{Namespace, VethPair};

use crate::choice::{BadChoice, Choice, Mode};

/// Queues of a pair that is made for the purpose.
const QUEUES: u32 = 32;
const NAMES: [&str; 2] = ["a", "b"];

/// Two interfaces that are connected. On Linux, the calling thread is in their network namespace as long as this lives.
pub struct Place {
    /// The kernel.
    pub backend: Arc<dyn Backend>,
    /// What place it is, and in which mode, in words.
    pub name: String,
    mode: Mode,
    kind: Kind,
    interface: String,
    peer: Option<String>,
    map: Handle,
    /// The map of the peer, once it has one.
    back: Option<Handle>,
    /// Those that nobody has.
    queues: Range<u32>,
    /// What keeps the programs attached.
    handles: Vec<Handle>,
    _keep: Box<dyn Any>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Card,
    Veth,
    Simulated,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A socket to open.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The name of the interface.
    pub interface: &'a str,
    /// The queue.
    pub queue: u32,
    /// How to bind it.
    pub mode: Mode,
}

impl Target<'_> {
    /// The interface for C.
    ///
    /// # Panics
    /// If the name has a NUL, which no interface has.
    pub fn c_name(&self) -> CString {
        CString::new(self.interface).expect("a name without a NUL")
    }
}

impl Place {
    /// The best place that can be had: what the environment asks for ([`Choice`]), else a veth pair on Linux if there are the
    /// rights for a private network, else the simulated kernel.
    ///
    /// # Errors
    /// The environment asks for what cannot be.
    ///
    /// # Panics
    /// If a network can be made, but no program be attached.
    pub fn best() -> Result<Self, BadChoice> {
        match Choice::from_environment()? {
            Some(choice) => Self::card(&choice),
            None => Ok(Self::veth().unwrap_or_else(|_| Self::simulated())),
        }
    }

    /// As [`best`](Self::best), for the main function of a benchmark: what cannot be is said, and ends the process.
    pub fn best_or_exit() -> Self {
        Self::best().unwrap_or_else(|error| {
            #[expect(clippy::print_stderr, reason = "for programs")]
            {
                eprintln!("error: {error}");
            }
            std::process::exit(2)
        })
    }

    /// An interface of this machine.
    ///
    /// # Errors
    /// It is not there or not up, or has no such queue, or no program can be attached.
    pub fn card(choice: &Choice) -> Result<Self, BadChoice> {
        let backend: Arc<dyn Backend> = Arc::new(Linux::new());
        let info = checked(&*backend, "XSK_BENCH_IF", &choice.interface, choice)?;
        if let Some(peer) = &choice.peer {
            checked(&*backend, "XSK_BENCH_PEER", peer, choice)?;
        }
        let name = format!(
            "{}{} (driver {}), queue {}, {}",
            choice.interface,
            choice.peer.as_ref().map_or_else(String::new, |peer| format!(" with {peer}")),
            info.driver.as_deref().unwrap_or("unknown"),
            choice.queue,
            choice.mode
        );
        let names = (choice.interface.clone(), choice.peer.clone());
        let queues = choice.queue..choice.queue + 1;
        Self::new(backend, name, choice.mode, Kind::Card, names, queues, Box::new(()))
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
        let name = format!("a veth pair in a private network, {}", Mode::VETH);
        let place = Self::made(Arc::new(Linux::new()), name, Kind::Veth, Box::new((guard, pair)));
        Ok(place)
    }

    /// A pair on the simulated kernel.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn simulated() -> Self {
        let kernel = SimKernel::new(1);
        let config = DeviceConfig::default().queues(QUEUES);
        let devices = kernel.veth(NAMES[0], NAMES[1], &config).expect("a pair");
        let name = format!("the simulated kernel, {}", Mode::VETH);
        Self::made(kernel.backend(), name, Kind::Simulated, Box::new((devices, kernel)))
    }

    fn made(backend: Arc<dyn Backend>, name: String, kind: Kind, keep: Box<dyn Any>) -> Self {
        let names = (NAMES[0].to_owned(), Some(NAMES[1].to_owned()));
        Self::new(backend, name, Mode::VETH, kind, names, 0..QUEUES, keep)
            .expect("a program on a new interface")
    }

    fn new(
        backend: Arc<dyn Backend>,
        name: String,
        mode: Mode,
        kind: Kind,
        (interface, peer): (String, Option<String>),
        queues: Range<u32>,
        keep: Box<dyn Any>,
    ) -> Result<Self, BadChoice> {
        let mut handles = Vec::new();
        let map = attach(&*backend, &interface, mode, &mut handles);
        let place = |map| Self {
            backend,
            name,
            mode,
            kind,
            interface,
            peer,
            map,
            back: None,
            queues,
            handles,
            _keep: keep,
        };
        map.map(place)
    }

    /// Whether the kernel is Linux: other libraries know no other.
    pub fn is_linux(&self) -> bool {
        self.kind != Kind::Simulated
    }

    /// Whether all sockets have to use one queue, one after the other: a card leads packets to queues as it likes.
    pub fn has_one_queue(&self) -> bool {
        self.kind == Kind::Card
    }

    /// A socket on the interface that is measured.
    pub fn target(&self, queue: u32) -> Target<'_> {
        Target { interface: &self.interface, queue, mode: self.mode }
    }

    /// A socket on the one that sends, if there is one.
    pub fn sender(&self, queue: u32) -> Option<Target<'_>> {
        self.peer.as_deref().map(|interface| Target { interface, queue, mode: self.mode })
    }

    /// A queue that nobody has.
    ///
    /// # Panics
    /// If all are taken.
    pub fn queue(&mut self) -> u32 {
        if self.has_one_queue() {
            // Of the socket before, which is closed: the kernel takes some milliseconds over that, and not every library waits.
            thread::sleep(Duration::from_millis(300));
            return self.queues.start;
        }
        self.queues.next().expect("a queue is left")
    }

    /// Leads the packets of a queue to a socket, which has an RX ring.
    ///
    /// # Panics
    /// If the kernel refuses it.
    pub fn lead(&self, queue: u32, socket: Handle) {
        self.backend.xskmap_update(self.map, queue, socket).expect("a slot of the map");
    }

    /// The same on the sender, where there is a program only from the first such call on.
    ///
    /// # Panics
    /// If there is none, or the kernel refuses it.
    pub fn lead_back(&mut self, queue: u32, socket: Handle) {
        let map = self.back.unwrap_or_else(|| {
            let peer = self.peer.as_deref().expect("a peer");
            attach(&*self.backend, peer, self.mode, &mut self.handles)
                .unwrap_or_else(|error| panic!("{error}"))
        });
        self.back = Some(map);
        self.backend.xskmap_update(map, queue, socket).expect("a slot of the map");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handles.drain(..).for_each(|handle| self.backend.close(handle));
    }
}

/// What is known of an interface that can be used.
fn checked(
    backend: &dyn Backend,
    variable: &str,
    interface: &str,
    choice: &Choice,
) -> Result<InterfaceInfo, BadChoice> {
    let bad = |what: String| BadChoice(format!("{variable}={interface}: {what}"));
    let name = CString::new(interface).map_err(|_| bad("a name has no NUL".to_owned()))?;
    let info = backend.interface(&name).map_err(|error| bad(format!("no such interface here ({error})")))?;
    if !info.up || !info.carrier {
        return Err(bad("it is not up, or has no carrier".to_owned()));
    }
    if choice.queue >= info.queues() {
        return Err(bad(format!("there is no queue {}; it has {}", choice.queue, info.queues())));
    }
    let can = info.features.is_none_or(|features| features.contains(DriverFeatures::ZERO_COPY));
    if choice.mode.zero_copy && !can {
        let driver = info.driver.as_deref().unwrap_or("unknown");
        return Err(bad(format!("its driver ({driver}) has no zero copy")));
    }
    Ok(info)
}

/// Attaches a program, and returns its map. It stays as long as the handles.
fn attach(
    backend: &dyn Backend,
    interface: &str,
    mode: Mode,
    handles: &mut Vec<Handle>,
) -> Result<Handle, BadChoice> {
    let map = backend.xskmap_create(QUEUES.max(256));
    let map = map.map_err(|error| BadChoice(format!("cannot make an XSKMAP: {error}")))?;
    handles.push(map);
    let program = backend.program_load(&RedirectProgram { map, frags: false });
    let program = program.map_err(|error| BadChoice(format!("cannot load an XDP program: {error}")))?;
    handles.push(program);
    let name = CString::new(interface).unwrap_or_default();
    let link = backend
        .interface(&name)
        .and_then(|info| backend.link_create(program, info.index, mode.xdp_flags()))
        .map_err(|error| {
            BadChoice(format!("cannot attach an XDP program to {interface} ({mode}): {error}"))
        })?;
    handles.push(link);
    Ok(map)
}
