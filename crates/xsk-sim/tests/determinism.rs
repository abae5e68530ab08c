//! One seed, one history; and the law of the frames at every step of it.

use xsk::backend::{Backend, Handle, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc};
use xsk_sim::{DeviceConfig, Place, Profile, SimKernel};

use xsk_tests::choice::Choice;
use xsk_tests::raw::{RawSocket, Ring, Setup, frame};
use xsk_tests::world::{End, SimWorld, World};

const CHUNK: u64 = 2048;

/// A user of one socket, who hands each frame over once.
struct User {
    socket: RawSocket,
    mine: Vec<u64>,
    end: End,
}

impl User {
    fn new(world: &SimWorld, end: End, frames: u64) -> Self {
        let setup = Setup {
            chunk: CHUNK as u32,
            size: frames * CHUNK,
            headroom: 1000,
            rx: 16,
            fill: 16,
            tx: 16,
            completion: 16,
            bind_flags: XDP_COPY | XDP_USE_SG,
            end,
            ..Setup::default()
        };
        let socket = RawSocket::open_receiver(world, &setup);
        Self { socket, mine: (0..frames).map(|i| i * CHUNK).collect(), end }
    }

    fn step(&mut self, world: &SimWorld, choice: &mut Choice) {
        let room = |ring: &Ring| ring.entries() - ring.producer().wrapping_sub(ring.consumer());
        match choice.next(7) {
            0 | 1 if room(self.socket.fill()) > 0 => {
                if let Some(chunk) = self.mine.pop() {
                    self.socket.fill().push([chunk]);
                }
            }
            2 if room(self.socket.tx()) > 0 => {
                if let Some(chunk) = self.mine.pop() {
                    // Good, with more to come, or bad.
                    let (len, options) = [(60, 0), (700, 1), (1000, 0), (0, 0)][choice.next(4) as usize];
                    self.socket.tx().push([xdp_desc { addr: chunk + 24, len, options }]);
                }
            }
            3 => {
                let _ = world.kernel.sendto(self.socket.handle);
            }
            4 => {
                let got = self.socket.rx().pop_all::<xdp_desc>();
                self.mine.extend(got.iter().map(|desc| desc.addr / CHUNK * CHUNK));
            }
            5 => {
                let done = self.socket.completion().pop_all::<u64>();
                self.mine.extend(done.iter().map(|addr| addr / CHUNK * CHUNK));
            }
            _ => {
                let from = if self.end == End::A { End::B } else { End::A };
                world.send(from, &frame(60 + choice.next(1400) as usize, choice.next(256) as u8));
            }
        }
    }
}

/// Runs a history and returns what it looked like at every tenth step.
fn history(seed: u64, mode: XdpFlags) -> String {
    let config = DeviceConfig::default().threaded(seed.is_multiple_of(2));
    let world = SimWorld::with(mode, &config);
    let mut users = [User::new(&world, End::A, 24), User::new(&world, End::B, 40)];
    let mut choice = Choice(seed);
    let mut text = String::new();
    for step in 0..600 {
        let user = choice.next(2) as usize;
        users[user].step(&world, &mut choice);
        if choice.next(5) == 0 {
            world.kernel.step();
        }
        let frames = world.kernel.frames();
        frames.check().unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}\n{frames}"));
        let mine: usize = users.iter().map(|user| user.mine.len()).sum();
        assert_eq!(frames.with_user(), mine as u64, "seed {seed}, step {step}: a frame is lost\n{frames}");
        assert_eq!(frames.strays().count(), 0);
        if step % 10 == 0 {
            text += &world.kernel.snapshot();
        }
    }
    world.kernel.run_until_idle(1000);
    world.check();
    text + &world.kernel.snapshot()
}

#[test]
fn one_seed_is_one_history() {
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        for seed in 0..20 {
            assert_eq!(history(seed, mode), history(seed, mode), "seed {seed}");
        }
        assert_ne!(history(1, mode), history(3, mode));
    }
}

/// The same on every machine: whoever changes what the simulator does changes this number.
#[test]
fn a_history_has_a_known_hash() {
    let text = history(2, XdpFlags::XDP_FLAGS_DRV_MODE);
    // FNV-1a.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    assert_eq!(hash, 10_128_251_083_296_322_077);
}

#[test]
fn a_frame_in_two_places_is_found() {
    let kernel = SimKernel::new(1);
    kernel.watch_frames(true);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    let world = SimWorld::of(Profile::default());
    let mut socket = RawSocket::new(&kernel.backend());
    socket.register(&Setup::default()).unwrap();
    socket.make_rings(&Setup::default());
    assert_eq!(socket.bind_to(b.index(), 0, XDP_COPY, 0), 0);
    socket.fill().push([0_u64, 4096]);
    kernel.frames().check().unwrap();
    assert_eq!((kernel.frames().count(Place::Fill), kernel.frames().with_user()), (2, 62));
    socket.tx().push([xdp_desc { addr: 4100, len: 60, options: 0 }]);
    let error = kernel.frames().check().unwrap_err();
    assert_eq!(error.to_string(), "frame 0x1000 of UMEM 0 is in 2 places: [Fill, Tx]");
    socket.fill().push([1_u64 << 40]);
    assert_eq!(kernel.frames().strays().collect::<Vec<_>>(), [(1 << 40, Place::Fill)]);
    drop(world);
}

#[test]
fn the_seed_decides_what_linux_leaves_open() {
    let released_after = |seed| {
        let kernel = SimKernel::new(seed);
        kernel.watch_frames(true);
        let socket: Handle = kernel.socket().unwrap();
        kernel.close(socket);
        let before = kernel.time();
        assert!(kernel.step());
        kernel.time() - before
    };
    let times: std::collections::BTreeSet<_> = (0..10).map(released_after).collect();
    assert!(times.len() > 5, "{times:?}");
    assert_eq!(released_after(4), released_after(4));
}

#[test]
fn the_snapshot_reads_like_a_netstat() {
    let world = SimWorld::with(XdpFlags::XDP_FLAGS_DRV_MODE, &DeviceConfig::default());
    let setup = Setup { end: End::B, ..Setup::default() };
    let mut socket = RawSocket::open(&world, &setup);
    socket.attach(&world, End::B, |map| {
        world.kernel.program_load(&RedirectProgram { map, frags: true }).unwrap()
    });
    socket.fill().push([0_u64, 4096]);
    world.send(End::A, &frame(60, 1));
    let text = world.kernel.snapshot();
    let expected = "\
Linux 6.18.44 at 17µs, 0 planned
1: a up mtu 1500 queues 1/1 dropped 0/0 waiting 0 stack 0 wire 0
2: b up mtu 1500 queues 1/1 xdp Native 1 (xsk_redirect) dropped 0/0 waiting 0 stack 0 wire 0
umem 0: 262144 bytes, chunks of 4096, headroom 0, users 2
  b queue 0: fill 8 P2 C1 completion 64 P0 C0 kept 0 empty 0
socket 1048576: Bound b queue 0 umem 0 rx 8 P1 C0 tx 64 P0 C0 rx_dropped 0 rx_full 0 tx_invalid 0 fill_empty 0 tx_empty 0 in flight 0
map 0 slot 0: socket #0
";
    assert_eq!(&*text, expected);
}
