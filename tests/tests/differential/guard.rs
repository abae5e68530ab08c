//! What must never reach the kernel of a machine that others use: its crashes and hangs, and memory that is not the test's.

use xsk_core::abi::{XDP_TX_METADATA, XDP_USE_SG, xsk_tx_metadata_request};

use xsk_tests::calls::op::{MEMORY, Op, Place, RingKind, SOCKETS, Word};

/// Ring entries beyond this are refused: the kernel really allocates them.
const ENTRIES_MAX: u32 = 4096;

/// Follows a history, and says of each operation whether it may be done.
///
/// It knows nothing but the operations and whether they worked, and refuses when in doubt.
#[derive(Debug)]
pub(crate) struct Guard {
    place: Place,
    has_rx: [bool; SOCKETS],
    gone: [bool; 2],
    /// A UMEM has metadata that is shorter than the struct.
    has_short_metadata: bool,
    /// Metadata was asked for.
    asks_metadata: bool,
}

/// How far a fill ring's producer may be moved over entries that name no chunk: one packet skips them all.
const FILL_AHEAD: u32 = 128;

impl Guard {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            has_rx: [false; SOCKETS],
            gone: [false; 2],
            has_short_metadata: false,
            asks_metadata: false,
        }
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
            Op::Corrupt { ring: RingKind::Fill, word: Word::Producer, by, .. }
                if *by > FILL_AHEAD || self.place.sg =>
            {
                Some("a fill producer far ahead or behind: one packet spins over all the entries between")
            }
            Op::Register { reg, .. } if self.asks_metadata && is_short(reg) => {
                Some("short metadata at the end of a UMEM: a read beyond it")
            }
            Op::Send { descs, .. }
                if self.has_short_metadata
                    && descs.iter().any(|desc| desc.options & XDP_TX_METADATA != 0) =>
            {
                Some("short metadata at the end of a UMEM: a read beyond it")
            }
            // So much behind the memory cannot be pinned.
            Op::Register { reg, .. } if reg.len > 2 * MEMORY && reg.len < 1 << 46 => {
                Some("memory that is not the test's")
            }
            Op::Register { reg, .. } if self.place.sg && reg.len != MEMORY && reg.len < 1 << 46 => {
                Some("a UMEM in which a fill entry may be invalid where packets of several buffers come")
            }
            _ => None,
        }
    }

    /// Whether Linux is free in what the operation does (which queue the stack sends on is luck where there are two), or
    /// there is nothing to do it to.
    pub(crate) fn is_left_open(&self, op: &Op) -> bool {
        match op {
            Op::Inject { end, .. } => self.place.queues.1 > 1 || self.gone[*end],
            Op::Queues { .. } => self.gone.contains(&true),
            // What is not there, or not here, is not the history's to change.
            Op::Link { end, .. } | Op::Mtu { end, .. } | Op::Remove { end } | Op::MoveAway { end } => {
                self.gone[*end]
            }
            _ => false,
        }
    }

    /// Takes note of what was done.
    pub(crate) fn done(&mut self, op: &Op, worked: bool) {
        match op {
            Op::Ring { s, ring: RingKind::Rx, .. } => self.has_rx[*s] |= worked,
            Op::Close { s } | Op::CloseMapped { s } => self.has_rx[*s] = false,
            Op::Remove { .. } => self.gone = [true; 2],
            Op::MoveAway { end } => self.gone[*end] = true,
            Op::Register { reg, .. } => self.has_short_metadata |= worked && is_short(reg),
            Op::Send { .. } | Op::Rewrite { .. } => self.asks_metadata |= asks_metadata(op),
            _ => {}
        }
    }
}

fn asks_metadata(op: &Op) -> bool {
    let descs = match op {
        Op::Send { descs, .. } => descs.as_slice(),
        Op::Rewrite { desc, .. } => std::slice::from_ref(desc),
        _ => &[],
    };
    descs.iter().any(|desc| desc.options & XDP_TX_METADATA != 0)
}

fn is_short(reg: &xsk_core::abi::xdp_umem_reg) -> bool {
    (1..size_of::<xsk_tx_metadata_request>()).contains(&(reg.tx_metadata_len as usize))
}

/// Whether a fill entry names a chunk in each UMEM of [`MEMORY`] bytes, be its chunks aligned or not.
fn valid_everywhere(entry: &u64) -> bool {
    *entry <= MEMORY - 4096
}
