//! Opening a socket: the order of the calls, whom to share the UMEM with, and the retries.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use xsk_core::abi::{
    AF_XDP, Pod, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, XDP_MMAP_OFFSETS, XDP_OPTIONS, XDP_OPTIONS_ZEROCOPY,
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_RX_RING, XDP_SHARED_UMEM, XDP_TX_RING,
    XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING,
    sockaddr_xdp, xdp_desc, xdp_mmap_offsets, xdp_mmap_offsets_v1, xdp_options, xdp_ring_offset,
};
use xsk_core::ring::{Consumer, Mapped, Producer};

use crate::backend::{Backend, BackendExt, Handle, InterfaceInfo, Mapping, OwnedHandle, retry};
use crate::config::{BindFlags, Interface, LibxdpFlags, MIN_TX_BUDGET, SocketConfig};
use crate::diagnose::{self, BindContext};
use crate::error::{Diagnosis, Error, Step, errno};
use crate::program::{self, MapSlot, ProgramRef};
use crate::queue::{ConsumerOf, ProducerOf, Rings, Shared};
use crate::umem::{CompQueue, FillQueue, Plan, PoolRings, QueueKey, State, Umem};

/// What the caller wants.
pub(crate) struct Request<'a> {
    pub(crate) config: &'a SocketConfig,
    pub(crate) umem: &'a Umem,
    pub(crate) interface: &'a Interface,
    pub(crate) queue: u32,
    pub(crate) rx: bool,
    pub(crate) tx: bool,
    pub(crate) pool_rings: Option<&'a NewPoolRings<'a>>,
}

/// What the caller wants of the fill and completion rings, if the queue has none yet.
pub(crate) struct NewPoolRings<'a> {
    /// Entries of the fill ring.
    pub(crate) fill: u32,
    /// Entries of the completion ring.
    pub(crate) completion: u32,
    /// Put on the fill ring before the socket is bound: some drivers misbehave with one that is empty then. No more than it
    /// has entries.
    pub(crate) frames: &'a [u64],
    /// Set once the socket is bound, and the frames are the kernel's: also when opening failed after that.
    pub(crate) given: Cell<Option<Given>>,
}

/// To whom frames were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    /// The queue.
    pub(crate) key: QueueKey,
    /// The device itself may use them, and for some time after the socket is closed.
    pub(crate) zero_copy: bool,
}

/// An open socket whose rings nobody has taken yet.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    offsets: xdp_mmap_offsets,
    sizes: Sizes,
}

/// A fill and a completion ring.
pub(crate) type RingsOfPool = (ProducerOf<u64>, ConsumerOf<u64>);

#[derive(Clone, Copy)]
struct Sizes {
    rx: u32,
    tx: u32,
    fill: u32,
    completion: u32,
}

pub(crate) fn open(request: &Request<'_>) -> Result<Opened, Error> {
    open_on(request).map_err(|error| error.on(request.interface.shown(), Some(request.queue)))
}

fn open_on(request: &Request<'_>) -> Result<Opened, Error> {
    let &Request { config, umem, interface, queue, .. } = request;
    let sizes = Sizes {
        rx: config.rx_queue_size().get(),
        tx: config.tx_queue_size().get(),
        fill: request.pool_rings.map_or_else(|| umem.config().fill_queue_size().get(), |rings| rings.fill),
        completion: request
            .pool_rings
            .map_or_else(|| umem.config().comp_queue_size().get(), |rings| rings.completion),
    };
    check(request)?;
    let backend = umem.backend();
    let info = backend.interface(interface.as_c_str()).map_err(diagnose::find_interface)?;
    if queue >= info.queues() {
        // The kernel would take the low 16 bits for the id (net/xdp/xsk_buff_pool.c:xp_assign_dev).
        return Err(Error::new(Step::CheckConfig, Diagnosis::QueueOutOfRange { queues: info.queues() }));
    }
    let namespace =
        backend.namespace().map_err(|e| Error::new(Step::FindNamespace, Diagnosis::Unknown).source(e))?;
    let key = QueueKey { namespace, ifindex: info.index, queue };

    // Declared first, so that whatever fails below, the socket goes before the program: zero copy needs that order.
    let mut program = None;
    // Held to the end, so that the sockets to share with stay open, and one thread at a time registers the memory.
    let mut state = umem.lock();
    let (plan, bound) = loop {
        let plan = state.plan(&key);
        match bind(request, &info, &key, plan, &mut state, sizes) {
            Ok(bound) => break (plan, bound),
            // The socket that we meant to share with lost its device.
            Err(error)
                if error.step() == Step::Bind
                    && error.errno() == Some(errno::EBADF)
                    && state.give_up(plan) => {}
            Err(error) => return Err(error),
        }
    };
    let Bound { socket, rings, offsets, has_flags, pool_rings } = bound;
    if let Plan::Register = plan {
        state.set_multi_buffer(config.bind_flags().contains(BindFlags::XDP_USE_SG));
    }
    let slot = attach(request, &info, &key, state.multi_buffer(), socket.get(), &mut program)?;
    let membership = umem.join(&mut state, key, socket.get(), pool_rings);
    drop(state);
    let shared = Arc::new(Shared {
        _slot: slot,
        _membership: membership,
        socket,
        rings,
        _program: program,
        // The membership holds it as well, but goes first.
        _umem: umem.clone(),
        interface: info.name,
        queue,
        always_wake: !has_flags,
    });
    Ok(Opened { shared, offsets, sizes })
}

