//! What packets ask for when they are sent, and what programs put before received ones.

use std::time::Duration;

use xsk::backend::{Backend, TxOffloads};
use xsk::config::XdpFlags;
use xsk::error::Diagnosis;
use xsk::packet::{OutOfRoom, RequestError, Requests};
use xsk::port::{Loss, Mode, PortTx, Reason, TxTimestamp, Verdict};
use xsk::{Batch, Packet, Pool, PoolConfig, Port};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, Profile, SimKernel, XdpAction};

use crate::kit::{check_frames, config, free_frames, pool, received, world};

/// Bytes of a packet's headroom that requests take.
const RESERVED: usize = 56;

fn with_metadata(kernel: &SimKernel) -> Pool {
    Pool::new_in(kernel.backend(), PoolConfig::default().frames(64).tx_metadata(true)).unwrap()
}

fn packet(port: &mut Port, len: usize, byte: u8) -> Packet {
    let mut packet = port.packet().unwrap();
    packet.extend_from_slice(&vec![byte; len]).unwrap();
    packet
}

fn timestamps(port: &mut Port) -> Vec<u64> {
    std::iter::from_fn(|| port.tx_timestamp()).map(|stamp| stamp.token).collect()
}

#[test]
fn requests_go_with_the_packet() {
    let (kernel, _a, _b) = world(1);
    let pool = with_metadata(&kernel);
    let mut packet = pool.packet().unwrap();
    assert_eq!((packet.requests(), packet.headroom()), (Requests::default(), 256 - RESERVED));
    packet.extend_from_slice(b"payload").unwrap();
    packet.request_timestamp(77).unwrap();
    packet.request_checksum(14, 6).unwrap();
    packet.request_launch_time(u64::MAX).unwrap();
    packet.request_checksum(34, 16).unwrap();
    let requests = packet.requests();
    assert_eq!(requests.checksum, Some((34, 16)));
    assert_eq!((requests.timestamp, requests.launch_time), (Some(77), Some(u64::MAX)));
    // It is a packet as any other.
    assert!(packet.is_linear() && packet.segments().eq([b"payload"]));
    assert_eq!((packet.total_len(), packet.tailroom()), (7, 4096 - 256 - 7));
    // Headers up to the last byte do not overwrite what it asks for, and requests do not overwrite the data.
    packet.push_front(256 - RESERVED).unwrap().fill(0xee);
    assert_eq!((packet.headroom(), packet.requests()), (0, requests));
    assert_eq!(packet.push_front(1).unwrap_err(), OutOfRoom { wanted: 1, available: 0 });
    packet.request_timestamp(78).unwrap();
    assert!(packet[..200].iter().all(|byte| *byte == 0xee) && packet[200..] == *b"payload");
    packet.pull_front(200).unwrap();
    packet.resize(9).unwrap();
    packet.truncate(8);
    assert_eq!((&*packet, packet.requests().timestamp), (&b"payload\0"[..], Some(78)));
    let packet = std::thread::spawn(move || packet).join().unwrap();
    assert_eq!(packet.requests().checksum, Some((34, 16)));
    let mut packet = packet;
    packet.withdraw_requests();
    assert_eq!(packet.requests(), Requests::default());
    packet.request_launch_time(5).unwrap();
    assert_eq!((packet.requests().checksum, packet.requests().launch_time), (None, Some(5)));
    drop(packet);
    // What a frame's last packet asked for the next one does not.
    let all: Vec<Packet> = std::iter::from_fn(|| pool.packet()).collect();
    assert!(all.iter().all(|packet| packet.requests() == Requests::default()));
    assert_eq!(all.len(), 64);
}

#[test]
fn where_nothing_can_be_asked_for() {
    let (kernel, _a, _b) = world(1);
    let plain = pool(&kernel, 8);
    let mut packet = plain.packet().unwrap();
    assert_eq!(packet.headroom(), 256);
    assert_eq!(packet.request_timestamp(1).unwrap_err(), RequestError::NoMetadata);
    assert_eq!(packet.request_checksum(1, 2).unwrap_err(), RequestError::NoMetadata);
    assert_eq!(packet.request_launch_time(1).unwrap_err(), RequestError::NoMetadata);
    assert_eq!(packet.requests(), Requests::default());
    let pool = with_metadata(&kernel);
    let mut packet = pool.packet().unwrap();
    assert_eq!(packet.request_checksum(65536, 0).unwrap_err(), RequestError::TooFar);
    assert_eq!(packet.request_checksum(0, usize::MAX).unwrap_err(), RequestError::TooFar);
    assert_eq!(packet.requests(), Requests::default());

    let old = SimKernel::with_profile(1, Profile::LINUX_6_1);
    let error = Pool::new_in(old.backend(), PoolConfig::default().frames(8).tx_metadata(true)).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::KernelTooOld { since: "6.11", .. }), "{error}");
}

