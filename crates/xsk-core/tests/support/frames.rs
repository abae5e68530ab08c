//! The law of the frames: each is in exactly one place.

use std::sync::{Arc, Mutex};

use loom::cell::UnsafeCell;

/// Where a frame can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    User,
    Fill,
    KernelRx,
    Rx,
    Tx,
    KernelTx,
    Completion,
}

/// A UMEM of frames, each one tracked cell, and the ledger that says where each of them is.
///
/// The ledger's lock is not loom's: it must not order anything in the model. Loom runs one thread at a time, so it is
/// never contended.
#[derive(Clone)]
pub struct Frames(Arc<Inner>);

struct Inner {
    bytes: Vec<UnsafeCell<u32>>,
    places: Mutex<Vec<Place>>,
}

impl Frames {
    /// `count` frames in the user's hand.
    pub fn new(count: usize) -> Self {
        #![expect(clippy::arc_with_non_send_sync, reason = "loom's threads are coroutines of one thread")]
        let bytes = (0..count).map(|_| UnsafeCell::new(0)).collect();
        Self(Arc::new(Inner { bytes, places: Mutex::new(vec![Place::User; count]) }))
    }

    /// Moves a frame, which must be where the caller believes it to be.
    pub fn hand_over(&self, frame: u64, from: Place, to: Place) {
        let mut places = self.0.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let place = &mut places[frame as usize];
        let found = std::mem::replace(place, to);
        drop(places);
        assert_eq!(found, from, "frame {frame} on its way to {to:?}");
    }

    /// Where each frame is.
    pub fn places(&self) -> Vec<Place> {
        self.0.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Writes into a frame, as the user or the kernel that holds it.
    pub fn write(&self, frame: u64, value: u32) {
        // SAFETY: the pointer is good for the closure; loom refuses any concurrent use.
        self.0.bytes[frame as usize].with_mut(|bytes| unsafe { *bytes = value });
    }

    /// Reads a frame, as the user or the kernel that holds it.
    pub fn read(&self, frame: u64) -> u32 {
        // SAFETY: the pointer is good for the closure; loom refuses a concurrent writer.
        self.0.bytes[frame as usize].with(|bytes| unsafe { *bytes })
    }
}
