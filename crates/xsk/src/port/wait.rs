//! Waiting for packets, on one port or on several.

use std::borrow::BorrowMut;
use std::sync::Arc;
use std::time::Duration;

use super::error::PortError;
use super::receive::RxSide;
use super::{Link, Port, PortRx};
use crate::backend::{Backend, Poll, PollEvents};
use crate::error::{Diagnosis, Step};
use crate::pool::Cache;
use crate::queue::{Shared, poll_any};

/// Sockets in one poll for which no memory is allocated.
const FEW: usize = 16;

/// After how long it is looked whether there is room to send, and how long that is at most, if nothing moves meanwhile.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(256);

/// What receives.
pub(super) trait Receives {
    /// Its receiving side, once the sending side has been seen to.
    fn receiving(&mut self) -> Result<(&mut RxSide, &mut Cache), PortError>;

    /// Descriptors on the TX ring that the kernel has not taken.
    fn unsent(&self) -> u32;

    fn link(&self) -> &Link;
}

impl Receives for Port {
    fn receiving(&mut self) -> Result<(&mut RxSide, &mut Cache), PortError> {
        self.tx.reap(&mut self.cache);
        self.tx.kick();
        self.tx.trouble.or(0, &self.link.shared)?;
        Ok((&mut self.rx, &mut self.cache))
    }

    fn unsent(&self) -> u32 {
        // An impossible index is an error of the call that sends.
        self.tx.ring.outstanding().unwrap_or(0)
    }

    fn link(&self) -> &Link {
        &self.link
    }
}

impl Receives for PortRx {
    fn receiving(&mut self) -> Result<(&mut RxSide, &mut Cache), PortError> {
        Ok((&mut self.rx, &mut self.cache))
    }

    fn unsent(&self) -> u32 {
        0
    }

    fn link(&self) -> &Link {
        &self.link
    }
}

/// Whether a packet is there on any of these ports, within the time.
pub(super) fn wait<R: Receives>(
    ports: &mut [impl BorrowMut<R>],
    timeout: Option<Duration>,
) -> Result<bool, PortError> {
    let mut is_there = false;
    // How long to poll before sleeping, if there is a driver that works in these calls.
    let mut busily = None;
    check_kernel::<R>(ports)?;
    for port in &mut *ports {
        let (rx, cache) = port.borrow_mut().receiving()?;
        rx.top_up(cache);
        rx.trouble.or(0, &rx.shared)?;
        is_there |= rx.has_packets()?;
        busily = busily.max(rx.polls_for);
    }
    if is_there {
        return Ok(true);
    }
    let Some(first) = ports.first() else { return Ok(false) };
    let backend = &Arc::clone(first.borrow().link().shared.backend());
    let mut timeout = timeout;
    if let Some(time) = busily {
        let start = backend.now();
        let until = start + timeout.map_or(time, |timeout| timeout.min(time));
        loop {
            for port in &mut *ports {
                let (rx, _) = port.borrow_mut().receiving()?;
                if rx.look_busily()? {
                    return Ok(true);
                }
            }
            if backend.now() >= until {
                break;
            }
        }
        timeout = timeout.map(|timeout| timeout.saturating_sub(backend.now().saturating_sub(start)));
    }
    sleep_and_send::<R>(ports, backend, timeout)
}

/// As [`sleep`]. What the kernel has not taken to send, as the completion ring is full, say, goes on meanwhile: nobody is woken up
/// for that, so it is looked at now and then, as long as something moves.
fn sleep_and_send<R: Receives>(
    ports: &mut [impl BorrowMut<R>],
    backend: &Arc<dyn Backend>,
    timeout: Option<Duration>,
) -> Result<bool, PortError> {
    let mut left = unsent::<R>(ports);
    if left == 0 {
        return sleep::<R>(ports, timeout);
    }
    let deadline = timeout.and_then(|timeout| backend.now().checked_add(timeout));
    let mut pause = FIRST_LOOK;
    loop {
        let now = backend.now();
        let rest = deadline.map(|deadline| deadline.saturating_sub(now));
        if left == 0 || pause > LAST_LOOK || rest.is_some_and(|rest| rest <= pause) {
            return sleep::<R>(ports, rest);
        }
        if sleep::<R>(ports, Some(pause))? {
            return Ok(true);
        }
        // A signal.
        if backend.now().saturating_sub(now) < pause {
            return Ok(false);
        }
        for port in &mut *ports {
            port.borrow_mut().receiving()?;
        }
        let before = std::mem::replace(&mut left, unsent::<R>(ports));
        pause = if left < before { FIRST_LOOK } else { pause * 2 };
    }
}

fn unsent<R: Receives>(ports: &[impl BorrowMut<R>]) -> u32 {
    ports.iter().map(|port| port.borrow().unsent()).sum()
}

/// An error if they are of different kernels: nobody could poll them all.
fn check_kernel<R: Receives>(ports: &[impl BorrowMut<R>]) -> Result<(), PortError> {
    let Some((first, others)) = ports.split_first() else { return Ok(()) };
    let first = first.borrow().link().shared.backend();
    for other in others {
        let shared = &other.borrow().link().shared;
        let other = shared.backend();
        // The thread's network namespace is one of its kernel.
        let is_same = || matches!((first.namespace(), other.namespace()), (Ok(one), Ok(two)) if one == two);
        if !Arc::ptr_eq(first, other) && !is_same() {
            return Err(shared.error(Step::Poll, Diagnosis::ForeignKernel).into());
        }
    }
    Ok(())
}

fn sleep<R: Receives>(ports: &[impl BorrowMut<R>], timeout: Option<Duration>) -> Result<bool, PortError> {
    let sockets = ports.iter().map(|port| &*port.borrow().link().shared);
    let poll_of = |socket: &Shared| Poll {
        socket: socket.handle(),
        events: PollEvents::IN,
        ready: PollEvents::empty(),
    };
    let Some(first) = ports.first().map(|port| port.borrow().link()) else { return Ok(false) };
    let (mut few, mut many) = ([poll_of(&first.shared); FEW], Vec::new());
    let polls = match few.get_mut(..ports.len()) {
        Some(few) => {
            few.iter_mut().zip(sockets.clone()).for_each(|(poll, socket)| *poll = poll_of(socket));
            few
        }
        None => {
            many.extend(sockets.clone().map(poll_of));
            &mut many[..]
        }
    };
    Ok(poll_any(sockets, polls, whole_milliseconds(timeout), &first.idle)?)
}

/// Rounded up; what does not fit is for ever.
pub(super) fn whole_milliseconds(timeout: Option<Duration>) -> Option<Duration> {
    u64::try_from(timeout?.as_nanos().div_ceil(1_000_000)).ok().map(Duration::from_millis)
}
