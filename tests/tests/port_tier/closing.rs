use std::sync::Mutex;

use xsk::error::Diagnosis;
use xsk::port::PortConfig;
use xsk::{Batch, Packet, Port};

use crate::kit::{check_frames, config, free_frames, pool, port, received, world};

#[test]
fn closing_gives_every_frame_back() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    // Frames on the fill ring, the RX ring, with the user, on the completion ring.
    for _ in 0..4 {
        b.send(&[1; 60]).unwrap();
    }
    let mut batch = Batch::with_capacity(2);
    assert_eq!(port.recv(&mut batch).unwrap(), 2);
    let kept = batch.pop();
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    drop(port);
    assert_eq!((pool.with_kernel(), pool.quarantined(), free_frames(&pool)), (0, 0, 63));
    drop(kept);
    assert_eq!(free_frames(&pool), 64);
}

#[test]
fn frames_that_the_kernel_may_use_wait_for_its_release() {
    let (kernel, a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut first = port(&pool, "a");
    a.set_up(false);
    let mut batch = Batch::with_capacity(4);
    first.packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    assert_eq!(first.send(&mut batch).unwrap(), 4);
    drop(first);
    assert_eq!((pool.with_kernel(), pool.quarantined(), free_frames(&pool)), (4, 4, 60));
    // Another queue says nothing about this one.
    drop(port(&pool, "b"));
    assert_eq!(pool.quarantined(), 4);
    a.set_up(true);
    let mut second = port(&pool, "a");
    assert_eq!(pool.quarantined(), 0);
    b.send(&[5; 60]).unwrap();
    assert_eq!(received(&mut second), [vec![5; 60]]);
    check_frames(&kernel, &pool);
    drop(second);
    assert_eq!(free_frames(&pool), 64);
}

#[test]
fn a_packet_outlives_everything() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    b.send(&[8; 60]).unwrap();
    let mut batch = Batch::new();
    port.recv(&mut batch).unwrap();
    let other = pool.packet().unwrap();
    drop(port);
    drop(pool);
    drop(kernel);
    let packet = batch.pop().unwrap();
    drop(batch);
    let thread = std::thread::spawn(move || {
        assert_eq!(*packet, [8; 60]);
        drop(packet);
    });
    thread.join().unwrap();
    drop(other);
}

#[test]
fn a_forgotten_packet_costs_one_frame() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    b.send(&[8; 60]).unwrap();
    let mut batch = Batch::new();
    port.recv(&mut batch).unwrap();
    // As good as forgotten, and where a leak check finds it.
    static FORGOTTEN: Mutex<Option<Packet>> = Mutex::new(None);
    *FORGOTTEN.lock().unwrap() = batch.pop();
    drop(port);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 63));
}

#[test]
fn failing_to_open_costs_nothing() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 64);
    let first = port(&pool, "a");
    let error = Port::open(&pool, "a", 0, config()).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::PortOpen, "{error}");
    let error = Port::open(&pool, "a", 7, config()).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::QueueOutOfRange { queues: 1 }), "{error}");
    let error = Port::open(&pool, "none", 0, config()).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoInterface, "{error}");
    let error = Port::open(&pool, "no\0ne", 0, config()).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoInterface, "{error}");
    // After the socket is bound: there is another program.
    let program = kernel.program("other", false, |_| xsk_sim::XdpAction::Pass);
    let link = kernel.backend().link_create(program, _b.index(), xsk::config::XdpFlags::empty()).unwrap();
    let error = Port::open(&pool, "b", 0, config()).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::ProgramAttached { .. }), "{error}");
    kernel.backend().close(link);
    kernel.backend().close(program);
    assert_eq!(pool.with_kernel(), 16);
    drop(first);
    assert_eq!((pool.with_kernel(), pool.quarantined(), free_frames(&pool)), (0, 0, 64));
    let all: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    let error = Port::open(&pool, "a", 0, PortConfig::default()).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoFrames, "{error}");
    drop(all);
    drop(port(&pool, "a"));
}

#[test]
fn a_panic_in_the_middle_of_a_burst_loses_nothing() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let mut port = port(&pool, "a");
    for i in 0..8 {
        b.send(&[i; 60]).unwrap();
    }
    let panics = std::panic::AssertUnwindSafe(|| {
        port.forward(|packet| {
            assert!(packet[0] != 5, "as the test wants it");
            xsk::port::Verdict::Send
        })
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!((0..8).map_while(|_| b.receive()).count(), 5);
    check_frames(&kernel, &pool);
    let stats = port.stats().unwrap();
    assert_eq!((stats.received, stats.sent), (6, 5));
    b.send(&[9; 60]).unwrap();
    // The packets behind the one that it panicked on were not shown, and still wait.
    assert_eq!(received(&mut port), [vec![6; 60], vec![7; 60], vec![9; 60]]);
    drop(port);
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));
}

#[test]
fn what_was_sent_comes_home_where_the_fill_ring_lacks_nothing() {
    let calls: [fn(&mut Port); 3] = [
        |port| assert_eq!(port.recv(&mut Batch::new()).unwrap(), 0),
        |port| assert_eq!(port.forward(|_| xsk::port::Verdict::Send).unwrap().received, 0),
        |port| assert_eq!(port.for_each(|_| {}).unwrap(), 0),
    ];
    for call in calls {
        let (kernel, _a, _b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = port(&pool, "a");
        let mut batch = Batch::with_capacity(6);
        assert_eq!(port.packets(&mut batch), 6);
        batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
        assert_eq!(port.send(&mut batch).unwrap(), 6);
        let before = port.stats().unwrap();
        assert_eq!(before.unfinished, 6);
        call(&mut port);
        let after = port.stats().unwrap();
        assert_eq!((after.unfinished, after.fill_waiting), (0, before.fill_waiting));
        check_frames(&kernel, &pool);
    }
}

#[test]
fn a_pool_has_a_number_of_ports() {
    let (kernel, _a, _b) = world(1025);
    let pool = pool(&kernel, 8192);
    let too_many = Port::open_all(&pool, "a", config()).unwrap_err();
    assert_eq!(*too_many.diagnosis(), Diagnosis::TooManyPorts { max: 1024 }, "{too_many}");
    let small = config().rx_ring(1).tx_ring(1).fill_ring(1).completion_ring(1).fill_level(1);
    let open = |queue| Port::open(&pool, "a", queue, small);
    let mut ports: Vec<Port> = (0..1024).map(|queue| open(queue).unwrap()).collect();
    let error = open(1024).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::TooManyPorts { max: 1024 }, "{error}");
    ports.remove(3);
    let mut last = open(1024).unwrap();
    // The numbers are apart: what one sends another does not take back.
    for port in ports.iter_mut().step_by(20).chain([&mut last]) {
        let mut packet = port.packet().unwrap();
        packet.resize(60).unwrap();
        port.send_one(packet).unwrap();
        assert_eq!(port.flush().unwrap(), 0);
    }
    drop((ports, last));
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 8192));
}
