//! What a trace shows, and that it is the same each time.

mod port;

use std::time::Duration;

use port::{Port, receive, world, write};
use serde_json::Value;
use xsk::FrameDesc;
use xsk::backend::Backend;
use xsk::config::XdpFlags;
use xsk_sim::fault::{Call, FaultRule, Ring};
use xsk_sim::trace::{DropCause, TracePlace, What};
use xsk_sim::{DeviceConfig, SimKernel};

const MS: Duration = Duration::from_millis(1);

#[test]
fn nothing_is_recorded_unasked() {
    // Not one that watches its frames, which takes a record.
    let kernel = SimKernel::new(1);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    b.send(&[1; 60]).unwrap();
    assert!(kernel.trace().events().is_empty());
    kernel.record(10);
    b.send(&[1; 60]).unwrap();
    assert!(!kernel.trace().events().is_empty());
    kernel.record(0);
    assert!(kernel.trace().events().is_empty());
}

#[test]
fn the_buffer_is_bounded() {
    let kernel = SimKernel::new(1);
    kernel.record(5);
    let socket = kernel.socket().unwrap();
    (0..9).for_each(|_| drop(kernel.sendto(socket)));
    let trace = kernel.trace();
    assert_eq!((trace.events().len(), trace.forgotten()), (5, 5));
    assert!(trace.to_string().starts_with("(5 older events are forgotten)\n"));
}

#[test]
fn rings_packets_and_drops_are_seen() {
    let (kernel, _a, b) = world(1);
    kernel.record(1000);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    b.send(&[1; 60]).unwrap();
    port.fill_eight();
    b.send(&[2; 61]).unwrap();
    assert_eq!(receive(&port.umem, &mut port.rx).len(), 1);
    let trace = kernel.trace();
    let of = |ring| {
        let events = trace.events().iter();
        let moved = events.filter_map(move |event| match &event.what {
            What::Produced(moved) if moved.ring == ring => Some(("produced", moved)),
            What::Consumed(moved) if moved.ring == ring => Some(("consumed", moved)),
            _ => None,
        });
        moved.map(|(verb, moved)| (verb, moved.from, moved.to, moved.waiting)).collect::<Vec<_>>()
    };
    assert_eq!(of(Ring::Fill), [("produced", 0, 8, 8), ("consumed", 0, 1, 7)], "{trace}");
    assert_eq!(of(Ring::Rx), [("produced", 0, 1, 1), ("consumed", 0, 1, 0)], "{trace}");
    let place = TracePlace::Device("a".to_owned());
    let drops: Vec<_> =
        trace.events().iter().filter(|event| matches!(event.what, What::Drop { .. })).collect();
    assert_eq!(drops.len(), 1, "{trace}");
    assert!(matches!(drops[0].what, What::Drop { len: 60, cause: DropCause::NoFrame }), "{trace}");
    assert_eq!(drops[0].place, place);
    assert!(trace.to_string().contains("sends 61 bytes on queue 0"), "{trace}");
    let binds =
        |event: &&xsk_sim::trace::TraceEvent| matches!(event.what, What::Call { call: Call::Bind, .. });
    assert_eq!(trace.events().iter().filter(binds).count(), 1);
}

/// A sender that loses one wakeup, and gives the next one 3 ms later.
fn lost_wakeup(seed: u64) -> SimKernel {
    let kernel = SimKernel::new(seed);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    kernel.record(10_000);
    let mut port = Port::open(&kernel, "a", XdpFlags::empty());
    let _lost = kernel.fault(FaultRule::lose_kicks().times(1));
    let _late = kernel.fault(FaultRule::delay_completions(MS..2 * MS));
    for i in 8..12 {
        write(&port.umem, &mut port.descs[i], &[i as u8; 60]);
    }
    // SAFETY: each frame is on one queue.
    assert_eq!(unsafe { port.tx.produce_and_wakeup(&port.descs[8..12]) }.unwrap(), 4);
    kernel.sleep(3 * MS);
    assert_eq!(b.receive(), None);
    port.tx.wakeup().unwrap();
    kernel.sleep(3 * MS);
    let mut done = [FrameDesc::default(); 8];
    // SAFETY: one UMEM.
    assert_eq!(unsafe { port.comp.consume(&mut done) }, 4);
    kernel
}

#[test]
fn a_lost_wakeup_is_seen_on_a_timeline() {
    let trace = lost_wakeup(1).trace();
    let json: Value = serde_json::from_str(&trace.to_chrome_json()).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    for event in events {
        assert!(event["pid"].is_u64() && event["ph"].is_string() && event["name"].is_string(), "{event}");
        assert!(event["ph"] == "M" || event["ts"].is_f64(), "{event}");
        assert!(event["ph"] != "X" || event["dur"].is_f64(), "{event}");
        assert!(event["ph"] != "i" || event["s"] == "t", "{event}");
    }
    let first = |name: &str, more: &dyn Fn(&Value) -> bool| {
        let found = events.iter().find(|event| event["name"].as_str().unwrap().contains(name) && more(event));
        found.unwrap_or_else(|| panic!("no {name} in\n{trace}"))["ts"].as_f64().unwrap()
    };
    let waiting = |count: u64| move |event: &Value| event["ph"] == "C" && event["args"]["waiting"] == count;
    let lost = first("kick lost", &|_| true);
    let kicked = first("kick", &|event| event["name"] == "kick");
    let (full, empty) = (first(" tx", &waiting(4)), first(" tx", &waiting(0)));
    // The counter of the TX ring stays up for the three milliseconds that the loss took.
    assert!(full <= lost && lost + 3000.0 <= kicked && kicked <= empty && empty < kicked + 10.0, "{trace}");
    // A track for each place, by name.
    let named = |name: &str| events.iter().any(|event| event["args"]["name"] == name);
    assert!(named("user") && named("kernel") && named("a") && named("a queue 0"), "{trace}");
}

fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn one_seed_is_one_trace() {
    for seed in 0..10 {
        let (one, two) = (lost_wakeup(seed).trace(), lost_wakeup(seed).trace());
        assert_eq!(fnv(&one.to_string()), fnv(&two.to_string()));
        assert_eq!(fnv(&one.to_chrome_json()), fnv(&two.to_chrome_json()));
    }
    assert_ne!(lost_wakeup(1).trace().to_string(), lost_wakeup(2).trace().to_string());
}

/// The same on every machine: whoever changes what the simulator does, or how a trace reads, changes this number.
#[test]
fn a_trace_has_a_known_hash() {
    assert_eq!(fnv(&lost_wakeup(1).trace().to_string()), 200_601_776_151_200_068);
}

/// Recording changes nothing of what happens.
#[test]
fn recording_is_not_felt() {
    let run = |records: bool| {
        let (kernel, _a, b) = world(1);
        if records {
            kernel.record(100);
        }
        let mut port = Port::open(&kernel, "a", XdpFlags::empty());
        port.fill_eight();
        b.send(&[2; 61]).unwrap();
        receive(&port.umem, &mut port.rx);
        kernel.snapshot()
    };
    assert_eq!(run(false), run(true));
}
