//! `docs/semantics.md` and the tests: neither has what the other lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the tables: a rule.
struct Line {
    number: String,
    tests: Vec<String>,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn lines() -> Vec<Line> {
    let page = fs::read_to_string(root().join("docs/semantics.md")).expect("the page");
    let rows = page.lines().filter_map(|text| {
        let cells: Vec<_> = text.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [number, _, _, tests] = cells[..] else { return None };
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let is_number = number.starts_with(|c: char| c.is_ascii_digit() || c == 'A') && number.contains('.');
        is_number.then(|| Line { number: number.to_owned(), tests, text: text.to_owned() })
    });
    rows.collect()
}

/// The section that a test's name says: `s7_3_2_what` is of 7.3.2, `a2_what` of A.2.
pub fn section_of(test: &str) -> Option<String> {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (first, rest) = (test.split('_').next()?, test.split('_').skip(1));
    if let Some(vector) = first.strip_prefix('a').filter(|part| is_number(part)) {
        return Some(format!("A.{vector}"));
    }
    let first = first.strip_prefix('s').filter(|part| is_number(part))?;
    Some([first].into_iter().chain(rest.take_while(is_number)).collect::<Vec<_>>().join("."))
}

fn sources(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *into += &fs::read_to_string(path).expect("a source file");
        }
    }
}

/// How many rules each section has: a line that is lost is missed.
const RULES: [(&str, usize); 31] = [
    ("1", 6),
    ("2.0", 1),
    ("2.1", 6),
    ("2.2", 16),
    ("2.3", 3),
    ("2.4", 4),
    ("3", 5),
    ("4", 7),
    ("5.1", 9),
    ("5.2", 9),
    ("5.3", 6),
    ("6.1", 5),
    ("6.2", 5),
    ("6.3", 7),
    ("6.4", 6),
    ("6.5", 1),
    ("6.6", 4),
    ("6.7", 3),
    ("7", 40),
    ("8", 8),
    ("9", 14),
    ("10", 6),
    ("11", 7),
    ("14.1", 6),
    ("14.2", 4),
    ("14.3", 11),
    ("15.1", 6),
    ("15.2", 11),
    ("15.3", 11),
    ("15.4", 4),
    ("A", 5),
];

#[test]
fn every_rule_has_its_line() {
    let mut numbers: Vec<_> = lines().into_iter().map(|line| line.number).collect();
    let count = numbers.len();
    for (section, expected) in RULES {
        let start = format!("{section}.");
        let of_it = numbers.iter().filter(|number| **number == section || number.starts_with(&start)).count();
        assert_eq!(of_it, expected, "lines of section {section}");
    }
    assert_eq!(count, RULES.iter().map(|(_, count)| count).sum::<usize>(), "lines of other sections");
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a number stands twice");
}

#[test]
fn every_line_has_its_tests() {
    let ours: BTreeSet<&str> = crate::all().map(|rule| rule.name).collect();
    let mut text = String::new();
    ["tests", "crates"].iter().for_each(|directory| sources(&root().join(directory), &mut text));
    for line in lines() {
        if line.tests.is_empty() || line.text.contains("| not tested: ") {
            assert!(line.text.contains("| not tested: "), "no test and no reason: {}", line.text);
            continue;
        }
        for test in &line.tests {
            let there = ours.contains(test.as_str()) || text.contains(&format!("fn {test}("));
            assert!(there, "there is no test {test}: {}", line.text);
        }
    }
}

#[test]
fn every_test_is_in_the_line_of_its_section() {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines() {
        for test in line.tests {
            named.entry(test).or_default().push(line.number.clone());
        }
    }
    for rule in crate::all() {
        let section = section_of(rule.name).unwrap_or_else(|| panic!("{} names no section", rule.name));
        let numbers = named.get(rule.name).unwrap_or_else(|| panic!("no line names {}", rule.name));
        let start = format!("{section}.");
        let fits = numbers.iter().any(|number| *number == section || number.starts_with(&start));
        assert!(fits, "{} stands at {numbers:?} only", rule.name);
    }
}

#[test]
fn sections_are_read_from_names() {
    let rows = [
        ("s7_3_2_what", Some("7.3.2")),
        ("s9_what", Some("9")),
        ("s5_2_3_ids_have_16_bits", Some("5.2.3")),
        ("a2_a_18", Some("A.2")),
        ("sent_it", None),
        ("all", None),
    ];
    for (test, expected) in rows {
        assert_eq!(section_of(test).as_deref(), expected, "{test}");
    }
}
