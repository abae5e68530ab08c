//! `--threads`, on veth with several queues, in SKB and in native mode.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use common::{LONG, MODES, Running, frame, pair, run, start};
use serde_json::{Value, json};
use xsk_veth::{Namespace, Tap, VethPair, XdpMode};

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// The counters of each port, by its name.
fn ports(summary: &Value, way: &str) -> BTreeMap<String, u64> {
    let ports = summary["ports"].as_array().unwrap().iter();
    ports.map(|port| (port["port"].as_str().unwrap().to_owned(), number(&port[way]["packets"]))).collect()
}

/// Names of the threads of a process, and the CPUs that they may run on.
fn threads(running: &Running) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
    let read = |task: std::io::Result<fs::DirEntry>| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name| {
            let line = status.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap();
            line.trim().to_owned()
        };
        (field("Name:"), field("Cpus_allowed_list:"))
    };
    tasks.map(read).collect()
}

#[test]
fn each_queue_has_a_thread_at_both_ends() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let (ns, pair) = pair(3);
        let mut sink = start(&ns, &["drop", "b", mode, "--threads", "--json"]).ready();
        // It says that it is ready, and starts them.
        common::eventually("three threads", || {
            threads(&sink).into_keys().filter(|name| name.starts_with("b:")).eq(["b:0", "b:1", "b:2"])
        });
        let args = ["flood", "a", mode, "--json", "--duration", "1s", "--rate", "3k", "--threads"];
        let flood = run(&ns, &args);
        assert_eq!(
            flood.event("ready")["threads"][2],
            json!({ "receives": [], "sends": ["a:2"], "cpu": null })
        );
        let sent = flood.summary();
        let total = &sent["total"];
        // Each thread keeps the rate of its queue: nobody sends nothing.
        let each = ports(&sent, "tx");
        assert!(each.len() == 3 && each.values().all(|&packets| packets > 0), "{each:?}");
        assert_eq!(each.values().sum::<u64>(), number(&total["tx"]["packets"]));
        sink.reported(number(&total["tx"]["packets"]));
        let sink = sink.end();
        let received = sink.summary();
        let drops = number(&received["total"]["drops"]["no_frame"]);
        assert_eq!(number(&received["total"]["rx"]["packets"]) + drops, number(&total["tx"]["packets"]));
        assert_eq!(ports(&received, "rx").values().sum::<u64>(), number(&received["total"]["rx"]["packets"]));
        assert!(pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none());
    }
}

#[test]
fn both_directions_of_all_queues_on_threads() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        for more in [&["--threads"][..], &["--threads", "2"], &["--threads", "1"]] {
            let middle = Namespace::new().unwrap();
            let ends = [Namespace::new().unwrap(), Namespace::new().unwrap()];
            // Two of the ports that send have nothing to send.
            let pairs = [("left", &ends[0], 4), ("right", &ends[1], 2)].map(|(name, end, queues)| {
                let pair = VethPair::builder(&middle, end).queues(queues).offloads(false);
                pair.a(|a| a.name(name)).b(|b| b.name("eth")).build().unwrap()
            });
            let args = [&["forward", "left", "right", mode, "--json"][..], more].concat();
            let forwarder = start(&middle, &args).ready();
            let taps = [0, 1].map(|side: usize| Tap::open(&ends[side], "eth").unwrap());
            let macs = [0, 1].map(|side: usize| pairs[side].b.mac());
            for len in 60..100 {
                for (from, to) in [(0, 1), (1, 0)] {
                    let sent = frame(macs[to], macs[from], len);
                    taps[from].send(&sent).unwrap();
                    assert_eq!(taps[to].recv(LONG).unwrap(), Some(sent), "{mode} {more:?}");
                }
            }
            let done = forwarder.end();
            let summary = done.summary();
            assert_eq!(number(&summary["total"]["rx"]["packets"]), 80);
            assert_eq!(number(&summary["total"]["tx"]["packets"]), 80);
            let threads = done.event("ready")["threads"].as_array().unwrap().clone();
            let count = if more == ["--threads"] { 4 } else { more[1].parse().unwrap() };
            assert_eq!(threads.len(), count, "{threads:?}");
            for way in ["receives", "sends"] {
                let all = threads.iter().flat_map(|thread| thread[way].as_array().unwrap().clone());
                assert_eq!(all.count(), 6, "{threads:?}");
            }
            for pair in &pairs {
                assert!(pair.a.xdp().unwrap().is_none());
            }
        }
    }
}

