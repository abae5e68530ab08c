//! A program that sends back what it receives, with a thread for each of the four rings. No two rings wait for each other:
//! frames travel between the threads through channels.
#![allow(clippy::disallowed_types, reason = "in real time")]
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::io::Write;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use xsk::backend::PageSize;
use xsk::config::{SocketConfig, UmemConfig};
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};
use xsk_sim::SimKernel;

/// One socket with its frames.
pub struct Program {
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    comp: CompQueue,
    pub umem: Umem,
    pub mine: Vec<FrameDesc>,
}

/// How long a thread waits for a frame before it looks whether the test is over.
const TURN: Duration = Duration::from_millis(1);
/// When nothing came back for that long, what is missing is sent again.
const STUCK: Duration = Duration::from_millis(50);
/// After that long the test fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Says that it is over when it goes.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn next(frames: &Receiver<FrameDesc>) -> Option<FrameDesc> {
    frames.recv_timeout(TURN).ok()
}

/// A frame that says its number, and can be told from any other in each byte.
pub fn packet(number: u32) -> Vec<u8> {
    let mut packet = vec![number as u8; 60 + number as usize % 64];
    packet[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    packet[14..18].copy_from_slice(&number.to_be_bytes());
    packet
}

/// The number of such a frame, every byte of which is checked.
pub fn number(bytes: &[u8]) -> u32 {
    let number = u32::from_be_bytes(bytes[14..18].try_into().expect("four bytes"));
    assert_eq!(bytes, packet(number));
    number
}

impl Program {
    pub fn open(kernel: &SimKernel, interface: &str, config: SocketConfig, frames: u32) -> Self {
        let frames = NonZeroU32::new(frames).expect("frames");
        let (umem, mine) =
            Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal).expect("a UMEM");
        // SAFETY: each frame is on one ring, or with one thread.
        let (tx, rx, rings) =
            unsafe { Socket::new(config, &umem, &interface.parse().expect("a name"), 0) }.expect("a socket");
        let (fill, comp) = rings.expect("the first socket of the queue");
        Self { tx, rx, fill, comp, umem, mine }
    }

    pub fn is_zero_copy(&self) -> bool {
        self.rx.fd().is_zero_copy().expect("an answer")
    }

    pub fn rx(&self) -> &RxQueue {
        &self.rx
    }

    /// Takes all that was received, and says how many frames that are.
    pub fn take(&mut self) -> usize {
        let mut frames = [FrameDesc::default(); 16];
        // SAFETY: one UMEM.
        let count = unsafe { self.rx.consume(&mut frames) };
        self.mine.extend_from_slice(&frames[..count]);
        count
    }

    /// Puts frames of 60 bytes on the TX ring, and wakes nobody.
    pub fn produce(&mut self, count: usize) -> usize {
        let mut frames: Vec<FrameDesc> = self.mine.drain(..count).collect();
        for frame in &mut frames {
            // SAFETY: the frame is ours.
            unsafe { self.umem.data_mut(frame) }.cursor().write_all(&[9; 60]).expect("room");
        }
        // SAFETY: they are ours until they are on the ring.
        unsafe { self.tx.produce(&frames) }
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &[u8]) {
        let mut frame = self.mine.pop().expect("a frame");
        // SAFETY: the frame is ours until it is on the ring.
        unsafe {
            let mut data = self.umem.data_mut(&mut frame);
            data.cursor().set_pos(0);
            data.cursor().write_all(packet).expect("room");
            assert_eq!(self.tx.produce_one_and_wakeup(&frame).expect("a wakeup"), 1);
        }
    }

    /// Waits for a packet, and reaps what was sent.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut frame = FrameDesc::default();
        // SAFETY: one UMEM; a received frame is ours until it is on the ring again.
        unsafe {
            let count = self.rx.poll_and_consume_one(&mut frame, 50).expect("a poll");
            let packet = (count == 1).then(|| self.umem.data(&frame).to_vec());
            if packet.is_some() {
                let fd = self.rx.fd_mut();
                assert_eq!(self.fill.produce_one_and_wakeup(&frame, fd, 0).expect("a wakeup"), 1);
            }
            while self.comp.consume_one(&mut frame) == 1 {
                self.mine.push(frame);
            }
            packet
        }
    }

    /// Sends one packet back. False if none came.
    pub fn turn(&mut self) -> bool {
        let packet = self.receive();
        packet.iter().for_each(|packet| self.send(packet));
        packet.is_some()
    }

    pub fn wake(&self) {
        self.tx.wakeup().expect("a wakeup");
    }

    /// Puts frames on the fill ring.
    pub fn fill(&mut self, count: usize) {
        let frames: Vec<FrameDesc> = self.mine.drain(..count).collect();
        // SAFETY: they are ours until they are on the ring.
        assert_eq!(unsafe { self.fill.produce(&frames) }, count);
    }

    /// Echoes until `done`; the frames that the threads then have are `mine` again.
    fn run(&mut self, done: &AtomicBool) {
        let Self { tx, rx, fill, comp, umem, mine } = self;
        let (to_fill, filled) = channel();
        let (to_tx, received) = channel();
        let completed = to_fill.clone();
        mine.drain(..).for_each(|frame| to_fill.send(frame).expect("a thread"));
        let over = || done.load(Ordering::Relaxed);
        let [mut left_fill, mut left_tx] = [Vec::new(), Vec::new()];
        thread::scope(|scope| {
            let over = &over;
            let (left, umem) = (&mut left_fill, &*umem);
            scope.spawn(move || {
                while !over() {
                    left.extend(next(&filled));
                    // SAFETY: the frames are ours until they are on the ring.
                    let count = unsafe { fill.produce(left) };
                    left.drain(..count);
                }
                left.extend(filled.iter());
            });
            scope.spawn(move || {
                let mut frames = [FrameDesc::default(); 16];
                while !over() {
                    // SAFETY: one UMEM.
                    let count = unsafe { rx.poll_and_consume(&mut frames, 5) }.expect("a poll");
                    for frame in &frames[..count] {
                        // SAFETY: a received frame is ours.
                        number(unsafe { umem.data(frame) }.contents());
                        to_tx.send(*frame).expect("a thread");
                    }
                }
            });
            let left = &mut left_tx;
            scope.spawn(move || {
                while !over() {
                    left.extend(next(&received));
                    // SAFETY: the frames are ours until they are on the ring.
                    let count = unsafe { tx.produce_and_wakeup(left) }.expect("a wakeup");
                    left.drain(..count);
                    // A pass sends so many frames and no more.
                    tx.wakeup().expect("a wakeup");
                }
                left.extend(received.iter());
            });
            scope.spawn(move || {
                let mut frames = [FrameDesc::default(); 16];
                while !over() {
                    // SAFETY: one UMEM.
                    let count = unsafe { comp.consume(&mut frames) };
                    frames[..count].iter().for_each(|frame| completed.send(*frame).expect("a thread"));
                    thread::yield_now();
                }
            });
            drop(to_fill);
        });
        mine.extend(left_fill);
        mine.extend(left_tx);
    }

    /// Sends `count` numbered packets to the program, a window of them at a time, until each has come back. What a program
    /// that was not fast enough lost is sent again.
    pub fn echo(
        &mut self,
        count: u32,
        send: impl Fn(&[u8]) -> bool + Sync,
        back: impl Fn() -> Option<Vec<u8>>,
    ) {
        const WINDOW: u32 = 24;
        let (done, returned) = (AtomicBool::new(false), AtomicU32::new(0));
        let seen: Vec<AtomicBool> = (0..count).map(|_| AtomicBool::new(false)).collect();
        let again: Vec<AtomicBool> = (0..count).map(|_| AtomicBool::new(false)).collect();
        let over = || done.load(Ordering::Relaxed);
        let start = Instant::now();
        thread::scope(|scope| {
            // The threads end also if a check fails.
            let _done = Done(&done);
            scope.spawn(|| self.run(&done));
            scope.spawn(|| {
                let (mut sent, mut last, mut moved) = (0, 0, Instant::now());
                while !over() {
                    let came = returned.load(Ordering::Relaxed);
                    if came != last {
                        (last, moved) = (came, Instant::now());
                    }
                    if sent < count && sent - came < WINDOW && send(&packet(sent)) {
                        sent += 1;
                    } else if moved.elapsed() > STUCK {
                        moved = Instant::now();
                        for number in
                            (0..sent).filter(|number| !seen[*number as usize].load(Ordering::Relaxed))
                        {
                            again[number as usize].store(true, Ordering::Relaxed);
                            send(&packet(number));
                        }
                    } else {
                        thread::yield_now();
                    }
                }
            });
            while returned.load(Ordering::Relaxed) < count && start.elapsed() < LIMIT {
                let Some(bytes) = back() else {
                    thread::yield_now();
                    continue;
                };
                let number = number(&bytes) as usize;
                if !seen[number].swap(true, Ordering::Relaxed) {
                    returned.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert!(again[number].load(Ordering::Relaxed), "{number} came twice");
                }
            }
        });
        assert_eq!(returned.into_inner(), count, "some packets never came back");
    }
}
