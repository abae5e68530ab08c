//! A DNS server for the A records of a few names, and its tests on a simulated kernel: the program of
//! `docs/testing-guide.md`.
//!
//! `cargo test -p xsk-sim --example dns_responder` tests it, without root. As root, `dns_responder INTERFACE` answers on
//! queue 0 of an interface.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, PageSize, default_backend};
use xsk::config::{QueueSize, SocketConfig, UmemConfig};
use xsk::error::Diagnosis;
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// Names without a dot at the end, and their addresses.
type Zone = &'static [(&'static str, Ipv4Addr)];

const ZONE: Zone =
    &[("one.example", Ipv4Addr::new(192, 0, 2, 1)), ("two.example", Ipv4Addr::new(192, 0, 2, 2))];
const BATCH: usize = 64;

/// The server: a socket, and the frames that are on none of its rings.
struct Responder {
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    umem: Umem,
    zone: Zone,
    free: Vec<FrameDesc>,
    received: Vec<FrameDesc>,
    reply: Vec<u8>,
    /// Frames that the kernel has to receive into, and to send.
    receiving: usize,
    sending: usize,
    answered: u64,
}

impl Responder {
    /// Half of the frames are there to receive, the others to answer.
    fn open(
        backend: Arc<dyn Backend>,
        interface: &str,
        frames: u32,
        zone: Zone,
    ) -> Result<Self, Box<dyn Error>> {
        let ring = QueueSize::new(frames.next_power_of_two())?;
        let umem = UmemConfig::builder().fill_queue_size(ring).comp_queue_size(ring).build()?;
        let frames = NonZeroU32::new(frames).ok_or("no frames")?;
        let (umem, free) = Umem::new_in(backend, umem, frames, PageSize::Normal)?;
        let config = SocketConfig::builder().rx_queue_size(ring).tx_queue_size(ring).build();
        // SAFETY: at any moment each frame is on one ring, or in `free`, or in `received`.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface.parse()?, 0)? };
        let (fill, completion) = rings.ok_or("the queue's rings belong to another socket")?;
        let (received, reply) = (vec![FrameDesc::default(); BATCH], Vec::new());
        let (receiving, sending, answered) = (0, 0, 0);
        let mut responder = Self {
            tx,
            rx,
            fill,
            completion,
            umem,
            zone,
            free,
            received,
            reply,
            receiving,
            sending,
            answered,
        };
        responder.refill()?;
        Ok(responder)
    }

    /// Waits for queries, `timeout` milliseconds at most, and answers one batch. An interface that is down is waited for
    /// just so.
    fn turn(&mut self, timeout: i32) -> io::Result<()> {
        match self.try_turn(timeout) {
            Err(error) if is_down(&error) => {
                self.umem.backend().sleep(Duration::from_millis(timeout.unsigned_abs().into()));
                Ok(())
            }
            result => result,
        }
    }

    fn try_turn(&mut self, timeout: i32) -> io::Result<()> {
        self.reap();
        self.refill()?;
        // SAFETY: `received` is used with this UMEM only.
        let count = unsafe { self.rx.poll_and_consume(&mut self.received, timeout)? };
        self.receiving -= count;
        for at in 0..count {
            let mut frame = self.received[at];
            // SAFETY: the frame has left the RX ring, and nobody else has it.
            let is_answer = answer(unsafe { self.umem.data(&frame) }.contents(), self.zone, &mut self.reply);
            if !is_answer {
                self.free.push(frame);
                continue;
            }
            // SAFETY: as above.
            let mut data = unsafe { self.umem.data_mut(&mut frame) };
            data.cursor().set_pos(0);
            data.cursor().write_all(&self.reply)?;
            // SAFETY: the frame is on no other ring.
            match unsafe { self.tx.produce_one(&frame) } {
                0 => self.free.push(frame),
                _ => {
                    self.sending += 1;
                    self.answered += 1;
                }
            }
        }
        // Also for what an earlier wakeup left: a device that was busy, or down.
        if self.sending > 0 && self.tx.needs_wakeup() {
            self.tx.wakeup()?;
        }
        self.reap();
        Ok(())
    }

    /// Takes back what was sent.
    fn reap(&mut self) {
        let mut done = [FrameDesc::default(); BATCH];
        loop {
            // SAFETY: `done` is used with this UMEM only.
            let count = unsafe { self.completion.consume(&mut done) };
            if count == 0 {
                return;
            }
            self.sending -= count;
            self.free.extend(&done[..count]);
        }
    }

    /// Gives the kernel frames to receive into.
    fn refill(&mut self) -> io::Result<()> {
        let want = self.umem.frame_count() as usize / 2;
        let count = want.saturating_sub(self.receiving).min(self.free.len());
        let from = self.free.len() - count;
        // SAFETY: free frames are on no ring; those that go leave the list.
        let moved = unsafe { self.fill.produce(&self.free[from..]) };
        self.free.drain(from..from + moved);
        self.receiving += moved;
        if self.fill.needs_wakeup() { self.fill.wakeup(self.rx.fd_mut(), 0) } else { Ok(()) }
    }
}

fn is_down(error: &io::Error) -> bool {
    let diagnosis = xsk::error::Error::of_io(error).map(|error| error.diagnosis());
    matches!(diagnosis, Some(Diagnosis::InterfaceDown))
}

const ETHERNET: usize = 14;
const IP: usize = ETHERNET + 20;
const UDP: usize = IP + 8;
const DNS: usize = UDP + 12;

