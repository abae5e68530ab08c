//! The models: a user half and a kernel half on two threads, bounded attempts on each side, join, drain, and the laws.

use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::fence;
use loom::thread;
use xsk_core::abi::{XDP_RING_NEED_WAKEUP, xdp_desc};
use xsk_core::order::Order;
use xsk_core::ring::{Consumer, Producer};

use super::explore::{check, note};
use super::half::{ConsumerHalf, Entry, KernelHalf, ProducerHalf, Release};
use super::loom_ring::LoomRing;

/// The size of a model.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Slots of the ring.
    pub capacity: u32,
    /// Where the indices start: so that they wrap while the model runs.
    pub start: u32,
    /// Entries that one attempt moves at most.
    pub batch: u32,
    /// Attempts of each side, successful or not. Never a loop that waits for the other side: that has no end for a model
    /// checker.
    pub attempts: u32,
}

/// One slot, so that each entry reuses the slot of the one before.
pub const fn one(attempts: u32) -> Shape {
    Shape { capacity: 1, start: u32::MAX, batch: 1, attempts }
}

/// Two slots, batches of two, each across the end of the ring and the wrap of the indices.
pub const fn two(attempts: u32) -> Shape {
    Shape { capacity: 2, start: u32::MAX, batch: 2, attempts }
}

/// Four slots, batches of three.
pub const fn four(attempts: u32) -> Shape {
    Shape { capacity: 4, start: u32::MAX - 1, batch: 3, attempts }
}

/// Checks `model` over `shape`: that there are more than `least` interleavings, and that one of them filled the ring more
/// than once, so that slots were reused.
pub fn over(
    least: usize,
    name: &str,
    bound: Option<usize>,
    shape: Shape,
    model: impl Fn(Shape) -> u32 + Send + Sync + 'static,
) {
    let seen = check(bound, move || model(shape));
    note(name, bound, &shape, seen);
    assert!(seen.executions > least && seen.most > shape.capacity, "{name}, {shape:?}: {seen:?}");
}

/// Which row of the table is missing, for which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weakened {
    pub user: Option<Order>,
    pub kernel: Option<Order>,
}

/// None.
pub const SOUND: Weakened = Weakened { user: None, kernel: None };

impl Weakened {
    /// The user's and the kernel's handle of a fill or TX ring.
    pub fn user_produces<T: Copy>(self, ring: (LoomRing<T>, LoomRing<T>)) -> (LoomRing<T>, LoomRing<T>) {
        (ring.0.without(self.user), ring.1.without(self.kernel))
    }

    /// The user's and the kernel's handle of an RX or completion ring.
    pub fn user_consumes<T: Copy>(self, ring: (LoomRing<T>, LoomRing<T>)) -> (LoomRing<T>, LoomRing<T>) {
        (ring.1.without(self.user), ring.0.without(self.kernel))
    }
}

const UNUSED: u32 = 999;

/// Fill (`u64`) or TX (`xdp_desc`): our producer, the kernel's consumer. What goes in comes out once, in order.
/// Returns how much that was.
pub fn produce<K: KernelHalf, T: Entry>(shape: Shape, weakened: Weakened) -> u32 {
    produce_by::<K, T>(shape, weakened, |user, attempt, sent| {
        let items: Vec<u32> = (sent..sent + shape.batch).collect();
        let give = |n: &u32| T::numbered(*n);
        if attempt % 2 == 0 {
            let count = user.produce(&items, give).unwrap();
            assert!(count == 0 || count == shape.batch, "all or nothing, not {count}");
            count
        } else {
            user.produce_some(&items, give).unwrap()
        }
    })
}

/// As [`produce`]; `send` makes an attempt: it is given which one that is and how much went in before, and returns how much does.
pub fn produce_by<K: KernelHalf, T: Entry>(
    shape: Shape,
    weakened: Weakened,
    mut send: impl FnMut(&mut Producer<LoomRing<T>>, u32, u32) -> u32,
) -> u32 {
    let (ring, theirs) =
        weakened.user_produces(LoomRing::new(shape.capacity, shape.start, T::numbered(UNUSED)));
    let mut kernel = K::Consumer::<T>::new(theirs, shape.start, T::RELEASE);
    let kernel = thread::spawn(move || {
        let mut got = Vec::new();
        for _ in 0..shape.attempts {
            got.extend((0..shape.batch).map_while(|_| kernel.take()));
            kernel.end_pass();
        }
        (kernel, got)
    });

    // SAFETY: the only producer of this ring.
    let mut user = unsafe { Producer::new(ring) };
    let mut sent = 0;
    for attempt in 0..shape.attempts {
        sent += send(&mut user, attempt, sent);
    }

    let (mut kernel, mut got) = kernel.join().unwrap();
    let outstanding = user.outstanding().unwrap();
    got.extend(std::iter::from_fn(|| kernel.take()));
    let got: Vec<u32> = got.into_iter().map(T::number).collect();
    assert!(got.iter().copied().eq(0..sent), "sent 0..{sent}, the kernel got {got:?}");
    // The kernel may hold its index back, and never runs ahead.
    assert!(outstanding <= shape.capacity && outstanding <= sent);
    assert_eq!((user.outstanding(), user.free_now()), (Ok(0), Ok(shape.capacity)));
    sent
}

