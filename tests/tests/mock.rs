//! Every call that opening a UMEM and sockets makes fails once, with each errno that it may give: nothing leaks, the error
//! names the step, and the next attempt succeeds.

mod toy;

use std::ffi::CStr;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use mockall::mock;
use toy::Toy;
use toy::script::fail;
use toy::setup::{Port, config, open, port, try_umem};
use xsk::Umem;
use xsk::backend::{
    AttachedProgram, Attachment, Backend, Capabilities, Handle, HugePages, InterfaceInfo, Mapping,
    NamespaceId, PageSize, Poll, RedirectProgram, XdpMode,
};
use xsk::config::{Attach, BindFlags, SocketConfig, XdpFlags};
use xsk::error::{Diagnosis, Error, Step};
use xsk_core::abi::*;
use xsk_core::errno::*;

mock! {
    #[derive(Debug)]
    Kernel {}

    impl Backend for Kernel {
        fn socket(&self) -> io::Result<Handle>;
        fn close(&self, handle: Handle);
        fn setsockopt(&self, socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()>;
        fn getsockopt(&self, socket: Handle, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize>;
        fn bind(&self, socket: Handle, address: &sockaddr_xdp) -> io::Result<()>;
        fn mmap_ring(&self, socket: Handle, offset: u64, len: usize) -> io::Result<Mapping>;
        fn mmap_memory(&self, len: usize, pages: PageSize) -> io::Result<Mapping>;
        fn poll(&self, polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize>;
        fn sendto(&self, socket: Handle) -> io::Result<()>;
        fn recvfrom(&self, socket: Handle) -> io::Result<()>;
        fn interface(&self, name: &CStr) -> io::Result<InterfaceInfo>;
        fn namespace(&self) -> io::Result<NamespaceId>;
        fn now(&self) -> Duration;
        fn sleep(&self, time: Duration);
        fn fd(&self, socket: Handle) -> Option<i32>;
        fn xskmap_create(&self, entries: u32) -> io::Result<Handle>;
        fn xskmap_update(&self, map: Handle, key: u32, socket: Handle) -> io::Result<()>;
        fn xskmap_delete(&self, map: Handle, key: u32) -> io::Result<()>;
        fn program_load(&self, program: &RedirectProgram) -> io::Result<Handle>;
        fn link_create(&self, program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle>;
        fn link_update(&self, link: Handle, program: Handle) -> io::Result<()>;
        fn attach_dispatcher(&self, interface: &InterfaceInfo, flags: XdpFlags) -> io::Result<Attachment>;
        fn program_name(&self, id: u32) -> io::Result<String>;
        fn capabilities(&self) -> io::Result<Capabilities>;
        fn memlock_limit(&self) -> io::Result<Option<u64>>;
        fn huge_pages(&self, size: PageSize) -> io::Result<HugePages>;
    }
}

// What mockall keeps is whole after a panic.
impl UnwindSafe for MockKernel {}
impl RefUnwindSafe for MockKernel {}

/// A call of the set-up.
#[derive(Debug, Clone, Copy)]
enum Call {
    MmapMemory,
    Namespace,
    Socket,
    Setsockopt(i32),
    Getsockopt,
    MmapRing(u64),
    Bind,
    Interface,
    XskmapCreate,
    ProgramLoad,
    LinkCreate,
    LinkUpdate,
    XskmapUpdate,
}

/// The toy behind a mock that lets `call` pass `skip` times and then fails it once.
fn faulty(toy: &Arc<Toy>, call: Call, skip: usize, errno: i32) -> Arc<MockKernel> {
    mock(toy, |mock| {
        expect(mock, toy, call, skip, None);
        expect(mock, toy, call, 1, Some(errno));
    })
}

/// The toy behind a mock. What is expected `first` comes before it.
fn mock(toy: &Arc<Toy>, first: impl FnOnce(&mut MockKernel)) -> Arc<MockKernel> {
    let mut mock = MockKernel::new();
    first(&mut mock);
    macro_rules! delegate {
        ($($expect:ident => $method:ident($($argument:ident),*);)*) => {$({
            let toy = Arc::clone(toy);
            mock.$expect().returning(move |$($argument),*| toy.$method($($argument),*));
        })*};
    }
    delegate! {
        expect_socket => socket();
        expect_close => close(handle);
        expect_setsockopt => setsockopt(socket, level, name, value);
        expect_getsockopt => getsockopt(socket, level, name, value);
        expect_bind => bind(socket, address);
        expect_mmap_ring => mmap_ring(socket, offset, len);
        expect_mmap_memory => mmap_memory(len, pages);
        expect_poll => poll(polls, timeout);
        expect_sendto => sendto(socket);
        expect_recvfrom => recvfrom(socket);
        expect_interface => interface(name);
        expect_namespace => namespace();
        expect_now => now();
        expect_sleep => sleep(time);
        expect_fd => fd(socket);
        expect_xskmap_create => xskmap_create(entries);
        expect_xskmap_update => xskmap_update(map, key, socket);
        expect_xskmap_delete => xskmap_delete(map, key);
        expect_program_load => program_load(program);
        expect_link_create => link_create(program, ifindex, flags);
        expect_attach_dispatcher => attach_dispatcher(interface, flags);
        expect_program_name => program_name(id);
        expect_capabilities => capabilities();
        expect_memlock_limit => memlock_limit();
        expect_huge_pages => huge_pages(size);
    }
    mock.expect_link_update().returning(|_, _| Ok(()));
    Arc::new(mock)
}

/// The next `times` calls pass, or fail. The mock checks when it is dropped that they were made.
fn expect(mock: &mut MockKernel, toy: &Arc<Toy>, call: Call, times: usize, errno: Option<i32>) {
    if times == 0 {
        return;
    }
    let toy = Arc::clone(toy);
    macro_rules! answer {
        ($expectation:expr, $method:ident($($argument:ident),*)) => {
            $expectation.times(times).returning(move |$($argument),*| match errno {
                Some(errno) => fail(errno),
                None => toy.$method($($argument),*),
            })
        };
    }
    match call {
        Call::MmapMemory => drop(answer!(mock.expect_mmap_memory(), mmap_memory(len, pages))),
        Call::Namespace => drop(answer!(mock.expect_namespace(), namespace())),
        Call::Socket => drop(answer!(mock.expect_socket(), socket())),
        Call::Setsockopt(option) => {
            let expectation = mock.expect_setsockopt().withf(move |_, _, name, _| *name == option);
            answer!(expectation, setsockopt(socket, level, name, value));
        }
        Call::Getsockopt => drop(answer!(mock.expect_getsockopt(), getsockopt(socket, level, name, value))),
        Call::MmapRing(ring) => {
            let expectation = mock.expect_mmap_ring().withf(move |_, offset, _| *offset == ring);
            answer!(expectation, mmap_ring(socket, offset, len));
        }
        Call::Bind => drop(answer!(mock.expect_bind(), bind(socket, address))),
        Call::Interface => drop(answer!(mock.expect_interface(), interface(name))),
        Call::XskmapCreate => drop(answer!(mock.expect_xskmap_create(), xskmap_create(entries))),
        Call::ProgramLoad => drop(answer!(mock.expect_program_load(), program_load(program))),
        Call::LinkCreate => drop(answer!(mock.expect_link_create(), link_create(program, ifindex, flags))),
        Call::LinkUpdate => drop(answer!(mock.expect_link_update(), link_update(link, program))),
        Call::XskmapUpdate => drop(answer!(mock.expect_xskmap_update(), xskmap_update(map, key, socket))),
    }
}

/// The errnos that a call may give, and a telling part of what is to be said of each.
type Answers = &'static [(i32, &'static str)];

const OTHER: &str = "the kernel refused";
const MEMORY: &str = "not enough memory";
const FILES: &str = "raise the limit with `ulimit -n`";

const SOCKET: Answers = &[
    (EPERM, "this needs CAP_NET_RAW"),
    (EAFNOSUPPORT, "this kernel has no AF_XDP"),
    (ESOCKTNOSUPPORT, "this kernel has no AF_XDP"),
    (EMFILE, FILES),
    (ENFILE, FILES),
    (ENOMEM, MEMORY),
];
const NAMESPACE: Answers =
    &[(ENOENT, "/proc is not mounted"), (EACCES, "/proc is not mounted"), (EMFILE, FILES)];
const REGISTER: Answers =
    &[(EINVAL, OTHER), (EFAULT, OTHER), (EBUSY, OTHER), (ENOPROTOOPT, OTHER), (ENOMEM, MEMORY)];
const RING: Answers = &[(EINVAL, "a ring has a power of two of entries"), (EBUSY, OTHER), (ENOMEM, MEMORY)];
const OFFSETS: Answers = &[(EINVAL, OTHER), (ENOPROTOOPT, OTHER), (EFAULT, OTHER)];
const MMAP: Answers = &[(EINVAL, OTHER), (EBUSY, OTHER), (EAGAIN, OTHER), (EPERM, OTHER), (ENOMEM, MEMORY)];
const BIND: Answers = &[
    (EINVAL, OTHER),
    (ENODEV, "there is no such interface"),
    (EOPNOTSUPP, "has no zero copy here"),
    (ENETDOWN, "the interface is down"),
    (ENXIO, OTHER),
    (ENOMEM, MEMORY),
];
const SHARING_BIND: Answers =
    &[(EINVAL, "one UMEM on several queues or interfaces, which needs Linux 5.10"), (ENOMEM, MEMORY)];
const LOOK: Answers =
    &[(ENODEV, "there is no such interface"), (ENXIO, "there is no such interface"), (EMFILE, FILES)];
const MAP: Answers = &[
    (EPERM, "this needs CAP_BPF and CAP_NET_ADMIN"),
    (ENOSYS, "the kernel is too old for bpf(2)"),
    (EINVAL, OTHER),
    (EMFILE, FILES),
    (ENOMEM, MEMORY),
];
const LOAD: Answers = &[
    (EPERM, "this needs CAP_BPF and CAP_NET_ADMIN"),
    (EACCES, "this needs CAP_BPF and CAP_NET_ADMIN"),
    (EINVAL, OTHER),
    (EMFILE, FILES),
    (ENOMEM, MEMORY),
];
const LOAD_FRAGS: Answers =
    &[(EINVAL, "XDP programs for packets of several buffers, which needs Linux 5.18")];
const LINK: Answers = &[
    (EPERM, "this needs CAP_BPF and CAP_NET_ADMIN"),
    // The toy shows no program: it went away meanwhile.
    (EBUSY, OTHER),
    (EEXIST, OTHER),
    (EINVAL, "does not take the program in this mode"),
    (EOPNOTSUPP, "has no native XDP"),
    (ERANGE, "does not attach a single-buffer program at MTU 1500"),
    (ENOSPC, "too few queues for native XDP"),
    (ENODEV, "there is no such interface"),
    (EMFILE, FILES),
    (ENOMEM, MEMORY),
];
const UPDATE: Answers =
    &[(E2BIG, OTHER), (EBADF, OTHER), (EOPNOTSUPP, OTHER), (ENOBUFS, OTHER), (ENOMEM, MEMORY)];

/// `how many times the call passes before it fails` of a step of opening sockets.
type Row = (Call, usize, Step, Answers);

fn check(error: &Error, step: Step, errno: i32, telling: &str) {
    let text = error.to_string();
    assert_eq!((error.step(), error.errno()), (step, Some(errno)), "{text}");
    assert!(text.starts_with(&step.to_string()) && text.contains(telling), "not `{telling}`: {text}");
    assert!(text.ends_with(&format!("({})", describe(errno))), "{text}");
}

#[test]
fn making_a_umem_fails_at_every_step() {
    let rows: &[Row] = &[
        (Call::MmapMemory, 0, Step::MapMemory, &[(ENOMEM, MEMORY), (EAGAIN, OTHER), (EPERM, OTHER)]),
        (Call::Namespace, 0, Step::FindNamespace, NAMESPACE),
        (Call::Socket, 0, Step::CreateSocket, SOCKET),
        (Call::Setsockopt(XDP_UMEM_REG), 0, Step::RegisterUmem, REGISTER),
    ];
    for &(call, skip, step, answers) in rows {
        for &(errno, telling) in answers {
            let toy = Toy::new(false);
            let kernel = faulty(&toy, call, skip, errno);
            check(&try_umem(&kernel).unwrap_err(), step, errno, telling);
            assert_eq!(toy.holds(), (0, 0), "{call:?} {errno}: nothing is left behind");
            drop(try_umem(&kernel).expect("it fails once"));
            assert_eq!(toy.holds(), (0, 0));
        }
    }
}

/// Opens a socket that fails, and the same again.
fn fails_once(row: &Row, before: fn(&Umem) -> Vec<Port>, config: SocketConfig, on: &str, queue: u32) {
    let &(call, skip, step, answers) = row;
    for &(errno, telling) in answers {
        let toy = Toy::new(false);
        let kernel = faulty(&toy, call, skip, errno);
        let (umem, _) = try_umem(&kernel).unwrap();
        let ports = before(&umem);
        let (handles, mappings) = toy.holds();
        let error = open(config, &umem, on, queue).unwrap_err();
        check(&error, step, errno, telling);
        assert_eq!((error.interface(), error.queue()), (Some(on), Some(queue)), "{error}");
        // The socket that had the memory registered may be used up; the next one registers it again.
        let (handles_now, mappings_now) = toy.holds();
        assert!(
            handles_now <= handles && mappings_now == mappings,
            "{call:?} {errno} leaves something behind"
        );
        assert!(handles - handles_now <= usize::from(ports.is_empty()), "{call:?} {errno} closes too much");
        let port = open(config, &umem, on, queue).expect("it fails once");
        drop((port, ports, umem));
        assert_eq!(toy.holds(), (0, 0), "{call:?} {errno} leaks");
    }
}

#[test]
fn opening_the_first_socket_fails_at_every_step() {
    let rows: &[Row] = &[
        (Call::Interface, 0, Step::FindInterface, LOOK),
        (Call::Namespace, 1, Step::FindNamespace, NAMESPACE),
        (Call::Setsockopt(XDP_UMEM_FILL_RING), 0, Step::CreateRing, RING),
        (Call::Setsockopt(XDP_UMEM_COMPLETION_RING), 0, Step::CreateRing, RING),
        (Call::Setsockopt(XDP_RX_RING), 0, Step::CreateRing, RING),
        (Call::Setsockopt(XDP_TX_RING), 0, Step::CreateRing, RING),
        (Call::Getsockopt, 0, Step::RingOffsets, OFFSETS),
        (Call::MmapRing(XDP_UMEM_PGOFF_FILL_RING), 0, Step::MapRing, MMAP),
        (Call::MmapRing(XDP_UMEM_PGOFF_COMPLETION_RING), 0, Step::MapRing, MMAP),
        (Call::MmapRing(XDP_PGOFF_RX_RING), 0, Step::MapRing, MMAP),
        (Call::MmapRing(XDP_PGOFF_TX_RING), 0, Step::MapRing, MMAP),
        (Call::Bind, 0, Step::Bind, BIND),
        (Call::XskmapCreate, 0, Step::CreateMap, MAP),
        (Call::ProgramLoad, 0, Step::LoadProgram, LOAD),
        (Call::LinkCreate, 0, Step::AttachProgram, LINK),
        (Call::XskmapUpdate, 0, Step::UpdateMap, UPDATE),
    ];
    rows.iter().for_each(|row| fails_once(row, |_| Vec::new(), config(), "toy0", 1));
    let sg = SocketConfig::builder().bind_flags(BindFlags::XDP_USE_SG).build();
    let row = (Call::ProgramLoad, 0, Step::LoadProgram, LOAD_FRAGS);
    fails_once(&row, |_| Vec::new(), sg, "toy0", 1);
    let row = (Call::Bind, 0, Step::Bind, &[(EINVAL, "XDP_USE_SG, which needs Linux 6.6")][..]);
    fails_once(&row, |_| Vec::new(), sg, "toy0", 1);
}

#[test]
fn opening_a_socket_on_a_shared_queue_fails_at_every_step() {
    let rows: &[Row] = &[
        (Call::Socket, 1, Step::CreateSocket, SOCKET),
        (Call::Setsockopt(XDP_RX_RING), 1, Step::CreateRing, RING),
        (Call::Setsockopt(XDP_TX_RING), 1, Step::CreateRing, RING),
        (Call::Getsockopt, 1, Step::RingOffsets, OFFSETS),
        (Call::MmapRing(XDP_PGOFF_RX_RING), 1, Step::MapRing, MMAP),
        (Call::MmapRing(XDP_PGOFF_TX_RING), 1, Step::MapRing, MMAP),
        (Call::Bind, 1, Step::Bind, SHARING_BIND),
        (Call::XskmapUpdate, 1, Step::UpdateMap, UPDATE),
    ];
    rows.iter().for_each(|row| fails_once(row, |umem| vec![port(umem, "toy0", 1)], config(), "toy0", 1));
}

#[test]
fn opening_a_socket_on_another_interface_fails_at_every_step() {
    let rows: &[Row] = &[
        (Call::Socket, 2, Step::CreateSocket, SOCKET),
        (Call::Setsockopt(XDP_UMEM_FILL_RING), 2, Step::CreateRing, RING),
        (Call::Setsockopt(XDP_UMEM_COMPLETION_RING), 2, Step::CreateRing, RING),
        (Call::Setsockopt(XDP_TX_RING), 2, Step::CreateRing, RING),
        (Call::MmapRing(XDP_UMEM_PGOFF_FILL_RING), 2, Step::MapRing, MMAP),
        (Call::MmapRing(XDP_UMEM_PGOFF_COMPLETION_RING), 2, Step::MapRing, MMAP),
        (Call::MmapRing(XDP_PGOFF_TX_RING), 2, Step::MapRing, MMAP),
        (Call::Bind, 2, Step::Bind, SHARING_BIND),
        (Call::XskmapCreate, 1, Step::CreateMap, MAP),
        (Call::ProgramLoad, 1, Step::LoadProgram, LOAD),
        (Call::LinkCreate, 1, Step::AttachProgram, LINK),
        (Call::XskmapUpdate, 2, Step::UpdateMap, UPDATE),
    ];
    let before = |umem: &Umem| vec![port(umem, "toy0", 0), port(umem, "toy0", 1)];
    rows.iter().for_each(|row| fails_once(row, before, config(), "toy1", 0));
}

/// A program for single buffers is replaced when a socket takes packets of several.
#[test]
fn replacing_the_program_fails() {
    let sg = SocketConfig::builder().bind_flags(BindFlags::XDP_USE_SG).build();
    for (call, step, errno, telling) in [
        (Call::ProgramLoad, Step::LoadProgram, EINVAL, "XDP programs for packets of several buffers"),
        (Call::LinkUpdate, Step::AttachProgram, EINVAL, "does not take the program"),
        (Call::LinkUpdate, Step::AttachProgram, EPERM, "this needs CAP_BPF"),
    ] {
        let toy = Toy::new(false);
        let skip = usize::from(matches!(call, Call::ProgramLoad));
        let kernel = faulty(&toy, call, skip, errno);
        let ((single, _), (several, _)) = (try_umem(&kernel).unwrap(), try_umem(&kernel).unwrap());
        let first = port(&single, "toy0", 0);
        check(&open(sg, &several, "toy0", 1).unwrap_err(), step, errno, telling);
        let second = open(sg, &several, "toy0", 1).expect("it fails once");
        drop((first, second, single, several));
        assert_eq!(toy.holds(), (0, 0));
    }
}

/// Attaching by libxdp's dispatcher, whose errnos have meanings of their own.
#[test]
fn the_dispatcher_fails() {
    let answers: Answers = &[
        (ENOENT, "mount one with `mount -t bpf bpf /sys/fs/bpf`"),
        (EBUSY, "(id 7, of unknown name, SKB mode) was not attached through libxdp's dispatcher"),
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
    let config = SocketConfig::builder().attach(Attach::Dispatcher).xdp_flags(hardware).build();
    for &(errno, telling) in answers {
        let toy = Toy::new(false);
        toy.change_interface(0, |interface| {
            interface.program = Some(AttachedProgram { id: 7, mode: XdpMode::Skb });
        });
        let kernel = mock(&toy, |mock| {
            mock.expect_attach_dispatcher().times(1).returning(move |_, _| fail(errno));
        });
        let (umem, _) = try_umem(&kernel).unwrap();
        check(&open(config, &umem, "toy0", 1).unwrap_err(), Step::AttachProgram, errno, telling);
        // The toy has no dispatcher.
        let error = open(config, &umem, "toy0", 1).unwrap_err();
        assert_eq!(*error.diagnosis(), Diagnosis::NoFeature("libxdp"));
        drop((error, umem));
        assert_eq!(toy.holds(), (0, 0), "{errno} leaks");
    }
}

/// Neither the length that kernels have since 5.4 nor the one before.
#[test]
fn ring_offsets_of_a_strange_length_are_refused() {
    let toy = Toy::new(false);
    let kernel = mock(&toy, |mock| {
        mock.expect_getsockopt().times(1).returning(|_, _, _, _| Ok(40));
    });
    let (umem, _) = try_umem(&kernel).unwrap();
    let error = open(config(), &umem, "toy0", 0).unwrap_err();
    let text = "cannot read the ring offsets (XDP_MMAP_OFFSETS) on toy0 queue 0 with an answer of 40 bytes: \
                the kernel refused";
    assert_eq!((error.step(), error.to_string().as_str()), (Step::RingOffsets, text));
    drop((port(&umem, "toy0", 0), umem));
    assert_eq!(toy.holds(), (0, 0));
}

/// A kernel whose rings do not fit what it mapped for them.
#[test]
fn rings_outside_their_mapping_are_refused() {
    let toy = Toy::new(false);
    let bad = [
        xdp_ring_offset { producer: 0, consumer: 128, desc: 1 << 40, flags: 196 },
        xdp_ring_offset { producer: u64::MAX, consumer: 128, desc: 320, flags: 196 },
        xdp_ring_offset { producer: 0, consumer: 130, desc: 320, flags: 196 },
    ];
    for offsets in bad {
        let kernel = mock(&toy, |mock| {
            let answer = move |_: Handle, _: i32, _: i32, value: &mut [u8]| {
                let good = xdp_ring_offset { producer: 0, consumer: 128, desc: 320, flags: 196 };
                let answer = xdp_mmap_offsets { rx: offsets, tx: good, fr: good, cr: good };
                value.copy_from_slice(answer.as_bytes());
                Ok(value.len())
            };
            mock.expect_getsockopt().times(1).returning(answer);
        });
        let (umem, _) = try_umem(&kernel).unwrap();
        let error = open(config(), &umem, "toy0", 0).unwrap_err();
        assert_eq!(error.step(), Step::MapRing, "{error}");
        drop((error, port(&umem, "toy0", 0), umem));
        assert_eq!(toy.holds(), (0, 0));
    }
}

/// Zero copy only: in copy mode the kernel binds and drops what does not fit.
#[test]
fn a_frame_smaller_than_the_mtu() {
    let toy = Toy::new(false);
    toy.change_interface(0, |interface| interface.mtu = 9000);
    toy.script.fault("bind", EINVAL, 1);
    let (umem, _) = try_umem(&toy).unwrap();
    let zero_copy = SocketConfig::builder().bind_flags(BindFlags::XDP_ZEROCOPY).build();
    let error = open(zero_copy, &umem, "toy0", 0).unwrap_err();
    let text = "cannot bind on toy0 queue 0 with flags XDP_ZEROCOPY: a packet of the interface's MTU 9000 does not fit: a \
                frame has room for 3840 bytes with the Ethernet header; lower the MTU, use larger frames or less \
                headroom, or bind with XDP_USE_SG (EINVAL 22)";
    assert_eq!(error.to_string(), text);
    assert_eq!(error.diagnosis(), &Diagnosis::FrameTooSmall { mtu: 9000, room: 3840 });
}
