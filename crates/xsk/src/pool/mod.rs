//! Pools: the memory of packets.

mod cache;
mod config;
mod memory;
mod quarantine;

use std::fmt;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::Arc;

use xsk_core::frame_lists::END;
use xsk_core::layout::LayoutError;

pub(crate) use cache::{BURST, Cache};
pub use config::PoolConfig;
use memory::Handle;
pub(crate) use memory::{ADDRESSES, MAX_PORTS, Memory, Owner, View, free};
pub(crate) use quarantine::Quarantined;

use crate::backend::Backend;
use crate::config::{FrameSize, UmemConfig, UmemFlags};
use crate::error::{Diagnosis, Error, Step};
use crate::packet::{METADATA, Packet};
use crate::port::PortError;
use crate::umem::Umem;

/// The largest frame: offsets and lengths in a packet are 16 bits.
const MAX_FRAME_SIZE: u32 = 1 << 15;
/// The most frames: with the largest, [`ADDRESSES`] bytes.
const MAX_FRAMES: u32 = (1 << 31) - 1;

/// The memory of packets, in frames of equal size, and the free ones among them.
///
/// A pool is a UMEM that belongs to the ports opened on it: any number of queues of any interfaces, up to 1024. Packets move
/// freely between its ports; they cannot be sent by ports of other pools.
///
/// Clones are handles of the same pool. The memory lives until the last handle, port and packet are gone: a packet that
/// outlives them stays valid. It is this process's: what a child finds there that is forked, [`Umem`] says.
///
/// Any thread may use a pool. Nothing here waits for another thread, except that making and closing ports take a lock.
#[derive(Clone)]
pub struct Pool {
    handle: Arc<Handle>,
}

impl Pool {
    /// Makes a pool on Linux.
    ///
    /// # Errors
    /// Say the step, the value, the errno and what to do. Nothing is left behind.
    #[cfg(target_os = "linux")]
    pub fn new(config: PoolConfig) -> Result<Self, PortError> {
        Self::new_in(crate::backend::default_backend(), config)
    }

    /// As [`new`](Self::new), on any backend. Its ports are of that backend as well.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn new_in(backend: Arc<dyn Backend>, config: PoolConfig) -> Result<Self, PortError> {
        let refused = |diagnosis| Error::new(Step::CheckConfig, diagnosis);
        let size = FrameSize::new(config.frame_size);
        let size =
            size.map_err(|_| refused(Diagnosis::Layout(LayoutError::ChunkSizeTooSmall(config.frame_size))))?;
        if !config.frame_size.is_power_of_two() {
            return Err(refused(Diagnosis::UnalignedFrames { size: config.frame_size }).into());
        }
        if config.frame_size > MAX_FRAME_SIZE {
            return Err(refused(Diagnosis::FrameSize { max: MAX_FRAME_SIZE }).into());
        }
        let frames = NonZeroU32::new(config.frames).filter(|frames| frames.get() <= MAX_FRAMES);
        let no_frames = match config.frames {
            0 => LayoutError::NoChunks,
            chunks => LayoutError::TooLong { chunks, chunk_size: config.frame_size },
        };
        let frames = frames.ok_or_else(|| refused(Diagnosis::Layout(no_frames)))?;
        let mut umem_config = UmemConfig::builder();
        umem_config.frame_size(size).frame_headroom(config.headroom);
        if config.software_checksums {
            umem_config.flags(UmemFlags::XDP_UMEM_TX_SW_CSUM);
        }
        if config.tx_metadata {
            umem_config.tx_metadata_len(METADATA as u32);
        }
        let umem_config = umem_config.build().map_err(|error| refused(Diagnosis::Layout(error.reason())))?;
        let (umem, _) = Umem::new_in(backend, umem_config, frames, config.pages)
            .map_err(|error| PortError::from(error.into_inner()))?;
        let memory = Memory::new(umem);
        let all: Vec<u32> = (0..memory.frames()).collect();
        memory.put(&all);
        Ok(Self { handle: Arc::new(Handle::new(memory)) })
    }

    /// An empty packet, ready to be written; `None` if there is no free frame.
    ///
    /// This is for a packet now and then. [`Port::packet`](crate::Port::packet) and
    /// [`Port::packets`](crate::Port::packets) have free frames at hand.
    pub fn packet(&self) -> Option<Packet> {
        let memory = self.memory();
        let lists = memory.lists();
        let (first, magazine) = match lists.take_magazine() {
            Some(first) => (first, true),
            None => (lists.take_returned()?.0, false),
        };
        let mut rest = memory.chain(first).skip(1).peekable();
        if let Some(&next) = rest.peek() {
            if magazine {
                drop(rest);
                lists.put_magazine(next);
            } else {
                memory.put_chain(rest);
            }
        }
        debug_assert!(first != END);
        Some(self.empty_packet(first))
    }

    /// A copy of a packet in a frame of this pool, whatever pool it is of; `None` if there is no free frame, or one frame is
    /// too small for it.
    pub fn copy(&self, packet: &Packet) -> Option<Packet> {
        let mut copy = self.packet()?;
        for segment in packet.segments() {
            copy.extend_from_slice(segment).ok()?;
        }
        Some(copy)
    }

    /// Number of frames, used or not.
    pub fn frames(&self) -> u32 {
        self.memory().frames()
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> u32 {
        self.memory().frame_size()
    }

    /// Bytes that a received packet may have without a second segment, and that an empty one from
    /// [`packet`](Self::packet) takes.
    pub fn room(&self) -> u32 {
        self.memory().umem().layout().room()
    }

    /// How many frames are with the kernel: in the rings of ports, being received or sent, or not yet released after a port
    /// was closed; and the packet that [`Port::forward`](crate::Port::forward) or its like is showing. Looks at each frame, and not
    /// at one moment if other threads use the pool.
    pub fn with_kernel(&self) -> u32 {
        self.memory().away() as u32
    }

    /// How many frames of closed ports the kernel may still use. They come back when the port's queue is opened again, or is seen
    /// to be released: see [`reclaim`](Self::reclaim).
    pub fn quarantined(&self) -> u32 {
        self.memory().quarantined() as u32
    }

    /// Asks the kernel which queues of closed ports it has released, and takes their frames back: those that were
    /// [`quarantined`](Self::quarantined). Returns how many. Opening a port does this as well.
    ///
    /// Queues of other network namespaces than the calling thread's are not asked about, nor is anything on kernels that do not
    /// tell (before Linux 6.14): there frames come back when the queue is opened again. Makes system calls and takes a lock.
    pub fn reclaim(&self) -> u32 {
        self.memory().reclaim() as u32
    }

    /// The kernel behind it.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        self.memory().umem().backend()
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        self.handle.memory()
    }

    #[inline]
    pub(crate) fn pointer(&self) -> NonNull<Memory> {
        self.handle.pointer()
    }

    /// A packet without bytes in a frame that the caller has taken.
    #[inline]
    pub(crate) fn empty_packet(&self, frame: u32) -> Packet {
        let address = self.memory().address(frame, self.memory().data_offset());
        // SAFETY: the frame is the caller's, and the address within it.
        unsafe { Packet::new(self.pointer(), address, 0) }
    }
}

/// Handles of one pool are equal.
impl PartialEq for Pool {
    fn eq(&self, other: &Self) -> bool {
        self.pointer() == other.pointer()
    }
}

impl Eq for Pool {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("frames", &self.frames())
            .field("frame_size", &self.frame_size())
            .finish_non_exhaustive()
    }
}
