//! Random histories of calls. After every step: the law of the frames, and nobody but their owner wrote into packets.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use xsk::port::{PortConfig, Verdict};
use xsk::{Batch, Packet, Pool, PoolConfig, Port};
use xsk_sim::fault::{Call, FaultGuard, FaultRule};
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel};

use crate::kit::{check_frames, config, free_frames};
use crate::regressions;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Arrive { count: u8, len: u16 },
    Recv { room: u8 },
    Send { count: u8 },
    SendOne,
    Fresh { len: u16 },
    Forward { mask: u8, keep: bool },
    ForwardTo { mask: u8 },
    ForEach,
    Change { headroom: u16 },
    Drop { count: u8 },
    Clear { count: u8 },
    Recycle { count: u8 },
    Flush,
    Wait,
    Run { steps: u8 },
    Swap,
    Reopen,
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..12_u8, prop_oneof![14..200_u16, 1400..5000_u16]).prop_map(|(count, len)| Op::Arrive { count, len }),
        4 => (1..20_u8).prop_map(|room| Op::Recv { room }),
        4 => (1..30_u8).prop_map(|count| Op::Send { count }),
        1 => Just(Op::SendOne),
        2 => (0..1500_u16).prop_map(|len| Op::Fresh { len }),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(mask, keep)| Op::Forward { mask, keep }),
        2 => any::<u8>().prop_map(|mask| Op::ForwardTo { mask }),
        1 => Just(Op::ForEach),
        2 => (0..300_u16).prop_map(|headroom| Op::Change { headroom }),
        1 => (1..8_u8).prop_map(|count| Op::Drop { count }),
        1 => (1..8_u8).prop_map(|count| Op::Clear { count }),
        1 => (1..8_u8).prop_map(|count| Op::Recycle { count }),
        1 => Just(Op::Flush),
        1 => Just(Op::Wait),
        1 => (1..20_u8).prop_map(|steps| Op::Run { steps }),
        1 => Just(Op::Swap),
        1 => Just(Op::Reopen),
    ]
}

/// Two ports of one pool, and what the user holds. Each held packet is full of its own number.
pub(crate) struct User {
    pool: Pool,
    names: [String; 2],
    config: PortConfig,
    ports: Vec<Port>,
    held: VecDeque<(Packet, u8)>,
    number: u8,
}

impl User {
    pub(crate) fn new(pool: &Pool, names: [&str; 2], config: PortConfig) -> Self {
        let ports = names.iter().map(|name| Port::open(pool, name, 0, config).unwrap()).collect();
        let names = names.map(str::to_owned);
        Self { pool: pool.clone(), names, config, ports, held: VecDeque::new(), number: 0 }
    }

    fn hold(&mut self, mut packet: Packet) {
        self.number = self.number.wrapping_add(1);
        packet.fill(self.number);
        self.held.push_back((packet, self.number));
    }

    fn take(&mut self, count: u8) -> Batch {
        let mut batch = Batch::new();
        for (packet, number) in self.held.drain(..usize::from(count).min(self.held.len())) {
            assert!(packet.iter().all(|byte| *byte == number), "somebody wrote into a packet of the user");
            batch.push(packet).unwrap();
        }
        batch
    }

    fn put_back(&mut self, mut batch: Batch) {
        while let Some(packet) = batch.pop() {
            self.hold(packet);
        }
    }

