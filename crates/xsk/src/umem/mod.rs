//! The memory that a process and the kernel share, and its fill and completion queues.

pub mod frame;
mod sharing;

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error as ThisError;
use xsk_core::abi::{XDP_UMEM_REG, xdp_umem_reg};
use xsk_core::layout::Layout;

use frame::{Data, DataMut, FrameDesc, Headroom, HeadroomMut};
pub(crate) use sharing::{Membership, Plan, PoolRings, QueueKey, State};

use crate::backend::{Backend, BackendExt, Handle, Mapping, OwnedHandle, PageSize, retry};
use crate::config::UmemConfig;
use crate::diagnose;
use crate::error::{Diagnosis, Error, Step, errno};
pub use crate::queue::{CompQueue, FillQueue};

/// A UMEM: packet memory in frames of equal size, shared with the kernel.
///
/// Clones share the same memory. Any number of sockets on any interfaces and queues may use it. It is unmapped when the last
/// clone and the last queue of its sockets are gone.
///
/// It is this process's: a child that is forked finds zeros of its own in its place (of huge pages it shares the memory), while
/// it shares the rings. A program that becomes a daemon by forking does that before it makes one.
#[derive(Clone)]
pub struct Umem {
    inner: Arc<Inner>,
}

/// The order of the fields is the order of the teardown: sockets before the memory they registered.
pub(crate) struct Inner {
    state: Mutex<State>,
    memory: Mapping,
    layout: Layout,
    config: UmemConfig,
    backend: Arc<dyn Backend>,
}

impl Umem {
    /// Maps and registers a UMEM of `frame_count` frames, on huge pages of 2 MiB if asked, and returns it with one
    /// descriptor for each frame, in order.
    ///
    /// # Errors
    /// Say the step, the value, the errno and what to do. Locked memory that a closed socket still holds is waited for, at
    /// most for a second. Nothing is left behind.
    #[cfg(target_os = "linux")]
    pub fn new(
        config: UmemConfig,
        frame_count: NonZeroU32,
        use_huge_pages: bool,
    ) -> Result<(Self, Vec<FrameDesc>), UmemCreateError> {
        let pages = if use_huge_pages { PageSize::Huge2M } else { PageSize::Normal };
        Self::with_pages(config, frame_count, pages)
    }

    /// As [`new`](Self::new), on pages of a given size.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[cfg(target_os = "linux")]
    pub fn with_pages(
        config: UmemConfig,
        frame_count: NonZeroU32,
        pages: PageSize,
    ) -> Result<(Self, Vec<FrameDesc>), UmemCreateError> {
        Self::new_in(crate::backend::default_backend(), config, frame_count, pages)
    }

    /// As [`with_pages`](Self::with_pages), on any backend. Its sockets are of that backend as well.
    ///
    /// # Errors
    /// As [`with_pages`](Self::with_pages).
    pub fn new_in(
        backend: Arc<dyn Backend>,
        config: UmemConfig,
        frame_count: NonZeroU32,
        pages: PageSize,
    ) -> Result<(Self, Vec<FrameDesc>), UmemCreateError> {
        let frames = frame_count.get();
        let check = |e| Error::new(Step::CheckConfig, Diagnosis::Layout(e)).value(format!("{frames} frames"));
        let layout = config.layout(frames).map_err(check)?;
        config.fill_queue_size().check("fill")?;
        config.comp_queue_size().check("completion")?;
        let memory = map_memory(&backend, &layout, pages)?;
        let inner = Inner { state: Mutex::default(), memory, layout, config, backend };
        let umem = Self { inner: Arc::new(inner) };
        // Registered at once, so that whatever the kernel has against the memory comes out here. The first socket of this
        // namespace takes the registration over.
        let namespace = umem.backend().namespace();
        let namespace =
            namespace.map_err(|e| Error::new(Step::FindNamespace, Diagnosis::Unknown).source(e))?;
        let registered = umem.register(Duration::from_secs(1))?;
        umem.lock().keep_registered(namespace, registered);
        let descs = (0..frames).filter_map(|i| layout.frame_addr(i)).map(FrameDesc::at).collect();
        Ok((umem, descs))
    }

    /// Number of frames.
    pub fn frame_count(&self) -> u32 {
        self.inner.layout.chunks()
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> u32 {
        self.inner.layout.chunk_size()
    }

    /// What the UMEM was made from.
    pub fn config(&self) -> &UmemConfig {
        &self.inner.config
    }

    /// Where in the UMEM its frames and addresses are.
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// The kernel that it is registered with.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.inner.backend
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock()
    }

