//! Waiting for several ports at once.

use std::time::Duration;

use xsk::backend::Backend;
use xsk::error::{Diagnosis, Step};
use xsk::port::{BusyPoll, PortRx};
use xsk::{Batch, Port};
use xsk_sim::fault::{Call, FaultGuard, FaultRule};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use crate::kit::{config, free_frames, pool, received};

/// A card with so many queues, and a port on each.
fn ports(queues: u32) -> (SimKernel, SimDevice, Vec<Port>) {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default().queues(queues)).unwrap();
    let ports = Port::open_all(&pool(&kernel, 32 * queues), "a", config()).unwrap();
    (kernel, card, ports)
}

const LONG: Option<Duration> = Some(Duration::from_secs(10));

/// Also with more ports than there is room for without allocating, and with busy polling.
#[test]
fn whichever_port_has_a_packet_first_ends_the_wait() {
    for (queues, busy) in [(1, false), (2, false), (2, true), (16, false), (17, false), (40, true)] {
        let (kernel, card, mut ports) = ports(queues);
        if busy {
            let pool = ports[0].pool().clone();
            ports.remove(0);
            let policy = BusyPoll::default().time(Duration::from_micros(300));
            ports.insert(0, Port::open(&pool, "a", 0, config().policy(policy)).unwrap());
        }
        for queue in 0..queues {
            let start = kernel.now();
            card.inject_after(Duration::from_millis(400), queue, &[1; 60]).unwrap();
            assert!(Port::wait_any(&mut ports, LONG).unwrap());
            let waited = (kernel.now() - start).as_millis();
            assert!((400..420).contains(&waited), "{waited} ms, {queues} queues");
            // It is there: nobody asks the kernel, whatever the others have.
            let asked = kernel.fault(FaultRule::errno(Call::Poll, xsk::error::errno::EINTR));
            assert!(Port::wait_any(&mut ports, None).unwrap());
            assert_eq!(asked.hits(), 0);
            drop(asked);
            let came: Vec<_> = ports.iter_mut().map(|port| received(port).len()).collect();
            assert_eq!(came.iter().sum::<usize>(), 1);
            assert_eq!(came[queue as usize], 1);
        }
        let start = kernel.now();
        assert!(!Port::wait_any(&mut ports, Some(Duration::from_millis(700))).unwrap());
        let waited = (kernel.now() - start).as_millis();
        assert!((700..720).contains(&waited), "{waited} ms, {queues} queues");
    }
}

#[test]
fn drivers_have_their_turns_for_the_longest_time_of_all() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default().queues(3)).unwrap();
    let pool = pool(&kernel, 128);
    let mut queues = 0..;
    let mut ports = [100, 500, 300].map(|time| {
        let policy = BusyPoll::default().time(Duration::from_micros(time));
        Port::open(&pool, "a", queues.next().unwrap(), config().policy(policy)).unwrap()
    });
    // Once it sleeps it is interrupted.
    let asleep = kernel.fault(FaultRule::errno(Call::Poll, xsk::error::errno::EINTR));
    let start = kernel.now();
    assert!(!Port::wait_any(&mut ports, None).unwrap());
    assert!((500..600).contains(&(kernel.now() - start).as_micros()));
    assert_eq!(asleep.hits(), 1);
    for port in &mut ports {
        assert!(port.stats().unwrap().rx_wakeups > 10, "queue {}", port.queue());
    }
    // With a packet on any of them nobody sleeps, nor waits that long.
    for queue in 0..3 {
        card.inject(queue, &[1; 60]).unwrap();
        let start = kernel.now();
        assert!(Port::wait_any(&mut ports, None).unwrap());
        assert!((kernel.now() - start).as_micros() < 100);
        assert_eq!(received(&mut ports[queue as usize]).len(), 1);
    }
    assert_eq!(asleep.hits(), 1);
}

