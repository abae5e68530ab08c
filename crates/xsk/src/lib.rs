//! AF_XDP sockets for Rust, with a kernel you can test against.
//!
//! AF_XDP is Linux's fast path from a network card to user space: a process and the kernel share packet memory (the
//! [`Umem`], in equal frames) and four lock-free rings, by which frames change hands:
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
//! Each queue may be moved to a thread of its own; none can be used from two at once. Moving descriptors never blocks and
//! makes no system call. What waits says so: opening (for a queue that a closed socket has not released yet) and polling.
//!
//! # Compatibility
//!
//! The types are source-compatible with xsk-rs 0.11. Sockets are opened on Linux ([`Umem::new`], [`Socket::new`]) or on
//! any other [`backend`] ([`Umem::new_in`]).

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
