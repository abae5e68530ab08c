//! Where packets went, on Linux.

use std::time::Duration;

use xsk::backend::InterfaceLoss;
use xsk::config::XdpFlags;
use xsk::port::{Loss, Obstacle};
use xsk::{Packet, Pool, PoolConfig, Port};
use xsk_tests::{bpf, eventually};
use xsk_veth::{Namespace, Tap, VethPair};

use crate::kit::received;
use crate::veth::{MODES, config, frame};

const SECOND: Duration = Duration::from_secs(1);

/// A veth pair in a namespace of its own; what is sent into `a` comes to `b`.
fn with_pair(queues: u32, mtu: u32, body: impl FnOnce(&VethPair, &Tap) + Send) {
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).queues(queues).mtu(mtu).build().unwrap();
    let tap = Tap::open(&ns, pair.a.name()).unwrap();
    ns.run(|| body(&pair, &tap));
}

/// Waits until the port's losses are these.
fn lost(port: &mut Port, expected: &[(Loss, u64)]) {
    eventually("losing", || port.stats().unwrap().losses().collect::<Vec<_>>() == expected);
}

#[test]
fn each_cause_is_counted() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        with_pair(1, 3000, |pair, tap| {
            let pool = Pool::new(PoolConfig::default().frames(64).frame_size(2048)).unwrap();
            let open = |config| Port::open(&pool, pair.b.name(), 0, config).unwrap();
            let send = |count: u8| (0..count).for_each(|tag| tap.send(&frame(60, tag)).unwrap());

            let mut port = open(config(mode).fill_level(4));
            let rest: Vec<Packet> = std::iter::from_fn(|| pool.packet()).collect();
            send(7);
            lost(&mut port, &[(Loss::NoFrame, 3)]);
            drop((port, rest));

            let mut port = open(config(mode).rx_ring(4));
            send(7);
            lost(&mut port, &[(Loss::RxRingFull, 3)]);
            assert_eq!(received(&mut port).len(), 4);
            drop(port);

            let mut port = open(config(mode));
            tap.send(&frame(pool.room() as usize, 1)).unwrap();
            tap.send(&frame(pool.room() as usize + 1, 1)).unwrap();
            lost(&mut port, &[(Loss::TooLong, 1)]);
            assert_eq!(received(&mut port).len(), 1);

            // Without a carrier the driver drops it, which the interface counts as well.
            let before = port.interface_counters().unwrap();
            let mut packet = port.packet().unwrap();
            packet.resize(60).unwrap();
            pair.a.set_up(false).unwrap();
            eventually("losing the carrier", || port.obstacles().unwrap() == [Obstacle::NoCarrier]);
            port.send_one(packet).unwrap();
            while port.flush().unwrap() > 0 {}
            let counted = port.interface_counters().unwrap().since(&before);
            assert_eq!(counted.losses().next(), Some((InterfaceLoss::TxDropped, 1)));
            lost(&mut port, &[(Loss::TooLong, 1), (Loss::TxDropped, 1)]);
            pair.b.set_up(false).unwrap();
            assert_eq!(port.obstacles().unwrap(), [Obstacle::InterfaceDown]);
            pair.b.delete().unwrap();
            assert_eq!(port.obstacles().unwrap(), [Obstacle::InterfaceGone]);
        });
    }
}

#[test]
fn what_never_comes_has_an_obstacle() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        with_pair(2, 1500, |pair, tap| {
            let pool = Pool::new(PoolConfig::default().frames(256)).unwrap();
            let port = Port::open(&pool, pair.b.name(), 1, config(mode)).unwrap();
            assert_eq!(port.obstacles().unwrap(), [Obstacle::OtherQueues { of: 2, open: vec![1] }]);
            let other = Port::open(&pool, pair.b.name(), 0, config(mode)).unwrap();
            assert_eq!(port.obstacles().unwrap(), []);
            drop((port, other));

            let mut ports: Vec<Port> =
                Port::open_all(&pool, pair.b.name(), config(mode).no_program()).unwrap();
            assert_eq!(ports[0].obstacles().unwrap(), [Obstacle::NoProgram]);
            let program = bpf::load_verdict(bpf::XDP_DROP).unwrap();
            let _link = bpf::attach(&program, pair.b.ifindex(), mode).unwrap();
            let obstacles = ports[0].obstacles().unwrap();
            let [Obstacle::OtherProgram { program, .. }] = &obstacles[..] else { panic!("{obstacles:?}") };
            assert_eq!(program.id, pair.b.xdp().unwrap().unwrap().id);
            let before = ports[0].interface_counters().unwrap();
            (0..5).for_each(|tag| tap.send(&frame(60, tag)).unwrap());
            // veth counts what native XDP did, and Linux nowhere what SKB mode dropped.
            if mode == XdpFlags::XDP_FLAGS_DRV_MODE {
                eventually("dropping", || {
                    let counted = ports[0].interface_counters().unwrap().since(&before);
                    let drops = counted.losses().filter_map(|(loss, count)| match loss {
                        InterfaceLoss::Driver(name) if name.ends_with("xdp_drops") => Some(count),
                        _ => None,
                    });
                    drops.sum::<u64>() == 5
                });
            }
            assert!(!ports[0].wait(Some(SECOND / 100)).unwrap());
            let counted = ports[0].interface_counters().unwrap().since(&before);
            assert!(counted.rx_packets >= Some(5), "{counted:?}");
            assert_eq!(ports[0].stats().unwrap().losses().count(), 0);
        });
    }
}
