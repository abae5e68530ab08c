//! Any number of sockets, on any interfaces and queues, share a UMEM.
#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::time::Duration;

use xsk::config::{LibxdpFlags, SocketConfig, XdpFlags};
use xsk::{FrameDesc, Socket};
use xsk_tests::{
    MODES, Port, arrives_at, complete, copy_mode, copy_mode_with_rings, eventually, fill, frame, interface,
    port, receive, receives_nothing, send, sharer, umem, umem_with_rings,
};
use xsk_veth::{Namespace, Tap, VethPair};

const SECOND: Duration = Duration::from_secs(1);
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;

/// A port, the frames to send that it has, and the frames that are its fill queue's.
struct Station {
    port: Port,
    spare: Vec<FrameDesc>,
    received_into: HashSet<usize>,
}

#[test]
fn sockets_on_two_interfaces_share_one_umem() {
    if !xsk_veth::require() {
        return;
    }
    const QUEUES: u32 = 3;
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(QUEUES).build().unwrap();
        ns.run(|| {
            let (umem, descs) = umem(16 * 2 * QUEUES);
            let places = [pair.a.name(), pair.b.name()].map(|name| (0..QUEUES).map(move |q| (name, q)));
            let mut stations: Vec<Station> = (places.into_iter().flatten().zip(descs.chunks(16)))
                .map(|((name, queue), frames)| {
                    let mut port = port(&umem, copy_mode(mode), name, queue);
                    fill(&mut port.fill, &frames[..8]);
                    let received_into = frames[..8].iter().map(FrameDesc::addr).collect();
                    Station { port, spare: frames[8..].to_vec(), received_into }
                })
                .collect();
            for round in 0..100 {
                for from in 0..stations.len() {
                    let (side, queue) = (from as u32 / QUEUES, from as u32 % QUEUES);
                    let to = ((1 - side) * QUEUES + arrives_at(mode, queue)) as usize;
                    let packet = frame(60 + round + 10 * from, (round * 7 + from) as u8);
                    let Station { port, spare, .. } = &mut stations[from];
                    send(&umem, &mut port.tx, &mut spare.pop().unwrap(), &packet);
                    spare.extend(complete(&mut port.comp, 1));

                    let Station { port, received_into, .. } = &mut stations[to];
                    let [(bytes, desc)] = &receive(&umem, &mut port.rx, 1)[..] else { unreachable!() };
                    assert_eq!(*bytes, packet, "{mode:?}, station {from} to {to}, round {round}");
                    assert!(received_into.contains(&desc.addr()), "a frame of another queue's fill ring");
                    fill(&mut port.fill, &[*desc]);
                }
            }
            for station in &mut stations {
                assert_eq!(station.spare.len(), 8, "every sent frame came back to where it was sent from");
                assert_eq!((station.port.rx.nb_avail_exact(), station.port.comp.nb_avail_exact()), (0, 0));
            }
        });
        assert!(pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none());
    }
}

#[test]
fn the_last_socket_of_a_queue_receives_and_then_the_one_before_it() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        ns.run(|| {
            let (umem, mut descs) = umem(32);
            let open = || sharer(&umem, copy_mode(mode), pair.b.name(), 0);
            let mut first = port(&umem, copy_mode(mode), pair.b.name(), 0);
            fill(&mut first.fill, &descs[..16]);
            tap.send(&frame(61, 1)).unwrap();
            assert_eq!(receive(&umem, &mut first.rx, 1)[0].0, frame(61, 1));

            let (mut tx2, mut rx2) = open();
            tap.send(&frame(62, 2)).unwrap();
            assert_eq!(receive(&umem, &mut rx2, 1)[0].0, frame(62, 2));
            // Both transmit, and the completions of both come on the one completion queue.
            send(&umem, &mut tx2, &mut descs[16], &frame(63, 3));
            send(&umem, &mut first.tx, &mut descs[17], &frame(64, 4));
            for (len, tag) in [(63, 3), (64, 4)] {
                assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(len, tag)));
            }
            let done: Vec<_> = complete(&mut first.comp, 2).iter().map(FrameDesc::addr).collect();
            assert_eq!(done, [descs[16].addr(), descs[17].addr()]);

            let (tx3, mut rx3) = open();
            tap.send(&frame(65, 5)).unwrap();
            assert_eq!(receive(&umem, &mut rx3, 1)[0].0, frame(65, 5));
            // One that does not receive goes: nothing changes.
            drop((tx2, rx2));
            tap.send(&frame(66, 6)).unwrap();
            assert_eq!(receive(&umem, &mut rx3, 1)[0].0, frame(66, 6));
            receives_nothing(&mut first.rx);
            // The one that receives goes: back to the first.
            drop((tx3, rx3));
            tap.send(&frame(67, 7)).unwrap();
            assert_eq!(receive(&umem, &mut first.rx, 1)[0].0, frame(67, 7));
        });
    }
}

