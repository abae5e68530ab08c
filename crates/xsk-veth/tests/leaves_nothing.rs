//! Alone in its process, so that nothing else opens descriptors meanwhile.
#![cfg(target_os = "linux")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use xsk_veth::{Error, Namespace, Tap, VethPair};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Threads and descriptors of this process that refer to the namespace.
fn references(id: u64) -> Vec<String> {
    let wanted = format!("net:[{id}]");
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("ns/net"));
    let fds = fs::read_dir("/proc/self/fd").unwrap().map(|fd| fd.unwrap().path());
    tasks
        .chain(fds)
        .filter(|path| fs::read_link(path).is_ok_and(|target| target.to_string_lossy() == wanted))
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn a_namespace_vanishes_when_its_test_panics() {
    if !xsk_veth::require() {
        return;
    }
    let outside = Namespace::new().unwrap();
    let home = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = descriptors();

    let mut id = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let ns = Namespace::new().unwrap();
        id = ns.id();
        let pair = VethPair::builder(&ns, &outside).build().unwrap();
        let _tap = Tap::open(&ns, pair.a.name()).unwrap();
        assert!(!references(id).is_empty(), "the search finds a living namespace");
        let _guard = ns.enter().unwrap();
        ns.run(|| panic!("as a failing assertion would"));
    }));
    let payload = result.unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"as a failing assertion would"));

    assert_eq!(descriptors(), before);
    assert_eq!(references(id), Vec::<String>::new());
    assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), home, "the guard went back");

    // The kernel's own word on it: with the namespace went its end of the pair, and with that the other end.
    let deadline = Instant::now() + Duration::from_secs(20);
    while outside.link("b").is_ok() {
        assert!(Instant::now() < deadline, "the kernel did not destroy the namespace");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(outside.link("b"), Err(Error::Kernel { errno, .. }) if errno.0 == libc::ENODEV));
}
