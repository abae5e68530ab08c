//! What the tests of the rings share. Each test uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod cycle;
pub mod explore;
pub mod frames;
pub mod half;
pub mod heap_ring;
pub mod histories;
pub mod in_place;
pub mod kernel;
pub mod loom_lists;
pub mod loom_ring;
pub mod matrix;
pub mod models;
pub mod regressions;
