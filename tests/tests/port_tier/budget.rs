//! How much a wakeup sends.

use xsk::error::{Diagnosis, Step};
use xsk::port::PortConfig;
use xsk::{Batch, Pool, Port};
use xsk_core::errno::{EAGAIN, ENOMEM};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, Profile, SimKernel};

use crate::kit::{pool, world};

/// Sends 64 packets at once, and says how many wakeups that took.
fn wakeups(pool: &Pool, interface: &str, config: PortConfig) -> u64 {
    let mut port = Port::open(pool, interface, 0, config).unwrap();
    let mut batch = Batch::new();
    assert_eq!(port.packets(&mut batch), 64);
    batch.iter_mut().for_each(|packet| packet.extend_from_slice(&[7; 60]).unwrap());
    assert_eq!(port.send(&mut batch).unwrap(), 64);
    assert_eq!(port.flush().unwrap(), 0);
    port.stats().unwrap().tx_wakeups
}

fn config() -> PortConfig {
    PortConfig::default().fill_level(16)
}

#[test]
fn a_batch_takes_one_wakeup_where_the_kernel_can_be_told() {
    let (kernel, _a, _b) = world(1);
    let pool_of = |kernel: &SimKernel| pool(kernel, 256);
    let now = pool_of(&kernel);
    assert_eq!(wakeups(&now, "a", config()), 1);
    assert_eq!(wakeups(&now, "a", config().tx_budget(32)), 2);
    assert_eq!(wakeups(&now, "a", config().tx_budget(2048)), 1);
    let old = SimKernel::with_profile(3, Profile::LINUX_6_12);
    old.veth("a", "b", &DeviceConfig::default()).unwrap();
    for config in [config(), config().tx_budget(2048)] {
        assert_eq!(wakeups(&pool_of(&old), "a", config), 2);
    }
}

#[test]
fn small_rings_have_the_kernels_budget() {
    let (kernel, _a, _b) = world(1);
    // After the four rings: nobody is told of a budget.
    for entries in [1, 16, 32] {
        let pool = pool(&kernel, 256);
        let fifth = kernel.fault(FaultRule::errno(Call::SetSockOpt, ENOMEM).nth(5));
        Port::open(&pool, "a", 0, config().tx_ring(entries)).unwrap();
        assert_eq!(fifth.hits(), 0, "{entries}");
    }
}

#[test]
fn budgets_that_cannot_be_are_refused() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 256);
    for (entries, budget) in [(64, 31), (64, 65), (64, 0), (16, 16), (16, 32), (2048, u32::MAX)] {
        let error = Port::open(&pool, "a", 0, config().tx_ring(entries).tx_budget(budget)).unwrap_err();
        assert_eq!(error.step(), Step::CheckConfig);
        assert_eq!(*error.diagnosis(), Diagnosis::TxBudget { entries });
        let text = error.to_string();
        assert!(text.contains(&format!("a TX budget of {budget}")) && text.contains("32"), "{text}");
    }
    for budget in [32, 64] {
        Port::open(&pool, "a", 0, config().tx_ring(64).tx_budget(budget)).unwrap();
    }
}

#[test]
fn a_kernel_that_fails_at_it_is_reported() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 256);
    // After the four rings.
    let _full = kernel.fault(FaultRule::errno(Call::SetSockOpt, ENOMEM).nth(5));
    let error = Port::open(&pool, "a", 0, config()).unwrap_err();
    assert_eq!((error.step(), error.errno()), (Step::TxBudget, Some(ENOMEM)));
}

/// 16 or 32 for each wakeup: as many wakeups as that takes.
#[test]
fn what_an_old_kernel_sends_in_parts_is_sent_by_one_call() {
    for (profile, wakeups) in [(Profile::LINUX_6_12, 8), (Profile::LINUX_6_1, 8), (Profile::LINUX_5_10, 16)] {
        let kernel = SimKernel::with_profile(3, profile);
        let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let pool = pool(&kernel, 512);
        let mut port = Port::open(&pool, "a", 0, config()).unwrap();
        let mut batch = Batch::with_capacity(256);
        assert_eq!(port.packets(&mut batch), 256);
        batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
        assert_eq!(port.send(&mut batch).unwrap(), 256);
        let stats = port.stats().unwrap();
        assert_eq!((stats.tx_waiting, stats.tx_wakeups), (0, wakeups));
        assert_eq!(std::iter::from_fn(|| b.receive()).count(), 256);
    }
}

/// The kernel ends a pass with each packet that the driver drops: a call does not go on for all of them.
#[test]
fn a_call_makes_few_wakeups_where_each_does_little() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let mut batch = Batch::with_capacity(16);
    port.packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.resize(1600).unwrap());
    assert_eq!(port.send(&mut batch).unwrap(), 16);
    let stats = port.stats().unwrap();
    assert_eq!((stats.tx_wakeups, stats.tx_dropped), (2, 2));
    for _ in 0..7 {
        port.flush().unwrap();
    }
    let stats = port.stats().unwrap();
    assert_eq!((stats.tx_dropped, stats.unfinished), (16, 0));
}

#[test]
fn a_wakeup_that_does_nothing_is_not_repeated_at_once() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 128);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let busy = kernel.fault(FaultRule::errno(Call::SendTo, EAGAIN));
    let mut packet = port.packet().unwrap();
    packet.resize(60).unwrap();
    port.send_one(packet).unwrap();
    assert_eq!(busy.hits(), 1);
    assert_eq!((port.flush().unwrap(), busy.hits()), (1, 2));
    // Of 64 more, 48 may have gone out unseen.
    let mut batch = Batch::with_capacity(64);
    port.packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    assert_eq!((port.send(&mut batch).unwrap(), busy.hits()), (64, 6));
    assert_eq!((port.flush().unwrap(), busy.hits()), (65, 7));
    drop(busy);
    assert_eq!((port.flush().unwrap(), std::iter::from_fn(|| b.receive()).count()), (0, 65));
}

/// The kernel says that it has done all it can: nothing is asked again that it did not ask for.
#[test]
fn a_wakeup_that_is_lost_is_not_repeated_at_once() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 128);
    let mut port = Port::open(&pool, "a", 0, config()).unwrap();
    let lost = kernel.fault(FaultRule::lose_kicks());
    let mut batch = Batch::with_capacity(16);
    port.packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    assert_eq!((port.send(&mut batch).unwrap(), lost.hits()), (16, 1));
    drop(lost);
    assert_eq!((port.flush().unwrap(), std::iter::from_fn(|| b.receive()).count()), (0, 16));
}
