//! XDP programs: the built-in one, and the caller's own.
#![cfg(target_os = "linux")]

use std::os::fd::AsFd;
use std::time::Duration;

use xsk::config::{BindFlags, LibxdpFlags, SocketConfig, XdpFlags};
use xsk::error::{Diagnosis, Error, Step};
use xsk::program::XskMap;
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_sim::{DeviceConfig, SimKernel};
use xsk_tests::bpf::{XDP_DROP, XDP_PASS, attach, load_redirect};
use xsk_tests::{
    MODES, complete, copy_mode, fill, frame, port, receive, receives_nothing, send, sharer, try_open, umem,
};
use xsk_veth::{Namespace, Tap, VethPair, XdpMode};

const SECOND: Duration = Duration::from_secs(1);
const NOEXIST: XdpFlags = XdpFlags::XDP_FLAGS_UPDATE_IF_NOEXIST;
const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;

fn inhibit() -> SocketConfig {
    SocketConfig::builder()
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_COPY)
        .build()
}

#[test]
fn flags_choose_the_mode() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let tap = Tap::open(&ns, "a").unwrap();
    for (flags, mode) in [
        (XdpFlags::empty(), XdpMode::Native),
        (NOEXIST, XdpMode::Native),
        (SKB, XdpMode::Generic),
        (SKB | NOEXIST, XdpMode::Generic),
        (DRV, XdpMode::Native),
        (DRV | NOEXIST, XdpMode::Native),
    ] {
        ns.run(|| {
            let (umem, descs) = umem(8);
            let mut port = port(&umem, copy_mode(flags), "b", 0);
            let attached = pair.b.xdp().unwrap().unwrap();
            assert_eq!(attached.mode, mode, "{flags:?}");
            fill(&mut port.fill, &descs);
            tap.send(&frame(60, 1)).unwrap();
            assert_eq!(receive(&umem, &mut port.rx, 1)[0].0, frame(60, 1));
            // A further socket may say the same, or nothing, or what came out.
            for same in [flags, XdpFlags::empty(), NOEXIST, if mode == XdpMode::Native { DRV } else { SKB }] {
                drop(sharer(&umem, copy_mode(same), "b", 0));
            }
            let other = if mode == XdpMode::Native { SKB } else { DRV };
            let error = try_open(&umem, copy_mode(other), "b", 0).unwrap_err();
            assert!(matches!(error.diagnosis(), Diagnosis::OtherMode { .. }), "{flags:?}: {error}");
            assert_eq!(pair.b.xdp().unwrap(), Some(attached));
            tap.send(&frame(61, 2)).unwrap();
            assert_eq!(receive(&umem, &mut port.rx, 1)[0].0, frame(61, 2));
        });
        assert_eq!(pair.b.xdp().unwrap(), None);
    }
}

#[test]
fn packets_of_a_queue_without_a_socket_pass_to_the_stack() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        // One transmit queue: everything arrives at queue 0.
        let pair = VethPair::builder(&ns, &ns).a(|end| end.queues(1, 1)).b(|end| end.queues(2, 2));
        let pair = pair.build().unwrap();
        let (near, far) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
        ns.run(|| {
            let (umem, descs) = umem(16);
            let mut one = port(&umem, copy_mode(mode), "b", 1);
            fill(&mut one.fill, &descs[..8]);
            assert!(pair.b.xdp().unwrap().is_some());
            for tag in 0..10 {
                near.send(&frame(60, tag)).unwrap();
                assert_eq!(far.recv(SECOND).unwrap(), Some(frame(60, tag)));
            }
            receives_nothing(&mut one.rx);
            assert_eq!(one.rx.fd().xdp_statistics().unwrap(), Default::default());
            // A socket comes and goes on queue 0.
            let mut zero = port(&umem, copy_mode(mode), "b", 0);
            fill(&mut zero.fill, &descs[8..]);
            near.send(&frame(61, 1)).unwrap();
            assert_eq!(receive(&umem, &mut zero.rx, 1)[0].0, frame(61, 1));
            assert_eq!(far.recv(Duration::ZERO).unwrap(), None);
            drop(zero);
            near.send(&frame(62, 2)).unwrap();
            assert_eq!(far.recv(SECOND).unwrap(), Some(frame(62, 2)));
        });
    }
}

#[test]
fn without_a_program_nothing_arrives_and_everything_is_sent() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let (near, far) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
    ns.run(|| {
        let (umem, mut descs) = umem(16);
        let mut port = port(&umem, inhibit(), "b", 0);
        assert_eq!(pair.b.xdp().unwrap(), None);
        fill(&mut port.fill, &descs[..8]);
        near.send(&frame(60, 1)).unwrap();
        assert_eq!(far.recv(SECOND).unwrap(), Some(frame(60, 1)));
        receives_nothing(&mut port.rx);
        send(&umem, &mut port.tx, &mut descs[8], &frame(61, 2));
        assert_eq!(near.recv(SECOND).unwrap(), Some(frame(61, 2)));
        complete(&mut port.comp, 1);
    });
}

