//! Other users of libxdp's dispatcher, and the file system that all of them need.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::{fs, io};

use libxdp_sys as xdp;
use xsk::config::XdpFlags;
use xsk_veth::Namespace;

/// Runs `f` in a network namespace, on a thread that sees a BPF file system of its own.
pub(crate) fn with_bpffs<T: Send>(ns: &Namespace, f: impl FnOnce() -> T + Send) -> T {
    ns.run(|| {
        mount_privately(c"bpf");
        f()
    })
}

/// Moves the calling thread to a mount namespace of its own, where /sys/fs/bpf is a new file system of this type.
pub(crate) fn mount_privately(kind: &CStr) {
    let ok = |result: c_int| assert_eq!(result, 0, "{}", io::Error::last_os_error());
    // SAFETY: only the calling thread moves.
    ok(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_FS) });
    let mount = |source: &CStr, target: &CStr, kind: &CStr, flags| {
        // SAFETY: C strings, and no options.
        ok(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null()) });
    };
    // First of all: nothing mounted here may be seen elsewhere.
    mount(c"none", c"/", c"none", libc::MS_REC | libc::MS_PRIVATE);
    mount(c"none", c"/sys/fs/bpf", kind, 0);
}

/// The directories of what is pinned.
pub(crate) fn pins() -> Vec<String> {
    let entries = fs::read_dir("/sys/fs/bpf/xdp").expect("libxdp's directory");
    entries.map(|entry| entry.expect("an entry").path().to_string_lossy().into_owned()).collect()
}

/// Whether this kernel can have a dispatcher, which is made of programs of type EXT.
pub(crate) fn kernel_has_dispatcher() -> bool {
    // r0 = 2; exit
    let instructions = [0x0000_0002_0000_00b7_u64, 0x0000_0000_0000_0095];
    // SAFETY: as many instructions as it says, and C strings.
    let result = unsafe {
        let (kind, name, license) = (xdp::bpf_prog_type_BPF_PROG_TYPE_EXT, c"probe", c"GPL");
        let (first, count) = (instructions.as_ptr().cast(), instructions.len());
        xdp::bpf_prog_load(kind, name.as_ptr(), license.as_ptr(), first, count, ptr::null_mut())
    };
    // The right kind of kernel finds that it has no program to extend.
    result != -libc::EPERM
}

/// The programs that the dispatcher on an interface calls, in their order; the program that is there without one.
pub(crate) fn attached(ifindex: u32) -> Vec<String> {
    // SAFETY: takes a number.
    let programs = unsafe { xdp::xdp_multiprog__get_from_ifindex(ifindex.cast_signed()) };
    // SAFETY: looks at the value only.
    if unsafe { xdp::libxdp_get_error(programs.cast()) } != 0 {
        return Vec::new();
    }
    let programs_of_dispatcher = |last: *mut xdp::xdp_program| {
        // SAFETY: `programs` is open, `last` null or one of them.
        NonNull::new(unsafe { xdp::xdp_multiprog__next_prog(last, programs) })
    };
    // SAFETY: `programs` is open.
    let first = if unsafe { xdp::xdp_multiprog__is_legacy(programs) } {
        // SAFETY: `programs` is open.
        NonNull::new(unsafe { xdp::xdp_multiprog__main_prog(programs) })
    } else {
        programs_of_dispatcher(ptr::null_mut())
    };
    let all = std::iter::successors(first, |last| programs_of_dispatcher(last.as_ptr()));
    let name = |program: NonNull<xdp::xdp_program>| {
        // SAFETY: one of the programs, with a name.
        unsafe { CStr::from_ptr(xdp::xdp_program__name(program.as_ptr())) }.to_string_lossy().into_owned()
    };
    let names = all.map(name).collect();
    // SAFETY: open until now.
    unsafe { xdp::xdp_multiprog__close(programs) };
    names
}

