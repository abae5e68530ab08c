use std::time::Duration;

use xsk::error::Diagnosis;
use xsk::port::{Mode, Reason, Verdict};
use xsk::{Batch, Packet, Pool, PoolConfig, Port};

use crate::kit::{check_frames, config, free_frames, pool, port, received, world};

#[test]
fn receives_and_sends() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    assert_eq!((port.mode(), port.interface(), port.queue()), (Mode::Copy, "a", 0));
    for len in [60, 61, 1514] {
        b.send(&vec![len as u8; len]).unwrap();
    }
    assert!(port.wait(Some(Duration::ZERO)).unwrap());
    let mut batch = Batch::new();
    assert_eq!(port.recv(&mut batch).unwrap(), 3);
    check_frames(&kernel, &pool);
    for packet in &mut batch {
        assert!(packet.is_linear() && packet.headroom() == 256);
        packet.reverse();
        packet[0] = 9;
    }
    assert_eq!(port.send(&mut batch).unwrap(), 3);
    assert!(batch.is_empty());
    check_frames(&kernel, &pool);
    for len in [60_usize, 61, 1514] {
        let got = b.receive().unwrap();
        assert_eq!((got[0], got.len(), got[1]), (9, len, len as u8));
    }
    assert_eq!(port.flush().unwrap(), 0);
    assert_eq!(port.recv(&mut batch).unwrap(), 0);
    assert!(!port.wait(Some(Duration::from_millis(1))).unwrap());
    drop(port);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn what_does_not_fit_stays_with_the_caller() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 128);
    let mut port = port(&pool, "a");
    // Nothing is sent while the device is down.
    a.set_up(false);
    let mut batch = Batch::new();
    assert_eq!(port.packets(&mut batch), 64);
    for (i, packet) in batch.iter_mut().enumerate() {
        packet.extend_from_slice(&[i as u8; 60]).unwrap();
    }
    assert_eq!(port.send(&mut batch).unwrap(), 16);
    assert_eq!((batch.len(), batch[0][0]), (48, 16));
    assert_eq!(port.send(&mut batch).unwrap(), 0);
    let not_sent = port.send_one(batch.pop().unwrap()).unwrap_err();
    assert!(matches!(not_sent.error, Reason::Full), "{not_sent}");
    assert_eq!(not_sent.packet[0], 63);
    a.set_up(true);
    while !batch.is_empty() {
        port.send(&mut batch).unwrap();
    }
    while port.flush().unwrap() > 0 {}
    for i in 0..63 {
        assert_eq!(b.receive(), Some(vec![i; 60]));
    }
    check_frames(&kernel, &pool);
}

#[test]
fn headers_come_and_go() {
    let (kernel, _a, _b) = world(1);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(4).headroom(64)).unwrap();
    let mut packet = pool.packet().unwrap();
    assert_eq!((packet.len(), packet.headroom(), packet.tailroom()), (0, 320, 4096 - 320));
    assert_eq!(pool.room() as usize, packet.tailroom());
    packet.extend_from_slice(b"payload").unwrap();
    packet.push_front(3).unwrap().copy_from_slice(b"udp");
    packet.push_front(2).unwrap().copy_from_slice(b"ip");
    assert_eq!(&*packet, b"ipudppayload");
    packet.pull_front(5).unwrap();
    assert_eq!((&*packet, packet.headroom()), (&b"payload"[..], 320));
    packet.resize(9).unwrap();
    assert_eq!(&*packet, b"payload\0\0");
    packet.truncate(3);
    assert_eq!(&*packet, b"pay");

    let error = packet.push_front(321).unwrap_err();
    assert_eq!((error.wanted, error.available), (321, 320));
    assert_eq!(packet.pull_front(4).unwrap_err().available, 3);
    assert!(packet.resize(4096).is_err() && packet.extend_from_slice(&[0; 4096]).is_err());
    assert_eq!(packet.push_front(320).unwrap().len(), 320);
    packet.resize(4096).unwrap();
    assert_eq!((packet.headroom(), packet.tailroom(), packet.total_len()), (0, 0, 4096));
    packet.pull_front(4096).unwrap();
    // An empty packet starts before the end of its frame.
    assert_eq!((packet.len(), packet.headroom(), packet.tailroom()), (0, 4095, 1));
    assert_eq!(packet.push_front(4095).unwrap().len(), 4095);
    // One in the middle of its frame starts where it ended, in that frame.
    packet.pull_front(100).unwrap();
    packet.truncate(5);
    packet.pull_front(5).unwrap();
    assert_eq!((packet.len(), packet.headroom(), packet.tailroom()), (0, 105, 3991));
}