#[test]
fn timestamps_come_back_with_their_tokens() {
    let (kernel, _a, b) = world(1);
    let pool = with_metadata(&kernel);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let mut batch = Batch::new();
    for (i, token) in [None, Some(10), None, Some(u64::MAX), Some(12)].into_iter().enumerate() {
        let mut packet = packet(&mut port, 60, i as u8);
        if let Some(token) = token {
            packet.request_timestamp(token).unwrap();
        }
        batch.push(packet).unwrap();
    }
    assert_eq!(port.send(&mut batch).unwrap(), 5);
    for i in 0..5 {
        assert_eq!(b.receive(), Some(vec![i; 60]));
    }
    let stamps: Vec<TxTimestamp> = std::iter::from_fn(|| port.tx_timestamp()).collect();
    assert_eq!(stamps.iter().map(|stamp| stamp.token).collect::<Vec<_>>(), [10, u64::MAX, 12]);
    assert!(stamps.iter().all(|stamp| stamp.nanoseconds.is_some_and(|time| time > 0)), "{stamps:?}");
    assert!(stamps.is_sorted_by_key(|stamp| stamp.nanoseconds));
    assert_eq!(port.tx_timestamp(), None);
    check_frames(&kernel, &pool);

    // Forwarded in place, one by one, and through halves.
    b.send(&[1; 60]).unwrap();
    let done = port.forward(|packet| {
        packet.request_timestamp(20).unwrap();
        Verdict::Send
    });
    assert_eq!((done.unwrap().sent, timestamps(&mut port)), (1, vec![20]));
    // What is back goes onto the fill ring at once, if that lacks frames: not before it was looked at.
    for token in 0..40 {
        b.send(&[1; 60]).unwrap();
        let done = port.forward(|packet| {
            packet.request_timestamp(token).unwrap();
            Verdict::Send
        });
        assert_eq!(done.unwrap().sent, 1);
    }
    assert_eq!((timestamps(&mut port).len(), port.stats().unwrap().timestamps_lost), (32, 8));
    // Asked for and dropped.
    b.send(&[1; 60]).unwrap();
    port.for_each(|packet| packet.request_timestamp(21).unwrap()).unwrap();
    let mut one = packet(&mut port, 60, 9);
    one.request_timestamp(30).unwrap();
    port.send_one(one).unwrap();
    let (rx, mut tx) = port.split();
    assert_eq!(tx.tx_timestamp().map(|stamp| stamp.token), Some(30));
    drop((rx, tx));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn timestamps_that_nobody_takes_are_counted() {
    let (kernel, _a, b) = world(1);
    let pool = with_metadata(&kernel);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    for token in 0..100 {
        let mut packet = packet(&mut port, 60, 1);
        packet.request_timestamp(token).unwrap();
        port.send_one(packet).unwrap();
        b.receive().unwrap();
    }
    port.flush().unwrap();
    // As many as the rings have entries.
    assert_eq!(timestamps(&mut port), (68..100).collect::<Vec<_>>());
    assert_eq!(port.stats().unwrap().timestamps_lost, 68);
}

/// The driver's completions are late, in any order, and some never come.
#[test]
fn late_timestamps_are_not_mixed_up() {
    let (kernel, _a, b) = world(1);
    let pool = with_metadata(&kernel);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let late = kernel
        .fault(FaultRule::delay_completions(Duration::from_micros(1)..Duration::from_millis(2)).chance(0.7));
    let (mut seen, mut token) = (Vec::new(), 0);
    for _ in 0..200 {
        if let Some(mut packet) = port.packet() {
            packet.extend_from_slice(&[2; 60]).unwrap();
            if token % 3 != 0 {
                packet.request_timestamp(token).unwrap();
            }
            if port.send_one(packet).is_ok() {
                token += 1;
            }
        }
        kernel.run_until_idle(2);
        let _ = b.receive();
        seen.extend(std::iter::from_fn(|| port.tx_timestamp()));
        check_frames(&kernel, &pool);
    }
    drop(late);
    kernel.run_until_idle(10_000);
    seen.extend(std::iter::from_fn(|| port.tx_timestamp()));
    assert!(seen.iter().all(|stamp| stamp.nanoseconds.is_some()));
    let mut tokens: Vec<u64> = seen.iter().map(|stamp| stamp.token).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..token).filter(|token| token % 3 != 0).collect::<Vec<_>>());
    assert!(token > 100);
}