    /// The first byte of its memory, which lives as long as any clone.
    pub(crate) fn memory(&self) -> NonNull<u8> {
        self.inner.memory.as_ptr()
    }

    /// A socket of the calling thread's network namespace that has the memory registered.
    pub(crate) fn register(&self, limit: Duration) -> Result<OwnedHandle, Error> {
        let backend = self.backend();
        let socket = backend.socket().map_err(|e| diagnose::create_socket(backend, e))?;
        let socket = OwnedHandle::new(backend, socket);
        let layout = self.layout();
        let registration = xdp_umem_reg {
            addr: self.inner.memory.as_ptr().as_ptr() as u64,
            len: layout.len(),
            chunk_size: layout.chunk_size(),
            headroom: layout.headroom(),
            flags: layout.flags().bits(),
            tx_metadata_len: layout.tx_metadata_len(),
        };
        let register = || backend.set_option(socket.get(), XDP_UMEM_REG, &registration);
        let (result, _) = retry(backend, errno::ENOBUFS, limit, register);
        result.map_err(|e| diagnose::register_umem(backend, layout, e))?;
        Ok(socket)
    }

    pub(crate) fn join(
        &self,
        state: &mut State,
        key: QueueKey,
        socket: Handle,
        pool_rings: bool,
    ) -> Membership {
        Membership::new(&self.inner, state, key, socket, pool_rings)
    }

    /// The headroom and data of a frame.
    ///
    /// # Safety
    /// The descriptor is of this UMEM, its frame the user's (not on any queue), and nobody writes the frame as long as the
    /// result lives.
    #[inline]
    pub unsafe fn frame(&self, desc: &FrameDesc) -> (Headroom<'_>, Data<'_>) {
        // SAFETY: the same contract; headroom and data do not overlap.
        unsafe { (self.headroom(desc), self.data(desc)) }
    }

