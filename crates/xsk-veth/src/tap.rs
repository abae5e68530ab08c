use std::{
    fmt, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use crate::{Errno, Error, Link, Namespace};

/// The EtherType that IEEE 802 sets aside for local experiments. No kernel answers it, which makes it right for tests.
pub const ETHERTYPE_TEST: u16 = 0x88b5;

/// The longest frame there is: 64 KiB of MTU, and room for headers.
const LONGEST: usize = 65_536 + 64;

/// The kernel charges a short frame with some 1 to 2 KiB; its default of 208 KiB holds a hundred.
static BUFFER: libc::c_int = 16 << 20;

/// Sends raw frames from an interface and receives those that arrive at it (AF_PACKET).
///
/// It receives what the network stack gets: frames that an XDP program drops or redirects do not come by, and frames
/// that the stack has merged (generic receive offload) come merged. It does not see what its own interface sends.
/// Frames wait in the kernel until they are received, some thousands of them; what comes beyond that is lost.
pub struct Tap {
    socket: OwnedFd,
    interface: String,
    ifindex: i32,
}

impl Tap {
    /// A tap that receives frames of EtherType [`ETHERTYPE_TEST`] and no others; it sends any. For programs that look for IP or
    /// the like there is [`open_for`](Self::open_for).
    ///
    /// # Errors
    /// ENODEV when there is no such interface; EPERM without CAP_NET_RAW.
    pub fn open(ns: &Namespace, interface: &str) -> Result<Self, Error> {
        Self::open_for(ns, interface, Some(ETHERTYPE_TEST))
    }

    /// A tap that receives frames of one EtherType, or of all with `None`. It sends any.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for(ns: &Namespace, interface: &str, ethertype: Option<u16>) -> Result<Self, Error> {
        let link = ns.link(interface)?;
        let protocol = ethertype.unwrap_or(libc::ETH_P_ALL as u16);
        ns.try_run(|| Self::bind(link, protocol))?
    }

    fn bind(link: Link, protocol: u16) -> Result<Self, Error> {
        let failed = |step: &str| Error::kernel(step, Some(&link.name), Errno::last());
        // Protocol 0: nothing arrives before the socket is bound to its interface.
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(failed("open a packet socket"));
        }
        // SAFETY: `fd` is a new descriptor that nothing else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // Best effort: without the right to exceed the limit (CAP_NET_ADMIN) the default stays.
        // SAFETY: the option's value is an int, of the length stated.
        unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const BUFFER).cast(),
                size_of_val(&BUFFER) as libc::socklen_t,
            )
        };
        let mut address = no_address();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = link.ifindex.cast_signed();
        // SAFETY: `address` is a sockaddr_ll of the length stated.
        let result =
            unsafe { libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t) };
        if result < 0 {
            return Err(failed("bind a packet socket"));
        }
        Ok(Self { socket, ifindex: address.sll_ifindex, interface: link.name })
    }

    /// Sends one frame, Ethernet header included, from the interface.
    ///
    /// # Errors
    /// EINVAL below 14 bytes; EMSGSIZE above the MTU (plus header, plus 4 with a VLAN tag); ENETDOWN; ENOBUFS when
    /// the interface dropped it, as when the other end is down or does not keep up.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        // SAFETY: pointer and length are those of `frame`.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        match sent {
            0.. => Ok(()),
            _ => Err(self.failed(&format!("send a frame of {} bytes", frame.len()))),
        }
    }

    /// The next frame, Ethernet header included, or `None` when none came within `timeout`. With a timeout of zero it
    /// only looks.
    ///
    /// A VLAN tag that the kernel keeps beside the frame is missing from it: see
    /// [`VethEnd::set_offloads`](crate::VethEnd::set_offloads).
    ///
    /// # Errors
    /// ENETDOWN, once, when the interface went down or away.
    pub fn recv(&self, timeout: Duration) -> Result<Option<Vec<u8>>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        let mut frame = vec![0; LONGEST];
        loop {
            if let Some((length, address)) = self.receive_now(&mut frame)? {
                if address.sll_pkttype == libc::PACKET_OUTGOING || address.sll_ifindex != self.ifindex {
                    continue;
                }
                return Ok(Some(frame[..length].to_vec()));
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            self.wait(left)?;
        }
    }

    /// Takes what is there. `None`: nothing.
    fn receive_now(&self, buffer: &mut [u8]) -> Result<Option<(usize, libc::sockaddr_ll)>, Error> {
        let mut address = no_address();
        let mut address_length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: buffer and address are writable for the lengths given with them.
        let received = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut address).cast(),
                &raw mut address_length,
            )
        };
        match usize::try_from(received) {
            Ok(length) => Ok(Some((length, address))),
            Err(_) => match Errno::last().0 {
                libc::EAGAIN | libc::EINTR => Ok(None),
                _ => Err(self.failed("receive a frame")),
            },
        }
    }

    fn wait(&self, left: Option<Duration>) -> Result<(), Error> {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let left = left.map(|left| libc::timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos() as _, // below 10^9: fits every C long
        });
        let timeout = left.as_ref().map_or(std::ptr::null(), |left| &raw const *left);
        // SAFETY: one pollfd, and a timespec or null, both alive during the call.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, timeout, std::ptr::null()) };
        if ready < 0 && Errno::last().0 != libc::EINTR {
            return Err(self.failed("wait for a frame"));
        }
        Ok(())
    }

    fn failed(&self, step: &str) -> Error {
        Error::kernel(step, Some(&self.interface), Errno::last())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("interface", &self.interface).field("socket", &self.socket).finish()
    }
}

fn no_address() -> libc::sockaddr_ll {
    // SAFETY: sockaddr_ll is plain C data for which all zeros are valid.
    unsafe { mem::zeroed() }
}
