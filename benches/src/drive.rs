//! Traffic: what programs do with packets, by the calls of each library.

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

/// Takes `count` packets that wait, and gives their frames back.
///
/// # Panics
/// If some are missing.
pub fn drop_packets<D: Driver + ?Sized>(user: &mut D, count: u32) -> Tally {
    let mut packets = 0;
    while packets < count {
        let received = user.receive(count - packets);
        assert!(received > 0, "{} of {count} packets did not come", count - packets);
        assert_eq!(user.recycle(received), received, "the fill ring has a place for each frame");
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

/// Sends `count` packets that wait back out, and gives their frames back.
///
/// # Panics
/// If some are missing.
pub fn forward<D: Driver + ?Sized>(user: &mut D, count: u32) -> Tally {
    let received = user.receive(count);
    assert_eq!(received, count, "packets are missing");
    assert_eq!(user.transmit(count), count, "the TX ring has a place for each packet");
    let calls = reap(user, count, |user, done| {
        assert_eq!(user.refill(done), done, "the fill ring has a place for each frame");
    });
    Tally { packets: count, calls }
}

/// Wakes the kernel until `count` frames are back. Returns the system calls.
fn reap<D: Driver + ?Sized>(user: &mut D, count: u32, mut with: impl FnMut(&mut D, u32)) -> u32 {
    let (mut calls, mut done, mut idle) = (0, 0, 0);
    while done < count {
        calls += user.wake();
        let back = user.complete(count - done);
        if back > 0 {
            with(user, back);
        }
        done += back;
        idle = if back == 0 { idle + 1 } else { 0 };
        assert!(idle < 10_000, "{} of {count} frames do not come back", count - done);
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

impl Driver for RingTier {
    drive_by_queues!();
}
