//! Opening UMEMs and sockets of the ring tier.

use std::num::NonZeroU32;
use std::sync::Arc;

use xsk::backend::{AttachedProgram, Backend, Capabilities, PageSize, XdpMode};
use xsk::config::{Attach, BindFlags, QueueSize, SocketConfig, UmemConfig, XdpFlags};
use xsk::error::{Diagnosis, Step};
use xsk::socket::SocketCreateError;
use xsk::umem::UmemCreateError;
use xsk::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};
use xsk_core::abi::*;
use xsk_core::errno::*;

use super::Then::{Fails, GoesOn};
use super::answers::*;
use super::ledger::{Call, Ledger};
use super::{Path, Row, check, expect, fail, mock};

/// Entries of every ring.
const SIZE: u32 = 8;

pub(crate) type Opened = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Sixteen frames.
pub(crate) fn try_umem(backend: &Arc<dyn Backend>) -> Result<Umem, UmemCreateError> {
    let size = QueueSize::new(SIZE).unwrap();
    let config = UmemConfig::builder().fill_queue_size(size).comp_queue_size(size).build().unwrap();
    let frames = NonZeroU32::new(16).unwrap();
    Ok(Umem::new_in(Arc::clone(backend), config, frames, PageSize::Normal)?.0)
}

fn builder() -> xsk::config::SocketConfigBuilder {
    let size = QueueSize::new(SIZE).unwrap();
    *SocketConfig::builder().rx_queue_size(size).tx_queue_size(size)
}

pub(crate) fn open(
    config: SocketConfig,
    umem: &Umem,
    on: &str,
    queue: u32,
) -> Result<Opened, SocketCreateError> {
    // SAFETY: no frame is handed over.
    unsafe { Socket::new(config, umem, &on.parse().unwrap(), queue) }
}

pub(crate) fn port(umem: &Umem, on: &str, queue: u32) -> Opened {
    open(builder().build(), umem, on, queue).unwrap()
}

/// The registration, of a socket that is made for it or was.
const REGISTRATION: [Row; 4] = [
    (Call::Namespace, 0, Fails(Step::FindNamespace), NAMESPACE),
    (Call::Socket, 0, Fails(Step::CreateSocket), SOCKET),
    (Call::Setsockopt(XDP_UMEM_REG), 0, Fails(Step::RegisterUmem), REGISTER),
    (Call::Setsockopt(XDP_UMEM_REG), 0, GoesOn, REGISTER_AGAIN),
];

pub(crate) fn making_memory() -> Vec<Row> {
    let memory = (Call::MmapMemory, 0, Fails(Step::MapMemory), MMAP_MEMORY);
    [&[memory][..], &REGISTRATION].concat()
}

/// The calls of a socket that has fill and completion rings of its own and is the first of its interface, if each call was
/// made `nth` times before, and interfaces were looked at `looked` times.
pub(crate) fn first_socket(nth: usize, looked: usize, bind: Answers) -> Vec<Row> {
    vec![
        (Call::Interface, looked, Fails(Step::FindInterface), LOOK),
        (Call::Namespace, 1 + nth, Fails(Step::FindNamespace), NAMESPACE),
        (Call::Setsockopt(XDP_UMEM_FILL_RING), nth, Fails(Step::CreateRing), RING),
        (Call::Setsockopt(XDP_UMEM_COMPLETION_RING), nth, Fails(Step::CreateRing), RING),
        (Call::Setsockopt(XDP_RX_RING), nth, Fails(Step::CreateRing), RING),
        (Call::Setsockopt(XDP_TX_RING), nth, Fails(Step::CreateRing), RING),
        (Call::Getsockopt(XDP_MMAP_OFFSETS), nth, Fails(Step::RingOffsets), OFFSETS),
        (Call::MmapRing(XDP_UMEM_PGOFF_FILL_RING), nth, Fails(Step::MapRing), MMAP),
        (Call::MmapRing(XDP_UMEM_PGOFF_COMPLETION_RING), nth, Fails(Step::MapRing), MMAP),
        (Call::MmapRing(XDP_PGOFF_RX_RING), nth, Fails(Step::MapRing), MMAP),
        (Call::MmapRing(XDP_PGOFF_TX_RING), nth, Fails(Step::MapRing), MMAP),
        (Call::Bind, nth, Fails(Step::Bind), bind),
        (Call::Bind, nth, GoesOn, BIND_AGAIN),
        (Call::XskmapUpdate, nth, Fails(Step::UpdateMap), UPDATE),
    ]
}

