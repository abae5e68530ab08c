//! The port tier: `Pool`, `Packet`, `Port`.
#![forbid(unsafe_code)]

mod basics;
mod budget;
mod bursts;
mod closing;
mod endless;
mod filling;
mod halves;
mod histories;
mod kit;
mod losses;
mod metadata;
mod one_sided;
mod opening;
mod packets;
mod policies;
mod quarantine;
#[path = "../../../crates/xsk-core/tests/support/regressions.rs"]
#[allow(unreachable_pub, reason = "shared with other packages")]
mod regressions;
mod shown;
mod stock;
mod threads;
#[cfg(target_os = "linux")]
mod veth;
#[cfg(target_os = "linux")]
mod veth_losses;
#[cfg(target_os = "linux")]
mod veth_metadata;
mod violations;
mod waiting;
mod wakeups;
mod zero_copy;