/// Attaches or joins the default program as libxdp itself does. There is no way back.
pub(crate) fn attach_default(ifindex: u32) -> OwnedFd {
    let mut map = -1;
    // SAFETY: `map` has room for a descriptor.
    let result = unsafe { xdp::xsk_setup_xdp_prog(ifindex.cast_signed(), &raw mut map) };
    assert_eq!(result, 0, "xsk_setup_xdp_prog");
    // SAFETY: the descriptor was made for the caller.
    unsafe { OwnedFd::from_raw_fd(map) }
}

/// Takes whatever is on an interface away, as `ip link set xdp off` does, without a word to libxdp.
pub(crate) fn clear(ifindex: u32) {
    // SAFETY: numbers, and no options.
    let result = unsafe { xdp::bpf_xdp_attach(ifindex.cast_signed(), -1, 0, ptr::null()) };
    assert_eq!(result, 0, "bpf_xdp_attach");
}

/// Runs `f`, and fails if anything was printed to standard error meanwhile, by whomever.
pub(crate) fn quietly<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: a C string; what it returns is ours.
    let mut paper =
        fs::File::from(unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"stderr".as_ptr(), 0)) });
    // SAFETY: standard error is open; what it returns is ours.
    let before = unsafe { OwnedFd::from_raw_fd(libc::dup(2)) };
    // SAFETY: both are open, and nothing in Rust owns number 2.
    unsafe { libc::dup2(paper.as_raw_fd(), 2) };
    let result = f();
    // SAFETY: as above.
    unsafe { libc::dup2(before.as_raw_fd(), 2) };
    let mut text = String::new();
    paper.rewind().and_then(|()| paper.read_to_string(&mut text)).expect("what was printed");
    assert_eq!(text, "", "printed");
    result
}

/// Has libxdp print to a function of the test's own, and returns the one that it printed to before.
pub(crate) fn set_print(print: xdp::libxdp_print_fn_t) -> xdp::libxdp_print_fn_t {
    // SAFETY: the functions of these tests may be called at any time.
    unsafe { xdp::libxdp_set_print(print) }
}

/// A function to print to that prints nothing.
pub(crate) fn print_nothing() -> xdp::libxdp_print_fn_t {
    extern "C" fn nothing<L, A>(_level: L, _format: *const c_char, _arguments: A) -> c_int {
        0
    }
    Some(nothing)
}

/// A program that somebody else attached through the dispatcher, to be called before the default program. It counts test
/// frames and lets everything pass. Dropping it does not detach it.
///
/// What the dispatcher calls has to come from an object file with type information. This one is libxdp's own `xdp_pass`, which
/// gets other instructions before it is loaded.
pub(crate) struct Counting {
    program: NonNull<xdp::xdp_program>,
    map: OwnedFd,
    ifindex: c_int,
    mode: xdp::xdp_attach_mode,
}

impl Counting {
    pub(crate) const NAME: &str = "xdp_pass";

    pub(crate) fn attach(ifindex: u32, mode: XdpFlags) -> Self {
        let array = xdp::bpf_map_type_BPF_MAP_TYPE_ARRAY;
        // SAFETY: C strings and numbers, and no options.
        let map = unsafe { xdp::bpf_map_create(array, c"packets".as_ptr(), 4, 8, 1, ptr::null()) };
        assert!(map >= 0, "bpf_map_create");
        // SAFETY: made for this function a moment ago.
        let map = unsafe { OwnedFd::from_raw_fd(map) };
        let mode = match mode {
            XdpFlags::XDP_FLAGS_SKB_MODE => xdp::xdp_attach_mode_XDP_MODE_SKB,
            _ => xdp::xdp_attach_mode_XDP_MODE_NATIVE,
        };
        let program = counting_program(map.as_raw_fd());
        let counting = Self { program, map, ifindex: ifindex.cast_signed(), mode };
        // SAFETY: the program is open.
        let result = unsafe { xdp::xdp_program__attach(program.as_ptr(), counting.ifindex, mode, 0) };
        assert_eq!(result, 0, "xdp_program__attach");
        counting
    }

