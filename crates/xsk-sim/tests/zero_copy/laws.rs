//! Long histories of two programs over a cable: the law of the frames at every step, and one seed, one history.

use std::time::Duration;

use xsk::backend::Backend;
use xsk_core::abi::{XDP_PKT_CONTD, XDP_USE_SG, xdp_desc};
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel};
use xsk_tests::choice::Choice;
use xsk_tests::raw::{RawSocket, Setup, frame};

use crate::kit::{SLEEPY, World};

const CHUNK: u64 = 2048;
const FRAMES: u64 = 48;

struct User {
    socket: RawSocket,
    mine: Vec<u64>,
    /// What is refused comes back: some of its packets are no good.
    sloppy: bool,
}

impl User {
    fn step(&mut self, kernel: &SimKernel, choice: &mut Choice) {
        let room =
            |ring: &xsk_tests::raw::Ring| ring.entries() - ring.producer().wrapping_sub(ring.consumer());
        match choice.next(7) {
            0 | 1 if room(self.socket.fill()) > 0 => {
                if let Some(chunk) = self.mine.pop() {
                    self.socket.fill().push([chunk]);
                }
            }
            2 if room(self.socket.tx()) > 1 => {
                let parts = 1 + choice.next(2) as usize;
                if self.mine.len() >= parts {
                    let chunks: Vec<u64> = self.mine.drain(self.mine.len() - parts..).collect();
                    let last = chunks.len() - 1;
                    let good = 60 + choice.next(600) as u32;
                    let bad = if self.sloppy { choice.next(8) as usize } else { usize::MAX };
                    self.socket.tx().push(chunks.iter().enumerate().map(|(i, chunk)| xdp_desc {
                        addr: chunk + 24,
                        len: if i == bad { 0 } else { good },
                        options: if i < last { XDP_PKT_CONTD } else { 0 },
                    }));
                }
            }
            3 => {
                let _ = kernel.sendto(self.socket.handle);
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
                let _ = kernel.recvfrom(self.socket.handle);
            }
        }
    }
}

fn open(kernel: &SimKernel, card: &SimDevice, sloppy: bool) -> User {
    let world = World { kernel: kernel.clone(), backend: kernel.backend(), card: card.clone() };
    let setup = Setup {
        chunk: CHUNK as u32,
        size: FRAMES * CHUNK,
        rx: 16,
        fill: 16,
        tx: 16,
        completion: 16,
        bind_flags: SLEEPY | XDP_USE_SG,
        ..Setup::default()
    };
    let socket = world.open(&setup);
    world.attach_adjusting(&socket, |packet| {
        let shift = i32::from(packet.data()[packet.len() - 1] % 8) - 4;
        let _ = packet.adjust_head(shift);
    });
    User { socket, sloppy, mine: (0..FRAMES).map(|i| i * CHUNK).collect() }
}

fn history(seed: u64, profile: Profile) -> String {
    let kernel = SimKernel::with_profile(seed, profile);
    let config = DeviceConfig::default().zero_copy(true).mtu(3000).threaded(seed.is_multiple_of(2));
    let (a, b) = (kernel.card("a", &config).unwrap(), kernel.card("b", &config).unwrap());
    if seed.is_multiple_of(3) {
        a.connect(&a).unwrap();
        b.connect(&b).unwrap();
    } else {
        a.connect(&b).unwrap();
    }
    let sloppy = profile == Profile::LINUX_7_3;
    let mut users = [open(&kernel, &a, sloppy), open(&kernel, &b, sloppy)];
    let mut choice = Choice(seed);
    let mut text = String::new();
    let mut received = 0;
    for step in 0..800 {
        let user = choice.next(2) as usize;
        users[user].step(&kernel, &mut choice);
        match choice.next(40) {
            0 => a.set_up(false),
            1..=8 => a.set_up(true),
            9..=12 => {
                let _ = b.send(&frame(60 + choice.next(1400) as usize, 1));
            }
            13..=18 => kernel.sleep(Duration::from_micros(30)),
            _ => {}
        }
        let frames = kernel.frames();
        frames.check().unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}\n{frames}"));
        let mine: usize = users.iter().map(|user| user.mine.len()).sum();
        assert_eq!(frames.with_user(), mine as u64, "seed {seed}, step {step}: a frame is lost\n{frames}");
        if step % 10 == 0 {
            text.push_str(&kernel.snapshot());
        }
        received += users.iter().map(|user| user.socket.rx().producer()).max().unwrap_or(0);
    }
    assert!(received > 0, "seed {seed}");
    kernel.check().unwrap();
    text
}

#[test]
fn every_frame_is_in_one_place_at_every_step() {
    for seed in 0..40 {
        for profile in [Profile::LINUX_6_18, Profile::LINUX_7_3] {
            let twice = [history(seed, profile), history(seed, profile)];
            assert!(twice[0] == twice[1], "seed {seed}, {}", profile.name);
        }
    }
}
