//! A kernel in the process, for AF_XDP.
//!
//! [`SimKernel`] is a [`Backend`](xsk::backend::Backend) as [`Linux`](xsk::backend::Linux) is: the same calls, the same checks
//! in the same order, the same error numbers, the same rings in shared memory. Programs that use `xsk` run on it unchanged,
//! without root, network card or luck: devices are made by call, time is virtual, and every choice that Linux leaves open
//! is drawn from a seed, so that a failure repeats.
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use xsk::backend::PageSize;
//! use xsk::config::{SocketConfig, UmemConfig};
//! use xsk::{FrameDesc, Socket, Umem};
//! use xsk_sim::{DeviceConfig, SimKernel};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kernel = SimKernel::new(1);
//! let (here, there) = kernel.veth("here", "there", &DeviceConfig::default())?;
//!
//! let frames = NonZeroU32::new(16).ok_or("no frames")?;
//! let (umem, descs) = Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal)?;
//! let config = SocketConfig::default();
//! // Sound: each frame is handed over once.
//! let (_tx, mut rx, rings) = unsafe { Socket::new(config, &umem, &"here".parse()?, 0)? };
//! let (mut fill, _completion) = rings.ok_or("not the first socket")?;
//! assert_eq!(unsafe { fill.produce(&descs[..8]) }, 8);
//!
//! there.send(&[7; 60])?;
//! let mut desc = FrameDesc::default();
//! assert_eq!(unsafe { rx.consume_one(&mut desc) }, 1);
//! assert_eq!(unsafe { umem.data(&desc) }.to_vec(), [7; 60]);
//! # drop(here);
//! # Ok(())
//! # }
//! ```
//!
//! [In the background](SimKernel::run_in_background) the kernel runs beside the program's threads, in real time, for stress
//! tests, sanitizers, epoll and tokio.
//!
//! What goes wrong on real machines goes wrong here on demand: see [`fault`]. What happened is recorded on request, as text or
//! for a timeline: see [`trace`].
//!
//! # What is not Linux
//!
//! * Zero copy: no device has it.
//! * A ring has at most [`MAX_CAPACITY`](xsk_core::ring::MAX_CAPACITY) entries, more are `ENOMEM`.
//! * Memory of a UMEM is one mapping of this kernel, or was [adopted](SimKernel::adopt); Linux takes any.
//! * Options of level `SOL_SOCKET` that mean nothing to AF_XDP are an [`Unsupported`] error.
//! * Descriptors ([`Backend::fd`](xsk::backend::Backend::fd)) are for epoll and its like alone: other calls on one do
//!   nothing good, and waiting on it transmits nothing, as it does on Linux (`net/xdp/xsk.c:xsk_poll`). They become ready only
//!   [in the background](SimKernel::run_in_background), and say what poll would say; of what a user did without a call they
//!   know up to a millisecond later, or (a TX ring that was filled) at the socket's next call. Outside of Unix there are none.
//! * In the background all calls share one lock, and one thread does the kernel's work, on however many processors.
//! * A poll for ever on a kernel where nothing is planned is a [`WouldBlockForever`] error.
//! * What crashes or hangs Linux is a [`Crash`].
#![deny(unsafe_code)]

mod arena;
mod backend;
mod background;
pub mod capture;
mod clock;
mod device;
mod error;
pub mod fault;
mod frames;
mod kernel;
mod law;
mod pool;
mod profile;
mod receive;
mod rng;
mod shared;
mod sim_device;
mod sim_kernel;
mod skb;
mod snapshot;
mod socket;
pub mod trace;
mod transmit;
mod umem;
mod xdp;

pub use background::Background;
pub use device::{DeviceConfig, Qdisc};
pub use error::{Crash, Unsupported, WouldBlockForever};
pub use frames::{FrameError, FrameFault, Frames, Place};
pub use profile::{Basis, Profile, Row};
pub use shared::ring;
pub use sim_device::SimDevice;
pub use sim_kernel::{SimKernel, Snapshot};
pub use xdp::{AdjustError, XdpAction, XdpBuff};

/// The snippets of the guide are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/testing-guide.md")]
mod guide {}
