use std::collections::BTreeMap;

use xsk::error::errno::ENOBUFS;
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, Qdisc, SimDevice, SimKernel};

use super::*;

/// A server on one end of a wire, a client's host on the other.
fn world(seed: u64, frames: u32, config: &DeviceConfig) -> (SimKernel, SimDevice, SimDevice, Responder) {
    let kernel = SimKernel::new(seed);
    kernel.watch_frames(true);
    let (server, client) = kernel.veth("server", "client", config).unwrap();
    let responder = Responder::open(kernel.backend(), "server", frames, ZONE).unwrap();
    (kernel, server, client, responder)
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut packet = vec![0; DNS];
    packet[..15].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45]);
    packet[22..24].copy_from_slice(&[64, 17]);
    packet[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet[34..38].copy_from_slice(&[0x30, 0x39, 0, 53]);
    packet[UDP..UDP + 2].copy_from_slice(&id.to_be_bytes());
    packet[UDP + 2..UDP + 6].copy_from_slice(&[1, 0, 0, 1]);
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

fn id(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[UDP], packet[UDP + 1]])
}

fn address(packet: &[u8]) -> Option<Ipv4Addr> {
    let octets = packet.last_chunk::<4>().copied();
    octets.filter(|_| packet[UDP + 7] == 1).map(Ipv4Addr::from)
}

/// Every frame is somewhere, and when the server is gone, all are free.
fn check(kernel: &SimKernel, responder: Responder) {
    kernel.frames().check().unwrap();
    let pool = responder.port.pool().clone();
    drop(responder);
    let free: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    assert_eq!((free.len(), pool.quarantined()), (pool.frames() as usize, 0));
}

/// When something may happen in a round: before the queries are sent, or while they are on their way.
#[derive(PartialEq, Eq)]
enum Moment {
    Before,
    OnTheWire,
}

/// Asks until all is answered, as resolvers do, and returns how many rounds that took.
fn ask(
    kernel: &SimKernel,
    client: &SimDevice,
    responder: &mut Responder,
    queries: u16,
    mut meanwhile: impl FnMut(usize, Moment),
) -> usize {
    let mut open: BTreeMap<u16, Vec<u8>> = (0..queries).map(|id| (id, query(id, "One.example"))).collect();
    for round in 1..=200 {
        meanwhile(round, Moment::Before);
        for query in open.values() {
            // A wire may lose packets.
            let _ = client.send(query);
        }
        meanwhile(round, Moment::OnTheWire);
        for _ in 0..4 {
            responder.turn(Duration::from_millis(10)).unwrap();
            kernel.frames().check().unwrap();
        }
        while let Some(reply) = client.receive() {
            assert_eq!(address(&reply), Some(ZONE[0].1));
            open.remove(&id(&reply));
        }
        if open.is_empty() {
            return round;
        }
    }
    panic!("{} queries were never answered\n{}", open.len(), kernel.snapshot());
}

#[test]
fn answers() {
    let (kernel, _server, client, mut responder) = world(1, 16, &DeviceConfig::default());
    client.send(&query(1, "two.example")).unwrap();
    client.send(&query(2, "three.example")).unwrap();
    responder.turn(Duration::from_millis(10)).unwrap();
    let reply = client.receive().unwrap();
    assert_eq!((id(&reply), address(&reply), reply[UDP + 3]), (1, Some(ZONE[1].1), 0));
    assert_eq!(checksum(&reply[ETHERNET..IP]), 0);
    let reply = client.receive().unwrap();
    assert_eq!((id(&reply), address(&reply), reply[UDP + 3]), (2, None, 3));
    check(&kernel, responder);
}

#[test]
fn survives_starvation() {
    // Four frames to receive into, and a hundred queries at once: most find none.
    let (kernel, _server, client, mut responder) = world(2, 8, &DeviceConfig::default());
    let rounds = ask(&kernel, &client, &mut responder, 100, |_, _| {});
    assert!(rounds > 1);
    assert!(responder.port.stats().unwrap().no_frame > 0);
    check(&kernel, responder);
}

#[test]
fn survives_drops() {
    // The client's end is down in every other round when the replies come: the driver drops them.
    for qdisc in [Qdisc::None, Qdisc::Fifo] {
        let config = DeviceConfig::default().qdisc(qdisc).threaded(true);
        let (kernel, server, client, mut responder) = world(3, 64, &config);
        let rounds = ask(&kernel, &client, &mut responder, 300, |round, moment| {
            client.set_up(moment == Moment::Before || round % 2 == 0);
        });
        assert!(rounds > 1 && server.dropped().1 > 0, "{rounds} {:?}", server.dropped());
        check(&kernel, responder);
    }
}

#[test]
fn survives_a_link_flap() {
    for seed in 0..20 {
        let config = DeviceConfig::default().threaded(true);
        let (kernel, server, client, mut responder) = world(seed, 32, &config);
        let rounds = ask(&kernel, &client, &mut responder, 50, |round, moment| {
            // Down before anything is sent, and down with queries on the wire.
            server.set_up(match moment {
                Moment::Before => round > 2,
                Moment::OnTheWire => round > 4,
            });
        });
        assert!(rounds > 4, "{rounds}");
        check(&kernel, responder);
    }
}

#[test]
fn survives_faults() {
    let mut hits = [0; 5];
    for seed in 0..20 {
        let (kernel, _server, client, mut responder) = world(seed, 64, &DeviceConfig::default());
        let milliseconds = |ms| Duration::from_millis(ms);
        let faults = [
            FaultRule::lose_packets().chance(0.2),
            FaultRule::starve().chance(0.1),
            FaultRule::lose_kicks().chance(0.3),
            FaultRule::errno(Call::SendTo, ENOBUFS).chance(0.1),
            FaultRule::delay_completions(milliseconds(1)..milliseconds(30)).chance(0.5),
        ];
        let faults = faults.map(|rule| kernel.fault(rule));
        ask(&kernel, &client, &mut responder, 200, |_, _| {});
        check(&kernel, responder);
        std::iter::zip(&mut hits, faults).for_each(|(hits, fault)| *hits += fault.hits());
    }
    assert!(!hits.contains(&0), "{hits:?}");
}

#[test]
fn hostile_packets_have_no_answer() {
    let (kernel, _server, client, mut responder) = world(4, 16, &DeviceConfig::default());
    let good = query(1, "one.example");
    for at in 0..good.len() {
        for value in [0, 1, 63, 64, 0xc0, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            // Some of it is still a query; nothing is a panic.
            let _ = client.send(&bad);
            let _ = client.send(&bad[..at]);
            responder.turn(Duration::ZERO).unwrap();
        }
    }
    let _ = std::iter::from_fn(|| client.receive()).count();
    ask(&kernel, &client, &mut responder, 4, |_, _| {});
    check(&kernel, responder);
}
