//! The program of the README: the same text as the example, and it does what it says.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use xsk_tests::{eventually, frame};
use xsk_veth::{Namespace, Tap, VethPair};

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../../crates/xsk/examples/count.rs");

#[test]
fn the_program_is_the_example() {
    let mut blocks = README.split("```rust\n").skip(1).map(|rest| rest.split("```").next());
    let program = blocks.next().flatten().expect("a program");
    assert!(EXAMPLE.ends_with(program), "README.md and crates/xsk/examples/count.rs differ:\n{program}");
    assert_eq!(blocks.next(), None, "a second program would not be compiled");
}

#[test]
fn the_program_counts_packets() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let tap = Tap::open(&ns, pair.a.name()).unwrap();
    let mut program = Command::new(build_example());
    let mut child = ns.spawn_command(program.arg(pair.b.name()).stdout(Stdio::piped())).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It prints at least once a second, and nothing before it can receive.
    let mut next = || lines.next().expect("the program runs").unwrap();
    assert_eq!(next(), "0 packets, 0 bytes; 0 packets so far");

    for tag in 0..10 {
        tap.send(&frame(60, tag)).unwrap();
    }
    let (mut packets, mut bytes) = (0, 0);
    while packets < 10 {
        let line = next();
        let numbers: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [received, length, total] = numbers[..] else { panic!("three numbers in {line:?}") };
        (packets, bytes) = (packets + received, bytes + length);
        assert_eq!(total, packets, "{line}");
        assert!(received > 0, "after {packets} of 10 packets nothing came for a second");
    }
    assert_eq!((packets, bytes), (10, 600));

    assert!(pair.b.xdp().unwrap().is_some());
    drop(child); // by SIGKILL
    eventually("detaching", || pair.b.xdp().unwrap().is_none());
}

/// Builds the example, which cargo does not do for the tests of another package, and returns its path.
fn build_example() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    // <target>/<profile>/deps/<this>, and with a sanitizer <target>/<triple>/<profile>/deps/<this>: it builds for a triple.
    let target = this.ancestors().nth(3).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--package", "xsk", "--example", "count", "--target-dir"]);
    if cfg!(sanitized = "address") {
        cargo.arg(target.parent().unwrap()).arg("--target").arg(target.file_name().unwrap());
    } else {
        cargo.arg(target);
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
    assert!(status.success(), "{cargo:?}: {status}");
    target.join("debug/examples/count")
}
