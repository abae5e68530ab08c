//! Frames that a closed port left with the kernel, and when they come back.

use std::time::Duration;

use xsk::error::Diagnosis;
use xsk::port::PortTx;
use xsk::{Batch, Pool, Port};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel};

use crate::kit::{config, free_frames, pool, port, received, world};

/// A port of `a` that is closed while four packets are on their way, which the kernel holds for a millisecond.
fn closed_too_early(kernel: &SimKernel, b: &SimDevice, pool: &Pool) {
    b.set_stack_delay(Duration::from_millis(1));
    let mut port = port(pool, "a");
    let mut batch = Batch::with_capacity(4);
    port.packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    assert_eq!(port.send(&mut batch).unwrap(), 4);
    assert_eq!(port.flush().unwrap(), 4);
    drop(port);
    assert_eq!((pool.quarantined(), free_frames(pool)), (4, 60));
    kernel.check().unwrap();
}

#[test]
fn a_queue_that_is_seen_to_be_released_gives_its_frames_back() {
    let (kernel, _a, b) = world(2);
    let pool = pool(&kernel, 64);
    closed_too_early(&kernel, &b, &pool);
    // Not as long as the kernel has them.
    assert_eq!((pool.reclaim(), pool.quarantined()), (0, 4));
    kernel.run_until_idle(1000);
    assert_eq!((pool.reclaim(), pool.quarantined(), free_frames(&pool)), (4, 0, 64));
    assert_eq!(pool.reclaim(), 0);
    // Opening a port of another queue looks as well.
    closed_too_early(&kernel, &b, &pool);
    kernel.run_until_idle(1000);
    let second = Port::open(&pool, "a", 1, config()).unwrap();
    assert_eq!(pool.quarantined(), 0);
    drop(second);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

/// A kernel that said nothing while the socket was bound is not believed when it says that none is.
#[test]
fn a_kernel_that_does_not_tell_is_not_believed() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mute = kernel.fault(FaultRule::errno(Call::QueueIsBound, xsk_core::errno::EOPNOTSUPP));
    closed_too_early(&kernel, &b, &pool);
    drop(mute);
    kernel.run_until_idle(1000);
    assert_eq!((pool.reclaim(), pool.quarantined()), (0, 4));
    drop(port(&pool, "a"));
    assert_eq!((pool.quarantined(), free_frames(&pool)), (0, 64));
    // Nor is an answer that is an error, nor is there one from elsewhere.
    closed_too_early(&kernel, &b, &pool);
    kernel.run_until_idle(1000);
    for call in [Call::QueueIsBound, Call::Namespace] {
        let broken = kernel.fault(FaultRule::errno(call, xsk_core::errno::EIO));
        assert_eq!((pool.reclaim(), broken.hits()), (0, 1));
    }
    assert_eq!(pool.reclaim(), 4);
}

/// Somebody else has the queue: nothing is known of who had it before, so nothing is taken back.
#[test]
fn a_queue_that_somebody_else_has() {
    let (kernel, _a, b) = world(1);
    let (pool, other) = (pool(&kernel, 64), pool(&kernel, 64));
    closed_too_early(&kernel, &b, &pool);
    kernel.run_until_idle(1000);
    let theirs = port(&other, "a");
    assert_eq!(pool.reclaim(), 0);
    drop(theirs);
    kernel.run_until_idle(1000);
    assert_eq!((pool.reclaim(), free_frames(&pool)), (4, 64));
}

/// With zero copy before Linux 6.14 nobody says that a closed port's frames are free. If they are all there are, the next port
/// of that queue is opened without, and has them then.
#[test]
fn a_queue_that_has_every_frame_is_opened_again() {
    let kernel = SimKernel::with_profile(3, Profile::LINUX_6_12);
    let card = kernel.card("a", &DeviceConfig::default().zero_copy(true).queues(2)).unwrap();
    let pool = pool(&kernel, 16);
    let open = |queue| Port::open(&pool, "a", queue, config().fill_level(16));
    drop(open(0).unwrap());
    kernel.run_until_idle(1000);
    assert_eq!((pool.reclaim(), pool.quarantined(), free_frames(&pool)), (0, 16, 0));
    let error = open(1).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoFrames, "{error}");
    let mut port = open(0).unwrap();
    assert_eq!((pool.quarantined(), pool.with_kernel()), (0, 16));
    card.inject(0, &[1; 60]).unwrap();
    assert!(port.wait(Some(Duration::from_millis(10))).unwrap());
    assert_eq!(received(&mut port), [[1; 60]]);
    drop(port);
    // A port that only sends is opened without as well.
    kernel.run_until_idle(1000);
    let tx = PortTx::open(&pool, "a", 0, config().fill_level(16)).unwrap();
    assert_eq!(pool.quarantined(), 0);
    drop(tx);
}
