//! `xsk replay -`: captures that come by standard input.
#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Dir, Done, LONG, eventually, frame, start_command, tool};
use xsk_sim::capture::{CaptureWriter, CapturedPacket, Format};
use xsk_veth::{Namespace, Tap, VethPair};

const EPOCH: Duration = Duration::from_secs(1_700_000_000);

fn packets(count: u64, apart: Duration) -> Vec<CapturedPacket> {
    let make = |number: u64| {
        let data = frame([0xff; 6], [2, 0, 0, 0, 0, 9], 60 + (number as usize * 37) % 1400);
        CapturedPacket::new(EPOCH + apart * number as u32, data)
    };
    (0..count).map(make).collect()
}

fn bytes(packets: &[CapturedPacket], format: Format) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), format).unwrap();
    packets.iter().for_each(|packet| writer.write(packet).unwrap());
    writer.finish().unwrap()
}

fn here(args: &[&str], input: Stdio) -> Done {
    let output = tool(args).stdin(input).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Done { code: output.status.code().unwrap(), out, err: String::from_utf8(output.stderr).unwrap() }
}

#[test]
fn a_capture_by_standard_input_is_as_one_in_a_file() {
    let dir = Dir::new("input");
    for format in [Format::Pcap, Format::PcapNg] {
        let mut all = packets(3000, Duration::from_millis(1));
        all.push(CapturedPacket::new(EPOCH, vec![1; 13]));
        fs::write(dir.path("in"), bytes(&all, format)).unwrap();
        let input = || File::open(dir.path("in")).unwrap().into();
        let summary = here(&["replay", "-", &dir.sim("piped.pcap"), "--json"], input()).summary();
        assert_eq!((&summary["replay"]["sent"], &summary["replay"]["too_short"]), (&3000.into(), &1.into()));
        assert_eq!(here(&["replay", &dir.path("in"), &dir.sim("named.pcap")], Stdio::null()).code, 0);
        let [piped, named] = ["piped.pcap", "named.pcap"].map(|file| fs::read(dir.path(file)).unwrap());
        assert!(piped == named, "{format:?}");
        // It ends in the middle of the input, and leaves the rest.
        let some = here(&["replay", "-", &dir.sim("some.pcap"), "--count", "5"], input());
        assert!(some.text().contains("replay: 5 packets of standard input"), "{some:?}");
        assert_eq!(dir.read("some.pcap").len(), 5);
    }
}

#[test]
fn a_capture_goes_through_a_pipe_as_it_comes() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pairs = [("a", "b"), ("c", "d")].map(|(near, far)| {
        VethPair::builder(&ns, &ns).a(|a| a.name(near)).b(|b| b.name(far)).build().unwrap()
    });
    for count in [5, 300] {
        let mut command = tool(&["capture", "b", "-", "--count", &count.to_string()]);
        let mut capture = ns.spawn_command(&mut command).unwrap();
        let mut command = tool(&["replay", "-", "c", "--json"]);
        let replay = start_command(&ns, command.stdin(capture.stdout.take().unwrap())).ready();
        eventually("attached", || pairs[0].b.xdp().unwrap().is_some());
        std::thread::sleep(Duration::from_millis(100));
        let (from, to) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "d").unwrap());
        for packet in packets(count, Duration::ZERO) {
            from.send(&packet.data).unwrap();
            // One by one: it is not held back until there are more.
            assert_eq!(to.recv(LONG).unwrap(), Some(packet.data));
        }
        assert!(capture.wait().unwrap().success());
        assert_eq!(replay.wait().summary()["replay"]["sent"], count);
    }
}

#[test]
fn gaps_count_from_the_first_packet_on() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    VethPair::builder(&ns, &ns).build().unwrap();
    let mut command = tool(&["replay", "-", "a", "--json"]);
    let mut child = ns.spawn_command(command.stdin(Stdio::piped())).unwrap();
    let mut input = child.stdin.take().unwrap();
    let tap = Tap::open(&ns, "b").unwrap();
    let all = packets(2, Duration::from_millis(300));
    let bytes = bytes(&all, Format::Pcap);
    input.write_all(&bytes[..24]).unwrap();
    // Longer than the gap.
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    input.write_all(&bytes[24..]).unwrap();
    for packet in &all {
        assert_eq!(tap.recv(LONG).unwrap().as_ref(), Some(&packet.data));
    }
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_silent_input_keeps_nobody_from_ending() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let header = bytes(&[], Format::Pcap);
    for (said, to) in [(&header[..], "a"), (&header, "sim"), (&header[..4], "a")] {
        let dir = Dir::new("silent");
        let to = if to == "sim" { dir.sim("out.pcap") } else { to.to_owned() };
        let mut command = tool(&["replay", "-", &to, "--json"]);
        let (read, mut write) = std::io::pipe().unwrap();
        let mut running = start_command(&ns, command.stdin(read));
        write.write_all(said).unwrap();
        if said.len() == header.len() {
            running = running.ready();
        } else {
            std::thread::sleep(Duration::from_millis(300));
        }
        assert_eq!(running.end().summary()["replay"]["sent"], 0);
        drop(write);
    }
    let mut command = tool(&["replay", "-", "a", "--duration", "100ms", "--json"]);
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(&header).unwrap();
    assert_eq!(start_command(&ns, command.stdin(read)).wait().summary()["replay"]["sent"], 0);
    drop(pair);
}

#[test]
fn what_is_no_capture_is_told() {
    let dir = Dir::new("told-input");
    let bytes = bytes(&packets(3, Duration::ZERO), Format::Pcap);
    fs::write(dir.path("in.pcap"), &bytes).unwrap();
    fs::write(dir.path("cut.pcap"), &bytes[..bytes.len() - 1]).unwrap();
    fs::write(dir.path("text.pcap"), "no capture").unwrap();
    for (file, args, code, words) in [
        ("text.pcap", &["-", "lo"][..], 3, "cannot read standard input: this is no pcap or pcapng file"),
        ("in.pcap", &["-", "lo", "--loop", "2"], 2, "standard input can be read once"),
        ("in.pcap", &["-", &dir.sim("in.pcap")], 2, "is both"),
        ("cut.pcap", &["-", &dir.sim("out.pcap")], 1, "cannot go on reading standard input: "),
    ] {
        let input = File::open(dir.path(file)).unwrap();
        let done = here(&[&["replay"], args].concat(), input.into());
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        assert!(done.err.contains(words), "{args:?}: {}", done.err);
    }
    assert_eq!(here(&["replay", "-", "lo"], Stdio::null()).code, 3, "nothing is no capture");
    assert_eq!(fs::read(dir.path("in.pcap")).unwrap(), bytes, "the input is never touched");
}

#[test]
fn what_a_capture_leaves_out_is_counted() {
    let dir = Dir::new("left-out");
    let mut all = packets(4, Duration::from_millis(1));
    all.insert(2, CapturedPacket::new(EPOCH, vec![1; 13]));
    dir.write("in.pcap", &all);
    let args = ["capture", &dir.sim("in.pcap"), &dir.path("out.pcap")];
    let text = here(&args, Stdio::null()).text();
    assert!(text.contains("4 packets written") && text.contains("1 left out, too short for"), "{text}");
    let summary = here(&[&args[..], &["--json"]].concat(), Stdio::null()).summary();
    assert_eq!((&summary["capture"]["written"], &summary["capture"]["too_short"]), (&4.into(), &1.into()));
}