#[test]
fn packets_are_moved_in_place() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    let mut kept = Batch::new();
    for round in 0..50_u8 {
        for i in 0..4 {
            b.send(&[4 * (round % 50) + i; 60]).unwrap();
        }
        let done = port
            .forward(|packet| match packet[0] % 4 {
                0 => Verdict::Drop,
                3 if round % 7 == 0 => {
                    let other = pool.packet().unwrap();
                    kept.push(std::mem::replace(packet, other)).unwrap();
                    packet.extend_from_slice(&[255; 70]).unwrap();
                    Verdict::Send
                }
                _ => {
                    packet.push_front(4).unwrap().fill(200);
                    Verdict::Send
                }
            })
            .unwrap();
        assert_eq!((done.received, done.sent, done.refused), (4, 3, 0));
        check_frames(&kernel, &pool);
        for i in 1..4 {
            let got = b.receive().unwrap();
            let exchanged = i == 3 && round % 7 == 0;
            assert_eq!((got.len(), got[5]), if exchanged { (70, 255) } else { (64, 4 * (round % 50) + i) });
        }
    }
    assert_eq!((kept.len(), kept[1][0]), (8, 31));
    assert_eq!(port.for_each(|_| ()).unwrap(), 0);
    drop((port, kept));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

/// Rings of 16, of which no batch here is a divisor: a call goes on behind the end of a ring.
#[test]
fn batches_cross_the_ends_of_the_rings() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    let mut batch = Batch::new();
    for round in 0..60_u8 {
        let count = usize::from(3 + round % 9);
        (0..count).for_each(|i| b.send(&[i as u8; 60]).unwrap());
        match round % 3 {
            0 => {
                assert_eq!(port.recv(&mut batch).unwrap(), count, "{round}");
                assert_eq!(port.send(&mut batch).unwrap(), count, "{round}");
            }
            1 => assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, count, "{round}"),
            _ => assert_eq!(port.for_each(|_| ()).unwrap(), count, "{round}"),
        }
        let expected = if round % 3 == 2 { 0 } else { count };
        let echoes: Vec<_> = std::iter::from_fn(|| b.receive()).map(|packet| packet[0]).collect();
        assert_eq!(echoes, (0..expected as u8).collect::<Vec<_>>());
        check_frames(&kernel, &pool);
    }
    drop(port);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let (kernel, _a, b) = world(1);
    let (pool, other) = (pool(&kernel, 64), pool(&kernel, 8));
    let mut port = port(&pool, "a");
    let mut foreign = other.packet().unwrap();
    foreign.extend_from_slice(&[7; 60]).unwrap();
    let mut batch = Batch::new();
    let full = |pool: &Pool| {
        let mut packet = pool.packet().unwrap();
        packet.extend_from_slice(&[1; 60]).unwrap();
        packet
    };
    batch.push(full(&pool)).unwrap();
    batch.push(foreign).unwrap();
    batch.push(pool.packet().unwrap()).unwrap();
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    let error = port.send(&mut batch).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::ForeignPool, "{error}");
    let foreign = batch.remove(0).unwrap();
    assert_eq!(*foreign, [7; 60]);
    let error = port.send(&mut batch).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::EmptyPacket, "{error}");
    assert_eq!(batch.len(), 1);
    let not_sent = port.send_one(foreign).unwrap_err();
    let foreign = not_sent.packet;
    let Reason::Error(error) = not_sent.error else { panic!("not full") };
    assert_eq!(*error.diagnosis(), Diagnosis::ForeignPool);
    port.send_one(pool.copy(&foreign).unwrap()).unwrap();
    assert_eq!((b.receive().unwrap()[0], b.receive().unwrap()[0]), (1, 7));

    b.send(&[3; 60]).unwrap();
    b.send(&[4; 60]).unwrap();
    let mut exchange = Some(foreign);
    let done = port.forward(|packet| {
        match exchange.take() {
            Some(foreign) => *packet = foreign,
            None => packet.truncate(0),
        }
        Verdict::Send
    });
    let done = done.unwrap();
    assert_eq!((done.received, done.sent, done.refused), (2, 0, 2));
    let mut out = self::port(&other, "b");
    let error = port.forward_to(&mut out, |_| Verdict::Send).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::ForeignPool);
    drop((port, out, batch));
    assert_eq!((free_frames(&pool), free_frames(&other)), (64, 8));
}

