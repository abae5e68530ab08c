use std::cell::Cell;
use std::fmt;
use std::io;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use xsk_core::abi::{
    SOL_XDP, XDP_OPTIONS, XDP_OPTIONS_ZEROCOPY, XDP_STATISTICS, xdp_options, xdp_statistics,
};
use xsk_core::ring::BrokenIndex;

use crate::backend::{Backend, BackendExt, Handle, Mapping, OwnedHandle, Poll, PollEvents};
use crate::error::{Diagnosis, Error, Step, errno};
use crate::program::{MapSlot, ProgramRef};
use crate::umem::{Membership, Umem};

/// What the queues of one socket share.
///
/// Fields with an underscore are held to be dropped. The order of the fields is the order of the teardown: out of the
/// XSKMAP, away from the UMEM's list, the socket, its ring mappings (they pin the socket), then the XDP program, then the
/// UMEM. A zero-copy socket must be gone before its program.
pub(crate) struct Shared {
    pub(crate) _slot: Option<MapSlot>,
    pub(crate) _membership: Membership,
    pub(crate) socket: OwnedHandle,
    pub(crate) rings: Rings,
    pub(crate) _program: Option<ProgramRef>,
    pub(crate) _umem: Umem,
    pub(crate) interface: String,
    pub(crate) queue: u32,
    /// The kernel has no need-wakeup flag (before 5.4): it always has to be woken up to transmit.
    pub(crate) always_wake: bool,
}

/// The ring mappings of a socket; the queues point into them.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    pub(crate) rx: Option<Mapping>,
    pub(crate) tx: Option<Mapping>,
    pub(crate) fill: Option<Mapping>,
    pub(crate) completion: Option<Mapping>,
}

/// How long one poll sleeps at most before it looks whether the device still exists: the kernel wakes nobody for that
/// (`net/xdp/xsk.c:xsk_poll` has no POLLERR).
const POLL_SLICE: Duration = Duration::from_millis(250);
/// How many polls without a timeout may find nothing before the same look.
const IDLE_POLLS: u32 = 64;

impl Shared {
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        self.socket.backend()
    }

    pub(crate) fn handle(&self) -> Handle {
        self.socket.get()
    }

    /// Begins the debug output of something of this socket. The kernel behind it is left out: it is as long as a page.
    pub(crate) fn debug<'a, 'b>(
        &self,
        f: &'a mut fmt::Formatter<'b>,
        name: &str,
    ) -> fmt::DebugStruct<'a, 'b> {
        let mut debug = f.debug_struct(name);
        debug.field("interface", &self.interface).field("queue", &self.queue);
        debug
    }

    /// An error of this socket.
    pub(crate) fn error(&self, step: Step, diagnosis: Diagnosis) -> Error {
        Error::new(step, diagnosis).on(&self.interface, Some(self.queue))
    }

    fn call_error(&self, step: Step, source: io::Error) -> Error {
        let diagnosis = match source.raw_os_error() {
            Some(errno::ENXIO) => Diagnosis::InterfaceGone,
            Some(errno::ENETDOWN) => Diagnosis::InterfaceDown,
            _ => Diagnosis::Unknown,
        };
        self.error(step, diagnosis).source(source)
    }

    /// An impossible index of one of this socket's rings.
    pub(crate) fn broken(&self, ring: &str, index: BrokenIndex) -> Error {
        self.error(Step::MoveDescriptors, Diagnosis::BrokenRing(index)).value(format!("the {ring} ring"))
    }

    /// Whether one of `events` is ready within the time (`None`: for ever). A signal counts as not ready.
    ///
    /// An interface that is down or gone has no events for ever; that is an error here, found after at most a quarter of
    /// a second. So is a wait for ever on a kernel where nothing will happen any more.
    pub(crate) fn poll(
        &self,
        events: PollEvents,
        timeout: Option<Duration>,
        idle: &IdlePolls,
    ) -> Result<bool, Error> {
        let mut polls = [Poll { socket: self.handle(), events, ready: PollEvents::empty() }];
        poll_any(iter::once(self), &mut polls, timeout, idle)
    }

    /// As [`poll`](Self::poll), with the time as poll(2) takes it.
    pub(crate) fn poll_ms(&self, events: PollEvents, timeout: i32, idle: &IdlePolls) -> Result<bool, Error> {
        self.poll(events, u64::try_from(timeout).ok().map(Duration::from_millis), idle)
    }

    /// An error if the interface is down or gone.
    pub(crate) fn check_alive(&self, step: Step) -> Result<(), Error> {
        match self.backend().ask(self.handle()) {
            Err(e) if matches!(e.raw_os_error(), Some(errno::ENXIO | errno::ENETDOWN)) => {
                Err(self.call_error(step, e))
            }
            _ => Ok(()),
        }
    }

    /// Makes the kernel transmit. What the next wakeup can mend is no error (`net/xdp/xsk.c:__xsk_sendmsg`).
    pub(crate) fn wake_tx(&self) -> Result<TxPass, Error> {
        match self.backend().sendto(self.handle()) {
            Err(error) => match error.raw_os_error() {
                Some(errno::EBUSY) => Ok(TxPass::Dropped),
                Some(errno::EAGAIN) => Ok(TxPass::Part),
                Some(errno::ENOBUFS | errno::ENETDOWN) => Ok(TxPass::Done),
                _ => Err(self.call_error(Step::Wakeup, error)),
            },
            Ok(()) => Ok(TxPass::Done),
        }
    }

    /// Makes the kernel look at the fill ring. What the next wakeup can mend is no error.
    pub(crate) fn wake_rx(&self) -> Result<(), Error> {
        let backend = self.backend();
        let woken = match backend.recvfrom(self.handle()) {
            // Before Linux 5.11 there is only poll.
            Err(error) if error.raw_os_error() == Some(errno::EOPNOTSUPP) => {
                let events = PollEvents::IN;
                let mut polls = [Poll { socket: self.handle(), events, ready: PollEvents::empty() }];
                backend.poll(&mut polls, 0).map(drop)
            }
            answer => answer,
        };
        woken.or_else(|error| match error.raw_os_error() {
            Some(errno::ENOBUFS | errno::EAGAIN | errno::EBUSY | errno::ENETDOWN | errno::EINTR) => Ok(()),
            _ => Err(self.call_error(Step::Wakeup, error)),
        })
    }

    /// The socket's counters. Kernels before 5.9 have only the first three; the others are 0 there.
    pub(crate) fn statistics(&self) -> Result<xdp_statistics, Error> {
        let result = self.backend().get_option::<xdp_statistics>(self.handle(), SOL_XDP, XDP_STATISTICS);
        result.map(|(statistics, _)| statistics).map_err(|e| self.call_error(Step::Statistics, e))
    }

    /// Whether the socket came out in zero-copy mode.
    pub(crate) fn is_zero_copy(&self) -> io::Result<bool> {
        let result = self.backend().get_option::<xdp_options>(self.handle(), SOL_XDP, XDP_OPTIONS);
        let (options, _) = result.map_err(|e| self.call_error(Step::Options, e))?;
        Ok(options.flags & XDP_OPTIONS_ZEROCOPY != 0)
    }
}

