//! What the network stack sends over a pair, with and without offloads, and what a tap shows of it.
#![cfg(target_os = "linux")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use xsk_veth::{Error, Namespace, Tap, VethPair, VethPairBuilder};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const LEFT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const SOON: Duration = Duration::from_secs(5);

/// Two hosts and a cable.
fn hosts(change: fn(VethPairBuilder) -> VethPairBuilder) -> (Namespace, Namespace, VethPair) {
    let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let pair =
        VethPair::builder(&left, &right).a(|end| end.address(LEFT, 24)).b(|end| end.address(RIGHT, 24));
    let pair = change(pair).build().unwrap();
    (left, right, pair)
}

/// The ones-complement sum over 16-bit words, folded: 0xffff over anything that includes its right checksum.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whether the TCP or UDP checksum of an IPv4 frame is the right one.
fn checksum_is_whole(frame: &[u8]) -> bool {
    let ip = &frame[14..];
    let header = usize::from(ip[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let payload = &ip[header..total];
    let pseudo = [&ip[12..20], &[0, ip[9]], &(payload.len() as u16).to_be_bytes()].concat();
    sum(&[&pseudo, payload].concat()) == 0xffff
}

fn echo_over_udp(left: &Namespace, right: &Namespace) {
    let server = right.run(|| UdpSocket::bind((RIGHT, 7)).unwrap());
    let client = left.run(|| UdpSocket::bind((LEFT, 0)).unwrap());
    // The sockets stay in their namespaces although this thread is in neither.
    server.set_read_timeout(Some(SOON)).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut buffer = [0; 64];
    client.send_to(b"ping", (RIGHT, 7)).unwrap();
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from.ip()), (&b"ping"[..], LEFT.into()));
    server.send_to(b"pong", from).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn udp_crosses_and_asks_by_arp() {
    if !xsk_veth::require() {
        return;
    }
    let (left, right, pair) = hosts(|pair| pair);
    let arp = Tap::open_for(&right, pair.b.name(), Some(ARP)).unwrap();
    echo_over_udp(&left, &right);
    assert!(arp.recv(SOON).unwrap().is_some());
}

#[test]
fn static_neighbours_need_no_arp() {
    if !xsk_veth::require() {
        return;
    }
    let (left, right, pair) = hosts(VethPairBuilder::static_neighbours);
    let arp = Tap::open_for(&right, pair.b.name(), Some(ARP)).unwrap();
    let all = Tap::open_for(&right, pair.b.name(), None).unwrap();
    echo_over_udp(&left, &right);
    assert_eq!(arp.recv(Duration::ZERO).unwrap(), None);
    // One frame came in, the ping; the pong went out and is not shown.
    let ping = all.recv(SOON).unwrap().unwrap();
    assert_eq!(ping[12..14], IPV4.to_be_bytes());
    assert_eq!(ping[42..46], *b"ping");
    assert_eq!(all.recv(Duration::ZERO).unwrap(), None);
}

#[test]
fn icmp_echo_is_answered() {
    if !xsk_veth::require() {
        return;
    }
    let (left, _right, pair) = hosts(VethPairBuilder::static_neighbours);
    let tap = Tap::open_for(&left, pair.a.name(), Some(IPV4)).unwrap();
    let mut icmp = [&[8, 0, 0, 0, 0, 1, 0, 1][..], b"is anyone there?"].concat();
    let checksum = !sum(&icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut ip = vec![0x45, 0, 0, 20 + icmp.len() as u8, 0, 0, 0, 0, 64, 1, 0, 0];
    ip.extend_from_slice(&LEFT.octets());
    ip.extend_from_slice(&RIGHT.octets());
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let request = [&pair.b.mac()[..], &pair.a.mac(), &IPV4.to_be_bytes(), &ip, &icmp].concat();

    tap.send(&request).unwrap();
    let reply = tap.recv(SOON).unwrap().expect("the other host answers");
    assert_eq!((&reply[..6], &reply[6..12]), (&pair.a.mac()[..], &pair.b.mac()[..]));
    assert_eq!((&reply[26..30], reply[34]), (&RIGHT.octets()[..], 0), "an echo reply from there");
    assert_eq!(reply[38..], icmp[4..]);
}

#[test]
fn checksums_are_whole_only_without_offload() {
    if !xsk_veth::require() {
        return;
    }
    let (left, right, pair) = hosts(VethPairBuilder::static_neighbours);
    let tap = Tap::open_for(&right, pair.b.name(), Some(IPV4)).unwrap();
    let client = left.run(|| UdpSocket::bind((LEFT, 0)).unwrap());
    for (offload, whole) in [(true, false), (false, true), (true, false)] {
        pair.a.set_tx_checksum_offload(offload).unwrap();
        client.send_to(b"check me", (RIGHT, 9)).unwrap();
        assert_eq!(checksum_is_whole(&tap.recv(SOON).unwrap().unwrap()), whole, "offload {offload}");
    }
}

const BYTES: usize = 400_000;

/// Sends a stream and returns what arrived of it at the right end, as a tap there saw it.
fn tcp_frames(left: &Namespace, right: &Namespace, pair: &VethPair) -> Vec<Vec<u8>> {
    let tap = Tap::open_for(right, pair.b.name(), Some(IPV4)).unwrap();
    let listener = right.run(|| TcpListener::bind((RIGHT, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let mut sender = left.run(|| TcpStream::connect((RIGHT, port)).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        let frames = scope.spawn(|| {
            let mut frames = Vec::new();
            while let Some(frame) = tap.recv(Duration::from_millis(300)).unwrap() {
                frames.push(frame);
            }
            frames
        });
        scope.spawn(move || sender.write_all(&vec![7; BYTES]).unwrap());
        let mut received = vec![0; BYTES];
        receiver.read_exact(&mut received).unwrap();
        assert!(received.iter().all(|byte| *byte == 7));
        let frames = frames.join().unwrap();
        // Ethernet, IPv4 without options, TCP with its own length.
        let payload = |frame: &Vec<u8>| frame.len() - 14 - 20 - usize::from(frame[46] >> 4) * 4;
        let seen: usize = frames.iter().map(payload).sum();
        assert!(seen >= BYTES, "the tap lost frames: {seen} bytes");
        frames
    })
}

#[test]
fn tcp_sends_super_packets_only_with_offloads() {
    if !xsk_veth::require() {
        return;
    }
    const LONGEST: usize = 1514;
    let (left, right, pair) = hosts(|pair| pair.static_neighbours().queues(2));
    let longest = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).max().unwrap();
    assert!(longest(&tcp_frames(&left, &right, &pair)) > LONGEST);

    pair.a.set_offloads(false).unwrap();
    pair.b.set_offloads(false).unwrap();
    let frames = tcp_frames(&left, &right, &pair);
    assert_eq!(longest(&frames), LONGEST);
    assert!(frames.len() > BYTES / LONGEST);
    assert!(frames.iter().all(|frame| checksum_is_whole(frame)));

    pair.a.set_offloads(true).unwrap();
    assert!(longest(&tcp_frames(&left, &right, &pair)) > LONGEST);
}

#[test]
fn the_builder_sets_offloads_too() {
    if !xsk_veth::require() {
        return;
    }
    let (left, right, pair) = hosts(|pair| pair.static_neighbours().offloads(false));
    let frames = tcp_frames(&left, &right, &pair);
    assert!(frames.iter().all(|frame| frame.len() <= 1514 && checksum_is_whole(frame)));
}

#[test]
fn a_tap_filters_and_reports() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let (a, b) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
    let other = [&pair.b.mac()[..], &pair.a.mac(), &[0x88, 0xb6], b"another EtherType"].concat();
    a.send(&other).unwrap();
    assert_eq!(b.recv(Duration::from_millis(20)).unwrap(), None);

    let errno = |result: Result<(), Error>| result.unwrap_err().errno().unwrap().0;
    assert_eq!(errno(a.send(&other[..13])), libc::EINVAL);
    assert_eq!(errno(a.send(&[0; 1519])), libc::EMSGSIZE);
    assert_eq!(Tap::open(&ns, "c").unwrap_err().errno().unwrap().0, libc::ENODEV);

    pair.a.set_up(false).unwrap();
    assert_eq!(errno(a.send(&other)), libc::ENETDOWN);
}

#[test]
fn a_tap_keeps_thousands_of_frames() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let (a, b) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
    let header = [&pair.b.mac()[..], &pair.a.mac(), &xsk_veth::ETHERTYPE_TEST.to_be_bytes()].concat();
    for number in 0..4000_u16 {
        a.send(&[&header[..], &number.to_be_bytes()].concat()).unwrap();
    }
    for number in 0..4000_u16 {
        let frame = b.recv(SOON).unwrap().expect("every frame is kept");
        assert_eq!(frame[14..], number.to_be_bytes());
    }
}
