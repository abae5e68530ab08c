//! The simulated kernel with a book of what was asked of it, and of what it holds for us.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use xsk::backend::{
    Attachment, Backend, Capabilities, Handle, HugePages, InterfaceInfo, Mapping, NamespaceId, PageSize,
    Poll, RedirectProgram,
};
use xsk::config::XdpFlags;
use xsk_core::abi::sockaddr_xdp;
use xsk_sim::{DeviceConfig, Place, SimDevice, SimKernel};

/// A call, with what tells it from others of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    MmapMemory,
    Namespace,
    Socket,
    Setsockopt(i32),
    Getsockopt(i32),
    MmapRing(u64),
    Bind,
    Interface,
    XskmapCreate,
    XskmapUpdate,
    XskmapDelete,
    ProgramLoad,
    LinkCreate,
    LinkUpdate,
    Poll,
    Sendto,
    Recvfrom,
}

/// What is held of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Holds {
    pub(crate) sockets: usize,
    pub(crate) maps: usize,
    pub(crate) programs: usize,
    pub(crate) links: usize,
    /// Mappings of rings.
    pub(crate) rings: usize,
    /// Mappings of memory.
    pub(crate) memory: usize,
}

#[derive(Debug, Default)]
struct Book {
    /// Open handles, and which counter each is in.
    open: BTreeMap<Handle, fn(&mut Holds) -> &mut usize>,
    holds: Holds,
    calls: Vec<Call>,
}

/// A simulated kernel with the pairs `sim0`-`sim1` and `sim2`-`sim3`, of four queues each.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) kernel: SimKernel,
    pub(crate) devices: Vec<SimDevice>,
    book: Arc<Mutex<Book>>,
}

/// A mapping of the kernel's, and its place in the book.
struct Live {
    book: Arc<Mutex<Book>>,
    counter: fn(&mut Holds) -> &mut usize,
    _mapping: Mapping,
}

impl Drop for Live {
    fn drop(&mut self) {
        *(self.counter)(&mut self.book.lock().unwrap().holds) -= 1;
    }
}

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        let kernel = SimKernel::new(1);
        let config = DeviceConfig::default().queues(4);
        let pairs = [("sim0", "sim1"), ("sim2", "sim3")].map(|(a, b)| kernel.veth(a, b, &config).unwrap());
        let devices = pairs.into_iter().flat_map(|(a, b)| [a, b]).collect();
        Arc::new(Self { kernel, devices, book: Arc::default() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    fn note(&self, call: Call) {
        self.book().calls.push(call);
    }

    pub(crate) fn holds(&self) -> Holds {
        self.book().holds
    }

    /// The calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    fn opened(
        &self,
        result: io::Result<Handle>,
        counter: fn(&mut Holds) -> &mut usize,
    ) -> io::Result<Handle> {
        let handle = result?;
        let mut book = self.book();
        *counter(&mut book.holds) += 1;
        assert!(book.open.insert(handle, counter).is_none(), "a handle twice");
        Ok(handle)
    }

    fn mapped(
        &self,
        result: io::Result<Mapping>,
        counter: fn(&mut Holds) -> &mut usize,
    ) -> io::Result<Mapping> {
        let mapping = result?;
        *counter(&mut self.book().holds) += 1;
        let (pointer, len): (NonNull<u8>, usize) = (mapping.as_ptr(), mapping.len());
        let keep = Live { book: Arc::clone(&self.book), counter, _mapping: mapping };
        // SAFETY: the bytes are those of the kernel's own mapping, which `keep` holds.
        Ok(unsafe { Mapping::from_raw_parts(pointer, len, Box::new(keep)) })
    }

    /// How many frames are in each place, once all that was planned is done.
    pub(crate) fn frames(&self) -> [usize; 7] {
        self.kernel.run_until_idle(1000);
        let frames = self.kernel.frames();
        frames.check().unwrap();
        [Place::Pool, Place::Fill, Place::Kernel, Place::Rx, Place::Tx, Place::Completion, Place::Lost]
            .map(|place| frames.count(place))
    }

    /// Nothing is held, by us or by the kernel.
    pub(crate) fn nothing_is_left(&self, what: &str) {
        assert_eq!(self.holds(), Holds::default(), "{what} leaks");
        assert_eq!(self.frames(), [0; 7], "{what} leaks frames");
        let left = self.kernel.snapshot();
        assert!(!left.contains("socket") && !left.contains("umem"), "{what} leaves {left}");
        for device in &self.devices {
            assert_eq!(device.info().program, None, "{what} leaves a program on {}", device.name());
        }
    }
}

