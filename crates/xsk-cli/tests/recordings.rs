//! `xsk capture` and `xsk replay`, on veth and on a simulated kernel; files are read back and compared byte by byte.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Dir, Done, LONG, MODES, eventually, frame, pair, run, start, start_command, tool};
use xsk_sim::capture::{CaptureReader, CapturedPacket};
use xsk_veth::{Namespace, Tap, VethPair};

const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// Packets of the test EtherType, a millisecond apart, each of them another one.
fn packets(count: u64) -> Vec<CapturedPacket> {
    let make = |number: u64| {
        let mut data = frame([0xff; 6], [2, 0, 0, 0, 0, 9], 60 + (number as usize * 37) % 1400);
        data[14..22].copy_from_slice(&number.to_be_bytes());
        CapturedPacket::new(EPOCH + Duration::from_millis(number), data)
    };
    (0..count).map(make).collect()
}

fn data(packets: &[CapturedPacket]) -> Vec<&[u8]> {
    packets.iter().map(|packet| &packet.data[..]).collect()
}

fn here(args: &[&str]) -> Done {
    let output = tool(args).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Done { code: output.status.code().unwrap(), out, err: String::from_utf8(output.stderr).unwrap() }
}

#[test]
fn what_is_replayed_is_captured_byte_by_byte() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        for (name, more) in
            [("all.pcap", &[][..]), ("all.pcapng", &["--multiplier", "4"]), ("all.pcap", &["--topspeed"])]
        {
            let (ns, pair) = pair(1);
            let dir = Dir::new(&format!("recordings{mode}"));
            let sent = packets(300);
            dir.write("in.pcap", &sent);
            let (from, to) = (dir.path("in.pcap"), dir.path(name));
            let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let capture = start(&ns, &["capture", "b", &to, mode, "--count", "300", "--json"]).ready();
            let replay = run(&ns, &[&["replay", &from, "a", mode, "--json"], more].concat()).summary();
            assert_eq!(replay["replay"]["sent"], 300, "{replay}");
            let summary = capture.wait().summary();
            assert_eq!(summary["capture"]["written"], 300, "{summary}");
            let got = dir.read(name);
            assert!(data(&got) == data(&sent), "{mode} {more:?}");
            // At the time of day, one after the other.
            let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            assert!(got.is_sorted_by_key(|packet| packet.time));
            assert!(before <= got[0].time && got[299].time <= after);
            // The replay never runs ahead. (The capture may be late for the first one.)
            let least = match more.first() {
                None => 0.299,
                Some(&"--multiplier") => 0.299 / 4.0,
                Some(_) => 0.0,
            };
            let took = replay["seconds"].as_f64().unwrap();
            assert!(took >= least, "{took} {more:?}");
            assert!(pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none());
        }
    }
}

#[test]
fn a_wire_forwards_both_ways_and_captures() {
    if !xsk_veth::require() {
        return;
    }
    let (middle, left, right) =
        (Namespace::new().unwrap(), Namespace::new().unwrap(), Namespace::new().unwrap());
    for (name, end) in [("left", &left), ("right", &right)] {
        VethPair::builder(&middle, end).a(|a| a.name(name)).b(|b| b.name("eth")).build().unwrap();
    }
    let dir = Dir::new("wire");
    let capture =
        start(&middle, &["capture", "left", &dir.path("out.pcap"), "--wire", "right", "--snap-length", "40"])
            .ready();
    let taps = [Tap::open(&left, "eth").unwrap(), Tap::open(&right, "eth").unwrap()];
    let sent = packets(4);
    for (number, packet) in sent.iter().enumerate() {
        taps[number % 2].send(&packet.data).unwrap();
        assert_eq!(taps[(number + 1) % 2].recv(LONG).unwrap().as_ref(), Some(&packet.data));
    }
    let done = capture.end();
    assert!(done.out[0].starts_with("capturing what passes between left"), "{done:?}");
    assert!(
        done.text().contains("4 packets written") && done.text().contains("4 of them cut off"),
        "{done:?}"
    );
    let got = dir.read("out.pcap");
    assert_eq!(data(&got), data(&sent).iter().map(|data| &data[..40]).collect::<Vec<_>>());
    assert!(got.iter().zip(&sent).all(|(got, sent)| got.original_len == sent.original_len));
}

