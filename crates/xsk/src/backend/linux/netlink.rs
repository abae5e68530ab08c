//! Two questions by netlink(7): a link, and what its driver says of XDP.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::sys::{check, owned};
use crate::backend::{AttachedProgram, DriverFeatures, InterfaceCounters, TxOffloads, XdpMode};

const RTM_GETLINK: u16 = 18;
const IFINFOMSG_LEN: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_STATS64: u16 = 23;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const GENLMSG_LEN: usize = 4;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XSK_FEATURES: u16 = 6;
const NETDEV_CMD_QUEUE_GET: u8 = 10;
const NETDEV_A_QUEUE_ID: u16 = 1;
const NETDEV_A_QUEUE_IFINDEX: u16 = 2;
const NETDEV_A_QUEUE_TYPE: u16 = 3;
const NETDEV_A_QUEUE_XSK: u16 = 7;
const NETDEV_QUEUE_TYPE_RX: u32 = 0;
const NETDEV_QUEUE_TYPE_TX: u32 = 1;

const NLMSG_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// What RTM_GETLINK tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) mtu: u32,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) up: bool,
    pub(super) carrier: bool,
    pub(super) rx_queues: u32,
    pub(super) tx_queues: u32,
    pub(super) program: Option<AttachedProgram>,
}

fn ask_link(index: u32) -> io::Result<Vec<u8>> {
    let mut body = [0; IFINFOMSG_LEN];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    ask(libc::NETLINK_ROUTE, RTM_GETLINK, &body)
}

pub(super) fn link(index: u32) -> io::Result<Link> {
    parse_link(&ask_link(index)?).ok_or_else(malformed)
}

/// What a link counts; none of the driver's own counters.
pub(super) fn counters(index: u32) -> io::Result<InterfaceCounters> {
    parse_counters(&ask_link(index)?).ok_or_else(malformed)
}

/// `struct rtnl_link_stats64`: numbers of 64 bits, at these places.
pub(super) fn parse_counters(body: &[u8]) -> Option<InterfaceCounters> {
    let numbers = find(body.get(IFINFOMSG_LEN..)?, IFLA_STATS64)?;
    let number = |at: usize| Some(u64::from_ne_bytes(numbers.get(8 * at..8 * at + 8)?.try_into().ok()?));
    Some(InterfaceCounters {
        rx_packets: number(0),
        tx_packets: number(1),
        rx_errors: number(4),
        tx_errors: number(5),
        rx_dropped: number(6),
        tx_dropped: number(7),
        rx_missed: number(15),
        driver: Vec::new(),
    })
}

/// What the driver says of XDP (Linux 6.3).
pub(super) fn driver_features(index: u32) -> io::Result<DriverFeatures> {
    device_bits(index, NETDEV_A_DEV_XDP_FEATURES).map(DriverFeatures::from_bits_retain)
}

/// What the driver does for packets that zero-copy sockets send (Linux 6.8).
pub(super) fn tx_offloads(index: u32) -> io::Result<TxOffloads> {
    device_bits(index, NETDEV_A_DEV_XSK_FEATURES).map(TxOffloads::from_bits_truncate)
}

