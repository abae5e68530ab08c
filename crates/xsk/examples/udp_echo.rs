//! Answers UDP and ARP for an IPv4 address on queue 0: `udp_echo INTERFACE ADDRESS`. Try it with `nc -u ADDRESS 7`.

use std::{env, error::Error, net::Ipv4Addr, time::Duration};

use xsk::port::{PortError, Verdict};
use xsk::{Packet, Pool, PoolConfig, Port, PortConfig};

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ip: Ipv4Addr,
}

/// Exchanges `len` bytes at `a` with those at `b`, which is behind.
fn swap(bytes: &mut [u8], a: usize, b: usize, len: usize) {
    let (front, back) = bytes.split_at_mut(b);
    front[a..a + len].swap_with_slice(&mut back[..len]);
}

/// Turns a packet into its answer.
pub fn answer(packet: &mut Packet, host: Host) -> Verdict {
    let bytes = &mut packet[..];
    match bytes {
        // An ARP request for this host: a reply to who asked.
        [_, _, _, _, _, _, _, _, _, _, _, _, 8, 6, _, _, 8, 0, _, _, 0, 1, ..]
            if bytes.get(38..42) == Some(&host.ip.octets()) =>
        {
            swap(bytes, 22, 32, 10);
            bytes[21] = 2;
            bytes[22..28].copy_from_slice(&host.mac);
        }
        // UDP over IPv4 without options, to this host.
        [_, _, _, _, _, _, _, _, _, _, _, _, 8, 0, 0x45, _, _, _, _, _, _, _, _, 17, ..]
            if bytes.len() >= 42 && bytes[30..34] == host.ip.octets() =>
        {
            // Sums do not change when what they are over changes places.
            swap(bytes, 26, 30, 4);
            swap(bytes, 34, 36, 2);
            // None: the sender may have left that of its request to its network card.
            bytes[40..42].fill(0);
        }
        _ => return Verdict::Drop,
    }
    swap(bytes, 0, 6, 6);
    bytes[6..12].copy_from_slice(&host.mac);
    Verdict::Send
}

/// Answers what is there, or waits a while for it. Returns how many packets were answered.
pub fn step(port: &mut Port, host: Host, patience: Duration) -> Result<usize, PortError> {
    let done = port.forward(|packet| answer(packet, host))?;
    if done.received == 0 {
        port.wait(Some(patience))?;
    }
    Ok(done.sent)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(interface), Some(ip)) = (arguments.next(), arguments.next()) else {
        return Err("usage: udp_echo INTERFACE ADDRESS".into());
    };
    let pool = Pool::new(PoolConfig::default())?;
    let info = pool.backend().interface(&std::ffi::CString::new(interface.clone())?)?;
    let host = Host { mac: info.mac.ok_or("not an Ethernet interface")?, ip: ip.parse()? };
    let mut port = Port::open(&pool, &interface, 0, PortConfig::default())?;
    loop {
        step(&mut port, host, Duration::from_secs(1))?;
    }
}