    /// The headroom of a frame, as long as its descriptor says.
    ///
    /// A descriptor whose address or length leaves the UMEM's frames gives fewer bytes, or none.
    ///
    /// # Safety
    /// As [`frame`](Self::frame).
    #[inline]
    pub unsafe fn headroom(&self, desc: &FrameDesc) -> Headroom<'_> {
        let buffer = self.inner.layout.headroom_of(desc.raw_addr()).unwrap_or(0..0);
        let len = (desc.lengths().headroom() as u64).min(buffer.end - buffer.start);
        // SAFETY: within a frame, and the caller promises that nobody writes it.
        Headroom::new(unsafe { self.inner.bytes(buffer.start, len) })
    }

    /// The packet in a frame, as long as its descriptor says.
    ///
    /// A descriptor whose address or length leaves the UMEM's frames gives fewer bytes, or none.
    ///
    /// # Safety
    /// As [`frame`](Self::frame).
    #[inline]
    pub unsafe fn data(&self, desc: &FrameDesc) -> Data<'_> {
        let buffer = self.inner.layout.buffer(desc.raw_addr()).unwrap_or(0..0);
        let len = (desc.lengths().data() as u64).min(buffer.end - buffer.start);
        // SAFETY: within a frame, and the caller promises that nobody writes it.
        Data::new(unsafe { self.inner.bytes(buffer.start, len) })
    }

    /// The headroom and data of a frame, to write. Their lengths are the descriptor's.
    ///
    /// # Safety
    /// The descriptor is of this UMEM, its frame the user's (not on any queue), and nobody else reads or writes the frame
    /// as long as the result lives.
    #[inline]
    pub unsafe fn frame_mut<'a>(&'a self, desc: &'a mut FrameDesc) -> (HeadroomMut<'a>, DataMut<'a>) {
        let (headroom, data) = self.buffers(desc);
        let (headroom_len, data_len) = desc.lengths_mut();
        // SAFETY: within a frame that the caller owns alone.
        let headroom = unsafe { self.inner.bytes_mut(headroom.0, headroom.1) };
        // SAFETY: as above, and behind the headroom: the headroom's buffer ends at the data's at the latest.
        let data = unsafe { self.inner.bytes_mut(data.0, data.1) };
        (HeadroomMut::new(headroom_len, headroom), DataMut::new(data_len, data))
    }

    /// The headroom of a frame, to write. Its length is the descriptor's.
    ///
    /// # Safety
    /// As [`frame_mut`](Self::frame_mut).
    #[inline]
    pub unsafe fn headroom_mut<'a>(&'a self, desc: &'a mut FrameDesc) -> HeadroomMut<'a> {
        // SAFETY: the same contract.
        unsafe { self.frame_mut(desc) }.0
    }

    /// The data of a frame, to write. Its length is the descriptor's.
    ///
    /// # Safety
    /// As [`frame_mut`](Self::frame_mut).
    #[inline]
    pub unsafe fn data_mut<'a>(&'a self, desc: &'a mut FrameDesc) -> DataMut<'a> {
        // SAFETY: the same contract.
        unsafe { self.frame_mut(desc) }.1
    }

    /// The TX metadata of a frame, to write: as many bytes as the UMEM was made with, directly before the packet's data
    /// (`xsk_core::abi::xsk_tx_metadata_request`). The kernel reads it if the descriptor's options have `XDP_TX_METADATA`,
    /// and writes a timestamp there before the frame comes back, if asked to.
    ///
    /// Empty if the UMEM has none, or the data starts too early in its frame.
    ///
    /// # Safety
    /// As [`frame_mut`](Self::frame_mut).
    #[inline]
    pub unsafe fn tx_metadata_mut<'a>(&'a self, desc: &'a mut FrameDesc) -> &'a mut [u8] {
        let layout = &self.inner.layout;
        let len = layout.tx_metadata_len();
        match layout.split(desc.raw_addr()) {
            // SAFETY: within a frame that the caller owns alone: it starts behind the frame's start.
            Some((base, offset)) if offset >= len => unsafe {
                self.inner.bytes_mut(base + u64::from(offset - len), u64::from(len))
            },
            _ => &mut [],
        }
    }

    /// Start and length of the headroom and data buffers of a frame.
    #[inline]
    fn buffers(&self, desc: &FrameDesc) -> ((u64, u64), (u64, u64)) {
        let headroom = self.inner.layout.headroom_of(desc.raw_addr()).unwrap_or(0..0);
        let data = self.inner.layout.buffer(desc.raw_addr()).unwrap_or(0..0);
        ((headroom.start, headroom.end - headroom.start), (data.start, data.end - data.start))
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { layout, memory, .. } = &*self.inner;
        f.debug_struct("Umem").field("layout", layout).field("memory", memory).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every moment when something may panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Safety
    /// `start` and `len` are within the UMEM, and nobody writes these bytes as long as the result lives.
    #[inline]
    unsafe fn bytes(&self, start: u64, len: u64) -> &[u8] {
        // SAFETY: in bounds as the caller promises; the mapping lives as long as `self`, and was zeroed at first.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().as_ptr().add(start as usize), len as usize) }
    }

    /// # Safety
    /// `start` and `len` are within the UMEM, and nobody else reads or writes these bytes as long as the result lives.
    #[inline]
    #[allow(clippy::mut_from_ref)] // the caller owns the frame, which is what `&mut` stands for here
    unsafe fn bytes_mut(&self, start: u64, len: u64) -> &mut [u8] {
        // SAFETY: in bounds and unique as the caller promises; the mapping lives as long as `self`.
        unsafe {
            std::slice::from_raw_parts_mut(self.memory.as_ptr().as_ptr().add(start as usize), len as usize)
        }
    }
}

fn map_memory(backend: &Arc<dyn Backend>, layout: &Layout, pages: PageSize) -> Result<Mapping, Error> {
    let error = |diagnosis| {
        let error = Error::new(Step::MapMemory, diagnosis);
        error.value(format!("{} frames of {} bytes on {pages} pages", layout.chunks(), layout.chunk_size()))
    };
    // A layout's length fits a usize.
    let Some(len) = (layout.len() as usize).checked_next_multiple_of(pages.bytes()) else {
        return Err(error(Diagnosis::OutOfMemory));
    };
    let memory = backend.mmap_memory(len, pages).map_err(|source| {
        let diagnosis = match (pages, source.raw_os_error()) {
            (PageSize::Normal, Some(errno::ENOMEM)) => Diagnosis::OutOfMemory,
            (PageSize::Normal, _) => Diagnosis::Unknown,
            (size, _) => {
                let needed = (len / size.bytes()) as u64;
                Diagnosis::HugePages { size, needed, pages: backend.huge_pages(size).ok() }
            }
        };
        error(diagnosis).source(source)
    })?;
    // Views of frames rely on it.
    if memory.len() < len { Err(error(Diagnosis::OutOfMemory)) } else { Ok(memory) }
}

/// A UMEM could not be made. Derefs to the [`Error`] with the details.
#[derive(Debug, ThisError)]
#[error(transparent)]
pub struct UmemCreateError(Box<Error>);

impl From<Error> for UmemCreateError {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl UmemCreateError {
    pub(crate) fn into_inner(self) -> Error {
        *self.0
    }
}

impl Deref for UmemCreateError {
    type Target = Error;

    fn deref(&self) -> &Error {
        &self.0
    }
}
