//! Opening and closing ports.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use super::config::PortConfig;
use super::error::PortError;
use super::policy::Policy;
use super::receive::RxSide;
use super::transmit::TxSide;
use super::{Link, Mode, Port};
use crate::config::Interface;
use crate::error::{Diagnosis, Error, Step};
use crate::pool::{Cache, MAX_PORTS, Memory, Owner, Pool};
use crate::queue::IdlePolls;
use crate::socket::{Given, NewPoolRings, Opened, Request, open};

/// A port's number in its pool. When it goes, after the socket, the frames that the port had with the kernel go home.
#[derive(Debug)]
pub(super) struct Registration {
    pool: Pool,
    number: u8,
    /// Set once the kernel has frames of it.
    given: OnceLock<Given>,
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
        Ok(Self { pool: pool.clone(), number: number as u8, given: OnceLock::new() })
    }

    fn rx(&self) -> Owner {
        Owner::rx(self.number)
    }

    fn tx(&self) -> Owner {
        Owner::tx(self.number)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let memory = self.pool.memory();
        let mut quarantined = Vec::new();
        // In copy mode nobody receives into a frame once the socket is closed (net/xdp/xsk.c:xsk_release). A frame that is
        // being sent may be read until the queue is released, and a device may do as it likes until then.
        let given = self.given.get().copied();
        for (owner, at_once) in
            [(self.rx(), given.is_none_or(|given| !given.zero_copy)), (self.tx(), given.is_none())]
        {
            if at_once {
                memory.put(&memory.take_from(owner, Owner::USER));
            } else {
                quarantined.extend(memory.take_from(owner, Owner::QUARANTINE));
            }
        }
        let mut state = memory.lock();
        if let Some(given) = given.filter(|_| !quarantined.is_empty()) {
            state.quarantine.push((given.key, quarantined));
        }
        state.ports[usize::from(self.number)] = false;
    }
}

/// A socket could be bound to the queue, so those before it are gone, and with them whatever they did.
fn release_quarantine(memory: &Memory, given: Given) {
    let mut state = memory.lock();
    for (_, frames) in state.quarantine.extract_if(.., |(key, _)| *key == given.key) {
        frames.iter().for_each(|frame| memory.set_owner(*frame, Owner::USER));
        memory.put(&frames);
    }
}

/// Opens a port on one of `of` queues that share the free frames.
pub(super) fn open_port(
    pool: &Pool,
    interface: &str,
    queue: u32,
    config: &PortConfig,
    of: u32,
) -> Result<Port, PortError> {
    let registration = Registration::new(pool).map_err(|error| error.on(interface, Some(queue)))?;
    let name: Interface = interface.parse().map_err(|_| {
        Error::new(Step::FindInterface, Diagnosis::NoInterface).on(interface.escape_debug().to_string(), None)
    })?;
    let policy = config.policy;
    policy.check(&**pool.backend(), interface).map_err(|error| error.on(interface, Some(queue)))?;
    let memory = pool.memory();
    let (fill_ring, completion_ring) = config.pool_rings();
    let free = memory.frames() - memory.away() as u32;
    let level = config.fill_level.unwrap_or((free / (2 * of)).max(1)).clamp(1, fill_ring);
    let mut cache = Cache::new(pool);
    let frames: Vec<u32> = std::iter::from_fn(|| cache.take()).take(level as usize).collect();
    if frames.is_empty() {
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
        config: &config.socket(),
        umem: memory.umem(),
        interface: &name,
        queue,
        rx: true,
        tx: true,
        pool_rings: Some(&rings),
    });
    if let Some(given) = rings.given.get() {
        registration.given.get_or_init(|| given);
    }
    let port = opened.and_then(|opened| {
        policy.apply(&opened.shared)?;
        port(&opened, &registration, level, &cache, rings.given.get(), policy)
    });
    // If that failed, the registration takes the frames home.
    let (rx, tx, mode) = port?;
    let shared = Arc::clone(&tx.shared);
    let link = Link { shared, mode, idle: IdlePolls::default(), _registration: Arc::new(registration) };
    Ok(Port { rx, tx, cache, link })
}

fn port(
    opened: &Opened,
    registration: &Registration,
    level: u32,
    cache: &Cache,
    given: Option<Given>,
    policy: Policy,
) -> Result<(RxSide, TxSide, Mode), Error> {
    let (Some((fill, completion)), Some(given)) = (opened.pool_rings()?, given) else {
        return Err(opened.shared.error(Step::Bind, Diagnosis::PortOpen));
    };
    let (pool, shared) = (cache.pool(), &opened.shared);
    release_quarantine(pool.memory(), given);
    let rx = RxSide::new(opened.rx()?, fill, pool, registration.rx(), level, shared, policy.polls_for());
    let tx = TxSide::new(opened.tx()?, completion, pool, registration.tx(), shared);
    let mode = if given.zero_copy { Mode::ZeroCopy } else { Mode::Copy };
    Ok((rx, tx, mode))
}
