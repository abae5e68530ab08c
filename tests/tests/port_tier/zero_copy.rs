//! The port tier on cards with zero copy, which only the simulated kernel has here.

use std::time::Duration;

use xsk::backend::Backend;
use xsk::error::Diagnosis;
use xsk::port::{Mode, Policy, PortTx, Verdict};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_sim::fault::FaultRule;
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use crate::kit::{check_frames, config, free_frames, received};

fn cards(queues: u32) -> (SimKernel, [SimDevice; 2]) {
    let kernel = SimKernel::new(7);
    let devices = DeviceConfig::default().zero_copy(true).queues(queues);
    let cards = ["one", "two"].map(|name| kernel.card(name, &devices).unwrap());
    (kernel, cards)
}

fn pool(kernel: &SimKernel) -> Pool {
    Pool::new_in(kernel.backend(), PoolConfig::default().frames(128)).unwrap()
}

fn inject(kernel: &SimKernel, card: &SimDevice, bytes: std::ops::Range<u8>) {
    for byte in bytes {
        card.inject(0, &[byte; 60]).unwrap();
    }
    kernel.run_until_idle(1000);
}

fn sent(card: &SimDevice) -> Vec<u8> {
    std::iter::from_fn(|| card.sent()).map(|frame| frame[0]).collect()
}

#[test]
fn the_mode_is_told_as_it_came_out() {
    let (kernel, _cards) = cards(2);
    kernel.card("plain", &DeviceConfig::default()).unwrap();
    for (name, asked, mode) in [
        ("one", None, Mode::ZeroCopy),
        ("one", Some(Mode::ZeroCopy), Mode::ZeroCopy),
        ("one", Some(Mode::Copy), Mode::Copy),
        ("plain", None, Mode::Copy),
        ("plain", Some(Mode::Copy), Mode::Copy),
    ] {
        let config = asked.into_iter().fold(config(), PortConfig::mode);
        let pool = pool(&kernel);
        let port = Port::open(&pool, name, 0, config).unwrap();
        assert_eq!(port.mode(), mode, "{name} {asked:?}");
        assert_eq!(port.fd().is_zero_copy().unwrap(), mode == Mode::ZeroCopy);
        let (rx, tx) = port.split();
        assert_eq!((rx.mode(), tx.mode()), (mode, mode));
        // A pool has the mode of its first port, whatever the next one asks for.
        if mode == Mode::ZeroCopy {
            let second = Port::open(&pool, name, 1, crate::kit::config().mode(Mode::Copy)).unwrap();
            assert_eq!(second.mode(), Mode::ZeroCopy);
        }
        drop((rx, tx));
        kernel.run_until_idle(1000);
    }
}

#[test]
fn zero_copy_that_is_asked_for_and_not_there_is_an_error() {
    let kernel = SimKernel::new(1);
    kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    let pool = pool(&kernel);
    let error = Port::open(&pool, "a", 0, config().mode(Mode::ZeroCopy)).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoZeroCopy { driver: Some("veth".to_owned()) }, "{error}");
    assert_eq!((error.interface(), error.queue()), (Some("a"), Some(0)));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 128));
    assert_eq!(Port::open(&pool, "a", 0, config()).unwrap().mode(), Mode::Copy);
    // Packets of the MTU do not fit.
    let (kernel, cards) = cards(1);
    cards[0].set_mtu(4000).unwrap();
    let pool = self::pool(&kernel);
    let error = Port::open(&pool, "one", 0, config().mode(Mode::ZeroCopy)).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::FrameTooSmall { mtu: 4000, .. }), "{error}");
    assert_eq!(free_frames(&pool), 128);
}