#[test]
fn checksums_are_computed() {
    let (kernel, _a, b) = world(1);
    let config_of_pool = PoolConfig::default().frames(64).tx_metadata(true).software_checksums(true);
    let pool = Pool::new_in(kernel.backend(), config_of_pool).unwrap();
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let mut packet = packet(&mut port, 40, 0);
    packet[34..40].copy_from_slice(&[0x12, 0x34, 0, 0, 0x45, 0x67]);
    packet.request_checksum(34, 2).unwrap();
    // A header that comes later moves it.
    packet.push_front(20).unwrap().fill(7);
    packet.request_checksum(54, 2).unwrap();
    packet.request_timestamp(3).unwrap();
    port.send_one(packet).unwrap();
    let got = b.receive().unwrap();
    assert_eq!(got[..20], [7; 20]);
    assert_eq!(got[54..60], [0x12, 0x34, 0xa8, 0x64, 0x45, 0x67]);
    assert_eq!(timestamps(&mut port), [3]);
}

#[test]
fn what_cannot_be_done_is_not_sent() {
    let (kernel, _a, b) = world(1);
    let pool = with_metadata(&kernel);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let mut bad = packet(&mut port, 40, 0);
    bad.request_checksum(30, 9).unwrap();
    let not_sent = port.send_one(bad).unwrap_err();
    let Reason::Error(error) = not_sent.error else { panic!("not full") };
    assert_eq!(*error.diagnosis(), Diagnosis::ChecksumOutside { end: 41, len: 40 }, "{error}");
    // The packet is whole; longer by one it is sent.
    let mut packet = not_sent.packet;
    packet.extend_from_slice(&[0]).unwrap();
    port.send_one(packet).unwrap();
    assert_eq!(b.receive().unwrap().len(), 41);
    // In a batch it stops what is behind it, and nothing else.
    let mut batch = Batch::new();
    port.packets(&mut batch);
    batch.retain(|packet| packet.extend_from_slice(&[1; 60]).is_ok());
    while batch.len() > 3 {
        batch.pop();
    }
    batch[1].request_checksum(60, 0).unwrap();
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    let error = port.send(&mut batch).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::ChecksumOutside { .. }), "{error}");
    batch[0].withdraw_requests();
    assert_eq!(port.send(&mut batch).unwrap(), 2);
    assert_eq!(std::iter::from_fn(|| b.receive()).count(), 3);
    // In place.
    b.send(&[1; 60]).unwrap();
    let done = port.forward(|packet| {
        packet.request_checksum(59, 0).unwrap();
        Verdict::Send
    });
    assert_eq!(done.unwrap().refused, 1);
    assert_eq!(port.stats().unwrap().losses().count(), 0);
    check_frames(&kernel, &pool);
}

#[test]
fn what_the_kernel_does_not_know_is_not_sent() {
    for (profile, knows) in
        [(Profile::LINUX_6_12, false), (Profile::LINUX_6_18, true), (Profile::LINUX_7_3, true)]
    {
        let kernel = SimKernel::with_profile(1, profile);
        let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let pool = with_metadata(&kernel);
        let mut port = Port::open(&pool, "a", 0, config()).unwrap();
        let mut packet = packet(&mut port, 60, 1);
        packet.request_launch_time(1_000).unwrap();
        match port.send_one(packet) {
            Ok(()) => assert!(knows),
            Err(not_sent) => {
                let Reason::Error(error) = not_sent.error else { panic!("not full") };
                assert_eq!(*error.diagnosis(), Diagnosis::NoOffload(TxOffloads::LAUNCH_TIME), "{error}");
                assert!(!knows && error.to_string().contains("LAUNCH_TIME"));
                let mut packet = not_sent.packet;
                packet.withdraw_requests();
                port.send_one(packet).unwrap();
            }
        }
        assert_eq!(b.receive(), Some(vec![1; 60]), "{profile:?}");
    }
}

