//! The port tier on Linux.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use xsk::backend::{Backend, default_backend};
use xsk::config::XdpFlags;
use xsk::error::Diagnosis;
use xsk::port::{BusyPoll, BusyPollAdvice, Mode, PortRx, PortTx, Verdict};
use xsk::program::XskMap;
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};
use xsk_tests::world::running_profile;
use xsk_veth::{ETHERTYPE_TEST, Namespace, Tap, VethPair};

use crate::histories::{Op, User, op};
use crate::kit::free_frames;

pub(crate) const MODES: [XdpFlags; 2] = [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE];
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn frame(len: usize, tag: u8) -> Vec<u8> {
    let mut frame = vec![tag; len];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ETHERTYPE_TEST.to_be_bytes());
    frame
}

pub(crate) fn config(mode: XdpFlags) -> PortConfig {
    PortConfig::default().xdp_flags(mode).rx_ring(64).tx_ring(64).fill_ring(64).completion_ring(64)
}

/// The simulated kernel of this one's version, and an end `a`, whose other end is `b`: what depends on the version it says.
pub(crate) fn simulated(mtu: u32) -> (SimKernel, SimDevice) {
    let kernel = SimKernel::with_profile(1, running_profile().unwrap_or_default());
    let (a, _) = kernel.veth("a", "b", &DeviceConfig::default().mtu(mtu)).unwrap();
    (kernel, a)
}

/// Whether this kernel's profile opens such ports. If not, Linux refuses them for the same reason, and the test is skipped.
pub(crate) fn opens(what: &str, of_pool: PoolConfig, mtu: u32, of_port: PortConfig) -> bool {
    let open = |backend: Arc<dyn Backend>, name: &str| {
        let pool = Pool::new_in(backend, of_pool.frames(64))?;
        Port::open(&pool, name, 0, of_port).map(drop)
    };
    let Err(expected) = open(simulated(mtu).0.backend(), "b") else { return true };
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).mtu(mtu).build().unwrap();
    let error = ns.run(|| open(default_backend(), pair.b.name()).unwrap_err());
    assert_eq!(error.diagnosis(), expected.diagnosis(), "{error}");
    xsk_veth::skip(&format!("this kernel refuses {what} ({expected})"));
    false
}

/// Runs `body` once for each mode, in a namespace of its own with a pair in it.
pub(crate) fn in_each_mode(body: impl Fn(&Namespace, &VethPair, XdpFlags) + Send + Sync) {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        ns.run(|| body(&ns, &pair, mode));
    }
}

#[test]
fn packets_go_in_and_out() {
    in_each_mode(|ns, pair, mode| {
        let tap = Tap::open(ns, pair.a.name()).unwrap();
        let pool = Pool::new(PoolConfig::default().frames(256)).unwrap();
        let mut port = Port::open(&pool, pair.b.name(), 0, config(mode)).unwrap();
        assert_eq!(port.mode(), Mode::Copy);
        assert!(pair.b.xdp().unwrap().is_some());
        let zero_copy = config(mode).mode(Mode::ZeroCopy);
        let other = Pool::new(PoolConfig::default().frames(16)).unwrap();
        let error = Port::open(&other, pair.a.name(), 0, zero_copy).unwrap_err();
        assert_eq!(*error.diagnosis(), Diagnosis::NoZeroCopy { driver: Some("veth".into()) }, "{error}");
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
            let done = port.forward(|packet| if packet.len() == 60 { Verdict::Drop } else { Verdict::Send });
            seen += done.unwrap().received;
        }
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, 3)));
        assert!(!port.wait(Some(Duration::from_millis(10))).unwrap());
        let deadline = Instant::now() + SECOND;
        while port.flush().unwrap() > 0 && Instant::now() < deadline {}
        drop(port);
        assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
        assert!(pair.b.xdp().unwrap().is_none(), "the program is gone with the port");
    });
}

