//! A second backend in under 200 lines: sockets, rings in heap memory, and the rules of bind. The kernel's half of the
//! rings is played by the test ([`peer`]); what was called is on record, and any call can be made to fail ([`script`]).
#![allow(dead_code)] // each test file uses its part

pub(crate) mod peer;
pub(crate) mod script;
pub(crate) mod setup;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use xsk::backend::{
    Backend, Handle, InterfaceInfo, Mapping, NamespaceId, PageSize, Poll, PollEvents, RedirectProgram,
};
use xsk::config::XdpFlags;
use xsk_core::abi::*;
use xsk_core::errno::*;
use xsk_core::region::Region;

use peer::Peer;
use script::{Script, fail, name_of, number};

/// A kernel with the interfaces toy0 (index 1) to toy2, of four queues each. Time is virtual.
#[derive(Debug)]
pub(crate) struct Toy {
    /// Answers as kernels before 5.4 do: short structs, no flags in the rings, no recvfrom.
    pub(crate) old: bool,
    pub(crate) namespace: NamespaceId,
    pub(crate) script: Script,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    opened: i32,
    /// Sockets; `None` is a map, a program or a link.
    open: BTreeMap<i32, Option<Socket>>,
    memory: Weak<Region>,
    interfaces: Vec<InterfaceInfo>,
    now: Duration,
}

#[derive(Debug, Default, Clone)]
struct Socket {
    umem: Option<u64>,
    rings: BTreeMap<i32, Peer>,
    bound: Option<sockaddr_xdp>,
}

impl Backend for Toy {
    fn socket(&self) -> io::Result<Handle> {
        self.open("socket", Some(Socket::default()))
    }

    fn close(&self, handle: Handle) {
        self.script.call(format!("close {}", number(handle))).unwrap();
        self.state().open.remove(&handle.0).expect("an open handle");
    }

    fn setsockopt(&self, socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        let word = if name == XDP_UMEM_REG { 0 } else { u32::from_ne_bytes(value.try_into().unwrap()) };
        self.script.call(format!("setsockopt {} {} {word}", number(socket), name_of(name)))?;
        let mut state = self.state();
        let socket = state.socket(socket)?;
        match name {
            _ if level != SOL_XDP => return fail(ENOPROTOOPT),
            XDP_UMEM_REG if value.len() == size_of::<xdp_umem_reg>() && socket.umem.is_none() => {
                socket.umem = Some(u64::from_ne_bytes(value[..8].try_into().unwrap()));
            }
            _ if peer::is_ring(name) && word.is_power_of_two() && !socket.rings.contains_key(&name) => {
                socket.rings.insert(name, Peer::new(name, word, self.old));
            }
            _ => return fail(EINVAL),
        }
        Ok(())
    }

    fn getsockopt(&self, socket: Handle, _: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
        self.script.call(format!("getsockopt {} {}", number(socket), name_of(name)))?;
        let answer = match name {
            XDP_MMAP_OFFSETS => peer::offsets(self.old),
            XDP_STATISTICS => (1..=if self.old { 3 } else { 6 }).flat_map(u64::to_ne_bytes).collect(),
            _ => vec![0; value.len()],
        };
        value[..answer.len()].copy_from_slice(&answer);
        Ok(answer.len())
    }

    /// `net/xdp/xsk.c:xsk_bind`, `net/xdp/xsk_buff_pool.c:xp_assign_dev`, without zero copy.
    fn bind(&self, socket: Handle, address: &sockaddr_xdp) -> io::Result<()> {
        let place = |a: &sockaddr_xdp| (a.sxdp_ifindex, a.sxdp_queue_id);
        let ((ifindex, queue), flags) = (place(address), address.sxdp_flags);
        let shared = (flags & XDP_SHARED_UMEM != 0).then_some(Handle(address.sxdp_shared_umem_fd as i32));
        let of = shared.map_or(String::new(), |owner| format!(" of {}", number(owner)));
        self.script.call(format!("bind {} {ifindex}:{queue} flags {flags}{of}", number(socket)))?;
        let mut state = self.state();
        let here = |bound: Option<sockaddr_xdp>| bound.is_some_and(|b| place(&b) == place(address));
        let busy = state.open.values().flatten().any(|other| here(other.bound));
        let mut me = state.socket(socket)?.clone();
        let has = |ring| me.rings.contains_key(&ring);
        let has_pool = has(XDP_UMEM_FILL_RING) && has(XDP_UMEM_COMPLETION_RING);
        if let Some(owner) = shared {
            let owner = state.socket(owner)?.clone();
            let same = here(owner.bound);
            if owner.bound.is_none() || flags != XDP_SHARED_UMEM || me.umem.is_some() || same == has_pool {
                return fail(if owner.bound.is_none() { EBADF } else { EINVAL });
            }
            if same {
                // A bound socket may map the rings of its pool.
                me.rings.extend(owner.rings.into_iter().filter(|(ring, _)| *ring >= XDP_UMEM_FILL_RING));
            } else if busy {
                return fail(EBUSY);
            }
            me.umem = owner.umem;
        } else if busy || me.umem.is_none() || !has_pool {
            return fail(if busy { EBUSY } else { EINVAL });
        }
        me.bound = Some(*address);
        *state.socket(socket)? = me;
        Ok(())
    }

