//! kill -9 at any moment.
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use common::{eventually, pair, run, start};

/// Kills a forwarder under a flood a hundred times, at moments from before its sockets exist to long after they carry
/// packets. No program stays, and every restart binds.
#[test]
fn a_flooding_forwarder_is_killed_a_hundred_times() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, pair) = pair(2);
    for round in 0..100 {
        // The flood comes from the other end of the pair and arrives at `a`, in either mode.
        let mode = ["--native", "--skb"][round % 2];
        let reflector = start(&ns, &["forward", "a", mode]);
        let flood = start(&ns, &["flood", "b", mode]);
        // The tool takes a few milliseconds to open its sockets: the pauses fall before, within and after that.
        std::thread::sleep(Duration::from_millis(round as u64 % 25));
        let (reflector, flood) =
            if round % 4 == 3 { (reflector.ready(), flood.ready()) } else { (reflector, flood) };
        for running in [reflector, flood] {
            running.signal(libc::SIGKILL);
            let done = running.wait();
            assert_eq!(done.code, -1, "round {round}: it ended by itself: {done:?}");
        }
        for end in [&pair.a, &pair.b] {
            let what = format!("round {round}: no program on {}", end.name());
            eventually(&what, || end.xdp().unwrap().is_none());
        }
    }
    // The queues are free: a new one binds all of them, and carries packets.
    let reflector = start(&ns, &["forward", "a", "--native"]).ready();
    let ping = run(&ns, &["ping", "b", "--native", "--count", "100", "--json"]);
    assert_eq!(ping.code, 0, "{ping:?}");
    reflector.end();
}
