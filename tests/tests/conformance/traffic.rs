//! Numbered packets from sockets to sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xsk::backend::PollEvents;
use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};
use xsk_veth::ETHERTYPE_TEST;

use crate::socket::Xsk;
use xsk_tests::cpu;
use xsk_tests::world::World;

/// The shortest packet of the suite.
pub const SHORT: u32 = 64;
/// Descriptors that are put on a TX ring at once.
const BATCH: usize = 64;
/// Frames under way: fewer than veth, and the rings of cards, have room for.
pub const UNDER_WAY: u32 = 192;
/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL_TIMEOUT_MS: i32 = 1000;

/// The first bytes of packet `number`: a header to the address that ends in `to`, then in each four bytes the packet's
/// number and theirs.
pub fn packet(number: u32, to: u8, len: u32) -> Vec<u8> {
    let mut bytes = vec![0; (len as usize).next_multiple_of(4)];
    // Without iterators, which cost ten times as much in a debug build: nearly all of a test's time goes into these bytes.
    let words = &mut bytes[..];
    let (mut at, mut word) = (0, 0);
    while at < words.len() {
        let value = (number << 16 | word & 0xffff).to_be_bytes();
        (words[at], words[at + 1]) = (value[0], value[1]);
        (words[at + 2], words[at + 3]) = (value[2], value[3]);
        at += 4;
        word += 1;
    }
    bytes.truncate(len as usize);
    let header = [[2, 0, 0, 0, 0, to], [2, 0, 0, 0, 0, 0xff]].concat();
    let header = header.into_iter().chain(ETHERTYPE_TEST.to_be_bytes());
    bytes.iter_mut().zip(header).for_each(|(byte, value)| *byte = value);
    bytes
}

/// Where a part of a packet to send starts.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// In the next frame.
    NextFrame,
    /// Anywhere.
    Address(u64),
}

/// A descriptor to send. Parts with a length and a place in the UMEM are written, others only named.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub at: At,
    pub len: u32,
    pub options: u32,
    pub valid: bool,
}

impl Part {
    pub fn new(len: u32) -> Self {
        Self { at: At::NextFrame, len, options: 0, valid: true }
    }

    pub fn at(self, address: u64) -> Self {
        Self { at: At::Address(address), ..self }
    }

    /// More parts follow.
    pub fn more(self) -> Self {
        self.options(XDP_PKT_CONTD)
    }

    pub fn options(self, options: u32) -> Self {
        Self { options, ..self }
    }

    /// The kernel refuses it.
    pub fn bad(self) -> Self {
        Self { valid: false, ..self }
    }
}

/// A packet to send.
#[derive(Debug, Clone)]
pub struct Item {
    pub number: u32,
    /// Last byte of the destination address.
    pub to: u8,
    /// Which socket sends it.
    pub from: usize,
    pub parts: Vec<Part>,
    /// Frames that it is received into.
    pub frames: u32,
}

impl Item {
    /// A packet of one part, which arrives in one frame.
    pub fn new(number: u32, len: u32) -> Self {
        Self::of(number, vec![Part::new(len)])
    }

    /// A packet of parts, which arrives in as many frames if all are valid.
    pub fn of(number: u32, parts: Vec<Part>) -> Self {
        let frames = if parts.iter().all(|part| part.valid) { parts.len() as u32 } else { 0 };
        Self { number, to: 0, from: 0, parts, frames }
    }

    /// A packet of so many bytes in parts of at most `room`.
    pub fn split(number: u32, len: u32, room: u32) -> Self {
        let count = len.div_ceil(room);
        let part = |n: u32| {
            let part = Part::new((len - n * room).min(room));
            if n + 1 < count { part.more() } else { part }
        };
        Self::of(number, (0..count).map(part).collect())
    }

    /// It does not arrive, though the kernel sends it.
    pub fn lost(self) -> Self {
        Self { frames: 0, ..self }
    }

    fn len(&self) -> u32 {
        self.parts.iter().filter(|part| part.valid).map(|part| part.len).sum()
    }

