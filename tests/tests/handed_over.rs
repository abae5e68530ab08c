//! Sockets, and a program's map, that one process opens for another.
#![cfg(target_os = "linux")]
#![allow(dead_code, unreachable_pub, reason = "the example is a program")]

#[path = "../../crates/xsk/examples/unprivileged.rs"]
mod unprivileged;

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::Linux;
use xsk::config::XdpFlags;
use xsk::error::{Diagnosis, Step};
use xsk::port::{PortError, Verdict};
use xsk::program::Redirect;
use xsk::{Pool, PoolConfig, Port, PortConfig};
use xsk_tests::rights;
use xsk_tests::world::running_version;
use xsk_veth::{ETHERTYPE_TEST, Namespace, Tap, VethPair};

const CAP_IPC_LOCK: u32 = 14;
const SECOND: Duration = Duration::from_secs(1);
const MODES: [XdpFlags; 2] = [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE];

fn in_namespace(queues: u32, body: impl Fn(&Namespace, &VethPair) + Send + Sync) {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns)
        .a(|end| end.queues(queues, queues))
        .b(|end| end.queues(queues, queues))
        .build()
        .unwrap();
    ns.run(|| body(&ns, &pair));
}

fn packet(tag: u8) -> Vec<u8> {
    let mut packet = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &ETHERTYPE_TEST.to_be_bytes()[..]].concat();
    packet.resize(60, tag);
    packet
}

fn map_of(redirect: &Redirect) -> OwnedFd {
    redirect.map().as_fd().try_clone_to_owned().unwrap()
}

fn pool(kernel: &Arc<Linux>) -> Result<Pool, PortError> {
    Pool::new_in(kernel.clone(), PoolConfig::default().frames(128))
}

fn config() -> PortConfig {
    PortConfig::default().rx_ring(64).tx_ring(64).fill_ring(64).completion_ring(64).no_program()
}

/// As a child has it that was started with it.
fn inherited(fd: &OwnedFd) -> OwnedFd {
    // SAFETY: a descriptor that the kernel has just made, for nobody else.
    unsafe { OwnedFd::from_raw_fd(libc::dup(fd.as_raw_fd())) }
}

fn ends_at_exec(fd: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC != 0
}

/// What the example's child does, without a single capability where memory may be locked without one (Linux 5.16).
#[test]
fn a_process_without_rights_receives_and_sends() {
    // The default limit of locked memory was 64 KiB before (include/uapi/linux/resource.h:MLOCK_LIMIT).
    let may_lock = running_version() >= [5, 16, 0];
    in_namespace(1, |ns, pair| {
        for mode in MODES {
            let redirect = Redirect::attach(pair.a.name(), mode).unwrap();
            let socket = Linux::open_socket().unwrap();
            let map = map_of(&redirect);
            let tap = Tap::open(ns, pair.b.name()).unwrap();
            // Nobody is in the map: this one goes to the stack.
            tap.send(&packet(1)).unwrap();
            ns.run(|| {
                rights::change(|_| if may_lock { 0 } else { 1 << CAP_IPC_LOCK });
                let opened = unprivileged::open(pair.a.name(), socket, map);
                if running_version() < [5, 19, 0] {
                    let error = opened.unwrap_err().to_string();
                    assert!(error.contains("CAP_BPF (before Linux 5.19 also to change a map"), "{error}");
                    return;
                }
                let mut port = opened.unwrap();
                tap.send(&packet(2)).unwrap();
                assert!(port.wait(Some(SECOND)).unwrap());
                assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 1);
                assert_eq!(tap.recv(SECOND).unwrap(), Some(packet(2)));
                // There is no second socket, and no right to open one.
                let error = Pool::new(PoolConfig::default().frames(64)).unwrap_err();
                assert!(matches!(error.diagnosis(), Diagnosis::MissingCapability(_)), "{error}");
            });
            drop(redirect);
            assert_eq!(pair.a.xdp().unwrap(), None);
        }
    });
}

#[test]
fn a_port_takes_one_socket_after_the_other_and_then_opens_its_own() {
    in_namespace(2, |_, pair| {
        let sockets = [Linux::open_socket().unwrap(), inherited(&Linux::open_socket().unwrap())];
        let numbers = sockets.each_ref().map(AsRawFd::as_raw_fd);
        assert_eq!(numbers.map(ends_at_exec), [true, false]);
        let kernel = Arc::new(Linux::with_sockets(sockets).unwrap());
        assert_eq!(numbers.map(ends_at_exec), [true, true]);
        let pool = pool(&kernel).unwrap();
        let queues = [(pair.a.name(), 0), (pair.a.name(), 1), (pair.b.name(), 0)];
        let ports = queues.map(|(name, queue)| Port::open(&pool, name, queue, config()).unwrap());
        let used = ports.each_ref().map(|port| port.fd().handle().0);
        assert_eq!(used[..2], numbers);
        assert!(!numbers.contains(&used[2]));
    });
}

#[test]
fn what_is_no_unused_socket_is_refused() {
    let refused = |fd: OwnedFd| Linux::with_sockets([fd]).unwrap_err().to_string();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(refused(udp.into()).ends_with("is no AF_XDP socket"));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(refused(file.into()).ends_with("is no AF_XDP socket"));
    in_namespace(1, |_, _| {
        // A second pool on the socket of the first: of two descriptors of one socket, say.
        let socket = Linux::open_socket().unwrap();
        let twice = [socket.try_clone().unwrap(), socket];
        let kernel = Arc::new(Linux::with_sockets(twice).unwrap());
        let _first = pool(&kernel).unwrap();
        let error = pool(&kernel).unwrap_err();
        assert_eq!((error.step(), error.errno()), (Step::RegisterUmem, Some(16)), "{error}");
    });
}

#[test]
fn ports_of_the_process_itself_use_the_same_program() {
    in_namespace(1, |ns, pair| {
        let redirect = Redirect::attach(pair.a.name(), MODES[0]).unwrap();
        let before = pair.a.xdp().unwrap();
        assert!(before.is_some());
        let pool = Pool::new(PoolConfig::default().frames(128)).unwrap();
        let mut port = Port::open(&pool, pair.a.name(), 0, PortConfig::default().rx_ring(64)).unwrap();
        assert_eq!(pair.a.xdp().unwrap(), before);
        let tap = Tap::open(ns, pair.b.name()).unwrap();
        tap.send(&packet(3)).unwrap();
        assert!(port.wait(Some(SECOND)).unwrap());
        drop(redirect);
        assert_eq!(pair.a.xdp().unwrap(), before, "the port has a share in it");
        drop(port);
        assert_eq!(pair.a.xdp().unwrap(), None);

        let error = Redirect::attach("nowhere", XdpFlags::empty()).unwrap_err();
        assert_eq!((error.step(), error.diagnosis()), (Step::FindInterface, &Diagnosis::NoInterface));
        assert!(error.to_string().contains("nowhere"), "{error}");
        let says = |name| Redirect::attach(name, XdpFlags::empty()).unwrap_err().diagnosis().clone();
        assert_eq!(says("no\0where"), Diagnosis::NoInterface);
        assert_eq!(says(&"n".repeat(300)), Diagnosis::InterfaceName(300));
        ns.run(|| {
            rights::change(|_| 0);
            let error = Redirect::attach(pair.a.name(), XdpFlags::empty()).unwrap_err();
            assert!(matches!(error.diagnosis(), Diagnosis::MissingCapability(_)), "{error}");
        });
    });
}
