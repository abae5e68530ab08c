//! Queueing disciplines (tc), by netlink.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const NEW: u16 = 36;
const DELETE: u16 = 37;
/// `NLM_F_REQUEST`, `NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;
/// `NLM_F_REPLACE`, `NLM_F_CREATE`.
const CREATE: u16 = 0x100 | 0x400;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;

/// Lets frames wait in a queue of `packets`.
pub(super) fn add_fifo(ifindex: u32, packets: u32) -> io::Result<()> {
    let options = attribute(TCA_OPTIONS, &packets.to_ne_bytes());
    request(NEW, CREATE, ifindex, &[attribute(TCA_KIND, b"pfifo\0"), options].concat())
}

/// Lets one byte a second pass, once `burst` bytes have gone.
pub(super) fn add_trickle(ifindex: u32, burst: u32) -> io::Result<()> {
    const TCA_TBF_PARMS: u16 = 1;
    const TCA_TBF_BURST: u16 = 6;
    const LIMIT: u32 = 1 << 24;
    // struct tc_tbf_qopt: two rates of 12 bytes, the first of Ethernet (1) and one byte a second, then three numbers.
    let mut parameters = [0; 36];
    parameters[1] = 1;
    parameters[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    parameters[24..28].copy_from_slice(&LIMIT.to_ne_bytes());
    let inner =
        [attribute(TCA_TBF_PARMS, &parameters), attribute(TCA_TBF_BURST, &burst.to_ne_bytes())].concat();
    let options = attribute(TCA_OPTIONS, &inner);
    request(NEW, CREATE, ifindex, &[attribute(TCA_KIND, b"tbf\0"), options].concat())
}

/// Takes the discipline away; frames that waited are dropped.
pub(super) fn remove(ifindex: u32) -> io::Result<()> {
    request(DELETE, 0, ifindex, &[])
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = value.len() as u16 + 4;
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn request(kind: u16, flags: u16, ifindex: u32, attributes: &[u8]) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // struct tcmsg: family and padding, interface, handle, parent, info.
    let message = [0, ifindex, 0, TC_H_ROOT, 0].map(u32::to_ne_bytes).concat();
    let len = (16 + message.len() + attributes.len()) as u32;
    let header = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &(REQUEST | flags).to_ne_bytes()].concat();
    // Behind it: sequence number and sender.
    let bytes = [&header[..], &[0; 8], &message, attributes].concat();
    // SAFETY: pointer and length are those of `bytes`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = [0_u8; 64];
    // SAFETY: pointer and length are those of `answer`.
    let got = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    if got < 20 {
        return Err(io::Error::last_os_error());
    }
    // struct nlmsgerr: behind the header comes minus the errno, or 0.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
