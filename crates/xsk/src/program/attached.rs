use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::backend::{Backend, BackendExt, Handle, InterfaceInfo, NamespaceId, OwnedHandle, RedirectProgram};
use crate::config::{Attach, XdpFlags};
use crate::diagnose;
use crate::error::{Diagnosis, Error, Step, errno};

/// The programs that this process has attached: at most one for each interface. Every attach and every detach happens under
/// this lock, so that a new socket never meets a program that is half gone.
static PROGRAMS: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

struct Entry {
    namespace: NamespaceId,
    ifindex: u32,
    program: Weak<Attached>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole at every moment when something may panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program on an interface, and its XSKMAP.
struct Attached {
    map: OwnedHandle,
    /// The mode flags that it was asked for with.
    modes: XdpFlags,
    state: Mutex<State>,
    hold: Hold,
}

struct State {
    /// The attached program, where the kernel tells it. Through a dispatcher it is anybody's.
    id: Option<u32>,
    frags: bool,
    /// The sockets of each queue, in the order in which they came; the last one is in the map.
    slots: BTreeMap<u32, Vec<Handle>>,
}

enum Hold {
    Link(OwnedHandle),
    #[allow(dead_code)] // held to be dropped
    Other(AssertUnwindSafe<Box<dyn Any + Send + Sync>>),
}

/// A share in an attached program. The last one to go detaches it.
#[derive(Clone)]
pub(crate) struct ProgramRef(Option<Arc<Attached>>);

impl Drop for ProgramRef {
    fn drop(&mut self) {
        let mut programs = lock(&PROGRAMS);
        drop(self.0.take());
        programs.retain(|entry| entry.program.strong_count() > 0);
    }
}

/// A socket's place in the map. Dropping it takes the socket out; the socket must still be open then.
pub(crate) struct MapSlot {
    program: ProgramRef,
    queue: u32,
    socket: Handle,
}

/// A share in the program on `interface`, which is attached if this process has none there yet.
///
/// `frags`: packets of several buffers must pass.
pub(crate) fn acquire(
    backend: &Arc<dyn Backend>,
    namespace: NamespaceId,
    interface: &InterfaceInfo,
    flags: XdpFlags,
    attach: Attach,
    frags: bool,
) -> Result<ProgramRef, Error> {
    let mut programs = lock(&PROGRAMS);
    let found = programs.iter().find(|e| (e.namespace, e.ifindex) == (namespace, interface.index));
    if let Some(program) = found.and_then(|entry| entry.program.upgrade()) {
        // Should this be the last share by now, it must not take the lock again: it is dropped as it is.
        if program.is_on(backend, interface) {
            program.join(backend, interface, flags.modes(), frags)?;
            return Ok(ProgramRef(Some(program)));
        }
        // Sockets of an interface that is gone keep it; this is another interface, with the same index.
        programs.retain(|e| (e.namespace, e.ifindex) != (namespace, interface.index));
    }
    let program = Arc::new(match attach {
        Attach::Link => Attached::by_link(backend, interface, flags.modes(), frags)?,
        Attach::Dispatcher => Attached::by_dispatcher(backend, interface, flags.modes())?,
    });
    programs.push(Entry { namespace, ifindex: interface.index, program: Arc::downgrade(&program) });
    Ok(ProgramRef(Some(program)))
}

fn load(
    backend: &Arc<dyn Backend>,
    interface: &InterfaceInfo,
    program: RedirectProgram,
) -> Result<OwnedHandle, Error> {
    let loaded = backend.program_load(&program);
    let loaded =
        loaded.map_err(|e| diagnose::program(backend, Step::LoadProgram, interface, program.frags, e))?;
    Ok(OwnedHandle::new(backend, loaded))
}

impl Attached {
    fn by_link(
        backend: &Arc<dyn Backend>,
        interface: &InterfaceInfo,
        modes: XdpFlags,
        frags: bool,
    ) -> Result<Self, Error> {
        let fail = |step, e| diagnose::program(backend, step, interface, frags, e);
        let entries = interface.max_queues.max(interface.queues());
        let map = backend
            .xskmap_create(entries)
            .map_err(|e| fail(Step::CreateMap, e).value(format!("{entries} slot(s)")))?;
        let map = OwnedHandle::new(backend, map);
        let program = load(backend, interface, RedirectProgram { map: map.get(), frags })?;
        let link = backend.link_create(program.get(), interface.index, modes);
        let link = link.map_err(|e| fail(Step::AttachProgram, e).value(describe(modes)))?;
        let hold = Hold::Link(OwnedHandle::new(backend, link));
        let id = program_on(backend, interface).flatten();
        Ok(Self { map, modes, state: Mutex::new(State { id, frags, slots: BTreeMap::new() }), hold })
    }