/// As [`Shared::poll`], of any of several sockets, all of one kernel.
pub(crate) fn poll_any<'a>(
    sockets: impl Iterator<Item = &'a Shared> + Clone,
    polls: &mut [Poll],
    timeout: Option<Duration>,
    idle: &IdlePolls,
) -> Result<bool, Error> {
    let Some(first) = sockets.clone().next() else { return Ok(false) };
    let backend = first.backend();
    // A moment that no clock comes to is none.
    let deadline = timeout.and_then(|timeout| backend.now().checked_add(timeout));
    loop {
        let left = deadline.map_or(POLL_SLICE, |deadline| deadline.saturating_sub(backend.now()));
        // Rounded up, so that the last slice is not a row of polls without a timeout.
        let slice = left.min(POLL_SLICE).as_nanos().div_ceil(1_000_000) as i32;
        match backend.poll(polls, slice) {
            Ok(0) => {}
            Ok(_) => return Ok(true),
            Err(error) if error.raw_os_error() == Some(errno::EINTR) => return Ok(false),
            Err(error) => return Err(first.call_error(Step::Poll, error)),
        }
        if timeout != Some(Duration::ZERO) || idle.are_many() {
            sockets.clone().try_for_each(|socket| socket.check_alive(Step::Poll))?;
        }
        match deadline {
            Some(deadline) if backend.now() >= deadline => return Ok(false),
            None if !backend.may_wake() => return Err(first.error(Step::Poll, Diagnosis::WaitsForEver)),
            _ => {}
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f, "Shared").finish_non_exhaustive()
    }
}

/// How far the kernel came when it was made to transmit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TxPass {
    /// As far as it will for now.
    Done,
    /// Its budget is spent, or something is full that is emptied by itself.
    Part,
    /// Up to a packet that the driver dropped.
    Dropped,
}

/// Counts a queue's polls that had no timeout and found nothing.
#[derive(Debug, Default)]
pub(crate) struct IdlePolls(Cell<u32>);

impl IdlePolls {
    fn are_many(&self) -> bool {
        self.0.set((self.0.get() + 1) % IDLE_POLLS);
        self.0.get() == 0
    }
}

/// An error that a call without an error type met; the next call that has one reports it.
#[derive(Default)]
pub(crate) struct Deferred(Cell<Option<Box<Error>>>);

impl Deferred {
    pub(crate) fn put(&self, error: Error) {
        self.0.set(Some(Box::new(error)));
    }

    pub(crate) fn report(&self) -> io::Result<()> {
        self.0.take().map_or(Ok(()), |error| Err((*error).into()))
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deferred(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_polls_are_many_now_and_then() {
        let idle = IdlePolls::default();
        for _ in 0..3 {
            let first = (1..).find(|_| idle.are_many());
            assert_eq!(first, Some(IDLE_POLLS));
        }
    }
}
