//! The examples of the port tier do what they say, on the simulated kernel and on Linux.
#![forbid(unsafe_code)]
#![allow(dead_code, missing_docs, unreachable_pub, reason = "the examples are programs")]

#[path = "../../crates/xsk/examples/forwarder.rs"]
mod forwarder;
#[path = "../../crates/xsk/examples/generator.rs"]
mod generator;
#[path = "../../crates/xsk/examples/reflector.rs"]
mod reflector;
#[path = "../../crates/xsk/examples/sink.rs"]
mod sink;
#[path = "../../crates/xsk/examples/udp_echo.rs"]
mod udp_echo;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xsk::{Pool, PoolConfig, Port, PortConfig};
use xsk_sim::{DeviceConfig, SimKernel};

const NONE: Duration = Duration::ZERO;

fn pool(kernel: &SimKernel) -> Pool {
    Pool::new_in(kernel.backend(), PoolConfig::default().frames(512)).unwrap()
}

fn port(pool: &Pool, name: &str) -> Port {
    Port::open(pool, name, 0, PortConfig::default().rx_ring(128).tx_ring(128)).unwrap()
}

/// An Ethernet frame.
fn ethernet(kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let addresses = [[0x0a, 1, 2, 3, 4, 5], [0x0b, 1, 2, 3, 4, 5]].concat();
    [&addresses, &kind[..], payload].concat()
}

#[test]
fn examples_are_short_and_safe() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/xsk/examples");
    let mut programs = 0;
    for file in std::fs::read_dir(here).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (lines, ring_tier) = (text.lines().count(), path.ends_with("ring_tier.rs"));
        assert!(lines < 100, "{path:?} has {lines} lines");
        assert_eq!(text.contains("unsafe"), ring_tier, "{path:?}");
        programs += 1;
    }
    assert!(programs >= 8, "{programs}");
}

#[test]
fn the_reflector_reflects() {
    let kernel = SimKernel::new(1);
    let (_a, far) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    let mut port = port(&pool(&kernel), "a");
    let packet = ethernet([0x88, 0xb5], &[7; 46]);
    far.send(&packet).unwrap();
    assert_eq!(reflector::step(&mut port, NONE).unwrap(), 1);
    let back = far.receive().unwrap();
    assert_eq!((&back[..6], &back[6..12], &back[12..]), (&packet[6..12], &packet[..6], &packet[12..]));
}

#[test]
fn the_forwarder_forwards_both_ways() {
    let kernel = SimKernel::new(1);
    let devices = DeviceConfig::default();
    let (_a, left_far) = kernel.veth("a", "x", &devices).unwrap();
    let (_b, right_far) = kernel.veth("b", "y", &devices).unwrap();
    let pool = pool(&kernel);
    let (mut left, mut right) = (port(&pool, "a"), port(&pool, "b"));
    for i in 0..2000_u32 {
        let packet = ethernet([0x88, 0xb5], &i.to_be_bytes());
        left_far.send(&packet).unwrap();
        right_far.send(&packet).unwrap();
        assert_eq!(forwarder::step(&mut left, &mut right).unwrap(), 2);
        assert_eq!((left_far.receive(), right_far.receive()), (Some(packet.clone()), Some(packet)));
    }
}

#[test]
fn the_generator_numbers_its_packets() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default()).unwrap();
    generator::generate(&mut port(&pool(&kernel), "a"), 1000).unwrap();
    let sent: Vec<_> = std::iter::from_fn(|| card.sent()).collect();
    let numbers: Vec<_> =
        sent.iter().map(|packet| u64::from_be_bytes(packet[14..22].try_into().unwrap())).collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn the_sink_tells_what_was_lost() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default()).unwrap();
    let pool = pool(&kernel);
    let mut port = Port::open(&pool, "a", 0, PortConfig::default().rx_ring(8).fill_level(64)).unwrap();
    let before = port.stats().unwrap();
    assert_eq!((before.fill_waiting, before.losses().count()), (64, 0));
    // The ring takes 8 of them.
    for _ in 0..10 {
        card.inject(0, &[1; 60]).unwrap();
    }
    card.inject(0, &[2; 3900]).unwrap();
    assert_eq!(port.stats().unwrap().rx_waiting, 8);
    let counted = sink::drain(&mut port, Duration::from_millis(20)).unwrap();
    assert_eq!((counted.received, counted.losses().count()), (8, 0));
    let all = port.stats().unwrap().since(&before);
    let losses: Vec<_> = all.losses().map(|(loss, count)| (format!("{loss:?}"), count)).collect();
    assert_eq!(losses, [("TooLong".to_owned(), 1), ("RxRingFull".to_owned(), 2)], "{all:?}");
}

