//! Linux, with a veth pair in a network namespace of its own.

use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use xsk::backend::{Backend, Capabilities, Handle, Linux};
use xsk::config::XdpFlags;
use xsk_veth::{Namespace, Tap, VethEnd, VethPair};

use super::linux::{self, check};
use super::{End, Program, Shape, World, program, running_version, traffic_control};
use crate::raw::frame;
use crate::{bpf, cpu};

/// Linux with a veth pair.
#[derive(Debug)]
pub struct VethWorld {
    namespace: Namespace,
    pair: RefCell<VethPair>,
    taps: [Tap; 2],
    names: [String; 2],
    indices: [u32; 2],
    mode: XdpFlags,
    /// The CPU that the thread stays on, if it does.
    cpu: Option<usize>,
    /// The threads in which NAPI runs, if it waits for the test.
    deferred: RefCell<Vec<i32>>,
    /// Where a [`Program::SeeQueue`] notes one more than the queue.
    seen: RefCell<Option<OwnedFd>>,
    held: RefCell<Vec<Held>>,
}

/// Frames of an end go out of a further pair's end, which lets nothing pass.
#[derive(Debug)]
struct Held {
    end: End,
    _forward: OwnedFd,
    through: VethPair,
}

/// How long a frame may be under way that the kernel has put off.
const PATIENCE: Duration = Duration::from_millis(30);

impl VethWorld {
    /// Runs `body` inside the namespace.
    ///
    /// # Panics
    /// If `body` does, or if there can be no such pair.
    pub fn run(mode: XdpFlags, shape: &Shape, body: impl FnOnce(&Self) + Send) {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // The kernel's threads are named after their devices: theirs are to differ in all processes.
        let number = MADE.fetch_add(1, Ordering::Relaxed) % 100;
        let unique = format!("{}n{number}", std::process::id() % 10_000);
        let names = ["a", "b"].map(|end| format!("{end}{unique}"));
        let namespace = Namespace::new().expect("a namespace");
        let pair = VethPair::builder(&namespace, &namespace)
            .mtu(shape.mtu)
            .a(|end| end.name(names[0].clone()).queues(shape.a.0, shape.a.1))
            .b(|end| end.name(names[1].clone()).queues(shape.b.0, shape.b.1))
            .build()
            .expect("a pair");
        let tap = |end: &VethEnd| Tap::open_for(&namespace, end.name(), None).expect("a tap");
        let taps = [tap(&pair.a), tap(&pair.b)];
        let inside = namespace.clone();
        inside.run(|| {
            body(&Self {
                namespace,
                taps,
                names,
                indices: [pair.a.ifindex(), pair.b.ifindex()],
                pair: RefCell::new(pair),
                mode,
                cpu: shape.stays.then(cpu::take_turns),
                deferred: RefCell::default(),
                seen: RefCell::default(),
                held: RefCell::default(),
            });
        });
    }

    fn tap(&self, end: End) -> &Tap {
        &self.taps[end as usize]
    }

    fn with<T>(&self, end: End, what: impl FnOnce(&VethEnd) -> T) -> T {
        let pair = self.pair.borrow();
        what(match end {
            End::A => &pair.a,
            End::B => &pair.b,
        })
    }

    /// What was sent has arrived.
    fn arrive(&self) {
        if let Some(cpu) = self.cpu
            && self.deferred.borrow().is_empty()
        {
            cpu::wait_for_softirqs(cpu);
        }
    }
}

fn veth_errno(result: Result<(), xsk_veth::Error>) -> i32 {
    result.map_or_else(|error| error.errno().expect("an errno").0, |()| 0)
}

impl World for VethWorld {
    fn kernel(&self) -> Arc<dyn Backend> {
        Arc::new(Linux::new())
    }

    fn mode(&self) -> XdpFlags {
        self.mode
    }

    fn version(&self) -> [u32; 3] {
        running_version()
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
        // The program keeps its counter.
        if program == Program::SeeQueue {
            self.seen.replace(Some(counter));
        }
        // Handles of this backend are descriptors, and it closes them.
        Handle(loaded.into_raw_fd())
    }

    fn queue_seen(&self) -> Option<u32> {
        let seen = self.seen.borrow();
        let seen = bpf::read_counter(seen.as_ref()?).expect("a counter");
        u32::try_from(seen).expect("a queue").checked_sub(1)
    }

    fn send(&self, end: End, frame: &[u8]) {
        self.tap(end).send(frame).expect("the frame fits the link");
        self.arrive();
    }

    fn receive(&self, end: End) -> Option<Vec<u8>> {
        self.arrive();
        self.tap(end).recv(PATIENCE).expect("a tap")
    }

    fn concurrent(&self) -> bool {
        true
    }

    fn settle(&self) {
        // Now the others run, before anything else that there is on this machine.
        let deferred = self.deferred.borrow();
        deferred.iter().for_each(|thread| cpu::schedule(*thread, libc::SCHED_FIFO));
        std::thread::sleep(Duration::from_millis(5));
        deferred.iter().for_each(|thread| cpu::schedule(*thread, libc::SCHED_OTHER));
        self.arrive();
    }

