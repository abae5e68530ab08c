//! However it ends: programs detached, frames accounted for, an exit code that says why.
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use common::{MODES, pair, run, start};
use xsk_veth::{Namespace, VethPair, XdpMode};

#[test]
fn signals_end_it_cleanly_and_detach() {
    if !xsk_veth::require() {
        return;
    }
    for (mode, expected) in [("--skb", XdpMode::Generic), ("--native", XdpMode::Native)] {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            let (ns, pair) = pair(1);
            let running = start(&ns, &["forward", "a", "b", mode]).ready();
            for end in [&pair.a, &pair.b] {
                assert_eq!(end.xdp().unwrap().map(|program| program.mode), Some(expected));
            }
            running.signal(signal);
            let done = running.wait();
            assert_eq!(done.code, 0, "{done:?}");
            assert!(done.text().contains("none lost"), "{}", done.text());
            assert!(pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none());
        }
    }
}

#[test]
fn a_killed_one_leaves_no_program() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, pair) = pair(1);
    for _ in 0..3 {
        let running = start(&ns, &["forward", "a", "b"]).ready();
        running.signal(libc::SIGKILL);
        assert_eq!(running.wait().code, -1);
        assert!(pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none());
    }
    // The queues are free again, too.
    assert_eq!(run(&ns, &["forward", "a", "b", "--duration", "10ms"]).code, 0);
}

/// Starts each command on an interface whose traffic comes from outside, does something to the network, and expects an end
/// with code 1.
fn ends_with(words: &str, harm: impl Fn(&VethPair)) {
    for mode in MODES {
        for args in
            [&["forward", "a"][..], &["drop", "a"], &["flood", "a"], &["ping", "a"], &["forward", "a", "c"]]
        {
            let ns = Namespace::new().unwrap();
            let far = Namespace::new().unwrap();
            let pair = VethPair::builder(&ns, &far).build().unwrap();
            VethPair::builder(&ns, &far).a(|a| a.name("c")).b(|b| b.name("d")).build().unwrap();
            let running = start(&ns, &[args, &[mode, "--json"]].concat()).ready();
            let busy = start(&far, &["flood", "b", mode]).ready();
            std::thread::sleep(Duration::from_millis(50));
            harm(&pair);
            let done = running.wait();
            done.failed(1, &["on a queue 0", words]);
            let summary = done.event("summary");
            assert_eq!(summary["frames"]["whole"], true, "{args:?} {summary}");
            assert_eq!(done.event("error")["exit_code"], 1);
            drop(busy);
        }
    }
}

#[test]
fn an_interface_that_goes_down_ends_it() {
    if !xsk_veth::require() {
        return;
    }
    ends_with("is down", |pair| pair.a.set_up(false).unwrap());
}

#[test]
fn an_interface_that_is_deleted_ends_it() {
    if !xsk_veth::require() {
        return;
    }
    ends_with("is gone", |pair| pair.a.delete().unwrap());
}

#[test]
fn a_peer_that_is_deleted_ends_it() {
    if !xsk_veth::require() {
        return;
    }
    ends_with("is gone", |pair| pair.b.delete().unwrap());
}

#[test]
fn a_peer_that_is_down_is_no_end() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, pair) = pair(1);
    let running = start(&ns, &["flood", "a", "--rate", "1000", "--json"]).ready();
    pair.b.set_up(false).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    pair.b.set_up(true).unwrap();
    let summary = running.end().summary();
    assert!(summary["total"]["drops"]["tx_refused"].as_u64().unwrap() > 0, "{summary}");
}

#[test]
fn a_closed_output_ends_it_without_a_word() {
    if !xsk_veth::require() {
        return;
    }
    for format in ["--json", "--verbose"] {
        let (ns, pair) = pair(1);
        let mut running = start(&ns, &["drop", "a", format]).ready();
        running.close_output();
        let done = running.wait();
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        assert!(pair.a.xdp().unwrap().is_none());
    }
}

#[test]
fn seconds_are_reported_when_asked_for() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(1);
    let quiet = run(&ns, &["drop", "a", "--duration", "1.5s"]);
    let verbose = run(&ns, &["drop", "a", "--duration", "1.5s", "--verbose"]);
    let live = |text: &str| text.lines().filter(|line| line.contains("    1 s  rx ")).count();
    assert_eq!((live(&quiet.text()), live(&verbose.text())), (0, 1), "{verbose:?}");
    let json = run(&ns, &["drop", "a", "--duration", "1.5s", "--json"]);
    assert_eq!(json.event("interval")["rx_packets"], 0);
    assert_eq!(json.event("ready")["interface"], "a");
}