/// A few of the histories that the simulated kernel gets by the hundred, for each kind of pool and port. More with
/// `PROPTEST_CASES`.
#[test]
fn histories() {
    if !xsk_veth::require() {
        return;
    }
    let (plain, frames) = (config(MODES[0]), PoolConfig::default());
    let kinds = [
        ("ports", frames, 1500, plain),
        ("TX metadata", frames.tx_metadata(true).software_checksums(true), 1500, plain),
        ("small frames", frames.frame_size(2048).headroom(64), 3000, plain),
        ("busy polling", frames, 1500, plain.policy(BusyPoll::default().budget(4))),
        ("packets of several frames", frames, 6000, plain.multi_buffer(true)),
        ("several frames and TX metadata", frames.tx_metadata(true), 6000, plain.multi_buffer(true)),
    ];
    let kinds =
        kinds.into_iter().filter(|(what, of_pool, mtu, of_port)| opens(what, *of_pool, *mtu, *of_port));
    let kinds: Vec<_> = kinds.collect();
    let count = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(2);
    let mut runner = TestRunner::deterministic();
    for (mode, (_, of_pool, mtu, of_port)) in
        MODES.iter().flat_map(|mode| kinds.iter().map(|kind| (*mode, *kind)))
    {
        for _ in 0..count {
            let ops = proptest::collection::vec(op(), 60..80).new_tree(&mut runner).unwrap().current();
            let ns = Namespace::new().unwrap();
            let pairs = ["0", "1"].map(|i| {
                let name = |end: &str| end.to_owned() + i;
                let builder = VethPair::builder(&ns, &ns).mtu(mtu);
                builder.a(|a| a.name(name("a"))).b(|b| b.name(name("b"))).build().unwrap()
            });
            let taps = [0, 1].map(|i| Tap::open(&ns, pairs[i].a.name()).unwrap());
            ns.run(|| {
                let pool = Pool::new(of_pool.frames(64)).unwrap();
                let names = [pairs[0].b.name(), pairs[1].b.name()];
                let mut user = User::new(&pool, names, of_port.xdp_flags(mode).fill_level(12));
                for op in &ops {
                    if let Op::Arrive { count, len } = *op {
                        for i in 0..count {
                            // Some are longer than the wire takes.
                            let _ = taps[usize::from(len % 2)].send(&frame(len.into(), i));
                        }
                    }
                    user.play(op);
                    user.check_rings();
                }
                let pool = user.end();
                xsk_tests::eventually("the release of every frame", || {
                    pool.reclaim();
                    (pool.with_kernel(), free_frames(&pool)) == (0, 64)
                });
            });
        }
    }
}

#[test]
fn busy_polling_receives_and_sends() {
    let frames = PoolConfig::default();
    if !xsk_veth::require()
        || !opens("busy polling", frames, 1500, config(MODES[0]).policy(BusyPoll::default()))
    {
        return;
    }
    in_each_mode(|ns, pair, mode| {
        let tap = Tap::open(ns, pair.a.name()).unwrap();
        let pool = Pool::new(PoolConfig::default().frames(256)).unwrap();
        let busy = BusyPoll::default().time(Duration::from_micros(100)).budget(8);
        let mut port = Port::open(&pool, pair.b.name(), 0, config(mode).policy(busy)).unwrap();
        for tag in 0..20 {
            tap.send(&frame(60, tag)).unwrap();
            assert!(port.wait(Some(SECOND)).unwrap());
            assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 1);
            assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60, tag)));
        }
        assert!(!port.wait(Some(Duration::from_millis(2))).unwrap());
        // The sysfs of this process is of another namespace, which must not be taken for this one's.
        let advice = port.busy_poll_advice().unwrap();
        assert!(matches!(&advice[0], BusyPollAdvice::Unknown { reason, .. } if reason.contains("/sys")));
        assert_eq!(advice[1..], napi_after_a_packet(mode, busy));
        let error = Port::open(&pool, pair.a.name(), 0, config(mode).policy(busy.required())).unwrap_err();
        assert!(error.to_string().contains("/sys/class/net"), "{error}");
    });
}

/// What the profile says of the NAPI of a port that has received.
fn napi_after_a_packet(mode: XdpFlags, busy: BusyPoll) -> Vec<BusyPollAdvice> {
    let (kernel, a) = simulated(1500);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(64)).unwrap();
    let mut port = Port::open(&pool, "b", 0, config(mode).policy(busy)).unwrap();
    assert!(port.busy_poll_advice().unwrap().contains(&BusyPollAdvice::NoNapi));
    a.send(&frame(60, 1)).unwrap();
    assert!(port.wait(Some(SECOND)).unwrap());
    port.busy_poll_advice().unwrap().into_iter().filter(|advice| *advice == BusyPollAdvice::NoNapi).collect()
}

