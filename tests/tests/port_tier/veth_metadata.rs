//! What packets ask for when they are sent, and what programs put before received ones, on Linux.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, SystemTime};

use xsk::backend::TxOffloads;
use xsk::config::XdpFlags;
use xsk::error::Diagnosis;
use xsk::port::{NotSent, PortTx, Reason, TxTimestamp, Verdict};
use xsk::program::XskMap;
use xsk::{Batch, Packet, Pool, PoolConfig, Port};
use xsk_tests::bpf;
use xsk_veth::{Tap, VethPair};

use crate::kit::free_frames;
use crate::veth::{config, frame, in_each_mode, opens, simulated};

const SECOND: Duration = Duration::from_secs(1);

fn with_metadata() -> PoolConfig {
    PoolConfig::default().tx_metadata(true).software_checksums(true)
}

/// A pair in a namespace of its own, and a pool; what is sent from `b` comes to the tap.
fn with_pair(of_pool: PoolConfig, body: impl Fn(&VethPair, &Tap, &Pool, XdpFlags) + Send + Sync) {
    if !xsk_veth::require() || !opens("TX metadata", of_pool, 1500, config(XdpFlags::XDP_FLAGS_SKB_MODE)) {
        return;
    }
    in_each_mode(|ns, pair, mode| {
        let tap = Tap::open(ns, pair.a.name()).unwrap();
        let pool = Pool::new(of_pool.frames(256)).unwrap();
        body(pair, &tap, &pool, mode);
        assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
    });
}

fn filled(mut packet: Packet, bytes: &[u8]) -> Packet {
    packet.extend_from_slice(bytes).unwrap();
    packet
}

fn next(port: &mut Port) -> TxTimestamp {
    let mut next = None;
    xsk_tests::eventually("a timestamp", || {
        next = port.tx_timestamp();
        next.is_some()
    });
    next.unwrap()
}

#[test]
fn timestamps_are_of_now() {
    with_pair(with_metadata(), |pair, tap, pool, mode| {
        let mut port = Port::open(pool, pair.b.name(), 0, config(mode)).unwrap();
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let before = now();
        let mut batch = Batch::new();
        for token in 0..100 {
            let mut packet = filled(port.packet().unwrap(), &frame(60, token as u8));
            if token % 4 != 0 {
                packet.request_timestamp(token).unwrap();
            }
            batch.push(packet).unwrap();
            if batch.len() == 20 {
                assert_eq!(port.send(&mut batch).unwrap(), 20);
                for i in token - 19..=token {
                    assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60, i as u8)));
                }
            }
        }
        for token in (0..100).filter(|token| token % 4 != 0) {
            let stamp = next(&mut port);
            // CLOCK_TAI is ahead of UTC by 37 leap seconds, where somebody has told the kernel so.
            let time = Duration::from_nanos(stamp.nanoseconds.unwrap());
            let range = before..=now() + Duration::from_secs(40);
            assert!(stamp.token == token && range.contains(&time), "{token}: {stamp:?} {range:?}");
        }
        assert_eq!(port.tx_timestamp(), None);
        // In place.
        tap.send(&frame(60, 7)).unwrap();
        assert!(port.wait(Some(SECOND)).unwrap());
        let done = port.forward(|packet| {
            packet.request_timestamp(1000).unwrap();
            Verdict::Send
        });
        assert_eq!((done.unwrap().sent, next(&mut port).token), (1, 1000));
    });
}