    /// What is to be received of it.
    pub fn expected(&self) -> Expected {
        Expected { number: self.number, to: self.to, at: 0, len: self.len(), zeros: 0, metadata: None }
    }
}

/// What is to be received of all that arrives.
pub fn expected(items: &[Item]) -> Vec<Expected> {
    items.iter().filter(|item| item.frames > 0).map(Item::expected).collect()
}

/// A packet to receive.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    pub number: u32,
    pub to: u8,
    /// Which socket receives it.
    pub at: usize,
    /// Bytes of the packet, without those that follow.
    pub len: u32,
    /// Zeros behind it.
    pub zeros: u32,
    /// The eight bytes before it, in host order.
    pub metadata: Option<u64>,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Moved,
    Waiting,
    Done,
}

/// Someone who does something again and again.
pub trait Actor: Send {
    fn turn(&mut self) -> Turn;
}

/// Frames that were sent and not received. Shared by a sender and a receiver.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<AtomicU32>);

/// Sends packets from sockets that share a queue, the first of which has its rings.
pub struct Sender<'a> {
    sockets: Vec<&'a mut Xsk>,
    items: &'a [Item],
    next: usize,
    slot: u64,
    /// Addresses that were put on a TX ring, and are to come back.
    outstanding: VecDeque<u64>,
    /// Refused descriptors do not come back.
    loses_bad: bool,
    /// Completions come in the order in which descriptors were put on TX rings.
    in_order: bool,
    under_way: UnderWay,
    /// Frames under way, at most.
    pub most: u32,
    /// Transmits by poll instead of sendto.
    pub polls: bool,
}

impl<'a> Sender<'a> {
    pub fn new(
        world: &dyn World,
        sockets: Vec<&'a mut Xsk>,
        items: &'a [Item],
        under_way: &UnderWay,
    ) -> Self {
        Self {
            // With zero copy the sockets of a queue have turns.
            in_order: !world.zero_copy() || sockets.len() == 1,
            loses_bad: world.zero_copy() && !world.completes_bad(),
            sockets,
            items,
            next: 0,
            slot: 0,
            outstanding: VecDeque::new(),
            under_way: under_way.clone(),
            most: UNDER_WAY,
            polls: false,
        }
    }

    /// The descriptors of a packet, each beside whether it comes back.
    fn describe(&mut self, item: &Item, to: &mut Vec<(xdp_desc, bool)>) {
        let umem = &self.sockets[0].umem;
        let bytes = packet(item.number, item.to, item.len());
        let mut written = 0;
        for part in &item.parts {
            let addr = match part.at {
                At::Address(addr) => addr,
                At::NextFrame => {
                    self.slot += 1;
                    umem.slot((self.slot - 1) % umem.slots_to_send())
                }
            };
            if part.valid {
                let end = written + part.len as usize;
                umem.write(addr, &bytes[written..end]);
                written = end;
            }
            let desc = xdp_desc { addr, len: part.len, options: part.options };
            to.push((desc, part.valid || !self.loses_bad));
        }
    }

    /// Puts some packets on the TX rings; how many descriptors.
    fn submit(&mut self) -> usize {
        let mut descs = vec![Vec::new(); self.sockets.len()];
        let mut count = 0;
        while let Some(item) = self.items.get(self.next) {
            let parts = item.parts.len();
            let outstanding = self.outstanding.len() + count + parts;
            let under_way = self.under_way.0.load(Ordering::Acquire) + item.frames;
            if count + parts > BATCH || (outstanding as u32).max(under_way) > self.most {
                break;
            }
            self.under_way.0.fetch_add(item.frames, Ordering::AcqRel);
            self.describe(item, &mut descs[item.from]);
            count += parts;
            self.next += 1;
        }
        for (socket, descs) in self.sockets.iter_mut().zip(&descs) {
            if descs.is_empty() {
                continue;
            }
            let come_back = descs.iter().filter(|(_, comes_back)| *comes_back);
            self.outstanding.extend(come_back.map(|(desc, _)| desc.addr));
            socket.put(&descs.iter().map(|(desc, _)| *desc).collect::<Vec<_>>());
            transmit(socket, self.polls);
        }
        count
    }

