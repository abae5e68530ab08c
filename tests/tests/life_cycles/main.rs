//! UMEMs and sockets against a model of what there is: any order of making, sharing, cloning, dropping in parts, opening anew
//! and moving to other threads, with calls that fail. And configurations of any values.

mod model;
mod real;
#[path = "../../../crates/xsk-core/tests/support/regressions.rs"]
#[allow(unreachable_pub, reason = "shared with other packages")]
mod regressions;
mod sequences;
mod values;
