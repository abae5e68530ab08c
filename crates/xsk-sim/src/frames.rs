//! Where every frame is, and the law that it is in one place.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;
use xsk_core::order::Order;
use xsk_core::ring::Storage;

use crate::arena::Id;
use crate::fault::{Forged, Ring};
use crate::kernel::Kernel;
use crate::shared::ring::{KernelConsumer, peek_slots};
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
    /// The start of a frame, once for each place where it is: those of one frame are neighbours.
    starts: Vec<u64>,
    /// And the places.
    places: Vec<Place>,
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
            if let Some(twice) = umem.starts.windows(2).find(|pair| pair[0] == pair[1]) {
                let (frame, places) = (twice[0], umem.of(twice[0]).to_vec());
                return Err(FrameError { umem: umem.umem, frame, places });
            }
        }
        Ok(())
    }

    /// How many frames of all UMEMs are in a place.
    pub fn count(&self, place: Place) -> usize {
        self.umems.iter().flat_map(|umem| &umem.places).filter(|at| **at == place).count()
    }

    /// How many frames of all UMEMs are with the user. Of unaligned chunks: as many as would fit.
    pub fn with_user(&self) -> u64 {
        self.umems.iter().map(|umem| umem.chunks.saturating_sub(umem.elsewhere() as u64)).sum()
    }

    /// Where the frame at `address` of UMEM `umem` is; empty if it is with the user.
    pub fn of(&self, umem: u32, address: u64) -> &[Place] {
        let umem = self.umems.iter().find(|frames| frames.umem == umem);
        umem.map_or(&[], |umem| umem.of(address))
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
            for frame in umem.starts.chunk_by(|one, two| one == two) {
                let frame = frame[0];
                let places: Vec<String> = umem.of(frame).iter().map(Place::to_string).collect();
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

/// Frames of a UMEM as they are found.
struct Found<'a> {
    umem: &'a Umem,
    places: Vec<(u64, Place)>,
    strays: Vec<(u64, Place)>,
}

impl Found<'_> {
    fn put(&mut self, address: u64, place: Place) {
        let frame = self.umem.frame_of(address);
        if frame >= self.umem.size {
            self.strays.push((address, place));
        } else {
            self.places.push((frame, place));
        }
    }
}

impl UmemFrames {
    /// `faults`: by the frame that each lost.
    fn new(number: u32, found: Found<'_>, faults: impl Iterator<Item = FrameFault>) -> Self {
        let Found { umem, mut places, strays } = found;
        places.sort_by_key(|(frame, _)| *frame);
        // Where it is seen the user has handed it over again, and the kernel not taken it yet.
        let seen = |frame| places.binary_search_by_key(&frame, |(frame, _)| *frame).is_ok();
        let faults: Vec<_> = faults.filter(|fault| !seen(fault.frame)).collect();
        if !faults.is_empty() {
            places.extend(faults.iter().map(|fault| (fault.frame, Place::Lost)));
            places.sort_by_key(|(frame, _)| *frame);
        }
        let (starts, places) = places.into_iter().unzip();
        let chunks = umem.size / u64::from(umem.chunk_size);
        Self { umem: number, chunks, starts, places, strays, faults }
    }

    fn of(&self, frame: u64) -> &[Place] {
        let first = self.starts.partition_point(|start| *start < frame);
        let count = self.starts[first..].iter().take_while(|start| **start == frame).count();
        &self.places[first..first + count]
    }

    /// How many frames are not with the user.
    fn elsewhere(&self) -> usize {
        self.starts.chunk_by(|one, two| one == two).count()
    }
}

/// The entries between two indices, as far as a ring has slots, with their indices.
fn between<S: Storage>(storage: &S, from: u32, to: u32) -> impl Iterator<Item = (u32, S::Slot)> + use<S> {
    let slots = peek_slots(storage, from, to.wrapping_sub(from)).into_iter().flatten();
    (0..).zip(slots).map(move |(i, entry)| (from.wrapping_add(i), entry))
}

/// What the user put into a ring and the kernel has not taken.
fn waiting<S: Storage>(ring: &KernelConsumer<S>) -> impl Iterator<Item = S::Slot> + use<S> {
    let filled = ring.storage().load_producer(Order::ReadProducer);
    between(ring.storage(), ring.taken(), filled).map(|(_, entry)| entry)
}

impl Kernel {
    pub(crate) fn frames(&self) -> Frames {
        let found = |(id, umem)| (id, Found { umem, places: Vec::new(), strays: Vec::new() });
        let mut umems: BTreeMap<Id<Umem>, Found<'_>> = self.umems.iter().map(found).collect();
        let mut put = |id: Id<Umem>, address: u64, place: Place| {
            if let Some(found) = umems.get_mut(&id) {
                found.put(address, place);
            }
        };
        for (id, pool) in self.pools.iter() {
            pool.free.iter().for_each(|chunk| put(pool.umem, *chunk, Place::Pool));
            if let Some(driver) = &pool.driver {
                let held = driver.buffers().chain(driver.descriptors());
                held.for_each(|address| put(pool.umem, address, Place::Kernel));
            }
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
        let of = |(id, found): (Id<Umem>, _)| {
            let faults = self.faults.frames().filter(|(umem, _)| *umem == id).map(|(_, fault)| fault);
            UmemFrames::new(id.number(), found, faults)
        };
        Frames { umems: umems.into_iter().map(of).collect() }
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
