//! Traffic: what programs do with packets, by the calls of each library.

use std::time::{Duration, Instant};

use xsk::FrameDesc;

use crate::rings::{RingTier, User};

/// A user of rings whose kernel is real.
pub trait Driver: User {
    /// Gives the kernel half of the frames to receive into, once.
    fn prime(&mut self);
    /// Makes the next [`transmit`](User::transmit)s send `packet`, `count` times, from frames that the kernel has not got.
    fn load(&mut self, count: u32, packet: &[u8]);
    /// Makes one more of them possible, where that takes something.
    #[inline(always)]
    fn reload(&mut self) {}
    /// Puts the `count` packets that were just received on the fill ring.
    fn recycle(&mut self, count: u32) -> u32;
    /// Wakes the kernel up to send, if the library finds that it has to be. Returns how many system calls that took.
    fn wake(&mut self) -> u32;
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Packets.
    pub packets: u32,
    /// System calls of the library.
    pub calls: u32,
}

/// How long nothing may happen.
#[derive(Debug, Default)]
pub struct Patience {
    idle: u32,
    since: Option<Instant>,
}

/// A card needs microseconds for what a veth pair does in a system call.
const LIMIT: Duration = Duration::from_secs(2);

impl Patience {
    /// `count` things happened.
    ///
    /// # Panics
    /// If that was nothing, for too long.
    #[inline(always)]
    pub fn saw(&mut self, count: u32, what: impl FnOnce() -> String) {
        if count > 0 {
            self.idle = 0;
        } else {
            self.step(what);
        }
    }

    /// Nothing happened.
    ///
    /// # Panics
    /// If that has been so for too long.
    #[cold]
    pub fn step(&mut self, what: impl FnOnce() -> String) {
        self.idle += 1;
        if self.idle == 1 {
            self.since = None;
        }
        if self.idle.is_multiple_of(256) {
            let since = *self.since.get_or_insert_with(Instant::now);
            assert!(
                since.elapsed() < LIMIT,
                "{}; a card with several queues chooses among them itself: give it one (`ethtool -L INTERFACE combined 1`)",
                what()
            );
        }
    }
}

/// Takes `count` packets that come, and gives their frames back.
///
/// # Panics
/// If some are missing.
pub fn drop_packets<D: Driver + ?Sized>(user: &mut D, count: u32) -> Tally {
    let (mut packets, mut patience) = (0, Patience::default());
    while packets < count {
        let received = user.receive(count - packets);
        patience.saw(received, || format!("{packets} of {count} packets came"));
        if received > 0 {
            assert_eq!(user.recycle(received), received, "the fill ring has a place for each frame");
        }
        packets += received;
    }
    Tally { packets, calls: 0 }
}

/// Sends `count` packets that were [loaded](Driver::load), and waits for their frames.
///
/// # Panics
/// If there is no room, or they do not come back.
pub fn flood<D: Driver + ?Sized>(user: &mut D, count: u32) -> Tally {
    user.reload();
    assert_eq!(user.transmit(count), count, "the TX ring has a place for each packet");
    let calls = reap(user, count, |_, _| {});
    Tally { packets: count, calls }
}

/// Sends `count` packets that come back out, and gives their frames back.
///
/// # Panics
/// If some are missing.
pub fn forward<D: Driver + ?Sized>(user: &mut D, count: u32) -> Tally {
    let (mut packets, mut calls, mut patience) = (0, 0, Patience::default());
    while packets < count {
        let received = user.receive(count - packets);
        patience.saw(received, || format!("{packets} of {count} packets came"));
        if received == 0 {
            continue;
        }
        assert_eq!(user.transmit(received), received, "the TX ring has a place for each packet");
        calls += reap(user, received, |user, done| {
            assert_eq!(user.refill(done), done, "the fill ring has a place for each frame");
        });
        packets += received;
    }
    Tally { packets, calls }
}

/// Wakes the kernel until `count` frames are back. Returns the system calls.
fn reap<D: Driver + ?Sized>(user: &mut D, count: u32, mut with: impl FnMut(&mut D, u32)) -> u32 {
    let (mut calls, mut done, mut patience) = (0, 0, Patience::default());
    while done < count {
        calls += user.wake();
        let back = user.complete(count - done);
        if back > 0 {
            with(user, back);
        }
        done += back;
        patience.saw(back, || format!("{done} of {count} frames came back"));
    }
    calls
}

/// The methods of [`Driver`] by the calls of the ring tier, which are xsk's and xsk-rs's.
macro_rules! drive_by_queues {
    () => {
        fn prime(&mut self) {
            let half = self.spare.len() / 2;
            let frames: Vec<FrameDesc> = self.spare.drain(..half).collect();
            // SAFETY: frames that were on no queue before.
            assert_eq!(unsafe { self.fill.produce(&frames) }, half);
        }

        fn load(&mut self, count: u32, packet: &[u8]) {
            for (desc, spare) in self.descs.iter_mut().zip(&self.spare[..count as usize]) {
                *desc = *spare;
                // SAFETY: a frame that is on no queue.
                let mut data = unsafe { self.umem.data_mut(desc) };
                std::io::Write::write_all(&mut data.cursor(), packet).expect("it fits a frame");
            }
        }

        #[inline(always)]
        fn recycle(&mut self, count: u32) -> u32 {
            // SAFETY: the frames were just received.
            unsafe { self.fill.produce(&self.descs[..count as usize]) as u32 }
        }

        #[inline(always)]
        fn wake(&mut self) -> u32 {
            let needed = self.tx.needs_wakeup();
            if needed {
                self.tx.wakeup().expect("a wakeup");
            }
            needed.into()
        }
    };
}
#[cfg(feature = "peers")]
pub(crate) use drive_by_queues;

impl RingTier {
    /// As [`load`](Driver::load), into frames from the `first` spare one on, all of which must be there.
    pub fn load_at(&mut self, first: usize, count: u32, packet: &[u8]) {
        for (desc, spare) in self.descs.iter_mut().zip(&self.spare[first..first + count as usize]) {
            *desc = *spare;
            // SAFETY: a frame that is on no queue: whoever sends waits for what it sent.
            let mut data = unsafe { self.umem.data_mut(desc) };
            std::io::Write::write_all(&mut data.cursor(), packet).expect("it fits a frame");
        }
    }
}

impl Driver for RingTier {
    drive_by_queues!();
}