    pub(crate) fn play(&mut self, op: &Op) {
        match *op {
            Op::Arrive { .. } | Op::Run { .. } => {}
            Op::Recv { room } => {
                let mut batch = Batch::with_capacity(room.into());
                let _ = self.ports[0].recv(&mut batch);
                self.put_back(batch);
            }
            Op::Send { count } => {
                let mut batch = self.take(count);
                let before = batch.len();
                match self.ports[0].send(&mut batch) {
                    Ok(sent) => assert_eq!(batch.len(), before - sent),
                    // The first cannot be sent, or the kernel is in trouble.
                    Err(_) => assert_eq!(batch.len(), before),
                }
                self.put_back(batch);
            }
            Op::SendOne => {
                if let Some(packet) = self.take(1).pop()
                    && let Err(not_sent) = self.ports[0].send_one(packet)
                {
                    self.hold(not_sent.packet);
                }
            }
            Op::Fresh { len } => {
                if let Some(mut packet) = self.ports[0].packet() {
                    packet.resize(len.into()).unwrap();
                    self.hold(packet);
                }
            }
            Op::Forward { mask, keep } => {
                let (pool, mut kept, mut i) = (self.pool.clone(), None, 0);
                let _ = self.ports[0].forward(|packet| {
                    i += 1;
                    if keep
                        && kept.is_none()
                        && let Some(other) = pool.packet()
                    {
                        kept = Some(std::mem::replace(packet, other));
                    }
                    if mask >> (i % 8) & 1 == 1 { Verdict::Send } else { Verdict::Drop }
                });
                if let Some(packet) = kept {
                    self.hold(packet);
                }
            }
            Op::ForwardTo { mask } => {
                let [first, second] = &mut self.ports[..] else { return };
                let mut i = 0;
                let _ = first.forward_to(second, |packet| {
                    i += 1;
                    if i % 3 == 0 {
                        let _ = packet.request_timestamp(mask.into());
                    }
                    let _ = packet.push_front(i % 3);
                    if mask >> (i % 8) & 1 == 1 { Verdict::Send } else { Verdict::Drop }
                });
            }
            Op::ForEach => {
                let _ = self.ports[0].for_each(|packet| packet.fill(0));
            }
            Op::Change { headroom } => {
                if let Some((mut packet, _)) = self.held.pop_front() {
                    if packet.push_front(headroom.into()).is_err() {
                        let _ = packet.pull_front(headroom.into());
                    }
                    self.hold(packet);
                    // In pools with TX metadata.
                    if let Some((packet, _)) = self.held.back_mut() {
                        let _ = packet.request_timestamp(headroom.into());
                        if headroom % 2 == 0 && packet.len() >= 2 {
                            let _ = packet.request_checksum(0, packet.len() - 2);
                        }
                    }
                }
            }
            Op::Drop { count } => drop(self.take(count).drain().collect::<Vec<_>>()),
            Op::Clear { count } => drop(self.take(count)),
            Op::Recycle { count } => {
                let mut batch = self.take(count);
                self.ports[0].recycle(&mut batch);
                assert!(batch.is_empty());
            }
            Op::Flush => {
                let _ = self.ports[0].flush();
                while self.ports[0].tx_timestamp().is_some() {}
            }
            Op::Wait => {
                let _ = self.ports[0].wait(Some(Duration::ZERO));
            }
            Op::Swap => {
                self.ports.reverse();
                self.names.reverse();
            }
            Op::Reopen => {
                self.ports.remove(0);
                // Where the kernel refuses for the time being, there is one later.
                let open = || Port::open(&self.pool, &self.names[0], 0, self.config);
                let port = (1..20).find_map(|_| open().ok()).map_or_else(open, Ok);
                self.ports.insert(0, port.expect("a port"));
            }
        }
    }

    /// What the ports say that the kernel has, the pool has noted; and nothing came from the kernel that could not be.
    pub(crate) fn check_rings(&mut self) {
        let mut on_rings = 0;
        for port in &mut self.ports {
            let stats = port.stats().unwrap();
            assert_eq!(stats.violations, 0, "{stats:?}");
            on_rings += stats.fill_waiting + stats.rx_waiting + stats.unfinished;
        }
        assert!(on_rings <= self.pool.with_kernel(), "{on_rings} of {}", self.pool.with_kernel());
    }

    /// Everything goes home, at the latest when the queues are open again.
    pub(crate) fn end(self) -> Pool {
        let Self { pool, names, config, ports, mut held, .. } = self;
        assert!(held.iter().all(|(packet, number)| packet.iter().all(|byte| byte == number)));
        drop(ports);
        held.clear();
        drop(names.map(|name| Port::open(&pool, &name, 0, config).unwrap()));
        pool
    }
}

/// What goes wrong in a history.
fn rule(kernel: &SimKernel, kind: u8) -> FaultGuard {
    let (short, long) = (Duration::from_micros(1), Duration::from_millis(3));
    kernel.fault(match kind % 9 {
        0 => FaultRule::delay_completions(short..long).chance(0.5),
        1 => FaultRule::delay_packets(short..long).chance(0.5),
        2 => FaultRule::lose_packets().chance(0.2),
        3 => FaultRule::errno(Call::SendTo, xsk_core::errno::EAGAIN).chance(0.3),
        4 => FaultRule::errno(Call::RecvFrom, xsk_core::errno::ENETDOWN).chance(0.3),
        5 => FaultRule::starve().chance(0.2),
        6 => FaultRule::delay_napi(short..long).chance(0.5),
        7 => FaultRule::lose_kicks().chance(0.5),
        _ => FaultRule::errno(Call::Bind, xsk_core::errno::EBUSY).chance(0.3),
    })
}

/// What the kernel lies about.
fn lie(kernel: &SimKernel, kind: u8) -> FaultGuard {
    kernel.fault(match kind % 4 {
        0 => FaultRule::corrupt_rx().chance(0.2),
        1 => FaultRule::corrupt_completions().chance(0.2),
        2 => FaultRule::lose_completions().chance(0.2),
        _ => FaultRule::corrupt_index(xsk_sim::fault::Ring::Rx).chance(0.1),
    })
}

