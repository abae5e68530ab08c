//! The port tier on Linux.

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use xsk::config::XdpFlags;
use xsk::port::{Mode, Verdict};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_veth::{ETHERTYPE_TEST, Namespace, Tap, VethPair};

use crate::histories::{Op, User, op};
use crate::kit::free_frames;

const MODES: [XdpFlags; 2] = [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE];
const SECOND: Duration = Duration::from_secs(1);

fn frame(len: usize, tag: u8) -> Vec<u8> {
    let mut frame = vec![tag; len];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ETHERTYPE_TEST.to_be_bytes());
    frame
}

fn config(mode: XdpFlags) -> PortConfig {
    PortConfig::default().xdp_flags(mode).rx_ring(64).tx_ring(64).fill_ring(64).completion_ring(64)
}

#[test]
fn packets_go_in_and_out() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        ns.run(|| {
            let pool = Pool::new(PoolConfig::default().frames(256)).unwrap();
            let mut port = Port::open(&pool, pair.b.name(), 0, config(mode)).unwrap();
            assert_eq!(port.mode(), Mode::Copy);
            assert!(pair.b.xdp().unwrap().is_some());
            let mut batch = Batch::new();
            tap.send(&frame(60, 1)).unwrap();
            assert!(port.wait(Some(SECOND)).unwrap());
            assert_eq!(port.recv(&mut batch).unwrap(), 1);
            assert_eq!(*batch[0], frame(60, 1));
            batch[0].extend_from_slice(&[7; 40]).unwrap();
            assert_eq!(port.send(&mut batch).unwrap(), 1);
            assert_eq!(tap.recv(SECOND).unwrap().unwrap()[60..], [7; 40]);

            // A burst larger than what the kernel sends at once.
            assert_eq!(port.packets(&mut batch), 64);
            for (i, packet) in batch.iter_mut().enumerate() {
                packet.extend_from_slice(&frame(60 + i, i as u8)).unwrap();
            }
            assert_eq!(port.send(&mut batch).unwrap(), 64);
            for i in 0..64 {
                assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60 + i, i as u8)));
            }

            tap.send(&frame(60, 2)).unwrap();
            tap.send(&frame(61, 3)).unwrap();
            let mut seen = 0;
            let deadline = Instant::now() + SECOND;
            while seen < 2 && Instant::now() < deadline {
                let done =
                    port.forward(|packet| if packet.len() == 60 { Verdict::Drop } else { Verdict::Send });
                seen += done.unwrap().received;
            }
            assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, 3)));
            assert!(!port.wait(Some(Duration::from_millis(10))).unwrap());
            let deadline = Instant::now() + SECOND;
            while port.flush().unwrap() > 0 && Instant::now() < deadline {}
            drop(port);
            assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
        });
        assert!(pair.b.xdp().unwrap().is_none(), "the program is gone with the port");
    }
}

/// A few of the histories that the simulated kernel gets by the hundred.
#[test]
fn histories() {
    if !xsk_veth::require() {
        return;
    }
    let mut runner = TestRunner::deterministic();
    for mode in MODES {
        for _ in 0..4 {
            let ops = proptest::collection::vec(op(), 60..80).new_tree(&mut runner).unwrap().current();
            let ns = Namespace::new().unwrap();
            let pairs = ["0", "1"].map(|i| {
                let name = |end: &str| end.to_owned() + i;
                let builder = VethPair::builder(&ns, &ns);
                builder.a(|a| a.name(name("a"))).b(|b| b.name(name("b"))).build().unwrap()
            });
            let taps = [0, 1].map(|i| Tap::open(&ns, pairs[i].a.name()).unwrap());
            ns.run(|| {
                let pool = Pool::new(PoolConfig::default().frames(64)).unwrap();
                let names = [pairs[0].b.name(), pairs[1].b.name()];
                let mut user = User::new(&pool, names, config(mode).fill_level(12));
                for op in &ops {
                    if let Op::Arrive { count, len } = *op {
                        for i in 0..count {
                            // Some are longer than the wire takes.
                            let _ = taps[usize::from(len % 2)].send(&frame(len.into(), i));
                        }
                    }
                    user.play(op);
                }
                let pool = user.end();
                assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64), "{ops:?}");
            });
        }
    }
}
