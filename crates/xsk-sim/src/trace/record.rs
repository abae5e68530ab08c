use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use xsk::backend::Handle;
use xsk_core::abi::xdp_desc;
use xsk_core::order::Order;
use xsk_core::ring::Storage;

use super::{DropCause, Movement, Trace, TraceEvent, TracePlace, What};
use crate::arena::Id;
use crate::device::Device;
use crate::error::{Failure, Sys};
use crate::fault::{Call, Ring};
use crate::kernel::Kernel;
use crate::shared::ring::peek_slot;
use crate::socket::Socket;

/// The last events, and what was seen of the rings.
#[derive(Debug)]
pub(crate) struct Recorder {
    events: VecDeque<TraceEvent>,
    room: usize,
    addresses: u32,
    forgotten: u64,
    /// Producer and consumer index, by ring and the number of its socket (RX, TX) or pool (fill, completion).
    seen: BTreeMap<(Ring, u32), (u32, u32)>,
}

/// How many addresses of a movement are kept, unless frames are watched: then all are.
const ADDRESSES: u32 = 16;

impl Recorder {
    fn push(&mut self, event: TraceEvent) {
        if self.events.len() == self.room {
            self.events.pop_front();
            self.forgotten += 1;
        }
        self.events.push_back(event);
    }

    /// Keeps all addresses of each movement.
    pub(crate) fn keep_all_addresses(&mut self) {
        self.addresses = u32::MAX;
    }

    pub(crate) fn copy(&self) -> Trace {
        Trace { events: self.events.iter().cloned().collect(), forgotten: self.forgotten }
    }

    /// What moved in a ring since it was looked at last. `beside`: users move meanwhile, and may write again the slots of a
    /// fill or TX ring that they got back.
    fn look<S: Storage>(
        &mut self,
        key: (Ring, u32),
        storage: &S,
        beside: bool,
        address: impl Fn(S::Slot) -> u64,
    ) -> [Option<What>; 2] {
        let ring = key.0;
        let producer = storage.load_producer(Order::ReadProducer);
        let consumer = storage.load_consumer(Order::ReadConsumer);
        let (old_producer, old_consumer) = self.seen.insert(key, (producer, consumer)).unwrap_or((0, 0));
        let waiting = producer.wrapping_sub(consumer);
        let produced = (producer != old_producer).then(|| {
            // An impossible index claims more than the ring has.
            let count = producer.wrapping_sub(old_producer);
            let count = if count > storage.capacity() { 0 } else { count.min(self.addresses) };
            let back = if beside && matches!(ring, Ring::Fill | Ring::Tx) {
                consumer.wrapping_sub(old_producer).min(count)
            } else {
                0
            };
            let slots = (back..count).filter_map(|i| peek_slot(storage, old_producer.wrapping_add(i)));
            let addresses = slots.map(&address).collect();
            What::Produced(Movement { ring, from: old_producer, to: producer, waiting, addresses })
        });
        let consumed = (consumer != old_consumer).then(|| {
            let (from, to, addresses) = (old_consumer, consumer, Vec::new());
            What::Consumed(Movement { ring, from, to, waiting, addresses })
        });
        [produced, consumed]
    }
}

impl Kernel {
    pub(super) fn start_recording(&mut self, room: usize) {
        let (events, seen) = (VecDeque::new(), BTreeMap::new());
        self.recorder = Some(Box::new(Recorder { events, room, addresses: ADDRESSES, forgotten: 0, seen }));
    }

    /// Records something, if anybody wants it.
    #[inline]
    pub(crate) fn note(
        &mut self,
        socket: Option<Id<Socket>>,
        device: Option<Id<Device>>,
        what: impl FnOnce() -> What,
    ) {
        if self.recorder.is_some() {
            self.note_now(socket, device, what);
        }
    }

    #[cold]
    fn note_now(
        &mut self,
        socket: Option<Id<Socket>>,
        device: Option<Id<Device>>,
        what: impl FnOnce() -> What,
    ) {
        let place = match (socket, device) {
            (Some(socket), _) => TracePlace::Socket(self.handle_of(socket)),
            (None, Some(device)) => TracePlace::Device(self.devices[device].name.clone()),
            (None, None) => TracePlace::Kernel,
        };
        let at = self.clock.now();
        self.put_event(TraceEvent { at, lasted: Duration::ZERO, place, what: what() });
    }

    #[inline]
    pub(crate) fn note_drop(&mut self, device: Id<Device>, len: usize, cause: DropCause) {
        self.devices[device].drops[cause as usize] += 1;
        self.note(None, Some(device), || What::Drop { len: len as u32, cause });
    }

    /// Records a call that ends here.
    #[inline]
    pub(crate) fn note_call<T>(
        &mut self,
        call: Call,
        socket: Option<Handle>,
        start: Duration,
        result: &Sys<T>,
    ) {
        if self.recorder.is_none() {
            return;
        }
        self.look_at_rings();
        let result = match result {
            Ok(_) => "ok".to_owned(),
            Err(Failure::Errno(number)) => xsk_core::errno::describe(*number).to_string(),
            Err(Failure::Unsupported(what)) => format!("unsupported: {what}"),
            Err(Failure::WouldBlockForever(_)) => "would block for ever".to_owned(),
            Err(Failure::Crashed(crash)) => crash.to_string(),
        };
        let lasted = self.clock.now().saturating_sub(start);
        let place = socket.map_or(TracePlace::Kernel, |handle| TracePlace::Socket(Some(handle)));
        self.put_event(TraceEvent { at: start, lasted, place, what: What::Call { call, result } });
    }

    fn put_event(&mut self, event: TraceEvent) {
        if let Some(recorder) = &mut self.recorder {
            recorder.push(event);
        }
    }

    /// Records how the rings moved since the last look.
    #[inline]
    pub(crate) fn look_at_rings(&mut self) {
        if self.recorder.is_some() {
            self.record_rings();
        }
    }

    #[cold]
    fn record_rings(&mut self) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let at = self.clock.now();
        let of_desc = |desc: xdp_desc| desc.addr;
        let mut moved = Vec::new();
        let beside = self.running.is_some();
        for (id, socket) in self.sockets.iter() {
            let mut found = [const { None }; 4];
            if let Some(rx) = &socket.rx {
                let [produced, consumed] =
                    recorder.look((Ring::Rx, id.number()), rx.ring.storage(), beside, of_desc);
                (found[0], found[1]) = (produced, consumed);
            }
            if let Some(tx) = &socket.tx {
                let [produced, consumed] =
                    recorder.look((Ring::Tx, id.number()), tx.ring.storage(), beside, of_desc);
                (found[2], found[3]) = (produced, consumed);
            }
            for what in found.into_iter().flatten() {
                moved.push((TracePlace::Socket(self.handle_of(id)), what));
            }
        }
        for (id, pool) in self.pools.iter() {
            let fill =
                recorder.look((Ring::Fill, id.number()), pool.fill.ring.storage(), beside, |entry| entry);
            let completion = pool.completion.ring.storage();
            let completion =
                recorder.look((Ring::Completion, id.number()), completion, beside, |entry| entry);
            for what in fill.into_iter().chain(completion).flatten() {
                let device = self.devices[pool.device].name.clone();
                moved.push((TracePlace::Queue(device, pool.queue), what));
            }
        }
        for (place, what) in moved {
            recorder.push(TraceEvent { at, lasted: Duration::ZERO, place, what });
        }
        self.recorder = Some(recorder);
    }
}
