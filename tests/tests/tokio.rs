//! Ports that tokio waits for, on Linux.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(dead_code, missing_docs, unreachable_pub, reason = "the example is a program")]

#[path = "../../crates/xsk/examples/async_echo.rs"]
mod async_echo;

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use xsk::error::Diagnosis;
use xsk::port::{AsyncPort, PortError};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_sim::{DeviceConfig, SimKernel};
use xsk_tests::frame;
use xsk_veth::{Namespace, Tap, VethPair};

const SECOND: Duration = Duration::from_secs(1);

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
        let config = PortConfig::default().tx_ring(16).completion_ring(16);
        let port = Port::open(&pool, pair.b.name(), 0, config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(AsyncPort::new(port).unwrap(), tap, pair).await });
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
    let port = Port::open(&pool, "a", 0, PortConfig::default().tx_ring(16).completion_ring(16)).unwrap();
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
