use std::time::Duration;

use xsk::backend::{Handle, Poll, PollEvents};
use xsk_core::errno::EINVAL;

use crate::arena::Id;
use crate::error::{Failure, Sys, WouldBlockForever, errno};
use crate::fault::{Fault, Moment};
use crate::kernel::{Kernel, Object};
use crate::trace::What;

use super::Socket;

/// `POLLIN | POLLRDNORM`, `POLLOUT | POLLWRNORM`, and what a reader and a writer are woken with.
const READABLE: i16 = 0x41;
const WRITABLE: i16 = 0x104;
const WAKE_READERS: i16 = 0xc3;
const WAKE_WRITERS: i16 = 0x304;
/// `POLLERR | POLLHUP`: always asked for.
const ALWAYS: i16 = 0x18;
const ERR: i16 = 8;
const NVAL: i16 = 0x20;

/// Who is waiting in poll, and whether something woke them.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    watched: Vec<(Id<Socket>, i16)>,
    triggered: bool,
}

impl Kernel {
    #[inline]
    fn wake(&mut self, socket: Id<Socket>, key: i16) {
        if !self.watch.watched.is_empty() {
            self.wake_watching(socket, key);
        }
    }

    fn wake_watching(&mut self, socket: Id<Socket>, key: i16) {
        if !self.watch.watched.iter().any(|(id, events)| *id == socket && events & key != 0) {
            return;
        }
        let lost = matches!(self.ask_of(socket, Moment::Wake), Some(Fault::Lose));
        self.note(Some(socket), None, || What::Wake { lost });
        self.watch.triggered |= !lost;
    }

    pub(crate) fn wake_readers(&mut self, socket: Id<Socket>) {
        self.wake(socket, WAKE_READERS);
    }

    pub(crate) fn wake_writers(&mut self, socket: Id<Socket>) {
        self.wake(socket, WAKE_WRITERS);
    }

    pub(crate) fn wake_error(&mut self, socket: Id<Socket>) {
        self.wake(socket, ALWAYS);
    }

    /// The user makes the kernel look at the TX ring.
    pub(crate) fn kick(&mut self, socket: Id<Socket>) -> Sys<()> {
        let lost = matches!(self.ask_of(socket, Moment::Kick), Some(Fault::Lose));
        self.note(Some(socket), None, || What::Kick { lost });
        if lost { Ok(()) } else { self.transmit(socket) }
    }

    /// poll(2) (`fs/select.c:do_poll`): looks at every socket at entry, after each wakeup, and once more at the end of the
    /// time. In between, virtual time goes from one planned event to the next.
    pub(crate) fn poll(&mut self, polls: &mut [Poll], timeout_ms: i32) -> Sys<usize> {
        const MAX: usize = 1 << 20;
        if polls.len() > MAX {
            return errno(EINVAL);
        }
        let deadline = u64::try_from(timeout_ms)
            .ok()
            .map(|ms| self.clock.now().saturating_add(Duration::from_millis(ms)));
        self.watch = Watch::default();
        let result = self.poll_until(polls, deadline);
        self.watch = Watch::default();
        result
    }

    fn poll_until(&mut self, polls: &mut [Poll], deadline: Option<Duration>) -> Sys<usize> {
        let mut timed_out = deadline.is_some_and(|deadline| deadline <= self.clock.now());
        let mut registered = false;
        loop {
            let mut ready = 0;
            for poll in polls.iter_mut() {
                let events = poll.events.bits() | ALWAYS;
                if !registered && let Ok(socket) = self.socket(poll.socket) {
                    self.watch.watched.push((socket, events));
                }
                let mask = self.poll_mask(poll.socket) & (events | NVAL);
                poll.ready = PollEvents::from_bits_retain(mask);
                ready += usize::from(mask != 0);
                self.check_alive()?;
            }
            registered = true;
            if ready > 0 || timed_out {
                return Ok(ready);
            }
            timed_out = !self.wait(deadline, polls.len())?;
        }
    }

    /// Waits for a wakeup; false if the time is over first.
    fn wait(&mut self, deadline: Option<Duration>, sockets: usize) -> Sys<bool> {
        while !std::mem::take(&mut self.watch.triggered) {
            let stepped = self.step(deadline.unwrap_or(Duration::MAX));
            self.check_alive()?;
            match deadline {
                _ if stepped => {}
                Some(deadline) => {
                    self.clock.advance_to(deadline);
                    return Ok(false);
                }
                None => {
                    let now = self.clock.now();
                    return Err(Failure::WouldBlockForever(WouldBlockForever { sockets, now }));
                }
            }
        }
        Ok(true)
    }

    /// `net/xdp/xsk.c:xsk_poll`. Transmits, whatever is asked for.
    fn poll_mask(&mut self, handle: Handle) -> i16 {
        let id = match self.handles.get(handle) {
            Ok(Object::Socket(id)) => id,
            // kernel/bpf/syscall.c:bpf_map_poll
            Ok(Object::Map(_)) => return ERR,
            // A file without a poll of its own is always ready.
            Ok(Object::Program(_) | Object::Link(_)) => return READABLE | WRITABLE,
            Err(_) => return if handle.0 < 0 { 0 } else { NVAL },
        };
        let socket = &self.sockets[id];
        if !socket.is_bound() {
            return 0;
        }
        let up = socket.device.is_some_and(|device| self.devices[device].up);
        if !up && self.profile.poll_sees_device_down {
            return 0;
        }
        let asked_to = socket.pool.is_some_and(|pool| self.pools[pool].need_wakeup);
        if socket.tx.is_some() && up && (self.profile.poll_always_transmits || asked_to) {
            // Its result is nobody's business here.
            let _ = self.kick(id);
        }
        let socket = &self.sockets[id];
        let readable = socket.rx.as_ref().is_some_and(|rx| rx.ring.has_entries());
        let writable = socket.tx.as_ref().is_some_and(|tx| tx.ring.is_half_empty());
        (if readable { READABLE } else { 0 }) | (if writable { WRITABLE } else { 0 })
    }
}
