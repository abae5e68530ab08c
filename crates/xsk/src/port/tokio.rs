use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::Port;
use super::error::PortError;
use super::wait::Receives;
use crate::error::{Diagnosis, Step};
use crate::packet::Batch;
use crate::queue::Fd;

/// A [`Port`] whose waiting is tokio's: feature `tokio`.
///
/// It needs a runtime with its I/O and time drivers, and a backend whose sockets are file descriptors that can be polled. Those of
/// the simulated kernel become ready only while that runs in the background (`SimKernel::threaded`).
/// Everything else of the port is behind [`get_mut`](Self::get_mut).
///
/// Both methods may be cancelled: a future that is dropped has moved no packets that are not in the batch, or on their way. Where
/// there are always packets, they let other tasks run now and then ([`tokio::task::coop`]).
pub struct AsyncPort {
    // First, so that tokio lets go of the descriptor before the port closes it.
    source: AsyncFd<Source>,
    port: Port,
}

/// The port's socket, which this keeps open as well, and its descriptor.
struct Source {
    _socket: Fd,
    descriptor: RawFd,
}

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor
    }
}

/// How long it sleeps before it looks whether the interface still exists, of which the kernel tells nobody.
const SLICE: Duration = Duration::from_millis(250);
/// How long it looks for room again and again, with other tasks in between, before it sleeps. Nobody is woken when packets are
/// completed, and those of a device that is not slow are soon.
const LOOKS: Duration = Duration::from_micros(100);
/// How long it sleeps then: twice as long each time, from the shortest time that tokio knows.
const NAPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

/// There is no room to send.
struct Lack {
    since: Duration,
    /// How long it sleeps next.
    nap: Duration,
    /// Since it looked for the interface.
    slept: Duration,
}

impl AsyncPort {
    /// Registers a port with the runtime of the calling task.
    ///
    /// # Errors
    /// The backend has no file descriptor for it, or tokio does not take it. The port is closed.
    ///
    /// # Panics
    /// Outside of a runtime with an I/O driver, as all of tokio's I/O does.
    pub fn new(port: Port) -> Result<Self, PortError> {
        let socket = port.fd();
        let Some(descriptor) = socket.os() else {
            return Err(failed(&port, io::ErrorKind::Unsupported.into()));
        };
        // SAFETY: the descriptor is the same at each call, and open as long as the source lives: it keeps the socket
        // open, and backends close a socket's descriptor with the socket (`Backend::fd`).
        match unsafe { AsyncFd::register(Source { _socket: socket, descriptor }) } {
            Ok(source) => Ok(Self { source, port }),
            Err(error) => Err(failed(&port, error.into())),
        }
    }

    /// Waits until packets are there, and receives them as [`Port::recv`] does. At least one, unless the batch has no room.
    ///
    /// # Errors
    /// As [`Port::recv`] and [`Port::wait`].
    pub async fn recv(&mut self, batch: &mut Batch) -> Result<usize, PortError> {
        consume_budget().await;
        loop {
            let count = self.port.recv(batch)?;
            if count > 0 || batch.room() == 0 {
                return Ok(count);
            }
            // What the kernel did not take of what was sent before, it may take now.
            self.port.receiving()?;
            match timeout(SLICE, self.source.readable()).await {
                Ok(Ok(mut ready)) => {
                    // What comes after this look makes it ready again.
                    let count = self.port.recv(batch)?;
                    if count > 0 {
                        return Ok(count);
                    }
                    ready.clear_ready();
                }
                Ok(Err(error)) => return Err(failed(&self.port, error)),
                Err(_) => self.port.link.shared.check_alive(Step::Poll)?,
            }
        }
    }

    /// Sends the whole batch, and waits for room where there is none. If it is cancelled, what was not sent is in the batch.
    ///
    /// # Errors
    /// As [`Port::send`]: the batch then begins with what was not sent.
    pub async fn send(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        consume_budget().await;
        let mut lack = None;
        loop {
            let count = self.port.send(batch)?;
            if batch.is_empty() {
                return Ok(());
            }
            if count > 0 {
                lack = None;
                tokio::task::yield_now().await;
            } else {
                self.room(&mut lack).await?;
            }
        }
    }

    /// Waits until there may be room, for a moment.
    async fn room(&mut self, lack: &mut Option<Lack>) -> Result<(), PortError> {
        let now = self.port.link.shared.backend().now();
        let lack = lack.get_or_insert(Lack { since: now, nap: NAPS[0], slept: Duration::ZERO });
        if now.saturating_sub(lack.since) < LOOKS {
            tokio::task::yield_now().await;
            return Ok(());
        }
        match timeout(lack.nap, self.source.writable()).await {
            // It is ready with half of the ring free, which is not enough where completions are late.
            Ok(Ok(mut ready)) => ready.clear_ready(),
            Ok(Err(error)) => return Err(failed(&self.port, error)),
            Err(_) => {
                lack.slept += lack.nap;
                lack.nap = (2 * lack.nap).min(NAPS[1]);
            }
        }
        if lack.slept >= SLICE {
            lack.slept = Duration::ZERO;
            self.port.link.shared.check_alive(Step::Poll)?;
        }
        Ok(())
    }

    /// The port.
    pub fn get_ref(&self) -> &Port {
        &self.port
    }

    /// The port, for what does not wait.
    pub fn get_mut(&mut self) -> &mut Port {
        &mut self.port
    }

    /// The port, no longer registered.
    pub fn into_inner(self) -> Port {
        let Self { source, port } = self;
        drop(source);
        port
    }
}

impl fmt::Debug for AsyncPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncPort").field(&self.port).finish()
    }
}

fn failed(port: &Port, error: io::Error) -> PortError {
    port.link.shared.error(Step::Poll, Diagnosis::Unknown).source(error).into()
}
