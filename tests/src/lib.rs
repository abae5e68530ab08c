//! What the tests of this package, and of the simulated kernel, share.

#[cfg(target_os = "linux")]
pub mod bpf;
#[cfg(target_os = "linux")]
pub mod calls;
#[cfg(target_os = "linux")]
pub mod child;
pub mod choice;
#[cfg(target_os = "linux")]
pub mod cpu;
#[cfg(target_os = "linux")]
pub mod huge;
#[cfg(target_os = "linux")]
mod port;
pub mod raw;
#[cfg(target_os = "linux")]
pub mod rights;
pub mod world;

#[cfg(target_os = "linux")]
pub use port::*;
pub use raw::frame;
