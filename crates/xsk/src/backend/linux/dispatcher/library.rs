//! libxdp, behind types that close what they hold.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_sys as bpf;
use libxdp_sys as xdp;

use super::errno;

/// Held while libxdp is called: it keeps what it found out about the system in plain static variables.
static LIBRARY: Mutex<()> = Mutex::new(());

const DEFAULT_OBJECT: &CStr = c"xsk_def_xdp_prog.o";
const DEFAULT_PROGRAM: &CStr = c"xsk_def_prog";
const DEFAULT_MAP: &CStr = c"xsks_map";
/// The version of the default program, in its BTF.
const VERSION: &CStr = c"xsk_prog_version";
const KNOWN_VERSION: u32 = 1;

/// The right to call libxdp. Nothing is printed while it is held; afterwards, what was printed before.
pub(super) struct Library {
    xdp_print: xdp::libxdp_print_fn_t,
    bpf_print: bpf::libbpf_print_fn_t,
    _lock: MutexGuard<'static, ()>,
}

/// What the libraries want to print. Null would do, but libxdp looks twice at the pointer, and others may call it meanwhile.
extern "C" fn print_nothing<L, A>(_level: L, _format: *const c_char, _arguments: A) -> c_int {
    0
}

impl Library {
    pub(super) fn lock() -> Self {
        let lock = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the new function may be called with anything, at any time, from any thread.
        let xdp_print = unsafe { xdp::libxdp_set_print(Some(print_nothing)) };
        // SAFETY: as above.
        let bpf_print = unsafe { bpf::libbpf_set_print(Some(print_nothing)) };
        Self { xdp_print, bpf_print, _lock: lock }
    }

    /// What is attached to an interface; `None` if nothing is. `ENODEV` if there is no such interface.
    pub(super) fn programs(&self, ifindex: c_int) -> io::Result<Option<Programs<'_>>> {
        // SAFETY: takes a number; what it returns is ours.
        let programs = unsafe { checked(xdp::xdp_multiprog__get_from_ifindex(ifindex)) };
        match programs {
            Ok(pointer) => Ok(Some(Programs { pointer, library: PhantomData })),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// libxdp's default program, which is part of the library, not yet loaded.
    pub(super) fn default_program(&self) -> io::Result<Program<'_>> {
        // SAFETY: a C string, and null for what may be left out; what it returns is ours.
        let program = unsafe {
            checked(xdp::xdp_program__find_file(DEFAULT_OBJECT.as_ptr(), ptr::null(), ptr::null_mut()))
        };
        Ok(Program { pointer: program?, library: PhantomData })
    }

    /// A program that is loaded.
    pub(super) fn program(&self, fd: BorrowedFd<'_>) -> io::Result<Program<'_>> {
        // SAFETY: `fd` is open and gets duplicated; what it returns is ours.
        let program = unsafe { checked(xdp::xdp_program__from_fd(fd.as_raw_fd())) };
        Ok(Program { pointer: program?, library: PhantomData })
    }

    /// Takes a program from its interface, whatever the mode there.
    pub(super) fn detach(&self, ifindex: c_int, program: &Program<'_>) -> io::Result<()> {
        let mode = self.programs(ifindex)?.ok_or_else(|| errno(libc::ENOENT))?.mode();
        // SAFETY: the program is open, and this is the only thread in the library.
        check(unsafe { xdp::xdp_program__detach(program.pointer.as_ptr(), ifindex, mode.number(), 0) })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: what was set before, by its own users.
        unsafe { xdp::libxdp_set_print(self.xdp_print) };
        // SAFETY: as above.
        unsafe { bpf::libbpf_set_print(self.bpf_print) };
    }
}

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As the kernel likes.
    Unspecified,
    Native,
    Skb,
}

