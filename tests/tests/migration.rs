//! A program for xsk-rs 0.11 works as it is, but for the crate's name.
#![cfg(target_os = "linux")]

#[path = "migration/program.rs"]
mod program;
#[path = "migration/signatures.rs"]
mod signatures;

use std::collections::BTreeSet;

use xsk_veth::{Namespace, VethPair};

const TABLES: &str = include_str!("../../docs/migration.md");
/// The public API, a line for each item (`ci/api` sees that it is true).
const API: [&str; 2] = [include_str!("../api/xsk.txt"), include_str!("../api/xsk-tokio.txt")];
/// What the tables say that is no name of the API: values and variables.
const OTHERS: [&str; 12] =
    ["port", "batch", "pool", "config", "timeout", "n", "eth1", "0", "true", "Some", "default", "packet"];

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty())
}

/// Each name in the right column is one of this library.
#[test]
fn the_tables_name_what_there_is() {
    let api: BTreeSet<&str> = API.iter().flat_map(|text| names(text)).chain(OTHERS).collect();
    let (mut rows, mut unknown) = (0, Vec::new());
    for row in TABLES.lines().filter(|line| line.starts_with("| ") && !line.contains("| xsk |")) {
        let Some(right) = row.trim_end_matches(" |").rsplit(" | ").next() else { continue };
        rows += 1;
        // Code is between every other pair of marks.
        let code = right.split('`').skip(1).step_by(2);
        unknown.extend(code.flat_map(names).filter(|name| !api.contains(name)));
    }
    assert!(rows > 40, "{rows} rows");
    assert!(unknown.is_empty(), "not in the API: {unknown:?}");
}

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