/// The calls of attaching the program, if `nth` were attached before and interfaces were looked at `looked` times.
pub(crate) fn program(nth: usize, looked: usize) -> Vec<Row> {
    vec![
        (Call::XskmapCreate, nth, Fails(Step::CreateMap), MAP),
        (Call::ProgramLoad, nth, Fails(Step::LoadProgram), LOAD),
        (Call::LinkCreate, nth, Fails(Step::AttachProgram), LINK),
        (Call::Interface, looked, GoesOn, LOOK_AGAIN),
    ]
}

#[test]
fn making_a_umem() {
    let path = Path { on: None, before: Arc::clone, open: try_umem, whole: |_| {}, close: drop };
    path.fails_once(&making_memory());
}

#[test]
fn the_first_socket() {
    let path = Path {
        on: Some(("sim0", 1)),
        before: |backend| try_umem(backend).unwrap(),
        open: |umem| open(builder().build(), umem, "sim0", 1),
        whole: |_| {},
        close: drop,
    };
    path.fails_once(&[first_socket(0, 0, BIND), program(0, 1)].concat());
    // Of packets of several buffers other things are said.
    let path = Path {
        open: |umem| open(builder().bind_flags(BindFlags::XDP_USE_SG).build(), umem, "sim0", 1),
        ..path
    };
    let mut rows =
        [first_socket(0, 0, &[(EINVAL, "XDP_USE_SG, which needs Linux 6.6")]), program(0, 1)].concat();
    rows.retain(|row| row.0 != Call::ProgramLoad);
    rows.push((Call::ProgramLoad, 0, Fails(Step::LoadProgram), LOAD_FRAGS));
    rows.retain_mut(|row| {
        row.3 = if row.0 == Call::LinkCreate { &[(ENOSPC, "has too few queues")] } else { row.3 };
        true
    });
    path.fails_once(&rows);
}

/// Without a program of the library's.
#[test]
fn a_socket_for_another_program() {
    use xsk::config::LibxdpFlags;
    let path = Path {
        on: Some(("sim0", 1)),
        before: |backend| try_umem(backend).unwrap(),
        open: |umem| {
            let flags = LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD;
            open(builder().libxdp_flags(flags).build(), umem, "sim0", 1)
        },
        whole: |_| {},
        close: drop,
    };
    let mut rows = first_socket(0, 0, BIND);
    rows.retain(|row| row.0 != Call::XskmapUpdate);
    path.fails_once(&rows);
}

#[test]
fn a_socket_on_a_shared_queue() {
    let path = Path {
        on: Some(("sim0", 1)),
        before: |backend| {
            let umem = try_umem(backend).unwrap();
            (port(&umem, "sim0", 1), umem)
        },
        open: |(_, umem)| open(builder().build(), umem, "sim0", 1),
        whole: |_| {},
        close: drop,
    };
    path.fails_once(&[
        (Call::Interface, 2, Fails(Step::FindInterface), LOOK),
        (Call::Namespace, 2, Fails(Step::FindNamespace), NAMESPACE),
        (Call::Socket, 1, Fails(Step::CreateSocket), SOCKET),
        (Call::Setsockopt(XDP_RX_RING), 1, Fails(Step::CreateRing), RING),
        (Call::Setsockopt(XDP_TX_RING), 1, Fails(Step::CreateRing), RING),
        (Call::Getsockopt(XDP_MMAP_OFFSETS), 1, Fails(Step::RingOffsets), OFFSETS),
        (Call::MmapRing(XDP_PGOFF_RX_RING), 1, Fails(Step::MapRing), MMAP),
        (Call::MmapRing(XDP_PGOFF_TX_RING), 1, Fails(Step::MapRing), MMAP),
        (Call::Bind, 1, Fails(Step::Bind), SHARING_BIND),
        (Call::Bind, 1, GoesOn, BIND_AGAIN),
        (Call::XskmapUpdate, 1, Fails(Step::UpdateMap), UPDATE),
        // Closing one of two sockets leads the packets to the other.
        (Call::XskmapUpdate, 2, GoesOn, UPDATE),
    ]);
}

