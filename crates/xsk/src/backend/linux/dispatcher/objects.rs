//! Programs and maps of the kernel.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libbpf_sys as bpf;

use super::super::sys::owned;
use super::errno;
use super::library::check;
use super::pins::Pins;

/// The maps of a default program.
#[derive(Debug)]
pub(super) struct Maps {
    /// The XSKMAP.
    pub(super) sockets: OwnedFd,
    pub(super) counter: Option<Counter>,
}

impl Maps {
    /// `None` if the program has no XSKMAP.
    pub(super) fn of(program: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let (mut sockets, mut counter) = (None, None);
        for id in map_ids(program)? {
            // SAFETY: takes a number.
            let map = opened(unsafe { bpf::bpf_map_get_fd_by_id(id) })?;
            let info = map_info(&map)?;
            let value_size = info.value_size as usize;
            if is_name(&info.name, c"xsks_map") && (info.key_size, info.value_size) == (4, 4) {
                sockets = Some(map);
            } else if is_name(&info.name, c"xsk_def_.data") && value_size >= size_of::<i32>() {
                counter = Some(Counter { map, value_size });
            }
        }
        Ok(sockets.map(|sockets| Self { sockets, counter }))
    }
}

/// How many users a default program has: the first number among its data.
#[derive(Debug)]
pub(super) struct Counter {
    map: OwnedFd,
    /// Bytes of the data; at least four.
    value_size: usize,
}

impl Counter {
    /// Adds to the counter, and returns it. 0 stays 0: the program is being detached.
    pub(super) fn add(&self, change: i32, pins: &Pins) -> io::Result<i32> {
        let (map, key, mut data) = (self.map.as_raw_fd(), 0_u32, vec![0_u8; self.value_size]);
        let key = (&raw const key).cast();
        // Every user of libxdp takes this lock for it.
        let _lock = pins.lock()?;
        // SAFETY: the map is an array of one value of `value_size` bytes, and `data` has room for it.
        check(unsafe { bpf::bpf_map_lookup_elem(map, key, data.as_mut_ptr().cast()) })?;
        let Some(first) = data.first_chunk_mut() else { return Err(errno(libc::EINVAL)) };
        let users = i32::from_ne_bytes(*first);
        if users == 0 {
            return Ok(0);
        }
        let users = users.saturating_add(change);
        *first = users.to_ne_bytes();
        // SAFETY: as above; `data` is only read.
        check(unsafe { bpf::bpf_map_update_elem(map, key, data.as_ptr().cast(), 0) })?;
        Ok(users)
    }
}

/// The id of a loaded program.
pub(super) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = zeroed();
    program_info(program, &mut info)?;
    Ok(info.id)
}

/// A program that is pinned at a path.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a C string.
    opened(unsafe { bpf::bpf_obj_get(path.as_ptr()) })
}

fn map_ids(program: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut info = zeroed();
    program_info(program, &mut info)?;
    let mut ids = vec![0_u32; info.nr_map_ids as usize];
    info = bpf::bpf_prog_info { nr_map_ids: info.nr_map_ids, map_ids: ids.as_mut_ptr() as u64, ..zeroed() };
    program_info(program, &mut info)?;
    ids.truncate(info.nr_map_ids as usize);
    Ok(ids)
}

fn zeroed() -> bpf::bpf_prog_info {
    // SAFETY: plain numbers, for which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// `info` names buffers of our own, with their lengths, or none.
fn program_info(program: BorrowedFd<'_>, info: &mut bpf::bpf_prog_info) -> io::Result<()> {
    let mut len = size_of::<bpf::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes at most `len` bytes to `info`, and to its buffers what they have room for.
    check(unsafe { bpf::bpf_prog_get_info_by_fd(program.as_raw_fd(), info, &raw mut len) })
}

fn map_info(map: &OwnedFd) -> io::Result<bpf::bpf_map_info> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: bpf::bpf_map_info = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut len = size_of::<bpf::bpf_map_info>() as u32;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which names no buffers.
    check(unsafe { bpf::bpf_map_get_info_by_fd(map.as_raw_fd(), &raw mut info, &raw mut len) })?;
    Ok(info)
}

fn is_name(name: &[c_char; 16], expected: &CStr) -> bool {
    let name = name.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0);
    name.eq(expected.to_bytes().iter().copied())
}

/// A descriptor that libbpf has just opened, close-on-exec as all of the kernel's BPF descriptors; negative means errno.
fn opened(fd: libc::c_int) -> io::Result<OwnedFd> {
    check(fd)?;
    owned(fd)
}