    fn by_dispatcher(
        backend: &Arc<dyn Backend>,
        interface: &InterfaceInfo,
        modes: XdpFlags,
    ) -> Result<Self, Error> {
        let attachment = backend
            .attach_dispatcher(interface, modes)
            .map_err(|e| diagnose::dispatcher(backend, interface, modes, e))?;
        // The dispatcher takes whatever buffers all of its programs take: nothing to choose here.
        let state = Mutex::new(State { id: None, frags: true, slots: BTreeMap::new() });
        let map = OwnedHandle::new(backend, attachment.map);
        Ok(Self { map, modes, state, hold: Hold::Other(AssertUnwindSafe(attachment.keep)) })
    }

    /// Whether it is this interface that has the program: indices are used again, and links end with their interface.
    fn is_on(&self, backend: &Arc<dyn Backend>, interface: &InterfaceInfo) -> bool {
        let id = lock(&self.state).id;
        // Looked at again before it is denied: another thread may have attached it since `interface` was looked at.
        id.is_none()
            || interface.program.map(|program| program.id) == id
            || program_on(backend, interface).is_none_or(|now| now == id)
    }

    /// Makes sure that one more socket may use this program.
    fn join(
        &self,
        backend: &Arc<dyn Backend>,
        interface: &InterfaceInfo,
        modes: XdpFlags,
        frags: bool,
    ) -> Result<(), Error> {
        if !modes.is_empty() && modes != self.modes {
            // Asked for in another way; that is no conflict if it came out the same.
            let attached = interface.program.map(|program| program.mode);
            if let Some(attached) = attached.filter(|mode| Some(*mode) != diagnose::mode_of(modes)) {
                let error = Error::new(Step::AttachProgram, Diagnosis::OtherMode { attached });
                return Err(error.on(&interface.name, None).value(describe(modes)));
            }
        }
        let mut state = lock(&self.state);
        if let (Hold::Link(link), true, false) = (&self.hold, frags, state.frags) {
            let program = load(backend, interface, RedirectProgram { map: self.map.get(), frags })?;
            let updated = backend.link_update(link.get(), program.get());
            updated.map_err(|e| diagnose::program(backend, Step::AttachProgram, interface, frags, e))?;
            state.frags = true;
            state.id = program_on(backend, interface).flatten();
        }
        Ok(())
    }
}

/// The id of the program that is on the interface now, if any; `None` if that cannot be told.
fn program_on(backend: &Arc<dyn Backend>, interface: &InterfaceInfo) -> Option<Option<u32>> {
    let name = CString::new(interface.name.as_str()).ok()?;
    let now = backend.interface(&name).ok()?;
    (now.index == interface.index).then_some(now.program.map(|program| program.id))
}

fn describe(modes: XdpFlags) -> String {
    if modes.is_empty() { "no mode flags".to_owned() } else { diagnose::names(&modes) }
}

impl ProgramRef {
    fn attached(&self) -> Option<&Arc<Attached>> {
        self.0.as_ref()
    }

    /// The id of the attached program, where the kernel tells it. Through a dispatcher it is anybody's.
    pub(crate) fn id(&self) -> Option<u32> {
        lock(&self.attached()?.state).id
    }

    /// Its XSKMAP.
    #[cfg(target_os = "linux")]
    pub(crate) fn map(&self) -> Option<Handle> {
        Some(self.attached()?.map.get())
    }

    /// Puts `socket`, which has an RX ring and stays open until the slot is dropped, into the map.
    pub(crate) fn insert(&self, queue: u32, socket: Handle) -> io::Result<MapSlot> {
        let attached = self.attached().ok_or_else(|| io::Error::from_raw_os_error(errno::EBADF))?;
        let mut state = lock(&attached.state);
        attached.map.backend().xskmap_update(attached.map.get(), queue, socket)?;
        state.slots.entry(queue).or_default().push(socket);
        Ok(MapSlot { program: self.clone(), queue, socket })
    }
}

impl Drop for MapSlot {
    fn drop(&mut self) {
        let Some(attached) = self.program.attached() else { return };
        let mut state = lock(&attached.state);
        let Some(sockets) = state.slots.get_mut(&self.queue) else { return };
        let was_last = sockets.last() == Some(&self.socket);
        sockets.retain(|socket| *socket != self.socket);
        let (backend, map) = (attached.map.backend(), attached.map.get());
        if !was_last {
            return;
        }
        // A socket that lost its device takes no packets: put into the map it would keep them from the stack, and crash
        // Linux 5.10 in SKB mode.
        let is_dead = |socket| backend.ask(socket).is_err_and(|e| e.raw_os_error() == Some(errno::ENXIO));
        // There is nobody to tell of a failure here.
        let _ = match sockets.iter().rev().find(|socket| !is_dead(**socket)) {
            Some(previous) => backend.xskmap_update(map, self.queue, *previous),
            None => backend.xskmap_delete(map, self.queue),
        };
    }
}
