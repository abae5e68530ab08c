//! The halves of a port do what the port does.

use std::os::fd::AsRawFd;
use std::time::Duration;

use xsk::backend::Backend;
use xsk::error::Diagnosis;
use xsk::port::{Loss, Mode, PortRx, PortTx, Reason, Verdict};
use xsk::{Batch, Packet, Pool};

use crate::kit::{check_frames, free_frames, pool, port, world};

fn full(tx: &mut PortTx, tag: u8) -> Packet {
    let mut packet = tx.packet().unwrap();
    packet.extend_from_slice(&[tag; 60]).unwrap();
    packet
}

#[test]
fn debug_output_is_short() {
    let (kernel, _a, _b) = world(1);
    let port = port(&pool(&kernel, 64), "a");
    let (receiving, sending) = ("rx_ring: 16, fill_ring: 16", "tx_ring: 16, completion_ring: 16");
    let of =
        |name: &str, rings: &str| format!("{name} {{ interface: \"a\", queue: 0, mode: Copy, {rings}, .. }}");
    assert_eq!(format!("{port:?}"), of("Port", &format!("{receiving}, {sending}")));
    let (rx, tx) = port.split();
    assert_eq!(format!("{rx:?}"), of("PortRx", receiving));
    assert_eq!(format!("{tx:?}"), of("PortTx", sending));
}

fn halves(pool: &Pool, interface: &str) -> (PortRx, PortTx) {
    port(pool, interface).split()
}

#[test]
fn the_receiving_half() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let (mut rx, tx) = halves(&pool, "a");
    assert_eq!((rx.mode(), tx.mode()), (Mode::Copy, Mode::Copy));
    assert_eq!((rx.pool(), tx.pool()), (&pool, &pool));
    // One socket.
    assert_eq!(rx.poll_fd().map(|fd| fd.as_raw_fd()), tx.poll_fd().map(|fd| fd.as_raw_fd()));

    let mut batch = Batch::new();
    assert_eq!(rx.recv(&mut batch).unwrap(), 0);
    assert!(!rx.wait(Some(Duration::from_millis(1))).unwrap());
    (0..6).for_each(|tag| b.send(&[tag; 60]).unwrap());
    assert!(rx.wait(Some(Duration::ZERO)).unwrap());
    assert_eq!(rx.recv(&mut Batch::with_capacity(0)).unwrap(), 0);
    let mut two = Batch::with_capacity(2);
    assert_eq!(rx.recv(&mut two).unwrap(), 2);
    assert_eq!((two[0][0], two[1][0]), (0, 1));
    rx.recycle(&mut two);
    assert!(two.is_empty());
    check_frames(&kernel, &pool);
    let mut seen = Vec::new();
    assert_eq!(rx.for_each(|packet| seen.push(packet[0])).unwrap(), 4);
    assert_eq!(seen, [2, 3, 4, 5]);

    let stats = rx.stats().unwrap();
    assert_eq!((stats.received, stats.sent, stats.fill_waiting, stats.rx_waiting), (6, 0, 16, 0));
    check_frames(&kernel, &pool);
    drop((rx, tx));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn the_sending_half() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 64);
    let (rx, mut tx) = halves(&pool, "a");
    let mut batch = Batch::new();
    assert_eq!(tx.send(&mut batch).unwrap(), 0);
    assert_eq!(tx.flush().unwrap(), 0);
    let mut three = Batch::with_capacity(3);
    assert_eq!((tx.packets(&mut three), three.len()), (3, 3));
    three.clear();
    a.set_up(false);
    for tag in 0..20 {
        batch.push(full(&mut tx, tag)).unwrap();
    }
    // The TX ring has 16 entries.
    assert_eq!((tx.send(&mut batch).unwrap(), batch.len()), (16, 4));
    let not_sent = tx.send_one(batch.pop().unwrap()).unwrap_err();
    assert!(matches!(not_sent.error, Reason::Full));
    assert_eq!(not_sent.packet[0], 19);
    let stats = tx.stats().unwrap();
    assert_eq!((stats.sent, stats.received, stats.tx_waiting, stats.unfinished), (16, 0, 16, 16));
    a.set_up(true);
    while tx.flush().unwrap() > 0 {}
    tx.send_one(not_sent.packet).unwrap();
    assert_eq!(tx.send(&mut batch).unwrap(), 3);
    while tx.flush().unwrap() > 0 {}
    let sent: Vec<u8> = std::iter::from_fn(|| b.receive()).map(|bytes| bytes[0]).collect();
    assert_eq!(sent, (0..16).chain([19, 16, 17, 18]).collect::<Vec<_>>());
    assert_eq!(tx.stats().unwrap().unfinished, 0);
    check_frames(&kernel, &pool);
    drop((rx, tx, batch));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn from_half_to_half() {
    let (kernel, _a, b) = world(1);
    let (pool, other) = (pool(&kernel, 128), pool(&kernel, 64));
    let (mut rx, tx) = halves(&pool, "a");
    let (far_rx, mut far_tx) = halves(&pool, "b");
    b.send(&[1; 60]).unwrap();
    b.send(&[2; 60]).unwrap();
    let done =
        rx.forward_to(&mut far_tx, |packet| if packet[0] == 1 { Verdict::Drop } else { Verdict::Send });
    let done = done.unwrap();
    assert_eq!((done.received, done.sent), (2, 1));
    // It comes back to where it came from.
    let mut batch = Batch::new();
    assert_eq!((rx.recv(&mut batch).unwrap(), &*batch[0]), (1, &[2; 60][..]));
    batch.clear();
    check_frames(&kernel, &pool);

    drop((far_rx, far_tx));
    let (foreign_rx, mut foreign) = halves(&other, "b");
    b.send(&[3; 60]).unwrap();
    let error = rx.forward_to(&mut foreign, |_| Verdict::Send).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::ForeignPool);
    // The packet waits as before.
    assert_eq!(rx.for_each(|packet| assert_eq!(packet[0], 3)).unwrap(), 1);
    drop((rx, tx, foreign_rx, foreign));
    assert_eq!((free_frames(&pool), free_frames(&other)), (128, 64));
}

