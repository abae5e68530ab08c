//! Who may touch which frame, by AddressSanitizer.

use xsk_sim::{Place, SimKernel};

#[cfg(sanitized = "address")]
mod poison {
    use std::ffi::c_void;

    // SAFETY: as AddressSanitizer's interface declares them; any address range is allowed.
    unsafe extern "C" {
        safe fn __asan_poison_memory_region(start: *const c_void, len: usize);
        safe fn __asan_unpoison_memory_region(start: *const c_void, len: usize);
    }

    pub(super) fn set(start: *const u8, len: usize, poisoned: bool) {
        if poisoned {
            __asan_poison_memory_region(start.cast(), len);
        } else {
            __asan_unpoison_memory_region(start.cast(), len);
        }
    }
}

#[cfg(not(sanitized = "address"))]
mod poison {
    pub(super) fn set(_start: *const u8, _len: usize, _poisoned: bool) {}
}

/// Who runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    User,
    Kernel,
    /// Set-up, and the end.
    Nobody,
}

/// The first UMEM of a kernel, whose frames are poisoned for whoever does not have them. At the end it is nobody's turn.
#[derive(Debug)]
pub(crate) struct Guard {
    kernel: SimKernel,
    start: *const u8,
    frames: u64,
    frame_size: u64,
}

impl Guard {
    /// Of `frames` frames of `frame_size` bytes, the first of which is at `start`.
    pub(crate) fn new(kernel: &SimKernel, start: *const u8, frames: u32, frame_size: u32) -> Self {
        assert_eq!(start.addr() % 4096, 0);
        Self { kernel: kernel.clone(), start, frames: frames.into(), frame_size: frame_size.into() }
    }

    pub(crate) fn turn(&self, turn: Turn) {
        let frames = self.kernel.frames();
        frames.check().unwrap();
        for address in (0..self.frames).map(|n| n * self.frame_size) {
            let with_user = frames.of(0, address).is_empty();
            let poisoned = match turn {
                Turn::User => !with_user,
                Turn::Kernel => with_user,
                Turn::Nobody => false,
            };
            poison::set(self.start.wrapping_add(address as usize), self.frame_size as usize, poisoned);
        }
    }

    /// In the user's turn, that with the byte at `byte` is the user's too: its descriptor is read in the RX ring, which has it
    /// until the whole burst is published.
    pub(crate) fn shown(&self, byte: *const u8) {
        self.turn(Turn::User);
        let address = (byte.addr() - self.start.addr()) as u64 / self.frame_size * self.frame_size;
        let frames = self.kernel.frames();
        let places = frames.of(0, address);
        assert!(places.iter().all(|place| *place == Place::Rx), "shown, and on {places:?}");
        poison::set(self.start.wrapping_add(address as usize), self.frame_size as usize, false);
    }

    /// Runs what makes the kernel run. The user touches no frame in there.
    pub(crate) fn kernel<T>(&self, run: impl FnOnce() -> T) -> T {
        self.turn(Turn::Kernel);
        let result = run();
        self.turn(Turn::User);
        result
    }

    /// Runs a move of descriptors, which touches no frame at all: what comes of it is poisoned or not from then on.
    pub(crate) fn rings<T>(&self, run: impl FnOnce() -> T) -> T {
        let result = run();
        self.turn(Turn::User);
        result
    }
}

// SAFETY: a Guard has an address, of which it makes no pointer that is read or written.
unsafe impl Send for Guard {}
// SAFETY: as above.
unsafe impl Sync for Guard {}
