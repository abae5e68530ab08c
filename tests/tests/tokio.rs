//! Ports that tokio waits for, on Linux.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(dead_code, missing_docs, unreachable_pub, reason = "the example is a program")]

#[path = "../../crates/xsk/examples/async_echo.rs"]
mod async_echo;

use std::future::Future;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};
use xsk::error::Diagnosis;
use xsk::error::errno::EAGAIN;
use xsk::port::{AsyncPort, PortError};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};
use xsk_tests::frame;
use xsk_veth::{Namespace, Tap, VethPair};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> PortConfig {
    PortConfig::default().tx_ring(16).completion_ring(16)
}

/// Runs a future with a port, on this thread.
fn block_on<F: Future<Output = ()>>(port: Port, test: impl FnOnce(AsyncPort) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test(AsyncPort::new(port).unwrap()).await });
}

/// Runs a future with a port, in a network of its own.
fn with_port<F: Future<Output = ()>>(test: impl FnOnce(AsyncPort, Tap, VethPair) -> F + Send) {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let tap = Tap::open(&ns, pair.a.name()).unwrap();
    ns.run(|| {
        let pool = Pool::new(PoolConfig::default().frames(256)).unwrap();
        let port = Port::open(&pool, pair.b.name(), 0, config()).unwrap();
        block_on(port, |port| test(port, tap, pair));
    });
}

#[test]
fn debug_output_is_that_of_the_port() {
    with_port(|port, _tap, _pair| async move {
        assert_eq!(format!("{port:?}"), format!("AsyncPort({:?})", port.get_ref()));
    });
}

/// What is awaited can be in a task of any thread.
#[test]
fn tasks_may_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    with_port(|mut port, _tap, _pair| async move {
        let mut batch = Batch::new();
        is_send(&port.recv(&mut batch));
        is_send(&port.send(&mut batch));
    });
}

#[test]
fn packets_are_awaited() {
    with_port(|port, tap, _pair| async move {
        let echo = async_echo::echo(port);
        let client = async {
            for i in 0..50_u8 {
                sleep(Duration::from_millis(u64::from(i % 3))).await;
                tap.send(&frame(60, i)).unwrap();
                let mut back = None;
                for _ in 0..1000 {
                    back = tap.recv(Duration::ZERO).unwrap();
                    if back.is_some() {
                        break;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                let back = back.expect("an echo");
                assert_eq!((&back[..6], back[20]), (&frame(60, i)[6..12], i));
            }
        };
        tokio::select! {
            ended = echo => panic!("{ended:?}"),
            () = client => {}
        }
    });
}

#[test]
fn the_echo_runs_on_the_simulated_kernel() {
    let (kernel, background) = SimKernel::threaded(1).unwrap();
    let card = kernel.card("a", &DeviceConfig::default()).unwrap();
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(64)).unwrap();
    let port = Port::open(&pool, "a", 0, config()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = async {
        for i in 0..200_u8 {
            sleep(Duration::from_millis(u64::from(i % 2))).await;
            card.inject(0, &frame(60, i)).unwrap();
            let back = loop {
                if let Some(back) = card.sent() {
                    break back;
                }
                sleep(Duration::from_millis(1)).await;
            };
            assert_eq!((&back[..6], &back[6..12], back[20]), (&frame(60, i)[6..12], &frame(60, i)[..6], i));
        }
    };
    runtime.block_on(async {
        tokio::select! {
            ended = async_echo::echo(AsyncPort::new(port).unwrap()) => panic!("{ended:?}"),
            done = timeout(30 * SECOND, client) => done.expect("in time"),
        }
    });
    drop(background);
    kernel.frames().check().unwrap();
}

#[test]
fn a_cancelled_wait_loses_nothing() {
    with_port(|mut port, tap, _pair| async move {
        let mut batch = Batch::new();
        for i in 0..20 {
            assert!(timeout(Duration::from_millis(2), port.recv(&mut batch)).await.is_err());
            tap.send(&frame(60, i)).unwrap();
            let received = timeout(SECOND, port.recv(&mut batch)).await.expect("in time").unwrap();
            assert_eq!((received, batch.pop().unwrap()[20]), (1, i));
        }
        // Four times as many as the ring takes.
        port.get_mut().packets(&mut batch);
        for (i, packet) in batch.iter_mut().enumerate() {
            packet.extend_from_slice(&frame(60, i as u8)).unwrap();
        }
        assert_eq!(batch.len(), 64);
        timeout(SECOND, port.send(&mut batch)).await.expect("in time").unwrap();
        for i in 0..64 {
            assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60, i)));
        }
        assert_eq!(port.into_inner().flush().unwrap(), 0);
    });
}

