//! `docs/conformance.md`: every case on every kernel.

use std::fmt::Write;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::Instant;

use crate::{CASES, Case, Outcome};
use xsk_tests::world::Arm;

/// What was seen of the other mode; by hand, as it takes a virtual machine.
const ZERO_COPY: &str = "\
In zero-copy mode 24 of them pass on virtio_net of Linux 6.18.15 and 7.3.4 and on igb of 7.3.4, in virtual machines with two
emulated cards (`./ci/zero-copy`), and on the simulated kernel's cards 28, as Linux 7.3 30 (`cargo test -p xsk-tests --test conformance
sim_zero_copy`). The others say why they are skipped: neither virtio_net nor igb takes packets of several buffers there. On two
cards of your own, wired to each other and used by nothing else, as root:

```sh
export XSK_TEST_IF=eth1 XSK_TEST_PEER=eth2 XSK_TEST_DRIVER=ice
cargo test -p xsk-tests --test conformance -- --include-ignored --test-threads=1 cards::
cargo test -p xsk-tests --test cards -- --include-ignored --test-threads=1 cards:: port::
```
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md")
}

fn heading() -> String {
    let titles = Arm::ALL.map(Arm::title).join(" | ");
    format!("| case | {titles} |\n|---|{}", "---|".repeat(Arm::ALL.len()))
}

/// What the row of a case starts with.
fn start(case: &Case) -> String {
    format!("| {} | ", case.name)
}

/// Runs every case on every kernel. The names of those that failed, and the table.
fn run_all() -> (Vec<String>, String) {
    let (mut failed, mut table, mut reasons) = (Vec::new(), heading() + "\n", Vec::new());
    let mut times = [0.0; Arm::ALL.len()];
    let mut passed = [0; Arm::ALL.len()];
    for case in CASES {
        let cells = Arm::ALL.map(|arm| {
            let start = Instant::now();
            let outcome = catch_unwind(|| case.run(arm));
            times[arm as usize] += start.elapsed().as_secs_f64();
            match outcome {
                Ok(Outcome::Passed) => {
                    passed[arm as usize] += 1;
                    "passed".to_owned()
                }
                Ok(Outcome::Skipped(why)) => {
                    let known = reasons.iter().position(|reason| *reason == why);
                    let note = known.unwrap_or_else(|| {
                        reasons.push(why);
                        reasons.len() - 1
                    });
                    format!("skipped ({})", note + 1)
                }
                Err(_) => {
                    failed.push(format!("{} on {}", case.name, arm.title()));
                    "**failed**".to_owned()
                }
            }
        });
        let _ = writeln!(table, "{}{} |", start(case), cells.join(" | "));
    }
    let _ = writeln!(table, "| passed | {} |", passed.map(|count| count.to_string()).join(" | "));
    let _ = writeln!(table, "| seconds | {} |\n", times.map(|time| format!("{time:.1}")).join(" | "));
    for (note, reason) in reasons.iter().enumerate() {
        let _ = writeln!(table, "{}. {reason}", note + 1);
    }
    (failed, table)
}

fn page(table: &str) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().split('-').next().unwrap_or_default();
    format!(
        "# Conformance\n\n\
         The cases of the kernel's own AF_XDP tests (`tools/testing/selftests/bpf/test_xsk.c`), by the kernel's names, each\n\
         written once and run on every kernel there is: the simulated one, and Linux {release} over a veth pair, each with\n\
         XDP programs in SKB and in native mode, in copy mode. This page is written by the test run:\n\n\
         ```sh\nXSK_WRITE_TABLE=1 cargo test -p xsk-tests --test conformance table\n\
         XSK_WRITE_TABLE=1 cargo test -p xsk-tests --test rules table\n```\n\n{ZERO_COPY}\n{table}"
    )
}

/// With `XSK_WRITE_TABLE=1`, writes the table; otherwise checks that it has these cases and these skips.
#[test]
fn table() {
    if std::env::var_os("XSK_WRITE_TABLE").is_some_and(|value| value == "1") {
        let (failed, table) = run_all();
        let path = path();
        fs::create_dir_all(path.parent().expect("a directory")).expect("the directory docs");
        // The tests of the rules write the second table.
        let before = fs::read_to_string(&path).unwrap_or_default();
        let rules = before.find("\n## Rules and vectors\n").map_or("", |at| &before[at..]);
        fs::write(&path, page(&table) + rules).expect("the page");
        assert!(failed.is_empty(), "{failed:?}");
        return;
    }
    let page = fs::read_to_string(path()).expect("the page, which XSK_WRITE_TABLE=1 writes");
    assert!(page.contains(&heading()), "the table has other columns: write it with XSK_WRITE_TABLE=1");
    let rows = page.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows: Vec<_> = rows.take_while(|line| !line.starts_with("| passed")).collect();
    let starts: Vec<_> = CASES.iter().map(start).collect();
    assert_eq!(rows.len(), starts.len(), "the table has other cases: write it with XSK_WRITE_TABLE=1");
    for ((case, start), row) in CASES.iter().zip(&starts).zip(rows) {
        assert!(
            row.starts_with(start),
            "{row:?} instead of {start:?}: write the table with XSK_WRITE_TABLE=1"
        );
        let result = if case.skip(Arm::SimSkb).is_some() { "skipped" } else { "passed" };
        let cells: Vec<_> = row.trim_matches('|').split('|').skip(1).map(str::trim).collect();
        assert_eq!(cells.len(), Arm::ALL.len(), "{row}");
        assert!(cells.iter().all(|cell| cell.starts_with(result)), "not all of {:?}: {row}", result);
    }
}
