//! What an errno of a set-up call means.

use std::io;
use std::sync::Arc;

use bitflags::Flags;
use xsk_core::layout::Layout;
use xsk_core::ring::MAX_CAPACITY;

use crate::backend::{AttachedProgram, Backend, Capabilities, InterfaceInfo, XdpMode};
use crate::config::{BindFlags, UmemFlags, XdpFlags};
use crate::error::{Diagnosis, Error, Step, errno};

/// Frame bytes beside the MTU: Ethernet header, and two VLAN tags and a checksum as drivers reckon.
const FRAME_OVERHEAD: u32 = 14 + 12;

fn lacks(backend: &Arc<dyn Backend>, any_of: Capabilities) -> bool {
    // Where it cannot be told, EPERM means what it most often means.
    backend.capabilities().map_or(true, |has| !has.intersects(any_of))
}

/// Flags by their names, and bits without one as a number.
pub(crate) fn names<F: Flags>(flags: &F) -> String
where
    F::Bits: std::fmt::LowerHex,
{
    let mut names = flags.iter_names();
    let mut all: Vec<String> = names.by_ref().map(|(name, _)| name.to_owned()).collect();
    let rest = names.remaining();
    all.extend((!rest.is_empty()).then(|| format!("{:#x}", rest.bits())));
    all.join(" | ")
}

fn make(step: Step, diagnosis: Diagnosis, source: io::Error) -> Error {
    Error::new(step, diagnosis).source(source)
}

pub(crate) fn create_socket(backend: &Arc<dyn Backend>, source: io::Error) -> Error {
    let diagnosis = match source.raw_os_error() {
        Some(errno::EPERM) if lacks(backend, Capabilities::CAP_NET_RAW) => {
            Diagnosis::MissingCapability("CAP_NET_RAW (to make AF_XDP sockets)")
        }
        Some(errno::EPERM | errno::EAFNOSUPPORT | errno::ESOCKTNOSUPPORT | errno::ENOSYS) => {
            Diagnosis::NoAfXdp
        }
        Some(errno::ENOMEM) => Diagnosis::OutOfMemory,
        _ => Diagnosis::Unknown,
    };
    make(Step::CreateSocket, diagnosis, source)
}

pub(crate) fn register_umem(backend: &Arc<dyn Backend>, layout: &Layout, source: io::Error) -> Error {
    const PAGE: u32 = xsk_core::region::PAGE_SIZE as u32;
    let flags = layout.flags();
    // chunk_size - XDP_PACKET_HEADROOM - sizeof(struct skb_shared_info) - 128
    let max_headroom = layout.chunk_size().saturating_sub(704);
    let metadata = UmemFlags::XDP_UMEM_TX_METADATA_LEN | UmemFlags::XDP_UMEM_TX_SW_CSUM;
    let (diagnosis, value) = match source.raw_os_error() {
        Some(errno::ENOBUFS) => {
            let limit = backend.memlock_limit().ok().flatten();
            (Diagnosis::MemoryLimit { limit, needed: layout.len() }, format!("{} bytes", layout.len()))
        }
        Some(errno::EINVAL) if layout.chunk_size() > PAGE => {
            (Diagnosis::FrameSize { max: PAGE }, format!("frame size {}", layout.chunk_size()))
        }
        Some(errno::EINVAL) if layout.headroom() > max_headroom => {
            (Diagnosis::Headroom { max: max_headroom }, format!("headroom {}", layout.headroom()))
        }
        Some(errno::EINVAL) if flags.contains_unknown_bits() => {
            (Diagnosis::Unknown, format!("flags {}", names(&flags)))
        }
        Some(errno::EINVAL) if flags.intersects(metadata) => {
            let diagnosis = Diagnosis::KernelTooOld { feature: "this TX metadata", since: "6.11" };
            (
                diagnosis,
                format!("flags {} and {} bytes of TX metadata", names(&flags), layout.tx_metadata_len()),
            )
        }
        Some(errno::EINVAL) if layout.is_unaligned() => {
            let diagnosis = Diagnosis::KernelTooOld { feature: "unaligned chunks", since: "5.4" };
            (diagnosis, format!("flags {}", names(&flags)))
        }
        Some(errno::ENOMEM) => (Diagnosis::OutOfMemory, format!("{} bytes", layout.len())),
        _ => (Diagnosis::Unknown, format!("{layout:?}")),
    };
    make(Step::RegisterUmem, diagnosis, source).value(value)
}

