use std::time::Duration;

use xsk::backend::Capabilities;
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, XDP_RX_RING, XDP_TX_RING, XDP_UMEM_COMPLETION_RING,
    XDP_UMEM_FILL_RING, XDP_UMEM_REG, xdp_umem_reg,
};
use xsk_core::errno::{EACCES, EBUSY, EFAULT, EINVAL, ENOBUFS, ENODEV, ENOMEM, ENOPROTOOPT, EPERM};

use xsk_tests::raw::{RawSocket, Setup, errno};
use xsk_tests::world::{End, World};

rules! {
    s2_1_rings;
    s2_2_registration;
    s2_2_13_locked_memory;
    s2_3_the_budget;
    s2_4_busy_polling;
    s2_wrong_levels_and_options;
    s2_1_6_flags_of_new_rings;
    s2_2_1_short_structs;
    s2_2_3_a_socket_has_one_umem;
    s2_4_3_bound_to_a_device;
    s2_4_options_that_are_only_read_and_one_that_is_only_written;
    s2_2_8_memory_that_wraps_around;
}

const RINGS: [i32; 4] = [XDP_RX_RING, XDP_TX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING];

fn set(socket: &RawSocket, level: i32, name: i32, value: &[u8]) -> i32 {
    errno(socket.kernel.setsockopt(socket.handle, level, name, value))
}

fn s2_wrong_levels_and_options(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(set(&socket, 6, XDP_RX_RING, &[8, 0, 0, 0]), ENOPROTOOPT);
    // Options that can only be read, and none at all.
    for name in [0, 1, 7, 8, 10, 999, -1] {
        assert_eq!(set(&socket, SOL_XDP, name, &[8, 0, 0, 0]), ENOPROTOOPT, "option {name}");
    }
}

fn s2_1_rings(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    for name in RINGS {
        assert_eq!(set(&socket, SOL_XDP, name, &[8, 0, 0]), EINVAL);
        for bad in [0, 3, 6, u32::MAX, u32::MAX - 7] {
            assert_eq!(socket.set(name, bad), EINVAL, "{bad} entries");
        }
        assert_eq!(set(&socket, SOL_XDP, name, &[1, 0, 0, 0, 9, 9]), 0);
        assert_eq!(socket.set(name, 8), EINVAL, "a second one");
        assert_eq!(socket.set(name, 0), EINVAL);
    }
    let bound = RawSocket::open(world, &Setup::default());
    for name in RINGS {
        assert_eq!(bound.set(name, 0), EBUSY, "the state comes before the value");
    }
    let fresh = RawSocket::new(&world.kernel());
    assert_eq!(fresh.set(XDP_RX_RING, 1 << 20), 0);
}

fn s2_1_6_flags_of_new_rings(world: &dyn World) {
    let mut socket = RawSocket::new(&world.kernel());
    socket.make_rings(&Setup::default());
    let flags = [&socket.tx, &socket.rx, &socket.fill, &socket.completion];
    assert_eq!(flags.map(|ring| ring.as_ref().unwrap().flags()), [1, 0, 0, 0]);
}

/// Registers, with memory of 64 pages; the errno. The memory's address is added to `reg.addr`.
fn register(world: &dyn World, reg: xdp_umem_reg, len: usize) -> i32 {
    let kernel = world.kernel();
    let memory = kernel.mmap_memory(64 * 4096, xsk::backend::PageSize::Normal).unwrap();
    let addr = reg.addr.wrapping_add(memory.as_ptr().as_ptr() as u64);
    let reg = xdp_umem_reg { addr, ..reg };
    let socket = RawSocket::new(&kernel);
    let mut bytes = reg.as_bytes().to_vec();
    bytes.resize(len.max(32), 0xff);
    set(&socket, SOL_XDP, XDP_UMEM_REG, &bytes[..len])
}

const GOOD: xdp_umem_reg =
    xdp_umem_reg { addr: 0, len: 16 * 4096, chunk_size: 4096, headroom: 0, flags: 0, tx_metadata_len: 0 };

