//! Every call that opening makes, of either tier, fails once with errnos that it may give: the error names a step and the
//! errno, nothing is left behind, and the next attempt succeeds.
//!
//! Which calls there are is not written down here: each is failed at its first, second, .. time until it is not made that
//! often. The mocks of xsk-tests check step by step what the error says.

use std::error::Error;
use std::num::NonZeroU32;

use xsk::backend::PageSize;
use xsk::config::{SocketConfig, UmemConfig};
use xsk::{Pool, PoolConfig, Port, PortConfig, Socket, Umem};
use xsk_core::errno::{EBUSY, EEXIST, EINVAL, EMFILE, ENOBUFS, ENODEV, ENOMEM, EPERM};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, Place, SimKernel};

/// The calls of a set-up, and errnos of theirs.
const CALLS: [(Call, &[i32]); 16] = [
    (Call::Socket, &[EMFILE, ENOMEM, EPERM]),
    (Call::SetSockOpt, &[ENOMEM, ENOBUFS, EINVAL]),
    (Call::GetSockOpt, &[EINVAL]),
    (Call::Bind, &[EINVAL, EBUSY, ENOMEM, ENODEV]),
    (Call::MmapRing, &[ENOMEM, EINVAL]),
    (Call::MmapMemory, &[ENOMEM]),
    (Call::Interface, &[ENODEV, EMFILE]),
    (Call::Namespace, &[EMFILE]),
    (Call::XskMapCreate, &[EPERM, ENOMEM]),
    (Call::XskMapUpdate, &[ENOMEM, EEXIST]),
    (Call::ProgramLoad, &[EPERM, EINVAL]),
    (Call::LinkCreate, &[EBUSY, EEXIST, EINVAL]),
    (Call::ProgramName, &[EPERM]),
    (Call::Capabilities, &[EPERM]),
    (Call::MemlockLimit, &[EPERM]),
    (Call::HugePages, &[EPERM]),
];

/// The calls without which there is no socket.
const NEEDED: [Call; 8] = [
    Call::Socket,
    Call::SetSockOpt,
    Call::Bind,
    Call::MmapRing,
    Call::MmapMemory,
    Call::XskMapCreate,
    Call::ProgramLoad,
    Call::LinkCreate,
];

type Opened = Result<(), Box<dyn Error>>;

fn nothing_is_left(kernel: &SimKernel, what: &str) {
    kernel.run_until_idle(1000);
    let left = kernel.snapshot();
    assert!(!left.contains("socket") && !left.contains("umem"), "{what}: {left}");
    let frames = kernel.frames();
    let places = [Place::Pool, Place::Fill, Place::Kernel, Place::Rx, Place::Tx, Place::Completion];
    assert!(places.iter().all(|place| frames.count(*place) == 0), "{what}: {frames}");
}

fn fails_at_every_call(open: impl Fn(&SimKernel) -> Opened) {
    let mut failed = Vec::new();
    for (call, errnos) in CALLS {
        for errno in errnos {
            for number in 1.. {
                let what = format!("{call} number {number} gives {errno}");
                let kernel = SimKernel::new(1);
                let (a, _b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
                let rule = kernel.fault(FaultRule::errno(call, *errno).nth(number));
                let result = open(&kernel);
                if rule.hits() == 0 {
                    result.unwrap_or_else(|error| panic!("nothing failed: {error}"));
                    assert!(number > 1 || !NEEDED.contains(&call), "{call} is never made");
                    break;
                }
                if let Err(error) = result {
                    failed.push(call);
                    let text = error.to_string();
                    let name = xsk_core::errno::name(*errno).unwrap();
                    assert!(text.contains(name), "{what}: not in '{text}'");
                }
                nothing_is_left(&kernel, &what);
                assert_eq!(a.info().program, None, "{what}: a program is left");
                // The same kernel, and the fault is over.
                open(&kernel).unwrap_or_else(|error| panic!("{what}, and then: {error}"));
                nothing_is_left(&kernel, &what);
            }
        }
    }
    for call in NEEDED {
        assert!(failed.contains(&call), "{call} failed, and nobody noticed");
    }
}

#[test]
fn the_ring_tier() {
    fails_at_every_call(|kernel| {
        let frames = NonZeroU32::MIN.saturating_add(15);
        let (umem, _) = Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal)?;
        // SAFETY: no frame is handed over.
        let first = unsafe { Socket::new(SocketConfig::default(), &umem, &"a".parse()?, 0) }?;
        // On the same queue: it shares the program and the rings.
        // SAFETY: as above.
        let second = unsafe { Socket::new(SocketConfig::default(), &umem, &"a".parse()?, 0) }?;
        assert!(first.2.is_some() && second.2.is_none());
        Ok(())
    });
}

#[test]
fn the_port_tier() {
    fails_at_every_call(|kernel| {
        let pool = Pool::new_in(kernel.backend(), PoolConfig::default().frames(64))?;
        let config = PortConfig::default().rx_ring(16).tx_ring(16).fill_ring(16).completion_ring(16);
        let ports = Port::open_all(&pool, "a", config)?;
        assert_eq!(ports.len(), 1);
        Ok(())
    });
}
