//! Opening and closing ports.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::config::{PortConfig, Sides};
use super::error::PortError;
use super::receive::RxSide;
use super::transmit::TxSide;
use super::{Link, Mode};
use crate::backend::{TxOffloads, retry};
use crate::config::Interface;
use crate::diagnose;
use crate::error::{Diagnosis, Error, Step, errno};
use crate::pool::{Cache, MAX_PORTS, Owner, Pool, Quarantined};
use crate::queue::IdlePolls;
use crate::socket::{Given, NewPoolRings, Request, open};

/// A port's number in its pool. When it goes, after the socket, the frames that the port had with the kernel go home.
#[derive(Debug)]
pub(super) struct Registration {
    pool: Pool,
    number: u16,
    /// Set once the kernel has frames of it.
    given: OnceLock<Given>,
    /// The kernel tells whether a socket is bound to the queue.
    is_told: OnceLock<bool>,
}

impl Registration {
    fn new(pool: &Pool) -> Result<Self, Error> {
        let mut state = pool.memory().lock();
        let free = state.ports.iter().position(|taken| !taken);
        let number = free.unwrap_or(state.ports.len());
        if number >= usize::from(MAX_PORTS) {
            let diagnosis = Diagnosis::TooManyPorts { max: MAX_PORTS.into() };
            return Err(Error::new(Step::CheckConfig, diagnosis));
        }
        if number == state.ports.len() {
            state.ports.push(true);
        } else {
            state.ports[number] = true;
        }
        drop(state);
        Ok(Self {
            pool: pool.clone(),
            number: number as u16,
            given: OnceLock::new(),
            is_told: OnceLock::new(),
        })
    }

    fn rx(&self) -> Owner {
        Owner::rx(self.number)
    }

    fn tx(&self) -> Owner {
        Owner::tx(self.number)
    }

    fn stamped(&self) -> Owner {
        Owner::tx_stamped(self.number)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let memory = self.pool.memory();
        let mut quarantined = Vec::new();
        // In copy mode nobody receives into a frame once the socket is closed (net/xdp/xsk.c:xsk_release). A frame that is
        // being sent may be read until the queue is released, and a device may do as it likes until then.
        let given = self.given.get().copied();
        let received = given.is_none_or(|given| !given.zero_copy);
        let sent = given.is_none();
        for (owner, at_once) in [(self.rx(), received), (self.tx(), sent), (self.stamped(), sent)] {
            if at_once {
                memory.put(&memory.take_from(owner, Owner::USER));
            } else {
                quarantined.extend(memory.take_from(owner, Owner::QUARANTINE));
            }
        }
        let mut state = memory.lock();
        if let Some(given) = given.filter(|_| !quarantined.is_empty()) {
            let is_told = self.is_told.get().copied().unwrap_or(false);
            state.quarantine.push(Quarantined { key: given.key, frames: quarantined, is_told });
        }
        state.ports[usize::from(self.number)] = false;
    }
}

/// Opens a port on each of the queues that receive, or if it does not receive, that send.
pub(super) fn open_all(
    pool: &Pool,
    interface: &str,
    config: &PortConfig,
    sides: Sides,
) -> Result<Vec<Parts>, PortError> {
    let name = std::ffi::CString::new(interface).unwrap_or_default();
    let info = pool.backend().interface(&name).map_err(|error| {
        PortError::from(diagnose::find_interface(error).on(interface.escape_debug().to_string(), None))
    })?;
    let of = if sides.rx { info.rx_queues } else { info.tx_queues };
    // Not only when as many are open.
    if of > MAX_PORTS.into() {
        let error = Error::new(Step::CheckConfig, Diagnosis::TooManyPorts { max: MAX_PORTS.into() });
        return Err(error.on(interface, None).into());
    }
    (0..of).map(|queue| open_port(pool, interface, queue, config, sides, of)).collect()
}

/// What a port is made of.
pub(super) struct Parts {
    pub(super) rx: Option<RxSide>,
    pub(super) tx: Option<TxSide>,
    pub(super) cache: Cache,
    pub(super) link: Link,
}