#[test]
fn the_kernel_computes_checksums() {
    with_pair(with_metadata(), |pair, tap, pool, mode| {
        let mut port = PortTx::open(pool, pair.b.name(), 0, config(mode)).unwrap();
        let mut bytes = frame(40, 0);
        bytes[34..40].copy_from_slice(&[0x12, 0x34, 0, 0, 0x45, 0x67]);
        let mut packet = filled(port.packet().unwrap(), &bytes);
        packet.request_checksum(34, 2).unwrap();
        port.send_one(packet).unwrap();
        bytes[36..38].copy_from_slice(&[0xa8, 0x64]);
        assert_eq!(tap.recv(SECOND).unwrap(), Some(bytes));
        // A launch time the kernel takes, if it knows them, and veth ignores.
        let mut packet = filled(port.packet().unwrap(), &frame(60, 1));
        packet.request_launch_time(u64::MAX).unwrap();
        let (name, of_sim) = (CString::new(pair.b.name()).unwrap(), simulated(1500).0.backend());
        let offloads = pool.backend().tx_offloads(&name, false).unwrap();
        assert_eq!(offloads, of_sim.tx_offloads(c"b", false).unwrap());
        if offloads.contains(TxOffloads::LAUNCH_TIME) {
            port.send_one(packet).unwrap();
        } else {
            let NotSent { mut packet, error } = port.send_one(packet).unwrap_err();
            let Reason::Error(error) = error else { panic!("not full") };
            assert_eq!(*error.diagnosis(), Diagnosis::NoOffload(TxOffloads::LAUNCH_TIME));
            packet.withdraw_requests();
            port.send_one(packet).unwrap();
        }
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60, 1)));
        // What Linux would refuse for ever it is not given; the ring goes on.
        let mut packet = filled(port.packet().unwrap(), &frame(60, 2));
        packet.request_checksum(58, 1).unwrap();
        let not_sent = port.send_one(packet).unwrap_err();
        let Reason::Error(error) = not_sent.error else { panic!("not full") };
        assert!(matches!(error.diagnosis(), Diagnosis::ChecksumOutside { .. }), "{error}");
        let mut packet = not_sent.packet;
        packet.withdraw_requests();
        port.send_one(packet).unwrap();
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60, 2)));
        xsk_tests::eventually("completing", || port.flush().unwrap() == 0);
        assert_eq!(port.stats().unwrap().losses().count(), 0);
    });
}

/// `bpf_xdp_adjust_meta(ctx, -8)`, eight bytes written there, and a redirect to slot 0.
fn program_that_notes(map: &XskMap) -> std::io::Result<std::os::fd::OwnedFd> {
    let at = |code: u64, registers: u64, offset: i16, immediate: i32| {
        code | registers << 8 | u64::from(offset as u16) << 16 | u64::from(immediate as u32) << 32
    };
    bpf::load(
        &[
            at(0xbf, 0x16, 0, 0),                       // r6 = r1
            at(0xb7, 0x02, 0, -8),                      // r2 = -8
            at(0x85, 0, 0, 54),                         // bpf_xdp_adjust_meta
            at(0x61, 0x61, 8, 0),                       // r1 = ctx->data_meta
            at(0x61, 0x62, 0, 0),                       // r2 = ctx->data
            at(0xbf, 0x13, 0, 0),                       // r3 = r1
            at(0x07, 0x03, 0, 8),                       // r3 += 8
            at(0x2d, 0x23, 2, 0),                       // if r3 > r2 skip
            at(0x62, 0x01, 0, 0x3433_3231),             // "1234"
            at(0x62, 0x01, 4, 0x3837_3635),             // "5678"
            at(0x18, 0x11, 0, map.as_fd().as_raw_fd()), // r1 = map
            0,
            at(0xb7, 0x02, 0, 0), // r2 = slot
            at(0xb7, 0x03, 0, 1), // r3 = XDP_DROP
            at(0x85, 0, 0, 51),   // bpf_redirect_map
            at(0x95, 0, 0, 0),
        ],
        false,
    )
}

#[test]
fn what_a_program_put_before_the_data() {
    with_pair(PoolConfig::default(), |pair, tap, pool, mode| {
        let mut port = Port::open(pool, pair.b.name(), 0, config(mode).no_program()).unwrap();
        let map = XskMap::new(1).unwrap();
        map.insert_port(0, &port).unwrap();
        let program = program_that_notes(&map).unwrap();
        let _link = bpf::attach(&program, pair.b.ifindex(), mode).unwrap();
        tap.send(&frame(60, 5)).unwrap();
        assert!(port.wait(Some(SECOND)).unwrap());
        let seen = port.for_each(|packet| {
            assert_eq!((packet.meta(8).unwrap(), &**packet), (&b"12345678"[..], &frame(60, 5)[..]));
        });
        assert_eq!(seen.unwrap(), 1);
    });
}
