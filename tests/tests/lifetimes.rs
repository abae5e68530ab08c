//! What is opened is closed: queues, programs, descriptors, mappings.
#![cfg(target_os = "linux")]

use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use xsk::backend::XdpMode;
use xsk::config::{BindFlags, FrameSize, SocketConfig, UmemConfig, XdpFlags};
use xsk::error::{Diagnosis, Step};
use xsk::{FrameDesc, Umem};
use xsk_tests::bpf::{XDP_PASS, attach, load_verdict};
use xsk_tests::child::{fds, in_child, mappings, umem_kib};
use xsk_tests::{
    MODES, Port, complete, copy_mode, copy_mode_with_rings, fill, frame, port, queue_size, receive, rights,
    send, sharer, try_open, umem, umem_with_rings,
};
use xsk_veth::{Namespace, Tap, VethPair};

const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;

/// Descriptors, mappings, and memory of UMEMs.
fn everything() -> (usize, usize, usize) {
    (fds(), mappings(""), umem_kib())
}

/// One of the four queues of a socket.
#[allow(dead_code)] // held to be dropped
enum Part {
    Tx(xsk::TxQueue),
    Rx(xsk::RxQueue),
    Fill(xsk::FillQueue),
    Comp(xsk::CompQueue),
}

fn permutations(of: usize) -> Vec<Vec<usize>> {
    let Some(last) = of.checked_sub(1) else { return vec![vec![]] };
    let mut all = Vec::new();
    for shorter in permutations(last) {
        for at in 0..of {
            let mut longer = shorter.clone();
            longer.insert(at, last);
            all.push(longer);
        }
    }
    all
}

#[test]
fn a_queue_is_bound_anew_after_its_parts_were_dropped_in_any_order() {
    if !xsk_veth::require() {
        return;
    }
    let orders = permutations(4);
    assert_eq!(orders.len(), 24);
    thread::scope(|scope| {
        for mode in MODES {
            for orders in orders.chunks(12) {
                scope.spawn(move || rebind(mode, orders));
            }
        }
    });
}

fn rebind(mode: XdpFlags, orders: &[Vec<usize>]) {
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let tap = Tap::open(&ns, pair.a.name()).unwrap();
    let open = |umem: &Umem| port(umem, copy_mode_with_rings(mode, 64), "b", 0);
    let works = |umem: &Umem, descs: &[FrameDesc], port: &mut Port, tag| {
        fill(&mut port.fill, descs);
        tap.send(&frame(60, tag)).unwrap();
        assert_eq!(receive(umem, &mut port.rx, 1)[0].0, frame(60, tag));
    };
    let dismantle = |port: Port, order: &[usize]| {
        let Port { tx, rx, fill, comp } = port;
        let mut parts = [Part::Tx(tx), Part::Rx(rx), Part::Fill(fill), Part::Comp(comp)].map(Some);
        for (dropped, &part) in order.iter().enumerate() {
            let program = pair.b.xdp().unwrap();
            assert!(program.is_some(), "the socket was closed after {dropped} parts of {order:?}");
            drop(parts[part].take());
        }
        assert!(pair.b.xdp().unwrap().is_none(), "the program stays after {order:?}");
    };
    ns.run(|| {
        for (tag, order) in (0..).zip(orders) {
            let (one, descs) = umem_with_rings(4, 64);
            let clone = one.clone();
            let mut socket = open(&one);
            works(&one, &descs, &mut socket, tag);
            drop(one);
            dismantle(socket, order);

            // The same UMEM binds again, and after that another one does.
            let mut again = open(&clone);
            works(&clone, &descs, &mut again, tag);
            dismantle(again, order);
            let (other, descs) = umem_with_rings(4, 64);
            let mut socket = open(&other);
            works(&other, &descs, &mut socket, tag);
            // This time nothing but the parts keeps the UMEM.
            drop(other);
            dismantle(socket, order);
            drop(clone);
        }
        drop(open(&umem(4).0));
    });
}

