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
//! The types are source-compatible with xsk-rs 0.11. Sockets are opened on Linux ([`Umem::new`], [`Socket::new`]) or on
//! any other [`backend`] ([`Umem::new_in`]).

pub mod backend;
pub mod config;
pub mod error;
pub mod program;
pub mod socket;
pub mod umem;

pub use socket::{RxQueue, Socket, TxQueue};
pub use umem::frame::FrameDesc;
pub use umem::{CompQueue, FillQueue, Umem};
