//! Veth pairs: what is asked for is what the kernel has.
#![cfg(target_os = "linux")]

use std::{
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use xsk_veth::{ETHERTYPE_TEST, Error, Namespace, Tap, VethEnd, VethPair, XdpMode};

#[path = "common/bpf.rs"]
mod bpf;

const SOON: Duration = Duration::from_secs(5);

fn errno<T: std::fmt::Debug>(result: Result<T, Error>) -> i32 {
    result.unwrap_err().errno().expect("an errno").0
}

fn frame(to: &VethEnd, from: &VethEnd, text: &[u8]) -> Vec<u8> {
    [&to.mac()[..], &from.mac(), &ETHERTYPE_TEST.to_be_bytes(), text].concat()
}

fn cross(pair: &VethPair) {
    let a = Tap::open(pair.a.namespace(), pair.a.name()).unwrap();
    let b = Tap::open(pair.b.namespace(), pair.b.name()).unwrap();
    let there = frame(&pair.b, &pair.a, b"there, and longer than the shortest frame that Ethernet knows");
    let back = frame(&pair.a, &pair.b, b"back");
    a.send(&there).unwrap();
    b.send(&back).unwrap();
    assert_eq!(b.recv(SOON).unwrap(), Some(there));
    assert_eq!(a.recv(SOON).unwrap(), Some(back));
    // Nothing else came: neither what each end sent itself, nor packets that nobody asked for.
    assert_eq!(a.recv(Duration::ZERO).unwrap(), None);
    assert_eq!(b.recv(Duration::ZERO).unwrap(), None);
}

#[test]
fn four_queues_in_one_namespace() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).queues(4).build().unwrap();
    for end in [&pair.a, &pair.b] {
        let link = end.link().unwrap();
        assert_eq!((link.name.as_str(), link.ifindex), (end.name(), end.ifindex()));
        assert_eq!((link.rx_queues, link.tx_queues), (4, 4));
        assert_eq!(end.channels().unwrap(), (4, 4));
        assert_eq!(link.mac, Some(end.mac()));
        assert_eq!((link.mtu, link.up, link.running, link.xdp), (1500, true, true, None));
    }
    assert_ne!(pair.a.mac(), pair.b.mac());
    cross(&pair);
}

#[test]
fn four_queues_in_two_namespaces() {
    if !xsk_veth::require() {
        return;
    }
    let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let pair = VethPair::builder(&left, &right)
        .queues(4)
        .a(|end| end.name("same"))
        .b(|end| end.name("same").mac([2, 0, 0, 0, 0, 9]))
        .build()
        .unwrap();
    assert_eq!(pair.b.mac(), [2, 0, 0, 0, 0, 9]);
    assert_eq!(pair.b.link().unwrap().mac, Some([2, 0, 0, 0, 0, 9]));
    assert_eq!((left.links().unwrap().len(), right.links().unwrap().len()), (2, 2));
    assert_eq!((pair.a.channels().unwrap(), pair.b.channels().unwrap()), ((4, 4), (4, 4)));
    cross(&pair);
}

#[test]
fn ends_may_differ() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns)
        .mtu(9000)
        .a(|end| end.name("left").queues(3, 2))
        .b(|end| end.name("right").queues(2, 5).mtu(1280).up(false))
        .build()
        .unwrap();
    let (left, right) = (ns.link("left").unwrap(), ns.link("right").unwrap());
    assert_eq!((left.rx_queues, left.tx_queues, left.mtu, left.up), (3, 2, 9000, true));
    assert_eq!((right.rx_queues, right.tx_queues, right.mtu, right.up), (2, 5, 1280, false));
    assert_eq!((pair.a.channels().unwrap(), pair.b.channels().unwrap()), ((3, 2), (2, 5)));
    assert!(!left.running, "no carrier while the peer is down");

    let error = pair.a.wait_running(Duration::from_millis(5)).unwrap_err();
    assert!(matches!(&error, Error::NotRunning { interface, .. } if interface == "left"), "{error}");
    pair.b.set_up(true).unwrap();
    pair.wait_running().unwrap();
    cross(&pair);
}

#[test]
fn the_first_frame_arrives_every_time() {
    if !xsk_veth::require() {
        return;
    }
    for _ in 0..10 {
        let ns = Namespace::new().unwrap();
        cross(&VethPair::builder(&ns, &ns).build().unwrap());
    }
}

#[test]
fn waiting_after_a_flap_loses_no_frame() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let (a, b) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
    let there = frame(&pair.b, &pair.a, b"there");
    // Without the wait about one frame in five is lost.
    for _ in 0..200 {
        pair.b.set_up(false).unwrap();
        assert!(!pair.b.link().unwrap().up);
        // Not only looks, but makes the kernel notice now that the carrier is lost.
        pair.a.wait_running(Duration::ZERO).unwrap_err();
        assert_eq!(errno(b.recv(Duration::ZERO)), libc::ENETDOWN);
        pair.b.set_up(true).unwrap();
        pair.wait_running().unwrap();
        a.send(&there).unwrap();
        assert_eq!(b.recv(SOON).unwrap().as_ref(), Some(&there));
    }
}

