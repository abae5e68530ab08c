//! epoll on simulated sockets, while the kernel is in the background.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_types, reason = "in real time")]

mod echo;

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use xsk::backend::{Backend, Handle};
use xsk::config::SocketConfig;
use xsk_sim::{Background, DeviceConfig, SimDevice, SimKernel};

use echo::Program;

const IN: EventFlags = EventFlags::IN;
const OUT: EventFlags = EventFlags::OUT;

/// A card, a socket on it with eight frames to receive into, and an epoll.
struct World {
    kernel: SimKernel,
    card: SimDevice,
    program: Program,
    epoll: OwnedFd,
}

fn wait(epoll: &OwnedFd, milliseconds: i64) -> EventFlags {
    let timeout = Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 4];
    match epoll::wait(epoll, &mut events[..], Some(&timeout)).unwrap() {
        0 => EventFlags::empty(),
        _ => events[0].flags,
    }
}

impl World {
    fn new(interest: EventFlags) -> Self {
        let kernel = SimKernel::new(1);
        let card = kernel.card("card", &DeviceConfig::default()).unwrap();
        let config = SocketConfig::builder().tx_queue_size(32.try_into().unwrap()).build();
        let mut program = Program::open(&kernel, "card", config, 32);
        program.fill(8);
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let descriptor = program.rx().fd().descriptor().unwrap();
        epoll::add(&epoll, descriptor, EventData::new_u64(7), interest).unwrap();
        Self { kernel, card, program, epoll }
    }

    fn run(&self) -> Background {
        self.kernel.run_in_background().unwrap()
    }

    /// What is ready within so many milliseconds.
    fn wait(&self, milliseconds: i64) -> EventFlags {
        wait(&self.epoll, milliseconds)
    }

    /// Waits until the socket is ready for these events and no others.
    fn settles_at(&self, flags: EventFlags) {
        let start = Instant::now();
        while self.wait(0) != flags {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?} instead of {flags:?}", self.wait(0));
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn epoll_wakes_up_when_packets_come() {
    let mut world = World::new(IN);
    let _background = world.run();
    assert_eq!(world.wait(10), EventFlags::empty());
    let start = Instant::now();
    thread::scope(|scope| {
        let card = world.card.clone();
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(20));
            card.inject(0, &[7; 60]).unwrap();
        });
        assert_eq!(world.wait(20_000), IN);
        assert!(start.elapsed() >= Duration::from_millis(15), "{:?}", start.elapsed());
    });
    // Level: as long as the packet is there, and no longer, though it is taken without a call.
    assert_eq!((world.wait(20), world.wait(20)), (IN, IN));
    assert_eq!(world.program.take(), 1);
    world.settles_at(EventFlags::empty());
    assert_eq!(world.wait(20), EventFlags::empty());
}

#[test]
fn each_arrival_is_an_edge() {
    let world = World::new(IN | EventFlags::ET);
    let _background = world.run();
    for _ in 0..4 {
        world.card.inject(0, &[7; 60]).unwrap();
        // Also while the ones before it are still there.
        assert_eq!(world.wait(20_000), IN);
        assert_eq!(world.wait(20), EventFlags::empty());
    }
}

#[test]
fn it_is_writable_while_the_tx_ring_is_half_empty() {
    let mut world = World::new(OUT);
    let _background = world.run();
    world.settles_at(OUT);
    // 24 frames on a ring of 32, and nobody who sends them. It is known at the next call.
    thread::sleep(Duration::from_millis(20));
    assert_eq!(world.program.produce(24), 24);
    world.program.rx().fd().xdp_statistics().unwrap();
    world.settles_at(EventFlags::empty());
    assert_eq!(world.wait(20), EventFlags::empty());
    world.program.wake();
    world.settles_at(OUT);
}

#[test]
fn a_writer_that_is_woken_gets_an_edge() {
    let mut world = World::new(OUT | EventFlags::ET);
    let _background = world.run();
    while world.wait(20) != EventFlags::empty() {}
    assert_eq!(world.program.produce(1), 1);
    assert_eq!(world.wait(20), EventFlags::empty());
    world.program.wake();
    assert_eq!(world.wait(1000), OUT);
}

#[test]
fn a_device_that_is_down_is_neither() {
    let world = World::new(IN | OUT);
    let _background = world.run();
    world.card.inject(0, &[7; 60]).unwrap();
    world.settles_at(IN | OUT);
    world.card.set_up(false);
    world.settles_at(EventFlags::empty());
    world.card.set_up(true);
    world.settles_at(IN | OUT);
    world.card.remove();
    world.settles_at(EventFlags::empty());
}

#[test]
fn in_virtual_time_nothing_becomes_ready() {
    let world = World::new(IN);
    world.card.inject(0, &[7; 60]).unwrap();
    assert_eq!(world.wait(20), EventFlags::empty());
    // It shows as soon as time is real.
    let background = world.run();
    world.settles_at(IN);
    drop(background);
}

#[test]
fn a_descriptor_is_real_and_its_own() {
    let kernel = SimKernel::new(1);
    let _card = kernel.card("card", &DeviceConfig::default().queues(2)).unwrap();
    let program = Program::open(&kernel, "card", SocketConfig::default(), 8);
    let fd = program.rx().fd();
    let number = fd.as_raw_fd();
    assert!((3..1 << 20).contains(&number), "{number}");
    assert_eq!(fd.descriptor().unwrap().as_raw_fd(), number, "the same each time");
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    assert!(link.to_string_lossy().starts_with("socket:"), "{link:?}");
    // A handle that is no socket has none.
    let map = kernel.xskmap_create(1).unwrap();
    assert_eq!((kernel.fd(map), kernel.fd(Handle(3)), kernel.fd(Handle(-1))), (None, None, None));
    // It goes with the socket.
    drop(program);
    let again = std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    assert_ne!(again, Some(link));
}