/// A backend that says nothing: what every kernel that takes the metadata does, and no launch times.
#[test]
fn where_it_is_not_told() {
    let (kernel, _a, b) = world(1);
    let pool = with_metadata(&kernel);
    let mute = kernel.fault(FaultRule::errno(Call::TxOffloads, xsk_core::errno::EOPNOTSUPP));
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    assert_eq!(mute.hits(), 1);
    let mut packet = packet(&mut port, 60, 1);
    packet.request_timestamp(1).unwrap();
    port.send_one(packet).unwrap();
    assert_eq!((timestamps(&mut port), b.receive().unwrap().len()), (vec![1], 60));
    let mut packet = self::packet(&mut port, 60, 1);
    packet.request_launch_time(1).unwrap();
    assert!(matches!(port.send_one(packet).unwrap_err().error, Reason::Error(_)));
    drop(mute);
}

#[test]
fn packets_without_requests_are_sent_as_ever() {
    let (kernel, _a, b) = world(1);
    let pool = with_metadata(&kernel);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    for len in [14, 60, 1514] {
        let mut packet = packet(&mut port, len, 3);
        // Headers as far as they go: the kernel wants its room before the data of every packet.
        let headroom = packet.headroom().min(1514 - len);
        packet.push_front(headroom).unwrap().fill(3);
        port.send_one(packet).unwrap();
        assert_eq!(b.receive(), Some(vec![3; len + headroom]));
    }
    // A frame to its end.
    let mut packet = packet(&mut port, 1000, 3);
    packet.resize(packet.len() + packet.tailroom()).unwrap();
    packet.pull_front(packet.len() - 60).unwrap();
    port.send_one(packet).unwrap();
    assert_eq!(b.receive(), Some(vec![0; 60]));
    assert_eq!(port.stats().unwrap().losses().count(), 0);
}

#[test]
fn packets_of_several_segments_ask_as_well() {
    let kernel = SimKernel::new(1);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default().mtu(9000)).unwrap();
    let pool = with_metadata(&kernel);
    // What packets asked that had the frames before is not asked by these.
    let mut before: Vec<Packet> = std::iter::from_fn(|| pool.packet()).collect();
    before.iter_mut().for_each(|packet| packet.request_checksum(60000, 0).unwrap());
    drop(before);
    let mut port = Port::open(&pool, "a", 0, config().multi_buffer(true)).unwrap();
    let jumbo: Vec<u8> = (0..9014).map(|i| (i % 251) as u8).collect();
    b.send(&jumbo).unwrap();
    let mut batch = Batch::new();
    assert_eq!(port.recv(&mut batch).unwrap(), 1);
    let packet = &mut batch[0];
    assert!(!packet.is_linear() && packet.requests() == Requests::default());
    packet.request_timestamp(8).unwrap();
    assert_eq!((packet.segments().count(), packet.total_len()), (3, 9014));
    packet.withdraw_requests();
    assert_eq!((packet.segments().count(), packet.requests()), (3, Requests::default()));
    packet.request_timestamp(9).unwrap();
    packet.request_checksum(3839, 0).unwrap();
    let error = port.send(&mut batch).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::ChecksumOutside { end: 3841, len: 3840 });
    batch[0].withdraw_requests();
    batch[0].request_timestamp(9).unwrap();
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    assert_eq!((b.receive(), timestamps(&mut port)), (Some(jumbo), vec![9]));
    check_frames(&kernel, &pool);
    drop(port);
    assert_eq!(free_frames(&pool), 64);
}

#[test]
fn a_zero_copy_driver_without_offloads() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("nic", &DeviceConfig::default().zero_copy(true)).unwrap();
    let pool = with_metadata(&kernel);
    let mut port = Port::open(&pool, "nic", 0, config()).unwrap();
    assert_eq!(port.mode(), Mode::ZeroCopy);
    let mut packet = packet(&mut port, 60, 1);
    packet.request_timestamp(1).unwrap();
    let not_sent = port.send_one(packet).unwrap_err();
    let Reason::Error(error) = not_sent.error else { panic!("not full") };
    assert_eq!(*error.diagnosis(), Diagnosis::NoOffload(TxOffloads::TIMESTAMP), "{error}");
    drop(not_sent.packet);
    card.inject(0, &[5; 60]).unwrap();
    kernel.run_until_idle(1000);
    assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 1);
    kernel.run_until_idle(1000);
    assert_eq!(card.sent(), Some(vec![5; 60]));
}

