//! Addresses that the process has nothing at: the traits of this library never pass such, C programs do.

use std::ptr;

use xsk::backend::PageSize;
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, XDP_OPTIONS, XDP_RX_RING, XDP_STATISTICS, XDP_UMEM_REG, xdp_umem_reg,
};
use xsk_core::errno::{EFAULT, EINVAL};
use xsk_tests::raw::{RawSocket, Setup, errno};
use xsk_tests::world::World;

const NO_ADDRESSES: &str = "the simulated kernel has no calls with addresses";

rules! {
    s2_1_1_values_that_are_not_there.not_simulated(NO_ADDRESSES);
    s2_2_14_memory_that_cannot_be_written.not_simulated(NO_ADDRESSES);
    s3_1_lengths_and_buffers_that_are_not_there.not_simulated(NO_ADDRESSES);
    s4_5_other_kinds_of_mapping.not_simulated(NO_ADDRESSES);
    s5_1_1_addresses_that_are_short_or_not_there.not_simulated(NO_ADDRESSES);
}

/// The last page of the address space that a process can have: nothing is there.
const NOWHERE: usize = 0x7fff_ffff_e000;

fn last(result: libc::c_int) -> i32 {
    if result == 0 { 0 } else { errno::<()>(Err(std::io::Error::last_os_error())) }
}

fn s2_1_1_values_that_are_not_there(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let fd = socket.kernel.fd(socket.handle).unwrap();
    for (option, len) in [(XDP_RX_RING, 4), (XDP_UMEM_REG, 32), (XDP_MAX_TX_SKB_BUDGET, 4)] {
        let nowhere = ptr::without_provenance(NOWHERE);
        // SAFETY: the kernel checks the address, and nothing is there.
        let result = unsafe { libc::setsockopt(fd, SOL_XDP, option, nowhere, len) };
        assert_eq!(last(result), EFAULT, "option {option}");
    }
}

fn s2_2_14_memory_that_cannot_be_written(world: &dyn World) {
    let kernel = world.kernel();
    let memory = kernel.mmap_memory(16 * 4096, PageSize::Normal).unwrap();
    let start = memory.as_ptr().as_ptr();
    let register = || {
        let socket = RawSocket::new(&kernel);
        let reg = xdp_umem_reg { addr: start as u64, len: 16 * 4096, chunk_size: 4096, ..Default::default() };
        errno(kernel.setsockopt(socket.handle, SOL_XDP, XDP_UMEM_REG, reg.as_bytes()))
    };
    // SAFETY: pages of a mapping of our own, which nobody uses.
    assert_eq!(unsafe { libc::mprotect(start.cast(), 16 * 4096, libc::PROT_READ) }, 0);
    assert_eq!(register(), EFAULT);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::mprotect(start.cast(), 4096, libc::PROT_READ | libc::PROT_WRITE) }, 0);
    assert_eq!(register(), xsk_core::errno::ENOMEM, "some of its pages");
    // SAFETY: as above.
    assert_eq!(unsafe { libc::mprotect(start.cast(), 16 * 4096, libc::PROT_READ | libc::PROT_WRITE) }, 0);
    assert_eq!(register(), 0);
}

fn s3_1_lengths_and_buffers_that_are_not_there(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    let fd = socket.kernel.fd(socket.handle).unwrap();
    let nowhere = ptr::without_provenance_mut::<libc::c_void>(NOWHERE);
    let mut buffer = [0_u8; 64];
    let buffer = buffer.as_mut_ptr().cast::<libc::c_void>();
    for (option, len) in [(XDP_OPTIONS, 4), (XDP_STATISTICS, 48)] {
        let mut length: libc::socklen_t = len;
        // SAFETY: the kernel checks the address of the value, and nothing is there; the length is there.
        let result = unsafe { libc::getsockopt(fd, SOL_XDP, option, nowhere, &raw mut length) };
        assert_eq!(last(result), EFAULT, "option {option}");
        // SAFETY: the kernel checks the address of the length, and nothing is there.
        let result = unsafe { libc::getsockopt(fd, SOL_XDP, option, buffer, nowhere.cast()) };
        assert_eq!(last(result), EFAULT);
        let mut length: libc::socklen_t = u32::MAX;
        // SAFETY: the kernel takes the length for a negative number, and refuses it.
        let result = unsafe { libc::getsockopt(fd, SOL_XDP, option, buffer, &raw mut length) };
        assert_eq!(last(result), EINVAL);
    }
}

fn s4_5_other_kinds_of_mapping(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let fd = socket.kernel.fd(socket.handle).unwrap();
    for (protection, kind) in [
        (libc::PROT_READ, libc::MAP_SHARED),
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE),
        (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_POPULATE),
    ] {
        // SAFETY: a mapping where the kernel has room.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, kind, fd, 0) };
        assert_ne!(mapping, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        // SAFETY: the mapping, which nobody uses.
        assert_eq!(unsafe { libc::munmap(mapping, 4096) }, 0);
    }
}

fn s5_1_1_addresses_that_are_short_or_not_there(world: &dyn World) {
    let socket = RawSocket::prepare(world, &Setup::default());
    let fd = socket.kernel.fd(socket.handle).unwrap();
    let address = [0_u8; 16];
    // SAFETY: an address of more bytes than said.
    assert_eq!(last(unsafe { libc::bind(fd, address.as_ptr().cast(), 15) }), EINVAL);
    // SAFETY: the kernel checks the address, and nothing is there.
    assert_eq!(last(unsafe { libc::bind(fd, ptr::null(), 16) }), EFAULT);
}
