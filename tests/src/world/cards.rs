//! Linux, with two network cards that are wired to each other and that the environment names, in zero-copy mode.
//!
//! `XSK_TEST_IF` and `XSK_TEST_PEER` are the interfaces. Nothing else should use them: programs are attached, the MTU is
//! changed, and what goes out of one has to arrive at the other. `ci/zero-copy` makes such a machine.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use xsk::backend::{Backend, Capabilities, Handle, Linux};
use xsk::config::XdpFlags;

use super::linux::{self, check};
use super::{End, Program, Shape, World, program, running_version};
use crate::{bpf, cpu};

/// Two cards.
#[derive(Debug)]
pub struct CardsWorld {
    names: [String; 2],
    indices: [u32; 2],
    taps: [OwnedFd; 2],
    /// Where a [`Program::SeeQueue`] notes one more than the queue.
    seen: Mutex<Option<OwnedFd>>,
}

/// How long a frame may be under way.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a card may reset its link.
const RESET: Duration = Duration::from_secs(15);

impl CardsWorld {
    /// Runs `body` with the cards that the environment names; one body at a time.
    ///
    /// # Panics
    /// If `body` does, or if there are no such cards.
    pub fn run(shape: &Shape, body: impl FnOnce(&Self) + Send) {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let names = ["XSK_TEST_IF", "XSK_TEST_PEER"]
            .map(|name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is to name a network card")));
        let kernel = Linux::new();
        let indices = [0, 1].map(|i| {
            let name = CString::new(names[i].as_str()).expect("a name");
            kernel.interface(&name).unwrap_or_else(|error| panic!("{}: {error}", names[i])).index
        });
        let taps = indices.map(|index| tap(index).expect("a packet socket"));
        let world = Self { names, indices, taps, seen: Mutex::default() };
        for end in [End::A, End::B] {
            world.set_up(end, true);
            assert_eq!(world.set_mtu(end, shape.mtu), 0, "the cards take an MTU of {}", shape.mtu);
        }
        world.ready();
        // What was under way before.
        for end in [End::A, End::B] {
            while receive(&world.taps[end as usize], Duration::from_millis(1)).is_some() {}
        }
        std::thread::scope(|scope| {
            let test = scope.spawn(|| {
                if shape.stays {
                    cpu::take_turns();
                }
                body(&world);
            });
            if let Err(panic) = test.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// Whether an end passes frames: the driver has a link, which is known at once, and the stack knows of it, which takes
    /// up to a second. A driver without a link takes no descriptors, and does not come back to them (`igb_xmit_zc`).
    fn is_running(&self, end: End) -> bool {
        let is = |file, values: &[&str]| {
            let text = fs::read_to_string(format!("/sys/class/net/{}/{file}", self.names[end as usize]));
            text.is_ok_and(|text| values.contains(&text.trim()))
        };
        is("carrier", &["1"]) && is("operstate", &["up", "unknown"])
    }
}

/// A packet socket that gets all that an interface's stack gets.
fn tap(index: u32) -> io::Result<OwnedFd> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: a new descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: plain data, of which all zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    address.sll_ifindex = index.cast_signed();
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: a whole sockaddr_ll of the length stated.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// The next frame that the stack got from the wire.
fn receive(tap: &OwnedFd, patience: Duration) -> Option<Vec<u8>> {
    let deadline = Instant::now() + patience;
    loop {
        let mut poll = libc::pollfd { fd: tap.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i32;
        // SAFETY: one pollfd.
        if unsafe { libc::poll(&raw mut poll, 1, left) } <= 0 {
            return None;
        }
        let mut frame = vec![0_u8; 65536];
        // SAFETY: plain data, of which all zeros are a value.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut len = size_of_val(&from) as libc::socklen_t;
        let (buffer, flags) = (frame.as_mut_ptr().cast(), libc::MSG_DONTWAIT);
        let from_at = (&raw mut from).cast();
        // SAFETY: buffer and address are as long as stated.
        let got =
            unsafe { libc::recvfrom(tap.as_raw_fd(), buffer, frame.len(), flags, from_at, &raw mut len) };
        let Ok(got) = usize::try_from(got) else { continue };
        if from.sll_pkttype != libc::PACKET_OUTGOING {
            frame.truncate(got);
            return Some(frame);
        }
    }
}

/// An ioctl on an interface; the errno.
fn ioctl(name: &str, command: libc::c_ulong, fill: impl FnOnce(&mut libc::ifreq)) -> i32 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // SAFETY: plain data, of which all zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    fill(&mut request);
    // SAFETY: a whole ifreq; what it points to lives with the caller.
    match check(unsafe { libc::ioctl(socket.as_raw_fd(), command, &raw mut request) }) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().expect("an errno"),
    }
}

fn no_such(what: &str) -> ! {
    panic!("cards cannot {what}: this body is not for them")
}

impl World for CardsWorld {
    fn kernel(&self) -> Arc<dyn Backend> {
        Arc::new(Linux::new())
    }

    fn mode(&self) -> XdpFlags {
        XdpFlags::XDP_FLAGS_DRV_MODE
    }

    fn zero_copy(&self) -> bool {
        true
    }

    fn version(&self) -> [u32; 3] {
        running_version()
    }

    fn ready(&self) {
        let start = Instant::now();
        while !(self.is_running(End::A) && self.is_running(End::B)) {
            assert!(start.elapsed() < RESET, "a card has no link after {RESET:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn name(&self, end: End) -> CString {
        CString::new(self.names[end as usize].as_str()).expect("a name")
    }

    fn index(&self, end: End) -> u32 {
        self.indices[end as usize]
    }

    fn load(&self, program: Program, frags: bool, map: Handle) -> Handle {
        let counter = bpf::counter().expect("an array map");
        let instructions = program::assemble(program, map, counter.as_raw_fd());
        let loaded = bpf::load(&instructions, frags).expect("a program");
        if program == Program::SeeQueue {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(counter);
        }
        Handle(loaded.into_raw_fd())
    }

    fn queue_seen(&self) -> Option<u32> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = bpf::read_counter(seen.as_ref()?).expect("a counter");
        u32::try_from(seen).expect("a queue").checked_sub(1)
    }

    fn send(&self, end: End, frame: &[u8]) {
        let tap = self.taps[end as usize].as_raw_fd();
        // SAFETY: pointer and length are those of `frame`.
        let sent = unsafe { libc::send(tap, frame.as_ptr().cast(), frame.len(), 0) };
        assert!(sent >= 0, "a frame of {} bytes: {}", frame.len(), io::Error::last_os_error());
        // The wire takes its time.
        self.settle();
    }

    fn receive(&self, end: End) -> Option<Vec<u8>> {
        receive(&self.taps[end as usize], PATIENCE)
    }

    fn concurrent(&self) -> bool {
        true
    }

    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(20));
    }

    fn refuses_ring_parameters(&self) -> Option<i32> {
        None
    }

    fn set_up(&self, end: End, up: bool) {
        let up = if up { libc::IFF_UP | libc::IFF_PROMISC } else { 0 };
        let errno = ioctl(&self.names[end as usize], libc::SIOCSIFFLAGS, |request| {
            request.ifr_ifru.ifru_flags = up as libc::c_short;
        });
        assert_eq!(errno, 0, "a link that can be set");
        if up != 0 {
            self.ready();
            // Some receive a little later only.
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn set_mtu(&self, end: End, mtu: u32) -> i32 {
        let errno = ioctl(&self.names[end as usize], libc::SIOCSIFMTU, |request| {
            request.ifr_ifru.ifru_mtu = mtu.cast_signed();
        });
        self.ready();
        errno
    }

    fn set_queues(&self, end: End, rx: u32, tx: u32) -> i32 {
        const SIOCETHTOOL: libc::c_ulong = 0x8946;
        const ETHTOOL_SCHANNELS: u32 = 0x3d;
        if rx != tx {
            no_such("have queues of one kind only");
        }
        // struct ethtool_channels: the command, four maxima, and the numbers of receive, transmit, other and combined
        // queues.
        let mut channels = [ETHTOOL_SCHANNELS, 0, 0, 0, 0, 0, 0, 0, rx];
        ioctl(&self.names[end as usize], SIOCETHTOOL, |request| {
            request.ifr_ifru.ifru_data = channels.as_mut_ptr().cast();
        })
    }

    fn dropped(&self, end: End) -> u64 {
        let file = format!("/sys/class/net/{}/statistics/rx_dropped", self.names[end as usize]);
        fs::read_to_string(file).expect("counters").trim().parse().expect("a count")
    }

    fn remove(&self) {
        no_such("be deleted");
    }

    fn move_away(&self, _: End) {
        no_such("be moved away");
    }

    fn loopback(&self) -> u32 {
        Linux::new().interface(c"lo").expect("lo").index
    }

    fn hold(&self, _: End) {
        no_such("hold frames");
    }

    fn release(&self, _: End) {}

    fn defer_napi(&self, _: End) {
        no_such("wait with their NAPI");
    }

    fn add_qdisc(&self, _: End) {
        no_such("be given a queueing discipline");
    }

    fn without(&self, capabilities: Capabilities, body: &mut dyn FnMut()) {
        linux::without(capabilities, body);
    }

    fn with_memlock_limit(&self, bytes: u64, body: &mut dyn FnMut()) {
        linux::with_memlock_limit(bytes, body);
    }

    fn socket_of(&self, kind: i32, protocol: i32) -> io::Result<Handle> {
        linux::socket_of(kind, protocol)
    }

    fn sendto_blocking(&self, socket: Handle) -> io::Result<()> {
        linux::sendto_blocking(socket)
    }

    fn recvfrom_blocking(&self, socket: Handle) -> io::Result<()> {
        linux::recvfrom_blocking(socket)
    }

    fn xskmap_update_flags(&self, map: Handle, key: u32, socket: Handle, flags: u64) -> io::Result<()> {
        bpf::map_update(map.0, key, socket.0, flags)
    }

    fn xskmap_lookup(&self, map: Handle) -> io::Result<()> {
        bpf::map_lookup(map.0, &mut 0)
    }
}
