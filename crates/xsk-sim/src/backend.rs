//! The system calls.

use std::ffi::CStr;
use std::io;
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use xsk::backend::{
    Backend, Capabilities, Handle, HugePages, InterfaceCounters, InterfaceInfo, InterruptDeferral, Mapping,
    NamespaceId, PageSize, Poll, RedirectProgram, TxOffloads,
};
use xsk::config::XdpFlags;
use xsk_core::abi::sockaddr_xdp;
use xsk_core::errno::{EINVAL, ENODEV, ENOENT, ENOMEM};
use xsk_core::region::Region;

use crate::error::{Failure, Sys, errno};
use crate::fault::Call;
use crate::kernel::{Kernel, Object};
use crate::profile::QueueState;
use crate::sim_kernel::{Inner, SimKernel};

/// What a mapping of memory drops: its place in the kernel's table, and its huge pages.
#[derive(Debug)]
pub(crate) struct UnmapMemory {
    kernel: Weak<Inner>,
    address: u64,
    huge_pages: u64,
}

impl UnmapMemory {
    pub(crate) fn new(kernel: &SimKernel, region: &Arc<Region>, huge_pages: u64) -> Self {
        let address = region.as_ptr().as_ptr() as u64;
        Self { kernel: Arc::downgrade(kernel.inner()), address, huge_pages }
    }
}

impl Drop for UnmapMemory {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.upgrade() {
            let mut kernel = kernel.lock();
            kernel.memory.remove(self.address);
            kernel.process.free_huge_pages += self.huge_pages;
        }
    }
}

impl SimKernel {
    /// Every call: time passes, and nothing is done on a kernel that has crashed, or by a call that crashed it.
    fn call<T>(
        &self,
        what: Call,
        socket: Option<Handle>,
        call: impl FnOnce(&mut Kernel) -> Sys<T>,
    ) -> io::Result<T> {
        self.call_that_waits(what, socket, |mut kernel| {
            let result = call(&mut kernel);
            (kernel, result)
        })
    }

    /// As [`call`](Self::call), for a call that may let others in meanwhile.
    fn call_that_waits<'a, T>(
        &'a self,
        what: Call,
        socket: Option<Handle>,
        call: impl FnOnce(MutexGuard<'a, Kernel>) -> (MutexGuard<'a, Kernel>, Sys<T>),
    ) -> io::Result<T> {
        let mut kernel = self.lock();
        kernel.check_alive()?;
        kernel.look_at_rings();
        let start = kernel.clock.now();
        kernel.tick();
        let result;
        (kernel, result) = match kernel.call_fault(what, socket) {
            Some(number) => (kernel, errno(number)),
            None => call(kernel),
        };
        if kernel.running.is_some()
            && let Some(Ok(socket)) = socket.map(|handle| kernel.socket(handle))
        {
            kernel.refresh_descriptor(socket);
        }
        kernel.note_call(what, socket, start, &result);
        kernel.check_alive()?;
        kernel.check_law();
        Ok(result?)
    }

    fn map_memory(&self, kernel: &mut Kernel, len: usize, pages: PageSize) -> Sys<Mapping> {
        if len == 0 {
            return errno(EINVAL);
        }
        let len = len.checked_next_multiple_of(pages.bytes()).ok_or(Failure::Errno(ENOMEM))?;
        let huge = match pages {
            PageSize::Normal => 0,
            PageSize::Huge2M => (len / pages.bytes()) as u64,
            PageSize::Huge1G => return errno(ENOMEM),
        };
        if huge > kernel.process.free_huge_pages {
            return errno(ENOMEM);
        }
        let region = Region::new(len).map_err(|_| Failure::Errno(ENOMEM))?;
        kernel.process.free_huge_pages -= huge;
        kernel.memory.insert(&region, pages.bytes() as u64);
        Ok(Mapping::of_region(&region, Box::new(UnmapMemory::new(self, &region, huge))))
    }
}

/// `SOCK_RAW`.
const SOCK_RAW: i32 = 3;

