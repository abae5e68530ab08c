use std::sync::mpsc::sync_channel;
use std::thread;

use xsk::port::Verdict;
use xsk::{Batch, Packet, Pool, Port};
use xsk_sim::{DeviceConfig, SimKernel};

use crate::kit::{config, free_frames, pool};

const fn is_send<T: Send>() {}
const _: () = (is_send::<Pool>(), is_send::<Port>(), is_send::<Packet>(), is_send::<Batch>()).0;

fn cards() -> (SimKernel, [xsk_sim::SimDevice; 2]) {
    let kernel = SimKernel::new(1);
    let card = |name: &str| kernel.card(name, &DeviceConfig::default()).unwrap();
    let cards = [card("in"), card("out")];
    (kernel, cards)
}

/// One thread receives on a port, another sends on a second one. All frames that the first takes come back at the second:
/// without a way back the first would starve. As many packets as `XSK_FORWARD` says, or a million.
#[test]
fn one_way_forwarding_never_starves() {
    let packets = std::env::var("XSK_FORWARD").map_or(1_000_000, |count| count.parse().unwrap());
    let (kernel, [input, output]) = cards();
    let pool = pool(&kernel, 512);
    let rings = config().rx_ring(128).tx_ring(128).fill_ring(128).completion_ring(128);
    let mut receiver = Port::open(&pool, "in", 0, rings).unwrap();
    let mut sender = Port::open(&pool, "out", 0, rings).unwrap();
    let (full, filled) = sync_channel::<Batch>(2);
    let (emptied, empty) = sync_channel::<Batch>(2);
    for _ in 0..2 {
        emptied.send(Batch::new()).unwrap();
    }
    let sending = thread::spawn(move || {
        let mut sent = 0_u64;
        for mut batch in filled {
            while !batch.is_empty() {
                sender.send(&mut batch).unwrap();
            }
            while let Some(packet) = output.sent() {
                assert_eq!(packet[..8], sent.to_be_bytes(), "in order");
                sent += 1;
            }
            emptied.send(batch).unwrap();
        }
        while sender.flush().unwrap() > 0 {}
        sent
    });
    let mut injected = 0_u64;
    while injected < packets {
        let mut batch = empty.recv().unwrap();
        for _ in 0..64 {
            let mut frame = [0; 60];
            frame[..8].copy_from_slice(&injected.to_be_bytes());
            input.inject(0, &frame).unwrap();
            injected += 1;
        }
        // All of them are there at once: there was a frame for each.
        assert_eq!(receiver.recv(&mut batch).unwrap(), 64, "starved after {injected}");
        full.send(batch).unwrap();
    }
    drop(full);
    assert_eq!(sending.join().unwrap(), injected);
    drop(receiver);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 512));
}

#[test]
fn halves_work_on_two_threads_and_close_together() {
    let (kernel, [input, _]) = cards();
    let pool = pool(&kernel, 256);
    let (mut rx, mut tx) = Port::open(&pool, "in", 0, config()).unwrap().split();
    let (give, take) = sync_channel::<Packet>(8);
    let sending = thread::spawn(move || {
        for packet in take {
            let mut packet = Some(packet);
            while let Some(full) = packet.take() {
                if let Err(not_sent) = tx.send_one(full) {
                    packet = Some(not_sent.packet);
                }
            }
        }
        while tx.flush().unwrap() > 0 {}
    });
    let mut batch = Batch::new();
    for i in 0..2000_u32 {
        let mut frame = [0; 60];
        frame[..4].copy_from_slice(&i.to_be_bytes());
        input.inject(0, &frame).unwrap();
        assert_eq!(rx.recv(&mut batch).unwrap(), 1);
        give.send(batch.pop().unwrap()).unwrap();
    }
    drop(give);
    drop(rx);
    sending.join().unwrap();
    assert_eq!(std::iter::from_fn(|| input.sent()).count(), 2000);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
}

#[test]
fn every_queue_has_a_port() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("in", &DeviceConfig::default().queues(4)).unwrap();
    let other = kernel.card("out", &DeviceConfig::default()).unwrap();
    let pool = pool(&kernel, 512);
    let ports = Port::open_all(&pool, "in", config()).unwrap();
    assert_eq!(ports.iter().map(Port::queue).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let mut out = Port::open(&pool, "out", 0, config()).unwrap();
    let mut ports: Vec<Port> = ports;
    for round in 0..200_u8 {
        for (queue, port) in (0..).zip(&mut ports) {
            card.inject(queue, &[round; 60]).unwrap();
            let done = port.forward_to(&mut out, |_| Verdict::Send).unwrap();
            assert_eq!((done.received, done.sent), (1, 1));
        }
    }
    assert_eq!(std::iter::from_fn(|| other.sent()).count(), 800);
    let counts: Vec<u32> = ports
        .into_iter()
        .map(|mut port| {
            let card = card.clone();
            thread::spawn(move || {
                let queue = port.queue();
                let mut batch = Batch::new();
                let mut count = 0;
                for _ in 0..500 {
                    card.inject(queue, &[queue as u8; 60]).unwrap();
                    count += port.recv(&mut batch).unwrap();
                    assert!(batch.drain().all(|packet| packet[0] == queue as u8));
                }
                count as u32
            })
        })
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(counts, [500; 4]);
    drop(out);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 512));
}
