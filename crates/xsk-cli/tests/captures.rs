//! `xsk forward sim:IN sim:OUT`: real files, through a simulated kernel, without privilege.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Dir, Done, tool};
use xsk_sim::capture::CapturedPacket;

fn forward(dir: &Dir, from: &str, to: &str, more: &[&str]) -> Done {
    let output = tool(&["forward", &dir.sim(from), &dir.sim(to)]).args(more).output().expect("the tool");
    let out = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Done { code: output.status.code().unwrap(), out, err: String::from_utf8(output.stderr).unwrap() }
}

const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// Ten bursts of two hundred packets, ten milliseconds apart.
fn bursts() -> Vec<CapturedPacket> {
    let packet = |number: u64| {
        let time = EPOCH + Duration::from_millis(number / 200 * 10) + Duration::from_nanos(number % 200);
        let mut data = vec![number as u8; 60 + (number as usize * 7) % 1400];
        data[..8].copy_from_slice(&number.to_be_bytes());
        CapturedPacket::new(time, data)
    };
    (0..2000).map(packet).collect()
}

#[test]
fn the_same_input_gives_the_same_output() {
    let dir = Dir::new("same");
    dir.write("in.pcap", &bursts());
    let done = forward(&dir, "in.pcap", "out.pcap", &["--json"]);
    let summary = done.summary();
    assert_eq!((&summary["capture"]["read"], &summary["capture"]["written"]), (&2000.into(), &2000.into()));
    assert_eq!(forward(&dir, "in.pcap", "again.pcap", &[]).code, 0);
    let files = ["out.pcap", "again.pcap"].map(|file| fs::read(dir.path(file)).unwrap());
    assert!(files[0] == files[1], "two runs differ");

    // All of them, in order, soon after they came in.
    let out = dir.read("out.pcap");
    assert_eq!(out.len(), 2000);
    for (out, packet) in out.iter().zip(bursts()) {
        assert_eq!(out.data, packet.data);
        let late = out.time.saturating_sub(packet.time);
        assert!(out.time >= packet.time && late < Duration::from_millis(1), "{late:?}");
    }

    // In other modes and formats, and with hardly any frames, the packets are the same ones.
    for more in [&["--skb"][..], &["--frames", "16", "--batch", "3"], &["--native", "--no-need-wakeup"]] {
        assert_eq!(forward(&dir, "in.pcap", "other.PcapNG", more).code, 0, "{more:?}");
        let other = dir.read("other.PcapNG");
        assert!(other.iter().map(|p| &p.data).eq(out.iter().map(|p| &p.data)), "{more:?}");
    }
    assert_eq!(fs::read(dir.path("other.PcapNG")).unwrap()[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
}

#[test]
fn what_is_lost_is_counted() {
    let dir = Dir::new("lost");
    let packet = |len| CapturedPacket::new(EPOCH, vec![1; len]);
    let cut_off = CapturedPacket { original_len: 100, ..packet(60) };
    dir.write("in.pcap", &[packet(60), packet(13), packet(5000), packet(3700), cut_off, packet(14)]);
    let summary = forward(&dir, "in.pcap", "out.pcap", &["--json"]).summary();
    let capture = &summary["capture"];
    assert_eq!((&capture["read"], &capture["written"]), (&6.into(), &3.into()), "{summary}");
    assert_eq!((&capture["too_short"], &capture["cut_off"]), (&1.into(), &1.into()), "{summary}");
    assert_eq!(summary["ports"][0]["drops"]["too_long"], 1, "{summary}");
    assert_eq!(summary["ports"][1]["drops"]["tx_refused"], 1, "{summary}");
    let lens: Vec<_> = dir.read("out.pcap").iter().map(|packet| packet.data.len()).collect();
    assert_eq!(lens, [60, 60, 14]);
    // Several frames each, then.
    let done = forward(&dir, "in.pcap", "out.pcap", &["--skb", "--multi-buffer"]);
    assert_eq!((done.code, dir.read("out.pcap").len()), (0, 5), "{done:?}");
}

#[test]
fn it_ends_where_it_is_told_to() {
    let dir = Dir::new("ends");
    dir.write("in.pcap", &bursts());
    for (more, packets) in [(["--count", "130"], 130), (["--duration", "20ms"], 400)] {
        assert_eq!(forward(&dir, "in.pcap", "out.pcap", &more).code, 0);
        assert_eq!(dir.read("out.pcap").len(), packets, "{more:?}");
    }
    dir.write("none.pcap", &[]);
    assert_eq!(forward(&dir, "none.pcap", "out.pcap", &[]).code, 0);
    assert_eq!(dir.read("out.pcap"), []);
}

#[test]
fn exit_codes() {
    let dir = Dir::new("codes");
    let bytes = dir.write("in.pcap", &bursts()[..10]);
    forward(&dir, "in.pcap", "in.pcap", &[]).failed(2, &["is both"]);
    std::os::unix::fs::symlink(dir.path("in.pcap"), dir.path("link.pcap")).unwrap();
    forward(&dir, "in.pcap", "link.pcap", &[]).failed(2, &["is both"]);
    forward(&dir, "missing.pcap", "out.pcap", &[]).failed(3, &["missing.pcap", "os error 2"]);
    forward(&dir, "in.pcap", "missing/out.pcap", &[]).failed(3, &["cannot write", "os error 2"]);
    forward(&dir, "in.pcap", "out.pcap", &["--zero-copy"]).failed(3, &["no zero copy"]);
    fs::write(dir.path("text.pcap"), "no capture").unwrap();
    forward(&dir, "text.pcap", "out.pcap", &[]).failed(3, &["no pcap or pcapng file"]);
    assert!(!Path::new(&dir.path("out.pcap")).exists(), "nothing is made when nothing can be done");
    // What is whole of a broken file goes out.
    fs::write(dir.path("cut.pcap"), &bytes[..bytes.len() - 1]).unwrap();
    forward(&dir, "cut.pcap", "out.pcap", &[]).failed(1, &["ends in the middle of a packet"]);
    assert_eq!(dir.read("out.pcap").len(), 9);
    assert_eq!(fs::read(dir.path("in.pcap")).unwrap(), bytes, "the input is never touched");
    if Path::new("/dev/full").exists() {
        let output = tool(&["forward", &dir.sim("in.pcap"), "sim:/dev/full"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
    }
    for args in [&["forward", "sim:a"][..], &["forward", "sim:a", "b"], &["forward", "b", "sim:a"]] {
        let output = tool(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