#[test]
fn threads_are_bound_to_cpus_in_turn() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(3);
    let sink = start(&ns, &["drop", "b", "--threads", "--cpus", "0"]).ready();
    let bound = || threads(&sink).into_iter().filter(|(name, _)| name.starts_with("b:")).collect::<Vec<_>>();
    // A thread binds itself.
    common::eventually("bound", || bound().iter().all(|(_, cpus)| cpus == "0") && bound().len() == 3);
    assert_eq!(sink.end().code, 0);
    run(&ns, &["drop", "b", "--threads", "--cpus", "60000"]).failed(2, &["--cpus: there is no CPU 60000"]);
}

#[test]
fn a_reflector_on_threads_ends_by_signals_counts_and_times() {
    if !xsk_veth::require() {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let (ns, pair) = pair(2);
        let reflector = start(&ns, &["forward", "b", "--native", "--threads", "--json"]).ready();
        assert_eq!(pair.b.xdp().unwrap().map(|program| program.mode), Some(XdpMode::Native));
        let args = ["ping", "a", "--count", "20", "--timeout", "20s", "--json"];
        assert_eq!(run(&ns, &args).summary()["ping"]["received"], 20);
        reflector.signal(signal);
        let summary = reflector.wait().summary();
        assert!(number(&summary["total"]["tx"]["packets"]) >= 20, "{summary}");
        assert!(pair.b.xdp().unwrap().is_none());
    }
    let (ns, _pair) = pair(2);
    let timed = run(&ns, &["forward", "b", "--threads", "--duration", "200ms", "--json"]).summary();
    assert!((0.2..20.0).contains(&timed["seconds"].as_f64().unwrap()), "{timed}");
    let counted = start(&ns, &["forward", "b", "--threads", "--count", "100", "--json"]).ready();
    assert_eq!(run(&ns, &["flood", "a", "--rate", "2k", "--duration", "30s", "--count", "200"]).code, 0);
    // Up to a batch more on each thread.
    let received = number(&counted.wait().summary()["total"]["rx"]["packets"]);
    assert!((100..=100 + 2 * 64).contains(&received), "{received}");
}

#[test]
fn an_interface_that_goes_ends_all_threads() {
    if !xsk_veth::require() {
        return;
    }
    for args in [&["forward", "a", "c"][..], &["drop", "a"], &["flood", "a"]] {
        let (ns, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let pair = VethPair::builder(&ns, &far).queues(2).build().unwrap();
        VethPair::builder(&ns, &far).queues(2).a(|a| a.name("c")).b(|b| b.name("d")).build().unwrap();
        let running = start(&ns, &[args, &["--threads", "--json"]].concat()).ready();
        let busy = start(&far, &["flood", "b", "--threads"]).ready();
        std::thread::sleep(Duration::from_millis(50));
        pair.a.delete().unwrap();
        let done = running.wait();
        done.failed(1, &["on a queue ", "is gone"]);
        assert_eq!(done.event("summary")["frames"]["whole"], true, "{args:?}");
        assert_eq!(done.event("error")["exit_code"], 1);
        drop(busy);
    }
}

#[test]
fn what_has_no_threads_says_so() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(1);
    run(&ns, &["forward", "sim:in.pcap", "sim:out.pcap", "--threads"]).failed(2, &["leave --threads out"]);
    run(&ns, &["drop", "--threads", "b"])
        .failed(2, &["expected a number of threads", "put it before --threads"]);
    run(&ns, &["drop", "b", "--cpus", "0"]).failed(2, &["--threads"]);
    run(&ns, &["ping", "b", "--threads"]).failed(2, &["--threads"]);
}
