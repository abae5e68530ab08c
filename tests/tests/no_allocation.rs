//! The data path of the port tier allocates nothing, on Linux: there the kernel's side is not in this process.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use xsk::port::Verdict;
use xsk::{Batch, Packet, Pool, PoolConfig, Port, PortConfig};
use xsk_tests::frame;
use xsk_veth::{Namespace, Tap, VethPair};

/// Repeats it until it handled `count` packets, and says how often the memory allocator was asked meanwhile.
fn allocations(tap: &Tap, count: usize, mut handle: impl FnMut() -> usize) -> u64 {
    let (mut handled, mut allocations) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while handled < count {
        assert!(Instant::now() < deadline, "{handled} of {count} packets");
        for tag in 0..8 {
            tap.send(&frame(60, tag)).unwrap();
        }
        let info = allocation_counter::measure(|| handled += handle());
        allocations += info.count_total;
        while tap.recv(Duration::ZERO).unwrap().is_some() {}
    }
    allocations
}

#[test]
fn the_data_path_allocates_nothing() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let tap = Tap::open(&ns, pair.a.name()).unwrap();
    ns.run(|| {
        let pool = Pool::new(PoolConfig::default().frames(256)).unwrap();
        let config = PortConfig::default().rx_ring(64).tx_ring(64);
        let mut port = Port::open(&pool, pair.b.name(), 0, config).unwrap();
        let mut batch = Batch::new();
        let mut held: Vec<Packet> = Vec::with_capacity(64);
        let owned = allocations(&tap, 2000, || {
            let count = port.recv(&mut batch).unwrap();
            held.extend(batch.drain());
            held.drain(..).for_each(|packet| batch.push(packet).unwrap());
            port.send(&mut batch).unwrap();
            count
        });
        let dropped = allocations(&tap, 2000, || {
            port.recv(&mut batch).unwrap();
            let count = batch.len();
            drop(batch.pop());
            batch.clear();
            drop(pool.packet());
            count
        });
        let forwarded = allocations(&tap, 2000, || {
            port.forward(|packet| if packet[20] % 2 == 0 { Verdict::Send } else { Verdict::Drop })
                .unwrap()
                .received
        });
        let sent = allocations(&tap, 2000, || {
            let count = port.packets(&mut batch);
            batch.iter_mut().for_each(|packet| packet.resize(60).unwrap());
            while !batch.is_empty() {
                port.send(&mut batch).unwrap();
            }
            port.wait(Some(Duration::ZERO)).unwrap();
            port.stats().unwrap();
            port.for_each(|_| ()).unwrap();
            port.flush().unwrap();
            count
        });
        assert_eq!([owned, dropped, forwarded, sent], [0; 4]);
    });
    // The instrument works.
    assert!(allocation_counter::measure(|| drop(Batch::new())).count_total > 0);
}