#[test]
fn a_device_that_goes_away_ends_the_wait() {
    with_port(|mut port, _tap, pair| async move {
        let mut batch = Batch::new();
        let waits = async { timeout(3 * SECOND, port.recv(&mut batch)).await.expect("in time") };
        let goes = async {
            sleep(Duration::from_millis(50)).await;
            pair.delete().unwrap();
        };
        let (waited, ()): (Result<usize, PortError>, ()) = tokio::join!(waits, goes);
        assert_eq!(*waited.unwrap_err().diagnosis(), Diagnosis::InterfaceGone);
    });
}

/// Runs a future with a port on a card of the simulated kernel, which goes on by itself.
fn with_card<F: Future<Output = ()>>(test: impl FnOnce(AsyncPort, SimDevice) -> F) {
    with_device(|kernel| kernel.card("a", &DeviceConfig::default()).unwrap(), config(), test);
}

/// On device "a".
fn with_device<F: Future<Output = ()>>(
    make: impl FnOnce(&SimKernel) -> SimDevice,
    config: PortConfig,
    test: impl FnOnce(AsyncPort, SimDevice) -> F,
) {
    let (kernel, background) = SimKernel::threaded(1).unwrap();
    let device = make(&kernel);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(256)).unwrap();
    let port = Port::open(&pool, "a", 0, config).unwrap();
    block_on(port, |port| test(port, device));
    drop(background);
    kernel.frames().check().unwrap();
}

fn fill(port: &mut AsyncPort, batch: &mut Batch) {
    port.get_mut().packets(batch);
    for (i, packet) in batch.iter_mut().enumerate() {
        packet.extend_from_slice(&frame(60, i as u8)).unwrap();
    }
}

async fn sent(card: &SimDevice, count: usize) -> Vec<u8> {
    let mut tags = Vec::new();
    while tags.len() < count {
        match card.sent() {
            Some(frame) => tags.push(frame[20]),
            None => sleep(Duration::from_millis(1)).await,
        }
    }
    tags
}

#[test]
fn what_is_there_already_is_not_waited_for() {
    with_card(|mut port, card| async move {
        let mut batch = Batch::with_capacity(5);
        for expected in [3, 2] {
            (0..3).for_each(|i| card.inject(0, &frame(60, i)).unwrap());
            assert!(port.get_mut().wait(Some(SECOND)).unwrap());
            while port.get_mut().stats().unwrap().rx_waiting < 3 {
                sleep(Duration::from_millis(1)).await;
            }
            let received = timeout(10 * SECOND, port.recv(&mut batch)).await.expect("at once").unwrap();
            assert_eq!(received, expected, "as many as there is room for");
        }
        // There is no room, so there is nothing to wait for.
        assert_eq!(timeout(10 * SECOND, port.recv(&mut batch)).await.expect("at once").unwrap(), 0);
    });
}

#[test]
fn sending_to_a_device_that_is_down_ends() {
    with_card(|mut port, card| async move {
        let mut batch = Batch::new();
        fill(&mut port, &mut batch);
        card.set_up(false);
        let sends = timeout(10 * SECOND, port.send(&mut batch)).await.expect("in time");
        assert_eq!(*sends.unwrap_err().diagnosis(), Diagnosis::InterfaceDown);
        assert_eq!((batch.len(), batch[0][20]), (48, 16), "it begins with what was not sent");
    });
}

/// A link that is reset by its driver is down for a moment.
#[test]
fn sending_outlasts_a_device_that_is_down_for_a_moment() {
    with_card(|mut port, card| async move {
        let mut batch = Batch::new();
        fill(&mut port, &mut batch);
        card.set_up(false);
        let (sends, ()) = tokio::join!(timeout(10 * SECOND, port.send(&mut batch)), async {
            sleep(Duration::from_millis(50)).await;
            card.set_up(true);
        });
        sends.expect("in time").unwrap();
        assert_eq!(sent(&card, 64).await, (0..64).collect::<Vec<u8>>());
    });
}

/// As long as packets go out it does not sleep, also where the ring stays more than half full, and so is not writable.
#[test]
fn sending_goes_on_while_there_is_room() {
    let veth = |kernel: &SimKernel| kernel.veth("a", "b", &DeviceConfig::default()).unwrap().1;
    with_device(veth, config().completion_ring(4), |mut port, peer| async move {
        let mut batch = Batch::new();
        let all = async {
            for _ in 0..100 {
                fill(&mut port, &mut batch);
                port.send(&mut batch).await.unwrap();
                while port.get_mut().flush().unwrap() > 0 {}
                let tags: Vec<u8> = std::iter::from_fn(|| peer.receive()).map(|frame| frame[20]).collect();
                assert_eq!(tags, (0..64).collect::<Vec<u8>>());
            }
        };
        // 16 seconds, if it slept for 10 ms after each four packets.
        timeout(8 * SECOND, all).await.expect("in time");
    });
}