    fn mmap_ring(&self, socket: Handle, offset: u64, len: usize) -> io::Result<Mapping> {
        let ring = peer::ring_at(offset);
        self.script.call(format!("mmap {} {}", number(socket), name_of(ring)))?;
        let region = self.state().socket(socket)?.rings.get(&ring).map(|peer| peer.region.clone());
        let region = region.filter(|region| len <= region.len()).map_or(fail(EINVAL), Ok)?;
        Ok(Mapping::of_region(&region, self.script.mapped(name_of(ring))))
    }

    fn mmap_memory(&self, len: usize, pages: PageSize) -> io::Result<Mapping> {
        self.script.call(format!("mmap {len} {pages}"))?;
        let region = Region::new(len).map_err(|_| io::Error::from_raw_os_error(ENOMEM))?;
        self.state().memory = Arc::downgrade(&region);
        Ok(Mapping::of_region(&region, self.script.mapped("memory")))
    }

    fn poll(&self, polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize> {
        self.script.call(format!("poll {timeout_ms}"))?;
        let mut state = self.state();
        for poll in polls.iter_mut() {
            let rings = &state.socket(poll.socket)?.rings;
            poll.ready = rings.values().map(Peer::events).collect::<PollEvents>() & poll.events;
        }
        let ready = polls.iter().filter(|poll| !poll.ready.is_empty()).count();
        state.now += Duration::from_millis(if ready == 0 { timeout_ms.max(0) as u64 } else { 0 });
        Ok(ready)
    }

    fn sendto(&self, socket: Handle) -> io::Result<()> {
        self.script.call(format!("sendto {}", number(socket)))
    }

    fn recvfrom(&self, socket: Handle) -> io::Result<()> {
        self.script.call(format!("recvfrom {}", number(socket)))?;
        if self.old { fail(EOPNOTSUPP) } else { Ok(()) }
    }

    fn interface(&self, name: &CStr) -> io::Result<InterfaceInfo> {
        let found = self.state().interfaces.iter().find(|i| i.name.as_bytes() == name.to_bytes()).cloned();
        found.map_or(fail(ENODEV), Ok)
    }

    fn namespace(&self) -> io::Result<NamespaceId> {
        Ok(self.namespace)
    }

    fn now(&self) -> Duration {
        self.state().now
    }

    fn sleep(&self, time: Duration) {
        self.script.call(format!("sleep {time:?}")).unwrap();
        self.state().now += time;
    }

    fn xskmap_create(&self, entries: u32) -> io::Result<Handle> {
        self.open(format!("xskmap_create {entries}"), None)
    }

    fn xskmap_update(&self, map: Handle, key: u32, socket: Handle) -> io::Result<()> {
        self.script.call(format!("xskmap_update {} {key} {}", number(map), number(socket)))
    }

    fn xskmap_delete(&self, map: Handle, key: u32) -> io::Result<()> {
        self.script.call(format!("xskmap_delete {} {key}", number(map)))
    }

    fn program_load(&self, program: &RedirectProgram) -> io::Result<Handle> {
        self.open(format!("program_load {} frags {}", number(program.map), program.frags), None)
    }

    fn link_create(&self, program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle> {
        self.open(format!("link_create {} {ifindex} {}", number(program), flags.bits()), None)
    }
}
