//! What becomes of a packet by its program's verdict: in SKB mode, in native mode, and in native mode without copying.

use std::sync::Arc;

use xsk::backend::{Backend, Handle};
use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_ZEROCOPY, xdp_desc};
use xsk_sim::trace::What;
use xsk_sim::{DeviceConfig, SimDevice, SimKernel, XdpAction, XdpBuff};
use xsk_tests::raw::{RawSocket, Setup, frame};

/// A card with a socket on each of its two queues, one in slot 0 and one in slot 1 of a map, and another card.
struct World {
    kernel: SimKernel,
    card: SimDevice,
    other: SimDevice,
    sockets: [RawSocket; 2],
    map: Handle,
    mode: XdpFlags,
}

const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;

impl World {
    fn new(mode: XdpFlags, bind_flags: u16) -> Self {
        let kernel = SimKernel::new(1);
        kernel.record(1000);
        let backend: Arc<dyn Backend> = kernel.backend();
        let config = DeviceConfig::default().queues(2).zero_copy(bind_flags == XDP_ZEROCOPY);
        let card = kernel.card("card", &config).unwrap();
        let other = kernel.card("other", &DeviceConfig::default()).unwrap();
        let map = kernel.xskmap_create(4).unwrap();
        let sockets = [0, 1].map(|queue| {
            let setup = Setup { bind_flags, queue, ..Setup::default() };
            let mut socket = RawSocket::new(&backend);
            socket.register(&setup).unwrap();
            socket.make_rings(&setup);
            assert_eq!(socket.bind_to(card.index(), queue, bind_flags, 0), 0);
            socket.fill().push([0, 4096, 8192_u64]);
            kernel.xskmap_update(map, queue, socket.handle).unwrap();
            socket
        });
        Self { kernel, card, other, sockets, map, mode }
    }

    /// Runs a program over a packet that comes in on queue 0.
    fn run(&self, program: impl Fn(&mut XdpBuff) -> XdpAction + Send + Sync + 'static) {
        let program = self.kernel.program("verdict", true, program);
        let link = self.kernel.link_create(program, self.card.index(), self.mode).unwrap();
        self.card.inject(0, &frame(60, 1)).unwrap();
        self.kernel.run_until_idle(100);
        self.kernel.close(link);
        self.kernel.frames().check().unwrap();
    }

    /// What came out where: the stack, the wire, the other wire, the sockets, and how many packets were dropped.
    fn outcome(&self) -> [usize; 6] {
        let all = |next: &dyn Fn() -> Option<Vec<u8>>| std::iter::from_fn(next).count();
        let received = |socket: &RawSocket| socket.rx().pop_all::<xdp_desc>().len();
        [
            all(&|| self.card.receive()),
            all(&|| self.card.sent()),
            all(&|| self.other.sent()),
            received(&self.sockets[0]),
            received(&self.sockets[1]),
            self.kernel
                .trace()
                .events()
                .iter()
                .filter(|event| matches!(event.what, What::Drop { .. }))
                .count(),
        ]
    }
}

fn everywhere(body: impl Fn(World)) {
    for (mode, flags) in [(SKB, XDP_COPY), (DRV, XDP_COPY), (DRV, XDP_ZEROCOPY)] {
        body(World::new(mode, flags));
    }
}

fn becomes(verdict: impl Fn(&World) -> XdpAction, outcome: [usize; 6]) {
    everywhere(|world| {
        let verdict = verdict(&world);
        world.run(move |_| verdict);
        assert_eq!(world.outcome(), outcome, "{verdict:?} in {:?}", world.mode);
    });
}

fn slot(world: &World, key: u32, flags: u64) -> XdpAction {
    XdpAction::RedirectMap { map: world.map, key, flags }
}

#[test]
fn pass_goes_to_the_stack() {
    becomes(|_| XdpAction::Pass, [1, 0, 0, 0, 0, 0]);
}

