//! Histories of several users on several devices, told to the byte.

use std::fmt::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use xsk::backend::{Backend, PollEvents, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};
use xsk_sim::capture::{CaptureReader, CaptureWriter, CapturedPacket, Format, Pace};
use xsk_sim::fault::{Chance, DeviceFault, Fault, FaultGuard, FaultRule, Moment, Point};
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel, XdpAction};
use xsk_tests::choice::Choice;
use xsk_tests::raw::{RawSocket, Ring, Setup, frame};

use crate::swarm;

const MS: Duration = Duration::from_millis(1);
const CHUNK: u64 = 2048;
const FRAMES: u64 = 32;

/// How the users make their calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// On one thread.
    InTurn,
    /// Each on a thread of its own, one after the other.
    OnThreads,
}

/// A user of one socket, who hands each frame over once.
struct User {
    socket: RawSocket,
    mine: Vec<u64>,
    choice: Choice,
}

impl User {
    fn open(kernel: &SimKernel, device: &SimDevice, queue: u32, sg: bool, seed: u64) -> Self {
        let rings = Setup { rx: 16, fill: 16, tx: 16, completion: 16, ..Setup::default() };
        let setup = Setup { chunk: CHUNK as u32, size: FRAMES * CHUNK, headroom: 1000, ..rings };
        let mut socket = RawSocket::new(&kernel.backend());
        socket.register(&setup).unwrap();
        socket.make_rings(&setup);
        let flags = if sg { XDP_COPY | XDP_USE_SG } else { XDP_COPY };
        assert_eq!(socket.bind_to(device.index(), queue, flags, 0), 0);
        Self { socket, mine: (0..FRAMES).map(|i| i * CHUNK).collect(), choice: Choice(seed) }
    }

    fn step(&mut self) {
        let room = |ring: &Ring| ring.producer().wrapping_sub(ring.consumer()) < ring.entries();
        let socket = &self.socket;
        match self.choice.next(9) {
            0..3 if room(socket.fill()) => socket.fill().push(self.mine.pop()),
            3 | 4 if room(socket.tx()) => {
                let Some(chunk) = self.mine.pop() else { return };
                // Good, with more to come, or bad.
                let kinds = [(60, 0), (61, 0), (700, 1), (1000, 0), (0, 0)];
                let (len, options) = kinds[self.choice.next(5) as usize];
                let frame = frame(1000, self.choice.next(256) as u8);
                socket.write(chunk + 24, &frame);
                socket.tx().push([xdp_desc { addr: chunk + 24, len, options }]);
            }
            5 => self
                .mine
                .extend(socket.rx().pop_all::<xdp_desc>().iter().map(|desc| desc.addr / CHUNK * CHUNK)),
            6 => {
                self.mine.extend(socket.completion().pop_all::<u64>().iter().map(|addr| addr / CHUNK * CHUNK))
            }
            7 => {
                let mut polls = [xsk::backend::Poll {
                    socket: socket.handle,
                    events: PollEvents::IN,
                    ready: PollEvents::empty(),
                }];
                let _ = socket.kernel.poll(&mut polls, self.choice.next(2) as i32);
            }
            _ => drop(socket.kernel.sendto(socket.handle)),
        }
    }
}

/// A veth pair in native mode, one in SKB mode whose NAPI runs in threads, a card, and a loopback device.
struct Lab {
    kernel: SimKernel,
    pair: [SimDevice; 2],
    threaded: [SimDevice; 2],
    card: SimDevice,
    lo: SimDevice,
}

impl Lab {
    fn new(seed: u64, profile: Profile) -> Self {
        let kernel = SimKernel::with_profile(seed, profile);
        kernel.record(1 << 16);
        let two = DeviceConfig::default().queues(2);
        let pair = kernel.veth("a", "b", &two).unwrap();
        let threaded = kernel.veth("c", "d", &two.clone().threaded(true)).unwrap();
        let card = kernel.card("card", &two).unwrap();
        let lo = kernel.loopback("lo").unwrap();
        Self { pair: pair.into(), threaded: threaded.into(), card, lo, kernel }
    }

