//! Opening ports: which queues, how large the rings, how many frames.

use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use xsk::Socket as Opener;
use xsk::backend::{Backend, InterfaceInfo, default_backend};
use xsk::config::{BindFlags, Interface, QueueSize, SocketConfig, UmemConfig, XdpFlags};
use xsk::error::{Diagnosis, errno};
use xsk::socket::Fd;

use super::pool::Pool;
use super::receiver::Receiver;
use super::sender::Sender;
use super::{Datapath, Port, Socket};
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

const SOL_SOCKET: i32 = 1;
const SO_BUSY_POLL: i32 = 46;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;

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
        let datapath = match self.open_queues(backend, &queues, self.bind_flags()) {
            // The kernel chose zero copy for an interface, and another one has none.
            Err(OpenError::NoZeroCopy(_)) if !self.options.zero_copy => {
                self.open_queues(backend, &queues, self.bind_flags() | BindFlags::XDP_COPY)
            }
            other => other,
        };
        datapath.map(|datapath| (datapath, ranges)).map_err(|error| match error {
            OpenError::NoZeroCopy(failure) | OpenError::Other(failure) => failure,
        })
    }

    fn bind_flags(&self) -> BindFlags {
        let options = self.options;
        let mut flags = BindFlags::empty();
        flags.set(BindFlags::XDP_USE_NEED_WAKEUP, !options.no_need_wakeup);
        flags.set(BindFlags::XDP_COPY, options.copy);
        flags.set(BindFlags::XDP_ZEROCOPY, options.zero_copy);
        flags.set(BindFlags::XDP_USE_SG, options.multi_buffer);
        flags
    }

    fn open_queues(
        &self,
        backend: &Arc<dyn Backend>,
        queues: &[(String, u32)],
        bind_flags: BindFlags,
    ) -> Result<Datapath, OpenError> {
        let options = self.options;
        let sizes = self.sizes(queues.len())?;
        let ring = QueueSize::new(sizes.ring).map_err(|e| Failure::usage(e.to_string()))?;
        let umem = UmemConfig::builder()
            .frame_size(options.frame_size)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .map_err(|e| Failure::usage(e.to_string()))?;
        let mut pool =
            Pool::new(backend, umem, sizes.frames, options.pages()).map_err(|e| Failure::of(&e))?;
        let mut xdp_flags = XdpFlags::empty();
        xdp_flags.set(XdpFlags::XDP_FLAGS_SKB_MODE, options.skb);
        xdp_flags.set(XdpFlags::XDP_FLAGS_DRV_MODE, options.native);
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .xdp_flags(xdp_flags)
            .bind_flags(bind_flags)
            .build();
        let mut ports = Vec::new();
        let mut mode = Vec::new();
        for (name, queue) in queues {
            let mut port = self.open_port(&pool, config, name, *queue, sizes.ring)?;
            if let Some(budget) = options.busy_poll {
                port.socket
                    .busy_poll(budget, options.batch)
                    .map_err(|(option, e)| busy_poll_refused(&port, option, &e))?;
            }
            if let Some(receiver) = &mut port.receiver {
                receiver.refill(&mut pool, 1).map_err(|e| Failure::running(&e))?;
            }
            let attached = interface(backend, name)?.program.map(|program| program.mode.to_string());
            let copy = if port.socket.zero_copy { "zero copy" } else { "copy" };
            mode.push(format!("{}, {copy}", attached.as_deref().unwrap_or("no program")));
            ports.push(port);
        }
        let (batch, busy_poll) = (options.batch as usize, options.busy_poll.is_some());
        let batch = batch.min(sizes.ring as usize);
        let (hand, touched, polls) = Default::default();
        Ok(Datapath { ports, pool, mode, batch, busy_poll, hand, touched, polls, idle: 0 })
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
        let frames = self.options.frames.or(NonZeroU32::new(each.saturating_mul(ports)));
        Ok(Sizes { ring, frames: frames.unwrap_or(NonZeroU32::MIN) })
    }

    fn open_port(
        &self,
        pool: &Pool,
        config: SocketConfig,
        name: &str,
        queue: u32,
        ring: u32,
    ) -> Result<Port, OpenError> {
        let interface: Interface =
            name.parse().map_err(|_| Failure::usage("an interface name has no zero byte"))?;
        let (umem, backend) = (pool.umem(), pool.backend());
        let no_rings =
            || Failure::cannot_run(format!("{name}:{queue} came without fill and completion ring"));
        let socket_of = |fd: &Fd| Socket {
            backend: Arc::clone(backend),
            handle: fd.handle(),
            zero_copy: fd.is_zero_copy().unwrap_or(false),
        };
        let (socket, receiver, sender) = match self.need {
            Need::Both => {
                // SAFETY: this module hands each frame over once (see there), and uses no map of its own.
                let opened = unsafe { Opener::new(config, umem, &interface, queue) };
                let (tx, rx, rings) = opened.map_err(|e| OpenError::of(&e))?;
                let (fill, completion) = rings.ok_or_else(no_rings)?;
                let socket = socket_of(rx.fd());
                let sender = Sender::new(tx, completion, socket.clone(), ring);
                (socket, Some(Receiver::new(rx, fill, ring)), Some(sender))
            }
            Need::Receive => {
                // SAFETY: as above.
                let opened = unsafe { Opener::rx_only(config, umem, &interface, queue) };
                let (rx, rings) = opened.map_err(|e| OpenError::of(&e))?;
                let (fill, _) = rings.ok_or_else(no_rings)?;
                (socket_of(rx.fd()), Some(Receiver::new(rx, fill, ring)), None)
            }
            Need::Send => {
                // SAFETY: as above.
                let opened = unsafe { Opener::tx_only(config, umem, &interface, queue) };
                let (tx, rings) = opened.map_err(|e| OpenError::of(&e))?;
                let (_, completion) = rings.ok_or_else(no_rings)?;
                let socket = socket_of(tx.fd());
                let sender = Sender::new(tx, completion, socket.clone(), ring);
                (socket, None, Some(sender))
            }
        };
        Ok(Port { name: name.into(), queue, socket, receiver, sender })
    }
}

