//! Tests that count what a whole process has open, in a process of their own.

use std::fs;
use std::process::Command;

const CHILD: &str = "XSK_TESTS_CHILD";

/// Runs `body` in a new process, in which the test of this name is the only one. To be called by that test.
///
/// # Panics
/// If `body` does, with what it printed.
pub fn in_child(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some_and(|value| value == test) {
        return body();
    }
    let program = std::env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{}: {text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Open file descriptors of this process.
pub fn fds() -> usize {
    // One is that of the directory itself.
    fs::read_dir("/proc/self/fd").expect("/proc").count() - 1
}

/// Lines of /proc/self/maps that name `what`. Those without a name count for nothing under a sanitizer, which makes more of them
/// as it pleases. Rings have names; UMEMs have none: see [`umem_kib`].
pub fn mappings(what: &str) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
    let sanitized = cfg!(any(sanitized = "address", sanitized = "thread"));
    let named = |line: &&str| !sanitized || line.split_whitespace().nth(5).is_some();
    maps.lines().filter(|line| line.contains(what)).filter(named).count()
}

/// KiB of the UMEMs of this process that are of normal pages: memory that is to be wiped at a fork and to be of huge pages.
///
/// # Panics
/// Without /proc.
pub fn umem_kib() -> usize {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("/proc");
    let (mut kib, mut sum) = (0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Size:") => kib = words.next().and_then(|size| size.parse().ok()).expect("a size"),
            Some("VmFlags:") if words.filter(|word| ["wf", "hg"].contains(word)).count() == 2 => sum += kib,
            _ => {}
        }
    }
    sum
}
