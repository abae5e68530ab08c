//! Opening ports: which queues, how large the rings, how many frames.

use std::ffi::CString;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, InterfaceInfo, default_backend};
use xsk::config::XdpFlags;
use xsk::error::{Diagnosis, errno};
use xsk::port::{BusyPoll, Mode, Policy, PortError, PortRx, PortTx};
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};

use super::{Datapath, Receiver, Sender, Traffic};
use crate::cli::SocketOptions;
use crate::failure::Failure;
use crate::values::Target;

/// What the ports are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Both,
    Receive,
    Send,
}

pub(crate) struct Request<'a> {
    pub(crate) targets: &'a [Target],
    pub(crate) need: Need,
    pub(crate) options: &'a SocketOptions,
}

/// The largest ring that this tool makes: more adds latency and misses the cache.
const LARGEST_RING: u32 = 2048;
/// Frames of all ports together, if not told otherwise and each has enough.
const FRAMES: u32 = 64 << 10;
const FEWEST_FRAMES_OF_A_PORT: u32 = 8;

/// The kernel that everything here runs on.
pub(crate) fn backend() -> Arc<dyn Backend> {
    default_backend()
}

/// What is known of an interface.
pub(crate) fn interface(backend: &Arc<dyn Backend>, name: &str) -> Result<InterfaceInfo, Failure> {
    let c_name = CString::new(name).map_err(|_| Failure::usage("an interface name has no zero byte"))?;
    backend.interface(&c_name).map_err(|error| match error.raw_os_error() {
        Some(errno::ENODEV | errno::ENXIO) => Failure::cannot_run(format!(
            "there is no interface {name} in this network namespace; `xsk info` lists those there are"
        )),
        _ => Failure::cannot_run(format!("cannot find out about interface {name}: {error}")),
    })
}

