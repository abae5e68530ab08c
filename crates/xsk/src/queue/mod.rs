//! The four queues of a socket, and what they share.

mod comp;
mod fd;
mod fill;
mod rx;
mod shared;
mod tx;

use std::sync::Arc;

use xsk_core::ring::{Consumer, Entries, Mapped, Producer, Slots};

pub use comp::CompQueue;
pub use fd::{Fd, XdpStatistics};
pub use fill::FillQueue;
pub use rx::RxQueue;
pub(crate) use shared::{IdlePolls, Rings, Shared, TxPass, poll_any};
pub use tx::TxQueue;

/// The producing half of a ring that keeps its socket alive.
pub(crate) type ProducerOf<T> = Producer<Mapped<T, Arc<Shared>>>;
/// The consuming half of a ring that keeps its socket alive.
pub(crate) type ConsumerOf<T> = Consumer<Mapped<T, Arc<Shared>>>;
/// Entries of a ring of a socket, in place.
pub(crate) type EntriesOf<'a, T> = Entries<'a, Mapped<T, Arc<Shared>>>;
/// Free slots of a ring of a socket.
pub(crate) type SlotsOf<'a, T> = Slots<'a, Mapped<T, Arc<Shared>>>;
