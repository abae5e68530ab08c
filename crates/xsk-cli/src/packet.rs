//! Frames that this tool sends and recognises.

use std::net::Ipv4Addr;

/// The EtherType for local experiments (IEEE 802): no network stack answers it.
pub(crate) const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
pub(crate) const ETHERNET_HEADER: usize = 14;
pub(crate) const UDP_HEADERS: usize = ETHERNET_HEADER + 20 + 8;
/// Ethernet header, mark, run, sequence number.
pub(crate) const PING_LEN: usize = ETHERNET_HEADER + 8 + 8 + 8;

const PING_MARK: &[u8; 8] = b"xsk-ping";

pub(crate) type Mac = [u8; 6];

/// Writes an Ethernet frame for experiments over the whole of `frame`, which has at least a header's bytes.
pub(crate) fn write_raw(frame: &mut [u8], dst: Mac, src: Mac) {
    write_ethernet(frame, dst, src, ETHERTYPE);
    for (index, byte) in frame[ETHERNET_HEADER..].iter_mut().enumerate() {
        *byte = index as u8;
    }
}

fn write_ethernet(frame: &mut [u8], dst: Mac, src: Mac, ethertype: [u8; 2]) {
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&src);
    frame[12..14].copy_from_slice(&ethertype);
}

/// Addresses and ports of a UDP packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Udp {
    pub(crate) src: (Ipv4Addr, u16),
    pub(crate) dst: (Ipv4Addr, u16),
}

/// Writes a UDP packet over the whole of `frame`, which has at least [`UDP_HEADERS`] bytes and fewer than 64 KiB.
pub(crate) fn write_udp(frame: &mut [u8], dst: Mac, src: Mac, udp: Udp) {
    write_raw(frame, dst, src);
    write_ethernet(frame, dst, src, [0x08, 0x00]);
    let packet = &mut frame[ETHERNET_HEADER..];
    let ip_len = (packet.len() as u16).to_be_bytes();
    let udp_len = (packet.len() as u16 - 20).to_be_bytes();
    let (ip, datagram) = packet.split_at_mut(20);
    // Version 4 and 5 words, no fragments, time to live 64, protocol UDP.
    ip.copy_from_slice(&[0x45, 0, ip_len[0], ip_len[1], 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    ip[12..16].copy_from_slice(&udp.src.0.octets());
    ip[16..20].copy_from_slice(&udp.dst.0.octets());
    let checksum = internet_checksum(&[ip]);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());

    datagram[..2].copy_from_slice(&udp.src.1.to_be_bytes());
    datagram[2..4].copy_from_slice(&udp.dst.1.to_be_bytes());
    datagram[4..6].copy_from_slice(&udp_len);
    datagram[6..8].fill(0);
    let pseudo = [&ip[12..20], &[0, 17], &udp_len].concat();
    // 0 would mean that there is none.
    let checksum = match internet_checksum(&[&pseudo, datagram]) {
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
}

/// RFC 1071 over `parts` in a row; all but the last have an even length.
fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Turns a frame around. A frame to a group comes back from `own`, if that is known: no frame has a group as its source.
pub(crate) fn swap_macs(frame: &mut [u8], own: Option<Mac>) {
    let Some((dst, rest)) = frame.split_at_mut_checked(6) else { return };
    let Some(src) = rest.get_mut(..6) else { return };
    dst.swap_with_slice(src);
    if src[0] & 1 != 0
        && let Some(own) = own
    {
        src.copy_from_slice(&own);
    }
}

/// What a ping carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PingStamp {
    /// Tells this run's pings from others'.
    pub(crate) run: u64,
    pub(crate) sequence: u64,
}

/// Writes a ping over the whole of `frame`, which has at least [`PING_LEN`] bytes.
pub(crate) fn write_ping(frame: &mut [u8], dst: Mac, src: Mac, stamp: PingStamp) {
    write_raw(frame, dst, src);
    let body = &mut frame[ETHERNET_HEADER..];
    body[..8].copy_from_slice(PING_MARK);
    body[8..16].copy_from_slice(&stamp.run.to_be_bytes());
    body[16..24].copy_from_slice(&stamp.sequence.to_be_bytes());
}

/// The stamp of a ping; `None` of any other frame.
pub(crate) fn read_ping(frame: &[u8]) -> Option<PingStamp> {
    let body = frame.get(ETHERNET_HEADER..PING_LEN)?;
    if frame[12..14] != ETHERTYPE || body[..8] != *PING_MARK {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?));
    Some(PingStamp { run: number(8)?, sequence: number(16)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 0xa];
    const B: Mac = [2, 0, 0, 0, 0, 0xb];

    #[test]
    fn checksum_of_rfc_1071() {
        assert_eq!(internet_checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(internet_checksum(&[&[0xff]]), !0xff00);
    }

    #[test]
    fn a_udp_packet_sums_to_nothing() {
        for len in [UDP_HEADERS, 60, 61, 1514] {
            let mut frame = vec![0xee; len];
            let udp = Udp { src: (Ipv4Addr::new(10, 0, 0, 1), 7), dst: (Ipv4Addr::new(10, 0, 0, 2), 9) };
            write_udp(&mut frame, A, B, udp);
            assert_eq!((&frame[..6], &frame[6..12], &frame[12..14]), (&A[..], &B[..], &[8, 0][..]));
            let (ip, datagram) = frame[14..].split_at(20);
            assert_eq!(internet_checksum(&[ip]), 0);
            assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), len - 14);
            assert_eq!(usize::from(u16::from_be_bytes([datagram[4], datagram[5]])), len - 34);
            let pseudo = [&ip[12..20], &[0, 17], &datagram[4..6]].concat();
            assert_eq!(internet_checksum(&[&pseudo, datagram]), 0);
        }
    }

    #[test]
    fn a_ping_is_read_back_and_survives_the_swap() {
        let mut frame = vec![0; PING_LEN];
        let stamp = PingStamp { run: 1, sequence: 2 };
        write_ping(&mut frame, [0xff; 6], A, stamp);
        swap_macs(&mut frame, Some(B));
        assert_eq!((&frame[..6], &frame[6..12]), (&A[..], &B[..]));
        assert_eq!(read_ping(&frame), Some(stamp));
        assert_eq!(read_ping(&frame[..PING_LEN - 1]), None);
        frame[14] ^= 1;
        assert_eq!(read_ping(&frame), None);
    }

    #[test]
    fn swapping_survives_short_frames() {
        for len in 0..14 {
            let mut frame = vec![1; len];
            swap_macs(&mut frame, None);
        }
        let mut frame = [A, B].concat();
        swap_macs(&mut frame, Some([2; 6]));
        assert_eq!(frame, [B, A].concat());
    }
}