fn kernel_of(seed: u64) -> Profile {
    Profile::ALL[(seed / 6 % Profile::ALL.len() as u64) as usize]
}

fn is_zero_copy(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

fn world(seed: u64, multi_buffer: bool) -> (SimKernel, [SimDevice; 2], Pool, User) {
    let profile = kernel_of(seed);
    let is_newer = ![Profile::LINUX_6_1, Profile::LINUX_5_10].contains(&profile);
    let (multi_buffer, metadata) = (multi_buffer && is_newer, seed.is_multiple_of(2) && is_newer);
    let kernel = SimKernel::with_profile(seed, profile);
    let config_of_devices = DeviceConfig::default().mtu(if multi_buffer { 6000 } else { 1500 });
    let pair = |name: &str, far: &str| {
        if !is_zero_copy(seed) {
            return kernel.veth(name, far, &config_of_devices).unwrap().1;
        }
        // Cards with zero copy, each on a cable.
        let card = kernel.card(name, &config_of_devices.clone().zero_copy(true)).unwrap();
        let far = kernel.card(far, &config_of_devices).unwrap();
        card.connect(&far).unwrap();
        far
    };
    let (_far, near) = (pair("a", "x"), pair("b", "y"));
    let config_of_pool = PoolConfig::default().frames(64).tx_metadata(metadata);
    let pool = Pool::new_in(kernel.backend(), config_of_pool).unwrap();
    let user = User::new(&pool, ["a", "b"], config().multi_buffer(multi_buffer).fill_level(12));
    (kernel, [_far, near], pool, user)
}

fn arrive(far: &SimDevice, count: u8, len: u16) {
    for i in 0..count {
        let _ = far.send(&vec![i; len.into()]);
    }
}

/// Every frame is free once the ports are closed. Of cards with zero copy that takes until their queues are released,
/// which old kernels do not tell: there it takes another port.
fn check_everything_is_home(seed: u64, kernel: &SimKernel, pool: &Pool) {
    kernel.run_until_idle(10_000);
    pool.reclaim();
    let tells = kernel_of(seed)
        .rows()
        .iter()
        .any(|row| row.name == "whether a queue has a socket" && row.value == "told");
    let left = if tells || !is_zero_copy(seed) { 0 } else { pool.quarantined() as usize };
    assert_eq!((pool.with_kernel() as usize, free_frames(pool)), (left, 64 - left));
}

proptest! {
    #![proptest_config(regressions::config("port_histories"))]

    #[test]
    fn the_law_of_the_frames_holds(
        seed in any::<u64>(),
        multi_buffer in any::<bool>(),
        faults in prop::collection::vec(any::<u8>(), 0..3),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let (kernel, far, pool, mut user) = world(seed, multi_buffer);
        // 6.12 completes the first address when any packet is sent: those that overtake others take their places.
        let overtakes = |kind: u8| kernel_of(seed) == Profile::LINUX_6_12 && [0, 1, 6].contains(&(kind % 9));
        let faults = faults.iter().filter(|kind| !overtakes(**kind));
        let faults: Vec<_> = faults.map(|kind| rule(&kernel, *kind)).collect();
        for op in &ops {
            match *op {
                Op::Arrive { count, len } => arrive(&far[usize::from(len % 2)], count, len),
                Op::Run { steps } => drop(kernel.run_until_idle(steps.into())),
                _ => user.play(op),
            }
            check_frames(&kernel, &pool);
        }
        drop(faults);
        kernel.run_until_idle(10_000);
        drop((pool, kernel.clone()));
        let pool = user.end();
        check_everything_is_home(seed, &kernel, &pool);
    }

    /// A kernel that lies loses frames for as long as a port is open, and does no other harm.
    #[test]
    fn a_kernel_that_lies_does_no_harm(
        seed in any::<u64>(),
        lies in prop::collection::vec(any::<u8>(), 1..3),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let (kernel, far, pool, mut user) = world(seed, false);
        let lies: Vec<_> = lies.iter().map(|kind| lie(&kernel, *kind)).collect();
        for op in &ops {
            match *op {
                Op::Arrive { count, len } => arrive(&far[usize::from(len % 2)], count, len),
                Op::Run { steps } => drop(kernel.run_until_idle(steps.into())),
                _ => user.play(op),
            }
        }
        drop(lies);
        kernel.run_until_idle(10_000);
        drop(pool);
        let pool = user.end();
        check_everything_is_home(seed, &kernel, &pool);
    }
}