/// What can be refused without asking the kernel.
fn check(request: &Request<'_>) -> Result<(), Error> {
    let &Request { config, interface, rx, tx, .. } = request;
    interface.check()?;
    if rx {
        config.rx_queue_size().check("RX")?;
    }
    if tx {
        config.tx_queue_size().check("TX")?;
        let (budget, entries) = (config.tx_budget(), config.tx_queue_size().get());
        if let Some(budget) = budget.filter(|budget| !(MIN_TX_BUDGET..=entries).contains(budget)) {
            let error = Error::new(Step::CheckConfig, Diagnosis::TxBudget { entries });
            return Err(error.value(format!("a TX budget of {budget}")));
        }
    }
    let bind = *config.bind_flags();
    if bind.contains(BindFlags::XDP_COPY | BindFlags::XDP_ZEROCOPY) {
        return Err(
            Error::new(Step::CheckConfig, Diagnosis::Contradiction).value("XDP_COPY and XDP_ZEROCOPY")
        );
    }
    let modes = config.xdp_flags().modes();
    if modes.bits().count_ones() > 1 {
        return Err(Error::new(Step::CheckConfig, Diagnosis::Contradiction).value(diagnose::names(&modes)));
    }
    Ok(())
}

/// A socket that is bound, and its rings.
struct Bound {
    socket: OwnedHandle,
    rings: Rings,
    offsets: xdp_mmap_offsets,
    /// The rings have a flags word.
    has_flags: bool,
    /// Fill and completion ring came with it.
    pool_rings: bool,
}