/// Whether the pool of a socket is on a queue of either kind: a socket that only sends may be on one that only sends.
pub(super) fn queue_is_bound(index: u32, queue: u32) -> io::Result<bool> {
    let is_bound = |kind: u32| -> io::Result<bool> {
        let mut question = vec![NETDEV_CMD_QUEUE_GET, 1, 0, 0];
        push_attribute(&mut question, NETDEV_A_QUEUE_IFINDEX, &index.to_ne_bytes());
        push_attribute(&mut question, NETDEV_A_QUEUE_TYPE, &kind.to_ne_bytes());
        push_attribute(&mut question, NETDEV_A_QUEUE_ID, &queue.to_ne_bytes());
        has_socket(&ask_netdev(&question)?)
    };
    match (is_bound(NETDEV_QUEUE_TYPE_RX), is_bound(NETDEV_QUEUE_TYPE_TX)) {
        (Ok(true), _) | (_, Ok(true)) => Ok(true),
        (Ok(false), Ok(false)) => Ok(false),
        // There are fewer queues of one kind (`net/core/netdev-genl.c:netdev_nl_queue_validate`).
        (Ok(false), Err(error)) | (Err(error), Ok(false))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) =>
        {
            Ok(false)
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Of an interface that is down Linux 6.18 answers with ENOENT. An answer that does not name the queue says nothing either.
fn has_socket(answer: &[u8]) -> io::Result<bool> {
    let attributes = answer.get(GENLMSG_LEN..).unwrap_or(&[]);
    find(attributes, NETDEV_A_QUEUE_ID).ok_or(io::ErrorKind::NetworkDown)?;
    Ok(find(attributes, NETDEV_A_QUEUE_XSK).is_some())
}

/// `NETDEV_CMD_DEV_GET` of the netdev family.
fn device_bits(index: u32, attribute: u16) -> io::Result<u64> {
    let mut question = vec![NETDEV_CMD_DEV_GET, 1, 0, 0];
    push_attribute(&mut question, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let answer = ask_netdev(&question)?;
    let bits = find(answer.get(GENLMSG_LEN..).unwrap_or(&[]), attribute);
    bits.and_then(|bits| Some(u64::from_ne_bytes(bits.get(..8)?.try_into().ok()?))).ok_or_else(malformed)
}

/// One request of the netdev family, whose number the kernel chooses.
fn ask_netdev(question: &[u8]) -> io::Result<Vec<u8>> {
    let mut which = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    push_attribute(&mut which, CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let answer = ask(libc::NETLINK_GENERIC, GENL_ID_CTRL, &which)?;
    let family = find(answer.get(GENLMSG_LEN..).unwrap_or(&[]), CTRL_ATTR_FAMILY_ID);
    let family = family
        .and_then(|id| Some(u16::from_ne_bytes(id.get(..2)?.try_into().ok()?)))
        .ok_or_else(malformed)?;
    ask(libc::NETLINK_GENERIC, family, question)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's netlink answer makes no sense")
}

/// Sends one request and returns the body of the one answer to it.
fn ask(protocol: libc::c_int, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    // SAFETY: plain system call without pointers.
    let socket =
        owned(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) })?;
    let mut message = Vec::with_capacity(NLMSG_LEN + body.len());
    message.extend_from_slice(&((NLMSG_LEN + body.len()) as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence number and port: a socket that asks once needs neither
    message.extend_from_slice(body);
    // SAFETY: the pointer and length are those of `message`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    check(sent as libc::c_int)?;
    parse_answer(&receive(&socket)?)
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        // SAFETY: the pointer and length are those of `buffer`.
        let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match check(got as libc::c_int) {
            Ok(got) => {
                buffer.truncate(got as usize);
                return Ok(buffer);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn parse_answer(message: &[u8]) -> io::Result<Vec<u8>> {
    let kind = message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]])).ok_or_else(malformed)?;
    let len = read_u32(message).ok_or_else(malformed)? as usize;
    let body = message.get(NLMSG_LEN..len).ok_or_else(malformed)?;
    if kind == NLMSG_ERROR {
        let errno = read_u32(body).ok_or_else(malformed)? as i32;
        return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
    }
    Ok(body.to_vec())
}

fn push_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn read_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// The attributes of a message: type and value. Ends at the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

pub(super) fn parse_link(body: &[u8]) -> Option<Link> {
    let flags = read_u32(body.get(8..12)?)?;
    let mut link = Link { up: flags & IFF_UP != 0, carrier: flags & IFF_LOWER_UP != 0, ..Default::default() };
    for (kind, value) in attributes(body.get(IFINFOMSG_LEN..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = read_u32(value)?,
            IFLA_NUM_RX_QUEUES => link.rx_queues = read_u32(value)?,
            IFLA_NUM_TX_QUEUES => link.tx_queues = read_u32(value)?,
            IFLA_LINKINFO => link.kind = find(value, IFLA_INFO_KIND).map(text),
            IFLA_XDP => link.program = parse_xdp(value),
            _ => {}
        }
    }
    Some(link)
}

/// `XDP_ATTACHED_*`: 0 none, 1 native, 2 SKB, 3 offloaded, 4 several, of which the native one is told.
fn parse_xdp(value: &[u8]) -> Option<AttachedProgram> {
    let (mode, id) = match find(value, IFLA_XDP_ATTACHED)?.first()? {
        1 => (XdpMode::Native, IFLA_XDP_PROG_ID),
        2 => (XdpMode::Skb, IFLA_XDP_PROG_ID),
        3 => (XdpMode::Offloaded, IFLA_XDP_PROG_ID),
        4 => (XdpMode::Multiple, IFLA_XDP_DRV_PROG_ID),
        _ => return None,
    };
    Some(AttachedProgram { id: read_u32(find(value, id)?)?, mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Vec<u8> {
        let mut body = vec![0; IFINFOMSG_LEN];
        body[8..12].copy_from_slice(&(IFF_UP | IFF_LOWER_UP).to_ne_bytes());
        push_attribute(&mut body, IFLA_ADDRESS, &[2, 0, 0, 0, 0, 7]);
        push_attribute(&mut body, IFLA_IFNAME, b"veth0\0");
        push_attribute(&mut body, IFLA_MTU, &1500_u32.to_ne_bytes());
        let counters: Vec<u8> = (0..16_u64).flat_map(|number| (100 + number).to_ne_bytes()).collect();
        push_attribute(&mut body, IFLA_STATS64, &counters);
        push_attribute(&mut body, IFLA_NUM_RX_QUEUES, &4_u32.to_ne_bytes());
        let mut info = Vec::new();
        push_attribute(&mut info, IFLA_INFO_KIND, b"veth");
        push_attribute(&mut body, IFLA_LINKINFO | 0x8000, &info);
        let mut xdp = Vec::new();
        push_attribute(&mut xdp, IFLA_XDP_ATTACHED, &[2]);
        push_attribute(&mut xdp, IFLA_XDP_PROG_ID, &77_u32.to_ne_bytes());
        push_attribute(&mut body, IFLA_XDP, &xdp);
        body
    }

    #[test]
    fn a_link_is_parsed() {
        let link = parse_link(&message()).unwrap();
        let program = Some(AttachedProgram { id: 77, mode: XdpMode::Skb });
        let kind = Some("veth".to_owned());
        let name = "veth0".to_owned();
        let mac = Some([2, 0, 0, 0, 0, 7]);
        let expected =
            Link { name, kind, mtu: 1500, mac, up: true, carrier: true, rx_queues: 4, tx_queues: 0, program };
        assert_eq!(link, expected);
    }

    #[test]
    fn counters_are_parsed() {
        let counters = parse_counters(&message()).unwrap();
        let InterfaceCounters { rx_packets, tx_packets, rx_errors, tx_errors, .. } = counters;
        assert_eq!([rx_packets, tx_packets, rx_errors, tx_errors], [100, 101, 104, 105].map(Some));
        let InterfaceCounters { rx_dropped, tx_dropped, rx_missed, .. } = counters;
        assert_eq!([rx_dropped, tx_dropped, rx_missed], [106, 107, 115].map(Some));
    }

    #[test]
    fn any_prefix_and_any_flipped_byte_is_survived() {
        let whole = message();
        for end in 0..whole.len() {
            let _ = parse_link(&whole[..end]);
            let _ = parse_counters(&whole[..end]);
            let _ = parse_answer(&whole[..end]);
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut broken = whole.clone();
                broken[at] ^= 1 << bit;
                let _ = parse_link(&broken);
                let _ = parse_counters(&broken);
                let _ = parse_answer(&broken);
            }
        }
    }

    #[test]
    fn a_queue_that_is_not_named_is_not_free() {
        let mut answer = vec![0; GENLMSG_LEN];
        assert_eq!(has_socket(&answer).unwrap_err().kind(), io::ErrorKind::NetworkDown);
        push_attribute(&mut answer, NETDEV_A_QUEUE_ID, &[0; 4]);
        assert!(!has_socket(&answer).unwrap());
        push_attribute(&mut answer, NETDEV_A_QUEUE_XSK, &[]);
        assert!(has_socket(&answer).unwrap());
    }

    #[test]
    fn an_error_answer_is_an_errno() {
        let mut message = 20_u32.to_ne_bytes().to_vec();
        message.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        message.extend_from_slice(&[0; 10]);
        message.extend_from_slice(&(-19_i32).to_ne_bytes());
        assert_eq!(parse_answer(&message).unwrap_err().raw_os_error(), Some(19));
    }
}