    /// Checks completions against what was sent: all of it, in order if there is one; the kernel clears the lowest bit of some.
    fn reap(&mut self) -> usize {
        let done = self.sockets[0].completed();
        for addr in &done {
            let place =
                if self.in_order { Some(0) } else { self.outstanding.iter().position(|sent| sent == addr) };
            let sent = place.and_then(|place| self.outstanding.remove(place));
            let sent = sent.unwrap_or_else(|| panic!("{addr:#x} was completed, and nothing is outstanding"));
            assert_eq!(addr | 1, sent | 1, "{addr:#x} was completed instead of {sent:#x}");
        }
        done.len()
    }
}

/// Makes the kernel take all that is on the TX ring, or as much as it can now.
fn transmit(socket: &mut Xsk, polls: bool) {
    loop {
        let before = socket.unsent();
        if polls {
            assert!(socket.poll(PollEvents::OUT, POLL_TIMEOUT_MS), "a TX ring that is not full is writable");
        } else {
            socket.kick();
        }
        if socket.unsent() == before || socket.unsent() == 0 {
            break;
        }
    }
}

impl Actor for Sender<'_> {
    fn turn(&mut self) -> Turn {
        let mut moved = self.submit();
        for socket in &mut self.sockets {
            if socket.unsent() > 0 {
                transmit(socket, self.polls);
            }
        }
        moved += self.reap();
        let unsent = self.sockets.iter_mut().any(|socket| socket.unsent() > 0);
        if self.next == self.items.len() && !unsent && self.outstanding.is_empty() {
            return Turn::Done;
        }
        if moved > 0 { Turn::Moved } else { Turn::Waiting }
    }
}

/// Receives packets on sockets that share a queue, the first of which has its rings.
pub struct Receiver<'a> {
    sockets: Vec<&'a mut Xsk>,
    /// Of each socket.
    expected: Vec<VecDeque<Expected>>,
    /// The packet that has begun, of each socket, and the metadata before it.
    partial: Vec<(Vec<u8>, Option<u64>)>,
    under_way: UnderWay,
    /// Waits by poll.
    pub polls: bool,
    /// Counts what arrives as no longer under way.
    pub counts: bool,
    /// Gives frames back to the kernel.
    pub refills: bool,
}

impl<'a> Receiver<'a> {
    pub fn new(sockets: Vec<&'a mut Xsk>, expected: &[Expected], under_way: &UnderWay) -> Self {
        let of = |at| expected.iter().filter(move |expected| expected.at == at).copied().collect();
        Self {
            expected: (0..sockets.len()).map(of).collect(),
            partial: vec![Default::default(); sockets.len()],
            sockets,
            under_way: under_way.clone(),
            polls: false,
            counts: true,
            refills: true,
        }
    }

    fn receive(&mut self, at: usize) -> usize {
        let socket = &mut self.sockets[at];
        let descs = socket.take(BATCH);
        let mut frames = Vec::with_capacity(descs.len());
        for desc in &descs {
            let buffer = socket.umem.received(desc);
            let (bytes, metadata) = &mut self.partial[at];
            if bytes.is_empty() {
                let mut before = Vec::new();
                socket.umem.read(buffer.data - 8, 8, &mut before);
                *metadata = before.try_into().map(u64::from_ne_bytes).ok();
            }
            socket.umem.read(buffer.data, desc.len as usize, bytes);
            frames.push(buffer.frame);
            assert_eq!(desc.options & !XDP_PKT_CONTD, 0, "options");
            if desc.options == 0 {
                let expected = self.expected[at].pop_front();
                check(bytes, *metadata, expected.as_ref());
                bytes.clear();
            } else {
                assert_eq!(desc.len, socket.umem.room(), "only the last frame of a packet has room left");
            }
        }
        if self.counts {
            self.under_way.0.fetch_sub(frames.len() as u32, Ordering::AcqRel);
        }
        if self.refills {
            self.sockets[0].refill(&frames);
        }
        descs.len()
    }

