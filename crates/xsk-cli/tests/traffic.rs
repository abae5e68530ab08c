//! Packets through the tool, on veth, in SKB and in native mode.
#![cfg(target_os = "linux")]

mod common;

use std::net::UdpSocket;

use common::{LONG, MODES, frame, pair, run, start};
use serde_json::Value;
use xsk_veth::{Namespace, Tap, VethPair};

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn what_flood_sends_drop_receives() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        for queues in [1, 3] {
            let (ns, pair) = pair(queues);
            let mut sink = start(&ns, &["drop", "b", mode, "--json"]).ready();
            let args = ["flood", "a", mode, "--json", "--count", "1500", "--rate", "20k", "--size", "100"];
            let sent = run(&ns, &args).summary()["total"].clone();
            assert_eq!(number(&sent["tx"]["packets"]) + number(&sent["drops"]["tx_refused"]), 1500);
            sink.reported(number(&sent["tx"]["packets"]));
            let received = sink.end().summary();
            let (packets, drops) = (number(&received["total"]["rx"]["packets"]), &received["total"]["drops"]);
            assert_eq!(number(&drops["no_frame"]) + packets, number(&sent["tx"]["packets"]), "{received}");
            assert!(packets > 0);
            assert_eq!(number(&received["total"]["rx"]["bytes"]), packets * 100);
            assert_eq!(received["ports"].as_array().unwrap().len(), queues as usize);
            assert!(pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none());
        }
    }
}

#[test]
fn count_ends_drop_and_forward() {
    if !xsk_veth::require() {
        return;
    }
    for command in ["drop", "forward"] {
        let (ns, pair) = pair(1);
        let tap = Tap::open(&ns, "a").unwrap();
        let running = start(&ns, &[command, "b", "--count", "10", "--json"]).ready();
        for _ in 0..10 {
            tap.send(&frame(pair.b.mac(), pair.a.mac(), 60)).unwrap();
        }
        let summary = running.wait().summary();
        assert_eq!(summary["total"]["rx"], serde_json::json!({ "packets": 10, "bytes": 600 }));
        let sent = if command == "drop" { 0 } else { 10 };
        assert_eq!(number(&summary["total"]["tx"]["packets"]), sent);
    }
}

/// Two end hosts with an interface each, and a namespace between them with `left` and `right`.
fn hosts(mtu: u32) -> (Namespace, [Namespace; 2], [VethPair; 2]) {
    let middle = Namespace::new().unwrap();
    let ends = [Namespace::new().unwrap(), Namespace::new().unwrap()];
    let pairs = [("left", &ends[0]), ("right", &ends[1])].map(|(name, end)| {
        VethPair::builder(&middle, end)
            .mtu(mtu)
            .offloads(false)
            .a(|a| a.name(name))
            .b(|b| b.name("eth"))
            .build()
            .unwrap()
    });
    (middle, ends, pairs)
}

fn crosses(mode: &str, mtu: u32, lengths: &[usize], more: &[&str]) {
    let (middle, ends, pairs) = hosts(mtu);
    let args = [&["forward", "left", "right", mode], more].concat();
    let forwarder = start(&middle, &args).ready();
    let taps = [0, 1].map(|side: usize| Tap::open(&ends[side], "eth").unwrap());
    let macs = [0, 1].map(|side: usize| pairs[side].b.mac());
    for &len in lengths {
        for (from, to) in [(0, 1), (1, 0)] {
            let sent = frame(macs[to], macs[from], len);
            taps[from].send(&sent).unwrap();
            let got = taps[to].recv(LONG).unwrap().expect("the frame crosses");
            assert_eq!(got, sent, "{len} bytes {mode}");
        }
    }
    let done = forwarder.end();
    assert_eq!(done.code, 0, "{done:?}");
    let words = mode.trim_start_matches("--").replace("skb", "SKB");
    assert!(
        done.out[0].starts_with(&format!("forwarding left <-> right ({words}, copy)")),
        "{}",
        done.out[0]
    );
    assert!(done.text().contains("none lost"), "{}", done.text());
    for pair in &pairs {
        assert!(pair.a.xdp().unwrap().is_none());
    }
}

