//! Private network namespaces and veth pairs for testing packet programs.
//!
//! A test makes its own network, which nobody else can see and which vanishes with the test:
//!
//! ```
//! # #[cfg(target_os = "linux")]
//! # fn main() -> Result<(), xsk_veth::Error> {
//! use std::time::Duration;
//! use xsk_veth::{ETHERTYPE_TEST, Namespace, Tap, VethPair};
//!
//! // Without the rights to make a network: one line on stderr, and the test is over.
//! if !xsk_veth::require() {
//!     return Ok(());
//! }
//! let ns = Namespace::new()?;
//! let pair = VethPair::builder(&ns, &ns).queues(4).build()?;
//!
//! let left = Tap::open(&ns, pair.a.name())?;
//! let right = Tap::open(&ns, pair.b.name())?;
//! let mut frame = Vec::new();
//! frame.extend_from_slice(&pair.b.mac());
//! frame.extend_from_slice(&pair.a.mac());
//! frame.extend_from_slice(&ETHERTYPE_TEST.to_be_bytes());
//! frame.extend_from_slice(b"over the wire");
//! left.send(&frame)?;
//! assert_eq!(right.recv(Duration::from_secs(1))?, Some(frame));
//! # Ok(())
//! # }
//! # #[cfg(not(target_os = "linux"))]
//! # fn main() {}
//! ```
//!
//! # What a namespace leaves behind
//!
//! Nothing. A [`Namespace`] has no name and no mount: the kernel destroys it, and the interfaces in it, with the
//! last descriptor, thread, socket or process that refers to it. That holds for panics, `kill -9` and power cuts.
//!
//! # Queues
//!
//! A frame that an AF_XDP socket sends from queue `q` of one end arrives at queue `q` of the other end when the
//! XDP program there runs in native mode. In generic (SKB) mode it arrives at queue `q - 1`, and at queue 0 for
//! `q == 0`. Frames of the network stack, and of a [`Tap`], choose their queue by a hash that differs from boot to
//! boot: use one queue where the queue of such a frame matters.
//!
//! # Systems
//!
//! Linux only; on other systems this crate compiles to an empty library, so that it can stand unconditionally among
//! the dev-dependencies of a portable crate. No other program (`ip`, `ethtool`) is needed.

#[cfg(target_os = "linux")]
mod abilities;
#[cfg(target_os = "linux")]
mod end;
#[cfg(target_os = "linux")]
mod errno;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod ethtool;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod pair;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod tap;

#[cfg(target_os = "linux")]
pub use self::{
    abilities::{Abilities, abilities, require, skip},
    end::VethEnd,
    errno::Errno,
    error::Error,
    link::{Link, Xdp, XdpMode},
    namespace::{Guard, Namespace},
    pair::{EndBuilder, VethPair, VethPairBuilder},
    process::Child,
    tap::{ETHERTYPE_TEST, Tap},
};
