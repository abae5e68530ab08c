//! The state of a simulated kernel.

mod events;
mod handles;
mod mappings;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use events::Event;
pub(crate) use handles::Object;
pub(crate) use mappings::{Unpinned, UserMemory};
use xsk::backend::Capabilities;

use crate::arena::{Arena, Id};
use crate::background::{Bells, Running};
use crate::clock::Clock;
use crate::device::{Device, Softirq};
use crate::error::{Crash, Failure, Sys};
use crate::fault::Faults;
use crate::pool::Pool;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::skb::Spare;
use crate::socket::{Socket, Watches};
use crate::trace::Recorder;
use crate::umem::Umem;
use crate::xdp::{Link, PagePool, Program, XskMap};
use handles::Handles;

/// Everything that a kernel knows. The lock around it is in [`crate::SimKernel`].
///
/// Each kind of object has a room of its own; what concerns several of them are methods of this struct, in the room of the
/// call that needs them.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) number: u64,
    pub(crate) profile: Profile,
    pub(crate) rng: Rng,
    pub(crate) clock: Clock<Event>,
    pub(crate) handles: Handles,
    pub(crate) memory: UserMemory,
    pub(crate) process: Process,
    pub(crate) sockets: Arena<Socket>,
    pub(crate) umems: Arena<Umem>,
    pub(crate) pools: Arena<Pool>,
    pub(crate) devices: Arena<Device>,
    pub(crate) maps: Arena<XskMap>,
    pub(crate) programs: Arena<Program>,
    pub(crate) links: Arena<Link>,
    /// Work that the end of the running call does.
    pub(crate) softirqs: VecDeque<Softirq>,
    pub(crate) in_softirq: bool,
    pub(crate) watches: Watches,
    /// While it is in the background.
    pub(crate) running: Option<Running>,
    pub(crate) bells: Arc<Bells>,
    /// Sockets that the running NAPI poll delivered to; empty between polls.
    pub(crate) delivered: Vec<Id<Socket>>,
    pub(crate) spare: Spare,
    pub(crate) crash: Option<Crash>,
    pub(crate) faults: Faults,
    /// While somebody wants one.
    pub(crate) recorder: Option<Box<Recorder>>,
    /// What packets are copied into for programs that take fragments, in SKB mode.
    pub(crate) page_pool: PagePool,
    /// Whether the law of the frames is checked at every step.
    pub(crate) watches_frames: bool,
}

/// The process that makes the calls.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) capabilities: Capabilities,
    /// In bytes; `None`: no limit.
    pub(crate) memlock_limit: Option<u64>,
    /// In pages, of all UMEMs.
    pub(crate) locked_pages: u64,
    pub(crate) huge_pages: u64,
    pub(crate) free_huge_pages: u64,
    /// No thread calls while another one waits.
    pub(crate) single_threaded: bool,
}

impl Kernel {
    pub(crate) fn new(number: u64, seed: u64, profile: Profile) -> Self {
        Self {
            number,
            profile,
            rng: Rng::new(seed),
            clock: Clock::default(),
            handles: Handles::default(),
            memory: UserMemory::default(),
            process: Process {
                capabilities: Capabilities::all(),
                memlock_limit: None,
                locked_pages: 0,
                huge_pages: 64,
                free_huge_pages: 64,
                single_threaded: false,
            },
            sockets: Arena::default(),
            umems: Arena::default(),
            pools: Arena::default(),
            devices: Arena::default(),
            maps: Arena::default(),
            programs: Arena::default(),
            links: Arena::default(),
            softirqs: VecDeque::new(),
            in_softirq: false,
            watches: Watches::default(),
            running: None,
            bells: Arc::default(),
            delivered: Vec::new(),
            spare: Spare::default(),
            crash: None,
            faults: Faults::default(),
            recorder: None,
            page_pool: PagePool::default(),
            watches_frames: false,
        }
    }

    /// Records what would have crashed Linux; the call that is running, and every later one, fails with it.
    pub(crate) fn crash(&mut self, rule: &'static str, what: impl Into<String>) {
        if self.crash.is_none() {
            self.crash = Some(Crash { rule, what: what.into() });
        }
    }

    pub(crate) fn check_alive(&self) -> Sys<()> {
        self.crash.clone().map_or(Ok(()), |crash| Err(Failure::Crashed(crash)))
    }

    /// Whether the process may do what `capability` is for.
    pub(crate) fn may(&self, capability: Capabilities) -> bool {
        self.process.capabilities.intersects(capability)
    }

    pub(crate) fn program_of(&self, device: Id<Device>) -> Option<(Id<Program>, crate::xdp::Mode)> {
        let attached = self.devices[device].xdp.as_ref()?;
        Some((attached.program, attached.mode))
    }
}
