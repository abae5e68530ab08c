//! Other users of libxdp's dispatcher, and the file system that all of them need.

use std::ffi::{CStr, c_char, c_int};
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
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

/// A program that somebody else attached through the dispatcher, of priority 10. Dropping it does not detach it.
pub(crate) struct Counting {
    object: NonNull<xdp::bpf_object>,
    program: NonNull<xdp::xdp_program>,
    ifindex: c_int,
    mode: xdp::xdp_attach_mode,
}

impl Counting {
    pub(crate) fn attach(ifindex: u32, mode: XdpFlags) -> Self {
        let bytes = compiled();
        // SAFETY: a whole object file, which libbpf copies.
        let object = unsafe { xdp::bpf_object__open_mem(bytes.as_ptr().cast(), bytes.len(), ptr::null()) };
        let object = NonNull::new(object).expect("an object file");
        // SAFETY: the object is open.
        let program = unsafe { xdp::xdp_program__from_bpf_obj(object.as_ptr(), c"xdp".as_ptr()) };
        // SAFETY: looks at the value only.
        assert_eq!(unsafe { xdp::libxdp_get_error(program.cast()) }, 0);
        let program = NonNull::new(program).expect("a program");
        let mode = match mode {
            XdpFlags::XDP_FLAGS_SKB_MODE => xdp::xdp_attach_mode_XDP_MODE_SKB,
            _ => xdp::xdp_attach_mode_XDP_MODE_NATIVE,
        };
        let counting = Self { object, program, ifindex: ifindex.cast_signed(), mode };
        // SAFETY: the program is open.
        let result = unsafe { xdp::xdp_program__attach(program.as_ptr(), counting.ifindex, mode, 0) };
        assert_eq!(result, 0, "xdp_program__attach");
        counting
    }

    /// How many test frames it has seen.
    pub(crate) fn packets(&self) -> u64 {
        // SAFETY: the object is open.
        let map = unsafe { xdp::bpf_object__find_map_fd_by_name(self.object.as_ptr(), c".bss".as_ptr()) };
        let (key, mut packets) = (0_u32, 0_u64);
        // SAFETY: a map of one value, which is the only variable of the program.
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
        // SAFETY: open until now, and its program is closed.
        unsafe { xdp::bpf_object__close(self.object.as_ptr()) };
    }
}

/// The counting program, compiled with the clang that libxdp needs as well.
fn compiled() -> &'static [u8] {
    static OBJECT: OnceLock<Vec<u8>> = OnceLock::new();
    OBJECT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/others/count_packets.c");
        let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
        let output = Command::new(clang)
            .args(["-target", "bpf", "-O2", "-g", "-Wall", "-Werror", "-c", source, "-o", "-"])
            .stdin(Stdio::null())
            .output()
            .expect("clang");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    })
}