#[test]
fn a_program_and_a_map_of_the_callers_own() {
    if !xsk_veth::require() {
        return;
    }
    const SLOT: u32 = 5;
    for mode in MODES {
        for fallback in [XDP_DROP, XDP_PASS] {
            let ns = Namespace::new().unwrap();
            let pair = VethPair::builder(&ns, &ns).build().unwrap();
            let (near, far) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
            ns.run(|| {
                let map = XskMap::new(8).unwrap();
                let program = load_redirect(map.as_fd(), SLOT, fallback).unwrap();
                let link = attach(&program, pair.b.ifindex(), mode).unwrap();
                let attached = pair.b.xdp().unwrap();
                let falls_back = |packet: &[u8]| {
                    near.send(packet).unwrap();
                    let wait = if fallback == XDP_PASS { SECOND } else { Duration::from_millis(5) };
                    let expected = (fallback == XDP_PASS).then(|| packet.to_vec());
                    assert_eq!(far.recv(wait).unwrap(), expected);
                };

                let (umem, descs) = umem(16);
                let mut first = port(&umem, inhibit(), "b", 0);
                fill(&mut first.fill, &descs[..8]);
                assert_eq!(pair.b.xdp().unwrap(), attached);
                falls_back(&frame(60, 1));
                // It is the map that counts, not the queue: another slot is of no use.
                map.insert(0, &first.rx).unwrap();
                falls_back(&frame(61, 2));
                map.insert(SLOT, &first.rx).unwrap();
                near.send(&frame(62, 3)).unwrap();
                assert_eq!(receive(&umem, &mut first.rx, 1)[0].0, frame(62, 3));

                // Replaced, emptied, put back.
                let (tx, mut second) = sharer(&umem, inhibit(), "b", 0);
                map.insert(SLOT, &second).unwrap();
                near.send(&frame(63, 4)).unwrap();
                assert_eq!(receive(&umem, &mut second, 1)[0].0, frame(63, 4));
                map.remove(SLOT).unwrap();
                falls_back(&frame(64, 5));
                map.insert(SLOT, &second).unwrap();
                near.send(&frame(65, 6)).unwrap();
                assert_eq!(receive(&umem, &mut second, 1)[0].0, frame(65, 6));
                // The slot goes with the socket, and nothing takes its place.
                drop((tx, second));
                falls_back(&frame(66, 7));
                receives_nothing(&mut first.rx);

                for (result, slot) in [(map.insert(8, &first.rx), 8), (map.remove(8), 8)] {
                    let error = result.unwrap_err();
                    let error = Error::of_io(&error).unwrap();
                    assert_eq!(error.step(), Step::UpdateMap);
                    assert!(error.to_string().contains(&format!("slot {slot}")), "{error}");
                }
                drop(first);
                assert_eq!(pair.b.xdp().unwrap(), attached, "the caller's program stays");
                drop(link);
                assert_eq!(pair.b.xdp().unwrap(), None);
            });
        }
    }
}

/// The port tier with a program of the caller's own.
#[test]
fn a_port_in_the_callers_map() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let (near, far) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
    ns.run(|| {
        let map = XskMap::new(8).unwrap();
        let program = load_redirect(map.as_fd(), 2, XDP_PASS).unwrap();
        let _link = attach(&program, pair.b.ifindex(), DRV).unwrap();
        let pool = Pool::new(PoolConfig::default().frames(64)).unwrap();
        let config = PortConfig::default().rx_ring(16).fill_ring(16).tx_ring(16).completion_ring(16);
        let mut port = Port::open(&pool, "b", 0, config.no_program()).unwrap();
        let mut batch = Batch::new();
        near.send(&frame(60, 1)).unwrap();
        assert_eq!(far.recv(SECOND).unwrap(), Some(frame(60, 1)));
        map.insert_port(2, &port).unwrap();
        near.send(&frame(61, 2)).unwrap();
        assert!(port.wait(Some(SECOND)).unwrap());
        assert_eq!(port.recv(&mut batch).unwrap(), 1);
        assert_eq!(*batch[0], *frame(61, 2));

        // A socket that is not Linux's would be another one there.
        let kernel = SimKernel::new(1);
        let _veth = kernel.veth("c", "d", &DeviceConfig::default()).unwrap();
        let other = Pool::new_in(kernel.backend(), PoolConfig::default().frames(64)).unwrap();
        let foreign = Port::open(&other, "c", 0, config).unwrap();
        let error = map.insert_port(2, &foreign).unwrap_err();
        let error = Error::of_io(&error).unwrap();
        assert_eq!(error.step(), Step::UpdateMap);
        assert_eq!(error.refused(), Some("a socket of another backend"));
        near.send(&frame(62, 3)).unwrap();
        assert!(port.wait(Some(SECOND)).unwrap());
        assert_eq!(port.recv(&mut batch).unwrap(), 1);
    });
}