#[test]
fn tx_goes_out_where_it_came_in() {
    becomes(|_| XdpAction::Tx, [0, 1, 0, 0, 0, 0]);
}

#[test]
fn drop_and_aborted_go_nowhere() {
    becomes(|_| XdpAction::Drop, [0, 0, 0, 0, 0, 1]);
    becomes(|_| XdpAction::Aborted, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn redirect_goes_out_of_another_device() {
    becomes(|world| XdpAction::Redirect { ifindex: world.other.index() }, [0, 0, 1, 0, 0, 0]);
    becomes(|_| XdpAction::Redirect { ifindex: 77 }, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn redirect_to_a_slot_goes_to_the_socket_of_that_very_queue() {
    becomes(|world| slot(world, 0, 0), [0, 0, 0, 1, 0, 0]);
    // That socket is of another queue.
    becomes(|world| slot(world, 1, 0), [0, 0, 0, 0, 0, 1]);
    everywhere(|world| {
        world.run({
            let map = world.map;
            move |_| XdpAction::RedirectMap { map, key: 1, flags: 0 }
        });
        for socket in &world.sockets {
            let statistics = socket.statistics();
            assert_eq!((statistics.rx_dropped, statistics.rx_ring_full), (0, 0), "no socket's counter");
        }
    });
}

#[test]
fn an_empty_slot_is_what_the_flags_say() {
    becomes(|world| slot(world, 3, 0), [0, 0, 0, 0, 0, 1]);
    becomes(|world| slot(world, 3, 1), [0, 0, 0, 0, 0, 1]);
    becomes(|world| slot(world, 3, 2), [1, 0, 0, 0, 0, 0]);
    becomes(|world| slot(world, 3, 3), [0, 1, 0, 0, 0, 0]);
    becomes(|world| slot(world, 99, 2), [1, 0, 0, 0, 0, 0]);
    becomes(|world| slot(world, 0, 4), [0, 0, 0, 0, 0, 1]);
}

#[test]
fn what_a_program_changed_goes_along() {
    let adjust = |packet: &mut XdpBuff| {
        packet.adjust_head(-4).unwrap();
        packet.data_mut()[..4].copy_from_slice(b"head");
        packet.adjust_tail(-10).unwrap();
    };
    let expected = [&b"head"[..], &frame(60, 1)[..50]].concat();
    everywhere(|world| {
        world.run(move |packet| {
            adjust(packet);
            XdpAction::Pass
        });
        assert_eq!(world.card.receive(), Some(expected.clone()));
        world.run(move |packet| {
            adjust(packet);
            XdpAction::Tx
        });
        assert_eq!(world.card.sent(), Some(expected.clone()));
        let ifindex = world.other.index();
        world.run(move |packet| {
            adjust(packet);
            XdpAction::Redirect { ifindex }
        });
        assert_eq!(world.other.sent(), Some(expected.clone()));
        let map = world.map;
        world.run(move |packet| {
            adjust(packet);
            XdpAction::RedirectMap { map, key: 0, flags: 0 }
        });
        let desc = world.sockets[0].rx().pop_all::<xdp_desc>()[0];
        assert_eq!(world.sockets[0].bytes(desc.addr, desc.len as usize), expected);
    });
}

/// A frame that leaves by a veth needs somebody who runs NAPI at the other end, in native mode.
#[test]
fn redirect_to_a_veth() {
    for mode in [SKB, DRV] {
        let world = World::new(mode, XDP_COPY);
        let (a, b) = world.kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let ifindex = a.index();
        world.run(move |_| XdpAction::Redirect { ifindex });
        assert_eq!(b.receive().is_some(), mode == SKB);
        let pass = world.kernel.program("pass", true, |_| XdpAction::Pass);
        world.kernel.link_create(pass, b.index(), mode).unwrap();
        world.run(move |_| XdpAction::Redirect { ifindex });
        assert_eq!(b.receive(), Some(frame(60, 1)), "{mode:?}");
    }
}