#[test]
fn what_a_program_put_before_the_data() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config().no_program()).unwrap();
    let map = kernel.xskmap_create(1).unwrap();
    kernel.xskmap_update(map, 0, port.fd().handle()).unwrap();
    let program = kernel.program("notes", false, move |packet| {
        packet.adjust_meta(-8).unwrap();
        packet.metadata_mut().copy_from_slice(b"12345678");
        XdpAction::RedirectMap { map, key: 0, flags: 0 }
    });
    let _link = kernel.link_create(program, a.index(), XdpFlags::empty()).unwrap();
    b.send(&[7; 60]).unwrap();
    let mut batch = Batch::new();
    assert_eq!(port.recv(&mut batch).unwrap(), 1);
    let packet = &batch[0];
    assert_eq!((packet.meta(8).unwrap(), packet.meta(4).unwrap()), (&b"12345678"[..], &b"5678"[..]));
    assert_eq!((packet.meta(0).unwrap(), packet.meta(256).unwrap().len()), (&[][..], 256));
    assert_eq!(packet.meta(257).unwrap_err(), OutOfRoom { wanted: 257, available: 256 });
    assert_eq!(**packet, [7; 60]);
}

#[test]
fn sending_only() {
    let (kernel, _a, b) = world(1);
    let pool = with_metadata(&kernel);
    let mut tx = PortTx::open(&pool, "a", 0, config()).unwrap();
    let mut packet = tx.packet().unwrap();
    packet.resize(60).unwrap();
    packet.request_timestamp(4).unwrap();
    tx.send_one(packet).unwrap();
    assert_eq!(tx.tx_timestamp().map(|stamp| stamp.token), Some(4));
    assert!(b.receive().is_some() && tx.stats().unwrap().losses().all(|(loss, _)| loss != Loss::TxRefused));
    assert!(received(&mut Port::open(&pool, "b", 0, config()).unwrap()).is_empty());
}

/// A zero-copy driver's program may make packets longer at the front until there is no room for requests. They are sent as ever.
#[test]
fn a_packet_that_starts_too_early_for_requests() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("nic", &DeviceConfig::default().zero_copy(true)).unwrap();
    let pool = with_metadata(&kernel);
    let map = kernel.xskmap_create(1).unwrap();
    let program = kernel.program("lengthens", false, move |packet| {
        let more = packet.data()[0];
        packet.adjust_head(-i32::from(more)).unwrap();
        packet.data_mut()[..usize::from(more)].fill(9);
        XdpAction::RedirectMap { map, key: 0, flags: 0 }
    });
    let _link = kernel.link_create(program, card.index(), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    let mut port = Port::open(&pool, "nic", 0, config().no_program()).unwrap();
    kernel.xskmap_update(map, 0, port.fd().handle()).unwrap();
    assert_eq!(port.mode(), Mode::ZeroCopy);
    for more in [200_u8, 201, 216] {
        card.inject(0, &[more; 60]).unwrap();
        kernel.run_until_idle(1000);
        let mut batch = Batch::new();
        assert_eq!(port.recv(&mut batch).unwrap(), 1);
        assert_eq!((batch[0].len(), batch[0].headroom()), (60 + usize::from(more), 0));
        let has_room = more == 200;
        let asked = batch[0].request_timestamp(1);
        assert_eq!(asked, if has_room { Ok(()) } else { Err(RequestError::NoRoom) });
        batch[0].withdraw_requests();
        let copy = pool.copy(&batch[0]).unwrap();
        assert_eq!(copy.headroom(), 200);
        batch.push(copy).unwrap();
        assert_eq!(port.send(&mut batch).unwrap(), 2);
        kernel.run_until_idle(1000);
        for _ in 0..2 {
            assert_eq!(card.sent().unwrap()[usize::from(more)..], [more; 60]);
        }
        assert_eq!(port.flush().unwrap(), 0);
    }
}

#[test]
fn a_port_that_is_closed_before_its_packets_are_back() {
    let (kernel, a, _b) = world(1);
    let pool = with_metadata(&kernel);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    a.set_up(false);
    for token in 0..4 {
        let mut packet = packet(&mut port, 60, 1);
        packet.request_timestamp(token).unwrap();
        port.send_one(packet).unwrap();
    }
    check_frames(&kernel, &pool);
    drop(port);
    assert_eq!((pool.with_kernel(), pool.quarantined(), free_frames(&pool)), (4, 4, 60));
    a.set_up(true);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    assert_eq!((pool.quarantined(), port.tx_timestamp()), (0, None));
    drop(port);
    assert_eq!(free_frames(&pool), 64);
}
