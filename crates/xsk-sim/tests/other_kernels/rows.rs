//! Each row of the profiles, on every kernel: what changed, and when.

mod questions;

use std::fmt::Debug;

use xsk::backend::{Backend, Capabilities, PageSize, PollEvents, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_COPY, XDP_MAX_TX_SKB_BUDGET, XDP_PGOFF_RX_RING, XDP_RX_RING, XDP_TX_RING, XDP_UMEM_REG,
    XDP_USE_NEED_WAKEUP, XDP_USE_SG, XDP_ZEROCOPY, xdp_desc, xdp_umem_reg, xsk_tx_metadata_request,
};
use xsk_core::errno::{EAGAIN, EBUSY, EINVAL, ENETDOWN, ENOBUFS, ENOMEM, ENOPROTOOPT, EOPNOTSUPP, EPERM};
use xsk_sim::Profile;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, Shape, SimWorld, VethWorld, World, running_profile, running_version};

const SOL_SOCKET: i32 = 1;
const SO_SNDBUF: i32 = 7;
const SO_BUSY_POLL: i32 = 46;
const SO_PREFER_BUSY_POLL: i32 = 69;
const TX_METADATA_LEN: u32 = 4;

/// Where this machine's kernel is in [`Profile::ALL`], if it is to be asked instead of the simulated ones:
/// `XSK_TEST_THIS_KERNEL=1`, which `ci/other-kernels` sets in virtual machines.
fn this_kernel() -> Option<usize> {
    std::env::var_os("XSK_TEST_THIS_KERNEL")?;
    let of = running_profile().unwrap_or_else(|| panic!("no profile is of Linux {:?}", running_version()));
    Profile::ALL.iter().position(|profile| *profile == of)
}

/// What a probe shows on this machine's kernel, over a veth pair with programs in SKB mode.
fn on_this_kernel<T: Send>(probe: impl Fn(&dyn World) -> T + Sync) -> T {
    let mut shown = None;
    let shape = Shape { stays: true, ..Shape::new() };
    VethWorld::run(XdpFlags::XDP_FLAGS_SKB_MODE, &shape, |world| shown = Some(probe(world)));
    shown.expect("it ran")
}

/// What a probe shows: on 7.3, 6.18, 6.12, 6.1, 5.10.
#[track_caller]
fn on_every_kernel<T: PartialEq + Debug + Send>(expected: [T; 5], probe: impl Fn(&dyn World) -> T + Sync) {
    if let Some(at) = this_kernel() {
        assert_eq!(on_this_kernel(probe), expected[at]);
        return;
    }
    let shown = Profile::ALL.map(|profile| probe(&SimWorld::of(profile)));
    assert_eq!(shown, expected);
}

/// What a probe shows on kernels with packets of several buffers and TX metadata: on 7.3, 6.18, 6.12.
#[track_caller]
fn on_newer_kernels<T: PartialEq + Debug + Send>(expected: [T; 3], probe: impl Fn(&dyn World) -> T + Sync) {
    if let Some(at) = this_kernel() {
        if let Some(expected) = expected.get(at) {
            assert_eq!(on_this_kernel(probe), *expected);
        }
        return;
    }
    let newer = [Profile::LINUX_7_3, Profile::LINUX_6_18, Profile::LINUX_6_12];
    assert_eq!(newer.map(|profile| probe(&SimWorld::of(profile))), expected);
}

/// As [`on_every_kernel`], of what crashes some: the simulated ones only.
#[track_caller]
fn on_every_simulated_kernel<T: PartialEq + Debug>(expected: [T; 5], probe: impl Fn(&SimWorld) -> T) {
    if this_kernel().is_none() {
        assert_eq!(Profile::ALL.map(|profile| probe(&SimWorld::of(profile))), expected);
    }
}

/// As [`on_newer_kernels`], of what crashes some: the simulated ones only.
#[track_caller]
fn on_newer_simulated_kernels<T: PartialEq + Debug>(expected: [T; 3], probe: impl Fn(&SimWorld) -> T) {
    let newer = [Profile::LINUX_7_3, Profile::LINUX_6_18, Profile::LINUX_6_12];
    if this_kernel().is_none() {
        assert_eq!(newer.map(|profile| probe(&SimWorld::of(profile))), expected);
    }
}

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

fn on_b() -> Setup {
    Setup { end: End::B, ..Setup::default() }
}

/// Frames of 792 bytes.
fn small_frames() -> Setup {
    Setup { chunk: 2048, headroom: 1000, ..on_b() }
}