#[test]
fn frames_cross_a_forwarder_both_ways_unchanged() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        crosses(mode, 1500, &[60, 61, 1000, 1514], &[]);
        crosses(mode, 1500, &[60, 1514], &["--frame-size", "2048", "--frames", "32", "--batch", "1"]);
        crosses(mode, 1500, &[60, 1514], &["--no-need-wakeup"]);
    }
}

#[test]
fn packets_of_several_frames_cross_whole() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        crosses(mode, 9000, &[60, 3840, 3841, 9014, 60], &["--multi-buffer", "--batch", "1"]);
        crosses(mode, 9000, &[9014, 60], &["--multi-buffer", "--frame-size", "2048"]);
    }
}

#[test]
fn a_packet_of_several_frames_is_turned_around_once() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).mtu(9000).build().unwrap();
        let tap = Tap::open(&ns, "a").unwrap();
        // A batch of one descriptor: the packet comes in parts.
        let args = ["forward", "b", mode, "--multi-buffer", "--batch", "1", "--count", "2", "--json"];
        let reflector = start(&ns, &args).ready();
        for len in [9014, 60] {
            tap.send(&frame(pair.b.mac(), pair.a.mac(), len)).unwrap();
            assert_eq!(tap.recv(LONG).unwrap(), Some(frame(pair.a.mac(), pair.b.mac(), len)));
        }
        let summary = reflector.wait().summary();
        assert_eq!(summary["total"]["rx"], serde_json::json!({ "packets": 2, "bytes": 9074 }));
        assert_eq!(summary["total"]["rx"], summary["total"]["tx"]);
    }
}

#[test]
fn without_multi_buffer_a_long_packet_is_a_counted_drop() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).mtu(9000).build().unwrap();
    let tap = Tap::open(&ns, "a").unwrap();
    let sink = start(&ns, &["drop", "b", "--skb", "--json", "--count", "1"]).ready();
    tap.send(&frame(pair.b.mac(), pair.a.mac(), 9000)).unwrap();
    tap.send(&frame(pair.b.mac(), pair.a.mac(), 60)).unwrap();
    let summary = sink.wait().summary();
    assert_eq!(summary["total"]["drops"]["too_long"], 1, "{summary}");
    run(&ns, &["drop", "b", "--native"]).failed(3, &["MTU 9000", "--multi-buffer or --skb"]);
}

#[test]
fn a_forwarder_matches_queues_modulo() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let middle = Namespace::new().unwrap();
        let ends = [Namespace::new().unwrap(), Namespace::new().unwrap()];
        for (name, end, queues) in [("left", &ends[0], 4), ("right", &ends[1], 2)] {
            let pair = VethPair::builder(&middle, end).queues(queues);
            pair.a(|a| a.name(name)).b(|b| b.name("eth")).build().unwrap();
        }
        let forwarder = start(&middle, &["forward", "left", "right", mode, "--json"]).ready();
        let mut sink = start(&ends[1], &["drop", "eth", mode, "--json"]).ready();
        // Taking turns over all four queues.
        let args = ["flood", "eth", mode, "--count", "200", "--rate", "5k", "--batch", "1", "--json"];
        let sent = number(&run(&ends[0], &args).summary()["total"]["tx"]["packets"]);
        sink.reported(sent);
        let (through, received) = (forwarder.end().summary(), sink.end().summary());
        assert_eq!(number(&received["total"]["rx"]["packets"]), sent, "{received}\n{through}");
        let ports = through["ports"].as_array().unwrap();
        assert_eq!(ports.len(), 6);
        let used = |name: &str, way: &str| {
            let of = |port: &&Value| {
                port["port"].as_str().unwrap().starts_with(name) && number(&port[way]["packets"]) > 0
            };
            ports.iter().filter(of).count()
        };
        // In SKB mode, veth delivers what comes from queue 0 and from queue 1 to queue 0.
        assert_eq!(used("left", "rx"), if mode == "--skb" { 3 } else { 4 }, "{through}");
        assert_eq!(used("right", "tx"), 2, "{through}");
    }
}

