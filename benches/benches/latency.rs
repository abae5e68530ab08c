//! Ping-pong: one packet of 64 bytes goes to the other end of a veth pair and comes back, through AF_XDP (the ring tier),
//! AF_PACKET and UDP, in turns.
//!
//! Everything happens on one thread, both ends included, and the time is its processor time: what a round trip costs, without
//! waiting for other processes. Percentiles are over the round trips. On a card ([`xsk_benches::choice`]) only AF_XDP is
//! measured, and the time is that of waiting for it as well.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use hdrhistogram::Histogram;
use xsk_benches::drive::Driver;
use xsk_benches::place::Place;
use xsk_benches::race::processor_time;
use xsk_benches::rings::{RingTier, Shape, User};
use xsk_veth::{ETHERTYPE_TEST, Namespace, Tap, VethPair};

const TRIPS: u32 = 20_000;
/// The first trips fill caches.
const WARM_UP: u32 = 1_000;
const LEN: usize = 64;
/// Looks for a packet before it counts as lost.
const LOOKS: u32 = 10_000_000;

/// Both ends of a way; `true` is the first.
trait Way {
    fn send(&mut self, from: bool);
    /// Whether a packet came.
    fn receive(&mut self, at: bool) -> bool;
    /// What can be done while no packet is on its way.
    fn tidy(&mut self, _: bool) {}
}

struct Xdp {
    ends: [RingTier; 2],
}

impl Xdp {
    fn open(place: &mut Place) -> Self {
        let queue = place.queue();
        let open = |at| RingTier::open_as(Arc::clone(&place.backend), at, Shape::default());
        let mut ends = [open(place.target(queue)), open(place.sender(queue).expect("a peer"))];
        place.lead(queue, ends[0].socket());
        place.lead_back(queue, ends[1].socket());
        for end in &mut ends {
            end.prime();
            end.load(1, &packet());
        }
        Self { ends }
    }

    fn end(&mut self, first: bool) -> &mut RingTier {
        &mut self.ends[usize::from(!first)]
    }
}

impl Way for Xdp {
    fn send(&mut self, from: bool) {
        let end = self.end(from);
        assert_eq!(end.transmit(1), 1, "the TX ring has a place");
        end.wake();
    }

    fn receive(&mut self, at: bool) -> bool {
        self.end(at).receive(1) == 1
    }

    fn tidy(&mut self, at: bool) {
        // Each end sends the frame that it received last, so what it sent last is for the fill ring.
        let end = self.end(at);
        let done = end.complete(1);
        assert_eq!(end.refill(done), done, "the fill ring has a place");
    }
}

struct Packet([Tap; 2]);

impl Way for Packet {
    fn send(&mut self, from: bool) {
        self.0[usize::from(!from)].send(&packet()).expect("the link is up");
    }

    fn receive(&mut self, at: bool) -> bool {
        let mut buffer = [0_u8; 2048];
        let fd = self.0[usize::from(!at)].as_fd().as_raw_fd();
        // SAFETY: writes into the buffer, at most its length.
        let len = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
        len > 0
    }
}

struct Udp([UdpSocket; 2]);

impl Way for Udp {
    fn send(&mut self, from: bool) {
        // With its headers the packet is as long as the others.
        let payload = [0; LEN - 14 - 20 - 8];
        self.0[usize::from(!from)].send(&payload).expect("the other end is there");
    }

    fn receive(&mut self, at: bool) -> bool {
        let result = self.0[usize::from(!at)].recv(&mut [0; 2048]);
        match result {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("recv: {error}"),
        }
    }
}

fn packet() -> [u8; LEN] {
    let mut packet = [0; LEN];
    packet[..6].fill(0xff);
    packet[12..14].copy_from_slice(&ETHERTYPE_TEST.to_be_bytes());
    packet
}

/// Nanoseconds of a round trip.
fn trip(way: &mut dyn Way) -> u64 {
    let start = processor_time();
    for first in [true, false] {
        way.send(first);
        let came = (0..LOOKS).any(|_| way.receive(!first));
        assert!(came, "a packet was lost");
        way.tidy(first);
    }
    processor_time().saturating_sub(start).as_nanos() as u64
}

fn others() -> Result<(Packet, Udp), xsk_veth::Error> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    let addresses = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
    let pair = VethPair::builder(&here, &there)
        .a(|end| end.address(addresses[0], 24))
        .b(|end| end.address(addresses[1], 24))
        .static_neighbours()
        .build()?;
    let taps = [Tap::open(&here, pair.a.name())?, Tap::open(&there, pair.b.name())?];
    let socket = |namespace: &Namespace, address: Ipv4Addr| {
        let socket = namespace.run(|| UdpSocket::bind((address, 4000))).expect("a port");
        socket.set_nonblocking(true).expect("a flag");
        socket
    };
    let udp = [socket(&here, addresses[0]), socket(&there, addresses[1])];
    udp[0].connect((addresses[1], 4000)).expect("a route");
    udp[1].connect((addresses[0], 4000)).expect("a route");
    Ok((Packet(taps), Udp(udp)))
}

fn main() {
    let mut place = Place::best_or_exit();
    if !place.is_linux() || place.sender(0).is_none() {
        return eprintln!("SKIPPED: needs root, or a card with XSK_BENCH_PEER");
    }
    // The others go through veth pairs of their own.
    let mut others = match place.has_one_queue() {
        true => None,
        false => Some(others().expect("another pair")),
    };
    let mut xdp = Xdp::open(&mut place);
    // As criterion does, `cargo test --benches` looks only whether it runs.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (warm_up, trips) = if is_bench { (WARM_UP, TRIPS) } else { (0, 1) };
    let mut ways: Vec<(&str, &mut dyn Way)> = vec![("AF_XDP, xsk ring tier", &mut xdp)];
    if let Some((packet, udp)) = &mut others {
        ways.extend([("AF_PACKET", packet as &mut dyn Way), ("UDP", udp as &mut dyn Way)]);
    }
    let histogram = || Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).expect("sound bounds");
    let mut histograms: Vec<_> = ways.iter().map(|_| histogram()).collect();
    for n in 0..warm_up + trips {
        for ((_, way), histogram) in ways.iter_mut().zip(&mut histograms) {
            let time = trip(*way);
            if n >= warm_up {
                histogram.saturating_record(time);
            }
        }
    }
    println!("on {}; {trips} round trips, ns of processor time", place.name);
    println!("{:24}{:>10}{:>10}{:>10}{:>10}", "", "50 %", "90 %", "99 %", "99.9 %");
    for ((who, _), histogram) in ways.iter().zip(&histograms) {
        let at = |quantile| histogram.value_at_quantile(quantile);
        println!("{who:24}{:10}{:10}{:10}{:10}", at(0.5), at(0.9), at(0.99), at(0.999));
    }
}
