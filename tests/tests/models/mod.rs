//! The models of xsk-core's own tests, driven by the kernel's half that ships in xsk-sim.
//!
//! A package that is published cannot reach into its neighbour's tests, so these are here.
#![allow(dead_code, unreachable_pub)]

#[path = "../../../crates/xsk-core/tests/support/cycle.rs"]
pub mod cycle;
#[path = "../../../crates/xsk-core/tests/support/explore.rs"]
pub mod explore;
#[path = "../../../crates/xsk-core/tests/support/frames.rs"]
pub mod frames;
#[path = "../../../crates/xsk-core/tests/support/half.rs"]
pub mod half;
#[path = "../../../crates/xsk-core/tests/support/in_place.rs"]
pub mod in_place;
#[path = "../../../crates/xsk-core/tests/support/loom_ring.rs"]
pub mod loom_ring;
#[path = "../../../crates/xsk-core/tests/support/matrix.rs"]
pub mod matrix;
#[path = "../../../crates/xsk-core/tests/support/models.rs"]
#[expect(clippy::module_inception, reason = "its name there")]
pub mod models;
pub mod passes;
pub mod sim_half;