#[test]
fn a_thousand_sockets_leave_no_descriptor_mapping_or_program() {
    if !xsk_veth::require() {
        return;
    }
    in_child("a_thousand_sockets_leave_no_descriptor_mapping_or_program", || {
        // To close a socket is to wait for the kernel (RCU) more than anything else: eight at a time. To attach and
        // detach a program takes longest, under a lock of the whole kernel (RTNL): every sixth does, the others join.
        let places: Vec<_> = (0..8)
            .map(|_| {
                let ns = Namespace::new().unwrap();
                let pair = VethPair::builder(&ns, &ns).queues(3).build().unwrap();
                let (umem, _) = umem_with_rings(8, 16);
                let joined = ns.run(|| port(&umem, copy_mode_with_rings(SKB, 16), "b", 2));
                (pair, joined)
            })
            .collect();
        let (umem, descs) = umem_with_rings(8 * 8, 16);
        let open = || (fds(), mappings("socket:"), umem_kib());
        let rounds = |count| {
            thread::scope(|scope| {
                for ((pair, _), descs) in places.iter().zip(descs.chunks(8)) {
                    let umem = &umem;
                    let cycle = move |n| open_and_close(n, pair, umem, descs);
                    scope.spawn(move || pair.b.namespace().run(|| (0..count).for_each(cycle)));
                }
            });
            (open(), mappings(""))
        };
        // What is made once (the registration, locks, thread stacks) is made by then.
        let (before, all_before) = rounds(6);
        let (after, all_after) = rounds(125);
        assert_eq!(after, before);
        // Allocators and thread stacks vary a little.
        assert!(all_after <= all_before + 50, "{all_before} mappings, then {all_after}");
        drop(umem);
        let (pairs, joined): (Vec<_>, Vec<_>) = places.into_iter().unzip();
        assert!(pairs.iter().all(|pair| pair.b.xdp().unwrap().is_some()));
        drop(joined);
        assert!(pairs.iter().all(|pair| pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none()));
        assert_eq!((mappings("socket:"), umem_kib()), (0, 0));
    });
}

/// Opens a socket, or two on a queue, and uses and closes it.
fn open_and_close(n: u32, pair: &VethPair, umem: &Umem, descs: &[FrameDesc]) {
    let (end, mode) = match n % 12 {
        0 => (&pair.a, DRV),
        6 => (&pair.a, SKB),
        _ => (&pair.b, SKB),
    };
    let (config, queue) = (copy_mode_with_rings(mode, 16), n % 2);
    let (own, own_descs) = umem_with_rings(8, 16);
    // Every third socket is of a UMEM that goes with it.
    let (umem, descs) = if n % 3 == 1 { (&own, &own_descs[..]) } else { (umem, descs) };
    let mut port = port(umem, config, end.name(), queue);
    let second = n.is_multiple_of(5).then(|| sharer(umem, config, end.name(), queue));
    fill(&mut port.fill, &descs[..4]);
    send(umem, &mut port.tx, &mut { descs[4] }, &frame(60, 0));
    complete(&mut port.comp, 1);
    drop(port);
    drop(second);
    if n.is_multiple_of(6) {
        assert!(pair.a.xdp().unwrap().is_none(), "nobody is left here");
    }
}

#[test]
fn a_umem_without_sockets_leaves_nothing() {
    if !xsk_veth::require() {
        return;
    }
    in_child("a_umem_without_sockets_leaves_nothing", || {
        let ns = Namespace::new().unwrap();
        ns.run(|| {
            let open = || (fds(), umem_kib());
            let before = open();
            let (one, _) = umem(16);
            let (two, _) = umem(16);
            assert_eq!(open(), (before.0 + 2, before.1 + 128));
            drop((one.clone(), one));
            assert_eq!(open(), (before.0 + 1, before.1 + 64));
            drop(two);
            assert_eq!(open(), before);
        });
    });
}

#[test]
fn an_open_that_fails_leaves_nothing() {
    if !xsk_veth::require() {
        return;
    }
    in_child("an_open_that_fails_leaves_nothing", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(3).mtu(9000).build().unwrap();
        ns.run(|| failing_opens(&pair));
        assert!(pair.b.xdp().unwrap().is_none());
    });
}