#[test]
fn a_reflector_swaps_addresses() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let (ns, pair) = pair(1);
        let tap = Tap::open(&ns, "a").unwrap();
        let reflector = start(&ns, &["forward", "b", mode]).ready();
        let (a, b) = (pair.a.mac(), pair.b.mac());
        for (dst, back_from) in [(b, b), ([0xff; 6], b), ([2, 9, 9, 9, 9, 9], [2, 9, 9, 9, 9, 9])] {
            tap.send(&frame(dst, a, 60)).unwrap();
            assert_eq!(tap.recv(LONG).unwrap(), Some(frame(a, back_from, 60)));
        }
        let done = reflector.end();
        assert!(done.out[0].starts_with("reflecting on b"), "{done:?}");
        assert_eq!(done.code, 0);
    }
}

#[test]
fn ping_measures_round_trips() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let (ns, _pair) = pair(2);
        let reflector = start(&ns, &["forward", "b", mode]).ready();
        let args = ["ping", "a", mode, "--count", "50", "--timeout", "20s", "--json"];
        let ping = run(&ns, &args).summary()["ping"].clone();
        assert_eq!((number(&ping["sent"]), number(&ping["received"])), (50, 50), "{ping}");
        let (min, p50, max) =
            (number(&ping["min_ns"]), number(&ping["percentiles_ns"]["p50"]), number(&ping["max_ns"]));
        assert!(100 < min && min <= p50 && p50 <= max && max < 20_000_000_000, "{ping}");
        let text = run(&ns, &["ping", "a:0", mode, "--count", "3", "--timeout", "20s"]).text();
        assert!(text.contains("p99.9") && text.contains("3 requests, 3 replies, 0.000 % lost"), "{text}");
        assert_eq!(reflector.end().code, 0);
        let alone = run(&ns, &["ping", "a", mode, "--count", "3", "--timeout", "50ms"]);
        alone.failed(1, &["no reply to 3 request(s)", "xsk forward"]);
        assert!(!alone.text().contains("0 ns"), "times of nothing: {}", alone.text());
        let alone = run(&ns, &["ping", "a", mode, "--count", "3", "--timeout", "50ms", "--json"]);
        let ping = alone.event("summary")["ping"].clone();
        assert_eq!(number(&ping["timed_out"]), 3, "{ping}");
        for time in [&ping["min_ns"], &ping["max_ns"], &ping["mean_ns"], &ping["percentiles_ns"]["p50"]] {
            assert!(time.is_null(), "{ping}");
        }
    }
}

#[test]
fn the_kernel_takes_flooded_udp() {
    if !xsk_veth::require() {
        return;
    }
    let ends = [Namespace::new().unwrap(), Namespace::new().unwrap()];
    let pair =
        VethPair::builder(&ends[0], &ends[1]).b(|b| b.address([198, 18, 0, 2].into(), 24)).build().unwrap();
    let socket = ends[1].run(|| UdpSocket::bind("198.18.0.2:9").unwrap());
    socket.set_read_timeout(Some(LONG)).unwrap();
    let mac = pair.b.mac().map(|byte| format!("{byte:02x}")).join(":");
    let args = [
        "flood",
        "a",
        "--skb",
        "--udp",
        "--dst-mac",
        &mac,
        "--flows",
        "3",
        "--size",
        "101",
        "--count",
        "6",
        "--batch",
        "1",
    ];
    assert_eq!(run(&ends[0], &args).code, 0);
    let mut ports = Vec::new();
    for _ in 0..6 {
        let mut buffer = [0; 256];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from.ip()), (101 - 42, [198, 18, 0, 1].into()));
        ports.push(from.port());
    }
    assert!(ports.iter().all(|port| (1024..1027).contains(port)), "{ports:?}");
}

#[test]
fn a_rate_is_kept() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(2);
    for more in [&[][..], &["--threads"]] {
        let args = [&["flood", "a", "--rate", "2000", "--duration", "1s", "--json"], more].concat();
        let summary = run(&ns, &args).summary();
        let total = &summary["total"];
        let packets = number(&total["tx"]["packets"]) + number(&total["drops"]["tx_refused"]);
        // Never more than are due in the time that it took; a busy machine may make it fewer.
        let due = (summary["seconds"].as_f64().unwrap() * 2000.0) as u64;
        assert!((200..=due).contains(&packets), "{packets} of {due}");
    }
}

#[test]
fn busy_polling_forwards() {
    if !xsk_veth::require() {
        return;
    }
    crosses("--native", 1500, &[60, 1514], &["--busy-poll=50"]);
}