fn bind(
    request: &Request<'_>,
    info: &InterfaceInfo,
    key: &QueueKey,
    plan: Plan,
    state: &mut State,
    sizes: Sizes,
) -> Result<Bound, Error> {
    let &Request { config, umem, rx, tx, .. } = request;
    let backend = umem.backend();
    let limit = config.busy_timeout();
    let socket = match plan {
        Plan::Register => match state.take_registered(key.namespace) {
            Some(socket) => socket,
            None => umem.register(limit)?,
        },
        Plan::Share { .. } => {
            let socket = backend.socket().map_err(|e| diagnose::create_socket(backend, e))?;
            OwnedHandle::new(backend, socket)
        }
    };
    let own_pool = match plan {
        Plan::Register => true,
        Plan::Share { rings, .. } => rings == PoolRings::New,
    };
    for (wanted, name, option, size) in [
        (own_pool, "fill", XDP_UMEM_FILL_RING, sizes.fill),
        (own_pool, "completion", XDP_UMEM_COMPLETION_RING, sizes.completion),
        (rx, "RX", XDP_RX_RING, sizes.rx),
        (tx, "TX", XDP_TX_RING, sizes.tx),
    ] {
        if wanted {
            let made = backend.set_option(socket.get(), option, &size);
            made.map_err(|e| diagnose::create_ring(name, size, e))?;
        }
    }
    if let Some(budget) = config.tx_budget().filter(|_| tx) {
        set_tx_budget(backend, socket.get(), budget)?;
    }
    let (offsets, has_flags) = offsets(backend, socket.get())?;
    // Before binding: Linux up to 6.1 maps no rings of a bound socket (net/xdp/xsk.c:xsk_mmap).
    let map = |name, offset, len| {
        backend.mmap_ring(socket.get(), offset, len).map_err(|e| {
            Error::new(Step::MapRing, Diagnosis::Unknown)
                .value(format!("{len} bytes for the {name} ring"))
                .source(e)
        })
    };
    let map_pool = || -> Result<_, Error> {
        let fill = Mapped::<u64, ()>::bytes(&offsets.fr, sizes.fill);
        let completion = Mapped::<u64, ()>::bytes(&offsets.cr, sizes.completion);
        Ok((
            map("fill", XDP_UMEM_PGOFF_FILL_RING, fill)?,
            map("completion", XDP_UMEM_PGOFF_COMPLETION_RING, completion)?,
        ))
    };
    let mut rings = Rings::default();
    if own_pool {
        let (fill, completion) = map_pool()?;
        if let Some(wanted) = request.pool_rings {
            put_on_fill_ring(&fill, &offsets.fr, sizes.fill, wanted.frames)?;
        }
        (rings.fill, rings.completion) = (Some(fill), Some(completion));
    }
    if rx {
        rings.rx = Some(map("RX", XDP_PGOFF_RX_RING, Mapped::<xdp_desc, ()>::bytes(&offsets.rx, sizes.rx))?);
    }
    if tx {
        rings.tx = Some(map("TX", XDP_PGOFF_TX_RING, Mapped::<xdp_desc, ()>::bytes(&offsets.tx, sizes.tx))?);
    }

    let (flags, shared_fd) = match plan {
        Plan::Register => (config.bind_flags().bits(), 0),
        Plan::Share { socket: Handle(fd), .. } => (XDP_SHARED_UMEM, fd as u32),
    };
    let address = sockaddr_xdp {
        sxdp_family: AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: key.ifindex,
        sxdp_queue_id: key.queue,
        sxdp_shared_umem_fd: shared_fd,
    };
    let (result, waited) = retry(backend, errno::EBUSY, limit, || backend.bind(socket.get(), &address));
    result.map_err(|e| {
        let context = BindContext {
            interface: info,
            layout: umem.layout(),
            flags: *config.bind_flags(),
            shared: plan != Plan::Register,
            waited_ms: waited.as_millis() as u64,
        };
        diagnose::bind(&context, e)
    })?;
    if let Some(wanted) = request.pool_rings.filter(|_| own_pool) {
        let options = backend.get_option::<xdp_options>(socket.get(), SOL_XDP, XDP_OPTIONS);
        // Kernels that do not tell (before 5.3) are taken to be the worse.
        let copy = options.is_ok_and(|(options, _)| options.flags & XDP_OPTIONS_ZEROCOPY == 0);
        wanted.given.set(Some(Given { key: *key, zero_copy: !copy }));
    }

    // The queue has a pool whose first socket is gone, and with it whoever held the pool's rings. A bound socket may map
    // them since Linux 6.4; before, they stay out of reach until the queue is released.
    if let Plan::Share { rings: PoolRings::Orphaned, .. } = plan {
        match map_pool() {
            Ok((fill, completion)) => (rings.fill, rings.completion) = (Some(fill), Some(completion)),
            Err(error) if error.errno() == Some(errno::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    let pool_rings = rings.fill.is_some();
    Ok(Bound { socket, rings, offsets, has_flags, pool_rings })
}

/// Before Linux 6.17 there is no such option, and nothing to be done about it.
fn set_tx_budget(backend: &Arc<dyn Backend>, socket: Handle, budget: u32) -> Result<(), Error> {
    match backend.set_option(socket, XDP_MAX_TX_SKB_BUDGET, &budget) {
        Err(error) if error.raw_os_error() != Some(errno::ENOPROTOOPT) => {
            let value = format!("{budget} descriptors");
            Err(Error::new(Step::TxBudget, Diagnosis::Unknown).value(value).source(error))
        }
        _ => Ok(()),
    }
}

/// Puts frames on a fill ring that nobody has taken yet. Its producing half then starts behind them.
fn put_on_fill_ring(
    mapping: &Mapping,
    offsets: &xdp_ring_offset,
    size: u32,
    frames: &[u64],
) -> Result<(), Error> {
    let error = || Error::new(Step::MapRing, Diagnosis::Unknown).value("the fill ring");
    // SAFETY: the mapping is page aligned and outlives the ring; only ring code and the kernel access it, by the protocol.
    let ring = unsafe { Mapped::new(mapping.as_ptr(), mapping.len(), offsets, size, ()) };
    let ring = ring.map_err(|shape| error().source(io::Error::other(shape)))?;
    // SAFETY: a ring that was just made; this producer is gone before there is another.
    let mut fill = unsafe { Producer::new(ring) };
    let put = fill.produce(frames, |address| *address);
    put.map(drop).map_err(|index| Error::new(Step::MoveDescriptors, Diagnosis::BrokenRing(index)))
}

/// The offsets, and whether there is a flags word: kernels before 5.4 have none and return a shorter struct.
fn offsets(backend: &Arc<dyn Backend>, socket: Handle) -> Result<(xdp_mmap_offsets, bool), Error> {
    let result = backend.get_option::<xdp_mmap_offsets>(socket, SOL_XDP, XDP_MMAP_OFFSETS);
    let (offsets, len) = result.map_err(|e| Error::new(Step::RingOffsets, Diagnosis::Unknown).source(e))?;
    let mut old = xdp_mmap_offsets_v1::default();
    let old_len = old.as_bytes().len();
    if len == old_len {
        old.as_bytes_mut().copy_from_slice(&offsets.as_bytes()[..old_len]);
        return Ok((old.into(), false));
    }
    if len < offsets.as_bytes().len() {
        return Err(
            Error::new(Step::RingOffsets, Diagnosis::Unknown).value(format!("an answer of {len} bytes"))
        );
    }
    Ok((offsets, true))
}

/// Takes a share in the interface's program, and puts a socket that receives into its map.
fn attach(
    request: &Request<'_>,
    info: &InterfaceInfo,
    key: &QueueKey,
    multi_buffer: bool,
    socket: Handle,
    program: &mut Option<ProgramRef>,
) -> Result<Option<MapSlot>, Error> {
    let &Request { config, umem, rx, .. } = request;
    if config.libxdp_flags().contains(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD) {
        return Ok(None);
    }
    let (backend, flags) = (umem.backend(), *config.xdp_flags());
    let acquired = program::acquire(backend, key.namespace, info, flags, config.attach(), multi_buffer)?;
    let program = program.insert(acquired);
    // A socket without an RX ring in the map crashes kernels before 7.1.
    let slot = rx.then(|| program.insert(key.queue, socket)).transpose();
    slot.map_err(|e| {
        Error::new(Step::UpdateMap, Diagnosis::Unknown).value(format!("slot {}", key.queue)).source(e)
    })
}

impl Opened {
    pub(crate) fn rx(&self) -> Result<ConsumerOf<xdp_desc>, Error> {
        let ring = self.ring("RX", self.shared.rings.rx.as_ref(), &self.offsets.rx, self.sizes.rx)?;
        // SAFETY: the RX ring of a socket that was just made: nobody else consumes.
        Ok(unsafe { Consumer::new(ring) })
    }

    pub(crate) fn tx(&self) -> Result<ProducerOf<xdp_desc>, Error> {
        let ring = self.ring("TX", self.shared.rings.tx.as_ref(), &self.offsets.tx, self.sizes.tx)?;
        // SAFETY: the TX ring of a socket that was just made: nobody else produces.
        Ok(unsafe { Producer::new(ring) })
    }

    pub(super) fn fill_and_completion(&self) -> Result<Option<(FillQueue, CompQueue)>, Error> {
        let rings = self.pool_rings()?;
        Ok(rings.map(|(fill, completion)| {
            (FillQueue::new(fill, &self.shared), CompQueue::new(completion, &self.shared))
        }))
    }

    /// The fill and the completion ring, if they came with this socket.
    pub(crate) fn pool_rings(&self) -> Result<Option<RingsOfPool>, Error> {
        let Rings { fill, completion, .. } = &self.shared.rings;
        if fill.is_none() {
            return Ok(None);
        }
        let fill = self.ring("fill", fill.as_ref(), &self.offsets.fr, self.sizes.fill)?;
        let completion =
            self.ring("completion", completion.as_ref(), &self.offsets.cr, self.sizes.completion)?;
        // SAFETY: the rings of a pool that this socket made, or whose former owner is closed: nobody else produces.
        let fill = unsafe { Producer::new(fill) };
        // SAFETY: as above: nobody else consumes.
        let completion = unsafe { Consumer::new(completion) };
        Ok(Some((fill, completion)))
    }

    fn ring<T: Copy>(
        &self,
        name: &str,
        mapping: Option<&Mapping>,
        offsets: &xdp_ring_offset,
        size: u32,
    ) -> Result<Mapped<T, Arc<Shared>>, Error> {
        let error = || self.shared.error(Step::MapRing, Diagnosis::Unknown).value(format!("the {name} ring"));
        let mapping = mapping.ok_or_else(error)?;
        // SAFETY: the mapping is page aligned and lives in `shared`, which the ring keeps; only ring code and the kernel
        // access it, by the protocol.
        let ring =
            unsafe { Mapped::new(mapping.as_ptr(), mapping.len(), offsets, size, Arc::clone(&self.shared)) };
        ring.map_err(|shape| error().source(io::Error::other(shape)))
    }
}
