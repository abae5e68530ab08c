//! What was called, what shall fail, and what the toy holds.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use xsk::backend::{Handle, InterfaceInfo, NamespaceId};
use xsk_core::errno::EBADF;
use xsk_core::region::Region;

use super::peer::Peer;
use super::{Socket, State, Toy};

pub(super) const FIRST_HANDLE: i32 = 1 << 20;

pub(crate) fn fail<T>(errno: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}

/// Handles count from 1 in the texts.
pub(super) fn number(handle: Handle) -> i32 {
    handle.0 - FIRST_HANDLE
}

/// An option, or the ring that it makes.
pub(super) fn name_of(option: i32) -> &'static str {
    ["", "offsets", "RX", "TX", "UMEM", "fill", "completion", "statistics", "options"][option as usize]
}

/// Every call but questions, in order, and every unmapping; and the calls that are to fail.
#[derive(Debug, Default)]
pub(crate) struct Script {
    log: Arc<Mutex<Vec<String>>>,
    faults: Mutex<Vec<(String, i32, u32)>>,
    live: Arc<()>,
}

/// A mapping's last words.
struct Unmap {
    log: Arc<Mutex<Vec<String>>>,
    name: &'static str,
    _live: Arc<()>,
}

impl Drop for Unmap {
    fn drop(&mut self) {
        self.log.lock().unwrap().push(format!("munmap {}", self.name));
    }
}

impl Script {
    pub(super) fn call(&self, text: impl Into<String>) -> io::Result<()> {
        let text = text.into();
        let mut faults = self.faults.lock().unwrap();
        let fault = faults.iter_mut().find(|(call, _, times)| text.starts_with(call.as_str()) && *times > 0);
        let errno = fault.map(|(_, errno, times)| {
            *times -= 1;
            *errno
        });
        self.log.lock().unwrap().push(text);
        errno.map_or(Ok(()), fail)
    }

    pub(super) fn mapped(&self, name: &'static str) -> Box<dyn Any + Send + Sync> {
        Box::new(Unmap { log: Arc::clone(&self.log), name, _live: Arc::clone(&self.live) })
    }

    /// The next `times` calls whose text starts with `call` fail.
    pub(crate) fn fault(&self, call: &str, errno: i32, times: u32) {
        self.faults.lock().unwrap().push((call.into(), errno, times));
    }

    /// What was called since the last look.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Toy {
    pub(crate) fn new(old: bool) -> Arc<Self> {
        static NAMESPACES: AtomicU64 = AtomicU64::new(0);
        let interface = |index| {
            let mut interface = InterfaceInfo::new(format!("toy{}", index - 1), index);
            (interface.rx_queues, interface.tx_queues, interface.max_queues) = (4, 4, 8);
            interface
        };
        let state = State { interfaces: (1..=3).map(interface).collect(), ..Default::default() };
        let namespace = NamespaceId([u64::MAX, NAMESPACES.fetch_add(1, Ordering::Relaxed)]);
        Arc::new(Self { old, namespace, script: Script::default(), state: Mutex::new(state) })
    }

    /// A call that makes something.
    pub(super) fn open(&self, call: impl Into<String>, object: Option<Socket>) -> io::Result<Handle> {
        self.script.call(call)?;
        let mut state = self.state();
        state.opened += 1;
        let handle = FIRST_HANDLE + state.opened;
        state.open.insert(handle, object);
        Ok(Handle(handle))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Handles that are open, and mappings that live.
    pub(crate) fn holds(&self) -> (usize, usize) {
        (self.state().open.len(), Arc::strong_count(&self.script.live) - 1)
    }

    /// The device of a socket goes away.
    pub(crate) fn unbind(&self, socket: i32) {
        self.state().socket(Handle(FIRST_HANDLE + socket)).unwrap().bound = None;
    }

    /// The other half of a socket's ring, by the option that made it.
    pub(crate) fn peer(&self, socket: i32, ring: i32) -> Peer {
        self.state().socket(Handle(FIRST_HANDLE + socket)).unwrap().rings[&ring].clone()
    }

    /// The memory of the last UMEM.
    pub(crate) fn memory(&self) -> Arc<Region> {
        self.state().memory.upgrade().expect("a UMEM")
    }
}

impl State {
    pub(super) fn socket(&mut self, handle: Handle) -> io::Result<&mut Socket> {
        self.open.get_mut(&handle.0).and_then(Option::as_mut).map_or(fail(EBADF), Ok)
    }
}