/// Opens a port on one of `of` queues that share the free frames.
pub(super) fn open_port(
    pool: &Pool,
    interface: &str,
    queue: u32,
    config: &PortConfig,
    sides: Sides,
    of: u32,
) -> Result<Parts, PortError> {
    let registration = Registration::new(pool).map_err(|error| error.on(interface, Some(queue)))?;
    let name = Interface::named(interface)?;
    let policy = config.policy;
    policy.check(&**pool.backend(), interface).map_err(|error| error.on(interface, Some(queue)))?;
    let memory = pool.memory();
    memory.reclaim();
    // Where the kernel does not tell that it has released the queue, it may have every frame until this port is bound.
    let returning = memory.untold_on(name.as_c_str(), queue) as u32;
    let free = memory.frames() - memory.away() as u32 + returning;
    // Only who does not receive asks what the driver can; who does has frames in any case.
    let info = if sides.rx { None } else { pool.backend().interface(name.as_c_str()).ok() };
    let level = config.frames(sides, info.as_ref(), free, of);
    let (fill_ring, completion_ring) = config.pool_rings(sides, level);
    let frames = take_frames(pool, level, config.busy_timeout);
    let is_late = frames.is_empty() && level > 0;
    if is_late && returning == 0 {
        let error = Error::new(Step::CheckConfig, Diagnosis::NoFrames);
        return Err(error.on(interface, Some(queue)).into());
    }
    frames.iter().for_each(|frame| memory.set_owner(*frame, registration.rx()));
    let addresses: Vec<u64> = frames.iter().map(|frame| memory.address(*frame, 0)).collect();
    let rings = NewPoolRings {
        fill: fill_ring,
        completion: completion_ring,
        frames: &addresses,
        given: Cell::new(None),
    };
    let opened = open(&Request {
        config: &config.socket(sides),
        umem: memory.umem(),
        interface: &name,
        queue,
        rx: sides.rx,
        tx: sides.tx,
        pool_rings: Some(&rings),
    });
    if let Some(given) = rings.given.get() {
        registration.given.get_or_init(|| given);
    }
    // If this fails, the registration takes the frames home.
    let opened = opened?;
    policy.apply(&opened.shared)?;
    let (Some((fill, completion)), Some(given)) = (opened.pool_rings()?, rings.given.get()) else {
        return Err(opened.shared.error(Step::Bind, Diagnosis::PortOpen).into());
    };
    // A socket could be bound to the queue, so those before it are gone, and with them whatever they did.
    memory.release(|entry| entry.key == given.key);
    let bound = pool.backend().queue_is_bound(given.key.ifindex, given.key.queue);
    registration.is_told.get_or_init(|| matches!(bound, Ok(true)));
    let shared = &opened.shared;
    let has_metadata = memory.reserved() > 0;
    let offloads = if has_metadata { offloads(pool, &name, given.zero_copy) } else { TxOffloads::empty() };
    let rx = sides.rx.then(|| -> Result<_, Error> {
        let ring = opened.rx()?;
        Ok(RxSide::new(ring, fill, pool, registration.rx(), level, shared, policy.polls_for()))
    });
    let tx = sides.tx.then(|| {
        opened.tx().map(|ring| {
            TxSide::new(ring, completion, pool, [registration.tx(), registration.stamped()], shared, offloads)
        })
    });
    let (mut rx, tx) = (rx.transpose()?, tx.transpose()?);
    let mut cache = Cache::new(pool);
    if let Some(rx) = rx.as_mut().filter(|_| is_late) {
        rx.top_up(&mut cache);
    }
    let mode = if given.zero_copy { Mode::ZeroCopy } else { Mode::Copy };
    let link = Link {
        shared: Arc::clone(shared),
        mode,
        idle: IdlePolls::default(),
        _registration: Arc::new(registration),
    };
    Ok(Parts { rx, tx, cache, link })
}

/// So many free frames, or as many as there are. If there are none, waits for those of queues that are being released.
fn take_frames(pool: &Pool, count: u32, limit: Duration) -> Vec<u32> {
    let (frames, _) = retry(pool.backend(), errno::EBUSY, limit, || {
        // Not the port's own: what is left of a magazine goes back, so that many ports can be opened.
        let mut at_hand = Cache::new(pool);
        let frames: Vec<u32> = std::iter::from_fn(|| at_hand.take()).take(count as usize).collect();
        if frames.is_empty() && count > 0 && pool.memory().awaits_release() {
            pool.memory().reclaim();
            return Err(io::Error::from_raw_os_error(errno::EBUSY));
        }
        Ok(frames)
    });
    frames.unwrap_or_default()
}

/// What packets can ask for. Where it is not told, what every kernel with TX metadata does.
fn offloads(pool: &Pool, interface: &Interface, zero_copy: bool) -> TxOffloads {
    let told = pool.backend().tx_offloads(interface.as_c_str(), zero_copy);
    told.unwrap_or(match zero_copy {
        true => TxOffloads::empty(),
        false => TxOffloads::TIMESTAMP | TxOffloads::CHECKSUM,
    })
}
