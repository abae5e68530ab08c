//! `xsk` without a command.
#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use common::run;
use xsk_veth::Namespace;

#[test]
fn the_demonstration_runs_in_both_modes() {
    if !xsk_veth::require() {
        return;
    }
    let start = Instant::now();
    let ns = Namespace::new().unwrap();
    let done = run(&ns, &[]);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    let text = done.text();
    for words in [
        "real packets through the Linux",
        "Native mode",
        "SKB mode",
        "fwd-in:0",
        "receiver:0",
        "Next, on a real",
    ] {
        assert!(text.contains(words), "no `{words}` in {text}");
    }
    assert_eq!(text.matches("round trip through the forwarder: p50 ").count(), 2, "{text}");
    // Rows: port, received, ...: packets arrived at the far end in both modes.
    let arrived = done.out.iter().filter(|line| line.contains("receiver:0"));
    let counts: Vec<u64> = arrived
        .map(|line| line.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap())
        .collect();
    assert!(counts.len() == 2 && counts.iter().all(|count| *count > 0), "{text}");
    assert!(start.elapsed() < Duration::from_secs(30), "it takes about six seconds on an idle machine");
    // Nothing remains, here or anywhere: only lo is left in the namespace that it ran in.
    assert_eq!(ns.links().unwrap().len(), 1);
}
