//! The lists of free frames on a model checker's atomics, and their models.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;
use xsk_core::frame_lists::{END, FrameLists, Head, Storage};
use xsk_core::order::{Access, Order};

use super::frames::Frames;

/// How a head or a note is read.
///
/// Loom remembers one last access of each word. So a load by a thread that also writes the word hides the other thread's load
/// before it from the write that follows, and interleavings are not tried. An exchange with what is there already is a
/// conflict with every other access: nothing is hidden, and every interleaving is tried; but it never reads an old value.
/// Each kind is blind where the other one sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Loads,
    Exchanges,
}

/// The two heads and the notes.
pub struct LoomLists {
    reads: Reads,
    returned: AtomicU64,
    depot: AtomicU64,
    notes: Vec<[AtomicU32; 2]>,
    /// The row of the table that is to be missing.
    weakened: Option<Order>,
}

impl LoomLists {
    fn ordering(&self, order: Order, access: Access) -> Ordering {
        // A head that is looked at for a place to put something in front of carries nothing along.
        assert_eq!(order.access(), access, "{order:?} is the wrong row for this access");
        if self.weakened == Some(order) { Ordering::Relaxed } else { order.ordering() }
    }

    fn head(&self, head: Head) -> &AtomicU64 {
        match head {
            Head::Returned => &self.returned,
            Head::Depot => &self.depot,
        }
    }

    fn note(&self, frame: u32, note: usize) -> &AtomicU32 {
        &self.notes[frame as usize][note]
    }

    fn read(&self, frame: u32, note: usize) -> u32 {
        let (note, order) = (self.note(frame, note), Order::ReadNote.ordering());
        match self.reads {
            Reads::Loads => note.load(order),
            Reads::Exchanges => note.fetch_add(0, order),
        }
    }

    /// A store beside exchanges would be one too many: loom knows the order of exchanges, but of a store and an exchange that
    /// is not ordered with it only that one of them was first.
    fn write(&self, frame: u32, note: usize, value: u32) {
        let (note, order) = (self.note(frame, note), Order::WriteNote.ordering());
        match self.reads {
            Reads::Loads => note.store(value, order),
            Reads::Exchanges => _ = note.swap(value, order),
        }
    }
}

impl Storage for LoomLists {
    fn load(&self, head: Head, order: Order) -> u64 {
        let (head, order) = (self.head(head), self.ordering(order, Access::Load));
        match self.reads {
            Reads::Loads => head.load(order),
            Reads::Exchanges => head.fetch_add(0, order),
        }
    }

    fn exchange(&self, head: Head, from: u64, to: u64, order: Order) -> bool {
        let success = self.ordering(order, Access::Exchange);
        self.head(head).compare_exchange(from, to, success, Order::FAILED).is_ok()
    }

    fn next(&self, frame: u32) -> u32 {
        self.read(frame, 0)
    }

    fn set_next(&self, frame: u32, next: u32) {
        self.write(frame, 0, next);
    }

    fn below(&self, frame: u32) -> u32 {
        self.read(frame, 1)
    }

    fn set_below(&self, frame: u32, below: u32) {
        self.write(frame, 1, below);
    }
}

/// The lists, and the frames as tracked cells: whoever has a frame writes into it.
#[derive(Clone)]
struct World {
    // The count is not loom's: it must not order anything in the model.
    lists: Arc<FrameLists<LoomLists>>,
    frames: Frames,
}

impl World {
    fn new(frames: u32, reads: Reads, weakened: Option<Order>) -> Self {
        let empty = || AtomicU64::new(LoomLists::EMPTY);
        let notes = (0..frames).map(|_| [AtomicU32::new(END), AtomicU32::new(END)]).collect();
        let lists = LoomLists { reads, returned: empty(), depot: empty(), notes, weakened };
        Self { lists: Arc::new(FrameLists::new(lists)), frames: Frames::new(frames as usize) }
    }

    /// Uses a frame that the caller has.
    fn touch(&self, frame: u32) {
        self.frames.write(u64::from(frame), frame);
    }

    /// The frames of a chain, all of them used.
    fn chain(&self, first: u32) -> Vec<u32> {
        let next = |frame: &u32| Some(self.lists.storage().next(*frame)).filter(|next| *next != END);
        let frames: Vec<u32> = std::iter::successors(Some(first), next).collect();
        frames.iter().for_each(|frame| self.touch(*frame));
        frames
    }

