//! Any calls of the port tier, beside a simulated kernel that delays, loses, and lies about descriptors and indices: no two
//! packets are in one frame, nobody writes into a packet that the user holds, and when all is closed every frame is there, once.

use std::time::Duration;

use arbitrary::Arbitrary;
use xsk::port::Verdict;
use xsk::{Batch, Packet, Pool, PoolConfig, Port, PortConfig};
use xsk_core::abi::xdp_desc;
use xsk_sim::fault::{Call as Backend, Chance, DeviceFault, Fault, FaultRule, Moment, Point, Ring, Rule};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

#[derive(Debug, Arbitrary)]
struct Input {
    seed: u8,
    multi_buffer: bool,
    headroom: u8,
    /// Which faults there are.
    faults: u16,
    calls: Vec<Call>,
}

/// A call. `at` is one of two ports.
#[derive(Debug, Arbitrary)]
enum Call {
    Arrive { at: bool, count: u8, len: u16 },
    Run { steps: u8 },
    Recv { at: bool, room: u8 },
    Send { at: bool, count: u8 },
    SendOne { at: bool, packet: u8 },
    Fresh { at: bool, len: u16 },
    Forward { at: bool, verdicts: u8, keep: bool, front: i8 },
    ForwardTo { at: bool, verdicts: u8, front: i8 },
    ForEach { at: bool },
    Front { packet: u8, by: i16 },
    Resize { packet: u8, len: u16 },
    Extend { packet: u8, len: u8 },
    Truncate { packet: u8, len: u16 },
    Copy { packet: u8 },
    Drop { count: u8 },
    Recycle { at: bool, count: u8 },
    Flush { at: bool },
    Wait { at: bool, ms: u8 },
    Stats { at: bool },
    Reopen { at: bool },
    Up { at: bool, up: bool },
}

const FRAMES: u32 = 32;
const FRAME_SIZE: u32 = 2048;
/// Of the faults: the kernel names frames that it has not, or has for another purpose.
const LIAR: u16 = 1 << 15;

/// A kernel that names any frame of the pool. One that it has it may write into later, so what packets hold is not checked.
struct Liar;

impl Rule for Liar {
    fn ask(&mut self, point: &Point, chance: &mut Chance<'_>) -> Option<Fault> {
        let address = chance.number(0..u64::from(FRAMES * FRAME_SIZE));
        match point.moment {
            Moment::Receive(desc) if chance.happens(0.2) => {
                Some(Fault::Describe(xdp_desc { addr: address, ..desc }))
            }
            Moment::Completion { .. } if chance.happens(0.2) => Some(Fault::Address(address)),
            _ => None,
        }
    }
}
const NAMES: [&str; 2] = ["a", "b"];

/// A packet that the user holds, full of one byte.
struct Held {
    packet: Packet,
    byte: u8,
}

impl Held {
    fn check(&self) {
        let first = self.packet.segments().next().unwrap_or_default();
        assert!(first.iter().all(|byte| *byte == self.byte), "somebody wrote into a packet of the user");
    }
}

struct World {
    kernel: SimKernel,
    far: [SimDevice; 2],
    pool: Pool,
    config: PortConfig,
    ports: Vec<Port>,
    held: Vec<Held>,
    byte: u8,
}

pub fn run(data: &[u8]) {
    let Some(input) = crate::bytes::read::<Input>(data) else { return };
    let kernel = SimKernel::new(input.seed.into());
    let device = DeviceConfig::default().mtu(if input.multi_buffer { 6000 } else { 1500 });
    let [far_a, far_b] =
        [("a", "x"), ("b", "y")].map(|(near, far)| kernel.veth(near, far, &device).expect("two names").1);
    let pool = PoolConfig::default().frames(FRAMES).frame_size(FRAME_SIZE).headroom(input.headroom.into());
    let pool = Pool::new_in(kernel.backend(), pool).expect("a pool");
    let config = PortConfig::default().rx_ring(8).tx_ring(8).fill_ring(8).completion_ring(8).fill_level(6);
    let config = config.multi_buffer(input.multi_buffer);
    let mut world =
        World { kernel, far: [far_a, far_b], pool, config, ports: Vec::new(), held: Vec::new(), byte: 0 };
    world.ports = NAMES.iter().map(|name| world.open(name)).collect();
    let faults: Vec<_> = faults(&world.far[0], input.faults)
        .into_iter()
        .map(|rule| world.kernel.fault(rule.chance(0.1)))
        .collect();
    let liar = (input.faults & LIAR != 0).then(|| world.kernel.fault(Liar));
    for call in input.calls.iter().take(200) {
        world.call(call);
        world.check(input.faults & LIAR != 0);
    }
    drop((faults, liar));
    world.end();
}

