//! The port tier on the four rings.
//!
//! A port checks who has each frame, so its kernel's half completes what was sent, and no sooner: a round is a forward loop's,
//! in which the frames of the round before come back.

use std::sync::Arc;

use xsk::backend::Backend;
use xsk::port::{Mode, Verdict};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};

use crate::case::Case;
use crate::counterpart::{Counterpart, ENTRIES, FRAME_SIZE, FRAMES};
use crate::rings::simulated;

/// Packets that move at once: a port moves 64 at most.
const BATCHES: [u32; 2] = [16, 64];

/// Opens a port that no program leads to, and maps its rings.
///
/// # Panics
/// If that fails.
pub fn open(backend: &Arc<dyn Backend>, interface: &str, queue: u32) -> (Port, Counterpart) {
    let frames = PoolConfig::default().frames(FRAMES).frame_size(FRAME_SIZE);
    let pool = Pool::new_in(Arc::clone(backend), frames).expect("a pool");
    let config = PortConfig::default().mode(Mode::Copy).fill_level(FRAMES).no_program();
    let config = config.rx_ring(ENTRIES).tx_ring(ENTRIES).fill_ring(ENTRIES).completion_ring(ENTRIES);
    let port = Port::open(&pool, interface, queue, config).expect("a port");
    let mut kernel = Counterpart::new(&**backend, port.fd().handle());
    kernel.stays_awake();
    (port, kernel)
}

/// The kernel's half of a round, around the port's.
#[inline(always)]
fn round(kernel: &mut Counterpart, count: u32, port: impl FnOnce() -> usize) {
    kernel.rx.moves(count);
    let sent = port();
    assert!(sent == count as usize, "a port moved less than the batch");
    kernel.tx.moves(count);
    kernel.completion.moves(count);
    kernel.fill.moves(count);
}

/// A case: whose code, and what it does.
type Name = (&'static str, &'static str);

/// Packets moved in place.
pub fn burst((who, what): Name, count: u32, (mut port, mut kernel): (Port, Counterpart)) -> Case {
    Case::new(who, what, count, move |rounds| {
        for _ in 0..rounds {
            round(&mut kernel, count, || port.forward(|_| Verdict::Send).expect("packets").sent);
        }
    })
}

/// Packets that are owned between being received and sent.
pub fn owned((who, what): Name, count: u32, (mut port, mut kernel): (Port, Counterpart)) -> Case {
    let mut batch = Batch::new();
    Case::new(who, what, count, move |rounds| {
        for _ in 0..rounds {
            round(&mut kernel, count, || {
                port.recv(&mut batch).expect("packets");
                port.send(&mut batch).expect("room")
            });
        }
    })
}

/// Both, on simulated kernels.
pub fn cases() -> Vec<Case> {
    let open = || open(&simulated(), "a", 0);
    BATCHES
        .into_iter()
        .flat_map(|count| [burst(("port", "burst"), count, open()), owned(("port", "owned"), count, open())])
        .collect()
}
