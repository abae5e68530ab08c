//! AF_XDP sockets for Rust, with a kernel you can test against.
//!
//! AF_XDP is Linux's fast path from a network card to user space: a process and the kernel share packet memory, in equal
//! frames, and four lock-free rings by which frames change hands. There are two ways to use it here.
//!
//! # The port tier
//!
//! [`Pool`] is the memory, [`Packet`] a packet that owns its frames, and [`Port`] one queue of an interface, where packets come
//! in and go out. It is safe, needs no care for rings, frames and wakeups, and is what to start with:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use xsk::port::Verdict;
//! use xsk::{Pool, PoolConfig, Port, PortConfig};
//!
//! # #[cfg(target_os = "linux")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::new(PoolConfig::default())?;
//! let mut port = Port::open(&pool, "eth1", 0, PortConfig::default())?;
//! loop {
//!     // Broadcasts are dropped, all else goes back to where it came from.
//!     port.forward(|packet| if packet.starts_with(&[0xff; 6]) { Verdict::Drop } else { Verdict::Send })?;
//!     port.wait(Some(Duration::from_secs(1)))?;
//! }
//! # }
//! # #[cfg(not(target_os = "linux"))]
//! # fn main() {}
//! ```
//!
//! | to | there is |
//! |---|---|
//! | receive, and own the packets | [`Port::recv`] into a [`Batch`] |
//! | receive, and only look | [`Port::for_each`] |
//! | send | [`Port::send`], [`Port::send_one`]; empty packets from [`Port::packet`] |
//! | pass packets on, the fastest way | [`Port::forward`], [`Port::forward_to`] |
//! | only receive, or only send | [`PortRx::open`](port::PortRx::open), [`PortTx::open`](port::PortTx::open) |
//! | have a checksum computed, or know when a packet was sent | [`Packet::request_checksum`], [`Packet::request_timestamp`] |
//! | use several queues or threads | one pool, [`Port::open_all`], [`Port::split`] |
//! | wait | [`Port::wait`], [`Port::wait_any`]; `Port::poll_fd` for epoll; `port::AsyncPort` for tokio (feature `tokio`) |
//! | see where packets were lost | [`Port::stats`], [`Port::interface_counters`]; why none come: [`Port::obstacles`] |
//! | test without root and network card | [`Pool::new_in`], on the simulated kernel of crate xsk-sim |
//!
//! # The ring tier
//!
//! The [`Umem`] and the rings themselves, source-compatible with xsk-rs 0.11:
//!
//! | ring | from | to | what |
//! |---|---|---|---|
//! | [`FillQueue`] | user | kernel | empty frames to receive into |
//! | [`RxQueue`] | kernel | user | received packets |
//! | [`TxQueue`] | user | kernel | packets to send |
//! | [`CompQueue`] | kernel | user | frames that were sent |
//!
//! Every frame is at every instant in one place: with the user, with the kernel, or on one ring. Handing one over that
//! is elsewhere already corrupts packets, which is why handing over is `unsafe` in this tier.
//!
//! # What can hurt the kernel
//!
//! Some things that AF_XDP lets a process do crash or hang Linux. No safe call of this crate does them, and the `unsafe`
//! ones say so:
//!
//! * A socket without an RX ring in an XSKMAP (before Linux 7.1): [`Socket::tx_only`] sockets are never put into one, and
//!   [`XskMap`](program::XskMap) takes an [`RxQueue`].
//! * Fill entries that name no frame, with packets of several buffers (Linux 6.6 to 7.1), or a fill producer index that
//!   jumps: indices are this crate's own, and [`FillQueue::produce`] is `unsafe`.
//! * An XDP program that goes before its zero-copy sockets: the order of the teardown is fixed, whatever is dropped first.
//! * Queues that exist only while XDP is attached: queue ids at or above the channel count are refused.
//! * Rings of any size: they are capped at [`MAX_CAPACITY`](xsk_core::ring::MAX_CAPACITY) entries.
//!
//! # Threads and blocking
//!
//! Each port, half of a port and queue may be moved to a thread of its own; none can be used from two at once. Moving packets
//! and descriptors never blocks; in the ring tier it makes no system call, in the port tier none but wakeups that the kernel
//! asks for. What waits says so: opening (for a queue that a closed socket has not released yet) and polling.
//!
//! # Compatibility
//!
//! The ring tier is source-compatible with xsk-rs 0.11. Pools and UMEMs are made on Linux ([`Pool::new`], [`Umem::new`]) or
//! on any other [`backend`] ([`Pool::new_in`], [`Umem::new_in`]); ports and sockets are of the same kernel.

pub mod backend;
pub mod config;
mod diagnose;
pub mod error;
pub mod packet;
pub mod pool;
pub mod port;
pub mod program;
mod queue;
pub mod socket;
pub mod umem;

pub use packet::{Batch, Packet};
pub use pool::{Pool, PoolConfig};
pub use port::{Port, PortConfig};
pub use socket::{RxQueue, Socket, TxQueue};
pub use umem::frame::FrameDesc;
pub use umem::{CompQueue, FillQueue, Umem};

/// The program in the tables for who comes from another library is compiled.
#[cfg(all(doctest, target_os = "linux"))]
#[doc = include_str!("../../../docs/migration.md")]
mod migration {}