/// A sender who has put descriptors on its TX ring.
fn loaded(world: &dyn World, setup: &Setup, descs: &[xdp_desc]) -> RawSocket {
    let socket = RawSocket::open(world, setup);
    socket.tx().push(descs.iter().copied());
    socket
}

fn attach(world: &dyn World, socket: &mut RawSocket) {
    socket.attach(world, End::B, |map| {
        world.kernel().program_load(&RedirectProgram { map, frags: true }).unwrap()
    });
}

/// The errno of registering 16 pages.
fn register(world: &dyn World, reg: xdp_umem_reg) -> i32 {
    let memory = world.kernel().mmap_memory(16 * 4096, PageSize::Normal).unwrap();
    let addr = memory.as_ptr().as_ptr() as u64;
    let reg = xdp_umem_reg { addr, len: 16 * 4096, chunk_size: 4096, ..reg };
    let socket = RawSocket::new(&world.kernel());
    errno(world.kernel().setsockopt(socket.handle, SOL_XDP, XDP_UMEM_REG, reg.as_bytes()))
}

#[test]
fn layout_of_a_ring() {
    let new = (196, 320);
    on_every_kernel([new, new, new, new, (132, 192)], |world| {
        let offsets = RawSocket::new(&world.kernel()).offsets();
        (offsets.rx.flags, offsets.rx.desc)
    });
}

#[test]
fn largest_ring() {
    on_every_kernel([0, 0, 0, ENOMEM, ENOMEM], |world| {
        RawSocket::new(&world.kernel()).set(XDP_RX_RING, 1 << 18)
    });
}

#[test]
fn mapped_of_a_ring() {
    // Three pages of ring: four in a block.
    let (pages, block) = ([0, EINVAL, EINVAL], [0, 0, EINVAL]);
    on_every_kernel([pages, pages, pages, block, block], |world| {
        let socket = RawSocket::new(&world.kernel());
        assert_eq!(socket.set(XDP_RX_RING, 512), 0);
        let map = |len| errno(world.kernel().mmap_ring(socket.handle, XDP_PGOFF_RX_RING, len));
        [map(3 * 4096), map(4 * 4096), map(4 * 4096 + 1)]
    });
}

#[test]
fn mmap_of_a_bound_sockets_rings() {
    on_every_kernel([0, 0, 0, EBUSY, EBUSY], |world| {
        let socket = RawSocket::open(world, &Setup::default());
        errno(world.kernel().mmap_ring(socket.handle, XDP_PGOFF_RX_RING, 4096))
    });
}

#[test]
fn busy_poll() {
    on_every_kernel([(0, 0), (0, 0), (0, 0), (EPERM, 0), (EPERM, ENOPROTOOPT)], |world| {
        let socket = RawSocket::new(&world.kernel());
        let set = |name, value: i32| {
            errno(world.kernel().setsockopt(socket.handle, SOL_SOCKET, name, value.as_bytes()))
        };
        let mut raised = 0;
        world.without(Capabilities::CAP_NET_ADMIN, &mut || raised = set(SO_BUSY_POLL, 50));
        (raised, set(SO_PREFER_BUSY_POLL, 1))
    });
}

#[test]
fn send_buffer_at_most() {
    let (new, old) = (8 << 20, 425_984);
    on_every_kernel([new, new, old, old, old], |world| {
        let socket = RawSocket::new(&world.kernel());
        let huge = i32::MAX.as_bytes().to_vec();
        world.kernel().setsockopt(socket.handle, SOL_SOCKET, SO_SNDBUF, &huge).unwrap();
        socket.socket_option(SO_SNDBUF)
    });
}

#[test]
fn headroom_of_a_umem() {
    let (strict, lax) = ([0, EINVAL, EINVAL], [0, 0, 0]);
    on_every_kernel([strict, strict, strict, strict, lax], |world| {
        [3392, 3393, 3839].map(|headroom| register(world, xdp_umem_reg { headroom, ..Default::default() }))
    });
}

#[test]
fn flags_and_tx_metadata_of_a_umem() {
    let (from_16, any, unknown) = ([EINVAL, EINVAL, 0], [0, 0, 0], [EINVAL; 3]);
    on_every_kernel([from_16, any, from_16, unknown, unknown], |world| {
        [0, 8, 16].map(|tx_metadata_len| {
            register(world, xdp_umem_reg { flags: TX_METADATA_LEN, tx_metadata_len, ..Default::default() })
        })
    });
}