fn failing_opens(pair: &VethPair) {
    let builder = || {
        let mut builder = SocketConfig::builder();
        builder.xdp_flags(SKB);
        builder
    };
    let patient = copy_mode(SKB);
    let bind = |flags| builder().bind_flags(flags).build();
    // It has no socket any more that has the memory registered.
    let (spent, _) = umem(8);
    type Expected = fn(&Diagnosis) -> bool;
    let fails = |what: &str, config: SocketConfig, (name, queue): (&str, u32), expected: Expected| {
        drop(port(&spent, patient, "b", 1));
        let before = everything();
        for _ in 0..3 {
            let error = try_open(&spent, config, name, queue).expect_err(what);
            assert!(expected(error.diagnosis()), "{what}: {error}");
            assert_eq!(everything(), before, "{what}");
        }
        // One that has: it may be used up.
        let before = everything();
        let (fresh, _) = umem(8);
        assert!(try_open(&fresh, config, name, queue).is_err(), "{what}");
        drop(port(&fresh, patient, "b", 1));
        drop(fresh);
        assert_eq!(everything(), before, "{what}, at first");
    };
    fails("no such interface", patient, ("nowhere", 0), |d| *d == Diagnosis::NoInterface);
    fails("a long name", patient, (&"n".repeat(300), 0), |d| *d == Diagnosis::InterfaceName(300));
    fails("queue out of range", patient, ("b", 3), |d| *d == Diagnosis::QueueOutOfRange { queues: 3 });
    let ring = builder().rx_queue_size(queue_size(1 << 31)).build();
    fails("a giant ring", ring, ("b", 0), |d| matches!(d, Diagnosis::RingSize { .. }));
    let no_zero_copy: Expected = |d| matches!(d, Diagnosis::NoZeroCopy { .. });
    let zero_copy = BindFlags::XDP_ZEROCOPY;
    fails("two ways", bind(zero_copy | BindFlags::XDP_COPY), ("b", 0), |d| *d == Diagnosis::Contradiction);
    fails("no zero copy", bind(zero_copy), ("b", 0), no_zero_copy);
    fails("no zero copy", bind(zero_copy | BindFlags::XDP_USE_SG), ("b", 0), no_zero_copy);
    let mode = |flags| builder().xdp_flags(flags).build();
    fails("two modes", mode(SKB | DRV), ("b", 0), |d| *d == Diagnosis::Contradiction);
    fails("a large MTU", mode(DRV), ("b", 0), |d| {
        matches!(d, Diagnosis::MtuTooLargeForProgram { mtu: 9000 })
    });
    fails("no hardware", mode(XdpFlags::XDP_FLAGS_HW_MODE), ("b", 0), |_| true);

    let (other, _) = umem(8);
    let held = port(&other, patient, "b", 2);
    let hasty = builder().busy_timeout(Duration::from_millis(50)).build();
    fails("a busy queue", hasty, ("b", 2), |d| matches!(d, Diagnosis::QueueBusy { waited_ms: 50.. }));
    fails("another mode", mode(DRV), ("b", 0), |d| {
        matches!(d, Diagnosis::OtherMode { attached: XdpMode::Skb })
    });
    drop(held);

    let pass = load_verdict(XDP_PASS).unwrap();
    let link = attach(&pass, pair.b.ifindex(), SKB).unwrap();
    let before = everything();
    for config in [patient, mode(DRV), SocketConfig::default()] {
        let error = try_open(&spent, config, "b", 0).expect_err("a program is there");
        assert!(matches!(error.diagnosis(), Diagnosis::ProgramAttached { .. }), "{error}");
        assert_eq!(everything(), before);
    }
    drop(link);
    drop(port(&spent, patient, "b", 0));
}