/// Runs again as a process of the namespace that has a sysfs of its own.
#[test]
fn busy_poll_advice_is_read_from_sysfs() {
    const CHILD: &str = "XSK_TESTS_OWN_SYSFS";
    let test = "veth::busy_poll_advice_is_read_from_sysfs";
    let busy = BusyPoll::default();
    if !xsk_veth::require()
        || !opens("busy polling", PoolConfig::default(), 1500, config(MODES[1]).policy(busy))
    {
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        let pool = Pool::new(PoolConfig::default().frames(64)).unwrap();
        let file = |file: &str| format!("/sys/class/net/b/{file}");
        let port = Port::open(&pool, "b", 0, config(MODES[1]).policy(busy)).unwrap();
        let advice = || port.busy_poll_advice().unwrap();
        let irqs = BusyPollAdvice::Write { file: file("napi_defer_hard_irqs"), value: 2 };
        let flush = BusyPollAdvice::Write { file: file("gro_flush_timeout"), value: 200_000 };
        assert_eq!(advice(), [irqs.clone(), flush, BusyPollAdvice::NoNapi]);
        std::fs::write(file("gro_flush_timeout"), "200000").unwrap();
        assert_eq!(advice(), [irqs, BusyPollAdvice::NoNapi]);
        std::fs::write(file("napi_defer_hard_irqs"), "2").unwrap();
        assert_eq!(advice(), [BusyPollAdvice::NoNapi]);
        drop(port);
        drop(Port::open(&pool, "b", 0, config(MODES[1]).policy(busy.required())).unwrap());
        return;
    }
    let ns = Namespace::new().unwrap();
    let _pair = VethPair::builder(&ns, &ns).a(|a| a.name("a")).b(|b| b.name("b")).build().unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t sysfs none /sys && exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    command.env(CHILD, "1").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let output = ns.spawn_command(&mut command).unwrap().wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A thread that forwards both ways sleeps until a packet comes on either side, also on a pool of its own.
#[test]
fn several_ports_are_waited_for_at_once() {
    in_each_mode(|ns, pair, mode| {
        let taps = [&pair.a, &pair.b].map(|end| Tap::open(ns, end.name()).unwrap());
        let mut ports = [&pair.a, &pair.b].map(|end| {
            let pool = Pool::new(PoolConfig::default().frames(64)).unwrap();
            Port::open(&pool, end.name(), 0, config(mode)).unwrap()
        });
        assert!(!Port::wait_any(&mut ports, Some(Duration::from_millis(2))).unwrap());
        for round in 0..20 {
            let side = round % 2;
            thread::scope(|scope| {
                let waiting = scope.spawn(|| Port::wait_any(&mut ports, Some(SECOND)).unwrap());
                taps[side].send(&frame(60, round as u8)).unwrap();
                assert!(waiting.join().unwrap());
            });
            let came = ports.each_mut().map(|port| port.for_each(|_| {}).unwrap());
            assert_eq!((came[side], came[1 - side]), (0, 1));
        }
    });
}

#[test]
fn one_sided_ports() {
    in_each_mode(|ns, pair, mode| {
        let tap = Tap::open(ns, pair.b.name()).unwrap();
        let pool = Pool::new(PoolConfig::default().frames(256)).unwrap();
        let mut tx = PortTx::open(&pool, pair.b.name(), 0, config(mode)).unwrap();
        // Frames to receive into are for drivers with zero copy, and for those of which the kernel does not tell.
        let of_sim = Pool::new_in(simulated(1500).0.backend(), PoolConfig::default().frames(256)).unwrap();
        let _tx = PortTx::open(&of_sim, "b", 0, config(mode)).unwrap();
        let filled = of_sim.with_kernel();
        assert_eq!((tx.mode(), pool.with_kernel(), pair.b.xdp().unwrap()), (Mode::Copy, filled, None));
        let mut rx = PortRx::open(&pool, pair.a.name(), 0, config(mode)).unwrap();
        let mut batch = Batch::new();
        for round in 0..20 {
            tx.packets(&mut batch);
            batch.iter_mut().for_each(|packet| packet.extend_from_slice(&frame(60, round)).unwrap());
            assert_eq!(tx.send(&mut batch).unwrap(), 64);
            let (mut seen, deadline) = (0, Instant::now() + SECOND);
            while seen < 64 && Instant::now() < deadline {
                rx.wait(Some(SECOND)).unwrap();
                seen += rx.for_each(|packet| assert_eq!(**packet, *frame(60, round))).unwrap();
            }
            assert_eq!(seen, 64);
            assert!(tx.wait(Some(SECOND)).unwrap());
        }
        // What arrives where only is sent goes to the stack, to the tap for one.
        let back = PortTx::open(&pool, pair.a.name(), 0, config(mode)).unwrap_err();
        assert!(back.to_string().contains("another port of this pool"), "{back}");
        drop(rx);
        let mut out = PortTx::open(&pool, pair.a.name(), 0, config(mode)).unwrap();
        let mut packet = out.packet().unwrap();
        packet.extend_from_slice(&frame(61, 9)).unwrap();
        out.send_one(packet).unwrap();
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, 9)));
        drop(out);

        // By a program and a map of one's own.
        let mut rx = PortRx::open(&pool, pair.a.name(), 0, config(mode).no_program()).unwrap();
        let map = XskMap::new(1).unwrap();
        map.insert_port_rx(0, &rx).unwrap();
        let program = xsk_tests::bpf::load_redirect(std::os::fd::AsFd::as_fd(&map), 0, 1).unwrap();
        let _link = xsk_tests::bpf::attach(&program, pair.a.ifindex(), mode).unwrap();
        let mut packet = tx.packet().unwrap();
        packet.extend_from_slice(&frame(62, 3)).unwrap();
        tx.send_one(packet).unwrap();
        assert!(rx.wait(Some(SECOND)).unwrap());
        assert_eq!(rx.for_each(|packet| assert_eq!(packet.len(), 62)).unwrap(), 1);
        let deadline = Instant::now() + SECOND;
        while tx.flush().unwrap() > 0 && Instant::now() < deadline {}
        drop((rx, tx));
        assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
    });
}