#[test]
fn packets_are_forwarded_from_card_to_card() {
    for policy in [Policy::NeedWakeup, Policy::Interrupt] {
        let (kernel, cards) = cards(1);
        let pool = pool(&kernel);
        let [mut one, mut two] =
            ["one", "two"].map(|name| Port::open(&pool, name, 0, config().policy(policy)).unwrap());
        for round in 0..60_u8 {
            inject(&kernel, &cards[0], 4 * round..4 * round + 4);
            let done = one
                .forward_to(&mut two, |packet| match packet[0] % 4 {
                    3 => Verdict::Drop,
                    _ => {
                        packet.push_front(2).unwrap().fill(7);
                        Verdict::Send
                    }
                })
                .unwrap();
            assert_eq!((done.received, done.sent, done.refused), (4, 3, 0), "{policy:?} {round}");
            check_frames(&kernel, &pool);
            kernel.run_until_idle(1000);
            two.flush().unwrap();
            check_frames(&kernel, &pool);
            assert_eq!(sent(&cards[1]).len(), 3);
        }
        // Owned, and back out of the same card.
        inject(&kernel, &cards[1], 0..5);
        let mut batch = Batch::new();
        assert_eq!(two.recv(&mut batch).unwrap(), 5);
        assert_eq!(two.send(&mut batch).unwrap(), 5);
        kernel.run_until_idle(1000);
        assert_eq!((sent(&cards[1]), two.flush().unwrap()), ((0..5).collect(), 0));
        let stats = one.stats().unwrap();
        assert_eq!((stats.received, stats.violations, stats.too_long, stats.rx_ring_full), (240, 0, 0, 0));
        drop((one, two));
        kernel.run_until_idle(1000);
        pool.reclaim();
        assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 128));
    }
}

/// What the card had it may use until its queue is released: to receive into, and to send.
#[test]
fn frames_in_flight_are_kept_apart_until_the_card_is_done() {
    let (kernel, cards) = cards(2);
    let pool = pool(&kernel);
    let mut port = Port::open(&pool, "one", 0, config()).unwrap();
    kernel.run_until_idle(1000);
    let mut batch = Batch::with_capacity(5);
    port.packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    assert_eq!(port.send(&mut batch).unwrap(), 5);
    assert_eq!(port.flush().unwrap(), 5, "the card takes its time");
    drop(port);
    // 16 to receive into, 5 to send.
    assert_eq!((pool.with_kernel(), pool.quarantined(), free_frames(&pool)), (21, 21, 107));
    check_frames(&kernel, &pool);
    assert_eq!((pool.reclaim(), pool.quarantined()), (0, 21), "the queue is not released");
    // Packets that arrive now must not be written into frames that somebody else has.
    let held: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    cards[0].inject(0, &[9; 60]).unwrap();
    kernel.run_until_idle(1000);
    assert!(held.iter().all(|packet| packet.is_empty()));
    drop(held);
    // Seen free: opening another queue looks, without opening this one.
    let other = Port::open(&pool, "one", 1, config()).unwrap();
    assert_eq!((pool.quarantined(), pool.with_kernel()), (0, 16));
    drop(other);
    kernel.run_until_idle(1000);
    assert_eq!((pool.reclaim(), free_frames(&pool)), (16, 128));
}

#[test]
fn opening_again_releases_what_was_kept_apart() {
    let (kernel, _cards) = cards(1);
    let pool = pool(&kernel);
    for _ in 0..20 {
        // Waits for the release, in virtual time.
        let port = Port::open(&pool, "one", 0, config()).unwrap();
        assert_eq!((port.mode(), pool.quarantined(), pool.with_kernel()), (Mode::ZeroCopy, 0, 16));
        drop(port);
        assert_eq!(pool.quarantined(), 16);
    }
    // The memory outlives its pool for as long as the kernel has it.
    drop(pool);
    kernel.run_until_idle(1000);
    kernel.check().unwrap();
    kernel.frames().check().unwrap();
}

/// All that are not with the user are kept apart: opening waits until the card is done.
#[test]
fn opening_waits_for_frames() {
    let (kernel, _cards) = cards(1);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(16)).unwrap();
    let port = Port::open(&pool, "one", 0, config().fill_level(16)).unwrap();
    drop(port);
    assert_eq!((pool.quarantined(), free_frames(&pool)), (16, 0));
    let start = kernel.now();
    let port = Port::open(&pool, "one", 0, config().fill_level(16)).unwrap();
    assert!(kernel.now() - start < Duration::from_secs(1));
    drop(port);
    let error = Port::open(&pool, "one", 0, config().busy_timeout(Duration::ZERO)).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoFrames, "{error}");
    // The user has them: nothing to wait for.
    kernel.run_until_idle(1000);
    pool.reclaim();
    let held: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    let start = kernel.now();
    let error = Port::open(&pool, "one", 0, config()).unwrap_err();
    assert_eq!((held.len(), error.diagnosis()), (16, &Diagnosis::NoFrames), "{error}");
    assert!(kernel.now() - start < Duration::from_millis(1));
}

