//! Both halves of a mapped ring on two threads, the lists of free frames, and packets of one pool: under ThreadSanitizer
//! (`ci/tsan`) no access races another, and each acquire and release of the table is missed when it is missing.
//!
//! The models of loom see the same code on a model checker's cells; this sees the raw pointers. Without the sanitizer these
//! are short stress tests.

use std::ptr::NonNull;
use std::sync::{Arc, Barrier};
use std::thread;

use xsk::pool::{Pool, PoolConfig};
use xsk_core::abi::xdp_ring_offset;
use xsk_core::frame_lists::{END, FrameLists, Head, Heap, Storage as _};
use xsk_core::order::Order;
use xsk_core::region::Region;
use xsk_core::ring::{Consumer, Mapped, Producer, Storage};
use xsk_sim::SimKernel;
use xsk_sim::ring::{KernelConsumer, KernelProducer};

const OFFSETS: xdp_ring_offset = xdp_ring_offset { producer: 64, consumer: 128, desc: 320, flags: 192 };
const CAPACITY: u32 = 4;
const FRAMES: u64 = 8;
const FRAME: usize = 64;

/// A mapped ring to whose holder one row of the table is missing: it names a relaxed row in its place.
struct Weak {
    ring: Mapped<u64, Arc<Region>>,
    weakened: Option<Order>,
}

impl Weak {
    fn load(&self, order: Order) -> Order {
        if self.weakened == Some(order) { Order::ReadFlags } else { order }
    }

    fn store(&self, order: Order) -> Order {
        if self.weakened == Some(order) { Order::WriteNote } else { order }
    }
}

// SAFETY: its cells are those of the ring.
unsafe impl Storage for Weak {
    type Slot = u64;
    type Cell = u64;

    fn capacity(&self) -> u32 {
        self.ring.capacity()
    }

    fn load_producer(&self, order: Order) -> u32 {
        self.ring.load_producer(self.load(order))
    }

    fn store_producer(&self, index: u32, order: Order) {
        self.ring.store_producer(index, self.store(order));
    }

    fn load_consumer(&self, order: Order) -> u32 {
        self.ring.load_consumer(self.load(order))
    }

    fn store_consumer(&self, index: u32, order: Order) {
        self.ring.store_consumer(index, self.store(order));
    }

    fn load_flags(&self, order: Order) -> u32 {
        self.ring.load_flags(order)
    }

    fn fence(&self, order: Order) {
        self.ring.fence(order);
    }

    fn cell(&self, index: u32) -> (NonNull<u64>, usize) {
        self.ring.cell(index)
    }

    unsafe fn read(cell: NonNull<u64>) -> u64 {
        // SAFETY: the caller's promise is passed on.
        unsafe { Mapped::<u64, Arc<Region>>::read(cell) }
    }

    unsafe fn write(cell: NonNull<u64>, entry: u64) {
        // SAFETY: the caller's promise is passed on.
        unsafe { Mapped::<u64, Arc<Region>>::write(cell, entry) };
    }

    unsafe fn read_run<D>(&self, index: u32, out: &mut [D], take: impl FnMut(&mut D, u64)) {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.ring.read_run(index, out, take) };
    }

    unsafe fn write_run<D>(&self, index: u32, from: &[D], give: impl FnMut(&D) -> u64) {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.ring.write_run(index, from, give) };
    }
}

/// Which row is missing to which half.
#[derive(Debug, Clone, Copy, Default)]
struct Missing {
    user: Option<Order>,
    kernel: Option<Order>,
}

/// Packet memory, and a ring.
#[derive(Clone)]
struct Memory {
    ring: Arc<Region>,
    frames: Arc<Region>,
}

impl Memory {
    fn new() -> Self {
        let ring = Region::new(Mapped::<u64, ()>::bytes(&OFFSETS, CAPACITY)).unwrap();
        Self { ring, frames: Region::new(FRAMES as usize * FRAME).unwrap() }
    }

    fn half(&self, weakened: Option<Order>) -> Weak {
        let Self { ring, .. } = self;
        // SAFETY: the region is page aligned, kept by the Arc, and only used as a ring.
        let ring = unsafe { Mapped::new(ring.as_ptr(), ring.len(), &OFFSETS, CAPACITY, Arc::clone(ring)) };
        Weak { ring: ring.unwrap(), weakened }
    }

    fn frame(&self, number: u64) -> *mut u64 {
        // SAFETY: within the region.
        unsafe { self.frames.as_ptr().as_ptr().add((number % FRAMES) as usize * FRAME).cast() }
    }

