//! The few ethtool commands that veth knows {net/ethtool/ioctl.c}, by SIOCETHTOOL.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Errno, Error};

const SIOCETHTOOL: u32 = 0x8946;

pub(crate) const GLINK: u32 = 0x0a;
pub(crate) const STXCSUM: u32 = 0x17;
pub(crate) const STSO: u32 = 0x1f;
pub(crate) const SGSO: u32 = 0x24;
pub(crate) const GFLAGS: u32 = 0x25;
pub(crate) const SFLAGS: u32 = 0x26;
pub(crate) const SGRO: u32 = 0x2c;
const GCHANNELS: u32 = 0x3c;
const SCHANNELS: u32 = 0x3d;

/// VLAN tags travel beside the frame instead of in it: insertion (bit 7) and stripping (bit 8) by the "hardware".
pub(crate) const FLAGS_VLAN: u32 = 1 << 7 | 1 << 8;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// Runs a command whose argument is one number; returns that number as the kernel left it.
pub(crate) fn value(
    socket: BorrowedFd<'_>,
    interface: &str,
    step: &str,
    cmd: u32,
    data: u32,
) -> Result<u32, Error> {
    let mut value = Value { cmd, data };
    // SAFETY: every command passed here reads and writes a `struct ethtool_value`, which `Value` is.
    unsafe { ethtool(socket, interface, step, (&raw mut value).cast()) }?;
    Ok(value.data)
}

/// The active receive and transmit queues.
pub(crate) fn channels(socket: BorrowedFd<'_>, interface: &str) -> Result<(u32, u32), Error> {
    let now = get_channels(socket, interface)?;
    Ok((now.rx + now.combined, now.tx + now.combined))
}

/// Changes the active receive and transmit queues.
pub(crate) fn set_channels(socket: BorrowedFd<'_>, interface: &str, rx: u32, tx: u32) -> Result<(), Error> {
    let mut channels = Channels { cmd: SCHANNELS, rx, tx, ..get_channels(socket, interface)? };
    let step = format!("set the queues to {rx} rx and {tx} tx");
    // SAFETY: SCHANNELS reads a `struct ethtool_channels`, which `Channels` is.
    unsafe { ethtool(socket, interface, &step, (&raw mut channels).cast()) }
}

fn get_channels(socket: BorrowedFd<'_>, interface: &str) -> Result<Channels, Error> {
    let mut channels = Channels { cmd: GCHANNELS, ..Channels::default() };
    // SAFETY: GCHANNELS writes a `struct ethtool_channels`, which `Channels` is.
    unsafe { ethtool(socket, interface, "read the queue counts", (&raw mut channels).cast()) }?;
    Ok(channels)
}

/// # Safety
/// `command` points to the C structure of the command whose number is its first field, writable by the kernel for
/// the length of the call.
unsafe fn ethtool(
    socket: BorrowedFd<'_>,
    interface: &str,
    step: &str,
    command: *mut libc::c_char,
) -> Result<(), Error> {
    // SAFETY: ifreq is plain C data for which all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(Error::Name { name: interface.into() });
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char; // signed on some architectures
    }
    request.ifr_ifru.ifru_data = command;
    // SAFETY: `request` is a terminated name and a pointer that the caller vouches for; SIOCETHTOOL touches nothing
    // else. Any socket will do, as the kernel hands unknown ioctls to the device layer {socket.c:sock_do_ioctl}.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(Error::kernel(step, Some(interface), Errno::last())) } else { Ok(()) }
}