#[test]
fn every_port_is_seen_to_before_it_sleeps() {
    let (kernel, card, mut ports) = ports(2);
    let mut batch = Batch::new();
    ports[1].packets(&mut batch);
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    let sent = || std::iter::from_fn(|| card.sent()).count();
    // The kernel is busy at first.
    let busy = kernel.fault(FaultRule::errno(Call::SendTo, xsk::error::errno::EAGAIN));
    assert_eq!(ports[1].send(&mut batch).unwrap(), 16);
    drop(busy);
    batch.clear();
    assert_eq!(sent(), 0);
    assert!(!Port::wait_any(&mut ports, Some(Duration::from_millis(1))).unwrap());
    assert_eq!(sent(), 16);
    // Fill rings that were used up are filled again.
    for _ in 0..2 {
        for port in &mut ports {
            (0..8).for_each(|_| card.inject(port.queue(), &[1; 60]).unwrap());
        }
        assert!(Port::wait_any(&mut ports, None).unwrap());
        for port in &mut ports {
            assert_eq!(port.recv(&mut batch).unwrap(), 8);
            batch.clear();
        }
    }
    drop((ports, batch));
    kernel.frames().check().unwrap();
}

#[test]
fn halves_wait_for_each_other_as_ports_do() {
    let (kernel, card, ports) = ports(2);
    let (mut halves, senders): (Vec<PortRx>, Vec<_>) = ports.into_iter().map(Port::split).unzip();
    assert!(!PortRx::wait_any(&mut halves, Some(Duration::from_millis(1))).unwrap());
    card.inject(1, &[7; 60]).unwrap();
    let [a, b] = &mut halves[..] else { unreachable!() };
    assert!(PortRx::wait_any(&mut [&mut *a, b], Some(Duration::ZERO)).unwrap());
    assert!(!PortRx::wait_any(&mut [a], Some(Duration::ZERO)).unwrap());
    drop((halves, senders));
    kernel.frames().check().unwrap();
}

#[test]
fn an_interface_that_is_gone_is_named() {
    for gone in ["a", "b", "c"] {
        let kernel = SimKernel::new(1);
        let cards = ["a", "b", "c"].map(|name| kernel.card(name, &DeviceConfig::default()).unwrap());
        let pool = pool(&kernel, 128);
        let mut ports = ["a", "b", "c"].map(|name| Port::open(&pool, name, 0, config()).unwrap());
        cards.into_iter().find(|card| card.name() == gone).unwrap().remove();
        let error = Port::wait_any(&mut ports, LONG).unwrap_err();
        assert_eq!(*error.diagnosis(), Diagnosis::InterfaceGone, "{error}");
        assert!(error.to_string().contains(&format!(" {gone} queue 0: ")), "{error}");
        assert!(kernel.now() < Duration::from_secs(1));
        drop(ports);
        assert_eq!(free_frames(&pool), 128);
    }
}

#[test]
fn ports_of_two_kernels_have_no_wait_in_common() {
    let (kernel, card, mut here) = ports(1);
    let (_other, _card, mut there) = ports(1);
    let error = Port::wait_any(&mut [&mut here[0], &mut there[0]], None).unwrap_err();
    assert_eq!((error.diagnosis(), error.step()), (&Diagnosis::ForeignKernel, Step::Poll), "{error}");
    // Two handles of one kernel, and two pools, are no matter.
    kernel.card("b", &DeviceConfig::default()).unwrap();
    let mut second = Port::open(&pool(&kernel, 64), "b", 0, config()).unwrap();
    card.inject(0, &[1; 60]).unwrap();
    assert!(Port::wait_any(&mut [&mut second, &mut here[0]], None).unwrap());
    // Without ports there is nothing to wait for.
    assert!(!Port::wait_any(&mut [] as &mut [Port; 0], None).unwrap());
}

