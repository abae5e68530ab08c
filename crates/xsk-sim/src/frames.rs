//! Where every frame is, and the law that it is in one place.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;
use xsk_core::order::Order;
use xsk_core::ring::Storage;

use crate::arena::Id;
use crate::fault::{Forged, Ring};
use crate::kernel::Kernel;
use crate::shared::ring::{KernelConsumer, peek_slot};
use crate::skb::Owner;
use crate::socket::Socket;
use crate::umem::Umem;

/// Where a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Place {
    /// Taken from the fill ring and not used: it serves a later packet.
    Pool,
    /// The fill ring.
    Fill,
    /// With the kernel: being received, or sent and not completed.
    Kernel,
    /// The RX ring.
    Rx,
    /// The TX ring.
    Tx,
    /// The completion ring.
    Completion,
    /// Nowhere: a [fault](crate::fault) kept it back, or told the user of another one in its place. It stays lost until the
    /// user hands it over again.
    Lost,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::Fill => "fill",
            Self::Kernel => "kernel",
            Self::Rx => "rx",
            Self::Tx => "tx",
            Self::Completion => "completion",
            Self::Lost => "lost",
        })
    }
}

/// Where the frames of each UMEM are. What is nowhere here is with the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frames {
    umems: Vec<UmemFrames>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct UmemFrames {
    umem: u32,
    chunks: u64,
    /// Start of a frame, and everywhere it is.
    places: BTreeMap<u64, Vec<Place>>,
    /// Entries that name no frame.
    strays: Vec<(u64, Place)>,
    faults: Vec<FrameFault>,
}

/// A frame that a [fault](crate::fault) lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameFault {
    /// The start of the frame.
    pub frame: u64,
    /// The ring that it should have come back on.
    pub ring: Ring,
    /// The address that the ring showed instead; `None` if it showed nothing.
    pub shown: Option<u64>,
}

/// A frame is in more than one place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("frame {frame:#x} of UMEM {umem} is in {} places: {places:?}", places.len())]
pub struct FrameError {
    /// The number of the UMEM, in the order of registration.
    pub umem: u32,
    /// The start of the frame.
    pub frame: u64,
    /// Where it is.
    pub places: Vec<Place>,
}

impl Frames {
    /// The law of the frames: each is in one place at most (and with the user, if in none).
    ///
    /// A UMEM that was fed wrongly, with a frame handed over twice, breaks it; so does Linux.
    ///
    /// # Errors
    /// The first frame that is in several places.
    pub fn check(&self) -> Result<(), FrameError> {
        for umem in &self.umems {
            for (frame, places) in &umem.places {
                if places.len() > 1 {
                    return Err(FrameError { umem: umem.umem, frame: *frame, places: places.clone() });
                }
            }
        }
        Ok(())
    }

    /// How many frames of all UMEMs are in a place.
    pub fn count(&self, place: Place) -> usize {
        self.umems.iter().flat_map(|umem| umem.places.values()).flatten().filter(|at| **at == place).count()
    }

    /// How many frames of all UMEMs are with the user. Of unaligned chunks: as many as would fit.
    pub fn with_user(&self) -> u64 {
        self.umems.iter().map(|umem| umem.chunks.saturating_sub(umem.places.len() as u64)).sum()
    }

    /// Where the frame at `address` of UMEM `umem` is; empty if it is with the user.
    pub fn of(&self, umem: u32, address: u64) -> &[Place] {
        let umem = self.umems.iter().find(|frames| frames.umem == umem);
        umem.and_then(|umem| umem.places.get(&address)).map_or(&[], Vec::as_slice)
    }

    /// The frames of UMEM `umem` that faults lost, and how. An entry that a fault wrote counts for the frame that it should
    /// have named: the law holds under faults, until the user hands on what such an entry told it.
    pub fn faults(&self, umem: u32) -> &[FrameFault] {
        let umem = self.umems.iter().find(|frames| frames.umem == umem);
        umem.map_or(&[], |umem| &umem.faults)
    }

    /// Entries of rings that name no frame, with the rings that they are in.
    pub fn strays(&self) -> impl Iterator<Item = (u64, Place)> {
        self.umems.iter().flat_map(|umem| umem.strays.iter().copied())
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for umem in &self.umems {
            writeln!(f, "umem {}: {} frames", umem.umem, umem.chunks)?;
            for (frame, places) in &umem.places {
                let places: Vec<String> = places.iter().map(Place::to_string).collect();
                writeln!(f, "  {frame:#x} {}", places.join(", "))?;
            }
            for FrameFault { frame, ring, shown } in &umem.faults {
                match shown {
                    Some(shown) => {
                        writeln!(f, "  a fault showed {shown:#x} for {frame:#x} on the {ring} ring")?
                    }
                    None => writeln!(f, "  a fault kept {frame:#x} from the {ring} ring")?,
                }
            }
        }
        Ok(())
    }
}