pub(crate) fn create_ring(name: &str, size: u32, source: io::Error) -> Error {
    let diagnosis = match source.raw_os_error() {
        Some(errno::ENOMEM) => Diagnosis::OutOfMemory,
        Some(errno::EINVAL) => Diagnosis::RingSize { max: MAX_CAPACITY },
        _ => Diagnosis::Unknown,
    };
    make(Step::CreateRing, diagnosis, source).value(format!("{size} entries for the {name} ring"))
}

pub(crate) fn find_interface(source: io::Error) -> Error {
    let diagnosis = match source.raw_os_error() {
        Some(errno::ENODEV | errno::ENXIO) => Diagnosis::NoInterface,
        _ => Diagnosis::Unknown,
    };
    make(Step::FindInterface, diagnosis, source)
}

/// What bind was asked for, and of what.
pub(crate) struct BindContext<'a> {
    pub(crate) interface: &'a InterfaceInfo,
    pub(crate) layout: &'a Layout,
    pub(crate) flags: BindFlags,
    /// The UMEM has a bound socket already.
    pub(crate) shared: bool,
    pub(crate) waited_ms: u64,
}

pub(crate) fn bind(context: &BindContext<'_>, source: io::Error) -> Error {
    let &BindContext { interface, layout, flags, shared, waited_ms } = context;
    let mtu = interface.mtu;
    let too_long =
        mtu.saturating_add(FRAME_OVERHEAD) > layout.room() && !flags.contains(BindFlags::XDP_USE_SG);
    let diagnosis = match source.raw_os_error() {
        Some(errno::EBUSY) => Diagnosis::QueueBusy { waited_ms },
        Some(errno::EOPNOTSUPP) => Diagnosis::NoZeroCopy { driver: interface.driver.clone() },
        Some(errno::ENODEV) => Diagnosis::NoInterface,
        Some(errno::ENETDOWN) => Diagnosis::InterfaceDown,
        Some(errno::ENOMEM) => Diagnosis::OutOfMemory,
        Some(errno::EINVAL) if flags.contains_unknown_bits() && !shared => Diagnosis::Unknown,
        Some(errno::EINVAL) if flags.contains(BindFlags::XDP_ZEROCOPY) && too_long => {
            Diagnosis::FrameTooSmall { mtu, room: layout.room() }
        }
        Some(errno::EINVAL) if shared => {
            Diagnosis::KernelTooOld { feature: Diagnosis::SHARED_UMEM, since: "5.10" }
        }
        Some(errno::EINVAL) if flags.contains(BindFlags::XDP_USE_SG) => {
            Diagnosis::KernelTooOld { feature: Diagnosis::SEVERAL_BUFFERS, since: "6.6" }
        }
        _ => Diagnosis::Unknown,
    };
    let error = make(Step::Bind, diagnosis, source);
    if flags.is_empty() || shared { error } else { error.value(format!("flags {}", names(&flags))) }
}

pub(crate) fn mode_of(modes: XdpFlags) -> Option<XdpMode> {
    match modes {
        XdpFlags::XDP_FLAGS_SKB_MODE => Some(XdpMode::Skb),
        XdpFlags::XDP_FLAGS_DRV_MODE => Some(XdpMode::Native),
        XdpFlags::XDP_FLAGS_HW_MODE => Some(XdpMode::Offloaded),
        _ => None,
    }
}

