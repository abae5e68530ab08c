//! Zero copy, as far as it takes the simulated kernel to see it. Those rules that Linux can show as well are in
//! `tests/tests/cards`, which runs on both.
#![allow(unreachable_pub)]

mod kit;
mod laws;
mod receive;
mod refused;
mod setup;
mod teardown;
mod transmit;
