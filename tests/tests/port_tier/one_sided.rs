//! Ports that only receive, and ports that only send.

use std::time::Duration;

use xsk::backend::Backend;
use xsk::config::Attach;
use xsk::error::Diagnosis;
use xsk::port::{Mode, PortRx, PortTx, Reason, Verdict};
use xsk::{Batch, Pool, Port};
use xsk_sim::{DeviceConfig, SimKernel};

use crate::kit::{check_frames, config, free_frames, pool, world};

fn filled(tx: &mut PortTx, count: usize, byte: u8) -> Batch {
    let mut batch = Batch::with_capacity(count);
    tx.packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.extend_from_slice(&[byte; 60]).unwrap());
    batch
}

#[test]
fn a_port_that_only_receives() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut rx = PortRx::open(&pool, "a", 0, config()).unwrap();
    assert_eq!((rx.mode(), rx.interface(), rx.queue(), pool.with_kernel()), (Mode::Copy, "a", 0, 16));
    b.send(&[7; 60]).unwrap();
    assert!(rx.wait(Some(Duration::ZERO)).unwrap());
    let mut batch = Batch::new();
    assert_eq!(rx.recv(&mut batch).unwrap(), 1);
    check_frames(&kernel, &pool);
    // There is nothing to send with.
    assert_eq!(kernel.sendto(rx.fd().handle()).unwrap_err().raw_os_error(), Some(xsk_core::errno::ENOBUFS));
    // What it received another port of the pool sends.
    let mut out = PortTx::open(&pool, "b", 0, config()).unwrap();
    assert_eq!(out.send(&mut batch).unwrap(), 1);
    assert_eq!(rx.forward_to(&mut out, |_| Verdict::Send).unwrap().received, 1);
    drop((rx, out));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn a_port_that_only_sends() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut tx = PortTx::open(&pool, "a", 0, config()).unwrap();
    assert_eq!((tx.mode(), tx.interface(), tx.queue()), (Mode::Copy, "a", 0));
    // It takes no frames and no packets, and attaches nothing.
    assert_eq!((pool.with_kernel(), a.info().program), (0, None));
    b.send(&[9; 60]).unwrap();
    assert_eq!(a.receive(), Some(vec![9; 60]));
    let mut batch = filled(&mut tx, 8, 5);
    assert_eq!(tx.send(&mut batch).unwrap(), 8);
    for _ in 0..8 {
        assert_eq!(b.receive(), Some(vec![5; 60]));
    }
    assert_eq!(tx.flush().unwrap(), 0);
    assert!(tx.wait(Some(Duration::ZERO)).unwrap());
    check_frames(&kernel, &pool);
    assert_eq!(kernel.recvfrom(tx.fd().handle()).unwrap_err().raw_os_error(), Some(xsk_core::errno::ENOBUFS));
    drop(tx);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

/// Other sockets receive what arrives there: one of another queue's program, for example.
#[test]
fn a_port_that_only_sends_takes_no_packets_under_a_program() {
    let (kernel, a, b) = world(2);
    let pool = pool(&kernel, 64);
    let mut tx = PortTx::open(&pool, "a", 0, config().attach(Attach::Link)).unwrap();
    assert!(a.info().program.is_some(), "attached as asked for");
    let mut rx = PortRx::open(&pool, "a", 1, config()).unwrap();
    b.send_on(0, &[1; 60]).unwrap();
    b.send_on(1, &[2; 60]).unwrap();
    assert_eq!(a.receive(), Some(vec![1; 60]));
    assert_eq!(rx.for_each(|packet| assert_eq!(**packet, [2; 60])).unwrap(), 1);
    // Without a program of its own, beside one that is there.
    drop(tx);
    tx = PortTx::open(&pool, "a", 0, config()).unwrap();
    b.send_on(0, &[3; 60]).unwrap();
    assert_eq!(a.receive(), Some(vec![3; 60]));
    drop((tx, rx));
    assert!(a.info().program.is_none());
    kernel.check().unwrap();
}