impl Backend for SimKernel {
    fn socket(&self) -> io::Result<Handle> {
        self.call(Call::Socket, None, |kernel| kernel.create_socket(SOCK_RAW, 0))
    }

    fn close(&self, handle: Handle) {
        // A kernel that has crashed still forgets its handles.
        let mut kernel = self.lock();
        kernel.look_at_rings();
        let start = kernel.clock.now();
        if kernel.crash.is_none() {
            kernel.tick();
        }
        let socket = kernel.socket(handle).is_ok().then_some(handle);
        kernel.note_call(Call::Close, socket, start, &Ok(()));
        match kernel.handles.close(handle) {
            Some(Object::Socket(socket)) => kernel.put_socket(socket),
            Some(Object::Link(link)) => kernel.close_link(link),
            // Programs and maps are kept by whoever uses them, and cost nothing.
            Some(Object::Map(_) | Object::Program(_)) | None => {}
        }
        kernel.check_law();
    }

    fn setsockopt(&self, socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        self.call(Call::SetSockOpt, Some(socket), |kernel| {
            let socket = kernel.socket(socket)?;
            kernel.setsockopt(socket, level, name, value)
        })
    }

    fn getsockopt(&self, socket: Handle, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
        self.call(Call::GetSockOpt, Some(socket), |kernel| {
            let socket = kernel.socket(socket)?;
            kernel.getsockopt(socket, level, name, value)
        })
    }

    fn bind(&self, socket: Handle, address: &sockaddr_xdp) -> io::Result<()> {
        self.call(Call::Bind, Some(socket), |kernel| {
            let socket = kernel.socket(socket)?;
            kernel.bind(socket, address)
        })
    }

    fn mmap_ring(&self, socket: Handle, offset: u64, len: usize) -> io::Result<Mapping> {
        self.call(Call::MmapRing, Some(socket), |kernel| {
            // Files of other kinds have mappings of their own, or none.
            const ENOTSUPP: i32 = 524;
            let socket = match kernel.handles.get(socket)? {
                Object::Socket(socket) => socket,
                Object::Map(_) => return errno(ENOTSUPP),
                Object::Program(_) | Object::Link(_) => return errno(ENODEV),
            };
            kernel.mmap_ring(socket, offset, len, Arc::downgrade(self.inner()))
        })
    }

    fn mmap_memory(&self, len: usize, pages: PageSize) -> io::Result<Mapping> {
        self.call(Call::MmapMemory, None, |kernel| self.map_memory(kernel, len, pages))
    }