    fn refuses_ring_parameters(&self) -> Option<i32> {
        const SIOCETHTOOL: libc::Ioctl = 0x8946;
        const ETHTOOL_GRINGPARAM: u32 = 0x10;
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        // struct ethtool_ringparam: the command and eight numbers.
        let mut parameters = [ETHTOOL_GRINGPARAM, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: ifreq is plain old data, of which all zeros are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name(End::A).to_bytes()) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = parameters.as_mut_ptr().cast();
        // SAFETY: a whole ifreq, whose data is the whole struct of its command; both live through the call.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if answer == 0 { None } else { io::Error::last_os_error().raw_os_error() }
    }

    fn set_up(&self, end: End, up: bool) {
        self.with(end, |end| end.set_up(up)).expect("a link that can be set");
        if up {
            // Both, if the other is up as well.
            let _ = self.pair.borrow().wait_running();
        } else {
            // The tap is told once.
            let _ = self.tap(end).recv(Duration::ZERO);
        }
    }

    fn set_mtu(&self, end: End, mtu: u32) -> i32 {
        veth_errno(self.with(end, |end| end.set_mtu(mtu)))
    }

    fn set_queues(&self, end: End, rx: u32, tx: u32) -> i32 {
        veth_errno(self.with(end, |end| end.set_channels(rx, tx)))
    }

    fn dropped(&self, end: End) -> u64 {
        let file = fs::read_to_string("/proc/thread-self/net/dev").expect("counters");
        let start = format!("{}:", self.names[end as usize]);
        let counters = file.lines().find_map(|line| line.trim().strip_prefix(&start)).expect("the device");
        // Bytes, packets, errors, drops.
        counters.split_whitespace().nth(3).and_then(|count| count.parse().ok()).expect("a count")
    }

    fn remove(&self) {
        self.with(End::A, VethEnd::delete).expect("a pair to delete");
    }

    fn move_away(&self, end: End) {
        let elsewhere = Namespace::new().expect("a namespace");
        let mut pair = self.pair.borrow_mut();
        let end = match end {
            End::A => &mut pair.a,
            End::B => &mut pair.b,
        };
        end.move_to(&elsewhere).expect("a move");
    }

    fn loopback(&self) -> u32 {
        self.namespace.link("lo").expect("lo").ifindex
    }

    fn hold(&self, end: End) {
        const BURST: u32 = 1600;
        let through = VethPair::builder(&self.namespace, &self.namespace)
            .a(|end| end.name("held"))
            .b(|end| end.name("through"))
            .build()
            .expect("a pair");
        traffic_control::add_trickle(through.a.ifindex(), BURST).expect("a shaper");
        // What it would let pass at first.
        let tap = Tap::open(&self.namespace, "held").expect("a tap");
        (0..BURST / 60 + 1).for_each(|_| tap.send(&frame(60, 0)).expect("the frame fits the link"));
        let forward = bpf::forward(self.index(end), through.a.ifindex()).expect("a program");
        self.held.borrow_mut().push(Held { end, _forward: forward, through });
    }

    fn release(&self, end: End) {
        self.held.borrow_mut().retain(|held| {
            if held.end == end {
                traffic_control::remove(held.through.a.ifindex()).expect("the shaper goes");
            }
            held.end != end
        });
        self.settle();
    }

    fn defer_napi(&self, end: End) {
        let cpu = self.cpu.expect("a thread that stays on its CPU");
        threaded(&self.names[end as usize]).expect("threads for NAPI");
        let threads = cpu::kernel_threads(&format!("napi/{}-", self.names[end as usize]));
        assert!(!threads.is_empty(), "no NAPI runs there");
        threads.iter().for_each(|thread| cpu::pin(*thread, cpu));
        // This thread comes first.
        cpu::schedule(0, libc::SCHED_FIFO);
        self.deferred.borrow_mut().extend(threads);
    }

    fn add_qdisc(&self, end: End) {
        traffic_control::add_fifo(self.index(end), 1000).expect("a queue");
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

/// Lets the NAPI of a device of this namespace run in threads, through a sysfs of the namespace's own, which only a thread
/// of its own sees.
fn threaded(name: &str) -> io::Result<()> {
    let file = format!("/sys/class/net/{name}/threaded");
    std::thread::scope(|scope| {
        let mount = scope.spawn(move || {
            // SAFETY: takes no pointers; the thread ends with this closure.
            check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
            let (root, sys, kind) = (c"/".as_ptr(), c"/sys".as_ptr(), c"sysfs".as_ptr());
            let private = libc::MS_REC | libc::MS_PRIVATE;
            // SAFETY: terminated strings, and no data.
            check(unsafe { libc::mount(ptr::null(), root, ptr::null(), private, ptr::null()) })?;
            // SAFETY: as above.
            check(unsafe { libc::mount(kind, sys, kind, 0, ptr::null()) })?;
            fs::write(file, "1")
        });
        mount.join().expect("a thread")
    })
}
