//! XDP programs of the tests' own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use xsk::config::XdpFlags;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_XDP: u32 = 37;
const BPF_FUNC_REDIRECT_MAP: i32 = 51;

/// Drops the packet.
pub const XDP_DROP: u32 = 1;
/// Passes the packet to the stack.
pub const XDP_PASS: u32 = 2;

const fn instruction(code: u8, registers: u8, immediate: i32) -> u64 {
    code as u64 | (registers as u64) << 8 | (immediate as u32 as u64) << 32
}

/// `return verdict`.
pub fn load_verdict(verdict: u32) -> io::Result<OwnedFd> {
    load(&[instruction(0xb7, 0, verdict.cast_signed()), instruction(0x95, 0, 0)], false)
}

/// `return bpf_redirect_map(map, slot, fallback)`, whatever the packet's queue.
pub fn load_redirect(map: BorrowedFd<'_>, slot: u32, fallback: u32) -> io::Result<OwnedFd> {
    const FROM_MAP_FD: u8 = 1;
    let instructions = [
        instruction(0x18, FROM_MAP_FD << 4 | 1, map.as_raw_fd()), // r1 = map
        0,
        instruction(0xb7, 2, slot.cast_signed()),     // r2 = slot
        instruction(0xb7, 3, fallback.cast_signed()), // r3 = fallback
        instruction(0x85, 0, BPF_FUNC_REDIRECT_MAP),
        instruction(0x95, 0, 0),
    ];
    load(&instructions, false)
}

/// An array map with one element of eight bytes, for a program to count in.
pub fn counter() -> io::Result<OwnedFd> {
    let mut attribute = [BPF_MAP_TYPE_ARRAY, 4, 8, 1];
    // SAFETY: type, key size, value size and entries: the struct of BPF_MAP_CREATE, without addresses.
    unsafe { bpf(BPF_MAP_CREATE, &mut attribute) }
}

/// Loads an XDP program of these instructions. `frags`: it takes packets of several buffers.
pub fn load(instructions: &[u64], frags: bool) -> io::Result<OwnedFd> {
    /// `union bpf_attr` of BPF_PROG_LOAD, up to its flags.
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log: [u32; 4],
        kern_version: u32,
        prog_flags: u32,
    }
    let mut attribute = Load {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr().expose_provenance() as u64,
        license: c"GPL".as_ptr().expose_provenance() as u64,
        log: [0; 4],
        kern_version: 0,
        prog_flags: if frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
    };
    // SAFETY: the struct of BPF_PROG_LOAD; both addresses are of memory that lives through the call.
    unsafe { bpf(BPF_PROG_LOAD, &mut attribute) }
}

/// Attaches until the result is dropped. To be called in the interface's namespace.
pub fn attach(program: &impl AsFd, ifindex: u32, mode: XdpFlags) -> io::Result<OwnedFd> {
    let mut attribute = [program.as_fd().as_raw_fd() as u32, ifindex, BPF_XDP, mode.bits()];
    // SAFETY: program, interface, attach type and flags: the struct of BPF_LINK_CREATE, without addresses.
    unsafe { bpf(BPF_LINK_CREATE, &mut attribute) }
}

/// # Safety
/// `attribute` is what `command` reads, and the addresses in it are of memory that lives through the call.
unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<OwnedFd> {
    let pointer = ptr::from_mut(attribute);
    // SAFETY: as the caller promises; the size is the attribute's own.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel just returned `fd`, and nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