    fn put_magazine(&self, frames: &[u32]) {
        frames.iter().for_each(|frame| self.touch(*frame));
        frames.windows(2).for_each(|pair| self.lists.storage().set_next(pair[0], pair[1]));
        self.lists.storage().set_next(frames[frames.len() - 1], END);
        self.lists.put_magazine(frames[0]);
    }
}

/// Each frame once, when all is over.
fn are_all(mut found: Vec<u32>, frames: u32) {
    found.sort_unstable();
    assert_eq!(found, (0..frames).collect::<Vec<_>>(), "frames were lost or are there twice");
}

/// Threads take magazines and put them back, so that a head comes to name a frame that it named before. Returns how often
/// the two took one.
pub fn depot(frames: u32, rounds: u32, reads: Reads, weakened: Option<Order>) -> u32 {
    let world = World::new(frames, reads, weakened);
    (0..frames).for_each(|frame| world.put_magazine(&[frame]));
    let both = move |world: &World| {
        let mut taken = 0;
        for _ in 0..rounds {
            let first = world.lists.take_magazine().map(|first| world.chain(first));
            let second = world.lists.take_magazine().map(|first| world.chain(first));
            taken += u32::from(first.is_some()) + u32::from(second.is_some());
            // The one that was on top goes back first.
            first.into_iter().chain(second).for_each(|magazine| world.put_magazine(&magazine));
        }
        taken
    };
    let other = thread::spawn({
        let world = world.clone();
        move || both(&world)
    });
    let taken = both(&world) + other.join().unwrap();
    let mut found = Vec::new();
    while let Some(first) = world.lists.take_magazine() {
        found.extend(world.chain(first));
    }
    are_all(found, frames);
    taken
}

/// Two threads give frames back, one of them a chain, while a third takes what there is and feeds the depot with it.
pub fn returned(reads: Reads, weakened: Option<Order>) -> u32 {
    let world = World::new(3, reads, weakened);
    let one = thread::spawn({
        let world = world.clone();
        move || {
            world.touch(0);
            world.touch(1);
            world.lists.storage().set_next(0, 1);
            assert!(!world.lists.give_back(0, 1, 2));
        }
    });
    world.touch(2);
    assert!(!world.lists.give_back(2, 2, 1));
    let mut found = Vec::new();
    for _ in 0..2 {
        if let Some((first, count)) = world.lists.take_returned() {
            let frames = world.chain(first);
            assert_eq!(frames.len(), count as usize);
            world.put_magazine(&frames);
        }
    }
    one.join().unwrap();
    let before = world.lists.take_magazine();
    for first in [before, world.lists.take_magazine(), world.lists.take_returned().map(|(first, _)| first)] {
        found.extend(first.into_iter().flat_map(|first| world.chain(first)));
    }
    are_all(found, 3);
    before.map_or(0, |_| 1)
}

/// Two threads take the returned frame, use it, and give it back, so that the list comes to be as it was before. Returns 1 if
/// both had it.
pub fn shared(reads: Reads, weakened: Option<Order>) -> u32 {
    let world = World::new(1, reads, weakened);
    world.touch(0);
    assert!(!world.lists.give_back(0, 0, 1));
    let take = |world: &World| {
        let taken = world.lists.take_returned();
        if let Some((first, count)) = taken {
            assert_eq!((world.chain(first).len(), count), (1, 1));
            assert!(!world.lists.give_back(first, first, 1));
        }
        u32::from(taken.is_some())
    };
    let other = thread::spawn({
        let world = world.clone();
        move || take(&world)
    });
    let here = take(&world);
    let both = here & other.join().unwrap();
    are_all(world.lists.take_returned().map(|(first, _)| world.chain(first)).unwrap_or_default(), 1);
    both
}

/// Two packets are dropped while the pool is closed. One of the three is told that it is the last, and may then use all
/// frames as it likes: it frees them. Returns 1 if that was a packet.
pub fn closing(reads: Reads, weakened: Option<Order>) -> u32 {
    let world = World::new(3, reads, weakened);
    let drop_packet = |world: &World, frame| {
        world.touch(frame);
        let last = world.lists.give_back(frame, frame, 1);
        if last {
            (0..3).for_each(|frame| world.touch(frame));
        }
        u32::from(last)
    };
    let packets = [1, 2].map(|frame| {
        let world = world.clone();
        thread::spawn(move || drop_packet(&world, frame))
    });
    world.touch(0);
    let last = world.lists.close(3, 1);
    if last {
        (0..3).for_each(|frame| world.touch(frame));
    }
    let told: u32 = packets.into_iter().map(|packet| packet.join().unwrap()).sum();
    assert_eq!(told + u32::from(last), 1, "one is the last");
    told
}
