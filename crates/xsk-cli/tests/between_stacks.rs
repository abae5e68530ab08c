//! Two network stacks that reach each other only through the tool.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use common::{MODES, Running, start};
use sha2::{Digest, Sha256};
use socket2::{Domain, Protocol, Socket, Type};
use xsk_veth::{Namespace, VethPair};

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Two hosts, and between them a machine that runs `xsk forward`.
struct Hosts {
    left: Namespace,
    right: Namespace,
    forward: Running,
}

impl Hosts {
    fn new(mode: &str) -> Self {
        let [left, right, middle] = [(); 3].map(|()| Namespace::new().unwrap());
        for (host, address, port) in [(&left, LEFT, "l"), (&right, RIGHT, "r")] {
            // The kernel leaves checksums partial on veth, and would send super-packets.
            let pair = VethPair::builder(host, &middle).offloads(false);
            pair.a(|end| end.name("eth").address(address, 24)).b(|end| end.name(port)).build().unwrap();
        }
        let forward = start(&middle, &["forward", "l", "r", mode, "--json"]).ready();
        Self { left, right, forward }
    }

    /// Ends the forwarder, and returns how many packets it forwarded and how many it dropped.
    fn end(self) -> (u64, u64) {
        let total = &self.forward.end().summary()["total"];
        let drops = total["drops"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        (total["tx"]["packets"].as_u64().unwrap(), drops)
    }
}

/// The checksum of an ICMP message (RFC 1071).
fn checksum(message: &[u8]) -> u16 {
    let words =
        message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An echo request (RFC 792).
fn echo_request(sequence: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x58, 0x44];
    message.extend(sequence.to_be_bytes());
    message.extend((0..48).map(|at| at ^ sequence as u8));
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Sends `count` pings, each after the answer to the one before, and returns how many were answered within a second.
fn ping(to: Ipv4Addr, count: u16) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.connect(&SocketAddr::from((to, 0)).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut answered = 0;
    for sequence in 0..count {
        let request = echo_request(sequence);
        socket.send(&request).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 128];
        while let Ok(len) = socket.recv(&mut buffer) {
            let mut packet = [0; 128];
            for (byte, got) in packet.iter_mut().zip(&buffer[..len]) {
                // SAFETY: recv filled the first `len` bytes.
                *byte = unsafe { got.assume_init() };
            }
            // Behind the IP header: an echo reply with our sequence number and data.
            let reply = &packet[20..len];
            if reply[0] == 0 && reply[4..] == request[4..] {
                answered += 1;
                break;
            }
        }
    }
    answered
}

#[test]
fn a_thousand_pings_are_answered() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let hosts = Hosts::new(mode);
        assert_eq!(hosts.left.run(|| ping(RIGHT, 1000)), 1000, "{mode}");
        let (forwarded, dropped) = hosts.end();
        assert!(
            forwarded >= 2000 && dropped == 0,
            "{mode}: {forwarded} packets went through, {dropped} were dropped"
        );
    }
}

const FILE: usize = 100 << 20;

/// Bytes that do not repeat, made as they are sent (xorshift64).
struct Random(u64);

impl Random {
    fn fill(&mut self, buffer: &mut [u8]) {
        for bytes in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.copy_from_slice(&self.0.to_ne_bytes()[..bytes.len()]);
        }
    }
}

fn send_file(mut stream: TcpStream) -> [u8; 32] {
    let (mut random, mut hash, mut buffer) =
        (Random(0x9e37_79b9_7f4a_7c15), Sha256::new(), vec![0; 64 << 10]);
    for _ in 0..FILE / buffer.len() {
        random.fill(&mut buffer);
        hash.update(&buffer);
        stream.write_all(&buffer).unwrap();
    }
    hash.finalize().into()
}

fn receive_file(mut stream: TcpStream) -> (usize, [u8; 32]) {
    let (mut len, mut hash, mut buffer) = (0, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return (len, hash.finalize().into()),
            count => {
                len += count;
                hash.update(&buffer[..count]);
            }
        }
    }
}

#[test]
fn a_file_of_100_mib_arrives_whole_over_tcp() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let hosts = Hosts::new(mode);
        let listener = hosts.right.run(|| TcpListener::bind((RIGHT, 7)).unwrap());
        let receiver = std::thread::spawn(move || {
            let (stream, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), LEFT);
            receive_file(stream)
        });
        let address = SocketAddrV4::new(RIGHT, 7).into();
        let stream = hosts.left.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap());
        let sent = send_file(stream);
        let (len, received) = receiver.join().unwrap();
        assert_eq!((len, received), (FILE, sent), "{mode}");
        // TCP sends again what is dropped; that it went through here is the point.
        let (forwarded, dropped) = hosts.end();
        assert!(
            forwarded as usize > FILE / 1500,
            "{mode}: {forwarded} packets went through, {dropped} were dropped"
        );
    }
}