#[test]
fn a_capture_to_standard_output_is_nothing_but_that() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, pair) = pair(1);
    let dir = Dir::new("stdout");
    let mut command = tool(&["capture", "b", "-", "--count", "3"]);
    command.stdout(fs::File::create(dir.path("out.pcap")).unwrap()).stderr(Stdio::piped());
    let mut child = ns.spawn_command(&mut command).unwrap();
    eventually("attached", || pair.b.xdp().unwrap().is_some());
    std::thread::sleep(Duration::from_millis(100));
    let tap = Tap::open(&ns, "a").unwrap();
    let sent = packets(3);
    sent.iter().for_each(|packet| tap.send(&packet.data).unwrap());
    assert!(child.wait().unwrap().success());
    assert!(data(&dir.read("out.pcap")) == data(&sent));
}

#[test]
fn rounds_and_limits_of_a_replay() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(1);
    let dir = Dir::new("rounds");
    let mut all = packets(10);
    all.push(CapturedPacket::new(EPOCH, vec![1; 13]));
    all.push(CapturedPacket::new(EPOCH, vec![1; 2000]));
    dir.write("in.pcap", &all);
    let file = dir.path("in.pcap");
    let sent = |more: &[&str]| {
        let replay =
            run(&ns, &[&["replay", &file, "a", "--topspeed", "--json"], more].concat()).summary()["replay"]
                .clone();
        ["sent", "too_short", "too_long"].map(|name| replay[name].as_u64().unwrap())
    };
    assert_eq!(sent(&["--loop", "3"]), [30, 3, 3]);
    assert_eq!(sent(&["--loop", "0", "--count", "25"])[0], 25);
    assert!(sent(&["--loop", "0", "--duration", "50ms"])[0] > 10);
    let timed = run(&ns, &["replay", &file, "a", "--multiplier", "0.001", "--duration", "50ms", "--json"]);
    assert_eq!(timed.summary()["replay"]["sent"], 1);
}

#[test]
fn on_a_simulated_kernel_time_is_that_of_the_capture() {
    let dir = Dir::new("simulated");
    let sent = packets(500);
    dir.write("in.pcap", &sent);
    let (input, out) = (dir.path("in.pcap"), dir.path("captured.pcapng"));
    let summary = here(&["capture", &dir.sim("in.pcap"), &out, "--json"]).summary();
    assert_eq!(summary["capture"]["written"], 500);
    let summary = here(&["replay", &input, &dir.sim("replayed.pcap"), "--loop", "2", "--json"]).summary();
    assert_eq!(summary["replay"]["sent"], 1000);
    let (captured, replayed) = (dir.read("captured.pcapng"), dir.read("replayed.pcap"));
    assert!(
        data(&captured) == data(&sent)
            && data(&replayed[..500]) == data(&sent)
            && data(&replayed[500..]) == data(&sent)
    );
    for (out, packet) in captured.iter().chain(&replayed[..500]).zip(sent.iter().chain(&sent)) {
        let late = out.time.saturating_sub(packet.time);
        assert!(out.time >= packet.time && late < Duration::from_millis(1), "{late:?}");
    }
    // The same again gives the same file; faster, another one.
    for (more, same) in [(&["--loop", "2"][..], true), (&["--loop", "2", "--multiplier", "3"], false)] {
        assert_eq!(here(&[&["replay", &input, &dir.sim("again.pcap")], more].concat()).code, 0);
        let [first, again] = ["replayed.pcap", "again.pcap"].map(|file| fs::read(dir.path(file)).unwrap());
        assert_eq!(first == again, same, "{more:?}");
    }
    let cut = here(&["capture", &dir.sim("in.pcap"), &out, "--snap-length", "96", "--count", "7"]);
    assert!(cut.text().contains("7 packets written"), "{cut:?}");
    let short = dir.read("captured.pcapng");
    assert!(short.len() == 7 && short.iter().all(|packet| packet.data.len() <= 96));
}

