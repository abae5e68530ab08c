use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use xsk::backend::Handle;
use xsk_core::abi::xdp_desc;

use super::{Call, Chance, DeviceFault, Fault, Moment, Point, Ring, Rule};
use crate::arena::Id;
use crate::device::{Device, Softirq};
use crate::frames::FrameFault;
use crate::kernel::{Event, Kernel, Object};
use crate::pool::Pool;
use crate::skb::Owner;
use crate::socket::Socket;
use crate::trace::What;
use crate::umem::Umem;

struct Installed {
    number: u64,
    rule: Box<dyn Rule>,
    hits: Arc<AtomicU64>,
}

/// The rules of a kernel, and what they did that is still to be seen.
#[derive(Default)]
pub(crate) struct Faults {
    rules: Vec<Installed>,
    made: u64,
    /// What waits for a rule to be withdrawn.
    pub(crate) stalled: Vec<Softirq>,
    /// Frames of which the user was not told, or told wrongly, by their start.
    lost: BTreeMap<(Id<Umem>, u64), FrameFault>,
    /// Entries of rings that do not say where their frame is.
    forged: Vec<Forged>,
    /// Completions went astray: those of old kernels are no longer as they were written at reservation.
    pub(crate) completes_by_address: bool,
}

/// An entry of a ring that was written wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forged {
    pub(crate) ring: Ring,
    /// The number of the socket (RX) or the pool (completion).
    pub(crate) of: u32,
    pub(crate) index: u32,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// Where something is about to happen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spot {
    pub(crate) socket: Option<Id<Socket>>,
    pub(crate) device: Option<Id<Device>>,
    pub(crate) queue: Option<u32>,
}

impl Spot {
    pub(crate) fn device(device: Id<Device>, queue: u32) -> Self {
        Self { socket: None, device: Some(device), queue: Some(queue) }
    }
}

impl Faults {
    pub(crate) fn install(&mut self, rule: Box<dyn Rule>, hits: Arc<AtomicU64>) -> u64 {
        self.made += 1;
        self.rules.push(Installed { number: self.made, rule, hits });
        self.made
    }

    pub(crate) fn are_off(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn is_forged(&self, entry: Forged) -> bool {
        !self.forged.is_empty() && self.forged.contains(&entry)
    }

    /// Whether frames are missing, or in other places than entries say.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (Id<Umem>, FrameFault)> + '_ {
        self.lost.iter().map(|((umem, _), fault)| (*umem, *fault))
    }

    pub(crate) fn lose(&mut self, umem: Id<Umem>, fault: FrameFault) {
        self.lost.insert((umem, fault.frame), fault);
    }

    /// Whether there are frames to [find](Self::found).
    pub(crate) fn miss_frames(&self) -> bool {
        !self.lost.is_empty()
    }

    /// The kernel gets the frame: the user has it still, or again.
    pub(crate) fn found(&mut self, umem: Id<Umem>, frame: u64) {
        if !self.lost.is_empty() {
            self.lost.remove(&(umem, frame));
        }
    }
}

impl Kernel {
    /// Asks the rules whether what is about to happen goes well.
    #[inline]
    pub(crate) fn ask(&mut self, spot: Spot, moment: Moment) -> Option<Fault> {
        if self.faults.are_off() { None } else { self.ask_rules(spot, moment) }
    }

    /// As [`ask`](Self::ask), of a socket.
    #[inline]
    pub(crate) fn ask_of(&mut self, socket: Id<Socket>, moment: Moment) -> Option<Fault> {
        if self.faults.are_off() {
            return None;
        }
        let spot = self.sockets.get(socket).map_or(Spot::default(), |it| Spot {
            socket: Some(socket),
            device: it.device,
            queue: it.device.map(|_| it.queue),
        });
        self.ask_rules(spot, moment)
    }

