//! Sockets and their RX and TX queues.

mod open;

use std::ops::Deref;
use std::sync::Arc;

use thiserror::Error as ThisError;

use crate::config::{Interface, SocketConfig};
use crate::error::Error;
use crate::queue::Shared;
pub use crate::queue::{Fd, RxQueue, TxQueue, XdpStatistics};
use crate::umem::{CompQueue, FillQueue, Umem};
pub(crate) use open::{Given, NewPoolRings, Request, open};

/// An AF_XDP socket.
///
/// Opening one gives its queues; the socket lives until the last of them is dropped, and the UMEM at least as long.
#[derive(Debug, Clone)]
pub struct Socket {
    _shared: Arc<Shared>,
}

impl Socket {
    /// Opens a socket on queue `queue_id` of an interface and returns its queues.
    ///
    /// The fill and completion queues are those of the (interface, queue) and not of the socket: they come with the first
    /// socket of this UMEM on that queue, and are `None` for any further one.
    ///
    /// The first socket of a UMEM binds with the configuration's flags; further ones share its mode, whatever their own
    /// bind flags are (`XDP_SHARED_UMEM`: the kernel takes no other flag with it). Unless `INHIBIT_PROG_LOAD` is set, the
    /// built-in XDP program is attached, and the socket put into its map at `queue_id`; of several sockets on one queue the
    /// last one opened receives, and the one before it again once that is closed.
    ///
    /// Blocks while the kernel releases a queue or memory that was closed a moment ago, at most for the configuration's
    /// [`busy_timeout`](SocketConfig::busy_timeout); other openings on the same UMEM wait for that. The interface is looked for in the network namespace of the calling
    /// thread.
    ///
    /// # Errors
    /// Say the step, the interface, the queue, the value, the errno and what to do. Nothing is left behind.
    ///
    /// # Safety
    /// As long as the queues live, the frames of `umem` are handed to the kernel and back through them, by their own
    /// contracts. With `INHIBIT_PROG_LOAD`, the caller puts the socket into no map other than through
    /// [`XskMap`](crate::program::XskMap), or only if it has an RX ring.
    // Queues instead of Self, as a tuple: what programs for xsk-rs expect.
    #[allow(clippy::new_ret_no_self, clippy::type_complexity)]
    pub unsafe fn new(
        config: SocketConfig,
        umem: &Umem,
        if_name: &Interface,
        queue_id: u32,
    ) -> Result<(TxQueue, RxQueue, Option<(FillQueue, CompQueue)>), SocketCreateError> {
        let opened = open(&Request {
            config: &config,
            umem,
            interface: if_name,
            queue: queue_id,
            rx: true,
            tx: true,
            pool_rings: None,
        })?;
        let tx = TxQueue::new(opened.tx()?, &opened.shared);
        let rx = RxQueue::new(opened.rx()?, &opened.shared);
        Ok((tx, rx, opened.fill_and_completion()?))
    }

    /// Opens a socket that only receives. As [`new`](Self::new) in all else.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub unsafe fn rx_only(
        config: SocketConfig,
        umem: &Umem,
        if_name: &Interface,
        queue_id: u32,
    ) -> Result<(RxQueue, Option<(FillQueue, CompQueue)>), SocketCreateError> {
        let opened = open(&Request {
            config: &config,
            umem,
            interface: if_name,
            queue: queue_id,
            rx: true,
            tx: false,
            pool_rings: None,
        })?;
        let rx = RxQueue::new(opened.rx()?, &opened.shared);
        Ok((rx, opened.fill_and_completion()?))
    }

    /// Opens a socket that only transmits. As [`new`](Self::new) in all else, but it is put into no map: the program is
    /// attached all the same (some drivers have no zero-copy TX queues without one) and passes packets to the stack.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Safety
    /// As [`new`](Self::new). In particular the socket has no RX ring: putting it into an XSKMAP crashes kernels before
    /// 7.1 at the next packet.
    pub unsafe fn tx_only(
        config: SocketConfig,
        umem: &Umem,
        if_name: &Interface,
        queue_id: u32,
    ) -> Result<(TxQueue, Option<(FillQueue, CompQueue)>), SocketCreateError> {
        let opened = open(&Request {
            config: &config,
            umem,
            interface: if_name,
            queue: queue_id,
            rx: false,
            tx: true,
            pool_rings: None,
        })?;
        let tx = TxQueue::new(opened.tx()?, &opened.shared);
        Ok((tx, opened.fill_and_completion()?))
    }
}

/// A socket could not be opened. Derefs to the [`Error`] with the details.
#[derive(Debug, ThisError)]
#[error(transparent)]
pub struct SocketCreateError(Box<Error>);

impl From<Error> for SocketCreateError {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl Deref for SocketCreateError {
    type Target = Error;

    fn deref(&self) -> &Error {
        &self.0
    }
}