#[test]
fn waiting_for_room() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut tx = PortTx::open(&pool, "a", 0, config()).unwrap();
    a.set_up(false);
    let mut batch = filled(&mut tx, 20, 1);
    assert_eq!(tx.send(&mut batch).unwrap(), 16);
    let not_sent = tx.send_one(batch.pop().unwrap()).unwrap_err();
    assert!(matches!(not_sent.error, Reason::Full));
    let error = tx.wait(Some(Duration::from_millis(1))).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::InterfaceDown, "{error}");
    a.set_up(true);
    assert!(tx.wait(Some(Duration::from_millis(1))).unwrap());
    assert_eq!(std::iter::from_fn(|| b.receive()).count(), 16);
    assert_eq!(tx.send(&mut batch).unwrap(), 3);
}

#[test]
fn all_queues_of_either_kind() {
    let kernel = SimKernel::new(1);
    let devices = DeviceConfig::default().rx_queues(3).tx_queues(2);
    let (_a, _b) = kernel.veth("a", "b", &devices).unwrap();
    let pool = pool(&kernel, 128);
    let rx = PortRx::open_all(&pool, "a", config()).unwrap();
    let tx = PortTx::open_all(&pool, "b", config()).unwrap();
    assert_eq!(rx.iter().map(PortRx::queue).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(tx.iter().map(PortTx::queue).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(pool.with_kernel(), 3 * 16);
    let error = PortTx::open(&pool, "a", 1, config()).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::PortOpen, "the queue has the rings of the other: {error}");
    assert_eq!(*PortRx::open_all(&pool, "c", config()).unwrap_err().diagnosis(), Diagnosis::NoInterface);
    drop((rx, tx));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 128));
}

#[test]
fn without_free_frames() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 8);
    let all: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    assert_eq!(*PortRx::open(&pool, "a", 0, config()).unwrap_err().diagnosis(), Diagnosis::NoFrames);
    // To send it needs none of its own.
    let mut tx = PortTx::open(&pool, "a", 0, config()).unwrap();
    for mut packet in all {
        packet.resize(60).unwrap();
        tx.send_one(packet).unwrap();
    }
    assert_eq!(tx.flush().unwrap(), 0);
}

fn card() -> (SimKernel, xsk_sim::SimDevice, Pool) {
    let kernel = SimKernel::new(1);
    let card = kernel.card("nic", &DeviceConfig::default().zero_copy(true)).unwrap();
    let pool = pool(&kernel, 64);
    (kernel, card, pool)
}

/// A zero-copy driver receives into frames of the fill ring also for the stack.
#[test]
fn a_zero_copy_card_goes_on_receiving_for_the_stack() {
    let (kernel, card, pool) = card();
    let mut tx = PortTx::open(&pool, "nic", 0, config().attach(Attach::Link)).unwrap();
    assert_eq!((tx.mode(), pool.with_kernel()), (Mode::ZeroCopy, 16));
    for round in 0..100 {
        card.inject(0, &[round; 60]).unwrap();
        kernel.run_until_idle(1000);
        assert_eq!(card.receive(), Some(vec![round; 60]), "the frames go round");
        let mut batch = filled(&mut tx, 4, round);
        assert_eq!(tx.send(&mut batch).unwrap(), 4);
        while tx.flush().unwrap() > 0 {
            kernel.run_until_idle(1000);
        }
        assert_eq!(std::iter::from_fn(|| card.sent()).count(), 4);
    }
    drop(tx);
    kernel.run_until_idle(1000);
    drop(Port::open(&pool, "nic", 0, config()).unwrap());
    kernel.run_until_idle(1000);
    drop(Port::open(&pool, "nic", 0, config().mode(Mode::Copy)).unwrap());
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn frames_to_receive_with_are_given_where_they_serve() {
    let (_kernel, _card, pool) = card();
    let given = |config| {
        let tx = PortTx::open(&pool, "nic", 0, config).unwrap();
        let given = pool.with_kernel() - pool.quarantined();
        drop(tx);
        // What the card had it may have until the queue is open again.
        drop(Port::open(&pool, "nic", 0, crate::kit::config().mode(Mode::Copy)).unwrap());
        given
    };
    assert_eq!(given(config().mode(Mode::Copy)), 0);
    assert_eq!(given(config().mode(Mode::ZeroCopy).attach(Attach::Link)), 16);
    assert_eq!(given(config().fill_level(0)), 0);
    assert_eq!(given(config().mode(Mode::Copy).fill_level(3)), 3);
}
