//! The second table of `docs/conformance.md`: how many rules' tests passed on which kernel.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::Instant;

use xsk_tests::world::Arm;

use crate::semantics::section_of;

/// Sections, by what their tests' names start with.
const SECTIONS: [(&str, &str); 17] = [
    ("1", "socket"),
    ("2", "setsockopt"),
    ("3", "getsockopt"),
    ("4", "mmap"),
    ("5", "bind"),
    ("6", "receiving"),
    ("7", "transmitting"),
    ("8", "poll and recvmsg"),
    ("9", "sharing, teardown, events"),
    ("10", "the rings"),
    ("11", "statistics"),
    ("14", "XDP programs and veth"),
    ("A.1", "one descriptor"),
    ("A.2", "sequences of descriptors"),
    ("A.3", "receiving"),
    ("A.4", "corrupt indices"),
    ("A.5", "teardown"),
];

const HEADING: &str = "\n## Rules and vectors\n";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md")
}

/// The section of [`SECTIONS`] that a test is of.
fn heading_of(test: &str) -> String {
    let section = section_of(test).expect("a section");
    if section.starts_with('A') { section } else { section.split('.').next().unwrap_or_default().to_owned() }
}

/// The rows, if each test passes that is not skipped, and the reasons for the skips.
fn rows() -> (String, Vec<&'static str>) {
    let (mut text, mut reasons) = (String::new(), Vec::new());
    for (section, title) in SECTIONS {
        let cells = Arm::ALL.map(|arm| {
            let of_it: Vec<_> = crate::all().filter(|rule| heading_of(rule.name) == section).collect();
            let mut skips: BTreeMap<usize, usize> = BTreeMap::new();
            for why in of_it.iter().filter_map(|rule| rule.skip(arm)) {
                let known = reasons.iter().position(|reason| *reason == why);
                let note = known.unwrap_or_else(|| {
                    reasons.push(why);
                    reasons.len() - 1
                });
                *skips.entry(note + 1).or_default() += 1;
            }
            let passed = of_it.len() - skips.values().sum::<usize>();
            let skips = skips.iter().map(|(note, count)| format!(", {count} skipped ({note})"));
            skips.fold(passed.to_string(), |cell, skip| cell + &skip)
        });
        let _ = writeln!(text, "| {section} {title} | {} |", cells.join(" | "));
    }
    (text, reasons)
}

fn table(seconds: &str) -> String {
    let titles = Arm::ALL.map(Arm::title).join(" | ");
    let (rows, reasons) = rows();
    let mut text =
        format!("| passed tests of | {titles} |\n|---|{}\n{rows}{seconds}\n", "---|".repeat(Arm::ALL.len()));
    for (note, reason) in reasons.iter().enumerate() {
        let _ = writeln!(text, "{}. {reason}", note + 1);
    }
    text
}

/// The seconds of a kernel in the first table.
fn seconds_of_cases(page: &str, arm: Arm) -> f64 {
    let row = page.lines().find_map(|line| line.strip_prefix("| seconds | ")).expect("the first table");
    let cell = row.split(" | ").nth(arm as usize).expect("a column");
    cell.trim_end_matches(" |").parse().expect("seconds")
}

/// With `XSK_WRITE_TABLE=1`, runs all and writes the table; otherwise checks that it has these tests and these skips.
#[test]
fn counts() {
    let page = fs::read_to_string(path()).expect("the page, which XSK_WRITE_TABLE=1 writes");
    let (cases, ours) = page.split_once(HEADING).unwrap_or((&page, ""));
    if std::env::var_os("XSK_WRITE_TABLE").is_none_or(|value| value != "1") {
        let without_times = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| seconds"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (seen, expected) = (without_times(ours), without_times(&table("")));
        for (seen, expected) in seen.iter().zip(&expected) {
            assert_eq!(seen, expected, "write the table with XSK_WRITE_TABLE=1");
        }
        assert_eq!(seen.len(), expected.len(), "write the table with XSK_WRITE_TABLE=1");
        return;
    }
    let mut failed = Vec::new();
    let times = Arm::ALL.map(|arm| {
        let start = Instant::now();
        for rule in crate::all() {
            let name = format!("{} on {}", rule.name, arm.title());
            match catch_unwind(|| rule.run(arm)) {
                Ok(ran) if ran == rule.skip(arm).is_none() => {}
                Ok(_) => failed.push(format!("{name} did not run")),
                Err(_) => failed.push(name),
            }
        }
        start.elapsed().as_secs_f64()
    });
    assert!(failed.is_empty(), "{failed:?}");
    let simulated: f64 = Arm::ALL
        .iter()
        .filter(|arm| !arm.is_linux())
        .map(|arm| times[*arm as usize] + seconds_of_cases(cases, *arm))
        .sum();
    let seconds = format!("| seconds | {} |\n", times.map(|time| format!("{time:.1}")).join(" | "));
    let text = format!(
        "The tests of the rules and of the vectors, line by line in [Semantics](semantics.md), run in the same way. The whole\n\
         simulated suite, cases and rules, both modes, one after the other and with the law of the frames checked after every\n\
         step, took {simulated:.1} s in this run (a test build).\n"
    );
    fs::write(path(), format!("{cases}{HEADING}\n{text}\n{}", table(&seconds))).expect("the page");
}