#[test]
fn losses_are_counted_and_say_what_helps() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    let before = port.stats().unwrap();
    assert_eq!(before.losses().count(), 0);
    // 16 frames are on the fill ring, and nobody receives.
    (0..20).for_each(|tag| b.send(&[tag; 60]).unwrap());
    let now = port.stats().unwrap();
    assert_eq!(now.rx_waiting, 16);
    assert_eq!(now.losses().map(|(_, count)| count).sum::<u64>(), 4);
    assert_eq!(now.since(&before).losses().collect::<Vec<_>>(), now.losses().collect::<Vec<_>>());
    assert_eq!(now.since(&now).losses().count(), 0);
    let mut batch = Batch::new();
    assert_eq!(port.recv(&mut batch).unwrap(), 16);
    let then = port.stats().unwrap().since(&now);
    assert_eq!((then.received, then.rx_waiting), (16, 0));
    for (loss, says) in [
        (Loss::NoFrame, "no frame on the fill ring"),
        (Loss::TooLong, "longer than a frame"),
        (Loss::RxRingFull, "the RX ring was full"),
        (Loss::TxRefused, "refused a TX descriptor"),
        (Loss::Violation, "could not be right"),
    ] {
        assert!(loss.to_string().contains(says), "{loss}");
    }
}

/// What epoll and its like are given: the descriptor of the socket, where the backend has one.
#[test]
fn the_descriptor_is_that_of_the_socket() {
    let (kernel, _a, _b) = world(1);
    let port = port(&pool(&kernel, 64), "a");
    let descriptor = kernel.fd(port.fd().handle());
    assert!(descriptor.is_some_and(|number| (3..1 << 20).contains(&number)), "{descriptor:?}");
    assert_eq!((port.poll_fd().map(|fd| fd.as_raw_fd()), Some(port.as_raw_fd())), (descriptor, descriptor));
    let (rx, tx) = port.split();
    for fd in [rx.poll_fd(), tx.poll_fd()] {
        assert_eq!(fd.map(|fd| fd.as_raw_fd()), descriptor);
    }
}