/// To send in copy mode no frames are needed, so none are waited for.
#[test]
fn opening_waits_for_no_frames_that_it_does_not_need() {
    let (kernel, _cards) = cards(2);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(16)).unwrap();
    drop(Port::open(&pool, "one", 0, config().fill_level(16)).unwrap());
    assert_eq!((pool.quarantined(), free_frames(&pool)), (16, 0));
    let late = kernel.fault(FaultRule::delay_napi(Duration::from_secs(1)..Duration::from_secs(2)));
    let start = kernel.now();
    let tx = PortTx::open(&pool, "two", 0, config().fill_level(0)).unwrap();
    assert!(kernel.now() - start < Duration::from_millis(1), "{:?}", kernel.now() - start);
    assert_eq!(pool.quarantined(), 16, "they are still the card's");
    drop((tx, late));
}

#[test]
fn large_packets_have_segments() {
    let kernel = SimKernel::new(2);
    let card = kernel.card("one", &DeviceConfig::default().zero_copy(true).mtu(9000)).unwrap();
    let pool = pool(&kernel);
    let config = config().multi_buffer(true).mode(Mode::ZeroCopy);
    let mut port = Port::open(&pool, "one", 0, config).unwrap();
    let jumbo: Vec<u8> = (0..9014).map(|i| (i % 251) as u8).collect();
    for _ in 0..10 {
        card.inject(0, &jumbo).unwrap();
        kernel.run_until_idle(1000);
        assert_eq!(
            port.forward(|packet| {
                assert_eq!((packet.is_linear(), packet.total_len()), (false, 9014));
                Verdict::Send
            })
            .unwrap()
            .sent,
            1
        );
        kernel.run_until_idle(1000);
        assert_eq!(card.sent().as_ref(), Some(&jumbo));
        port.flush().unwrap();
        check_frames(&kernel, &pool);
    }
}

#[test]
fn the_card_goes_down_and_up_and_away() {
    let (kernel, [one, _two]) = cards(1);
    let pool = pool(&kernel);
    let mut port = Port::open(&pool, "one", 0, config()).unwrap();
    one.set_up(false);
    kernel.run_until_idle(1000);
    check_frames(&kernel, &pool);
    let error = port.wait(Some(Duration::from_millis(1))).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::InterfaceDown, "{error}");
    one.set_up(true);
    inject(&kernel, &one, 1..4);
    assert_eq!(received(&mut port).len(), 3);
    check_frames(&kernel, &pool);
    one.remove();
    let error = port.wait(Some(Duration::from_millis(1))).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::InterfaceGone, "{error}");
    drop(port);
    kernel.run_until_idle(1000);
    // Nobody can say when a card that is gone is done: these wait for the end of the pool.
    assert_eq!((pool.reclaim(), free_frames(&pool) as u32 + pool.quarantined()), (0, 128));
    assert!(kernel.interface(c"one").is_err());
}

/// Random histories are in `histories`; this is one with everything late.
#[test]
fn late_completions_lose_nothing() {
    let (kernel, cards) = cards(1);
    let pool = pool(&kernel);
    let late = Duration::from_micros(1)..Duration::from_millis(3);
    let faults =
        [FaultRule::delay_completions(late.clone()).chance(0.5), FaultRule::delay_napi(late).chance(0.5)]
            .map(|rule| kernel.fault(rule));
    let mut port = Port::open(&pool, "one", 0, config()).unwrap();
    let mut count = 0;
    for round in 0..200_u8 {
        cards[0].inject(0, &[round; 60]).unwrap();
        kernel.run_until_idle(3);
        count += port.forward(|_| Verdict::Send).unwrap().sent;
        check_frames(&kernel, &pool);
    }
    drop(faults);
    for _ in 0..100 {
        kernel.run_until_idle(1000);
        count += port.forward(|_| Verdict::Send).unwrap().sent;
    }
    kernel.run_until_idle(1000);
    assert_eq!(port.flush().unwrap(), 0);
    let lost = port.interface_counters().unwrap().rx_dropped.unwrap() as usize;
    assert_eq!((count + lost, sent(&cards[0]).len()), (200, count));
    assert!(count > 100, "{count} and {lost}");
}