impl Request<'_> {
    /// Opens a port for each queue of each target, on one UMEM. Returns as well which ports each target has.
    pub(crate) fn open(&self) -> Result<(Datapath, Vec<Range<usize>>), Failure> {
        self.open_on(&backend())
    }

    /// As [`open`](Self::open), on any kernel.
    pub(crate) fn open_on(
        &self,
        backend: &Arc<dyn Backend>,
    ) -> Result<(Datapath, Vec<Range<usize>>), Failure> {
        let mut queues = Vec::new();
        let mut ranges = Vec::new();
        for target in self.targets {
            let info = interface(backend, &target.name)?;
            if !info.up {
                // Linux lets a socket bind in copy mode all the same; it would only ever wait.
                let name = &target.name;
                return Err(Failure::cannot_run(format!(
                    "{name} is down: set it up with `ip link set {name} up`"
                )));
            }
            let first = queues.len();
            match target.queue {
                Some(queue) => queues.push((target.name.clone(), queue)),
                None => queues.extend((0..info.queues()).map(|queue| (target.name.clone(), queue))),
            }
            if first == queues.len() {
                return Err(Failure::cannot_run(format!("{} has no queues", target.name)));
            }
            ranges.push(first..queues.len());
        }
        let wanted = match self.options {
            SocketOptions { copy: true, .. } => Some(Mode::Copy),
            SocketOptions { zero_copy: true, .. } => Some(Mode::ZeroCopy),
            _ => None,
        };
        let datapath = match self.open_queues(backend, &queues, wanted) {
            // The kernel chose zero copy for an interface, and another one has none.
            Err(OpenError::NoZeroCopy(_)) if !self.options.zero_copy => {
                self.open_queues(backend, &queues, Some(Mode::Copy))
            }
            other => other,
        };
        datapath.map(|datapath| (datapath, ranges)).map_err(|error| match error {
            OpenError::NoZeroCopy(failure) | OpenError::Other(failure) => failure,
        })
    }

    /// `mode`: that of all ports; without one, the kernel chooses.
    fn open_queues(
        &self,
        backend: &Arc<dyn Backend>,
        queues: &[(String, u32)],
        mode: Option<Mode>,
    ) -> Result<Datapath, OpenError> {
        let options = self.options;
        let sizes = self.sizes(queues.len())?;
        let pool = PoolConfig::default()
            .frames(sizes.frames)
            .frame_size(options.frame_size.get())
            .pages(options.pages());
        let pool = Pool::new_in(Arc::clone(backend), pool).map_err(|e| Failure::of(&e))?;
        let config = self.config(mode, sizes.ring);
        let batch = options.batch as usize;
        let mut datapath = Datapath {
            receivers: Vec::new(),
            senders: Vec::new(),
            names: Vec::new(),
            modes: Vec::new(),
            pool,
            batch,
            busy_poll: options.busy_poll.is_some(),
            outbox: Batch::with_capacity(batch),
            idle: 0,
        };
        for (name, queue) in queues {
            let mode =
                self.open_port(&mut datapath, name, *queue, config).map_err(|error| OpenError::of(&error))?;
            let attached = interface(backend, name)?.program.map(|program| program.mode.to_string());
            let copy = if mode == Mode::ZeroCopy { "zero copy" } else { "copy" };
            datapath.modes.push(format!("{}, {copy}", attached.as_deref().unwrap_or("no program")));
            datapath.names.push(format!("{name}:{queue}"));
        }
        Ok(datapath)
    }

    fn config(&self, mode: Option<Mode>, ring: u32) -> PortConfig {
        let options = self.options;
        let mut flags = XdpFlags::empty();
        flags.set(XdpFlags::XDP_FLAGS_SKB_MODE, options.skb);
        flags.set(XdpFlags::XDP_FLAGS_DRV_MODE, options.native);
        let policy = match options.busy_poll {
            Some(microseconds) => {
                let time = Duration::from_micros(microseconds.into());
                BusyPoll::default().time(time).budget(options.batch as u16).into()
            }
            None if options.no_need_wakeup => Policy::Interrupt,
            None => Policy::NeedWakeup,
        };
        let config = PortConfig::default().rx_ring(ring).tx_ring(ring).fill_ring(ring).completion_ring(ring);
        let config = config.policy(policy).xdp_flags(flags).multi_buffer(options.multi_buffer);
        let config = if self.need == Need::Send { config } else { config.fill_level(ring) };
        mode.map_or(config, |mode| config.mode(mode))
    }

    fn open_port(
        &self,
        datapath: &mut Datapath,
        name: &str,
        queue: u32,
        config: PortConfig,
    ) -> Result<Mode, PortError> {
        let Datapath { pool, receivers, senders, names, .. } = datapath;
        let index = names.len();
        let mut receive = |port: PortRx| {
            let (mode, socket) = (port.mode(), port.fd().handle());
            receivers.push(Receiver { index, socket, port, received: Traffic::default() });
            mode
        };
        let mut send = |port: PortTx| {
            let (mode, socket) = (port.mode(), port.fd().handle());
            senders.push(Sender { index, socket, port, submitted: Traffic::default(), full: 0 });
            mode
        };
        Ok(match self.need {
            Need::Both => {
                let (rx, tx) = Port::open(pool, name, queue, config)?.split();
                send(tx);
                receive(rx)
            }
            Need::Receive => receive(PortRx::open(pool, name, queue, config)?),
            Need::Send => send(PortTx::open(pool, name, queue, config)?),
        })
    }

    /// Rings and frames, such that no port can take so many frames that another one runs dry.
    fn sizes(&self, ports: usize) -> Result<Sizes, Failure> {
        let ports = u32::try_from(ports).unwrap_or(u32::MAX).max(1);
        let halves = if self.need == Need::Both { 2 } else { 1 };
        let each = match self.options.frames {
            Some(frames) => frames.get() / ports,
            None => (LARGEST_RING * halves).min((FRAMES / ports).max(512)),
        };
        if each < FEWEST_FRAMES_OF_A_PORT {
            return Err(Failure::usage(format!(
                "{} frames are too few for all queues ({ports}): it takes at least {FEWEST_FRAMES_OF_A_PORT} for each",
                self.options.frames.map_or(0, NonZeroU32::get),
            )));
        }
        let ring = (1 << (each / halves).ilog2()).min(LARGEST_RING);
        let frames = self.options.frames.map_or(each.saturating_mul(ports), NonZeroU32::get);
        Ok(Sizes { ring, frames })
    }
}

struct Sizes {
    ring: u32,
    frames: u32,
}

enum OpenError {
    NoZeroCopy(Failure),
    Other(Failure),
}

impl OpenError {
    fn of(error: &PortError) -> Self {
        let failure = Failure::of(error);
        match error.diagnosis() {
            Diagnosis::NoZeroCopy { .. } => Self::NoZeroCopy(failure),
            _ => Self::Other(failure),
        }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}