#[test]
fn large_packets_have_segments() {
    let kernel = xsk_sim::SimKernel::new(1);
    let devices = xsk_sim::DeviceConfig::default().mtu(9000);
    let (_a, b) = kernel.veth("a", "b", &devices).unwrap();
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config().multi_buffer(true)).unwrap();
    let jumbo: Vec<u8> = (0..9014).map(|i| (i % 251) as u8).collect();
    b.send(&jumbo).unwrap();
    b.send(&jumbo[..60]).unwrap();
    let mut batch = Batch::new();
    assert_eq!(port.recv(&mut batch).unwrap(), 2);
    check_frames(&kernel, &pool);
    let packet = &batch[0];
    assert_eq!((packet.is_linear(), packet.total_len(), packet.tailroom()), (false, 9014, 0));
    assert_eq!(packet.segments().map(<[u8]>::len).collect::<Vec<_>>(), [3840, 3840, 1334]);
    assert_eq!(packet.segments().flatten().copied().collect::<Vec<_>>(), jumbo);
    assert!(batch[1].is_linear());
    assert_eq!(port.send(&mut batch).unwrap(), 2);
    assert_eq!((b.receive().as_ref(), b.receive().unwrap().len()), (Some(&jumbo), 60));
    check_frames(&kernel, &pool);

    b.send(&jumbo).unwrap();
    assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 1);
    assert_eq!(b.receive(), Some(jumbo.clone()));
    b.send(&jumbo).unwrap();
    assert_eq!(received(&mut port), std::slice::from_ref(&jumbo));
    b.send(&jumbo).unwrap();
    assert_eq!(port.for_each(|packet| assert_eq!(packet.total_len(), 9014)).unwrap(), 1);
    // The batch has room for one packet, which is not the end of the next.
    b.send(&jumbo).unwrap();
    b.send(&jumbo).unwrap();
    let mut one = Batch::with_capacity(1);
    let mut lens = Vec::new();
    for _ in 0..6 {
        port.recv(&mut one).unwrap();
        lens.extend(one.drain().map(|packet| packet.total_len()));
    }
    assert_eq!(lens, [9014, 9014]);
    check_frames(&kernel, &pool);
    drop((port, batch));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn frames_are_aligned() {
    let (kernel, _a, _b) = world(1);
    let make = |size| Pool::new_in(kernel.backend(), PoolConfig::default().frames(8).frame_size(size));
    for size in [2049, 3000, 4095] {
        let error = make(size).unwrap_err();
        assert_eq!(*error.diagnosis(), Diagnosis::UnalignedFrames { size }, "{error}");
        assert!(error.to_string().contains("XDP_UMEM_UNALIGNED_CHUNK_FLAG"));
    }
    assert!(make(1024).is_err() && make(0).is_err());
    assert_eq!(make(2048).unwrap().frame_size(), 2048);
}

#[test]
fn sizes() {
    assert_eq!((size_of::<Packet>(), size_of::<Option<Packet>>()), (16, 16));
    assert_eq!(size_of::<Pool>(), size_of::<usize>());
    // As docs/migration.md says.
    assert_eq!((size_of::<Port>(), size_of::<Batch>()), (704, 32));
}