    fn ask_rules(&mut self, spot: Spot, moment: Moment) -> Option<Fault> {
        let point = Point {
            moment,
            socket: spot.socket.and_then(|socket| self.handle_of(socket)),
            device: spot.device.map(|device| self.devices[device].index),
            queue: spot.queue,
            now: self.clock.now(),
        };
        let mut chance = Chance { rng: &mut self.rng };
        let (fault, hits) = self
            .faults
            .rules
            .iter_mut()
            .find_map(|installed| Some((installed.rule.ask(&point, &mut chance)?, &installed.hits)))?;
        hits.fetch_add(1, Ordering::Relaxed);
        self.note(spot.socket, spot.device, || What::Fault { moment, fault });
        match fault {
            Fault::Device { index, fault } => {
                // In the middle of a packet Linux waits for its end as well (net/core/dev.c:synchronize_net).
                let between =
                    matches!(moment, Moment::Call(_) | Moment::Kick | Moment::Packet { .. } | Moment::Napi);
                match self.device_by_index(index) {
                    Some(device) if between => self.device_fault(device, fault),
                    Some(device) => self.clock.plan(Duration::ZERO, Event::Device(device, fault)),
                    None => {}
                }
                None
            }
            fault => Some(fault),
        }
    }

    /// The error number that a rule makes a call fail with.
    pub(crate) fn call_fault(&mut self, call: Call, socket: Option<Handle>) -> Option<i32> {
        if self.faults.are_off() {
            return None;
        }
        let socket = socket.and_then(|handle| self.socket(handle).ok());
        let moment = Moment::Call(call);
        let fault = match socket {
            Some(socket) => self.ask_of(socket, moment),
            None => self.ask(Spot::default(), moment),
        };
        match fault {
            Some(Fault::Errno(number)) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn handle_of(&self, socket: Id<Socket>) -> Option<Handle> {
        let mut handles = self.handles.iter();
        handles.find(|(_, object)| *object == Object::Socket(socket)).map(|(handle, _)| handle)
    }

    pub(crate) fn device_fault(&mut self, device: Id<Device>, fault: DeviceFault) {
        match fault {
            DeviceFault::Remove => self.remove_device(device),
            DeviceFault::Down => self.set_up(device, false),
            DeviceFault::Flap(time) => {
                self.set_up(device, false);
                self.clock.plan(time, Event::Up(device));
            }
        }
    }

    /// Takes a rule out, puts the indices right, and lets go on what was stalled.
    pub(crate) fn withdraw(&mut self, number: u64) -> Option<Box<dyn Rule>> {
        let at = self.faults.rules.iter().position(|installed| installed.number == number)?;
        let rule = self.faults.rules.remove(at).rule;
        for (_, pool) in self.pools.iter_mut() {
            pool.completion.put_right();
            if std::mem::take(&mut pool.fill.forged) {
                pool.fill.ring.publish();
            }
        }
        for (_, socket) in self.sockets.iter_mut() {
            if let Some(rx) = &mut socket.rx
                && std::mem::take(&mut rx.forged)
            {
                rx.ring.publish();
            }
            if let Some(tx) = &mut socket.tx
                && std::mem::take(&mut tx.forged)
            {
                tx.ring.publish();
            }
        }
        for softirq in std::mem::take(&mut self.faults.stalled) {
            self.clock.plan(Duration::ZERO, Event::Late(Box::new(softirq)));
        }
        Some(rule)
    }

    /// The user is shown an index of its RX, TX or fill ring; perhaps another than the true one.
    pub(crate) fn forge_index(&mut self, id: Id<Socket>, ring: Ring) {
        if self.faults.are_off() {
            return;
        }
        let Some(socket) = self.sockets.get(id) else { return };
        let pool = socket.pool;
        let index = match ring {
            Ring::Rx => socket.rx.as_ref().map(|rx| rx.ring.end()),
            Ring::Tx => socket.tx.as_ref().map(|tx| tx.ring.taken()),
            Ring::Fill => pool.map(|pool| self.pools[pool].fill.ring.taken()),
            Ring::Completion => None,
        };
        let Some(index) = index else { return };
        let Some(Fault::Index(shown)) = self.ask_of(id, Moment::Publish { ring, index }) else { return };
        let socket = &mut self.sockets[id];
        match ring {
            Ring::Rx => {
                if let Some(rx) = &mut socket.rx {
                    rx.ring.show(shown);
                    rx.forged = true;
                }
            }
            Ring::Tx => {
                if let Some(tx) = &mut socket.tx {
                    tx.ring.show(shown);
                    tx.forged = true;
                }
            }
            Ring::Fill => {
                if let Some(pool) = pool {
                    self.pools[pool].fill.ring.show(shown);
                    self.pools[pool].fill.forged = true;
                }
            }
            Ring::Completion => {}
        }
    }

    /// The rules on a packet that goes back to its socket. Nothing is left to do if it is `None`.
    pub(crate) fn completion_faults(&mut self, owner: Owner) -> Option<Owner> {
        if self.faults.are_off() {
            return Some(owner);
        }
        let moment = Moment::Completion { address: owner.first, descriptors: owner.descriptors() };
        let umem = self.pools[owner.pool].umem;
        match self.ask_of(owner.socket, moment) {
            Some(Fault::Lose) => {
                self.faults.completes_by_address = true;
                for address in owner.addrs() {
                    let frame = self.umems[umem].frame_of(address);
                    self.faults.lose(umem, FrameFault { frame, ring: Ring::Completion, shown: None });
                }
                let completion = &mut self.pools[owner.pool].completion;
                completion.ring.cancel(owner.descriptors());
                self.disown(&owner);
                None
            }
            Some(Fault::Delay(time)) => {
                self.clock.plan(time, Event::Complete(Box::new(owner)));
                None
            }
            Some(Fault::Address(shown)) => {
                self.faults.completes_by_address = true;
                let frame = self.umems[umem].frame_of(owner.first);
                let index = self.pools[owner.pool].completion.next();
                let entry = Forged { ring: Ring::Completion, of: owner.pool.number(), index };
                self.forge(umem, entry, frame, shown);
                Some(Owner { first: shown, ..owner })
            }
            _ => Some(owner),
        }
    }

    /// After completions were published.
    #[inline]
    pub(crate) fn forge_completion_index(&mut self, socket: Id<Socket>, pool: Id<Pool>) {
        if !self.faults.are_off() {
            self.forge_completion(socket, pool);
        }
    }

    fn forge_completion(&mut self, socket: Id<Socket>, pool: Id<Pool>) {
        let Some(at) = self.pools.get(pool).map(|pool| pool.completion.next()) else { return };
        let moment = Moment::Publish { ring: Ring::Completion, index: at };
        if let Some(Fault::Index(shown)) = self.ask_of(socket, moment)
            && let Some(pool) = self.pools.get_mut(pool)
        {
            pool.completion.show(shown);
        }
    }

    /// The rules on descriptors that go into the RX ring, and whose frames are `chunks`: what is shown instead. `None` drops
    /// the packet.
    pub(crate) fn receive_faults(
        &mut self,
        id: Id<Socket>,
        umem: Id<Umem>,
        descs: &mut [xdp_desc],
    ) -> Option<bool> {
        let mut forged = false;
        for (i, desc) in descs.iter_mut().enumerate() {
            match self.ask_of(id, Moment::Receive(*desc)) {
                Some(Fault::Lose) => return None,
                Some(Fault::Describe(shown)) => {
                    forged = true;
                    let frame = self.umems[umem].frame_of(desc.addr);
                    let rx = self.sockets[id].rx.as_ref();
                    let index = rx.map_or(0, |rx| rx.ring.end()).wrapping_add(i as u32);
                    self.forge(umem, Forged { ring: Ring::Rx, of: id.number(), index }, frame, shown.addr);
                    *desc = shown;
                }
                _ => {}
            }
        }
        Some(forged)
    }

    fn forge(&mut self, umem: Id<Umem>, entry: Forged, frame: u64, shown: u64) {
        if self.umems[umem].frame_of(shown) == frame {
            return;
        }
        // Places of the ring that are used again hold other entries.
        let entries = 1_u32 << 22;
        self.faults.forged.retain(|old| {
            (old.ring, old.of) != (entry.ring, entry.of) || entry.index.wrapping_sub(old.index) < entries
        });
        self.faults.forged.push(entry);
        self.faults.lose(umem, FrameFault { frame, ring: entry.ring, shown: Some(shown) });
    }
}