/// The rings of a queue whose first socket is gone. Before Linux 6.4 they stay out of reach, and the socket opens without.
#[test]
fn a_socket_that_adopts_rings() {
    let path = Path {
        on: Some(("sim0", 1)),
        before: |backend| {
            let umem = try_umem(backend).unwrap();
            let (first, second) = (port(&umem, "sim0", 1), port(&umem, "sim0", 1));
            drop(first);
            (second, umem)
        },
        open: |(_, umem)| open(builder().build(), umem, "sim0", 1),
        whole: |_| {},
        close: drop,
    };
    const OTHERS: Answers = &[(EINVAL, OTHER), (EAGAIN, OTHER), (EPERM, OTHER), (ENOMEM, MEMORY)];
    const BOUND: Answers = &[(EBUSY, "")];
    path.fails_with(&[
        (Call::MmapRing(XDP_UMEM_PGOFF_FILL_RING), 1, Fails(Step::MapRing), OTHERS),
        (Call::MmapRing(XDP_UMEM_PGOFF_COMPLETION_RING), 1, Fails(Step::MapRing), OTHERS),
        (Call::MmapRing(XDP_UMEM_PGOFF_FILL_RING), 1, GoesOn, BOUND),
        (Call::MmapRing(XDP_UMEM_PGOFF_COMPLETION_RING), 1, GoesOn, BOUND),
    ]);
}

#[test]
fn a_socket_on_another_interface() {
    let path = Path {
        on: Some(("sim2", 0)),
        before: |backend| {
            let umem = try_umem(backend).unwrap();
            (port(&umem, "sim0", 0), port(&umem, "sim0", 1), umem)
        },
        open: |(_, _, umem)| open(builder().build(), umem, "sim2", 0),
        whole: |_| {},
        close: drop,
    };
    let socket = (Call::Socket, 2, Fails(Step::CreateSocket), SOCKET);
    let other = (Call::Bind, 2, GoesOn, BIND_WITH_ANOTHER);
    path.fails_once(&[first_socket(2, 3, SHARING_BIND), program(1, 4), vec![socket, other]].concat());
}

/// A program for single buffers is replaced when a socket takes packets of several.
#[test]
fn replacing_the_program() {
    let path = Path {
        on: None,
        before: |backend| {
            let (single, several) = (try_umem(backend).unwrap(), try_umem(backend).unwrap());
            (port(&single, "sim0", 0), single, several)
        },
        open: |(_, _, several)| open(builder().bind_flags(BindFlags::XDP_USE_SG).build(), several, "sim0", 1),
        whole: |_| {},
        close: drop,
    };
    let rows = [
        (Call::ProgramLoad, 1, Fails(Step::LoadProgram), LOAD_FRAGS),
        (Call::LinkUpdate, 0, Fails(Step::AttachProgram), LINK_UPDATE),
        (Call::Interface, 3, GoesOn, LOOK_AGAIN),
    ];
    Path { on: Some(("sim0", 1)), ..path }.fails_with(&rows);
}