    fn poll(&self, polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize> {
        let one = if let [poll] = polls { Some(poll.socket) } else { None };
        self.call_that_waits(Call::Poll, one, |kernel| self.poll_on(kernel, polls, timeout_ms))
    }

    fn sendto(&self, socket: Handle) -> io::Result<()> {
        self.call(Call::SendTo, Some(socket), |kernel| {
            let socket = kernel.socket(socket)?;
            kernel.sendmsg(socket, false)
        })
    }

    fn recvfrom(&self, socket: Handle) -> io::Result<()> {
        self.call(Call::RecvFrom, Some(socket), |kernel| {
            let socket = kernel.socket(socket)?;
            kernel.recvmsg(socket, false)
        })
    }

    fn interface(&self, name: &CStr) -> io::Result<InterfaceInfo> {
        self.call(Call::Interface, None, |kernel| match kernel.device_named(name.to_bytes()) {
            Some(device) => Ok(kernel.interface_info(device)),
            None => errno(ENODEV),
        })
    }

    fn queue_is_bound(&self, ifindex: u32, queue: u32) -> io::Result<bool> {
        self.call(Call::QueueIsBound, None, |kernel| {
            match (kernel.profile.queue_state, kernel.device_by_index(ifindex)) {
                (QueueState::NoFamily, _) => errno(ENOENT),
                (_, None) => errno(ENODEV),
                (QueueState::Silent, Some(_)) => Ok(false),
                (QueueState::Told, Some(device)) => Ok(kernel.devices[device].pools.contains_key(&queue)),
            }
        })
    }

    fn tx_offloads(&self, name: &CStr, zero_copy: bool) -> io::Result<TxOffloads> {
        self.call(Call::TxOffloads, None, |kernel| match kernel.device_named(name.to_bytes()) {
            Some(_) => Ok(kernel.tx_offloads(zero_copy)),
            None => errno(ENODEV),
        })
    }

    fn interface_counters(&self, name: &CStr) -> io::Result<InterfaceCounters> {
        self.call(Call::InterfaceCounters, None, |kernel| match kernel.device_named(name.to_bytes()) {
            Some(device) => Ok(kernel.devices[device].counters()),
            None => errno(ENODEV),
        })
    }

    fn interrupt_deferral(&self, name: &CStr) -> io::Result<InterruptDeferral> {
        self.call(Call::InterruptDeferral, None, |kernel| match kernel.device_named(name.to_bytes()) {
            Some(device) => Ok(kernel.devices[device].deferral),
            None => errno(ENODEV),
        })
    }

    fn namespace(&self) -> io::Result<NamespaceId> {
        // "xsk-sim": a first number that no device has.
        const SIMULATED: u64 = u64::from_be_bytes(*b"\xffxsk-sim");
        self.call(Call::Namespace, None, |kernel| Ok(NamespaceId([SIMULATED, kernel.number])))
    }

    fn now(&self) -> Duration {
        let mut kernel = self.lock();
        if kernel.crash.is_none() {
            kernel.tick();
        }
        kernel.clock.now()
    }

    fn fd(&self, socket: Handle) -> Option<i32> {
        let mut kernel = self.lock();
        let socket = kernel.socket(socket).ok()?;
        kernel.descriptor(socket)
    }

    fn may_wake(&self) -> bool {
        let kernel = self.lock();
        !kernel.process.single_threaded || kernel.running.is_some() || kernel.clock.pending() > 0
    }

    fn sleep(&self, time: Duration) {
        let mut kernel = self.lock();
        if kernel.running.is_some() {
            drop(kernel);
            return std::thread::sleep(time);
        }
        let until = kernel.clock.now().saturating_add(time);
        kernel.run_until(until);
        kernel.check_law();
    }

    fn xskmap_create(&self, entries: u32) -> io::Result<Handle> {
        self.call(Call::XskMapCreate, None, |kernel| kernel.create_map(entries))
    }

    fn xskmap_update(&self, map: Handle, key: u32, socket: Handle) -> io::Result<()> {
        self.call(Call::XskMapUpdate, Some(socket), |kernel| kernel.update_map(map, key, socket, 0))
    }

    fn xskmap_delete(&self, map: Handle, key: u32) -> io::Result<()> {
        self.call(Call::XskMapDelete, None, |kernel| kernel.delete_from_map(map, key))
    }

    fn program_load(&self, program: &RedirectProgram) -> io::Result<Handle> {
        self.call(Call::ProgramLoad, None, |kernel| kernel.load_redirect(program))
    }

    fn link_create(&self, program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle> {
        self.call(Call::LinkCreate, None, |kernel| kernel.create_link(program, ifindex, flags))
    }

    fn link_update(&self, link: Handle, program: Handle) -> io::Result<()> {
        self.call(Call::LinkUpdate, None, |kernel| kernel.update_link(link, program))
    }

    fn program_name(&self, id: u32) -> io::Result<String> {
        self.call(Call::ProgramName, None, |kernel| kernel.program_name(id))
    }

    fn capabilities(&self) -> io::Result<Capabilities> {
        self.call(Call::Capabilities, None, |kernel| Ok(kernel.process.capabilities))
    }

    fn memlock_limit(&self) -> io::Result<Option<u64>> {
        self.call(Call::MemlockLimit, None, |kernel| Ok(kernel.process.memlock_limit))
    }

    fn huge_pages(&self, size: PageSize) -> io::Result<HugePages> {
        self.call(Call::HugePages, None, |kernel| {
            let process = &kernel.process;
            Ok(match size {
                PageSize::Huge2M => HugePages { total: process.huge_pages, free: process.free_huge_pages },
                PageSize::Normal | PageSize::Huge1G => HugePages { total: 0, free: 0 },
            })
        })
    }
}
