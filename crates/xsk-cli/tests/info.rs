//! `xsk info`.
#![cfg(target_os = "linux")]

mod common;

use common::{pair, run, start};

#[test]
fn an_interface_is_described() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, pair) = pair(4);
    let done = run(&ns, &["info", "a"]);
    assert_eq!(done.code, 0, "{done:?}");
    for words in ["driver         veth", "4 (4 rx, 4 tx; at most 4)", "native, copy", "ready to run"] {
        assert!(done.text().contains(words), "no `{words}` in {}", done.text());
    }

    let info = run(&ns, &["info", "a:3", "--json"]).event("info");
    let interface = &info["interface"];
    assert_eq!(
        (&interface["name"], &interface["queues"], &interface["mtu"]),
        (&"a".into(), &4.into(), &1500.into())
    );
    let mac = pair.a.mac().map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(interface["mac"], mac);
    assert_eq!((&interface["native_xdp"], &interface["zero_copy"]), (&true.into(), &false.into()));
    assert_eq!((&interface["program"], &info["missing"]), (&serde_json::Value::Null, &serde_json::json!([])));
    assert_eq!(info["system"]["af_xdp"], true);
}

#[test]
fn all_interfaces_are_listed() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, _pair) = pair(1);
    let done = run(&ns, &["info", "--json"]);
    let info = done.event("info");
    let names: Vec<_> =
        info["interfaces"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert!(["lo", "a", "b"].iter().all(|name| names.contains(&(*name).into())), "{names:?}");
    let text = run(&ns, &["info"]).text();
    assert!(text.contains("interface") && text.contains("veth") && text.contains("ready to run"), "{text}");
}

#[test]
fn a_program_and_a_down_interface_are_missing_to_run() {
    if !xsk_veth::require() {
        return;
    }
    let (ns, pair) = pair(1);
    let holder = start(&ns, &["drop", "a", "--skb"]).ready();
    let done = run(&ns, &["info", "a", "--json"]);
    done.failed(3, &["another XDP program is attached", "SKB"]);
    let program = &done.event("info")["interface"]["program"];
    assert_eq!(program["id"], pair.a.xdp().unwrap().unwrap().id);
    assert_eq!(program["mode"], "SKB");
    assert_eq!(holder.end().code, 0);

    pair.a.set_up(false).unwrap();
    run(&ns, &["info", "a"]).failed(3, &["a is down"]);
    assert!(run(&ns, &["info", "b"]).text().contains("no carrier"));
}
