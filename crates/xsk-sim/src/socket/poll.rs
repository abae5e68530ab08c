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

/// Who waits in a poll, and whether something woke it.
#[derive(Debug)]
struct Watch {
    number: u64,
    watched: Vec<(Id<Socket>, i16)>,
    woken: bool,
}

/// The polls that are waiting: one at most, unless the kernel is in the background.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    made: u64,
    waiting: Vec<Watch>,
}

impl Watches {
    fn of(&mut self, poller: &Poller) -> Option<&mut Watch> {
        self.waiting.iter_mut().find(|watch| watch.number == poller.number)
    }
}

/// A poll that has begun.
#[derive(Debug)]
pub(crate) struct Poller {
    number: u64,
    sockets: usize,
    deadline: Option<Duration>,
    registered: bool,
    timed_out: bool,
}

impl Poller {
    /// The moment at which it gives up, if it ever does.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

/// What a poll saw.
#[derive(Debug)]
pub(crate) enum Looked {
    /// It is over: so many sockets are ready.
    Done(usize),
    /// It waits for a wakeup.
    Nothing,
}

impl Kernel {
    #[inline]
    fn wake(&mut self, socket: Id<Socket>, key: i16) {
        if !self.watches.waiting.is_empty() || self.running.is_some() {
            self.wake_watching(socket, key);
        }
    }

    fn wake_watching(&mut self, socket: Id<Socket>, key: i16) {
        let watches =
            |watch: &Watch| watch.watched.iter().any(|(id, events)| *id == socket && events & key != 0);
        let on_descriptor =
            self.running.is_some() && self.sockets.get(socket).is_some_and(|it| it.descriptor.is_some());
        if !on_descriptor && !self.watches.waiting.iter().any(watches) {
            return;
        }
        let lost = matches!(self.ask_of(socket, Moment::Wake), Some(Fault::Lose));
        self.note(Some(socket), None, || What::Wake { lost });
        if lost {
            return;
        }
        self.watches.waiting.iter_mut().filter(|watch| watches(watch)).for_each(|watch| watch.woken = true);
        if self.running.is_some() {
            self.bells.polls.notify_all();
            self.show_on_descriptor(socket, key == WAKE_READERS, key == WAKE_WRITERS);
        }
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

    /// The user makes the kernel look at the TX ring; in zero copy, the driver at both.
    pub(crate) fn kick(&mut self, socket: Id<Socket>) -> Sys<()> {
        let lost = matches!(self.ask_of(socket, Moment::Kick), Some(Fault::Lose));
        self.note(Some(socket), None, || What::Kick { lost });
        match lost {
            true => Ok(()),
            false if self.sockets[socket].zero_copy => self.wake_driver(socket),
            false => self.transmit(socket),
        }
    }

    /// Begins a poll(2) (`fs/select.c:do_poll`): it looks at every socket at entry, after each wakeup, and once more at the
    /// end of the time. In between, virtual time goes from one planned event to the next, and real time passes.
    pub(crate) fn begin_poll(&mut self, polls: &[Poll], timeout_ms: i32) -> Sys<Poller> {
        const MAX: usize = 1 << 20;
        if polls.len() > MAX {
            return errno(EINVAL);
        }
        let now = self.clock.now();
        let deadline = u64::try_from(timeout_ms).ok().map(|ms| now.saturating_add(Duration::from_millis(ms)));
        self.watches.made += 1;
        let number = self.watches.made;
        self.watches.waiting.push(Watch { number, watched: Vec::new(), woken: false });
        let timed_out = deadline.is_some_and(|deadline| deadline <= now);
        Ok(Poller { number, sockets: polls.len(), deadline, registered: false, timed_out })
    }

    pub(crate) fn end_poll(&mut self, poller: Poller) {
        self.watches.waiting.retain(|watch| watch.number != poller.number);
    }

    /// Looks at every socket. What wakes the poll from then on is not missed.
    pub(crate) fn look_at(&mut self, poller: &mut Poller, polls: &mut [Poll]) -> Sys<Looked> {
        let mut ready = 0;
        for poll in polls.iter_mut() {
            let events = poll.events.bits() | ALWAYS;
            if !poller.registered
                && let Ok(socket) = self.socket(poll.socket)
                && let Some(watch) = self.watches.of(poller)
            {
                watch.watched.push((socket, events));
            }
            let mask = self.poll_mask(poll.socket) & (events | NVAL);
            poll.ready = PollEvents::from_bits_retain(mask);
            ready += usize::from(mask != 0);
            self.check_alive()?;
        }
        poller.registered = true;
        Ok(if ready > 0 || poller.timed_out { Looked::Done(ready) } else { Looked::Nothing })
    }

    /// Whether something woke the poll since the last time it was awake.
    pub(crate) fn is_woken(&mut self, poller: &Poller) -> bool {
        self.watches.of(poller).is_none_or(|watch| watch.woken)
    }

    /// Waits for a wakeup or the end of the time, in virtual time if neither has come.
    pub(crate) fn await_wakeup(&mut self, poller: &mut Poller) -> Sys<()> {
        while !self.is_woken(poller) {
            let stepped = self.running.is_none() && self.step(poller.deadline.unwrap_or(Duration::MAX));
            self.check_alive()?;
            match poller.deadline {
                _ if stepped => {}
                Some(deadline) => {
                    self.clock.advance_to(deadline);
                    poller.timed_out = true;
                    break;
                }
                None => {
                    let (sockets, now) = (poller.sockets, self.clock.now());
                    return Err(Failure::WouldBlockForever(WouldBlockForever { sockets, now }));
                }
            }
        }
        if let Some(watch) = self.watches.of(poller) {
            watch.woken = false;
        }
        Ok(())
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
        let up = socket.device.is_some_and(|device| self.devices[device].up);
        if !self.is_pollable(socket) {
            return 0;
        }
        let asked_to = socket.pool.is_some_and(|pool| self.pools[pool].need_wakeup);
        let kicks = if socket.zero_copy {
            let needs = self.wanted_wakeups(socket);
            needs.rx || needs.tx
        } else {
            socket.tx.is_some() && (self.profile.poll_always_transmits || asked_to)
        };
        if up && kicks {
            // Its result is nobody's business here.
            let _ = self.kick(id);
        }
        let (readable, writable) = self.readiness(&self.sockets[id]);
        (if readable { READABLE } else { 0 }) | (if writable { WRITABLE } else { 0 })
    }

    /// Whether poll says anything of a socket: it is bound, and its device is up where that matters.
    fn is_pollable(&self, socket: &Socket) -> bool {
        let up = socket.device.is_some_and(|device| self.devices[device].up);
        socket.is_bound() && (up || !self.profile.poll_sees_device_down)
    }

    /// Whether a socket can be read, and written.
    pub(super) fn readiness(&self, socket: &Socket) -> (bool, bool) {
        let pollable = self.is_pollable(socket);
        let readable = socket.rx.as_ref().is_some_and(|rx| rx.ring.has_entries());
        let writable = socket.tx.as_ref().is_some_and(|tx| tx.ring.is_half_empty());
        (pollable && readable, pollable && writable)
    }
}