#[test]
fn no_frame_is_a_loss_of_its_own() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default()).unwrap();
    let mut port = Port::open(&pool(&kernel), "a", 0, PortConfig::default().fill_level(4)).unwrap();
    for _ in 0..6 {
        card.inject(0, &[1; 60]).unwrap();
    }
    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_waiting, stats.no_frame, stats.too_long), (4, 2, 0), "{stats:?}");
}

/// A client, and what it asks of the echo server: ARP, then UDP.
const CLIENT: udp_echo::Host = udp_echo::Host { mac: [2, 0, 0, 0, 0, 9], ip: Ipv4Addr::new(10, 9, 8, 2) };

fn arp_request(of: Ipv4Addr) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    let payload = [&fixed[..], &CLIENT.mac, &CLIENT.ip.octets(), &[0; 6], &of.octets(), &[0; 18]].concat();
    [&[0xff; 6][..], &CLIENT.mac, &[8, 6], &payload].concat()
}

fn udp(server: udp_echo::Host, payload: &[u8]) -> Vec<u8> {
    let len = |more: usize| ((payload.len() + more) as u16).to_be_bytes();
    let ip =
        [&[0x45, 0], &len(28)[..], &[0, 0, 0, 0, 64, 17, 0, 0], &CLIENT.ip.octets(), &server.ip.octets()];
    let udp = [&[0x30, 0x39, 0, 7], &len(8)[..], &[1, 2], payload];
    [&server.mac[..], &CLIENT.mac, &[8, 0], &ip.concat(), &udp.concat()].concat()
}

#[test]
fn the_echo_server_answers() {
    let kernel = SimKernel::new(1);
    let (_a, far) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    let mut port = port(&pool(&kernel), "a");
    let host = udp_echo::Host { mac: [2, 0, 0, 0, 0, 1], ip: [10, 9, 8, 1].into() };

    far.send(&arp_request(host.ip)).unwrap();
    assert_eq!(udp_echo::step(&mut port, host, NONE).unwrap(), 1);
    let reply = far.receive().unwrap();
    assert_eq!((&reply[..6], &reply[6..12], reply[21]), (&CLIENT.mac[..], &host.mac[..], 2));
    assert_eq!((&reply[22..28], &reply[28..32]), (&host.mac[..], &host.ip.octets()[..]));
    assert_eq!((&reply[32..38], &reply[38..42]), (&CLIENT.mac[..], &CLIENT.ip.octets()[..]));

    let question = udp(host, b"who's there?");
    far.send(&question).unwrap();
    // Not for this host: no answer.
    far.send(&arp_request([10, 9, 8, 77].into())).unwrap();
    far.send(&udp(udp_echo::Host { ip: [10, 9, 8, 77].into(), ..host }, b"?")).unwrap();
    far.send(&question[..41]).unwrap();
    assert_eq!(udp_echo::step(&mut port, host, NONE).unwrap(), 1);
    let answer = far.receive().unwrap();
    assert_eq!((&answer[..6], &answer[6..12]), (&CLIENT.mac[..], &host.mac[..]));
    assert_eq!((&answer[26..30], &answer[30..34]), (&host.ip.octets()[..], &CLIENT.ip.octets()[..]));
    assert_eq!((&answer[34..36], &answer[36..38]), (&[0, 7][..], &[0x30, 0x39][..]));
    assert_eq!((&answer[40..42], &answer[42..]), (&[0, 0][..], &b"who's there?"[..]));
    assert_eq!(far.receive(), None);
}

