//! What must never reach the kernel of a machine that others use: its crashes and hangs, and memory that is not the test's.

use xsk_core::abi::XDP_USE_SG;

use super::op::{MEMORY, Op, Place, RingKind, SOCKETS};

/// Ring entries beyond this are refused: the kernel really allocates them.
const ENTRIES_MAX: u32 = 4096;

/// Follows a history, and says of each operation whether it may be done.
///
/// It knows nothing but the operations and whether they worked, and refuses when in doubt.
#[derive(Debug)]
pub(crate) struct Guard {
    place: Place,
    has_rx: [bool; SOCKETS],
}

impl Guard {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, has_rx: [false; SOCKETS] }
    }

    /// Why the operation must not be done.
    pub(crate) fn refuses(&self, op: &Op) -> Option<&'static str> {
        match op {
            Op::MapUpdate { s, .. } if !self.has_rx[*s] => {
                Some("a socket without an RX ring in an XSKMAP: NULL dereference before 7.1")
            }
            Op::Ring { entries, .. } if entries.is_power_of_two() && *entries > ENTRIES_MAX => {
                Some("a huge ring: memory")
            }
            // Packets of several buffers come to sockets bound in such places only.
            Op::Bind { flags, .. } if flags & XDP_USE_SG != 0 && !self.place.sg => {
                Some("multi-buffer where fill entries may be invalid: NULL dereference before 7.2.12")
            }
            Op::Fill { entries, .. } if self.place.sg && !entries.iter().all(valid_everywhere) => Some(
                "an invalid fill entry where packets of several buffers come: NULL dereference before 7.2.12",
            ),
            Op::Register { reg, .. } if reg.len > MEMORY && reg.len < 1 << 46 => {
                Some("memory that is not the test's")
            }
            Op::Register { reg, .. } if self.place.sg && reg.len != MEMORY && reg.len < 1 << 46 => {
                Some("a UMEM in which a fill entry may be invalid where packets of several buffers come")
            }
            _ => None,
        }
    }

    /// Whether Linux is free in what the operation does: which queue the stack sends on is luck where there are two.
    pub(crate) fn is_left_open(&self, op: &Op) -> bool {
        matches!(op, Op::Inject { .. }) && self.place.queues > 1
    }

    /// Takes note of what was done.
    pub(crate) fn done(&mut self, op: &Op, worked: bool) {
        match op {
            Op::Ring { s, ring: RingKind::Rx, .. } => self.has_rx[*s] |= worked,
            Op::Close { s } => self.has_rx[*s] = false,
            _ => {}
        }
    }
}

/// Whether a fill entry names a chunk in each UMEM of [`MEMORY`] bytes, be its chunks aligned or not.
fn valid_everywhere(entry: &u64) -> bool {
    *entry <= MEMORY - 4096
}
