//! What there is, as the documentation has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use xsk::config::XdpFlags;

/// UMEMs at a time.
pub(crate) const UMEMS: usize = 2;
/// Queues of the device.
pub(crate) const QUEUES: u32 = 2;
/// Frames of a UMEM. Each ring has room for all of them.
pub(crate) const FRAMES: usize = 8;

/// Which rings a socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Both,
    Receives,
    Sends,
}

/// How a socket is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) umem: usize,
    pub(crate) queue: u32,
    pub(crate) kind: Kind,
    pub(crate) mode: XdpFlags,
    /// With the library's program, and in its map.
    pub(crate) program: bool,
}

/// What opening must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Open, with fill and completion queue or without.
    Opens {
        pool_rings: bool,
    },
    QueueBusy,
    OtherMode,
}

/// A queue of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartKind {
    Tx,
    Rx,
    Fill,
    Completion,
}

#[derive(Debug)]
struct Socket {
    wish: Wish,
    parts: BTreeSet<PartKind>,
    pool_rings: bool,
    rx: VecDeque<(usize, u8)>,
}

/// What all sockets of a queue share.
#[derive(Debug)]
struct Pool {
    umem: usize,
    fill: VecDeque<usize>,
    completion: VecDeque<usize>,
    /// The sockets in the library's map, in the order in which they came.
    in_map: Vec<u64>,
    /// The one that the map leads to.
    receiver: Option<u64>,
}

#[derive(Debug, Default)]
struct Umem {
    /// Handles that the user has.
    handles: usize,
    /// Sockets that have the memory registered and are not bound: certainly, and at most.
    kept: (usize, usize),
    users: BTreeSet<usize>,
}

/// One device, whose peer is the network.
#[derive(Debug, Default)]
pub(crate) struct Model {
    umems: [Umem; UMEMS],
    sockets: BTreeMap<u64, Socket>,
    pools: BTreeMap<u32, Pool>,
    /// The mode of the program, while there is one.
    program: Option<XdpFlags>,
    opened: u64,
}

impl Model {
    pub(crate) fn handles(&self, umem: usize) -> usize {
        self.umems[umem].handles
    }

    /// Whether anything is left of the UMEM in this place.
    pub(crate) fn is_alive(&self, umem: usize) -> bool {
        self.handles(umem) > 0 || self.sockets.values().any(|socket| socket.wish.umem == umem)
    }

    pub(crate) fn made(&mut self, umem: usize) {
        assert!(!self.is_alive(umem));
        self.umems[umem] = Umem { handles: 1, kept: (1, 1), users: (0..FRAMES).collect() };
    }

    pub(crate) fn cloned(&mut self, umem: usize) {
        self.umems[umem].handles += 1;
    }

    pub(crate) fn dropped(&mut self, umem: usize) {
        self.umems[umem].handles -= 1;
        if !self.is_alive(umem) {
            self.umems[umem].kept = (0, 0);
        }
    }

    fn has_sockets(&self, umem: usize) -> bool {
        self.sockets.values().any(|socket| socket.wish.umem == umem)
    }

    pub(crate) fn outcome(&self, wish: Wish) -> Outcome {
        let Wish { umem, queue, mode, program, .. } = wish;
        let theirs = self.pools.get(&queue);
        if theirs.is_some_and(|pool| pool.umem != umem) {
            return Outcome::QueueBusy;
        }
        let native = |mode: XdpFlags| mode != XdpFlags::XDP_FLAGS_SKB_MODE;
        if program && !mode.is_empty() && self.program.is_some_and(|there| native(there) != native(mode)) {
            return Outcome::OtherMode;
        }
        let held =
            self.sockets.values().any(|s| (s.wish.umem, s.wish.queue) == (umem, queue) && s.pool_rings);
        Outcome::Opens { pool_rings: !held }
    }

    /// A socket is open. Returns its number.
    pub(crate) fn opened(&mut self, wish: Wish, pool_rings: bool) -> u64 {
        let number = self.opened;
        self.opened += 1;
        if !self.has_sockets(wish.umem) {
            self.umems[wish.umem].kept = (0, 0);
        }
        let pool = self.pools.entry(wish.queue).or_insert_with(|| Pool {
            umem: wish.umem,
            fill: VecDeque::new(),
            completion: VecDeque::new(),
            in_map: Vec::new(),
            receiver: None,
        });
        if wish.program {
            self.program.get_or_insert(wish.mode);
            if wish.kind != Kind::Sends {
                pool.in_map.push(number);
                pool.receiver = Some(number);
            }
        }
        let mut parts = BTreeSet::new();
        parts.extend((wish.kind != Kind::Sends).then_some(PartKind::Rx));
        parts.extend((wish.kind != Kind::Receives).then_some(PartKind::Tx));
        parts.extend([PartKind::Fill, PartKind::Completion].iter().filter(|_| pool_rings));
        self.sockets.insert(number, Socket { wish, parts, pool_rings, rx: VecDeque::new() });
        number
    }

