//! The port tier: `Pool`, `Packet`, `Port`.
#![forbid(unsafe_code)]

mod basics;
mod closing;
mod kit;
mod violations;