#[test]
fn the_rings_of_a_queue_whose_first_socket_is_gone_are_adopted() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        ns.run(|| {
            let (umem, mut descs) = umem(32);
            let mut first = port(&umem, copy_mode(mode), pair.b.name(), 0);
            fill(&mut first.fill, &descs[..16]);
            let (mut tx2, mut rx2) = sharer(&umem, copy_mode(mode), pair.b.name(), 0);
            // The first keeps one queue: the rings are not free yet.
            let Port { tx, rx, fill: first_fill, comp } = first;
            drop((tx, rx, comp));
            drop(sharer(&umem, copy_mode(mode), pair.b.name(), 0));
            drop(first_fill);

            // Completions wait for whoever adopts the ring, and so do the frames to receive into.
            send(&umem, &mut tx2, &mut descs[16], &frame(61, 1));
            assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, 1)));
            let mut third = port(&umem, copy_mode(mode), pair.b.name(), 0);
            assert_eq!(complete(&mut third.comp, 1)[0].addr(), descs[16].addr());
            assert_eq!(third.fill.nb_free_exact(), 2048 - 16);
            for (len, addr) in [(62, 256), (63, 4096 + 256)] {
                tap.send(&frame(len, 2)).unwrap();
                let [(bytes, desc)] = &receive(&umem, &mut third.rx, 1)[..] else { unreachable!() };
                assert_eq!((bytes, desc.addr()), (&frame(len, 2), addr));
            }
            fill(&mut third.fill, &descs[..2]);
            assert_eq!(third.fill.nb_free_exact(), 2048 - 16);
            drop(sharer(&umem, copy_mode(mode), pair.b.name(), 0));

            drop(third);
            tap.send(&frame(64, 4)).unwrap();
            assert_eq!(receive(&umem, &mut rx2, 1)[0].1.addr(), 2 * 4096 + 256);
            let fourth = port(&umem, copy_mode(mode), pair.b.name(), 0);
            drop((tx2, rx2));
            drop(fourth);
            drop(port(&umem, copy_mode(mode), pair.b.name(), 0));
        });
    }
}

#[test]
fn a_umem_works_in_two_network_namespaces_at_once_and_in_turn() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let pair = VethPair::builder(&left, &right).build().unwrap();
        // Told apart by their namespaces alone.
        assert_eq!(pair.a.ifindex(), pair.b.ifindex());
        // Made in neither.
        let (umem, mut descs) = umem(32);
        let open =
            |end: &xsk_veth::VethEnd| end.namespace().run(|| port(&umem, copy_mode(mode), end.name(), 0));
        let (mut a, mut b) = (open(&pair.a), open(&pair.b));
        fill(&mut a.fill, &descs[..8]);
        fill(&mut b.fill, &descs[8..16]);
        for tag in 0..20 {
            send(&umem, &mut a.tx, &mut descs[16], &frame(80, tag));
            let got = receive(&umem, &mut b.rx, 1);
            assert_eq!(got[0].0, frame(80, tag));
            fill(&mut b.fill, &[got[0].1]);
            send(&umem, &mut b.tx, &mut descs[17], &frame(90, tag));
            let got = receive(&umem, &mut a.rx, 1);
            assert_eq!(got[0].0, frame(90, tag));
            fill(&mut a.fill, &[got[0].1]);
            assert_eq!(complete(&mut a.comp, 1)[0].addr(), descs[16].addr());
            assert_eq!(complete(&mut b.comp, 1)[0].addr(), descs[17].addr());
        }
        drop((a, b));

        for end in [&pair.a, &pair.b, &pair.a] {
            let mut port = open(end);
            fill(&mut port.fill, &descs[..8]);
            let far = if end.name() == "a" { &pair.b } else { &pair.a };
            let tap = Tap::open(far.namespace(), far.name()).unwrap();
            tap.send(&frame(70, 1)).unwrap();
            assert_eq!(receive(&umem, &mut port.rx, 1)[0].0, frame(70, 1));
        }
    }
}

