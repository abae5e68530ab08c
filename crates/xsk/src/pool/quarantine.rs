//! Frames of closed ports that the kernel may still use.

use std::ffi::CStr;

use super::memory::{Memory, Owner};
use crate::umem::QueueKey;

/// Frames that a port had with the kernel when it was closed, and the queue that has to be released before anybody else may
/// have them.
#[derive(Debug)]
pub(crate) struct Quarantined {
    pub(crate) key: QueueKey,
    pub(crate) frames: Vec<u32>,
    /// The kernel said of this queue that a socket is bound to it, while one was: so it is believed when it says that none is.
    pub(crate) is_told: bool,
}

impl Memory {
    /// How many frames are in quarantine.
    pub(crate) fn quarantined(&self) -> usize {
        self.lock().quarantine.iter().map(|entry| entry.frames.len()).sum()
    }

    /// Whether there are frames in quarantine of which the kernel will tell.
    pub(crate) fn awaits_release(&self) -> bool {
        self.lock().quarantine.iter().any(|entry| entry.is_told)
    }

    /// How many frames come home when a socket is bound to a queue, and not before, as the kernel does not tell. An interface of
    /// the calling thread's namespace.
    pub(crate) fn untold_on(&self, interface: &CStr, queue: u32) -> usize {
        if self.lock().quarantine.is_empty() {
            return 0;
        }
        let backend = self.umem().backend();
        let (Ok(namespace), Ok(info)) = (backend.namespace(), backend.interface(interface)) else { return 0 };
        let key = QueueKey { namespace, ifindex: info.index, queue };
        self.lock()
            .quarantine
            .iter()
            .filter(|entry| entry.key == key && !entry.is_told)
            .map(|entry| entry.frames.len())
            .sum()
    }

    /// These queues are released: their frames are free. Returns how many those are.
    pub(crate) fn release(&self, is_released: impl Fn(&Quarantined) -> bool) -> usize {
        let mut state = self.lock();
        let mut count = 0;
        for Quarantined { frames, .. } in state.quarantine.extract_if(.., |entry| is_released(entry)) {
            frames.iter().for_each(|frame| self.set_owner(*frame, Owner::USER));
            self.put(&frames);
            count += frames.len();
        }
        count
    }

    /// Asks the kernel which queues it has released.
    pub(crate) fn reclaim(&self) -> usize {
        if self.lock().quarantine.is_empty() {
            return 0;
        }
        let backend = self.umem().backend();
        // Queues are those of the calling thread's namespace.
        let Ok(here) = backend.namespace() else { return 0 };
        self.release(|Quarantined { key, is_told, .. }| {
            *is_told
                && key.namespace == here
                && matches!(backend.queue_is_bound(key.ifindex, key.queue), Ok(false))
        })
    }
}
