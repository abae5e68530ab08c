//! bpf(2): the XSKMAP, the redirect program, the link.
//!
//! Structs and numbers are those of `include/uapi/linux/bpf.h`; each struct is the part of `union bpf_attr` that its
//! command reads, and has no padding.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use super::sys::{check, owned};
use crate::backend::RedirectProgram;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;

const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

const BPF_FUNC_REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;
/// Offset of `rx_queue_index` in `struct xdp_md`.
const XDP_MD_RX_QUEUE_INDEX: i16 = 16;

type Name = [u8; 16];

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: Name,
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: Name,
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The start of `struct bpf_prog_info`, up to its name.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: Name,
}

const _: () = {
    assert!(size_of::<MapCreate>() == 44);
    assert!(size_of::<MapElement>() == 32);
    assert!(size_of::<ProgramLoad>() == 72);
    assert!(size_of::<GetById>() == 12);
    assert!(size_of::<GetInfo>() == 16);
    assert!(size_of::<ProgramInfo>() == 80);
};

/// # Safety
/// `attribute` is the part of `union bpf_attr` that `command` reads, and the addresses in it are of memory that lives
/// through the call and is as long as the command takes it to be.
unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_int> {
    let attribute_ptr = ptr::from_mut(attribute);
    // SAFETY: as the caller promises; the size is the struct's own, and all of it is initialised.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute_ptr, size_of::<T>()) };
    check(result as libc::c_int)
}

/// As [`bpf`], for the commands that make a file descriptor. All are close-on-exec.
///
/// # Safety
/// As for [`bpf`], and the command returns a new file descriptor.
unsafe fn bpf_fd<T>(command: libc::c_int, attribute: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    owned(unsafe { bpf(command, attribute) }?)
}

fn name(text: &str) -> Name {
    let mut name = Name::default();
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

fn address<T: ?Sized>(value: &T) -> u64 {
    ptr::from_ref(value).cast::<u8>() as u64
}

pub(super) fn xskmap_create(entries: u32) -> io::Result<OwnedFd> {
    let mut attribute = MapCreate {
        map_type: BPF_MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: entries,
        map_name: name("xsks_map"),
        ..Default::default()
    };
    // SAFETY: the struct of BPF_MAP_CREATE, without addresses.
    unsafe { bpf_fd(BPF_MAP_CREATE, &mut attribute) }
}

pub(super) fn map_update(map: RawFd, key: u32, socket: RawFd) -> io::Result<()> {
    let value = socket as u32;
    let mut attribute =
        MapElement { map_fd: map as u32, key: address(&key), value: address(&value), ..Default::default() };
    // SAFETY: the struct of BPF_MAP_UPDATE_ELEM; key and value are four bytes each, as XSKMAPs have them, and live here.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attribute) }.map(drop)
}

pub(super) fn map_delete(map: RawFd, key: u32) -> io::Result<()> {
    let mut attribute = MapElement { map_fd: map as u32, key: address(&key), ..Default::default() };
    // SAFETY: the struct of BPF_MAP_DELETE_ELEM; the key is four bytes, as XSKMAPs have it, and lives here.
    unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attribute) }.map(drop)
}

/// One eBPF instruction.
const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    code as u64 | (registers as u64) << 8 | (offset as u16 as u64) << 16 | (immediate as u32 as u64) << 32
}

/// `return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS)`: an empty slot passes the packet to the stack
/// (fallback flags: Linux 5.3). Registers are source in the high, destination in the low four bits.
fn redirect_program(map: RawFd) -> [u64; 6] {
    const LOAD_WORD: u8 = 0x61;
    const LOAD_MAP: u8 = 0x18;
    const MOVE_IMMEDIATE: u8 = 0xb7;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const FROM_MAP_FD: u8 = 1;
    [
        instruction(LOAD_WORD, 0x12, XDP_MD_RX_QUEUE_INDEX, 0), // r2 = *(u32 *)(r1 + 16)
        instruction(LOAD_MAP, FROM_MAP_FD << 4 | 1, 0, map),    // r1 = map
        instruction(0, 0, 0, 0),                                // second half of the wide load
        instruction(MOVE_IMMEDIATE, 3, 0, XDP_PASS),            // r3 = XDP_PASS
        instruction(CALL, 0, 0, BPF_FUNC_REDIRECT_MAP),
        instruction(EXIT, 0, 0, 0),
    ]
}

pub(super) fn program_load(program: &RedirectProgram) -> io::Result<OwnedFd> {
    let instructions = redirect_program(program.map.0);
    let mut attribute = ProgramLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: address(&instructions),
        license: address(c"Dual MIT/GPL".to_bytes_with_nul()),
        prog_flags: if program.frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
        prog_name: name("xsk_redirect"),
        expected_attach_type: BPF_XDP,
        ..Default::default()
    };
    // SAFETY: the struct of BPF_PROG_LOAD; `insns` are `insn_cnt` instructions and `license` is a C string, and both
    // live through the call.
    unsafe { bpf_fd(BPF_PROG_LOAD, &mut attribute) }
}

pub(super) fn link_create(program: RawFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attribute =
        LinkCreate { prog_fd: program as u32, target_ifindex: ifindex, attach_type: BPF_XDP, flags };
    // SAFETY: the struct of BPF_LINK_CREATE, without addresses.
    unsafe { bpf_fd(BPF_LINK_CREATE, &mut attribute) }
}

pub(super) fn link_update(link: RawFd, program: RawFd) -> io::Result<()> {
    let mut attribute =
        LinkUpdate { link_fd: link as u32, new_prog_fd: program as u32, ..Default::default() };
    // SAFETY: the struct of BPF_LINK_UPDATE, without addresses.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attribute) }.map(drop)
}

pub(super) fn program_name(id: u32) -> io::Result<String> {
    let mut attribute = GetById { id, ..Default::default() };
    // SAFETY: the struct of BPF_PROG_GET_FD_BY_ID, without addresses.
    let fd = unsafe { bpf_fd(BPF_PROG_GET_FD_BY_ID, &mut attribute) }?;
    let mut info = ProgramInfo::default();
    let mut attribute = GetInfo {
        bpf_fd: fd.as_raw_fd() as u32,
        info_len: size_of::<ProgramInfo>() as u32,
        info: ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the struct of BPF_OBJ_GET_INFO_BY_FD; the kernel writes at most `info_len` bytes to `info`, which lives here,
    // and any bytes make a ProgramInfo. The buffers that it could name are null, so none is filled.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attribute) }?;
    let end = info.name.iter().position(|&byte| byte == 0).unwrap_or(info.name.len());
    Ok(String::from_utf8_lossy(&info.name[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_what_it_says() {
        let [load, map, second, fallback, call, exit] = redirect_program(7);
        assert_eq!(load, 0x0000_0000_0010_1261);
        assert_eq!(map, 0x0000_0007_0000_1118);
        assert_eq!(second, 0);
        assert_eq!(fallback, 0x0000_0002_0000_03b7);
        assert_eq!(call, 0x0000_0033_0000_0085);
        assert_eq!(exit, 0x0000_0000_0000_0095);
    }
}