/// What the profile says of a queue that a port is on, and of one without.
fn queues_as_told() -> [Result<bool, Option<i32>>; 2] {
    let (kernel, _a) = simulated(1500);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(64)).unwrap();
    let _port = Port::open(&pool, "b", 0, config(MODES[0])).unwrap();
    let index = pool.backend().interface(c"b").unwrap().index;
    [0, 1].map(|queue| pool.backend().queue_is_bound(index, queue).map_err(|error| error.raw_os_error()))
}

/// Frames that were to be sent when a port was closed come back once the kernel says that it has released the queue, or where
/// it says nothing when the queue is opened again.
#[test]
fn frames_of_a_released_queue_come_back() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(2).build().unwrap();
        ns.run(|| {
            let [pool, other] = [0; 2].map(|_| Pool::new(PoolConfig::default().frames(256)).unwrap());
            let name = pair.b.name();
            let bound = |queue| pool.backend().queue_is_bound(pair.b.ifindex(), queue);
            let [open, other_queue] = queues_as_told();
            let close_with_packets = || {
                let mut port = Port::open(&pool, name, 0, config(mode)).unwrap();
                assert_eq!(
                    [0, 1].map(|queue| bound(queue).map_err(|error| error.raw_os_error())),
                    [open, other_queue]
                );
                pair.b.set_up(false).unwrap();
                let mut batch = Batch::with_capacity(4);
                port.packets(&mut batch);
                batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
                assert_eq!(port.send(&mut batch).unwrap(), 4);
                drop(port);
                assert_eq!(pool.quarantined(), 4);
            };
            close_with_packets();
            // Of an interface that is down the kernel says nothing, which is not that the queue is free.
            thread::sleep(Duration::from_millis(100));
            assert!(bound(0).is_err() || open == Ok(false));
            assert_eq!(pool.reclaim(), 0);
            pair.b.set_up(true).unwrap();
            if open != Ok(true) {
                thread::sleep(Duration::from_millis(100));
                assert_eq!((pool.reclaim(), pool.quarantined()), (0, 4));
                drop(Port::open(&pool, name, 0, config(mode)).unwrap());
                assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
                return;
            }
            xsk_tests::eventually("releasing", || pool.reclaim() == 4);
            assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
            close_with_packets();
            pair.b.set_up(true).unwrap();
            // Somebody else has the queue by now.
            let theirs = Port::open(&other, name, 0, config(mode)).unwrap();
            assert_eq!((bound(0).unwrap(), pool.reclaim()), (true, 0));
            drop(theirs);
            xsk_tests::eventually("releasing", || !bound(0).unwrap());
            let port = Port::open(&pool, name, 1, config(mode)).unwrap();
            assert_eq!(pool.quarantined(), 0);
            drop(port);
            assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 256));
            assert!(pool.backend().queue_is_bound(pair.b.ifindex(), 99).is_err());
            assert!(pool.backend().queue_is_bound(9999, 0).is_err());
        });
    }
}
