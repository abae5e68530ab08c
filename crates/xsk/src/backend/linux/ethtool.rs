//! Interface facts by ioctl(2): they are of the calling thread's network namespace, which sysfs is not.

use std::ffi::CStr;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use super::sys::{check, owned};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
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

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    version: [u8; 32],
    fw_version: [u8; 32],
    bus_info: [u8; 32],
    erom_version: [u8; 32],
    reserved2: [u8; 12],
    n_priv_flags: u32,
    n_stats: u32,
    testinfo_len: u32,
    eedump_len: u32,
    regdump_len: u32,
}

const _: () = assert!(size_of::<Channels>() == 36 && size_of::<DriverInfo>() == 196);

/// Queues in use, and how many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queues {
    pub(super) rx: u32,
    pub(super) tx: u32,
    pub(super) max: u32,
}

/// A socket to ask about one interface.
pub(super) struct Ethtool {
    socket: OwnedFd,
    request: libc::ifreq,
}

impl Ethtool {
    /// `ENODEV` for a name that is too long to be one.
    pub(super) fn new(name: &CStr) -> io::Result<Self> {
        // SAFETY: plain system call without pointers.
        let socket = owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: ifreq is plain old data, of which all zeros are a value.
        let mut request: libc::ifreq = unsafe { zeroed() };
        let name = name.to_bytes_with_nul();
        if name.len() > request.ifr_name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        Ok(Self { socket, request })
    }

    pub(super) fn index(&self) -> io::Result<u32> {
        let mut request = self.request;
        // SAFETY: SIOCGIFINDEX reads the name and writes the index of a whole ifreq.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) })?;
        // SAFETY: the call above succeeded, so the index is what it wrote.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
    }

    fn driver_info(&self) -> io::Result<DriverInfo> {
        // SAFETY: DriverInfo is integers and arrays of them, of which all zeros are a value.
        let mut info: DriverInfo = unsafe { zeroed() };
        info.cmd = ETHTOOL_GDRVINFO;
        self.call(&mut info)?;
        Ok(info)
    }

    /// The driver's own counters, by name (`ethtool -S`).
    pub(super) fn counters(&self) -> io::Result<Vec<(String, u64)>> {
        const COUNTERS_MAX: u32 = 1 << 16;
        let count = self.driver_info()?.n_stats;
        if count == 0 || count > COUNTERS_MAX {
            return Ok(Vec::new());
        }
        // A header of three words for the names, of two for the numbers; the kernel writes as many as it says that there are,
        // also if they have become more meanwhile. So there is room for twice as many, and one page.
        let room = 2 * count as usize + 512;
        let mut names = vec![0_u32; 3 + room * (ETH_GSTRING_LEN / 4)];
        (names[0], names[1], names[2]) = (ETHTOOL_GSTRINGS, ETH_SS_STATS, count);
        self.call_words(&mut names)?;
        let mut numbers = vec![0_u32; 2 + room * 2];
        (numbers[0], numbers[1]) = (ETHTOOL_GSTATS, count);
        self.call_words(&mut numbers)?;
        let count = (names[2].min(numbers[1]) as usize).min(room);
        let bytes: Vec<u8> = names[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let names = bytes.chunks_exact(ETH_GSTRING_LEN).map(|name| {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            String::from_utf8_lossy(&name[..end]).into_owned()
        });
        let numbers = numbers[2..].chunks_exact(2).map(|words| {
            let [a, b] = [words[0], words[1]].map(u32::to_ne_bytes);
            u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
        });
        Ok(names.zip(numbers).take(count).collect())
    }

    pub(super) fn driver(&self) -> io::Result<String> {
        let info = self.driver_info()?;
        let end = info.driver.iter().position(|&byte| byte == 0).unwrap_or(info.driver.len());
        Ok(String::from_utf8_lossy(&info.driver[..end]).into_owned())
    }

    /// What a socket may bind, without the queues that some drivers add while XDP is attached.
    pub(super) fn queues(&self) -> io::Result<Queues> {
        let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Default::default() };
        self.call(&mut channels)?;
        let Channels { rx, tx, combined, max_rx, max_tx, max_combined, .. } = channels;
        Ok(Queues {
            rx: rx.saturating_add(combined),
            tx: tx.saturating_add(combined),
            max: max_rx.max(max_tx).max(max_combined),
        })
    }

    fn call<T>(&self, data: &mut T) -> io::Result<()> {
        // SAFETY: `data` is a whole struct of the command that its first word names (`Channels` or `DriverInfo`).
        unsafe { self.call_at(ptr::from_mut(data).cast()) }
    }

    /// As [`call`](Self::call), for a command whose answer has no fixed length: `words` has room for it.
    fn call_words(&self, words: &mut [u32]) -> io::Result<()> {
        // SAFETY: strings and numbers, of which `counters` left room for more than the driver says it has.
        unsafe { self.call_at(words.as_mut_ptr().cast()) }
    }

    /// # Safety
    /// There is as much memory as the command that is there writes.
    unsafe fn call_at(&self, data: *mut libc::c_char) -> io::Result<()> {
        let mut request = self.request;
        request.ifr_ifru.ifru_data = data;
        // SAFETY: the caller's promise; the memory lives through the call, as the caller has it.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) }).map(drop)
    }
}
