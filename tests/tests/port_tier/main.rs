//! The port tier: `Pool`, `Packet`, `Port`.
#![forbid(unsafe_code)]

mod basics;
mod closing;
mod histories;
mod kit;
mod threads;
#[cfg(target_os = "linux")]
mod veth;
mod violations;
