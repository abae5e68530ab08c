//! Zero copy. These are rules from the kernel's source; no hardware has been asked.
#![allow(unreachable_pub)]

mod kit;
mod laws;
mod receive;
mod setup;
mod teardown;
mod transmit;