    /// How many test frames it has seen.
    pub(crate) fn packets(&self) -> u64 {
        let (map, key, mut packets) = (self.map.as_raw_fd(), 0_u32, 0_u64);
        // SAFETY: the sizes of a key and of a value of the map.
        let result =
            unsafe { xdp::bpf_map_lookup_elem(map, (&raw const key).cast(), (&raw mut packets).cast()) };
        assert_eq!(result, 0, "bpf_map_lookup_elem");
        packets
    }

    pub(crate) fn detach(self) {
        // SAFETY: the program is open.
        let result = unsafe { xdp::xdp_program__detach(self.program.as_ptr(), self.ifindex, self.mode, 0) };
        assert_eq!(result, 0, "xdp_program__detach");
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // SAFETY: open until now.
        unsafe { xdp::xdp_program__close(self.program.as_ptr()) };
    }
}

/// Not loaded yet. `map` is an array of one u64.
fn counting_program(map: c_int) -> NonNull<xdp::xdp_program> {
    let name = CString::new(Counting::NAME).expect("a name");
    let mut options = xdp::xdp_program_opts {
        sz: size_of::<xdp::xdp_program_opts>(),
        obj: ptr::null_mut(),
        opts: ptr::null_mut(),
        prog_name: name.as_ptr(),
        find_filename: c"xdp-dispatcher.o".as_ptr(),
        open_filename: ptr::null(),
        pin_path: ptr::null(),
        id: 0,
        fd: 0,
    };
    // SAFETY: C strings, in options of this size.
    let program = unsafe { xdp::xdp_program__create(&raw mut options) };
    let program = NonNull::new(program).expect("a program that is part of libxdp");
    // SAFETY: the program is open, and so is its object.
    let inside = unsafe {
        let object = xdp::xdp_program__bpf_obj(program.as_ptr());
        xdp::bpf_object__find_program_by_name(object, name.as_ptr())
    };
    let mut instructions = counting_instructions(map);
    let count = instructions.len();
    // SAFETY: as many instructions as it says, which libbpf copies; the program is not loaded yet.
    let result = unsafe { xdp::bpf_program__set_insns(inside, instructions.as_mut_ptr().cast(), count) };
    assert_eq!(result, 0, "bpf_program__set_insns");
    // SAFETY: the program is open.
    assert_eq!(unsafe { xdp::xdp_program__set_run_prio(program.as_ptr(), 10) }, 0, "the default is 20");
    program
}

fn counting_instructions(map: c_int) -> [u64; 13] {
    let instruction = |code: u64, dst: u64, src: u64, offset: i16, immediate: i32| {
        code | dst << 8
            | src << 12
            | u64::from(offset.cast_unsigned()) << 16
            | u64::from(immediate.cast_unsigned()) << 32
    };
    let ethertype = i32::from(xsk_veth::ETHERTYPE_TEST.to_be());
    [
        instruction(0x61, 2, 1, 0, 0),         // r2 = data
        instruction(0x61, 3, 1, 4, 0),         // r3 = data_end
        instruction(0xbf, 4, 2, 0, 0),         // r4 = r2
        instruction(0x07, 4, 0, 0, 14),        // r4 += 14
        instruction(0x2d, 4, 3, 6, 0),         // if r4 > r3 goto pass
        instruction(0x69, 4, 2, 12, 0),        // r4 = *(u16 *)(r2 + 12)
        instruction(0x55, 4, 0, 4, ethertype), // if r4 != ethertype goto pass
        instruction(0x18, 1, 2, 0, map),       // r1 = address of the map's value
        instruction(0, 0, 0, 0, 0),            // second half of the wide load
        instruction(0xb7, 2, 0, 0, 1),         // r2 = 1
        instruction(0xdb, 1, 2, 0, 0),         // lock *(u64 *)r1 += r2
        instruction(0xb7, 0, 0, 0, 2),         // pass: r0 = XDP_PASS
        instruction(0x95, 0, 0, 0, 0),         // exit
    ]
}