fn s2_2_registration(world: &dyn World) {
    let reg = GOOD;
    let unaligned = xdp_umem_reg { flags: 1, chunk_size: 2048, ..reg };
    let metadata = |len| xdp_umem_reg { flags: 4, tx_metadata_len: len, ..reg };
    let rows = [
        (reg, 0),
        (xdp_umem_reg { chunk_size: 2047, ..reg }, EINVAL),
        (xdp_umem_reg { chunk_size: 4097, flags: 1, ..reg }, EINVAL),
        (xdp_umem_reg { chunk_size: 8192, ..reg }, EINVAL),
        (xdp_umem_reg { flags: 8, ..reg }, EINVAL),
        (xdp_umem_reg { flags: 3, ..reg }, 0),
        (xdp_umem_reg { chunk_size: 3000, ..reg }, EINVAL),
        (xdp_umem_reg { chunk_size: 3000, flags: 1, ..reg }, 0),
        (xdp_umem_reg { addr: 64, ..reg }, EINVAL),
        (xdp_umem_reg { addr: 64, ..unaligned }, EINVAL),
        (xdp_umem_reg { len: u64::MAX - 4095, ..reg }, EINVAL),
        (xdp_umem_reg { len: 0, ..reg }, EINVAL),
        (xdp_umem_reg { len: 4095, ..reg }, EINVAL),
        (xdp_umem_reg { len: 4096 + 2048, ..reg }, EINVAL),
        (xdp_umem_reg { len: 6144, chunk_size: 2048, ..reg }, 0),
        (xdp_umem_reg { len: 2049, ..unaligned }, 0),
        (xdp_umem_reg { len: 2047, ..unaligned }, EINVAL),
        (xdp_umem_reg { headroom: 3392, ..reg }, 0),
        (xdp_umem_reg { headroom: 3393, ..reg }, EINVAL),
        (xdp_umem_reg { headroom: 1344, chunk_size: 2048, ..reg }, 0),
        (xdp_umem_reg { headroom: 1345, chunk_size: 2048, ..reg }, EINVAL),
        (xdp_umem_reg { headroom: u32::MAX, ..reg }, EINVAL),
        (metadata(0), 0),
        (metadata(8), 0),
        (metadata(12), EINVAL),
        (metadata(248), 0),
        (metadata(256), EINVAL),
        (xdp_umem_reg { tx_metadata_len: 7, ..reg }, 0),
        // More than anything that the process may have mapped behind it.
        (xdp_umem_reg { len: 1 << 26, ..reg }, ENOMEM),
        (xdp_umem_reg { addr: 1 << 46, ..reg }, EFAULT),
    ];
    for (reg, expected) in rows {
        assert_eq!(register(world, reg, 32), expected, "{reg:?}");
    }
}

fn s2_2_1_short_structs(world: &dyn World) {
    assert_eq!(register(world, GOOD, 23), EINVAL);
    assert_eq!(register(world, GOOD, 24), 0);
    // Half a flags word is not read.
    assert_eq!(register(world, xdp_umem_reg { flags: 0xffff, ..GOOD }, 31), 0);
    assert_eq!(register(world, xdp_umem_reg { flags: 0xffff, ..GOOD }, 32), EINVAL);
    assert_eq!(register(world, GOOD, 40), 0);
}

fn s2_2_3_a_socket_has_one_umem(world: &dyn World) {
    let mut socket = RawSocket::new(&world.kernel());
    socket.register(&Setup::default()).unwrap();
    assert_eq!(set(&socket, SOL_XDP, XDP_UMEM_REG, &[0xff; 32]), EBUSY);
    assert_eq!(set(&socket, SOL_XDP, XDP_UMEM_REG, &[0xff; 8]), EINVAL);
}

fn s2_2_13_locked_memory(world: &dyn World) {
    let first = xdp_umem_reg { len: 12 * 4096, ..GOOD };
    world.with_memlock_limit(20 * 4096, &mut || {
        assert_eq!(register(world, GOOD, 32), 0, "CAP_IPC_LOCK has no limit");
        assert_eq!(register(world, xdp_umem_reg { len: 21 * 4096, ..GOOD }, 32), 0);
        world.without(Capabilities::CAP_IPC_LOCK, &mut || {
            assert_eq!(register(world, first, 32), 0);
            // The last one is not given back yet.
            assert_eq!(register(world, first, 32), ENOBUFS);
            world.kernel().sleep(Duration::from_millis(100));
            assert_eq!(register(world, first, 32), 0);
            assert_eq!(register(world, xdp_umem_reg { len: 21 * 4096, ..GOOD }, 32), ENOBUFS);
        });
    });
}