    /// Writes a frame, as whoever has it.
    fn write(&self, number: u64) {
        // SAFETY: within the region and aligned. Who else touches it now is what is tested.
        unsafe { self.frame(number).write(number) };
    }

    fn check(&self, number: u64) {
        // SAFETY: as above.
        assert_eq!(unsafe { self.frame(number).read() }, number);
    }
}

/// More than the frames there are, so that each is used again and again, and few enough for a busy machine.
const PACKETS: u64 = if cfg!(sanitized = "thread") { 20_000 } else { 2_000 };

/// How the user's half moves its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Arrays,
    /// Entries and slots, as in the port tier.
    Place,
}

/// The user produces (fill, TX): frame `n` may be written again when the kernel took frame `n - 4`.
fn user_produces(by: By, missing: Missing) {
    let memory = Memory::new();
    let theirs = memory.clone();
    // SAFETY: the only consumer of the ring, and the only producer.
    let (mut user, mut kernel) = unsafe {
        (Producer::new(memory.half(missing.user)), KernelConsumer::new(memory.half(missing.kernel)))
    };
    let kernel = thread::spawn(move || {
        let mut next = 0;
        while next < PACKETS {
            while let Some(number) = kernel.peek() {
                assert_eq!(number, next);
                theirs.check(number);
                kernel.advance();
                next += 1;
            }
            kernel.publish();
            thread::yield_now();
        }
    });
    let mut next = 0;
    while next < PACKETS {
        if by == By::Place {
            let mut slots = user.slots(CAPACITY.min((PACKETS - next) as u32), 0).unwrap();
            while slots.room() > 0 {
                memory.write(next);
                assert!(slots.put(next));
                next += 1;
            }
            drop(slots);
            thread::yield_now();
            continue;
        }
        let free = u64::from(user.free_now().unwrap()).min(PACKETS - next);
        let batch: Vec<u64> = (next..next + free).collect();
        batch.iter().for_each(|number| memory.write(*number));
        next += u64::from(user.produce(&batch, |number| *number).unwrap());
        thread::yield_now();
    }
    kernel.join().unwrap();
}

/// The kernel produces (RX, completion).
fn user_consumes(by: By, missing: Missing) {
    let memory = Memory::new();
    let theirs = memory.clone();
    // SAFETY: the only producer of the ring, and the only consumer.
    let (mut user, mut kernel) = unsafe {
        (Consumer::new(memory.half(missing.user)), KernelProducer::new(memory.half(missing.kernel)))
    };
    let kernel = thread::spawn(move || {
        let mut next = 0;
        while next < PACKETS {
            while next < PACKETS && kernel.free(1) == 1 {
                theirs.write(next);
                kernel.write(next);
                next += 1;
            }
            kernel.publish();
            thread::yield_now();
        }
    });
    let mut next = 0;
    while next < PACKETS {
        if by == By::Place {
            for number in user.entries(CAPACITY).unwrap() {
                assert_eq!(number, next);
                memory.check(number);
                next += 1;
            }
            thread::yield_now();
            continue;
        }
        let mut batch = [0; CAPACITY as usize];
        let count = user.consume(&mut batch, |to, number| *to = number).unwrap() as usize;
        for number in &batch[..count] {
            assert_eq!(*number, next);
            // Read after the slot went back: the frame is four packets from being written again, and only behind a look at
            // the index that is published here.
            memory.check(*number);
            next += 1;
        }
        thread::yield_now();
    }
    kernel.join().unwrap();
}

/// The words of the lists, to whose users one row of the table is missing.
struct WeakLists {
    heap: Heap,
    weakened: Option<Order>,
}

impl xsk_core::frame_lists::Storage for WeakLists {
    fn load(&self, head: Head, order: Order) -> u64 {
        self.heap.load(head, if self.weakened == Some(order) { Order::ReadNote } else { order })
    }

    fn exchange(&self, head: Head, from: u64, to: u64, order: Order) -> bool {
        let order = if self.weakened == Some(order) { Order::UnlinkFrames } else { order };
        self.heap.exchange(head, from, to, order)
    }

    fn next(&self, frame: u32) -> u32 {
        self.heap.next(frame)
    }

    fn set_next(&self, frame: u32, next: u32) {
        self.heap.set_next(frame, next);
    }

    fn below(&self, frame: u32) -> u32 {
        self.heap.below(frame)
    }

    fn set_below(&self, frame: u32, below: u32) {
        self.heap.set_below(frame, below);
    }
}