    /// Users of five queues, each led to by a program.
    fn users(&self, seed: u64, sg: bool) -> Vec<User> {
        let queues =
            [(&self.pair[1], 0), (&self.pair[1], 1), (&self.threaded[1], 0), (&self.card, 1), (&self.lo, 0)];
        let open = |(i, (device, queue)): (u64, (&SimDevice, u32))| {
            User::open(&self.kernel, device, queue, sg && i % 2 == 0, seed + i)
        };
        let users: Vec<User> = (0..).zip(queues).map(open).collect();
        let on = |device: usize, count: usize, mode, looks| {
            let map = self.kernel.xskmap_create(2).unwrap();
            for (user, queue) in users[device..device + count].iter().zip([queues[device].1, 1]) {
                self.kernel.xskmap_update(map, queue, user.socket.handle).unwrap();
            }
            let program = if looks { self.program(map) } else { self.redirect(map) };
            self.kernel.link_create(program, queues[device].0.index(), mode).unwrap();
        };
        on(0, 2, XdpFlags::XDP_FLAGS_DRV_MODE, true);
        on(2, 1, XdpFlags::XDP_FLAGS_SKB_MODE, true);
        on(3, 1, XdpFlags::XDP_FLAGS_DRV_MODE, false);
        on(4, 1, XdpFlags::XDP_FLAGS_SKB_MODE, false);
        users
    }

    fn redirect(&self, map: xsk::backend::Handle) -> xsk::backend::Handle {
        self.kernel.program_load(&RedirectProgram { map, frags: true }).unwrap()
    }

    /// A program that does this and that, as the last byte says.
    fn program(&self, map: xsk::backend::Handle) -> xsk::backend::Handle {
        let other = self.card.index();
        self.kernel.program("looks", true, move |packet| {
            let byte = packet.data()[packet.len() - 1];
            let _ = match byte % 5 {
                0 => packet.adjust_head(4),
                1 => packet.adjust_head(-4),
                2 => packet.adjust_meta(-8),
                3 => packet.adjust_tail(-1),
                _ => Ok(()),
            };
            match byte % 16 {
                0 => XdpAction::Pass,
                1 => XdpAction::Drop,
                2 => XdpAction::Tx,
                3 => XdpAction::Redirect { ifindex: other },
                _ => XdpAction::RedirectMap { map, key: packet.rx_queue(), flags: 2 },
            }
        })
    }

    fn faults(&self) -> Vec<FaultGuard> {
        let mut guards: Vec<_> = swarm::rules().map(|rule| self.kernel.fault(rule.chance(0.03))).into();
        let flap = FaultRule::device_fault(&self.pair[0], DeviceFault::Flap(MS)).chance(0.005);
        guards.push(self.kernel.fault(flap));
        guards.push(self.kernel.fault(|point: &Point, chance: &mut Chance<'_>| match point.moment {
            Moment::Packet { len } if len > 1000 && chance.happens(0.1) => {
                Some(Fault::Delay(chance.time(Duration::ZERO..MS)))
            }
            _ => None,
        }));
        guards
    }

    /// What happens around the users.
    fn step(&self, choice: &mut Choice) {
        let frame = frame(60 + choice.next(1400) as usize, choice.next(256) as u8);
        let queue = choice.next(2) as u32;
        match choice.next(8) {
            0 | 1 => drop(self.pair[0].send_on(queue, &frame)),
            2 => drop(self.threaded[0].send(&frame)),
            3 => drop(self.card.inject(queue, &frame)),
            4 => drop(self.card.inject_after(MS / 2, 1, &frame)),
            5 => drop(self.lo.send(&frame)),
            6 => drop(self.kernel.step()),
            _ => self.kernel.sleep(MS / 10),
        }
    }

    /// All that can be told.
    fn tell(&self) -> Vec<u8> {
        let trace = self.kernel.trace();
        assert!(trace.events().len() > 400, "little happened");
        assert_eq!(trace.forgotten(), 0);
        let mut text = format!("{trace}{}{}", self.kernel.snapshot(), self.kernel.frames());
        text += &trace.to_chrome_json();
        for device in self.pair.iter().chain(&self.threaded).chain([&self.card, &self.lo]) {
            while let Some(frame) = device.receive() {
                let _ = writeln!(text, "{} got {frame:02x?}", device.name());
            }
            while let Some((at, frame)) = device.sent_at() {
                let _ = writeln!(text, "{} sent {frame:02x?} at {at:?}", device.name());
            }
        }
        text.into_bytes()
    }
}