#[test]
fn two_umems_on_two_queues_share_one_program() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(3).build().unwrap();
        let tap = Tap::open(&ns, pair.b.name()).unwrap();
        // The queues of `a` from which packets arrive at queues 0 and 1 of `b`.
        let from = [0, 1, 2].into_iter().filter(|&q| q == 0 || arrives_at(mode, q) == 1);
        let from: Vec<u32> = from.collect();
        ns.run(|| {
            let (sender, mut frames) = umem(8);
            let inhibit =
                SocketConfig::builder().libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD).build();
            let mut senders: Vec<_> = (from.iter())
                // SAFETY: each frame is on one queue, and the sockets are in no map.
                .map(|&queue| unsafe {
                    Socket::tx_only(inhibit, &sender, &interface(pair.a.name()), queue).unwrap()
                })
                .collect();
            assert!(pair.a.xdp().unwrap().is_none());

            let (umem0, descs0) = umem(8);
            let (umem1, descs1) = umem(8);
            let mut port0 = port(&umem0, copy_mode(mode), pair.b.name(), 0);
            let program = pair.b.xdp().unwrap().unwrap();
            let mut port1 = port(&umem1, copy_mode(mode), pair.b.name(), 1);
            assert_eq!(pair.b.xdp().unwrap(), Some(program));
            fill(&mut port0.fill, &descs0);
            fill(&mut port1.fill, &descs1);

            send(&sender, &mut senders[0].0, &mut frames[0], &frame(60, 0));
            send(&sender, &mut senders[1].0, &mut frames[1], &frame(61, 1));
            assert_eq!(receive(&umem0, &mut port0.rx, 1)[0].0, frame(60, 0));
            assert_eq!(receive(&umem1, &mut port1.rx, 1)[0].0, frame(61, 1));

            // One goes: its packets go to the stack, the other's do not.
            drop((port0, umem0));
            assert_eq!(pair.b.xdp().unwrap(), Some(program));
            send(&sender, &mut senders[0].0, &mut frames[2], &frame(62, 2));
            send(&sender, &mut senders[1].0, &mut frames[3], &frame(63, 3));
            assert_eq!(receive(&umem1, &mut port1.rx, 1)[0].0, frame(63, 3));
            assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(62, 2)));
            assert_eq!(tap.recv(Duration::ZERO).unwrap(), None);
        });
        assert!(pair.b.xdp().unwrap().is_none());
    }
}

#[test]
fn a_umem_outlives_the_device_of_the_socket_it_was_shared_with() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = |a: &str, b: &str| {
            let builder = VethPair::builder(&ns, &ns).queues(2);
            builder.a(|end| end.name(a)).b(|end| end.name(b)).build().unwrap()
        };
        let (doomed, kept) = (pair("a0", "b0"), pair("a1", "b1"));
        ns.run(|| {
            let (umem, descs) = umem(64);
            let first = port(&umem, copy_mode(mode), "b0", 0);
            let mut second = port(&umem, copy_mode(mode), "b1", 0);
            fill(&mut second.fill, &descs[..8]);
            doomed.delete().unwrap();
            // Would share with the first socket, which is dead but not closed.
            let third = port(&umem, copy_mode(mode), "b1", 1);
            let mut fourth = port(&umem, copy_mode(mode), "a1", 0);
            fill(&mut fourth.fill, &descs[8..16]);
            send(&umem, &mut fourth.tx, &mut { descs[16] }, &frame(60, 1));
            assert_eq!(receive(&umem, &mut second.rx, 1)[0].0, frame(60, 1));
            drop((first, third));

            // All are dead: the memory is registered anew.
            kept.delete().unwrap();
            let again = pair("a2", "b2");
            let mut fifth = port(&umem, copy_mode(mode), "b2", 0);
            let mut sixth = port(&umem, copy_mode(mode), "a2", 0);
            fill(&mut fifth.fill, &descs[17..25]);
            send(&umem, &mut sixth.tx, &mut { descs[25] }, &frame(61, 2));
            assert_eq!(receive(&umem, &mut fifth.rx, 1)[0].0, frame(61, 2));
            assert_eq!(complete(&mut sixth.comp, 1)[0].addr(), descs[25].addr());
            assert!(again.b.xdp().unwrap().is_some());
            drop((second, fourth));
            send(&umem, &mut sixth.tx, &mut { descs[25] }, &frame(62, 3));
            assert_eq!(receive(&umem, &mut fifth.rx, 1)[0].0, frame(62, 3));
        });
    }
}

#[test]
fn ninety_six_sockets_share_one_umem() {
    if !xsk_veth::require() {
        return;
    }
    const QUEUES: u32 = 16;
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).queues(QUEUES).build().unwrap();
    ns.run(|| {
        let (umem, descs) = umem_with_rings(8 * 2 * QUEUES, 16);
        let config = copy_mode_with_rings(DRV, 16);
        let mut frames = descs.chunks(8);
        let mut ends = [&pair.a, &pair.b].map(|end| {
            let queues = (0..QUEUES).map(|queue| {
                let mut first = port(&umem, config, end.name(), queue);
                let frames = frames.next().unwrap();
                fill(&mut first.fill, &frames[..6]);
                let further = [(); 2].map(|()| sharer(&umem, config, end.name(), queue));
                (first, further, frames[6])
            });
            queues.collect::<Vec<_>>()
        });
        let [left, right] = &mut ends;
        for queue in 0..QUEUES as usize {
            let (from, to) = (&mut left[queue], &mut right[queue]);
            send(&umem, &mut from.1[0].0, &mut from.2, &frame(60, queue as u8));
            complete(&mut from.0.comp, 1);
            // The last socket of the queue has the slot.
            assert_eq!(receive(&umem, &mut to.1[1].1, 1)[0].0, frame(60, queue as u8));
            let (from, to) = (to, from);
            send(&umem, &mut from.1[1].0, &mut from.2, &frame(61, queue as u8));
            assert_eq!(receive(&umem, &mut to.1[1].1, 1)[0].0, frame(61, queue as u8));
        }
    });
    eventually("detaching", || pair.a.xdp().unwrap().is_none() && pair.b.xdp().unwrap().is_none());
}