fn faults(device: &SimDevice, chosen: u16) -> Vec<FaultRule> {
    let time = Duration::ZERO..Duration::from_millis(1);
    let rules = [
        FaultRule::corrupt_rx(),
        FaultRule::corrupt_completions(),
        FaultRule::corrupt_index(Ring::Rx),
        FaultRule::corrupt_index(Ring::Completion),
        FaultRule::corrupt_index(Ring::Fill),
        FaultRule::corrupt_index(Ring::Tx),
        FaultRule::lose_completions(),
        FaultRule::delay_completions(time.clone()),
        FaultRule::delay_packets(time),
        FaultRule::lose_kicks(),
        FaultRule::starve(),
        FaultRule::errno(Backend::SendTo, xsk_core::errno::EAGAIN),
        FaultRule::errno(Backend::RecvFrom, xsk_core::errno::ENETDOWN),
        FaultRule::errno(Backend::Poll, xsk_core::errno::ENOMEM),
        FaultRule::device_fault(device, DeviceFault::Flap(Duration::from_millis(1))).times(2),
    ];
    rules.into_iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, rule)| rule).collect()
}

/// Moves the start of a packet, if there is room for that.
fn front(packet: &mut Packet, by: i16) {
    let count = usize::from(by.unsigned_abs());
    if by < 0 {
        let _ = packet.pull_front(count);
    } else if let Ok(bytes) = packet.push_front(count) {
        assert_eq!(bytes.len(), count);
    }
}

impl World {
    fn open(&self, name: &str) -> Port {
        // Where the kernel refuses for the time being, there is one later.
        (0..50).find_map(|_| Port::open(&self.pool, name, 0, self.config).ok()).expect("a port")
    }

    fn check(&self, lies: bool) {
        // A frame starts at a multiple of its size, as the memory does.
        let frame = |packet: &Packet| packet.as_ptr().addr() / FRAME_SIZE as usize;
        let mut frames: Vec<usize> = self.held.iter().map(|held| frame(&held.packet)).collect();
        frames.sort_unstable();
        frames.dedup();
        assert_eq!(frames.len(), self.held.len(), "two packets are in one frame");
        if !lies {
            self.held.iter().for_each(Held::check);
        }
    }

    fn hold(&mut self, mut packet: Packet) {
        self.byte = self.byte.wrapping_add(1);
        packet.fill(self.byte);
        self.held.push(Held { packet, byte: self.byte });
    }

    /// Fills a packet again whose length has changed.
    fn refill(&mut self, packet: u8, change: impl FnOnce(&mut Packet)) {
        if self.held.is_empty() {
            return;
        }
        let at = usize::from(packet) % self.held.len();
        let Held { mut packet, .. } = self.held.remove(at);
        change(&mut packet);
        self.hold(packet);
    }

    fn take(&mut self, count: u8) -> Batch {
        let mut batch = Batch::new();
        let count = usize::from(count).min(self.held.len()).min(batch.room());
        self.held.drain(..count).for_each(|held| assert!(batch.push(held.packet).is_ok()));
        batch
    }

    fn put_back(&mut self, mut batch: Batch) {
        let packets: Vec<Packet> = batch.drain().collect();
        packets.into_iter().for_each(|packet| self.hold(packet));
    }