    /// Nothing is left, and nothing comes any more.
    pub fn finish(mut self, world: &dyn World) {
        world.settle();
        for (socket, expected) in self.sockets.iter_mut().zip(&self.expected) {
            assert_eq!((expected.len(), socket.received()), (0, 0), "packets missing, descriptors too many");
        }
    }
}

fn check(bytes: &[u8], metadata: Option<u64>, expected: Option<&Expected>) {
    let Some(expected) = expected else { panic!("a packet too many, of {} bytes", bytes.len()) };
    let mut packet = packet(expected.number, expected.to, expected.len);
    packet.resize(packet.len() + expected.zeros as usize, 0);
    if bytes != packet {
        let show = |bytes: &[u8]| format!("{} bytes {:02x?}", bytes.len(), &bytes[..bytes.len().min(24)]);
        panic!("received {}, expected packet {}: {}", show(bytes), expected.number, show(&packet));
    }
    if expected.metadata.is_some() {
        assert_eq!(metadata, expected.metadata, "metadata of packet {}", expected.number);
    }
}

impl Actor for Receiver<'_> {
    fn turn(&mut self) -> Turn {
        let mut moved = 0;
        for at in 0..self.sockets.len() {
            if self.polls && !self.expected[at].is_empty() {
                assert!(self.sockets[at].poll(PollEvents::IN, POLL_TIMEOUT_MS), "nothing came");
            }
            moved += self.receive(at);
        }
        if self.expected.iter().all(VecDeque::is_empty) {
            return Turn::Done;
        }
        if moved > 0 { Turn::Moved } else { Turn::Waiting }
    }
}

/// Lets all act until all are done: on threads of their own, or by turns.
pub fn act(world: &dyn World, actors: &mut [&mut dyn Actor]) {
    if world.concurrent() {
        return act_at_once(actors);
    }
    let mut idle = 0;
    loop {
        let turns: Vec<Turn> = actors.iter_mut().map(|actor| actor.turn()).collect();
        world.check_frames();
        if turns.iter().all(|turn| *turn == Turn::Done) {
            return;
        }
        idle = if turns.contains(&Turn::Moved) { 0 } else { idle + 1 };
        assert!(idle < 10, "nothing moves any more: {turns:?}");
        world.settle();
    }
}

fn act_at_once(actors: &mut [&mut dyn Actor]) {
    let failed = AtomicBool::new(false);
    let name = thread::current().name().unwrap_or("conformance").to_owned();
    thread::scope(|scope| {
        for actor in actors {
            let (failed, name) = (&failed, name.clone());
            let body = move || {
                let guard = FailedUnlessForgotten(failed);
                cpu::stay();
                let mut last = Instant::now();
                while !failed.load(Ordering::Relaxed) {
                    match actor.turn() {
                        Turn::Done => break,
                        Turn::Moved => last = Instant::now(),
                        Turn::Waiting => {
                            assert!(last.elapsed() < PATIENCE, "nothing moves any more");
                            thread::sleep(Duration::from_micros(50));
                        }
                    }
                }
                std::mem::forget(guard);
            };
            thread::Builder::new().name(name).spawn_scoped(scope, body).expect("a thread");
        }
    });
}

/// Tells the others when its thread panics.
struct FailedUnlessForgotten<'a>(&'a AtomicBool);

impl Drop for FailedUnlessForgotten<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends packets from one socket to another, all of which arrive that are meant to, and nothing else.
pub fn run(world: &dyn World, from: &mut Xsk, to: &mut Xsk, items: &[Item]) {
    run_expecting(world, from, to, items, &expected(items));
}

/// As [`run`], with other packets at the other end than were sent.
pub fn run_expecting(world: &dyn World, from: &mut Xsk, to: &mut Xsk, items: &[Item], expected: &[Expected]) {
    let under_way = UnderWay::default();
    let mut sender = Sender::new(world, vec![from], items, &under_way);
    let mut receiver = Receiver::new(vec![to], expected, &under_way);
    act(world, &mut [&mut sender, &mut receiver]);
    receiver.finish(world);
}
