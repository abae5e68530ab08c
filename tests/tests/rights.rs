//! What a process without this or that right is told.
#![cfg(target_os = "linux")]

use std::io;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use xsk::Umem;
use xsk::backend::{Backend, Linux, RedirectProgram};
use xsk::config::{SocketConfig, UmemConfig, XdpFlags};
use xsk::error::{Diagnosis, Error, Step};
use xsk::umem::UmemCreateError;
use xsk_core::errno::{ENOBUFS, EPERM};
use xsk_tests::child::in_child;
use xsk_tests::{copy_mode, port, rights, try_open, umem};
use xsk_veth::{Namespace, VethPair};

const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;

fn pair() -> Option<(Namespace, VethPair)> {
    if !xsk_veth::require() {
        return None;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    Some((ns, pair))
}

fn umem_error(frames: u32) -> UmemCreateError {
    Umem::new(UmemConfig::default(), NonZeroU32::new(frames).unwrap(), false).unwrap_err()
}

fn says(error: &Error, step: Step, errno: i32, text: &str) {
    assert_eq!(error.to_string(), text);
    assert_eq!((error.step(), error.errno()), (step, Some(errno)));
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// Takes capabilities from the calling thread's effective set.
fn give_up(capabilities: &[u32]) {
    rights::change(|effective| {
        capabilities.iter().fold(effective, |set, capability| set & !(1 << capability))
    });
}

const SETCAP: &str = "which the process lacks: run as root, or use `setcap` on the program (a socket with the built-in XDP \
                      program needs cap_net_raw,cap_net_admin,cap_bpf+ep) (EPERM 1)";

#[test]
fn missing_capabilities() {
    let Some((ns, _pair)) = pair() else { return };
    let umem = umem(8).0;
    ns.run(|| drop(port(&umem, copy_mode(SKB), "b", 0)));
    let cases: [(&[u32], Step, &str); 4] = [
        (
            &[CAP_NET_RAW],
            Step::CreateSocket,
            "cannot create an AF_XDP socket on b queue 0: this needs CAP_NET_RAW (to make AF_XDP sockets)",
        ),
        (
            &[CAP_BPF, CAP_SYS_ADMIN],
            Step::CreateMap,
            "cannot create an XSKMAP on b queue 0 with 1 slot(s): this needs CAP_BPF (to load XDP programs)",
        ),
        (
            &[CAP_NET_ADMIN, CAP_SYS_ADMIN],
            Step::CreateMap,
            "cannot create an XSKMAP on b queue 0 with 1 slot(s): this needs CAP_NET_ADMIN (to load and attach XDP programs)",
        ),
        (
            &[CAP_BPF, CAP_SYS_ADMIN, CAP_NET_ADMIN],
            Step::CreateMap,
            "cannot create an XSKMAP on b queue 0 with 1 slot(s): this needs CAP_BPF and CAP_NET_ADMIN (to load and attach XDP \
             programs)",
        ),
    ];
    // Where BPF is open to everyone, the program is what fails.
    let closed =
        std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").is_ok_and(|v| v.trim() != "0");
    for (capabilities, step, text) in cases {
        if step == Step::CreateMap && !closed {
            continue;
        }
        ns.run(|| {
            give_up(capabilities);
            let error = try_open(&umem, copy_mode(SKB), "b", 0).unwrap_err();
            assert!(matches!(error.diagnosis(), Diagnosis::MissingCapability(_)), "{error}");
            says(&error, step, EPERM, &format!("{text}, {SETCAP}"));
        });
    }
    // The three that the sentence names do.
    ns.run(|| {
        rights::change(|_| 1 << CAP_NET_RAW | 1 << CAP_NET_ADMIN | 1 << CAP_BPF);
        drop(port(&xsk_tests::umem(8).0, copy_mode(SKB), "b", 0));
        drop(port(&xsk_tests::umem(8).0, copy_mode(DRV), "b", 0));
    });
}

/// Without root, the first thing that is missing is the right to make a socket.
#[test]
fn no_rights_at_all() {
    in_child("no_rights_at_all", || {
        rights::change(|_| 0);
        let error = umem_error(8);
        let text = "cannot create an AF_XDP socket: this needs CAP_NET_RAW (to make AF_XDP sockets), ";
        says(&error, Step::CreateSocket, EPERM, &(text.to_owned() + SETCAP));
    });
}

#[test]
fn the_limit_of_locked_memory() {
    if !xsk_veth::require() {
        return;
    }
    in_child("the_limit_of_locked_memory", || {
        let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
        // SAFETY: the kernel reads one rlimit.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        rights::change(|_| 1 << CAP_NET_RAW);
        let start = Instant::now();
        let error = umem_error(64);
        // Another process might have been about to release some.
        assert!(start.elapsed() >= Duration::from_secs(1));
        let text = "cannot register the UMEM (XDP_UMEM_REG) with 262144 bytes: the limit of locked memory is too low (65536 \
                    bytes; this UMEM needs 262144 bytes, and all UMEMs of a user count together): raise it with `ulimit -l`, \
                    or give the program CAP_IPC_LOCK (ENOBUFS 105)";
        says(&error, Step::RegisterUmem, ENOBUFS, text);
        assert_eq!(error.diagnosis(), &Diagnosis::MemoryLimit { limit: Some(65536), needed: 262_144 });
        drop(umem(8));
    });
}

/// What another process that uses this crate attached has a name, which only CAP_SYS_ADMIN may ask for.
#[test]
fn the_name_of_the_attached_program() {
    if !xsk_veth::require() {
        return;
    }
    in_child("the_name_of_the_attached_program", || {
        let Some((ns, _pair)) = pair() else { return };
        ns.run(|| {
            let linux = Linux::new();
            let map = linux.xskmap_create(1).unwrap();
            let program = linux.program_load(&RedirectProgram { map, frags: false }).unwrap();
            let index = linux.interface(c"b").unwrap().index;
            linux.link_create(program, index, DRV).unwrap();
            let umem = umem(8).0;
            let named = try_open(&umem, SocketConfig::default(), "b", 0).unwrap_err().to_string();
            assert!(named.contains(", `xsk_redirect`, native mode): stop "), "{named}");
            give_up(&[CAP_SYS_ADMIN]);
            let unknown = try_open(&umem, SocketConfig::default(), "b", 0).unwrap_err().to_string();
            assert!(unknown.contains(", of unknown name, native mode): stop "), "{unknown}");
        });
    });
}