/// A right that a thread gave up fails the step that needs it, early or late.
#[test]
fn an_open_without_the_right_to_it_leaves_nothing() {
    if !xsk_veth::require() {
        return;
    }
    in_child("an_open_without_the_right_to_it_leaves_nothing", || {
        let ns = Namespace::new().unwrap();
        let _pair = VethPair::builder(&ns, &ns).build().unwrap();
        let (umem, _) = umem(8);
        ns.run(|| drop(port(&umem, copy_mode(SKB), "b", 0)));
        let before = ns.run(|| (fds(), mappings("socket:")));
        for (capabilities, step) in
            [(&[CAP_NET_RAW][..], Step::CreateSocket), (&[CAP_NET_ADMIN, CAP_SYS_ADMIN], Step::LoadProgram)]
        {
            ns.run(|| {
                give_up(capabilities);
                let error = try_open(&umem, copy_mode(SKB), "b", 0).expect_err("a right is missing");
                assert!(matches!(error.diagnosis(), Diagnosis::MissingCapability(_)), "{error}");
                // Without CAP_NET_ADMIN there is no XSKMAP either, on some kernels.
                let early = (error.step(), step) == (Step::CreateMap, Step::LoadProgram);
                assert!(error.step() == step || early, "{error}");
                assert_eq!((fds(), mappings("socket:")), before, "{error}");
            });
        }
        // The limit is the process's, the right to exceed it the thread's.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel reads one rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) }, 0);
        ns.run(|| {
            give_up(&[CAP_IPC_LOCK]);
            let before = everything();
            let config = SocketConfig::builder().busy_timeout(Duration::ZERO).build();
            let error = try_open(&umem, config, "b", 0).expect_err("no memory to lock");
            let limit = Diagnosis::MemoryLimit { limit: Some(0), needed: 8 * 4096 };
            assert_eq!((error.step(), error.diagnosis()), (Step::RegisterUmem, &limit), "{error}");
            assert_eq!(everything(), before);
        });
        ns.run(|| drop(port(&umem, copy_mode(SKB), "b", 0)));
    });
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

/// Takes capabilities from the calling thread's effective set.
fn give_up(capabilities: &[u32]) {
    rights::change(|effective| {
        capabilities.iter().fold(effective, |set, capability| set & !(1 << capability))
    });
}

#[test]
fn a_umem_that_cannot_be_made_leaves_nothing() {
    if !xsk_veth::require() {
        return;
    }
    in_child("a_umem_that_cannot_be_made_leaves_nothing", || {
        let before = everything();
        let make = |config: UmemConfig, huge| Umem::new(config, NonZeroU32::new(8).unwrap(), huge);
        let large = UmemConfig::builder().frame_size(FrameSize::new(8192).unwrap()).build().unwrap();
        let error = make(large, false).unwrap_err();
        assert!(matches!(error.diagnosis(), Diagnosis::FrameSize { .. }), "{error}");
        let ring = UmemConfig::builder().fill_queue_size(queue_size(1 << 31)).build().unwrap();
        let error = make(ring, false).unwrap_err();
        assert!(matches!(error.diagnosis(), Diagnosis::RingSize { .. }), "{error}");
        let headroom = UmemConfig::builder().frame_headroom(3800).build().unwrap();
        let error = make(headroom, false).unwrap_err();
        assert!(matches!(error.diagnosis(), Diagnosis::Headroom { .. }), "{error}");
        assert_eq!(everything(), before);
    });
}

#[test]
fn eight_threads_open_and_close_the_queues_of_one_interface() {
    if !xsk_veth::require() {
        return;
    }
    in_child("eight_threads_open_and_close_the_queues_of_one_interface", || {
        const THREADS: u32 = 8;
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(THREADS).build().unwrap();
        let (umem, descs) = umem_with_rings(8 * THREADS, 16);
        let mut own = descs.chunks(8);
        let before = ns.run(|| (fds(), mappings("socket:")));
        let threads: Vec<_> = (0..THREADS)
            .map(|queue| {
                let (umem, mut descs) = (umem.clone(), own.next().unwrap().to_vec());
                ns.spawn(move || {
                    for cycle in 0..12 {
                        let config = copy_mode_with_rings(DRV, 16);
                        let (tx, rx, rings) = try_open(&umem, config, "b", queue).expect("a socket");
                        let (mut tx, (mut fill_queue, mut comp)) = (tx, rings.expect("queues of our own"));
                        fill(&mut fill_queue, &descs[..4]);
                        send(&umem, &mut tx, &mut descs[4 + cycle % 4], &frame(60, queue as u8));
                        complete(&mut comp, 1);
                        drop((rx, fill_queue, comp, tx));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(pair.b.xdp().unwrap().is_none());
        // The socket that had the memory registered went with the first user.
        let after = ns.run(|| (fds(), mappings("socket:")));
        assert_eq!(after, (before.0 - 1, before.1));
        ns.run(|| {
            let all: Vec<_> = (0..THREADS).map(|q| port(&umem, copy_mode(SKB), "b", q)).collect();
            assert!(pair.b.xdp().unwrap().is_some());
            drop(all);
        });
    });
}
