//! The models of rings in place: as in [`models`](super::models), but the user half goes by `Entries` and `Slots`, as the port
//! tier does. Some attempts stop in the middle: what was taken or put until then counts, and nothing else.

use std::mem::MaybeUninit;

use loom::thread;
use xsk_core::ring::{Consumer, Pass, Producer};

use super::half::{ConsumerHalf, Entry, KernelHalf, ProducerHalf};
use super::loom_ring::LoomRing;
use super::models::{Shape, Weakened, consume_by, produce_by};

const UNUSED: u32 = 999;

/// Fill (`u64`) or TX (`xdp_desc`): our producer in place, the kernel's consumer. What goes in comes out once, in order.
/// Returns how much that was.
pub fn put<K: KernelHalf, T: Entry>(shape: Shape, weakened: Weakened) -> u32 {
    produce_by::<K, T>(shape, weakened, |user, attempt, before| {
        let mut sent = before;
        // Every other time it stops after the first.
        let mut left = if attempt % 2 == 0 { shape.batch } else { 1 };
        loop {
            let mut slots = user.slots(shape.batch, 0).unwrap();
            while left > 0 && slots.put(T::numbered(sent + slots.written())) {
                left -= 1;
            }
            sent += slots.written();
            if left == 0 || !slots.is_cut() {
                break sent - before;
            }
        }
    })
}

/// RX (`xdp_desc`) or completion (`u64`): the kernel's producer, our consumer in place. What goes in comes out once, in order.
/// Returns how much that was.
pub fn take<K: KernelHalf, T: Entry>(shape: Shape, weakened: Weakened) -> u32 {
    consume_by::<K, T>(shape, weakened, |user, attempt, got| {
        let Some(attempt) = attempt else {
            return got.extend(user.entries(shape.capacity).unwrap().map(T::number));
        };
        loop {
            let mut entries = user.entries(shape.batch).unwrap();
            match attempt % 3 {
                // Into elements, as many as are wanted.
                0 => take_into(&mut entries, got, |_| true),
                // One by one, of which the second stays.
                1 => {
                    if let Some(first) = entries.peek() {
                        assert_eq!(entries.next().map(T::number), Some(first.number()));
                        got.push(first.number());
                        entries.peek().map(T::number);
                    }
                }
                // Into elements, until one with an odd number does not pass: that one is taken singly.
                _ => {
                    take_into(&mut entries, got, |number| number % 2 == 0);
                    got.extend(entries.next().map(T::number));
                }
            }
            let is_cut = entries.is_cut();
            drop(entries);
            if !is_cut {
                break;
            }
        }
    })
}

/// Takes entries as long as their numbers pass.
fn take_into<T: Entry>(
    entries: &mut xsk_core::ring::Entries<'_, LoomRing<T>>,
    got: &mut Vec<u32>,
    pass: impl Fn(u32) -> bool,
) {
    let mut out = [MaybeUninit::uninit(); 4];
    let first = entries.index();
    let count = entries.take_into(&mut out, |entry| pass(entry.number()).then_some(entry.number()));
    assert_eq!(entries.index(), first.wrapping_add(count as u32));
    // SAFETY: so many elements were written.
    got.extend(out[..count].iter().map(|element| unsafe { element.assume_init() }));
}

/// Completion to fill: what the kernel has sent goes back to it to receive into, from ring to ring, with and without a look at
/// each; an entry in four goes another way. Returns how many moved.
///
/// If the kernel is `ahead`, it has sent as many as there are slots before it begins. Only then does what it sends not order the
/// fill ring's slots; and only otherwise does what it takes not order those of the completion ring.
pub fn move_over<K: KernelHalf>(shape: Shape, ahead: bool, weakened: Weakened) -> u32 {
    let ring = || LoomRing::new(shape.capacity, shape.start, u64::numbered(UNUSED));
    let (fill, kernel_fill) = weakened.user_produces(ring());
    let (completion, kernel_completion) = weakened.user_consumes(ring());
    let mut kernel_fill = K::Consumer::<u64>::new(kernel_fill, shape.start, u64::RELEASE);
    let mut kernel_completion = K::Producer::<u64>::new(kernel_completion, shape.start);
    let mut complete = move |sent: u32| {
        let fits =
            (0..shape.batch).take_while(|i| kernel_completion.reserve(u64::numbered(sent + i))).count();
        if fits > 0 {
            kernel_completion.submit();
        }
        sent + fits as u32
    };
    let mut sent = if ahead { complete(0) } else { 0 };
    let kernel = thread::spawn(move || {
        let mut got = Vec::new();
        for _ in 0..shape.attempts {
            sent = complete(sent);
            got.extend((0..shape.batch).map_while(|_| kernel_fill.take()));
            kernel_fill.end_pass();
        }
        (kernel_fill, sent, got)
    });

    // SAFETY: the only producer and consumer of these rings.
    let (mut fill, mut completion) = unsafe { (Producer::new(fill), Consumer::new(completion)) };
    let (mut moved, mut by_looks) = (0, false);
    // Four in a row are moved at once.
    let is_special = |entry: u64| shape.batch < 4 && entry.number() % 4 == 1;
    let mut turn = |fill: &mut Producer<LoomRing<u64>>, completion: &mut Consumer<LoomRing<u64>>| {
        let mut slots = fill.slots(shape.batch, 0).unwrap();
        let mut entries = completion.entries(slots.room()).unwrap();
        if by_looks {
            entries.pass_to(&mut slots, |entry| if is_special(entry) { Pass::End } else { Pass::On });
        } else {
            entries.move_to(&mut slots, |entry| !is_special(entry));
        }
        by_looks = !by_looks;
        // There was a slot for each entry.
        if let Some(special) = entries.next() {
            assert!(is_special(special));
            assert!(slots.put(special));
        }
        assert_eq!(entries.taken(), slots.written());
        moved += entries.taken();
        entries.taken()
    };
    for _ in 0..shape.attempts {
        turn(&mut fill, &mut completion);
    }

    let (mut kernel_fill, sent, mut got) = kernel.join().unwrap();
    loop {
        got.extend(std::iter::from_fn(|| kernel_fill.take()));
        if turn(&mut fill, &mut completion) == 0 {
            break;
        }
    }
    let got: Vec<u32> = got.into_iter().map(u64::number).collect();
    assert_eq!(moved, sent);
    assert!(got.iter().copied().eq(0..sent), "the kernel sent 0..{sent}, and got {got:?} back");
    sent
}
