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
//! * Zero copy is one driver's way of it, where drivers differ: see below.
//! * A ring has at most [`MAX_CAPACITY`](xsk_core::ring::MAX_CAPACITY) entries, more are `ENOMEM`.
//! * Memory of a UMEM is one mapping of this kernel, or was [adopted](SimKernel::adopt); Linux takes any.
//! * Options of level `SOL_SOCKET` that mean nothing to AF_XDP are an [`Unsupported`] error.
//! * Descriptors ([`Backend::fd`](xsk::backend::Backend::fd)) are for epoll and its like alone: other calls on one do
//!   nothing good, and waiting on it transmits nothing, as it does on Linux (`net/xdp/xsk.c:xsk_poll`). They become ready only
//!   [in the background](SimKernel::run_in_background), and say what poll would say; of what a user did without a call they
//!   know up to a millisecond later, or (a TX ring that was filled) at the socket's next call. Outside of Unix there are none.
//! * In the background all calls share one lock, and one thread does the kernel's work, on however many processors.
//! * A poll for ever on a kernel where nothing is planned is a [`WouldBlockForever`] error: that of
//!   [`Backend::poll`](xsk::backend::Backend::poll). The waits of xsk without an end poll in slices, as they look whether the
//!   interface is still there, and never return then, unless the kernel was told that
//!   [no other thread](SimKernel::set_single_threaded) can bring a packet meanwhile.
//! * A card takes frames of any length from its wire, whatever its MTU. Its native programs are limited as veth's are.
//! * Busy polling has no effect, and `SO_INCOMING_NAPI_ID` is 0 but for veth in old [`Profile`]s.
//! * A program that redirects to a map that is closed drops; Linux would not have loaded it.
//! * What crashes or hangs Linux is a [`Crash`].
//!
//! # Zero copy
//!
//! Cards have it on request ([`DeviceConfig::zero_copy`]). These rules are from the source of Linux 6.18 and its Intel drivers,
//! and but for one the same in every [`Profile`]. Those that `docs/semantics.md` has in section 15 hold on Linux 6.18.15 and
//! 7.3.4 with virtio_net, and on 7.3.4 with igb, in virtual machines (`ci/zero-copy`), but for what it says of single drivers
//! and versions. **Not measured** are those on packets of several buffers, for which it takes a driver with such packets, on
//! limits of the MTU while a socket is bound, on page crossings, and on lengths that a device refuses:
//!
//! * Without `XDP_COPY` and `XDP_ZEROCOPY`, a bind takes it where it can and copies elsewhere. `XDP_ZEROCOPY` is `EOPNOTSUPP`
//!   on devices without, and with `XDP_USE_SG` on those with one buffer for a packet; `EINVAL` if an MTU and 26 bytes do not
//!   fit the buffers of a packet, or the queue is not one of both kinds (`net/xdp/xsk_buff_pool.c:xp_assign_dev`, drivers).
//! * An MTU that bound sockets could not receive is `EINVAL` (drivers).
//! * The driver's rings run while the device is up and has a native program; a wakeup without is `EINVAL`, and packets are
//!   copied as in SKB mode (`igb_xsk.c:igb_xsk_wakeup`). Attaching and binding do not reset the link, as they do on some cards.
//! * The driver keeps up to 255 buffers, taken from the fill ring ahead, 32 or more at a time; invalid entries are skipped. The
//!   consumer index shows it when packets are delivered (`net/xdp/xsk_buff_pool.c:xp_alloc_batch`).
//! * `rx_invalid_descs` stays 0: it is a counter of the RX ring (`net/xdp/xsk.c:xsk_getsockopt`).
//! * A packet without a buffer is the device's loss: no counter of the socket sees it.
//! * Unaligned chunks and descriptors that cross a page are invalid, unless pages are huge: normal pages count as never
//!   contiguous (`include/net/xsk_buff_pool.h:xp_desc_crosses_non_contig_pg`).
//! * The program works on the frame itself: the address in the RX ring follows `adjust_head`, and the room at the end is that
//!   of the chunk less 320 bytes (`net/xdp/xsk.c:xsk_rcv_zc`).
//! * PASS, TX and redirection to a device copy the packet; its buffer serves the next one. So does the buffer of a packet that
//!   the RX ring had no room for (`igb_xsk.c:igb_run_xdp_zc`).
//! * With `XDP_USE_NEED_WAKEUP`, and never without, the driver changes the flags: on the fill ring they ask for a wakeup when
//!   there were fewer buffers than wanted, on the TX ring when nothing is being sent (`mlx5`; Intel's drivers ask always).
//! * sendto, recvfrom and poll wake the driver as the flags say, cached in the kernel; NAPI then completes, transmits,
//!   receives and takes buffers (`net/xdp/xsk.c:__xsk_sendmsg`, `xsk_poll`; `igb_main.c:igb_poll`).
//! * One sender's descriptors are taken as a batch that a refused one ends, those of several in turns of 32. A refused
//!   descriptor, and those of a packet of too many, are taken and never completed. [`Profile::LINUX_7_3`] completes their whole
//!   packet, but for several senders without `XDP_USE_SG`, and takes nothing else before it has done so
//!   (`net/xdp/xsk.c:xsk_tx_peek_release_desc_batch`, `net/xdp/xsk_queue.h:xskq_cons_read_desc_batch`).
//! * The device reads a packet 1 to 20 microseconds later, drawn from the seed; completions come in order, at the next NAPI.
//! * TX metadata is checked for room and otherwise ignored, as by drivers without `xsk_tx_metadata_ops`.
//! * A device that goes down, or a program that goes, gives buffers back to the pool and completes what was not sent. After
//!   close, buffers stay with the device until the queue is released (`igb_main.c:igb_clean_tx_ring`, `xsk_release`).
#![deny(unsafe_code)]

mod arena;
mod backend;
#[allow(clippy::disallowed_types, reason = "it runs in real time")]
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
mod zero_copy;

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