    /// A socket could not be opened. The socket that had the memory registered may be used up; `surely`: it is.
    pub(crate) fn refused(&mut self, wish: Wish, surely: bool) {
        if !self.has_sockets(wish.umem) {
            let kept = &mut self.umems[wish.umem].kept;
            *kept = (0, if surely { 0 } else { kept.1 });
        }
    }

    /// A part of a socket is gone. `map_fails`: the kernel does not take another socket into the map in its place.
    pub(crate) fn part_dropped(&mut self, number: u64, part: PartKind, map_fails: bool) {
        let socket = self.sockets.get_mut(&number).expect("an open socket");
        assert!(socket.parts.remove(&part));
        if !socket.parts.is_empty() {
            return;
        }
        let Some(Socket { wish, rx, .. }) = self.sockets.remove(&number) else { return };
        let users = &mut self.umems[wish.umem].users;
        // Nobody else has what it had received.
        users.extend(rx.iter().map(|(frame, _)| *frame));
        let Some(pool) = self.pools.get_mut(&wish.queue) else { return };
        let was_last = pool.in_map.last() == Some(&number);
        pool.in_map.retain(|other| *other != number);
        if was_last {
            pool.receiver = pool.in_map.last().copied().filter(|_| !map_fails);
        }
        if !self.sockets.values().any(|socket| socket.wish.queue == wish.queue) {
            users.extend(pool.fill.drain(..).chain(pool.completion.drain(..)));
            self.pools.remove(&wish.queue);
        }
        if !self.sockets.values().any(|socket| socket.wish.program) {
            self.program = None;
        }
        if !self.is_alive(wish.umem) {
            self.umems[wish.umem].kept = (0, 0);
        }
    }

    /// Takes a frame that the user has.
    pub(crate) fn take_frame(&mut self, umem: usize) -> Option<usize> {
        self.umems[umem].users.pop_first()
    }

    pub(crate) fn umem_of(&self, socket: u64) -> usize {
        self.sockets[&socket].wish.umem
    }

    fn pool_of(&mut self, socket: u64) -> &mut Pool {
        let queue = self.sockets[&socket].wish.queue;
        self.pools.get_mut(&queue).expect("the queue of a socket")
    }

    pub(crate) fn filled(&mut self, socket: u64, frame: usize) {
        self.pool_of(socket).fill.push_back(frame);
    }

    /// A packet is sent, and its frame comes back.
    pub(crate) fn sent(&mut self, socket: u64, frame: usize) {
        self.pool_of(socket).completion.push_back(frame);
    }

    pub(crate) fn completed(&mut self, socket: u64) -> Vec<usize> {
        let frames: Vec<usize> = self.pool_of(socket).completion.drain(..).collect();
        let umem = self.umem_of(socket);
        self.umems[umem].users.extend(&frames);
        frames
    }

    pub(crate) fn received(&mut self, number: u64) -> Vec<(usize, u8)> {
        let socket = self.sockets.get_mut(&number).expect("an open socket");
        let packets: Vec<_> = socket.rx.drain(..).collect();
        self.umems[socket.wish.umem].users.extend(packets.iter().map(|(frame, _)| *frame));
        packets
    }

    /// A packet comes from the peer's transmit queue `from`. True if it goes to the device's own stack.
    pub(crate) fn arrives(&mut self, from: u32, tag: u8) -> bool {
        let Some(mode) = self.program else { return true };
        // In SKB mode veth counts queues from 1.
        let skb = mode == XdpFlags::XDP_FLAGS_SKB_MODE;
        let queue = if skb { from.saturating_sub(1) } else { from };
        let Some(pool) = self.pools.get_mut(&queue) else { return true };
        let Some(receiver) = pool.receiver else { return true };
        if let Some(frame) = pool.fill.pop_front() {
            self.sockets.get_mut(&receiver).expect("the receiver").rx.push_back((frame, tag));
        }
        false
    }

    /// Frames on fill rings, RX rings and completion rings.
    pub(crate) fn frames(&self) -> [usize; 3] {
        let fill = self.pools.values().map(|pool| pool.fill.len()).sum();
        let rx = self.sockets.values().map(|socket| socket.rx.len()).sum();
        [fill, rx, self.pools.values().map(|pool| pool.completion.len()).sum()]
    }

    /// How many sockets the kernel has, at least and at most.
    pub(crate) fn sockets(&self) -> (usize, usize) {
        let kept = |of: fn(&Umem) -> usize| self.umems.iter().map(of).sum::<usize>();
        (self.sockets.len() + kept(|umem| umem.kept.0), self.sockets.len() + kept(|umem| umem.kept.1))
    }

    pub(crate) fn has_program(&self) -> bool {
        self.program.is_some()
    }
}
