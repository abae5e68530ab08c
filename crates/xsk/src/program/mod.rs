//! XDP programs and the maps that lead packets to sockets.
//!
//! Opening a socket attaches the built-in redirect program to its interface, once for each interface however many sockets
//! this process opens on it, and takes it away with the last of them. With
//! [`INHIBIT_PROG_LOAD`](crate::config::LibxdpFlags) the caller brings a program and an XSKMAP of its own: see [`XskMap`].

mod attached;
#[cfg(target_os = "linux")]
mod redirect;
#[cfg(target_os = "linux")]
mod xsk_map;

pub(crate) use attached::{MapSlot, ProgramRef, acquire};
#[cfg(target_os = "linux")]
pub use redirect::Redirect;
#[cfg(target_os = "linux")]
pub use xsk_map::XskMap;