impl Mode {
    fn number(self) -> xdp::xdp_attach_mode {
        match self {
            Self::Unspecified => xdp::xdp_attach_mode_XDP_MODE_UNSPEC,
            Self::Native => xdp::xdp_attach_mode_XDP_MODE_NATIVE,
            Self::Skb => xdp::xdp_attach_mode_XDP_MODE_SKB,
        }
    }
}

/// What is attached to an interface: a dispatcher and its programs, or one other program.
pub(super) struct Programs<'l> {
    /// Open until drop.
    pointer: NonNull<xdp::xdp_multiprog>,
    library: PhantomData<&'l Library>,
}

impl Programs<'_> {
    pub(super) fn is_dispatcher(&self) -> bool {
        // SAFETY: open until drop.
        unsafe { !xdp::xdp_multiprog__is_legacy(self.pointer.as_ptr()) }
    }

    pub(super) fn mode(&self) -> Mode {
        // SAFETY: open until drop.
        match unsafe { xdp::xdp_multiprog__attach_mode(self.pointer.as_ptr()) } {
            xdp::xdp_attach_mode_XDP_MODE_NATIVE => Mode::Native,
            xdp::xdp_attach_mode_XDP_MODE_SKB => Mode::Skb,
            _ => Mode::Unspecified,
        }
    }

    /// The programs that the dispatcher calls; without one, the program itself.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'_>> {
        let dispatcher = self.is_dispatcher();
        let next = move |last: *const xdp::xdp_program| {
            // SAFETY: open until drop, and `last` is null or one of its programs.
            let program = unsafe { xdp::xdp_multiprog__next_prog(last, self.pointer.as_ptr()) };
            NonNull::new(program).map(|pointer| Member { pointer, owner: PhantomData })
        };
        let first = if dispatcher {
            next(ptr::null())
        } else {
            // SAFETY: open until drop.
            let program = unsafe { xdp::xdp_multiprog__main_prog(self.pointer.as_ptr()) };
            NonNull::new(program).map(|pointer| Member { pointer, owner: PhantomData })
        };
        std::iter::successors(first, move |last| if dispatcher { next(last.pointer.as_ptr()) } else { None })
    }
}

impl Drop for Programs<'_> {
    fn drop(&mut self) {
        // SAFETY: open until now; its members do not outlive it.
        unsafe { xdp::xdp_multiprog__close(self.pointer.as_ptr()) };
    }
}

/// A program that belongs to something else, which keeps it open for `'a`.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pointer: NonNull<xdp::xdp_program>,
    owner: PhantomData<&'a ()>,
}

impl<'a> Member<'a> {
    /// The loaded program.
    pub(super) fn fd(self) -> Option<BorrowedFd<'a>> {
        // SAFETY: open for 'a.
        let fd = unsafe { xdp::xdp_program__fd(self.pointer.as_ptr()) };
        // SAFETY: the program's own descriptor, open as long as it, that is for 'a.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Whether it is libxdp's default program, of a version that this code understands. Any other is left alone.
    pub(super) fn is_default(self) -> bool {
        self.name() == Some(DEFAULT_PROGRAM) && self.version() == Some(KNOWN_VERSION)
    }

    fn name(self) -> Option<&'a CStr> {
        // SAFETY: open for 'a.
        let name = unsafe { xdp::xdp_program__name(self.pointer.as_ptr()) };
        // SAFETY: a C string of the program's own, if it has one; never changed once a program is loaded.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })
    }

    fn version(self) -> Option<u32> {
        // SAFETY: open for 'a; the BTF, if it has one, lives as long.
        let btf = unsafe { xdp::xdp_program__btf(self.pointer.as_ptr()).cast::<bpf::btf>() };
        if btf.is_null() {
            return None;
        }
        // SAFETY: `btf` is alive, and the name is a C string.
        let variable = unsafe { bpf::btf__find_by_name_kind(btf, VERSION.as_ptr(), bpf::BTF_KIND_VAR) };
        // The variable's type is a pointer to an array, the length of which is the version.
        let pointer = btf_type(btf, variable.try_into().ok()?, bpf::BTF_KIND_VAR)?;
        // SAFETY: a BTF_KIND_VAR refers to its type; both members of the union are plain numbers anyway.
        let array = btf_type(btf, unsafe { pointer.read().__bindgen_anon_1.type_ }, bpf::BTF_KIND_PTR)?;
        // SAFETY: as above, for a BTF_KIND_PTR.
        let array = btf_type(btf, unsafe { array.read().__bindgen_anon_1.type_ }, bpf::BTF_KIND_ARRAY)?;
        // SAFETY: a btf_array follows the btf_type of a BTF_KIND_ARRAY; libbpf has checked that all of it is there.
        Some(unsafe { array.add(1).cast::<bpf::btf_array>().read() }.nelems)
    }
}