struct Sizes {
    ring: u32,
    frames: NonZeroU32,
}

enum OpenError {
    NoZeroCopy(Failure),
    Other(Failure),
}

impl OpenError {
    fn of(error: &xsk::error::Error) -> Self {
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

impl Socket {
    /// Has the device polled by our own calls, for up to `budget` packets each, instead of by interrupts.
    fn busy_poll(&self, microseconds: u32, budget: u32) -> Result<(), (&'static str, io::Error)> {
        for (name, option, value) in [
            ("SO_PREFER_BUSY_POLL", SO_PREFER_BUSY_POLL, 1),
            ("SO_BUSY_POLL", SO_BUSY_POLL, microseconds),
            ("SO_BUSY_POLL_BUDGET", SO_BUSY_POLL_BUDGET, budget),
        ] {
            let set = self.backend.setsockopt(self.handle, SOL_SOCKET, option, &value.to_ne_bytes());
            set.map_err(|error| (name, error))?;
        }
        Ok(())
    }
}

fn busy_poll_refused(port: &Port, option: &str, error: &io::Error) -> Failure {
    let why = match error.raw_os_error() {
        Some(errno::EPERM) => "this needs CAP_NET_ADMIN",
        Some(errno::ENOPROTOOPT) => "this needs Linux 5.11",
        Some(errno::EINVAL) => "the value is too large",
        _ => "the kernel refused",
    };
    let errno =
        error.raw_os_error().map_or_else(|| error.to_string(), |errno| errno::describe(errno).to_string());
    Failure::cannot_run(format!(
        "cannot busy-poll {}:{}: {option}: {why} ({errno}); leave --busy-poll out",
        port.name, port.queue
    ))
}