/// Three threads take frames, write them, and put them back: on the depot, or on the list of those that were returned.
fn frames_travel(weakened: Option<Order>) {
    let memory = Memory::new();
    let lists = Arc::new(FrameLists::new(WeakLists { heap: Heap::new(FRAMES as u32), weakened }));
    let put = |lists: &FrameLists<WeakLists>, frame: u32| {
        lists.storage().set_next(frame, END);
        lists.put_magazine(frame);
    };
    (0..FRAMES as u32).for_each(|frame| put(&lists, frame));
    let start = Arc::new(Barrier::new(3));
    let threads = [0, 1, 2].map(|number| {
        let (memory, lists, start) = (memory.clone(), Arc::clone(&lists), Arc::clone(&start));
        thread::spawn(move || {
            start.wait();
            for round in 0..PACKETS {
                thread::yield_now();
                if let Some(frame) = lists.take_magazine() {
                    memory.write(frame.into());
                    if (round + number) % 2 == 0 {
                        put(&lists, frame);
                    } else {
                        assert!(!lists.give_back(frame, frame, 1));
                    }
                }
                let mut next = lists.take_returned().map_or(END, |(first, _)| first);
                while next != END {
                    let frame = next;
                    next = lists.storage().next(frame);
                    memory.check(frame.into());
                    memory.write(frame.into());
                    put(&lists, frame);
                }
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn no_access_to_a_free_frame_races_another() {
    frames_travel(None);
}

#[test]
fn no_access_of_a_mapped_ring_races_another() {
    for by in [By::Arrays, By::Place] {
        user_produces(by, Missing::default());
        user_consumes(by, Missing::default());
    }
}

/// Frames go from thread to thread by the pool alone, which has no lock: each packet is written by whoever has it. `ci/tsan` runs
/// this as well in copies of the tree whose table of orderings lacks a row, and wants a race of it.
#[test]
fn no_packet_of_a_pool_races_another() {
    let kernel = SimKernel::new(1);
    let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(FRAMES as u32)).unwrap();
    let start = Arc::new(Barrier::new(3));
    let threads = [0, 1, 2].map(|number: u8| {
        let (pool, start) = (pool.clone(), Arc::clone(&start));
        thread::spawn(move || {
            start.wait();
            for _ in 0..PACKETS {
                let Some(mut packet) = pool.packet() else { continue };
                packet.extend_from_slice(&[number; 60]).unwrap();
                let other = pool.packet();
                thread::yield_now();
                assert_eq!(*packet, [number; 60]);
                // In either order, alone or behind others that came home.
                drop(other);
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(std::iter::from_fn(|| pool.packet()).collect::<Vec<_>>().len(), FRAMES as usize);
}

const WEAKEN: &str = "XSK_WEAKEN";

/// The acquire and release rows of the lists.
const LISTS: [Order; 2] = [Order::PutFrames, Order::TakeFrames];
/// The acquire and release rows of the rings, for one side.
const ROWS: [Order; 4] =
    [Order::ReadProducer, Order::PublishProducer, Order::ReadConsumer, Order::PublishConsumer];

/// Runs with one row missing, named by the environment.
#[test]
#[ignore = "run by each_row_is_missed_under_the_sanitizer"]
fn one_row_is_missing() {
    let what = std::env::var(WEAKEN).unwrap_or_default();
    if what.starts_with("lists") {
        return frames_travel(LISTS.into_iter().find(|row| what.ends_with(&format!("{row:?}"))));
    }
    let row = ROWS.into_iter().find(|row| what.ends_with(&format!("{row:?}")));
    let missing = match row {
        row if what.starts_with("kernel") => Missing { user: None, kernel: row },
        row => Missing { user: row, kernel: None },
    };
    let by = if what.starts_with("in place") { By::Place } else { By::Arrays };
    user_produces(by, missing);
    user_consumes(by, missing);
}

#[test]
#[cfg(sanitized = "thread")]
#[expect(clippy::print_stdout, reason = "the matrix is what this test is for")]
fn each_row_is_missed_under_the_sanitizer() {
    let program = std::env::current_exe().unwrap();
    let run = |what: &str| {
        let mut command = std::process::Command::new(&program);
        command.args(["one_row_is_missing", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        // One report is enough.
        let output = command.env(WEAKEN, what).env("TSAN_OPTIONS", "halt_on_error=1").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (fine, report) = run("none");
    assert!(fine, "{report}");
    for (side, rows) in [("user", &ROWS[..]), ("in place", &ROWS), ("kernel", &ROWS), ("lists", &LISTS)] {
        for row in rows {
            let (fine, report) = run(&format!("{side} {row:?}"));
            let race = report.contains("WARNING: ThreadSanitizer: data race");
            assert!(!fine && race, "{side}: {row:?} is missing, and nobody noticed: {report}");
            println!("tsan: {side}: {row:?} missing: data race reported");
        }
    }
}