/// RX (`xdp_desc`) or completion (`u64`): the kernel's producer, our consumer. What goes in comes out once, in order.
/// Returns how much that was.
pub fn consume<K: KernelHalf, T: Entry>(shape: Shape, weakened: Weakened) -> u32 {
    consume_by::<K, T>(shape, weakened, |user, attempt, got| {
        let room = if attempt.is_some() { shape.batch } else { shape.capacity };
        let mut out = vec![None; room as usize];
        let count = user.consume(&mut out, |slot, entry| *slot = Some(entry)).unwrap() as usize;
        assert!(out[..count].iter().all(Option::is_some) && out[count..].iter().all(Option::is_none));
        got.extend(out.into_iter().flatten().map(T::number));
    })
}

/// As [`consume`]; `receive` makes an attempt: it is given which one that is, or in the end none, when it is to take all there are.
pub fn consume_by<K: KernelHalf, T: Entry>(
    shape: Shape,
    weakened: Weakened,
    mut receive: impl FnMut(&mut Consumer<LoomRing<T>>, Option<u32>, &mut Vec<u32>),
) -> u32 {
    let (ring, theirs) =
        weakened.user_consumes(LoomRing::new(shape.capacity, shape.start, T::numbered(UNUSED)));
    let mut kernel = K::Producer::<T>::new(theirs, shape.start);
    let kernel = thread::spawn(move || {
        let mut sent = 0;
        for _ in 0..shape.attempts {
            let fits = (0..shape.batch).take_while(|i| kernel.reserve(T::numbered(sent + i))).count();
            // One publication for the batch, as at a flush; none for nothing.
            if fits > 0 {
                kernel.submit();
            }
            sent += fits as u32;
        }
        sent
    });

    // SAFETY: the only consumer of this ring.
    let mut user = unsafe { Consumer::new(ring) };
    let mut got = Vec::new();
    for attempt in 0..shape.attempts {
        receive(&mut user, Some(attempt), &mut got);
    }

    let sent = kernel.join().unwrap();
    loop {
        let before = got.len();
        receive(&mut user, None, &mut got);
        if got.len() == before {
            break;
        }
    }
    assert!(got.iter().copied().eq(0..sent), "the kernel sent 0..{sent}, we got {got:?}");
    assert_eq!(user.available_now(), Ok(0));
    sent
}

/// The need-wakeup handshake.
#[derive(Debug, Clone, Copy)]
pub struct Handshake {
    /// Descriptors that the user sends, one by one.
    pub packets: u32,
    /// Whether the kernel has a full barrier between setting the flag and looking at the ring again.
    pub kernel_fenced: bool,
    /// The bound of the user's second kick ([`Producer::set_rekick_after`]).
    pub rekick_after: u32,
    /// How often the user asks [`Producer::needs_wakeup`] after its last packet.
    pub polls: u32,
}

/// The kernel goes to sleep while the user sends: no history ends with descriptors waiting and nobody awake.
/// Returns how many packets the kernel took before it slept.
pub fn handshake<K: KernelHalf>(shape: Handshake, weakened: Weakened) -> u32 {
    const START: u32 = u32::MAX;
    let (ring, theirs) = weakened.user_produces(LoomRing::new(2, START, xdp_desc::numbered(UNUSED)));
    let words = theirs.clone();
    let mut kernel = K::Consumer::<xdp_desc>::new(theirs, START, Release::EachPass);
    let kernel = thread::spawn(move || {
        let mut got = 0;
        // Each turn but the last takes a packet, so this ends.
        loop {
            // A plain store, as in the kernel; what may or may not follow it is up to the driver.
            words.flags().store(XDP_RING_NEED_WAKEUP, Relaxed);
            if shape.kernel_fenced {
                fence(SeqCst);
            }
            if kernel.peek().is_none() {
                // Asleep, until a system call.
                break got;
            }
            words.flags().store(0, Relaxed);
            while kernel.take().is_some() {
                got += 1;
            }
            kernel.end_pass();
        }
    });

    // SAFETY: the only producer of this ring.
    let mut user = unsafe { Producer::new(ring) };
    user.set_rekick_after(shape.rekick_after);
    let mut sent = 0;
    // A kick is a system call: the kernel sees all that was sent before it.
    let mut kicked_at = 0;
    for packet in 0..shape.packets {
        sent += user.produce(&[packet], |n| xdp_desc::numbered(*n)).unwrap();
        let polls = if packet + 1 == shape.packets { shape.polls } else { 1 };
        if (0..polls).any(|_| user.needs_wakeup()) {
            kicked_at = sent;
        }
    }
    let got = kernel.join().unwrap();
    assert!(got == sent || kicked_at == sent, "lost wakeup: {sent} sent, {got} taken, kicked at {kicked_at}");
    got
}