#[test]
fn what_cannot_be_is_told() {
    let dir = Dir::new("told");
    let bytes = dir.write("in.pcap", &packets(3));
    let (file, out) = (dir.path("in.pcap"), dir.path("out.pcap"));
    fs::write(dir.path("text.pcap"), "no capture").unwrap();
    fs::write(dir.path("empty.pcap"), "").unwrap();
    fs::write(dir.path("cut.pcap"), &bytes[..bytes.len() - 1]).unwrap();
    for (args, code, words) in [
        (&["replay", "missing.pcap", "lo"][..], 3, "cannot read missing.pcap: No such file"),
        (&["replay", &dir.path("text.pcap"), "lo"], 3, "no pcap or pcapng file"),
        (&["replay", &dir.path("empty.pcap"), "lo"], 3, "it is empty"),
        (&["capture", "lo", &out, "--wire", "lo:1"], 2, "a wire has two ends"),
        (&["replay", &file, "absent"], 3, "there is no interface absent"),
        (&["replay", &file, &dir.sim("in.pcap")], 2, "is both"),
        (&["replay", &file, &dir.sim("out.pcap"), "--loop", "0"], 2, "--loop 0 fills the disk"),
        (&["replay", &file, "lo", "--multiplier", "0"], 2, "expected a factor from 0.001"),
        (&["replay", &file, "lo", "--multiplier", "2", "--topspeed"], 2, "cannot be used with"),
        (&["replay", &dir.path("cut.pcap"), &dir.sim("out.pcap")], 1, "ends in the middle of a packet"),
        (&["capture", "absent", &out], 3, "there is no interface absent"),
        (&["capture", &dir.sim("in.pcap"), &file], 2, "is both"),
        (&["capture", &dir.sim("in.pcap"), &out, "--wire", "lo"], 2, "leave --wire out"),
        (&["capture", &dir.sim("in.pcap"), &dir.path("none/out.pcap")], 3, "cannot write"),
        (&["capture", "lo", &out, "--snap-length", "0"], 2, "at least 1"),
    ] {
        let done = here(args);
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        assert!(done.err.contains(words), "{args:?}: {}", done.err);
    }
    assert_eq!(fs::read(dir.path("in.pcap")).unwrap(), bytes, "the input is never touched");
}

#[test]
fn an_error_of_a_capture_to_standard_output_is_beside_it() {
    let dir = Dir::new("beside");
    let bytes = dir.write("in.pcap", &packets(3));
    fs::write(dir.path("cut.pcap"), &bytes[..bytes.len() - 1]).unwrap();
    for (from, whole) in [(dir.sim("cut.pcap"), 2), (dir.sim("missing.pcap"), 0)] {
        let output = tool(&["capture", &from, "-", "--json"]).output().unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(r#""event":"error""#), "{told}");
        if whole == 0 {
            assert_eq!(output.stdout, b"", "there is no capture");
            continue;
        }
        let read = CaptureReader::new(&output.stdout[..]).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        assert!(data(&read) == data(&packets(whole)));
    }
}

#[test]
fn a_reader_that_goes_ends_it() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, pair) = pair(1);
    let mut running = start_command(&ns, &mut tool(&["capture", "b", "-"]));
    running.close_output();
    let tap = Tap::open(&ns, "a").unwrap();
    eventually("attached", || pair.b.xdp().unwrap().is_some());
    // Until the pipe notices.
    let done = loop {
        let _ = tap.send(&packets(1)[0].data);
        std::thread::sleep(Duration::from_millis(5));
        if pair.b.xdp().unwrap().is_none() {
            break running.wait();
        }
    };
    assert_eq!(done.code, 0, "{done:?}");
}
