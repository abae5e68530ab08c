//! A program for xsk-rs 0.11 works as it is, but for the crate's name.
#![cfg(target_os = "linux")]

#[path = "migration/program.rs"]
mod program;
#[path = "migration/signatures.rs"]
mod signatures;

use xsk_veth::{Namespace, VethPair};

#[test]
fn what_needs_no_rights() {
    signatures::signatures();
    signatures::traits();
    program::flags();
    program::configuration();
}

#[test]
fn frames_and_packets() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let _pair = VethPair::builder(&ns, &ns).build().unwrap();
    ns.run(|| {
        program::frames();
        program::refusal();
        program::share("a");
        for mode in ["XDP_FLAGS_SKB_MODE", "XDP_FLAGS_DRV_MODE"] {
            program::exchange("a", "b", xsk::config::XdpFlags::from_name(mode).unwrap());
        }
    });
}
