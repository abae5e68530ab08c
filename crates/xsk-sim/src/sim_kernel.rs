//! The simulated kernel as its users hold it.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xsk::backend::{Backend, Capabilities, Handle, Mapping};
use xsk_core::region::Region;

use crate::backend::UnmapMemory;
use crate::background::Bells;
use crate::device::{DeviceConfig, Kind};
use crate::error::Crash;
use crate::frames::Frames;
use crate::kernel::Kernel;
use crate::profile::Profile;
use crate::sim_device::SimDevice;
use crate::xdp::{Body, XdpAction, XdpBuff};

/// A kernel in the process: a [`Backend`] for `Umem::new_in` and its like, and the test's view of what is behind it.
///
/// Clones are handles of the same kernel. Nothing happens in it until a call makes it happen, or the test says
/// [`step`](Self::step) or [`run_until_idle`](Self::run_until_idle); time is virtual, and all that Linux leaves open is drawn
/// from the seed. The same calls on the same seed have the same results, to the byte. All this ends while it runs
/// [in the background](Self::run_in_background).
///
/// Any thread may call it; calls take their turns.
#[derive(Clone)]
pub struct SimKernel {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    kernel: Mutex<Kernel>,
    bells: Arc<Bells>,
}

/// No two kernels of a process are one network namespace.
static MADE: AtomicU64 = AtomicU64::new(0);

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Kernel> {
        // A program of the user may panic in the middle of a call. What the kernel holds is then as after a lost packet.
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.catch_up();
        kernel
    }

    pub(crate) fn bells(&self) -> &Bells {
        &self.bells
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let kernel = self.kernel.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(crash) = &kernel.crash
            && !std::thread::panicking()
        {
            panic!("{crash}");
        }
    }
}

impl SimKernel {
    /// A kernel that behaves like Linux 6.18.44, without any device.
    pub fn new(seed: u64) -> Self {
        Self::with_profile(seed, Profile::default())
    }

