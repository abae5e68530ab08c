//! Wrong usage, and systems that lack something: one clear text and one exit code each.
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::process::CommandExt;

use common::{Done, pair, run, start, start_command, tool};
use xsk_veth::{Namespace, VethPair};

/// Without any namespace: nothing here gets as far as the kernel.
fn refused(args: &[&str]) -> Done {
    let output = tool(args).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Done { code: output.status.code().unwrap(), out, err: String::from_utf8(output.stderr).unwrap() }
}

#[test]
fn bad_values_are_named() {
    let long = "x".repeat(300);
    for (args, words) in [
        (&["drop", "a", "--frame-size", "3000"][..], "expected a power of two as frame size, got 3000"),
        (&["drop", "a", "--frame-size", "1024"], "expected frame size >= 2048, got 1024"),
        (&["drop", "a", "--frames", "0"], "expected at least one frame, got 0"),
        (&["drop", "a", "--batch", "0"], "0 is not in 1..=2048"),
        (&["drop", "a", "--count", "0"], "expected at least 1, got 0"),
        (&["drop", "a", "--duration", "soon"], "expected a time like 10s"),
        (&["drop", &long], "an interface name has 1 to 15 bytes, this one has 300"),
        (&["drop", "a:b"], "expected a queue number after the colon, got `b`"),
        (&["drop", "a", "--huge-pages", "4K"], "[possible values: 2M, 1G]"),
        (&["drop", "a", "--copy", "--zero-copy"], "cannot be used with"),
        (&["drop", "a", "--skb", "--native"], "cannot be used with"),
        (&["flood", "a", "--dst-mac", "1:2:3"], "expected an Ethernet address"),
        (&["flood", "a", "--dst-port", "7"], "--udp"),
        (&["flood", "a", "--rate", "fast"], "expected a number like 1000, 10k or 1.5M"),
        (&["forward", "a", "a"], "to send packets back where they came from: xsk forward a"),
        (&["forward"], "<IF>"),
        (&["fly"], "unrecognized subcommand"),
        (&["drop", "a", "--busy-poll=x"], "invalid value 'x'"),
        (&["drop", "a", "--busy-poll=0"], "0 is not in 1..=2147483647"),
        (&["drop", "a", "--busy-poll=2147483648"], "2147483648 is not in"),
        (&["drop", "sim:in.pcap"], "a capture is no interface to this command"),
    ] {
        let done = refused(args);
        assert_eq!(done.code, 2, "{args:?}: {done:?}");
        assert!(done.err.contains(words), "{args:?}: {}", done.err);
    }
}

#[test]
fn help_tells_exit_codes_and_examples() {
    let done = refused(&["--help"]);
    assert_eq!(done.code, 0);
    for words in
        ["Examples:", "Exit codes:", "xsk forward eth1 eth2", "not on\nthe interface you are logged in by"]
    {
        assert!(done.text().contains(words), "no `{words}` in {}", done.text());
    }
    for command in ["forward", "drop", "flood", "ping"] {
        assert!(refused(&[command, "--help"]).text().contains("Exit codes:"));
    }
}

#[test]
fn values_that_the_interface_refuses() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(2);
    run(&ns, &["drop", "a:99"]).failed(2, &["a queue 99", "2 queues", "from 0 to 1"]);
    run(&ns, &["info", "a:99"]).failed(2, &["a has 2 queues, from 0 to 1; there is no queue 99"]);
    run(&ns, &["drop", "a", "--frames", "4"]).failed(2, &["4 frames are too few for all queues (2)"]);
    run(&ns, &["drop", "a", "--frame-size", "8192"]).failed(2, &["a frame is at most a page"]);
    run(&ns, &["flood", "a", "--size", "13"]).failed(2, &["at least 14 bytes"]);
    run(&ns, &["flood", "a", "--size", "41", "--udp"]).failed(2, &["at least 42 bytes"]);
    run(&ns, &["flood", "a", "--size", "1519"]).failed(2, &["at MTU 1500", "at most 1518 bytes"]);
    run(&ns, &["ping", "a", "--size", "20"]).failed(2, &["at least 38 bytes"]);
    let jumbo = VethPair::builder(&ns, &ns).mtu(3000).a(|a| a.name("c")).b(|b| b.name("d")).build();
    jumbo.unwrap();
    run(&ns, &["flood", "c", "--size", "2000", "--frame-size", "2048"])
        .failed(2, &["holds at most 1792 bytes"]);
}

#[test]
fn what_is_missing_here_is_told() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).a(|a| a.up(false)).build().unwrap();
    run(&ns, &["drop", "absent"]).failed(3, &["there is no interface absent", "xsk info"]);
    run(&ns, &["forward", "b", "absent"]).failed(3, &["there is no interface absent"]);
    run(&ns, &["info", "absent"]).failed(3, &["there is no interface absent"]);
    run(&ns, &["drop", "a"]).failed(3, &["a is down", "ip link set a up"]);
    pair.a.set_up(true).unwrap();
    run(&ns, &["drop", "a", "--zero-copy"]).failed(3, &["veth has no zero copy", "leave --zero-copy out"]);
    run(&ns, &["drop", "lo", "--native"]).failed(3, &["no native XDP", "--skb"]);
    assert!(pair.a.xdp().unwrap().is_none(), "nothing is left behind");
}

#[test]
fn huge_pages_that_there_are_not() {
    if !xsk_veth::require() {
        return;
    }
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages");
    if free.is_ok_and(|free| free.trim() != "0") {
        return;
    }
    let (ns, _pair) = pair(1);
    let done = run(&ns, &["drop", "a", "--huge-pages", "1G", "--json"]);
    done.failed(3, &["too few huge pages of 1 GiB", "nr_hugepages", "leave --huge-pages out"]);
    let error = done.event("error");
    assert_eq!(error["exit_code"], 3);
    assert!(error["error"].as_str().unwrap().contains("huge pages"), "{error}");
}

#[test]
fn what_is_in_use_is_told_apart() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(1);
    let holder = start(&ns, &["drop", "a", "--skb"]).ready();
    run(&ns, &["drop", "a", "--skb"])
        .failed(4, &["a queue 0", "in use", "end the program that has an AF_XDP socket on it"]);
    assert_eq!(holder.end().code, 0);
    assert_eq!(run(&ns, &["drop", "a", "--skb", "--duration", "10ms"]).code, 0, "it is free again");
}

#[test]
fn without_privileges_one_sentence() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let run = |args: &[&str]| {
        let mut command = tool(args);
        let drop_all = || {
            for capability in 0..64 {
                // SAFETY: this call of prctl takes numbers only. Numbers without a capability are refused.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) };
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls only.
        unsafe { command.pre_exec(drop_all) };
        start_command(&ns, &mut command).wait()
    };
    // The demonstration has another kernel then, and says why.
    let done = run(&[]);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    let text = done.text();
    for words in ["on a simulated kernel", "run it as root", "Native mode", "SKB mode", "none lost"] {
        assert!(text.contains(words), "no `{words}` in {text}");
    }
    // Each packet of the sender arrived at the receiver, in both modes.
    let received = done.out.iter().filter(|line| line.contains("receiver:0"));
    let received: Vec<_> = received.filter_map(|line| line.split_whitespace().nth(1)).collect();
    let all = if cfg!(debug_assertions) { "100,000" } else { "1,000,000" };
    assert_eq!(received, [all; 2], "{text}");
    run(&["drop", "lo"]).failed(3, &["CAP_NET_RAW", "run as root"]);
    run(&["info"]).failed(3, &["missing to run", "CAP_NET_RAW", "CAP_BPF"]);
}