    fn call(&mut self, call: &Call) {
        match *call {
            Call::Arrive { at, count, len } => {
                let packet = vec![0xaa; usize::from(len % 6100)];
                (0..count % 16).for_each(|_| _ = self.far[usize::from(at)].send(&packet));
            }
            Call::Run { steps } => _ = self.kernel.run_until_idle(steps.into()),
            Call::Recv { at, room } => {
                let mut batch = Batch::with_capacity(usize::from(room % 24));
                let got = self.ports[usize::from(at)].recv(&mut batch);
                assert_eq!(got.unwrap_or(0), batch.len());
                self.put_back(batch);
            }
            Call::Send { at, count } => {
                let mut batch = self.take(count);
                let before = batch.len();
                let sent = self.ports[usize::from(at)].send(&mut batch).unwrap_or(0);
                assert_eq!(batch.len(), before - sent);
                self.put_back(batch);
            }
            Call::SendOne { at, packet } => {
                if !self.held.is_empty() {
                    let held = self.held.remove(usize::from(packet) % self.held.len());
                    if let Err(not_sent) = self.ports[usize::from(at)].send_one(held.packet) {
                        self.hold(not_sent.packet);
                    }
                }
            }
            Call::Fresh { at, len } => {
                if let Some(mut packet) = self.ports[usize::from(at)].packet() {
                    let fits = usize::from(len) <= packet.tailroom();
                    assert_eq!(packet.resize(len.into()).is_ok(), fits);
                    self.hold(packet);
                }
            }
            Call::Forward { at, verdicts, keep, front: by } => {
                let (pool, mut kept, mut number) = (self.pool.clone(), None, 0);
                let _ = self.ports[usize::from(at)].forward(|packet| {
                    number += 1;
                    front(packet, by.into());
                    if keep
                        && kept.is_none()
                        && let Some(other) = pool.packet()
                    {
                        kept = Some(std::mem::replace(packet, other));
                    }
                    if verdicts >> (number % 8) & 1 == 1 { Verdict::Send } else { Verdict::Drop }
                });
                kept.into_iter().for_each(|packet| self.hold(packet));
            }
            Call::ForwardTo { at, verdicts, front: by } => {
                let [first, second] = &mut self.ports[..] else { return };
                let (from, to) = if at { (second, first) } else { (first, second) };
                let mut number = 0;
                let _ = from.forward_to(to, |packet| {
                    number += 1;
                    front(packet, by.into());
                    if verdicts >> (number % 8) & 1 == 1 { Verdict::Send } else { Verdict::Drop }
                });
            }
            Call::ForEach { at } => _ = self.ports[usize::from(at)].for_each(|packet| packet.fill(0)),
            Call::Front { packet, by } => self.refill(packet, |packet| front(packet, by)),
            Call::Resize { packet, len } => self.refill(packet, |packet| _ = packet.resize(len.into())),
            Call::Extend { packet, len } => {
                self.refill(packet, |packet| _ = packet.extend_from_slice(&vec![1; len.into()]));
            }
            Call::Truncate { packet, len } => self.refill(packet, |packet| packet.truncate(len.into())),
            Call::Copy { packet } => {
                let copied = self.held.get(usize::from(packet)).and_then(|held| self.pool.copy(&held.packet));
                copied.into_iter().for_each(|packet| self.hold(packet));
            }
            Call::Drop { count } => drop(self.take(count)),
            Call::Recycle { at, count } => {
                let mut batch = self.take(count);
                self.ports[usize::from(at)].recycle(&mut batch);
                assert!(batch.is_empty());
            }
            Call::Flush { at } => _ = self.ports[usize::from(at)].flush(),
            Call::Wait { at, ms } => {
                let _ = self.ports[usize::from(at)].wait(Some(Duration::from_millis(u64::from(ms % 4))));
            }
            Call::Stats { at } => _ = self.ports[usize::from(at)].stats(),
            Call::Reopen { at } => {
                let at = usize::from(at);
                let port = self.ports.remove(at);
                drop(port);
                let port = self.open(NAMES[at]);
                self.ports.insert(at, port);
            }
            Call::Up { at, up } => self.far[usize::from(at)].set_up(up),
        }
    }

    /// Everything goes home, at the latest when the queues are open again.
    fn end(self) {
        let Self { kernel, far, pool, config, ports, held, .. } = self;
        kernel.run_until_idle(10_000);
        far.iter().for_each(|device| device.set_up(true));
        drop((ports, held));
        drop(NAMES.map(|name| Port::open(&pool, name, 0, config).expect("a port")));
        assert_eq!((pool.with_kernel(), pool.quarantined()), (0, 0));
        let all: Vec<Packet> = std::iter::from_fn(|| pool.packet()).collect();
        let mut starts: Vec<_> = all.iter().map(|packet| packet.as_ptr()).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(
            (all.len(), starts.len()),
            (FRAMES as usize, FRAMES as usize),
            "frames are lost, or twice there"
        );
        drop((all, pool));
        kernel.run_until_idle(1000);
        let left = kernel.snapshot();
        assert!(!left.contains("socket") && !left.contains("umem"), "left behind: {left}");
    }
}