/// Runs a future with a port on a card of a kernel in virtual time.
fn with_virtual_card<F: Future<Output = ()>>(test: impl FnOnce(AsyncPort, SimKernel, SimDevice) -> F) {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default()).unwrap();
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(64)).unwrap();
    let port = Port::open(&pool, "a", 0, config()).unwrap();
    block_on(port, |port| test(port, kernel, card));
}

/// There is a packet for each call, and room.
#[test]
fn a_busy_port_lets_other_tasks_run() {
    with_virtual_card(|mut port, _kernel, card| async move {
        let mut batch = Batch::new();
        let other = tokio::spawn(async {});
        for i in 0.. {
            assert!(i < 1000, "recv keeps the thread");
            card.inject(0, &frame(60, 1)).unwrap();
            assert_eq!(port.recv(&mut batch).await.unwrap(), 1);
            batch.clear();
            if other.is_finished() {
                break;
            }
        }
        let other = tokio::spawn(async {});
        for i in 0.. {
            assert!(i < 1000, "send keeps the thread");
            let mut packet = port.get_mut().packet().unwrap();
            packet.extend_from_slice(&frame(60, 1)).unwrap();
            batch.push(packet).unwrap();
            port.send(&mut batch).await.unwrap();
            if other.is_finished() {
                break;
            }
        }
    });
}

/// As [`Port::wait`] does.
#[test]
fn what_was_sent_goes_out_before_it_sleeps() {
    with_virtual_card(|mut port, kernel, card| async move {
        let mut batch = Batch::with_capacity(16);
        fill(&mut port, &mut batch);
        // The kernel is busy at first.
        let busy = kernel.fault(FaultRule::errno(Call::SendTo, EAGAIN));
        port.send(&mut batch).await.unwrap();
        drop(busy);
        assert!(batch.is_empty() && card.sent().is_none());
        assert!(timeout(Duration::from_millis(2), port.recv(&mut batch)).await.is_err());
        assert_eq!(std::iter::from_fn(|| card.sent()).count(), 16);
    });
}

/// What waits for the descriptor itself has to ask.
#[test]
fn a_descriptor_says_nothing_of_a_device_that_is_gone() {
    with_port(|mut port, _tap, pair| async move {
        let descriptor = port.get_ref().poll_fd().unwrap().try_clone_to_owned().unwrap();
        #[expect(deprecated, reason = "the descriptor is the test's own, and stays open")]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE).unwrap();
        pair.delete().unwrap();
        assert!(timeout(Duration::from_millis(300), descriptor.readable()).await.is_err());
        let error = port.get_mut().wait(Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(*error.diagnosis(), Diagnosis::InterfaceGone, "{error}");
        // Without a time it asks now and then only.
        let asked = (0..64).map(|_| port.get_mut().wait(Some(Duration::ZERO)));
        assert_eq!(asked.filter(Result::is_err).count(), 1);
    });
}

/// A port of a kernel in virtual time, whose packets are completed so long after they were sent, four at once.
fn slow(delay: Duration) -> (SimKernel, Port) {
    let kernel = SimKernel::new(1);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    b.set_stack_delay(delay);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(256)).unwrap();
    let port = Port::open(&pool, "a", 0, config().completion_ring(4)).unwrap();
    (kernel, port)
}

/// Nothing tells of completions: it looks for them before it sleeps, which is a millisecond at least.
#[test]
fn completions_that_are_soon_there_are_not_slept_for() {
    let (kernel, port) = slow(Duration::from_micros(50));
    // Without timers, so it cannot sleep.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let start = kernel.time();
    runtime.block_on(async {
        let (mut port, mut batch) = (AsyncPort::new(port).unwrap(), Batch::new());
        fill(&mut port, &mut batch);
        port.send(&mut batch).await.unwrap();
    });
    // The ring holds the last 16 of 64.
    let took = kernel.time() - start;
    assert!(took >= 10 * Duration::from_micros(50), "{took:?}");
}

#[test]
fn the_longer_there_is_no_room_the_longer_it_sleeps() {
    let (_kernel, port) = slow(100 * SECOND);
    block_on(port, |mut port| async move {
        let mut batch = Batch::new();
        fill(&mut port, &mut batch);
        assert!(timeout(SECOND / 2, port.send(&mut batch)).await.is_err());
        // Four went out, as many as the completion ring has entries, 16 are on the ring.
        assert_eq!((batch.len(), batch[0][20]), (44, 20), "and the others are still there");
        // Looking for 100 microseconds, each of which is a call here, and sleeping for 1, 2, 4, 8 and then 10 milliseconds.
        let wakeups = port.get_mut().stats().unwrap().tx_wakeups;
        assert!(wakeups < 100 + 4 + 49, "{wakeups}");
    });
}