/// Two queues of a card, 16 packets on the TX ring of the second, of which the kernel can report four at a time, and each late.
fn sending(late: Duration) -> (SimKernel, SimDevice, [Port; 2], FaultGuard) {
    let kernel = SimKernel::new(1);
    let card = kernel.card("a", &DeviceConfig::default().queues(2)).unwrap();
    let completions = kernel.fault(FaultRule::delay_completions(late..late + Duration::from_nanos(1)));
    let pool = pool(&kernel, 128);
    let mut ports = [0, 1].map(|queue| Port::open(&pool, "a", queue, config().completion_ring(4)).unwrap());
    let mut batch = Batch::with_capacity(16);
    assert_eq!(ports[1].packets(&mut batch), 16);
    batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
    assert_eq!(ports[1].send(&mut batch).unwrap(), 16);
    assert_eq!(sent(&card), 4);
    (kernel, card, ports, completions)
}

fn sent(card: &SimDevice) -> usize {
    std::iter::from_fn(|| card.sent()).count()
}

#[test]
fn what_the_kernel_has_no_room_for_at_once_goes_out_while_it_waits() {
    for late in [100, 1_000, 300_000].map(Duration::from_micros) {
        let (kernel, card, mut ports, _late) = sending(late);
        let start = kernel.now();
        assert!(!Port::wait_any(&mut ports, LONG).unwrap());
        let waited = (kernel.now() - start).as_millis();
        assert!((10_000..10_020).contains(&waited), "{waited} ms");
        assert_eq!(sent(&card), 12, "{late:?}");
    }
}

/// Once all is out it is a wait as any other: an error, if it would be for ever.
#[test]
fn when_all_is_sent_it_looks_no_more() {
    let (kernel, card, mut ports, _late) = sending(Duration::from_micros(100));
    kernel.set_single_threaded(true);
    let start = kernel.now();
    let error = Port::wait_any(&mut ports, None).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::WaitsForEver, "{error}");
    assert_eq!(sent(&card), 12);
    assert!((kernel.now() - start).as_millis() < 400);
}

#[test]
fn a_wait_that_sends_ends_as_others_do() {
    // A packet comes meanwhile.
    let (kernel, card, mut ports, late) = sending(Duration::from_millis(30));
    let start = kernel.now();
    card.inject_after(Duration::from_millis(20), 0, &[1; 60]).unwrap();
    assert!(Port::wait_any(&mut ports, LONG).unwrap());
    assert!((20..22).contains(&(kernel.now() - start).as_millis()));
    assert_eq!(received(&mut ports[0]).len(), 1);
    // A signal, during the second sleep.
    let signal = kernel.fault(FaultRule::errno(Call::Poll, xsk::error::errno::EINTR).nth(2));
    let start = kernel.now();
    assert!(!Port::wait_any(&mut ports, LONG).unwrap());
    assert_eq!(((kernel.now() - start).as_millis(), signal.hits()), (1, 1));
    drop((signal, late));
    // Its time is over.
    for time in [Duration::from_millis(1), Duration::from_millis(3)] {
        let start = kernel.now();
        assert!(!Port::wait_any(&mut ports, Some(time)).unwrap());
        assert_eq!((kernel.now() - start).as_millis(), time.as_millis());
    }
}

/// A device that never sends is not looked at more and more.
#[test]
fn where_nothing_moves_it_looks_for_half_a_second() {
    let (kernel, card, mut ports, late) = sending(Duration::from_secs(3600));
    let asked = kernel.fault(FaultRule::errno(Call::SendTo, xsk::error::errno::EAGAIN));
    let start = kernel.now();
    assert!(!Port::wait_any(&mut ports, LONG).unwrap());
    assert!((10_000..10_020).contains(&(kernel.now() - start).as_millis()));
    // After 1, 2, 4 and up to 256 milliseconds, and at first.
    assert_eq!(asked.hits(), 10);
    assert_eq!(sent(&card), 0);
    drop(late);
}
