//! A DNS server for the A records of a few names, and its tests on a simulated kernel: the program of
//! `docs/testing-guide.md`.
//!
//! `cargo test -p xsk-sim --example dns_responder` tests it, without root. As root, `dns_responder INTERFACE` answers on
//! queue 0 of an interface.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, default_backend};
use xsk::error::Diagnosis;
use xsk::port::{PortError, Verdict};
use xsk::{Packet, Pool, PoolConfig, Port, PortConfig};

#[cfg(test)]
mod tests;

/// Names without a dot at the end, and their addresses.
type Zone = &'static [(&'static str, Ipv4Addr)];

const ZONE: Zone =
    &[("one.example", Ipv4Addr::new(192, 0, 2, 1)), ("two.example", Ipv4Addr::new(192, 0, 2, 2))];

/// The server.
struct Responder {
    port: Port,
    zone: Zone,
    answered: u64,
}

impl Responder {
    /// Half of the frames are there to receive, the others to answer.
    fn open(backend: Arc<dyn Backend>, interface: &str, frames: u32, zone: Zone) -> Result<Self, PortError> {
        let pool = Pool::new_in(backend, PoolConfig::default().frames(frames))?;
        let config = PortConfig::default().rx_ring(frames).tx_ring(frames).fill_level(frames / 2);
        Ok(Self { port: Port::open(&pool, interface, 0, config)?, zone, answered: 0 })
    }

    /// Waits for queries, and answers what there is. An interface that is down is waited for just so.
    fn turn(&mut self, timeout: Duration) -> Result<(), PortError> {
        match self.try_turn(timeout) {
            Err(error) if *error.diagnosis() == Diagnosis::InterfaceDown => {
                self.port.pool().backend().sleep(timeout);
                Ok(())
            }
            result => result,
        }
    }

    fn try_turn(&mut self, timeout: Duration) -> Result<(), PortError> {
        self.port.wait(Some(timeout))?;
        let zone = self.zone;
        let done = self.port.forward(|packet| match answer(packet, zone) {
            Some(()) => Verdict::Send,
            None => Verdict::Drop,
        })?;
        self.answered += done.sent as u64;
        Ok(())
    }
}

const ETHERNET: usize = 14;
const IP: usize = ETHERNET + 20;
const UDP: usize = IP + 8;
const DNS: usize = UDP + 12;

/// Turns a query into its reply; `None` if it is none that has one. Any bytes will do.
fn answer(packet: &mut Packet, zone: Zone) -> Option<()> {
    let head = packet.first_chunk::<DNS>()?;
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
    let (name, end) = question(packet)?;
    let address = zone.iter().find(|(known, _)| *known == name).map(|(_, address)| address);
    let record = address.filter(|_| packet[end - 4..end] == [0, 1, 0, 1]);

    packet.truncate(end);
    swap(packet, 0, 6, 6);
    swap(packet, 26, 30, 4);
    swap(packet, 34, 36, 2);
    // An authoritative answer; names that are not here do not exist.
    packet[UDP + 2] = 0x84 | packet[UDP + 2] & 1;
    packet[UDP + 3] = if address.is_some() { 0 } else { 3 };
    packet[UDP + 6..DNS].fill(0);
    if let Some(address) = record {
        packet[UDP + 7] = 1;
        // The name of the question; A, IN, a minute, four bytes.
        packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]).ok()?;
        packet.extend_from_slice(&address.octets()).ok()?;
    }
    let len = |from: usize| u16::try_from(packet.len() - from).map(u16::to_be_bytes).ok();
    let (ip_len, udp_len) = (len(ETHERNET)?, len(IP)?);
    packet[16..18].copy_from_slice(&ip_len);
    packet[38..40].copy_from_slice(&udp_len);
    // UDP over IPv4 may do without a checksum; IPv4 may not.
    packet[40..42].fill(0);
    packet[24..26].fill(0);
    let sum = checksum(&packet[ETHERNET..IP]).to_be_bytes();
    packet[24..26].copy_from_slice(&sum);
    Some(())
}

/// The name of the first question, in small letters, and where the question ends.
fn question(packet: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = DNS;
    loop {
        let len = usize::from(*packet.get(at)?);
        at += 1;
        match len {
            0 => break,
            1..=63 => {
                let label = str::from_utf8(packet.get(at..at + len)?).ok()?;
                name += if name.is_empty() { "" } else { "." };
                name += &label.to_ascii_lowercase();
                at += len;
            }
            _ => return None,
        }
    }
    packet.get(at..at + 4)?;
    Some((name, at + 4))
}

/// Exchanges `len` bytes at `a` with those at `b`, which is behind.
fn swap(bytes: &mut [u8], a: usize, b: usize, len: usize) {
    let (front, back) = bytes.split_at_mut(b);
    front[a..a + len].swap_with_slice(&mut back[..len]);
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
        responder.turn(Duration::from_secs(1))?;
        println!("{} answers", responder.answered);
    }
}