/// Type `id`, if it is of this kind. `btf` is alive, and so is the result as long as it is.
fn btf_type(btf: *const bpf::btf, id: u32, kind: u32) -> Option<NonNull<bpf::btf_type>> {
    // SAFETY: `btf` is alive; ids out of range give null.
    let found = NonNull::new(unsafe { bpf::btf__type_by_id(btf, id) }.cast_mut())?;
    // SAFETY: a btf_type, alive as long as `btf`.
    let info = unsafe { found.read() }.info;
    (info >> 24 & 0x1f == kind).then_some(found)
}

/// A program of our own.
pub(super) struct Program<'l> {
    /// Open until drop.
    pointer: NonNull<xdp::xdp_program>,
    library: PhantomData<&'l Library>,
}

impl Program<'_> {
    pub(super) fn member(&self) -> Member<'_> {
        Member { pointer: self.pointer, owner: PhantomData }
    }

    /// Gives the XSKMAP of the default program, which is not yet loaded, `entries` slots.
    pub(super) fn size_map(&self, entries: u32) -> io::Result<()> {
        // SAFETY: open until drop; the object, if it has one, lives as long.
        let object = unsafe { xdp::xdp_program__bpf_obj(self.pointer.as_ptr()) };
        if object.is_null() {
            return Err(errno(libc::EINVAL));
        }
        // SAFETY: the object is alive, and the name is a C string.
        let map = unsafe { bpf::bpf_object__find_map_by_name(object.cast(), DEFAULT_MAP.as_ptr()) };
        if map.is_null() {
            return Err(errno(libc::EINVAL));
        }
        // SAFETY: the map belongs to the object.
        check(unsafe { bpf::bpf_map__set_max_entries(map, entries) })
    }

    /// Declares that the program, which is not yet loaded, takes packets of several buffers. Kernels that know none ignore it.
    pub(super) fn allow_frags(&self) {
        // SAFETY: open until drop.
        unsafe { xdp::xdp_program__set_xdp_frags_support(self.pointer.as_ptr(), true) };
    }

    /// Loads the program, and attaches a new dispatcher that calls it and those that were called before.
    pub(super) fn attach(&self, ifindex: c_int, mode: Mode) -> io::Result<()> {
        // SAFETY: open until drop, and this is the only thread in the library.
        check(unsafe { xdp::xdp_program__attach(self.pointer.as_ptr(), ifindex, mode.number(), 0) })
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: open until now. What is attached stays so.
        unsafe { xdp::xdp_program__close(self.pointer.as_ptr()) };
    }
}

/// The result of a function of libbpf or libxdp: negative means errno.
pub(super) fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(errno(-result)) } else { Ok(()) }
}

/// A pointer of libxdp, which may be an errno in disguise.
fn checked<T>(pointer: *mut T) -> io::Result<NonNull<T>> {
    // SAFETY: looks at the value of the pointer, not at what is there.
    let error = unsafe { xdp::libxdp_get_error(pointer.cast()) };
    match NonNull::new(pointer) {
        Some(pointer) if error == 0 => Ok(pointer),
        _ => Err(errno(-(error as c_int))),
    }
}
