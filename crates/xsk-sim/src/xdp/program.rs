use std::fmt;
use std::sync::Arc;

use xsk::backend::{Handle, RedirectProgram};
use xsk_core::errno::ENOENT;

use crate::arena::Id;
use crate::device::{Device, Kind};
use crate::error::{Sys, errno};
use crate::kernel::{Kernel, Object};
use crate::skb::Skb;
use crate::socket::Socket;

use super::buff::HEAD_MAX;
use super::room::{PagePool, expanded};
use super::{Mode, XdpBuff, XskMap};

/// What an XDP program does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum XdpAction {
    /// `XDP_ABORTED`: dropped, as an error.
    Aborted,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`: on to the host's stack.
    Pass,
    /// `XDP_TX`: out of the interface that it came in on.
    Tx,
    /// `bpf_redirect_map` with an XSKMAP.
    RedirectMap {
        /// The map.
        map: Handle,
        /// The slot.
        key: u32,
        /// What to do if the slot is empty or not there: 0 to 3 for the first four actions. More is `XDP_ABORTED`.
        flags: u64,
    },
    /// `bpf_redirect` to an interface.
    Redirect {
        /// The index of the interface.
        ifindex: u32,
    },
}

/// An action, with maps looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Pass,
    Tx,
    Socket(Id<Socket>),
    Device(Id<Device>),
}

/// A closure as a program.
pub(crate) type Closure = Arc<dyn Fn(&mut XdpBuff) -> XdpAction + Send + Sync>;

/// What a program does.
#[derive(Clone)]
pub(crate) enum Body {
    /// The library's own: to the slot of the receive queue, or else to the stack.
    Redirect(Id<XskMap>),
    Closure(Closure),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirect(map) => f.debug_tuple("Redirect").field(map).finish(),
            Self::Closure(_) => f.write_str("Closure(..)"),
        }
    }
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Whether it takes packets of several buffers.
    pub(crate) frags: bool,
    pub(crate) body: Body,
}

/// What `bpf_redirect_map` does with an empty slot.
const FALLBACK_PASS: u64 = 2;

impl Kernel {
    /// `BPF_PROG_LOAD` of the library's own program.
    pub(crate) fn load_redirect(&mut self, program: &RedirectProgram) -> Sys<Handle> {
        let map = self.map(program.map)?;
        Ok(self.load("xsk_redirect", program.frags, Body::Redirect(map)))
    }

    /// Any other program.
    pub(crate) fn load(&mut self, name: &str, frags: bool, body: Body) -> Handle {
        const NAME_MAX: usize = 15;
        let name = name.chars().take(NAME_MAX).collect();
        let program = self.programs.insert(Program { name, frags, body });
        self.handles.open(Object::Program(program))
    }

    /// The id of a program, as user space knows it.
    pub(crate) fn program_id(program: Id<Program>) -> u32 {
        program.number() + 1
    }

    /// The name of a program that somebody still holds.
    pub(crate) fn program_name(&self, id: u32) -> Sys<String> {
        let held = self.handles.iter().find_map(|(_, object)| match object {
            Object::Program(program) if Self::program_id(program) == id => Some(program),
            _ => None,
        });
        let attached = || {
            let mut programs = self.links.iter().map(|(_, link)| link.program);
            programs.find(|program| Self::program_id(*program) == id)
        };
        match held.or_else(attached) {
            Some(program) => Ok(self.programs[program].name.clone()),
            None => errno(ENOENT),
        }
    }

    /// Runs a program over a packet from a queue.
    pub(crate) fn run_program(
        &mut self,
        id: Id<Program>,
        device: Id<Device>,
        mode: Mode,
        skb: &mut Skb,
    ) -> Verdict {
        let room = self.room(id, device, mode, skb);
        skb.data.begin(room, self.devices[device].index, skb.queue);
        self.run(id, skb)
    }

    /// As [`run_program`](Self::run_program), over a packet that is in frames of so many bytes.
    pub(crate) fn run_program_on_frame(
        &self,
        id: Id<Program>,
        device: Id<Device>,
        frame: usize,
        skb: &mut Skb,
    ) -> Verdict {
        skb.data.begin_in_frame(frame, self.devices[device].index, skb.queue);
        self.run(id, skb)
    }

    #[inline]
    fn run(&self, id: Id<Program>, skb: &mut Skb) -> Verdict {
        match &self.programs[id].body {
            Body::Redirect(map) => {
                self.maps[*map].get(skb.queue).map_or(fallback(FALLBACK_PASS), Verdict::Socket)
            }
            Body::Closure(closure) => self.resolve(closure(&mut skb.data)),
        }
    }

    /// How many bytes of data the first piece of a packet has room for.
    #[inline]
    fn room(&mut self, program: Id<Program>, device: Id<Device>, mode: Mode, skb: &Skb) -> usize {
        let (len, program) = (skb.data.len(), &self.programs[program]);
        let is_veth = matches!(self.devices[device].kind, Kind::Veth { .. });
        match (&program.body, mode) {
            (Body::Closure(_), Mode::Native) if is_veth => {
                let (pools, queue) = (&mut self.devices[device].page_pools, skb.queue as usize);
                if pools.len() <= queue {
                    pools.resize_with(queue + 1, PagePool::default);
                }
                pools[queue].copy(len)
            }
            (Body::Closure(_), Mode::Skb) if program.frags => self.page_pool.copy(len),
            (Body::Closure(_), Mode::Skb) => expanded(len, skb.owner.is_some()),
            // A page. The library's own program does not look.
            _ if program.frags => HEAD_MAX,
            _ => len.max(HEAD_MAX),
        }
    }

    fn resolve(&self, action: XdpAction) -> Verdict {
        match action {
            XdpAction::Aborted | XdpAction::Drop => Verdict::Drop,
            XdpAction::Pass => Verdict::Pass,
            XdpAction::Tx => Verdict::Tx,
            XdpAction::Redirect { ifindex } => {
                self.device_by_index(ifindex).map_or(Verdict::Drop, Verdict::Device)
            }
            XdpAction::RedirectMap { map, key, flags } => {
                // A program cannot be loaded with a map that is not there; here it can, and drops.
                let Ok(map) = self.map(map) else { return Verdict::Drop };
                match self.maps[map].get(key) {
                    _ if flags > 3 => Verdict::Drop,
                    Some(socket) => Verdict::Socket(socket),
                    None => fallback(flags),
                }
            }
        }
    }
}

/// `include/linux/filter.h:__bpf_xdp_redirect_map`.
fn fallback(flags: u64) -> Verdict {
    match flags {
        2 => Verdict::Pass,
        3 => Verdict::Tx,
        _ => Verdict::Drop,
    }
}