/// Sinks on all queues of an interface, a thread for each, while `traffic` runs. Returns what each received.
fn sinks(pool: &Pool, interface: &str, enough: u64, traffic: impl FnOnce()) -> Vec<u64> {
    let ports = Port::open_all(pool, interface, PortConfig::default().fill_level(128)).unwrap();
    let total = AtomicU64::new(0);
    thread::scope(|scope| {
        let sink = |mut port: Port| {
            let total = &total;
            move || {
                let (mut received, start) = (0, Instant::now());
                while total.load(Ordering::Relaxed) < enough && start.elapsed() < Duration::from_secs(10) {
                    let now = sink::drain(&mut port, Duration::from_millis(5)).unwrap().received;
                    total.fetch_add(now, Ordering::Relaxed);
                    received += now;
                }
                received
            }
        };
        let threads: Vec<_> = ports.into_iter().map(|port| scope.spawn(sink(port))).collect();
        traffic();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_sink_has_a_thread_for_each_queue() {
    let (kernel, background) = SimKernel::threaded(1).unwrap();
    let card = kernel.card("a", &DeviceConfig::default().queues(3)).unwrap();
    let received = sinks(&pool(&kernel), "a", 90, || {
        for i in 0..90 {
            card.inject(i % 3, &[1; 60]).unwrap();
        }
    });
    drop(background);
    assert_eq!(received, [30; 3]);
    kernel.frames().check().unwrap();
}

#[cfg(target_os = "linux")]
mod veth {
    use std::net::UdpSocket;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use xsk_veth::{Namespace, Tap, VethPair};

    const PATIENCE: Duration = Duration::from_millis(20);

    struct Stops<'a>(&'a AtomicBool);

    impl Drop for Stops<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn real_clients_get_their_answer() {
        if !xsk_veth::require() {
            return;
        }
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let pair = VethPair::builder(&near, &far).b(|b| b.address([10, 9, 8, 2].into(), 24)).build().unwrap();
        let host = udp_echo::Host { mac: pair.a.mac(), ip: [10, 9, 8, 1].into() };
        let stop = AtomicBool::new(false);
        let mut port = near.run(|| {
            let pool = Pool::new(PoolConfig::default().frames(512)).unwrap();
            port(&pool, pair.a.name())
        });
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    answered += udp_echo::step(&mut port, host, PATIENCE).unwrap();
                }
                answered
            });
            // Also when the client fails.
            let stops = Stops(&stop);
            let client = far.run(|| UdpSocket::bind("10.9.8.2:0").unwrap());
            client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            for i in 0..100_u32 {
                let question = vec![i as u8; 1 + i as usize];
                client.send_to(&question, "10.9.8.1:7").unwrap();
                let mut answer = [0; 256];
                let (len, from) = client.recv_from(&mut answer).unwrap();
                assert_eq!((&answer[..len], from), (&question[..], "10.9.8.1:7".parse().unwrap()));
            }
            drop(stops);
            assert!(server.join().unwrap() >= 101, "and ARP");
        });
    }

    #[test]
    fn a_generator_a_forwarder_and_a_sink() {
        if !xsk_veth::require() {
            return;
        }
        let ns = Namespace::new().unwrap();
        let pair = |i: &str| {
            let builder = VethPair::builder(&ns, &ns);
            builder.a(|a| a.name(format!("a{i}"))).b(|b| b.name(format!("b{i}"))).build().unwrap()
        };
        let (first, second) = (pair("0"), pair("1"));
        ns.run(|| {
            let pool = Pool::new(PoolConfig::default().frames(2048)).unwrap();
            let mut source = port(&pool, first.a.name());
            let (mut left, mut right) = (port(&pool, first.b.name()), port(&pool, second.a.name()));
            let mut end = port(&pool, second.b.name());
            let mut received = 0;
            for _ in 0..50 {
                generator::generate(&mut source, 20).unwrap();
                while forwarder::step(&mut left, &mut right).unwrap() > 0 {}
                received += sink::drain(&mut end, Duration::from_millis(1)).unwrap().received;
            }
            assert_eq!(received, 1000);
        });
    }

    #[test]
    fn the_reflector_reflects() {
        if !xsk_veth::require() {
            return;
        }
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        ns.run(|| {
            let mut port = port(&Pool::new(PoolConfig::default().frames(512)).unwrap(), pair.b.name());
            let packet = ethernet([0x88, 0xb5], &[7; 46]);
            tap.send(&packet).unwrap();
            while reflector::step(&mut port, PATIENCE).unwrap() == 0 {}
            let back = tap.recv(Duration::from_secs(1)).unwrap().unwrap();
            assert_eq!((&back[..6], &back[6..12]), (&packet[6..12], &packet[..6]));
        });
    }

    #[test]
    fn a_sink_has_a_thread_for_each_queue() {
        if !xsk_veth::require() {
            return;
        }
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(2).build().unwrap();
        ns.run(|| {
            let pool = Pool::new(PoolConfig::default().frames(1024)).unwrap();
            let sources = Port::open_all(&pool, pair.a.name(), PortConfig::default().fill_level(16)).unwrap();
            let received = sinks(&pool, pair.b.name(), 200, || {
                for mut source in sources {
                    generator::generate(&mut source, 100).unwrap();
                }
            });
            // What is sent on a queue arrives on it.
            assert_eq!(received, [100; 2]);
        });
    }
}