#[test]
fn tx_budget() {
    let fixed = |budget| (ENOPROTOOPT, budget);
    on_every_kernel([(0, 64), (0, 64), fixed(32), fixed(32), fixed(16)], |world| {
        let descs: Vec<_> = (0..64).map(|i| good(i * 4096)).collect();
        let socket = loaded(world, &Setup { completion: 128, ..Setup::default() }, &descs);
        let set = socket.set(XDP_MAX_TX_SKB_BUDGET, 64);
        let _ = socket.kick();
        (set, socket.completion().producer())
    });
}

#[test]
fn bind_for_several_buffers() {
    on_every_kernel([0, 0, 0, EINVAL, EINVAL], |world| {
        let socket = RawSocket::prepare(world, &Setup::default());
        socket.bind_to(world.index(End::A), 0, XDP_COPY | XDP_USE_SG, 0)
    });
}

#[test]
fn a_failed_bind_for_several_buffers() {
    on_newer_kernels([0, 2, 2], |world| {
        let mut socket = RawSocket::prepare(world, &small_frames());
        let bind = |flags| socket.bind_to(world.index(End::B), 0, flags, 0);
        assert_eq!((bind(XDP_ZEROCOPY | XDP_USE_SG), bind(XDP_COPY)), (EOPNOTSUPP, 0));
        attach(world, &mut socket);
        socket.fill().push([0_u64, 2048]);
        world.send(End::A, &frame(1000, 1));
        socket.rx().pop_all::<xdp_desc>().len()
    });
}

#[test]
fn a_socket_without_an_rx_ring_in_a_map() {
    let crash = (0, true);
    on_every_simulated_kernel([(ENOBUFS, false), crash, crash, crash, crash], |world| {
        let socket = RawSocket::open(world, &Setup { rx: 0, ..on_b() });
        let map = world.kernel.xskmap_create(1).unwrap();
        let updated = errno(world.kernel.xskmap_update(map, 0, socket.handle));
        let program = world.kernel.program_load(&RedirectProgram { map, frags: true }).unwrap();
        world.kernel.link_create(program, world.index(End::B), world.mode()).unwrap();
        socket.fill().push([0_u64]);
        let _ = world.a.send(&frame(60, 1));
        (updated, world.kernel.take_crash().is_some())
    });
}

#[test]
fn an_unbound_socket_in_a_map() {
    on_every_simulated_kernel([false, false, false, false, true], |world| {
        let mut socket = RawSocket::new(&world.kernel());
        socket.make_rings(&on_b());
        attach(world, &mut socket);
        let _ = world.a.send(&frame(60, 1));
        world.kernel.take_crash().is_some()
    });
}

#[test]
fn options_of_an_rx_descriptor() {
    on_every_kernel([0, 0, 0, 77, 77], |world| {
        let mut socket = RawSocket::open(world, &on_b());
        // 5.10 knows no programs with fragments.
        socket.attach(world, End::B, |map| {
            world.kernel().program_load(&RedirectProgram { map, frags: false }).expect("a program")
        });
        socket.rx().write(0, xdp_desc { addr: 0, len: 0, options: 77 });
        socket.fill().push([0_u64]);
        world.send(End::A, &frame(60, 1));
        socket.rx().read::<xdp_desc>(0).options
    });
}

#[test]
fn fill_entries_for_several_buffers() {
    let fed = |world: &SimWorld, entries: [u64; 2]| {
        let setup = Setup { bind_flags: XDP_COPY | XDP_USE_SG, ..small_frames() };
        // The last one hands a frame over twice.
        world.kernel.watch_frames(false);
        let socket = RawSocket::open_receiver(world, &setup);
        socket.fill().push(entries);
        let _ = world.a.send(&frame(1000, 1));
        let crashed = world.kernel.take_crash().is_some();
        (crashed, socket.rx().pop_all::<xdp_desc>().len(), socket.statistics().rx_dropped)
    };
    // One that names no chunk.
    on_newer_simulated_kernels([(false, 0, 1), (true, 0, 0), (true, 0, 0)], |world| fed(world, [0, 1 << 40]));
    // One twice.
    on_newer_simulated_kernels([(false, 0, 1), (false, 2, 0), (false, 2, 0)], |world| fed(world, [0, 0]));
}