#[test]
fn building_waits_until_both_ends_run_and_no_longer() {
    if !xsk_veth::require() {
        return;
    }
    let start = Instant::now();
    for _ in 0..20 {
        let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let pair = VethPair::builder(&left, &right).build().unwrap();
        assert_eq!(pair.a.ifindex(), pair.b.ifindex(), "the case that the kernel does not hurry for");
        // By listing, for to look up one link makes the kernel catch up with it.
        for ns in [&left, &right] {
            assert!(ns.links().unwrap().iter().all(|link| link.running), "{ns:?}");
        }
    }
    // By itself the kernel would look at the carriers once a second {link_watch.c:linkwatch_urgent_event}.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn channels_and_mtu_change() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).queues(4).build().unwrap();
    pair.a.set_mtu(9000).unwrap();
    assert_eq!((pair.a.link().unwrap().mtu, pair.b.link().unwrap().mtu), (9000, 1500));
    let error = pair.a.set_mtu(67).unwrap_err();
    assert_eq!(error.errno().unwrap().0, libc::EINVAL);
    assert!(
        error.to_string().starts_with("set the MTU to 67 on a: EINVAL (22, Invalid argument)"),
        "{error}"
    );
    // The kernel's own sentence.
    assert!(matches!(&error, Error::Kernel { detail: Some(text), .. } if text.contains("mtu")), "{error}");

    match pair.a.set_channels(2, 3) {
        Err(error) if error.errno().unwrap().0 == libc::EOPNOTSUPP => return, // 5.10
        other => other.unwrap(),
    }
    assert_eq!((pair.a.channels().unwrap(), pair.b.channels().unwrap()), ((2, 3), (4, 4)));
    assert_eq!(errno(pair.a.set_channels(5, 1)), libc::EINVAL);
    cross(&pair);
}

#[test]
fn deleting_one_end_deletes_both() {
    if !xsk_veth::require() {
        return;
    }
    let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let pair = VethPair::builder(&left, &right).build().unwrap();
    pair.b.delete().unwrap();
    assert_eq!((left.links().unwrap().len(), right.links().unwrap().len()), (1, 1));
    for result in [pair.a.set_up(true), pair.a.set_mtu(1000), pair.a.set_offloads(false), pair.a.delete()] {
        assert_eq!(errno(result), libc::ENODEV);
    }
    assert_eq!(errno(pair.a.xdp()), libc::ENODEV);
}

#[test]
fn an_end_is_renamed() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let mut pair = VethPair::builder(&ns, &ns).a(|end| end.up(false)).build().unwrap();
    let index = pair.a.ifindex();
    pair.a.rename("fifteen-bytes-x").unwrap();
    assert_eq!((pair.a.name(), pair.a.ifindex()), ("fifteen-bytes-x", index));
    assert_eq!(ns.link("fifteen-bytes-x").unwrap().ifindex, index);
    assert_eq!(errno(ns.link("a")), libc::ENODEV);

    assert_eq!(errno(pair.a.rename("b")), libc::EEXIST);
    assert!(matches!(pair.a.rename("sixteen-bytes-xy"), Err(Error::Name { .. })));
    assert_eq!(pair.a.name(), "fifteen-bytes-x");
    pair.a.set_up(true).unwrap();
    pair.wait_running().unwrap();
    cross(&pair);
}

#[test]
fn an_end_is_moved() {
    if !xsk_veth::require() {
        return;
    }
    let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let mut pair = VethPair::builder(&left, &left).queues(4).build().unwrap();
    let mac = pair.b.mac();
    pair.b.move_to(&right).unwrap();
    assert_eq!(*pair.b.namespace(), right);
    assert_eq!(errno(left.link("b")), libc::ENODEV);
    let link = right.link("b").unwrap();
    assert_eq!((link.ifindex, link.mac, link.up, link.rx_queues), (pair.b.ifindex(), Some(mac), false, 4));

    pair.b.set_up(true).unwrap();
    pair.wait_running().unwrap();
    cross(&pair);

    let _other =
        VethPair::builder(&left, &left).b(|end| end.name("c")).a(|end| end.name("b")).build().unwrap();
    assert_eq!(errno(pair.b.move_to(&left)), libc::EEXIST);
    assert_eq!(*pair.b.namespace(), right);
    cross(&pair);
}

#[test]
fn a_failed_build_leaves_no_interface() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let build = |change: fn(xsk_veth::VethPairBuilder) -> xsk_veth::VethPairBuilder| {
        change(VethPair::builder(&ns, &ns)).build().unwrap_err()
    };
    let bad_prefix = build(|pair| pair.b(|end| end.address(Ipv4Addr::new(10, 0, 0, 1), 33)));
    assert!(bad_prefix.to_string().starts_with("add the address 10.0.0.1/33 on b: EINVAL"), "{bad_prefix}");
    let bad_mac = build(|pair| pair.a(|end| end.mac([1, 0, 0, 0, 0, 0])));
    assert_eq!(bad_mac.errno().unwrap().0, libc::EADDRNOTAVAIL, "{bad_mac}");
    assert!(build(|pair| pair.queues(0)).errno().is_some());
    assert!(build(|pair| pair.queues(5000)).errno().is_some());
    assert!(build(|pair| pair.mtu(70_000)).errno().is_some());
    assert!(matches!(build(|pair| pair.b(|end| end.name("b/b"))), Error::Name { name } if name == "b/b"));
    let twins = build(|pair| pair.b(|end| end.name("a")));
    assert_eq!(twins.errno().unwrap().0, libc::EEXIST);
    assert_eq!(io::Error::from(twins).kind(), io::ErrorKind::AlreadyExists);
    let names: Vec<_> = ns.links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo"]);
}

#[test]
fn attached_programs_are_seen() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let program = bpf::load_xdp_pass().unwrap();
    for (flags, mode) in [(bpf::SKB_MODE, XdpMode::Generic), (bpf::DRV_MODE, XdpMode::Native)] {
        let link = ns.run(|| bpf::attach(&program, pair.b.ifindex(), flags)).unwrap();
        let xdp = pair.b.xdp().unwrap().expect("a program is attached");
        assert_eq!(xdp.mode, mode);
        assert_eq!(xdp.id, bpf::program_id(&program));
        assert_eq!(pair.a.xdp().unwrap(), None);
        drop(link);
        assert_eq!(pair.b.xdp().unwrap(), None);
    }
}
