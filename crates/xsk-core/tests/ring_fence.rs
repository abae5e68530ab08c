//! The fence of a mapped ring, on the processors of this machine: between publishing and reading the flags word, where without
//! it both sides miss each other (store buffering). Loom shows that the call is needed, on cells of its own, and
//! ThreadSanitizer knows no fences; two threads that run at once see the instruction.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use support::heap_ring::HeapRing;
use xsk_core::abi::XDP_RING_NEED_WAKEUP;
use xsk_core::region::Region;
use xsk_core::ring::{Mapped, Producer};

type User = Producer<Mapped<u64, Arc<Region>>>;

/// Rings that both threads go through in one turn, and turns for which there are two threads.
const RINGS: usize = 32;
const TURNS: u32 = 64;

/// Where the threads wait for each other. Not asleep: they have to go on at the same time.
#[derive(Default)]
struct Turnstile(AtomicU32);

impl Turnstile {
    /// Waits until both were here so many times.
    fn pass(&self, times: u32) {
        self.0.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0_u32;
        while self.0.load(Ordering::Acquire) < 2 * times {
            looks += 1;
            if looks.is_multiple_of(20_000) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// How often neither side sees the other. The user puts an entry on each ring, and `asks` whether the kernel wants to be woken;
/// the kernel says that it does and looks whether there is an entry, with a fence between.
fn lost(asks: fn(&User) -> bool) -> usize {
    let rings: Vec<HeapRing> = (0..RINGS).map(|_| HeapRing::new(1)).collect();
    // SAFETY: the only producers of these rings.
    let mut users: Vec<User> = rings.iter().map(|ring| unsafe { Producer::new(ring.mapped()) }).collect();
    users.iter_mut().for_each(|user| user.set_rekick_after(u32::MAX));
    let (turnstile, rings) = (&Turnstile::default(), &rings[..]);
    thread::scope(|scope| {
        let kernel = scope.spawn(move || {
            let mut seen = Vec::new();
            for turn in 0..TURNS {
                turnstile.pass(2 * turn + 1);
                for ring in rings {
                    // It is the faster of the two, and they have to meet.
                    (0..turn % 8).for_each(|_| std::hint::spin_loop());
                    ring.set_flags(XDP_RING_NEED_WAKEUP);
                    fence(Ordering::SeqCst);
                    seen.push(ring.producer() != turn);
                }
                turnstile.pass(2 * turn + 2);
            }
            seen
        });
        let mut asked = Vec::new();
        for turn in 0..TURNS {
            for ring in rings {
                ring.set_flags(0);
                ring.set_consumer(turn);
                // The index waits for the entry before it, which waits for memory.
                ring.evict(turn);
            }
            turnstile.pass(2 * turn + 1);
            for user in &mut users {
                assert_eq!(user.produce(&[7], |entry| *entry), Ok(1));
                asked.push(asks(user));
            }
            turnstile.pass(2 * turn + 2);
        }
        let seen = kernel.join().unwrap();
        asked.into_iter().zip(seen).filter(|(asked, seen)| !asked && !seen).count()
    })
}

/// Wakeups that are lost without a fence show that the two threads meet; as many tries with it lose none.
#[test]
#[expect(clippy::print_stdout, reason = "what this machine can show")]
fn no_wakeup_is_lost_on_these_processors() {
    if thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
        println!("fence: not shown: two threads never run at once here");
        return;
    }
    let began = Instant::now();
    let (mut tries, mut without, mut with, mut met) = (0, 0, 0, 0);
    // Some tries meet often and some never, as the machine is busy with other things: so one by one, and of many.
    while met < 10 && began.elapsed() < Duration::from_secs(30) {
        let unfenced = lost(Producer::asks_for_wakeup);
        with += lost(Producer::needs_wakeup);
        met += u32::from(unfenced > 0);
        without += unfenced;
        tries += TURNS as usize * RINGS;
    }
    println!(
        "fence: of {tries} wakeups {without} are lost without it, {with} with it, after {:?}",
        began.elapsed()
    );
    assert_eq!(with, 0, "of {tries}, of which {without} are lost without a fence");
}