impl Backend for Ledger {
    fn socket(&self) -> io::Result<Handle> {
        self.note(Call::Socket);
        self.opened(self.kernel.socket(), |holds| &mut holds.sockets)
    }

    fn close(&self, handle: Handle) {
        let mut book = self.book();
        let counter = book.open.remove(&handle).expect("an open handle");
        *counter(&mut book.holds) -= 1;
        drop(book);
        self.kernel.close(handle);
    }

    fn setsockopt(&self, socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        self.note(Call::Setsockopt(name));
        self.kernel.setsockopt(socket, level, name, value)
    }

    fn getsockopt(&self, socket: Handle, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
        self.note(Call::Getsockopt(name));
        self.kernel.getsockopt(socket, level, name, value)
    }

    fn bind(&self, socket: Handle, address: &sockaddr_xdp) -> io::Result<()> {
        self.note(Call::Bind);
        self.kernel.bind(socket, address)
    }

    fn mmap_ring(&self, socket: Handle, offset: u64, len: usize) -> io::Result<Mapping> {
        self.note(Call::MmapRing(offset));
        self.mapped(self.kernel.mmap_ring(socket, offset, len), |holds| &mut holds.rings)
    }

    fn mmap_memory(&self, len: usize, pages: PageSize) -> io::Result<Mapping> {
        self.note(Call::MmapMemory);
        self.mapped(self.kernel.mmap_memory(len, pages), |holds| &mut holds.memory)
    }

    fn poll(&self, polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize> {
        self.note(Call::Poll);
        self.kernel.poll(polls, timeout_ms)
    }

    fn sendto(&self, socket: Handle) -> io::Result<()> {
        self.note(Call::Sendto);
        self.kernel.sendto(socket)
    }

    fn recvfrom(&self, socket: Handle) -> io::Result<()> {
        self.note(Call::Recvfrom);
        self.kernel.recvfrom(socket)
    }

    fn interface(&self, name: &CStr) -> io::Result<InterfaceInfo> {
        self.note(Call::Interface);
        self.kernel.interface(name)
    }

    fn namespace(&self) -> io::Result<NamespaceId> {
        self.note(Call::Namespace);
        self.kernel.namespace()
    }

    fn now(&self) -> Duration {
        self.kernel.now()
    }

    fn sleep(&self, time: Duration) {
        self.kernel.sleep(time);
    }

    fn fd(&self, socket: Handle) -> Option<i32> {
        self.kernel.fd(socket)
    }

    fn xskmap_create(&self, entries: u32) -> io::Result<Handle> {
        self.note(Call::XskmapCreate);
        self.opened(self.kernel.xskmap_create(entries), |holds| &mut holds.maps)
    }

    fn xskmap_update(&self, map: Handle, key: u32, socket: Handle) -> io::Result<()> {
        self.note(Call::XskmapUpdate);
        self.kernel.xskmap_update(map, key, socket)
    }

    fn xskmap_delete(&self, map: Handle, key: u32) -> io::Result<()> {
        self.note(Call::XskmapDelete);
        self.kernel.xskmap_delete(map, key)
    }

    fn program_load(&self, program: &RedirectProgram) -> io::Result<Handle> {
        self.note(Call::ProgramLoad);
        self.opened(self.kernel.program_load(program), |holds| &mut holds.programs)
    }

    fn link_create(&self, program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle> {
        self.note(Call::LinkCreate);
        self.opened(self.kernel.link_create(program, ifindex, flags), |holds| &mut holds.links)
    }

    fn link_update(&self, link: Handle, program: Handle) -> io::Result<()> {
        self.note(Call::LinkUpdate);
        self.kernel.link_update(link, program)
    }

    fn attach_dispatcher(&self, interface: &InterfaceInfo, flags: XdpFlags) -> io::Result<Attachment> {
        self.kernel.attach_dispatcher(interface, flags)
    }

    fn program_name(&self, id: u32) -> io::Result<String> {
        self.kernel.program_name(id)
    }

    fn capabilities(&self) -> io::Result<Capabilities> {
        self.kernel.capabilities()
    }

    fn memlock_limit(&self) -> io::Result<Option<u64>> {
        self.kernel.memlock_limit()
    }

    fn huge_pages(&self, size: PageSize) -> io::Result<HugePages> {
        self.kernel.huge_pages(size)
    }
}