impl UmemFrames {
    fn put(&mut self, umem: &Umem, address: u64, place: Place) {
        let frame = umem.frame_of(address);
        if frame >= umem.size {
            self.strays.push((address, place));
        } else {
            self.places.entry(frame).or_default().push(place);
        }
    }
}

/// The entries between two indices, as far as a ring has slots, with their indices.
fn between<S: Storage>(storage: &S, from: u32, to: u32) -> impl Iterator<Item = (u32, S::Slot)> + '_ {
    let count = to.wrapping_sub(from).min(storage.capacity());
    let indices = (0..count).map(move |i| from.wrapping_add(i));
    indices.filter_map(|index| Some((index, peek_slot(storage, index)?)))
}

/// What the user put into a ring and the kernel has not taken.
fn waiting<S: Storage>(ring: &KernelConsumer<S>) -> impl Iterator<Item = S::Slot> + '_ {
    let filled = ring.storage().load_producer(Order::ReadProducer);
    between(ring.storage(), ring.taken(), filled).map(|(_, entry)| entry)
}

impl Kernel {
    pub(crate) fn frames(&self) -> Frames {
        let mut umems: BTreeMap<Id<Umem>, UmemFrames> = BTreeMap::new();
        for (id, umem) in self.umems.iter() {
            let chunks = umem.size / u64::from(umem.chunk_size);
            let (places, strays, faults) = (BTreeMap::new(), Vec::new(), Vec::new());
            umems.insert(id, UmemFrames { umem: id.number(), chunks, places, strays, faults });
        }
        let mut put = |id: Id<Umem>, address: u64, place: Place| {
            if let (Some(frames), Some(umem)) = (umems.get_mut(&id), self.umems.get(id)) {
                frames.put(umem, address, place);
            }
        };
        for (id, pool) in self.pools.iter() {
            pool.free.iter().for_each(|chunk| put(pool.umem, *chunk, Place::Pool));
            waiting(&pool.fill.ring).for_each(|entry| put(pool.umem, entry, Place::Fill));
            let ring = &pool.completion.ring;
            let seen = ring.storage().load_consumer(Order::ReadConsumer);
            for (index, entry) in between(ring.storage(), seen, pool.completion.next()) {
                if !self.faults.is_forged(Forged { ring: Ring::Completion, of: id.number(), index }) {
                    put(pool.umem, entry, Place::Completion);
                }
            }
        }
        for (id, socket) in self.sockets.iter() {
            let Some(umem) = socket.umem else { continue };
            if let Some(fill) = &socket.fill {
                waiting(&fill.ring).for_each(|entry| put(umem, entry, Place::Fill));
            }
            if let Some(tx) = &socket.tx {
                waiting(&tx.ring).for_each(|desc| put(umem, desc.addr, Place::Tx));
            }
            if let Some(rx) = &socket.rx {
                let seen = rx.ring.storage().load_consumer(Order::ReadConsumer);
                for (index, desc) in between(rx.ring.storage(), seen, rx.ring.end()) {
                    if !self.faults.is_forged(Forged { ring: Ring::Rx, of: id.number(), index }) {
                        put(umem, desc.addr, Place::Rx);
                    }
                }
            }
        }
        for owner in self.packets_in_flight() {
            if let Some(umem) = self.umem_of(owner.socket) {
                owner.addrs().for_each(|address| put(umem, address, Place::Kernel));
            }
        }
        for (umem, fault) in self.faults.frames() {
            // Where it is seen the user has handed it over again, and the kernel not taken it yet.
            if let Some(frames) = umems.get_mut(&umem)
                && !frames.places.contains_key(&fault.frame)
            {
                frames.places.insert(fault.frame, vec![Place::Lost]);
                frames.faults.push(fault);
            }
        }
        Frames { umems: umems.into_values().collect() }
    }

    fn umem_of(&self, socket: Id<Socket>) -> Option<Id<Umem>> {
        self.sockets.get(socket)?.umem
    }

    /// Packets of sockets that nobody has freed yet.
    fn packets_in_flight(&self) -> impl Iterator<Item = &Owner> {
        let partial = self.sockets.iter().filter_map(|(_, socket)| socket.partial.as_ref());
        let queued = self.devices.iter().flat_map(|(_, device)| device.rings.iter().flatten());
        let softirqs = self.softirqs.iter().chain(&self.faults.stalled);
        let backlog = softirqs.filter_map(|softirq| softirq.skb());
        let held = self.clock.events().filter_map(|event| event.owner());
        let queued = queued.map(Box::as_ref);
        let partial = partial.map(Box::as_ref);
        partial.chain(queued).chain(backlog).filter_map(|skb| skb.owner.as_ref()).chain(held)
    }
}