/// Steps of the XDP program and its map.
pub(crate) fn program(
    backend: &Arc<dyn Backend>,
    step: Step,
    interface: &InterfaceInfo,
    frags: bool,
    source: io::Error,
) -> Error {
    let bpf = Capabilities::CAP_BPF | Capabilities::CAP_SYS_ADMIN;
    let driver = || interface.driver.clone();
    let diagnosis = match (step, source.raw_os_error()) {
        (_, Some(errno::EPERM | errno::EACCES)) => {
            match (lacks(backend, bpf), lacks(backend, Capabilities::CAP_NET_ADMIN)) {
                (false, false) => Diagnosis::Forbidden,
                (true, false) => Diagnosis::MissingCapability("CAP_BPF (to load XDP programs)"),
                (false, true) => {
                    Diagnosis::MissingCapability("CAP_NET_ADMIN (to load and attach XDP programs)")
                }
                (true, true) => Diagnosis::MissingCapability(
                    "CAP_BPF and CAP_NET_ADMIN (to load and attach XDP programs)",
                ),
            }
        }
        (_, Some(errno::ENOSYS)) => Diagnosis::KernelTooOld { feature: "bpf(2)", since: "4.18" },
        (_, Some(errno::ENOMEM)) => Diagnosis::OutOfMemory,
        (_, Some(errno::ENODEV)) => Diagnosis::NoInterface,
        (Step::LoadProgram, Some(errno::EINVAL)) if frags => {
            Diagnosis::KernelTooOld { feature: "XDP programs for packets of several buffers", since: "5.18" }
        }
        (Step::AttachProgram, Some(errno::EBUSY | errno::EEXIST)) => already(backend, interface),
        (Step::AttachProgram, Some(errno::EOPNOTSUPP)) => Diagnosis::NoNativeXdp { driver: driver() },
        (Step::AttachProgram, Some(errno::ERANGE)) => Diagnosis::MtuTooLargeForProgram { mtu: interface.mtu },
        (Step::AttachProgram, Some(errno::ENOSPC)) => Diagnosis::TooFewQueues { driver: driver() },
        (Step::AttachProgram, Some(errno::EINVAL)) => Diagnosis::AttachRefused { driver: driver() },
        _ => Diagnosis::Unknown,
    };
    make(step, diagnosis, source).on(&interface.name, None)
}

/// Attaching through libxdp's dispatcher, by the errnos of [`Backend::attach_dispatcher`].
pub(crate) fn dispatcher(
    backend: &Arc<dyn Backend>,
    interface: &InterfaceInfo,
    modes: XdpFlags,
    source: io::Error,
) -> Error {
    let diagnosis = match source.raw_os_error() {
        None if source.kind() == io::ErrorKind::Unsupported => {
            let error = Error::new(Step::AttachProgram, Diagnosis::NoFeature("libxdp"));
            return error.on(&interface.name, None);
        }
        Some(errno::ENOENT) => Diagnosis::NoBpffs,
        Some(errno::E2BIG) => Diagnosis::DispatcherFull,
        Some(errno::ENOSYS) => Diagnosis::NoDispatcher,
        Some(errno::EPERM) if lacks(backend, Capabilities::CAP_SYS_ADMIN) => Diagnosis::MissingCapability(
            "CAP_SYS_ADMIN (libxdp's dispatcher finds XDP programs by their ids)",
        ),
        Some(errno::EINVAL) if mode_of(modes) == Some(XdpMode::Offloaded) => {
            let error = make(Step::AttachProgram, Diagnosis::Contradiction, source);
            return error.on(&interface.name, None).value("XDP_FLAGS_HW_MODE and libxdp's dispatcher");
        }
        Some(errno::EEXIST) => match in_the_way(backend, interface) {
            Some((program, _)) => Diagnosis::DispatcherMode { attached: program.mode },
            None => Diagnosis::Unknown,
        },
        Some(errno::EBUSY) => match in_the_way(backend, interface) {
            Some((program, name)) => Diagnosis::NotDispatched { program, name },
            None => Diagnosis::Unknown,
        },
        Some(errno::EINVAL) => Diagnosis::Unknown,
        _ => return program(backend, Step::AttachProgram, interface, false, source).value(DISPATCHER),
    };
    make(Step::AttachProgram, diagnosis, source).on(&interface.name, None).value(DISPATCHER)
}

const DISPATCHER: &str = "libxdp's dispatcher";

fn already(backend: &Arc<dyn Backend>, interface: &InterfaceInfo) -> Diagnosis {
    match in_the_way(backend, interface) {
        Some((program, name)) => Diagnosis::ProgramAttached { program, name },
        None => Diagnosis::Unknown,
    }
}

/// The program that is in the way, and its name. It may have come after `interface` was looked at.
fn in_the_way(backend: &Arc<dyn Backend>, interface: &InterfaceInfo) -> Option<(AttachedProgram, String)> {
    let now =
        std::ffi::CString::new(interface.name.as_str()).ok().and_then(|name| backend.interface(&name).ok());
    let program = now.and_then(|now| now.program).or(interface.program)?;
    let name = match backend.program_name(program.id) {
        Ok(name) if name.is_empty() => "without a name".to_owned(),
        Ok(name) => format!("`{name}`"),
        Err(_) => "of unknown name".to_owned(),
    };
    Some((program, name))
}
