//! The port tier. Its calls move descriptors and wake the kernel in one: whose turn it is changes at each system call.

use std::ffi::CStr;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use xsk::backend::{Backend, Handle, InterfaceInfo, Mapping, NamespaceId, PageSize, Poll, RedirectProgram};
use xsk::config::XdpFlags;
use xsk::port::Verdict;
use xsk::{Batch, Packet, Pool, PoolConfig, Port, PortConfig};
use xsk_core::abi::sockaddr_xdp;
use xsk_sim::fault::FaultRule;
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use crate::guard::{Guard, Turn};

/// A kernel that lets nobody touch what is not theirs, once there are frames to guard.
#[derive(Debug)]
struct Guarded {
    kernel: SimKernel,
    guard: Arc<OnceLock<Guard>>,
}

impl Guarded {
    fn call<T>(&self, run: impl FnOnce(&SimKernel) -> T) -> T {
        match self.guard.get() {
            Some(guard) => guard.kernel(|| run(&self.kernel)),
            None => run(&self.kernel),
        }
    }
}

macro_rules! calls {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        impl Backend for Guarded {
            $(fn $name(&self, $($argument: $kind),*) $(-> $result)? {
                self.call(|kernel| kernel.$name($($argument),*))
            })*
        }
    };
}

calls! {
    fn socket() -> io::Result<Handle>;
    fn close(handle: Handle);
    fn setsockopt(socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()>;
    fn getsockopt(socket: Handle, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize>;
    fn bind(socket: Handle, address: &sockaddr_xdp) -> io::Result<()>;
    fn mmap_ring(socket: Handle, offset: u64, len: usize) -> io::Result<Mapping>;
    fn mmap_memory(len: usize, pages: PageSize) -> io::Result<Mapping>;
    fn poll(polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize>;
    fn sendto(socket: Handle) -> io::Result<()>;
    fn recvfrom(socket: Handle) -> io::Result<()>;
    fn interface(name: &CStr) -> io::Result<InterfaceInfo>;
    fn namespace() -> io::Result<NamespaceId>;
    fn now() -> Duration;
    fn sleep(time: Duration);
    fn fd(socket: Handle) -> Option<i32>;
    fn xskmap_create(entries: u32) -> io::Result<Handle>;
    fn xskmap_update(map: Handle, key: u32, socket: Handle) -> io::Result<()>;
    fn xskmap_delete(map: Handle, key: u32) -> io::Result<()>;
    fn program_load(program: &RedirectProgram) -> io::Result<Handle>;
    fn link_create(program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle>;
}

const FRAMES: u32 = 64;
const FRAME_SIZE: u32 = 2048;

/// Writes every byte of a packet, and all that it can be made to have, and reads it back.
fn touch(packet: &mut Packet) {
    let (front, len) = (packet.headroom(), packet.len());
    packet.push_front(front).unwrap();
    let room = packet.tailroom();
    packet.resize(front + len + room).unwrap();
    packet.fill(9);
    assert!(packet.len() > 1000 && packet.iter().all(|byte| *byte == 9));
    packet.truncate(front + len);
    packet.pull_front(front).unwrap();
}

/// Two ports of a pool, on pairs whose other ends are the network's.
struct World {
    kernel: SimKernel,
    guard: Arc<OnceLock<Guard>>,
    far: [SimDevice; 2],
    pool: Pool,
    ports: Vec<Port>,
    held: Vec<Packet>,
    mode: XdpFlags,
    received: usize,
}

const NAMES: [&str; 2] = ["a", "b"];

impl World {
    fn new(seed: u64, mode: XdpFlags) -> Self {
        let kernel = SimKernel::new(seed);
        let device = DeviceConfig::default().threaded(seed.is_multiple_of(2));
        let far = [("a", "x"), ("b", "y")].map(|(near, far)| kernel.veth(near, far, &device).unwrap().1);
        let guard = Arc::new(OnceLock::new());
        let backend = Arc::new(Guarded { kernel: kernel.clone(), guard: Arc::clone(&guard) });
        let config = PoolConfig::default().frames(FRAMES).frame_size(FRAME_SIZE);
        let pool = Pool::new_in(backend, config).unwrap();
        let all: Vec<Packet> = std::iter::from_fn(|| pool.packet()).collect();
        assert_eq!(all.len(), FRAMES as usize);
        let first = all.iter().map(|packet| packet.as_ptr()).min().unwrap();
        let start = first.wrapping_sub(first.addr() % FRAME_SIZE as usize);
        drop(all);
        assert!(guard.set(Guard::new(&kernel, start, FRAMES, FRAME_SIZE)).is_ok());
        let mut world =
            Self { kernel, guard, far, pool, ports: Vec::new(), held: Vec::new(), mode, received: 0 };
        world.ports = NAMES.iter().map(|name| world.open(name)).collect();
        world
    }

    fn open(&self, name: &str) -> Port {
        let config = PortConfig::default().rx_ring(16).tx_ring(16).fill_ring(16).completion_ring(16);
        Port::open(&self.pool, name, 0, config.fill_level(12).xdp_flags(self.mode)).unwrap()
    }

    fn guard(&self) -> &Guard {
        self.guard.get().unwrap()
    }

    fn arrive(&self, at: usize, len: usize) {
        let _ = self.guard().kernel(|| self.far[at].send(&vec![7; len]));
    }

    /// What a packet that is shown in the middle of a call is touched by.
    fn shown(guard: &OnceLock<Guard>, packet: &mut Packet) {
        guard.get().unwrap().shown(packet.as_ptr());
        touch(packet);
    }

    fn step(&mut self, choice: u64) {
        let at = (choice >> 12) as usize % 2;
        let guard = Arc::clone(&self.guard);
        match (choice >> 33) % 12 {
            0..3 => self.arrive(at, [60, 1200, 1514][(choice >> 20) as usize % 3]),
            3 => {
                let mut batch = Batch::with_capacity(4);
                self.received += self.ports[at].recv(&mut batch).unwrap();
                self.held.extend(batch.drain());
            }
            4 => {
                if let Some(mut packet) = self.ports[at].packet() {
                    // It may have come from the completion ring a moment ago, without a system call.
                    self.guard().turn(Turn::User);
                    packet.extend_from_slice(&[8; 60]).unwrap();
                    self.held.push(packet);
                }
            }
            5 => {
                let mut batch = Batch::new();
                let count = self.held.len().min(5);
                self.held.drain(..count).for_each(|packet| batch.push(packet).unwrap());
                self.ports[at].send(&mut batch).unwrap();
                self.held.extend(batch.drain());
            }
            6 => {
                let (verdicts, mut number) = (choice >> 40, 0);
                let done = self.ports[at].forward(|packet| {
                    Self::shown(&guard, packet);
                    number += 1;
                    if verdicts >> (number % 16) & 1 == 0 { Verdict::Send } else { Verdict::Drop }
                });
                self.received += done.unwrap().received;
            }
            7 => {
                let [first, second] = &mut self.ports[..] else { unreachable!() };
                let done = first.forward_to(second, |packet| {
                    Self::shown(&guard, packet);
                    Verdict::Send
                });
                self.received += done.unwrap().received;
                self.ports.reverse();
                self.far.reverse();
            }
            8 => self.received += self.ports[at].for_each(|packet| Self::shown(&guard, packet)).unwrap(),
            9 => {
                let mut batch = Batch::new();
                let count = self.held.len().min(3);
                self.held.drain(..count).for_each(|packet| batch.push(packet).unwrap());
                self.ports[at].recycle(&mut batch);
            }
            10 => {
                self.held.truncate(6);
                let _ = self.ports[at].wait(Some(Duration::from_millis(1)));
            }
            _ => {
                let _ = self.ports[at].flush();
                if choice >> 40 & 7 == 0 {
                    let name = self.ports[at].interface().to_owned();
                    drop(self.ports.remove(at));
                    let port = self.open(&name);
                    self.ports.insert(at, port);
                }
            }
        }
        self.guard().turn(Turn::User);
        self.held.iter_mut().for_each(touch);
    }
}

fn history(seed: u64, mode: XdpFlags) {
    let mut world = World::new(seed, mode);
    let _faults: Vec<_> = [
        FaultRule::lose_kicks(),
        FaultRule::delay_packets(Duration::ZERO..Duration::from_millis(1)),
        FaultRule::starve(),
        FaultRule::delay_completions(Duration::ZERO..Duration::from_millis(2)),
    ]
    .map(|rule| world.kernel.fault(rule.chance(0.05)))
    .into();
    let mut choice = seed;
    for _ in 0..400 {
        choice = choice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        world.step(choice);
    }
    assert!(world.received > 20, "seed {seed}: {}", world.received);
    world.ports.clear();
    world.guard().kernel(|| world.kernel.run_until_idle(1000));
    world.held.clear();
    // Every frame is the user's again.
    let mut all: Vec<Packet> = std::iter::from_fn(|| world.pool.packet()).collect();
    all.iter_mut().for_each(touch);
    world.guard().turn(Turn::Nobody);
}

#[test]
fn nobody_touches_a_frame_of_the_other() {
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        (0..8).for_each(|seed| history(seed, mode));
    }
}