/// Writes the reply to a query; false if `query` is none that has one. Any bytes will do.
fn answer(query: &[u8], zone: Zone, reply: &mut Vec<u8>) -> bool {
    try_answer(query, zone, reply).is_some()
}

fn try_answer(query: &[u8], zone: Zone, reply: &mut Vec<u8>) -> Option<()> {
    let head = query.first_chunk::<DNS>()?;
    // IPv4 without options or fragments, UDP, to port 53; a query with one question.
    let is_query = head[12..15] == [8, 0, 0x45]
        && head[20] & 0x3f == 0
        && head[21] == 0
        && head[23] == 17
        && head[36..38] == [0, 53]
        && head[UDP + 2] & 0xf8 == 0
        && head[UDP + 4..UDP + 6] == [0, 1];
    if !is_query {
        return None;
    }
    let mut name = String::new();
    let mut at = DNS;
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        match len {
            0 => break,
            1..=63 => {
                let label = str::from_utf8(query.get(at..at + len)?).ok()?;
                name += if name.is_empty() { "" } else { "." };
                name += &label.to_ascii_lowercase();
                at += len;
            }
            _ => return None,
        }
    }
    let question_type = query.get(at..at + 4)?;
    let end = at + 4;
    let address = zone.iter().find(|(known, _)| *known == name).map(|(_, address)| address);
    let record = address.filter(|_| question_type == [0, 1, 0, 1]);

    reply.clear();
    reply.extend_from_slice(&query[..end]);
    reply[..6].copy_from_slice(&head[6..12]);
    reply[6..12].copy_from_slice(&head[..6]);
    reply[26..30].copy_from_slice(&head[30..34]);
    reply[30..34].copy_from_slice(&head[26..30]);
    reply[34..36].copy_from_slice(&head[36..38]);
    reply[36..38].copy_from_slice(&head[34..36]);
    // An authoritative answer; names that are not here do not exist.
    reply[UDP + 2] = 0x84 | head[UDP + 2] & 1;
    reply[UDP + 3] = if address.is_some() { 0 } else { 3 };
    reply[UDP + 6..DNS].fill(0);
    if let Some(address) = record {
        reply[UDP + 7] = 1;
        // The name of the question; A, IN, a minute, four bytes.
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend_from_slice(&address.octets());
    }
    let len = |from: usize| u16::try_from(reply.len() - from).map(u16::to_be_bytes).ok();
    let (ip_len, udp_len) = (len(ETHERNET)?, len(IP)?);
    reply[16..18].copy_from_slice(&ip_len);
    reply[38..40].copy_from_slice(&udp_len);
    // UDP over IPv4 may do without a checksum; IPv4 may not.
    reply[40..42].fill(0);
    reply[24..26].fill(0);
    let sum = checksum(&reply[ETHERNET..IP]).to_be_bytes();
    reply[24..26].copy_from_slice(&sum);
    Some(())
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn main() -> Result<(), Box<dyn Error>> {
    let interface = std::env::args().nth(1).ok_or("usage: dns_responder INTERFACE")?;
    let mut responder = Responder::open(default_backend(), &interface, 2048, ZONE)?;
    loop {
        responder.turn(1000)?;
        println!("{} answers", responder.answered);
    }
}

#[cfg(test)]
mod tests {
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

    /// Every frame is somewhere, and where the server thinks.
    fn check(kernel: &SimKernel, responder: &Responder) {
        kernel.frames().check().unwrap();
        let Responder { free, receiving, sending, umem, .. } = responder;
        assert_eq!(free.len() + receiving + sending, umem.frame_count() as usize);
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
        let mut open: BTreeMap<u16, Vec<u8>> =
            (0..queries).map(|id| (id, query(id, "One.example"))).collect();
        for round in 1..=200 {
            meanwhile(round, Moment::Before);
            for query in open.values() {
                // A wire may lose packets.
                let _ = client.send(query);
            }
            meanwhile(round, Moment::OnTheWire);
            for _ in 0..4 {
                responder.turn(10).unwrap();
                check(kernel, responder);
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
        responder.turn(10).unwrap();
        let reply = client.receive().unwrap();
        assert_eq!((id(&reply), address(&reply), reply[UDP + 3]), (1, Some(ZONE[1].1), 0));
        assert_eq!(checksum(&reply[ETHERNET..IP]), 0);
        let reply = client.receive().unwrap();
        assert_eq!((id(&reply), address(&reply), reply[UDP + 3]), (2, None, 3));
        check(&kernel, &responder);
    }

    #[test]
    fn survives_starvation() {
        // Four frames to receive into, and a hundred queries at once: most find none.
        let (kernel, _server, client, mut responder) = world(2, 8, &DeviceConfig::default());
        let rounds = ask(&kernel, &client, &mut responder, 100, |_, _| {});
        assert!(rounds > 1);
        assert!(responder.rx.fd().xdp_statistics().unwrap().rx_dropped() > 0);
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
        }
    }

    #[test]
    fn survives_faults() {
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
            assert!(faults.iter().all(|fault| fault.hits() > 0), "{:?}", faults.map(|fault| fault.hits()));
        }
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
                answer(&bad, ZONE, &mut Vec::new());
                let _ = client.send(&bad);
                let _ = client.send(&bad[..at]);
                responder.turn(0).unwrap();
            }
        }
        check(&kernel, &responder);
        let _ = std::iter::from_fn(|| client.receive()).count();
        ask(&kernel, &client, &mut responder, 4, |_, _| {});
    }
}
