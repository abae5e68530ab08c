//! The ring tier.

use std::io::Write;
use std::time::Duration;

use xsk::backend::Backend;
use xsk::config::XdpFlags;
use xsk::{FrameDesc, Umem};
use xsk_sim::fault::FaultRule;
use xsk_sim::{DeviceConfig, Place, SimKernel};

use crate::guard::{Guard, Turn};
use crate::port::{Port, world, write};

/// The frames of a port, guarded.
fn guarded(kernel: &SimKernel, port: &mut Port) -> Guard {
    let (frames, frame_size) = (port.umem.frame_count(), port.umem.frame_size());
    let mut first = port.descs[0];
    let at = first.addr() % frame_size as usize;
    // SAFETY: nothing is handed over yet.
    let data = unsafe { port.umem.data_mut(&mut first) }.contents_mut().as_ptr();
    // The descriptor's address is that of its data, which may come behind a headroom that it does not count.
    Guard::new(kernel, data.wrapping_sub(at), frames, frame_size)
}

/// Writes all of a frame that the user may, from its data to the end of its chunk, and reads it back.
fn touch(umem: &Umem, desc: &FrameDesc) {
    let mut desc = *desc;
    // SAFETY: the test means to touch it; whether it may is what is tested.
    let mut data = unsafe { umem.data_mut(&mut desc) };
    let room = data.cursor().buf_len();
    assert!(room > 1000, "{room}");
    data.cursor().set_pos(0);
    data.cursor().write_all(&vec![9; room]).unwrap();
    assert!(data.contents_mut().iter().all(|byte| *byte == 9));
}

fn history(seed: u64, mode: XdpFlags) {
    let kernel = SimKernel::new(seed);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default().threaded(seed.is_multiple_of(2))).unwrap();
    let mut port = Port::open(&kernel, "a", mode);
    let mut mine: Vec<FrameDesc> = port.descs.clone();
    let guard = guarded(&kernel, &mut port);
    let _faults: Vec<_> = [
        FaultRule::lose_kicks(),
        FaultRule::delay_packets(Duration::ZERO..Duration::from_millis(1)),
        FaultRule::starve(),
        FaultRule::lose_completions(),
        FaultRule::delay_completions(Duration::ZERO..Duration::from_millis(2)),
    ]
    .map(|rule| kernel.fault(rule.chance(0.05)))
    .into();
    let largest = port.umem.frame_size() as usize - 256;
    let mut choice = seed;
    let mut received = 0;
    for _ in 0..400 {
        choice = choice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let len = if choice & 1 << 20 == 0 { 60 } else { largest.min(1514) };
        let mut got = [FrameDesc::default(); 4];
        // SAFETY: `mine` are the frames that are on no queue.
        unsafe {
            match (choice >> 33) % 6 {
                0 if !mine.is_empty() => {
                    assert_eq!(guard.rings(|| port.fill.produce(&[mine.remove(0)])), 1);
                }
                1 => drop(guard.kernel(|| b.send(&vec![7; len]))),
                2 if !mine.is_empty() => {
                    let mut desc = mine.remove(0);
                    write(&port.umem, &mut desc, &vec![8; len]);
                    assert_eq!(guard.rings(|| port.tx.produce_one(&desc)), 1);
                    guard.kernel(|| port.tx.wakeup()).unwrap();
                }
                3 => {
                    let count = guard.rings(|| port.rx.consume(&mut got));
                    mine.extend(&got[..count]);
                    received += count;
                }
                4 => {
                    let count = guard.rings(|| port.comp.consume(&mut got));
                    mine.extend(&got[..count]);
                }
                _ => {
                    guard.kernel(|| (kernel.sleep(Duration::from_millis(1)), port.rx.poll(0))).1.unwrap();
                }
            }
        }
        mine.iter().for_each(|desc| touch(&port.umem, desc));
    }
    assert!(received > 5, "seed {seed}: {received}");
    let Port { tx, rx, fill, comp, umem, descs } = port;
    guard.kernel(|| {
        drop((tx, rx, fill, comp));
        kernel.run_until_idle(1000);
    });
    // A socket that is gone gave every frame back, those too that waited on its rings.
    descs.iter().for_each(|desc| touch(&umem, desc));
    guard.turn(Turn::Nobody);
}

#[test]
fn nobody_touches_a_frame_of_the_other() {
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        (0..8).for_each(|seed| history(seed, mode));
    }
}

const TOUCH: &str = "XSK_TOUCH";

/// Touches one frame that is not the user's, or one that is.
#[test]
#[ignore = "run by what_is_not_ones_own_is_caught"]
fn touch_one() {
    let what = std::env::var(TOUCH).unwrap_or_default();
    let (kernel, _a, b) = world(1);
    let mut port = Port::open(&kernel, "a", XdpFlags::XDP_FLAGS_DRV_MODE);
    let guard = guarded(&kernel, &mut port);
    let mut desc = port.descs[0];
    let mut last = port.descs[15];
    write(&port.umem, &mut last, &[1; 60]);
    // SAFETY: each frame is on one queue. Those that are touched afterwards are what the sanitizer is to notice.
    unsafe {
        match what.as_str() {
            "mine" => {}
            "fill" => assert_eq!(guard.rings(|| port.fill.produce(&port.descs[..1])), 1),
            "rx" => {
                guard.rings(|| port.fill.produce(&port.descs[..1]));
                guard.kernel(|| b.send(&[7; 60])).unwrap();
                assert_eq!(kernel.frames().count(Place::Rx), 1);
            }
            "tx" => {
                desc = last;
                assert_eq!(guard.rings(|| port.tx.produce_one(&last)), 1);
            }
            "completion" => {
                desc = last;
                guard.rings(|| port.tx.produce_one(&last));
                guard.kernel(|| port.tx.wakeup()).unwrap();
                assert_eq!(kernel.frames().count(Place::Completion), 1);
            }
            "kernel" => {
                // The kernel's turn, and the user's frame.
                guard.turn(Turn::Kernel);
            }
            other => panic!("no such place: {other}"),
        }
    }
    touch(&port.umem, &desc);
    guard.turn(Turn::Nobody);
}

#[test]
#[cfg(sanitized = "address")]
fn what_is_not_ones_own_is_caught() {
    let program = std::env::current_exe().unwrap();
    let run = |what: &str| {
        let mut command = std::process::Command::new(&program);
        command.args(["ring_tier::touch_one", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        let output = command.env(TOUCH, what).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (fine, report) = run("mine");
    assert!(fine, "{report}");
    for what in ["fill", "rx", "tx", "completion", "kernel"] {
        let (fine, report) = run(what);
        assert!(!fine && report.contains("use-after-poison"), "a frame on '{what}' was touched: {report}");
    }
}