/// A thread that does a step of a user when it is told to.
fn serve(mut user: User, turns: &Receiver<()>, done: &Sender<()>) -> User {
    while turns.recv().is_ok() {
        user.step();
        done.send(()).unwrap();
    }
    user
}

/// A history of some hundred steps.
pub fn history(seed: u64, profile: Profile, faults: bool, users: Users) -> Vec<u8> {
    const STEPS: usize = 300;
    let lab = Lab::new(seed, profile);
    let sg = ![Profile::LINUX_6_1, Profile::LINUX_5_10].contains(&profile);
    let mut all = lab.users(seed, sg);
    let guards = if faults { lab.faults() } else { Vec::new() };
    let mut choice = Choice(seed);
    match users {
        Users::InTurn => {
            for _ in 0..STEPS {
                lab.step(&mut choice);
                let at = choice.next(all.len() as u64) as usize;
                all[at].step();
            }
        }
        Users::OnThreads => thread::scope(|scope| {
            let (said, done) = channel();
            let start = |user| {
                let (turn, turns) = channel();
                let said = said.clone();
                (turn, scope.spawn(move || serve(user, &turns, &said)))
            };
            let threads: Vec<_> = all.drain(..).map(start).collect();
            for _ in 0..STEPS {
                lab.step(&mut choice);
                let at = choice.next(threads.len() as u64) as usize;
                threads[at].0.send(()).unwrap();
                done.recv().unwrap();
            }
            let end = |(turn, thread): (Sender<()>, thread::ScopedJoinHandle<'_, User>)| {
                drop(turn);
                thread.join().unwrap()
            };
            all.extend(threads.into_iter().map(end));
        }),
    }
    drop(guards);
    lab.kernel.run_until_idle(1000);
    lab.kernel.check().unwrap();
    let told = lab.tell();
    drop(all);
    told
}

/// A capture is replayed to a card, and what its user sends back is captured.
pub fn capture(seed: u64) -> Vec<u8> {
    let lab = Lab::new(seed, Profile::default());
    let mut users = lab.users(seed, true);
    let mut choice = Choice(seed);
    let mut time = Duration::from_secs(1_700_000_000);
    let mut source = CaptureWriter::new(Vec::new(), Format::Pcap).unwrap();
    for _ in 0..200 {
        time += MS * choice.next(3) as u32 + Duration::from_nanos(choice.next(1000));
        let data = frame(14 + choice.next(1400) as usize, choice.next(256) as u8);
        source.write(&CapturedPacket::new(time, data)).unwrap();
    }
    let source = source.finish().unwrap();
    lab.card.replay(1, CaptureReader::new(&*source).unwrap(), Pace::AsCaptured).unwrap();
    let mut sink = CaptureWriter::new(Vec::new(), Format::PcapNg).unwrap();
    for _ in 0..600 {
        users[3].step();
        lab.kernel.sleep(MS / 2);
        lab.card.record(&mut sink, Duration::from_secs(1_700_000_000)).unwrap();
    }
    let mut told = lab.tell();
    told.extend(sink.finish().unwrap());
    told
}
