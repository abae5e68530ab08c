//! XDP programs of the tests' own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use xsk::config::XdpFlags;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_MAP_GET_FD_BY_ID: libc::c_int = 14;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_FUNC_REDIRECT: i32 = 23;
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

/// `struct bpf_attr` of the commands about one element of a map.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The element of a map with one element of eight bytes.
pub fn read_counter(map: &impl AsFd) -> io::Result<u64> {
    let mut value = 0_u64;
    map_lookup(map.as_fd().as_raw_fd(), &mut value)?;
    Ok(value)
}

/// Looks slot 0 up, into a value that is as long as the map's are, or longer.
pub fn map_lookup(map: i32, value: &mut u64) -> io::Result<()> {
    let (key, value) = (0_u32, ptr::from_mut(value).expose_provenance() as u64);
    let key = ptr::from_ref(&key).expose_provenance() as u64;
    let mut attribute = Element { map_fd: map as u32, padding: 0, key, value, flags: 0 };
    // SAFETY: the struct of BPF_MAP_LOOKUP_ELEM; a key of four bytes and a value of up to eight, which live through the call.
    unsafe { bpf_call(BPF_MAP_LOOKUP_ELEM, &mut attribute) }.map(drop)
}

/// Puts `value` into a slot of a map with values of four bytes.
pub fn map_update(map: i32, key: u32, value: i32, flags: u64) -> io::Result<()> {
    let (key, value) = (ptr::from_ref(&key).expose_provenance(), ptr::from_ref(&value).expose_provenance());
    let mut attribute =
        Element { map_fd: map as u32, padding: 0, key: key as u64, value: value as u64, flags };
    // SAFETY: the struct of BPF_MAP_UPDATE_ELEM; key and value have four bytes, and live through the call.
    unsafe { bpf_call(BPF_MAP_UPDATE_ELEM, &mut attribute) }.map(drop)
}

/// Sends every packet that the stack of an interface gets out of another one, for as long as the result is open.
pub fn forward(from: u32, to: u32) -> io::Result<OwnedFd> {
    let instructions = [
        instruction(0xb7, 1, to.cast_signed()), // r1 = interface
        instruction(0xb7, 2, 0),                // r2 = flags
        instruction(0x85, 0, BPF_FUNC_REDIRECT),
        instruction(0x95, 0, 0),
    ];
    at_stack(from, &instructions)
}

/// Notes the mark of every packet that the stack of an interface gets in a [`counter`], for as long as the result is open.
pub fn see_mark(ifindex: u32, counter: &impl AsFd) -> io::Result<OwnedFd> {
    // In struct __sk_buff.
    const MARK: u64 = 8 << 16;
    const VALUE_IN_MAP: u8 = 2;
    let instructions = [
        instruction(0x61, 1 << 4 | 2, 0) | MARK, // r2 = mark
        instruction(0x18, VALUE_IN_MAP << 4 | 1, counter.as_fd().as_raw_fd()), // r1 = counter
        0,
        instruction(0x7b, 2 << 4 | 1, 0), // *r1 = r2
        instruction(0xb7, 0, -1),         // TCX_NEXT
        instruction(0x95, 0, 0),
    ];
    at_stack(ifindex, &instructions)
}

/// Runs a program on what the stack of an interface gets.
fn at_stack(ifindex: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
    let program = load_type(BPF_PROG_TYPE_SCHED_CLS, instructions, 0)?;
    // Program, interface, attach type, flags, and where among others.
    let mut attribute = [program.as_raw_fd() as u32, ifindex, BPF_TCX_INGRESS, 0, 0, 0, 0, 0];
    // SAFETY: the struct of BPF_LINK_CREATE for tcx, without addresses.
    unsafe { bpf(BPF_LINK_CREATE, &mut attribute) }
}

/// The id of a map.
pub fn map_id(map: i32) -> io::Result<u32> {
    // The start of struct bpf_map_info: type and id.
    let mut info = [0_u32; 2];
    let address = info.as_mut_ptr().expose_provenance() as u64;
    // Descriptor, length, and address in two words.
    let mut attribute = [map as u32, size_of_val(&info) as u32, address as u32, (address >> 32) as u32];
    // SAFETY: the struct of BPF_OBJ_GET_INFO_BY_FD; the address is of so many bytes that live through the call.
    unsafe { bpf_call(BPF_OBJ_GET_INFO_BY_FD, &mut attribute) }?;
    Ok(info[1])
}

/// The map of an id.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attribute = [id, 0, 0];
    // SAFETY: the struct of BPF_MAP_GET_FD_BY_ID, without addresses.
    unsafe { bpf(BPF_MAP_GET_FD_BY_ID, &mut attribute) }
}

/// Loads an XDP program of these instructions. `frags`: it takes packets of several buffers.
pub fn load(instructions: &[u64], frags: bool) -> io::Result<OwnedFd> {
    load_type(BPF_PROG_TYPE_XDP, instructions, if frags { BPF_F_XDP_HAS_FRAGS } else { 0 })
}

fn load_type(kind: u32, instructions: &[u64], flags: u32) -> io::Result<OwnedFd> {
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
        prog_type: kind,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr().expose_provenance() as u64,
        license: c"GPL".as_ptr().expose_provenance() as u64,
        log: [0; 4],
        kern_version: 0,
        prog_flags: flags,
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
unsafe fn bpf_call<T>(command: libc::c_int, attribute: &mut T) -> io::Result<i32> {
    let pointer = ptr::from_mut(attribute);
    // SAFETY: as the caller promises; the size is the attribute's own.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
/// As for [`bpf_call`], and the command returns a new file descriptor.
unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let fd = unsafe { bpf_call(command, attribute) }?;
    // SAFETY: the kernel just returned `fd`, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
