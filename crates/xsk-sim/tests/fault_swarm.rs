//! The law of the frames while everything goes wrong.

mod port;
#[allow(unreachable_pub)]
mod swarm;

use std::time::Duration;

use port::{Port, write};
use xsk::FrameDesc;
use xsk::backend::Backend;
use xsk::config::XdpFlags;
use xsk_sim::fault::{DeviceFault, FaultGuard, FaultRule};
use xsk_sim::{DeviceConfig, Place, Profile, SimKernel};

const MS: Duration = Duration::from_millis(1);

/// A history in which everything goes wrong now and then: no frame is ever in two places, none is unaccounted for, and when
/// the faults end all frames that are not lost come back.
fn swarm(seed: u64, profile: Profile, mode: XdpFlags) -> String {
    let kernel = SimKernel::with_profile(seed, profile);
    kernel.watch_frames(true);
    let (a, b) = kernel.veth("a", "b", &DeviceConfig::default().threaded(seed.is_multiple_of(2))).unwrap();
    kernel.record(1 << 16);
    let mut port = Port::open(&kernel, "a", mode);
    let mut mine: Vec<FrameDesc> = port.descs.clone();
    let guards: Vec<_> = swarm::rules().map(|rule| kernel.fault(rule.chance(0.05))).into();
    let flap = FaultRule::device_fault(&a, DeviceFault::Flap(MS)).chance(0.005).times(3);
    let flap = kernel.fault(flap);
    let mut choice = seed;
    let mut user = |port: &mut Port, mine: &mut Vec<FrameDesc>, sends: bool| {
        choice = choice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let mut got = [FrameDesc::default(); 4];
        // SAFETY: `mine` are the frames that are on no queue.
        unsafe {
            match (choice >> 33) % 6 {
                0 if sends && !mine.is_empty() => {
                    let _ = b.send(&[7; 60]);
                    port.fill.produce(&[mine.remove(0)]);
                }
                1 | 2 if sends && !mine.is_empty() => {
                    let mut desc = mine.remove(0);
                    write(&port.umem, &mut desc, &[8; 60]);
                    assert_eq!(port.tx.produce_one_and_wakeup(&desc).unwrap_or(1), 1);
                }
                3 => {
                    let count = port.rx.consume(&mut got);
                    mine.extend(&got[..count]);
                }
                4 => {
                    let count = port.comp.consume(&mut got);
                    mine.extend(&got[..count]);
                }
                _ => drop((port.rx.poll(1), port.tx.wakeup())),
            }
        }
        let frames = kernel.frames();
        frames.check().unwrap_or_else(|error| panic!("seed {seed}: {error}\n{frames}"));
        assert_eq!(frames.with_user(), mine.len() as u64, "seed {seed}\n{frames}");
        assert_eq!(frames.faults(0).len(), frames.count(Place::Lost), "seed {seed}\n{frames}");
    };
    for _ in 0..300 {
        user(&mut port, &mut mine, true);
    }
    assert!(guards.iter().map(FaultGuard::hits).sum::<u64>() > 5, "seed {seed}");
    drop((guards, flap));
    for _ in 0..300 {
        user(&mut port, &mut mine, false);
        kernel.sleep(MS);
    }
    let frames = kernel.frames();
    let kept = [Place::Lost, Place::Fill, Place::Pool].map(|place| frames.count(place)).iter().sum::<usize>();
    assert_eq!(mine.len() + kept, 16, "seed {seed}\n{frames}");
    kernel.check().unwrap();
    kernel.trace().to_string()
}

#[test]
fn the_law_of_the_frames_holds_under_all_faults() {
    for profile in [Profile::LINUX_6_18, Profile::LINUX_6_1, Profile::LINUX_5_10] {
        for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
            for seed in 0..12 {
                swarm(seed, profile, mode);
            }
            assert!(swarm(1, profile, mode) == swarm(1, profile, mode), "not the same trace");
        }
    }
}