#[test]
fn a_packet_longer_than_a_page_in_native_mode() {
    let native = XdpFlags::XDP_FLAGS_DRV_MODE;
    let received = |world: &dyn World, len| {
        let socket = RawSocket::open_receiver(world, &on_b());
        socket.fill().push([0_u64]);
        world.send(End::A, &frame(len, 1));
        socket.rx().pop_all::<xdp_desc>().len()
    };
    let expected = [(3520, [1; 5]), (3521, [1, 1, 1, 0, 0])];
    for (len, expected) in expected {
        if let Some(at) = this_kernel() {
            // 5.10 has no native program at that MTU.
            let shape = Shape { mtu: 9000, stays: true, ..Shape::new() };
            if at < 4 {
                VethWorld::run(native, &shape, |world| assert_eq!(received(world, len), expected[at]));
            }
            continue;
        }
        let config = xsk_sim::DeviceConfig::default().mtu(9000);
        let shown = Profile::ALL.map(|profile| received(&SimWorld::of_kind(profile, native, &config), len));
        assert_eq!(shown, expected);
    }
}

#[test]
fn recvmsg() {
    on_every_kernel([0, 0, 0, 0, EOPNOTSUPP], |world| {
        let socket = RawSocket::open(world, &Setup::default());
        errno(socket.kernel.recvfrom(socket.handle))
    });
}

#[test]
fn poll() {
    let (sent, down) = ([1, 1], PollEvents::empty());
    let new = (sent, down);
    on_every_kernel([new, new, new, new, ([0, 1], PollEvents::OUT)], |world| {
        let mut shown = PollEvents::empty();
        let sent = [XDP_COPY, XDP_COPY | XDP_USE_NEED_WAKEUP].map(|bind_flags| {
            let socket = loaded(world, &Setup { bind_flags, ..Setup::default() }, &[good(0)]);
            socket.poll(PollEvents::IN, 0);
            let sent = socket.completion().producer();
            world.set_up(End::A, false);
            shown = socket.poll(PollEvents::IN | PollEvents::OUT, 0);
            world.set_up(End::A, true);
            drop(socket);
            world.settle();
            sent
        });
        (sent, shown)
    });
}

#[test]
fn a_sendto_that_would_block_on_a_device_that_is_down() {
    on_every_kernel([ENETDOWN, ENETDOWN, ENETDOWN, ENETDOWN, EOPNOTSUPP], |world| {
        let socket = RawSocket::open(world, &Setup::default());
        world.set_up(End::A, false);
        errno(world.sendto_blocking(socket.handle))
    });
}

/// The errno of a kick, the consumer index, how many completions there are, and how many descriptors were invalid.
fn kick(socket: &RawSocket) -> (i32, u32, u32, u64) {
    let errno = socket.kick();
    let (consumer, completed) = (socket.tx().consumer(), socket.completion().producer());
    (errno, consumer, completed, socket.statistics().tx_invalid_descs)
}

#[test]
fn a_tx_descriptor_of_length_0() {
    // Old kernels send it, and the driver drops it; when the consumer index follows is another row.
    let (new, old) = ((0, 1, 1, 1), (EBUSY, 0, 1, 0));
    on_every_kernel([new, new, (0, 0, 0, 1), old, old], |world| {
        kick(&loaded(world, &Setup::default(), &[xdp_desc { len: 0, ..good(0) }]))
    });
}

#[test]
fn options_of_a_tx_descriptor() {
    let (one, two) = (vec![120], vec![60]);
    on_every_kernel([one.clone(), one.clone(), one, two.clone(), two], |world| {
        let socket = loaded(world, &Setup::default(), &[xdp_desc { options: 1, ..good(0) }, good(4096)]);
        assert_eq!(socket.kick(), 0);
        std::iter::from_fn(|| world.receive(End::B)).map(|frame| frame.len()).collect()
    });
}

#[test]
fn an_invalid_tx_descriptor() {
    let (new, old) = ((0, 1, 1, 1), (0, 3, 2, 1));
    on_every_kernel([new, new, (0, 0, 0, 1), old, old], |world| {
        kick(&loaded(world, &Setup::default(), &[good(1 << 40), good(0), good(4096)]))
    });
}

#[test]
fn a_packet_of_19_descriptors() {
    // The 18 before it are invalid everywhere; the last one is the end of the packet, or a packet.
    let descs: Vec<_> = (0..19).map(|i| xdp_desc { options: u32::from(i < 18), ..good(i * 4096) }).collect();
    on_newer_kernels([(19, 19), (19, 19), (18, 1)], |world| {
        let (_, _, completed, invalid) = kick(&loaded(world, &Setup::default(), &descs));
        (invalid, completed)
    });
}

