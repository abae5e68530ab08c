//! Just enough bpf(2) to attach a program.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

pub(super) const SKB_MODE: u32 = 2;
pub(super) const DRV_MODE: u32 = 4;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// `return XDP_PASS`.
pub(super) fn load_xdp_pass() -> io::Result<OwnedFd> {
    // mov r0, 2; exit. The immediate is in host order.
    let [i0, i1, i2, i3] = 2_u32.to_ne_bytes();
    let program: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, i0, i1, i2, i3], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let license = c"MIT";
    let mut attr = [0_u8; 32];
    attr[0..4].copy_from_slice(&BPF_PROG_TYPE_XDP.to_ne_bytes());
    attr[4..8].copy_from_slice(&2_u32.to_ne_bytes());
    attr[8..16].copy_from_slice(&(program.as_ptr().expose_provenance() as u64).to_ne_bytes());
    attr[16..24].copy_from_slice(&(license.as_ptr().expose_provenance() as u64).to_ne_bytes());
    bpf(BPF_PROG_LOAD, &attr)
}

/// Attaches until the result is dropped. To be called in the interface's namespace.
pub(super) fn attach(program: &OwnedFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let words = [program.as_raw_fd() as u32, ifindex, BPF_XDP, flags];
    let attr: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bpf(BPF_LINK_CREATE, &attr)
}

pub(super) fn program_id(program: &OwnedFd) -> u32 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("prog_id:")).unwrap();
    line.trim().parse().unwrap()
}

fn bpf(command: libc::c_int, attr: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is readable for its length, and the addresses in it are of memory that the caller keeps.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), attr.len()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel just returned `fd`, and nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