    /// A kernel that behaves like the one that `profile` describes.
    pub fn with_profile(seed: u64, profile: Profile) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let kernel = Kernel::new(number, seed, profile);
        let bells = Arc::clone(&kernel.bells);
        Self { inner: Arc::new(Inner { kernel: Mutex::new(kernel), bells }) }
    }

    /// This kernel as a backend.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    /// Whether two handles are of one kernel.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.inner.lock()
    }

    /// Makes a pair of connected devices. What one sends the other receives.
    ///
    /// # Errors
    /// `EEXIST`: a name is taken. `EINVAL`: it is no name for a device, or an MTU is not of 68 to 65535 bytes.
    pub fn veth(&self, a: &str, b: &str, config: &DeviceConfig) -> io::Result<(SimDevice, SimDevice)> {
        self.veth_of(a, config, b, config)
    }

    /// As [`veth`](Self::veth), with ends that differ.
    ///
    /// # Errors
    /// As [`veth`](Self::veth). [`Unsupported`](crate::Unsupported): zero copy, which veth has not.
    pub fn veth_of(
        &self,
        a: &str,
        config_a: &DeviceConfig,
        b: &str,
        config_b: &DeviceConfig,
    ) -> io::Result<(SimDevice, SimDevice)> {
        let mut kernel = self.lock();
        let first = kernel.add_device(a, Kind::Veth { peer: None }, config_a)?;
        let second = match kernel.add_device(b, Kind::Veth { peer: Some(first) }, config_b) {
            Ok(second) => second,
            Err(failure) => {
                kernel.devices.remove(first);
                return Err(failure.into());
            }
        };
        kernel.devices[first].kind = Kind::Veth { peer: Some(second) };
        Ok((SimDevice::new(self, first), SimDevice::new(self, second)))
    }

    /// Makes a device that receives what it sends, as `lo` does.
    ///
    /// # Errors
    /// As [`veth`](Self::veth).
    pub fn loopback(&self, name: &str) -> io::Result<SimDevice> {
        let config = DeviceConfig::default().mtu(65_536);
        let device = self.lock().add_device(name, Kind::Loopback, &config)?;
        Ok(SimDevice::new(self, device))
    }

    /// Makes a network card whose wire ends in the test: [`SimDevice::inject`] and [`SimDevice::sent`]; or at another card:
    /// [`SimDevice::connect`].
    ///
    /// # Errors
    /// As [`veth`](Self::veth).
    pub fn card(&self, name: &str, config: &DeviceConfig) -> io::Result<SimDevice> {
        let device = self.lock().add_device(name, Kind::Wire, config)?;
        Ok(SimDevice::new(self, device))
    }

    /// Loads a closure as an XDP program, to be attached with [`Backend::link_create`] and closed with [`Backend::close`].
    /// `frags`: it takes packets of several buffers.
    ///
    /// The closure runs inside the kernel, with its lock held: a call of the same kernel from there never returns.
    pub fn program(
        &self,
        name: &str,
        frags: bool,
        program: impl Fn(&mut XdpBuff) -> XdpAction + Send + Sync + 'static,
    ) -> Handle {
        self.lock().load(name, frags, Body::Closure(Arc::new(program)))
    }

    /// `BPF_MAP_UPDATE_ELEM` with flags: 0 `BPF_ANY`, 1 `BPF_NOEXIST`, 2 `BPF_EXIST`.
    ///
    /// # Errors
    /// Linux's (`net/xdp/xskmap.c:xsk_map_update_elem`).
    pub fn xskmap_update_flags(&self, map: Handle, key: u32, socket: Handle, flags: u64) -> io::Result<()> {
        Ok(self.lock().update_map(map, key, socket, flags)?)
    }

    /// `BPF_MAP_LOOKUP_ELEM` from user space.
    ///
    /// # Errors
    /// Always: `EOPNOTSUPP` for an XSKMAP.
    pub fn xskmap_lookup(&self, map: Handle) -> io::Result<()> {
        Ok(self.lock().look_up_in_map(map)?)
    }

    /// `socket(AF_XDP, kind, protocol)` with any kind and protocol.
    ///
    /// # Errors
    /// Linux's (`net/xdp/xsk.c:xsk_create`).
    pub fn socket_of(&self, kind: i32, protocol: i32) -> io::Result<Handle> {
        Ok(self.lock().create_socket(kind, protocol)?)
    }

    /// `sendto` without `MSG_DONTWAIT`.
    ///
    /// # Errors
    /// Linux's (`net/xdp/xsk.c:__xsk_sendmsg`); always one.
    pub fn sendto_blocking(&self, socket: Handle) -> io::Result<()> {
        let mut kernel = self.lock();
        let socket = kernel.socket(socket)?;
        Ok(kernel.sendmsg(socket, true)?)
    }

    /// `recvfrom` without `MSG_DONTWAIT`.
    ///
    /// # Errors
    /// Linux's (`net/xdp/xsk.c:__xsk_recvmsg`); always one.
    pub fn recvfrom_blocking(&self, socket: Handle) -> io::Result<()> {
        let mut kernel = self.lock();
        let socket = kernel.socket(socket)?;
        Ok(kernel.recvmsg(socket, true)?)
    }

    /// Makes memory of the caller known, so that a UMEM can be registered in it; the mapping's end forgets it.
    pub fn adopt(&self, memory: &Arc<Region>) -> Mapping {
        self.lock().memory.insert(memory, xsk_core::region::PAGE_SIZE as u64);
        Mapping::of_region(memory, Box::new(UnmapMemory::new(self, memory, 0)))
    }

    /// Sets the capabilities of the process that makes the calls; all at first.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.lock().process.capabilities = capabilities;
    }

    /// Sets the limit of locked memory, in bytes; none at first. It counts without `CAP_IPC_LOCK` only.
    pub fn set_memlock_limit(&self, bytes: Option<u64>) {
        self.lock().process.memlock_limit = bytes;
    }

    /// Sets how many huge pages of 2 MiB there are; 64 at first. There are none of 1 GiB.
    pub fn set_huge_pages(&self, pages: u64) {
        let mut kernel = self.lock();
        let used = kernel.process.huge_pages - kernel.process.free_huge_pages;
        kernel.process.huge_pages = pages.max(used);
        kernel.process.free_huge_pages = pages.max(used) - used;
    }

    /// Says that nobody calls this kernel while somebody waits in it, as where one thread makes all calls. A wait of xsk
    /// without an end, for which nothing is planned, is an error then
    /// ([`Diagnosis::WaitsForEver`](xsk::error::Diagnosis::WaitsForEver)), and not a loop that looks again and again.
    ///
    /// Not so at first: another thread may bring a packet at any moment, and a kernel cannot know of it before. It has no
    /// effect [in the background](Self::run_in_background), nor on what waits for descriptors (epoll, tokio).
    ///
    /// ```
    /// # use xsk::error::Diagnosis;
    /// # use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
    /// # use xsk_sim::{DeviceConfig, SimKernel};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # const MILLISECOND: std::time::Duration = std::time::Duration::from_millis(1);
    /// let kernel = SimKernel::new(1);
    /// kernel.set_single_threaded(true);
    /// let card = kernel.card("card", &DeviceConfig::default())?;
    /// let pool = Pool::new_in(kernel.backend(), PoolConfig::default())?;
    /// let mut port = Port::open(&pool, "card", 0, PortConfig::default())?;
    /// card.inject_after(MILLISECOND, 0, &[7; 60])?;
    /// let mut batch = Batch::new();
    /// // A program that never ends, until nothing can happen any more.
    /// let end = loop {
    ///     match port.wait(None) {
    ///         Ok(_) => port.recv(&mut batch)?,
    ///         Err(end) => break end,
    ///     };
    /// };
    /// assert_eq!(*end.diagnosis(), Diagnosis::WaitsForEver);
    /// assert_eq!(batch.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_single_threaded(&self, single_threaded: bool) {
        self.lock().process.single_threaded = single_threaded;
    }

    /// Does the next thing that is planned, and moves time to its moment. False if nothing is, or if the kernel is
    /// [in the background](Self::run_in_background).
    pub fn step(&self) -> bool {
        let mut kernel = self.lock();
        let stepped = kernel.running.is_none() && kernel.crash.is_none() && kernel.step(Duration::MAX);
        kernel.check_law();
        stepped
    }

    /// Does everything that is planned, and what follows from it, but no more than `limit` steps. Returns how many; fewer
    /// than `limit` mean that nothing is planned any more.
    pub fn run_until_idle(&self, limit: usize) -> usize {
        (0..limit).take_while(|_| self.step()).count()
    }

    /// How much is planned.
    pub fn pending(&self) -> usize {
        self.lock().clock.pending()
    }

    /// Virtual time, or real time in the background. Unlike [`Backend::now`] it is no call, and takes none.
    pub fn time(&self) -> Duration {
        self.lock().clock.now()
    }

    /// An error if something happened that crashes or hangs Linux.
    ///
    /// # Errors
    /// What it was.
    pub fn check(&self) -> Result<(), Crash> {
        self.lock().crash.clone().map_or(Ok(()), Err)
    }

    /// Takes note of a crash, for a test that meant it: dropping the kernel no longer panics. Calls go on as if nothing had
    /// happened, on a kernel that may be in a state in which none ever is.
    pub fn take_crash(&self) -> Option<Crash> {
        self.lock().crash.take()
    }

    /// Where every frame is. Meaningful while no thread moves descriptors.
    pub fn frames(&self) -> Frames {
        self.lock().frames()
    }

    /// Sockets, rings and counters as text, for a person to read or a test to compare. As [`frames`](Self::frames), while
    /// no thread moves descriptors.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().snapshot())
    }
}

/// The state of a kernel as text: see [`SimKernel::snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(String);

impl Deref for Snapshot {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SimKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = self.lock();
        f.debug_struct("SimKernel")
            .field("profile", &kernel.profile.name)
            .field("now", &kernel.clock.now())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inner(..)")
    }
}