fn s2_3_the_budget(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(socket.set(XDP_MAX_TX_SKB_BUDGET, 32), EACCES);
    assert_eq!(socket.set(XDP_TX_RING, 64), 0);
    for (budget, expected) in [(31, EACCES), (32, 0), (64, 0), (65, EACCES)] {
        assert_eq!(socket.set(XDP_MAX_TX_SKB_BUDGET, budget), expected, "{budget}");
    }
    assert_eq!(set(&socket, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &[32, 0, 0, 0, 0]), EINVAL);
    let bound = RawSocket::open(world, &Setup { tx: 8, ..Setup::default() });
    assert_eq!(bound.set(XDP_MAX_TX_SKB_BUDGET, 32), EACCES);
}

const SO_BUSY_POLL: i32 = 46;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;
const SO_BINDTODEVICE: i32 = 25;

fn s2_4_busy_polling(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    let check = |rows: &[(i32, i32, i32)]| {
        for (name, value, expected) in rows {
            assert_eq!(set(&socket, 1, *name, value.as_bytes()), *expected, "option {name} to {value}");
        }
    };
    check(&[
        (SO_BUSY_POLL, -1, EINVAL),
        (SO_BUSY_POLL, 20, 0),
        (SO_PREFER_BUSY_POLL, -5, 0),
        (SO_BUSY_POLL_BUDGET, 65536, EINVAL),
        (SO_BUSY_POLL_BUDGET, -1, EINVAL),
    ]);
    world.without(Capabilities::CAP_NET_ADMIN, &mut || {
        check(&[
            (SO_BUSY_POLL, 30, 0),
            (SO_PREFER_BUSY_POLL, 1, EPERM),
            (SO_PREFER_BUSY_POLL, 0, 0),
            (SO_BUSY_POLL_BUDGET, 8, EPERM),
            (SO_BUSY_POLL_BUDGET, 0, 0),
        ]);
    });
}

fn s2_4_3_bound_to_a_device(world: &dyn World) {
    let setup = Setup::default();
    let mut socket = RawSocket::new(&world.kernel());
    socket.register(&setup).unwrap();
    socket.make_rings(&setup);
    assert_eq!(set(&socket, 1, SO_BINDTODEVICE, b"nobody"), ENODEV);
    let name = world.name(End::B);
    assert_eq!(set(&socket, 1, SO_BINDTODEVICE, name.as_bytes_with_nul()), 0);
    assert_eq!(socket.bind(world, &setup), EINVAL);
    assert_eq!(socket.bind(world, &Setup { end: End::B, ..setup }), 0);
}

fn s2_4_options_that_are_only_read_and_one_that_is_only_written(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    for name in [3, 4, 38, 39, 56] {
        assert_eq!(set(&socket, 1, name, &[1, 0, 0, 0]), ENOPROTOOPT, "option {name}");
    }
    let get = |name| errno(world.kernel().getsockopt(socket.handle, 1, name, &mut [0; 4]));
    assert_eq!((get(SO_PREFER_BUSY_POLL), get(SO_BUSY_POLL_BUDGET)), (0, ENOPROTOOPT));
    for (value, stored) in [(0_i32, 4608), (100_000, 200_000)] {
        assert_eq!(set(&socket, 1, 7, value.as_bytes()), 0);
        assert_eq!(socket.socket_option(7), stored);
    }
}

fn s2_2_8_memory_that_wraps_around(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    let reg = xdp_umem_reg { addr: u64::MAX - 4095, len: 8192, ..GOOD };
    assert_eq!(set(&socket, SOL_XDP, XDP_UMEM_REG, reg.as_bytes()), EINVAL);
    let reg = xdp_umem_reg { addr: 0, ..GOOD };
    assert_eq!(set(&socket, SOL_XDP, XDP_UMEM_REG, reg.as_bytes()), EFAULT);
}