#[test]
fn when_the_tx_consumer_index_is_published() {
    let descs: Vec<_> = (0..33).map(|i| good(i * 4096)).collect();
    on_every_kernel([(EAGAIN, 32), (EAGAIN, 32), (EAGAIN, 0), (EAGAIN, 0), (EAGAIN, 0)], |world| {
        let (errno, consumer, ..) = kick(&loaded(world, &Setup::default(), &descs));
        (errno, consumer)
    });
    // What the driver dropped was taken, and is shown by the next pass at the latest.
    let (new, old) = ([(EBUSY, 1), (0, 2)], [(EBUSY, 0), (0, 2)]);
    on_every_kernel([new, new, old, old, old], |world| {
        let socket = loaded(world, &Setup::default(), &[xdp_desc { len: 1519, ..good(0) }, good(4096)]);
        [(); 2].map(|()| {
            let (errno, consumer, ..) = kick(&socket);
            (errno, consumer)
        })
    });
}

#[test]
fn a_full_completion_ring() {
    on_every_kernel([EAGAIN, EAGAIN, 0, 0, 0], |world| {
        let descs: Vec<_> = (0..8).map(|i| good(i * 4096)).collect();
        loaded(world, &Setup { completion: 4, ..Setup::default() }, &descs).kick()
    });
}

#[test]
fn a_full_completion_ring_and_a_full_send_buffer() {
    // Before 6.6 there is no tcx, by which frames are held on Linux.
    if this_kernel().is_some_and(|at| at >= 3) {
        return;
    }
    on_every_kernel([EAGAIN, EAGAIN, 0, 0, EAGAIN], |world| {
        world.hold(End::B);
        let descs: Vec<_> = (0..3).map(|i| xdp_desc { len: 1500, ..good(i * 4096) }).collect();
        let socket = loaded(world, &Setup { completion: 2, ..Setup::default() }, &descs);
        // The least there is: two such packets.
        world.kernel().setsockopt(socket.handle, SOL_SOCKET, SO_SNDBUF, 0_i32.as_bytes()).unwrap();
        socket.kick()
    });
}

#[test]
fn completed_addresses() {
    on_every_kernel([0x100, 0x100, 0x101, 0x101, 0x101], |world| {
        let socket = loaded(world, &Setup::default(), &[good(0x101)]);
        assert_eq!(socket.kick(), 0);
        socket.completion().read::<u64>(0)
    });
    // The user has moved the index of the completion ring: the place at the index, or the one that was reserved.
    on_every_kernel([Some(4), Some(4), Some(0), Some(4), Some(4)], |world| {
        world.break_the_law();
        let socket = loaded(world, &Setup { completion: 8, ..Setup::default() }, &[good(0x5000)]);
        socket.completion().set_producer(100);
        assert_eq!(socket.kick(), 0);
        (0..8).find(|place| socket.completion().read::<u64>(*place) == 0x5000)
    });
}

#[test]
fn refused_tx_metadata() {
    on_newer_kernels([(EINVAL, 0, 0, 0), (EINVAL, 0, 1, 0), (EINVAL, 0, 0, 0)], |world| {
        // Linux completes what it has not taken: the frame is in two places.
        world.break_the_law();
        kick(&loaded(world, &Setup::default(), &[xdp_desc { options: 2, ..good(0) }]))
    });
}

#[test]
fn launch_times() {
    const LAUNCH_TIME: u64 = 4;
    let launched = |world: &dyn World, room: u32| {
        let setup = Setup { umem_flags: TX_METADATA_LEN, metadata: room, ..Setup::default() };
        let socket = RawSocket::open(world, &setup);
        let request = xsk_tx_metadata_request { flags: LAUNCH_TIME, ..Default::default() };
        socket.write(4096, request.as_bytes());
        socket.tx().push([xdp_desc { options: 2, ..good(4096 + u64::from(room)) }]);
        socket.kick()
    };
    on_newer_kernels([EINVAL, 0, EINVAL], |world| launched(world, 16));
    on_newer_kernels([0, 0, EINVAL], |world| launched(world, 24));
}

#[test]
fn a_tx_ring_of_another_size_is_as_large_everywhere() {
    on_every_kernel([0; 5], |world| RawSocket::new(&world.kernel()).set(XDP_TX_RING, 1 << 17));
}