/// What a process lacks is named: a mock can say that it does, while the kernel still lets it.
#[test]
fn missing_capabilities_are_named() {
    let rows: &[(Call, Step, &[i32], &str)] = &[
        (Call::Socket, Step::CreateSocket, &[EPERM], "this needs CAP_NET_RAW"),
        (Call::XskmapCreate, Step::CreateMap, &[EPERM], "this needs CAP_BPF and CAP_NET_ADMIN"),
        (Call::ProgramLoad, Step::LoadProgram, &[EPERM, EACCES], "this needs CAP_BPF and CAP_NET_ADMIN"),
        (Call::LinkCreate, Step::AttachProgram, &[EPERM], "this needs CAP_BPF and CAP_NET_ADMIN"),
    ];
    for &(call, step, errnos, telling) in rows {
        for (errno, none) in errnos.iter().flat_map(|errno| [(*errno, true), (*errno, false)]) {
            let ledger = Ledger::new();
            let backend = mock(&ledger, |mock| {
                expect(mock, &ledger, call, 1, Some(errno));
                // Where it cannot be told, it is what it most often is.
                let capabilities = move || if none { Ok(Capabilities::empty()) } else { fail(EACCES) };
                mock.expect_capabilities().times(1..).returning(capabilities);
            });
            match try_umem(&backend) {
                Err(error) => check(&error, step, errno, telling),
                Ok(umem) => {
                    check(&open(builder().build(), &umem, "sim0", 1).unwrap_err(), step, errno, telling)
                }
            }
            drop(backend);
            ledger.nothing_is_left(telling);
        }
    }
}

/// Attaching by libxdp's dispatcher, whose errnos have meanings of their own.
#[test]
fn the_dispatcher() {
    let answers: Answers = &[
        (ENOENT, "mount one with `mount -t bpf bpf /sys/fs/bpf`"),
        (EBUSY, "of unknown name, SKB mode) was not attached through libxdp's dispatcher"),
        (EEXIST, "is on the interface in SKB mode: ask for that mode, or for none"),
        (E2BIG, "has no room for one more XDP program"),
        (ENOSYS, "it needs BPF programs of type EXT"),
        (EPERM, "this needs CAP_SYS_ADMIN"),
        (EINVAL, "with XDP_FLAGS_HW_MODE and libxdp's dispatcher: these flags exclude each other"),
        (EOPNOTSUPP, "has no native XDP"),
        (ENODEV, "there is no such interface"),
        (ENOMEM, MEMORY),
    ];
    let hardware = XdpFlags::XDP_FLAGS_HW_MODE;
    let config = builder().attach(Attach::Dispatcher).xdp_flags(hardware).build();
    for &(errno, telling) in answers {
        let ledger = Ledger::new();
        let mut interface = ledger.devices[0].info();
        interface.program = Some(AttachedProgram { id: 7, mode: XdpMode::Skb });
        let backend = mock(&ledger, |mock| {
            mock.expect_attach_dispatcher().times(1).returning(move |_, _| fail(errno));
            mock.expect_interface().returning(move |_| Ok(interface.clone()));
            mock.expect_program_name().returning(|_| fail(EPERM));
            mock.expect_capabilities().returning(|| fail(EACCES));
        });
        let umem = try_umem(&backend).unwrap();
        check(&open(config, &umem, "sim0", 1).unwrap_err(), Step::AttachProgram, errno, telling);
        // The simulated kernel has no dispatcher.
        let error = open(config, &umem, "sim0", 1).unwrap_err();
        assert_eq!(*error.diagnosis(), Diagnosis::NoFeature("libxdp"));
        drop((error, umem, backend));
        ledger.nothing_is_left(telling);
    }
}

/// The first socket of an interface is refused its queue until it gives up.
#[test]
fn a_queue_that_stays_busy() {
    let ledger = Ledger::new();
    let backend = mock(&ledger, |mock| {
        mock.expect_bind().times(3..).returning(|_, _| fail(EBUSY));
    });
    let umem = try_umem(&backend).unwrap();
    let error = open(builder().build(), &umem, "sim0", 1).unwrap_err();
    check(&error, Step::Bind, EBUSY, "(waited 1000 ms for it)");
    drop((umem, backend));
    ledger.nothing_is_left("a busy queue");
}

/// Memory that stays locked.
#[test]
fn memory_that_stays_locked() {
    let ledger = Ledger::new();
    let backend = mock(&ledger, |mock| {
        let register = mock.expect_setsockopt().withf(|_, _, name, _| *name == XDP_UMEM_REG);
        register.times(3..).returning(|_, _, _, _| fail(ENOBUFS));
    });
    let error = try_umem(&backend).unwrap_err();
    check(&error, Step::RegisterUmem, ENOBUFS, "the limit of locked memory is too low");
    drop(backend);
    ledger.nothing_is_left("locked memory");
}
