//! Where libxdp pins its programs.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::sys::check;
use super::{errno, objects};

const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// libxdp's directory in the BPF file system.
#[derive(Debug)]
pub(super) struct Pins(PathBuf);

impl Pins {
    /// `ENOENT` if there is no BPF file system where libxdp looks for it.
    pub(super) fn find() -> io::Result<Self> {
        // As libxdp does: the environment of a program with more rights than its user is not to be trusted.
        // SAFETY: takes and returns numbers.
        let trusted = unsafe { libc::getauxval(libc::AT_SECURE) } == 0;
        let chosen = std::env::var_os("LIBXDP_BPFFS").filter(|_| trusted);
        let mount = chosen.map_or_else(|| PathBuf::from("/sys/fs/bpf"), PathBuf::from);
        if !is_bpffs(&mount)? {
            return Err(errno(libc::ENOENT));
        }
        let pins = mount.join("xdp");
        // libxdp makes it once in the life of a process, even if the file system is another one by now.
        match DirBuilder::new().mode(0o700).create(&pins) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Self(pins)),
        }
    }

    /// The lock that all users of libxdp share, until the file is dropped. Waits for whoever has it.
    pub(super) fn lock(&self) -> io::Result<File> {
        let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&self.0)?;
        loop {
            // SAFETY: takes numbers; the descriptor is open.
            match check(unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX) }) {
                Ok(_) => return Ok(directory),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the pins of a program that nothing calls any more, because its interface is gone, or was cleared by force.
    ///
    /// libxdp's own clean-up compares interface indices only, which mean something else in every network namespace.
    pub(super) fn forget(&self, ifindex: libc::c_int, program: BorrowedFd<'_>) -> io::Result<()> {
        let id = objects::program_id(program)?;
        let _lock = self.lock()?;
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&format!("dispatch-{ifindex}-")) {
                forget_in(&entry.path(), id)?;
            }
        }
        Ok(())
    }
}

fn forget_in(dispatcher: &Path, id: u32) -> io::Result<()> {
    for slot in 0..libxdp_sys::MAX_DISPATCHER_ACTIONS {
        let program = dispatcher.join(format!("prog{slot}-prog"));
        let found = objects::pinned(&program).and_then(|fd| objects::program_id(fd.as_fd()));
        if found.is_ok_and(|found| found == id) {
            let _ = fs::remove_file(dispatcher.join(format!("prog{slot}-link")));
            fs::remove_file(program)?;
            // It stays if it has pins of others.
            let _ = fs::remove_dir(dispatcher);
            break;
        }
    }
    Ok(())
}

fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a C string, and room for one statfs.
    check(unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: statfs succeeded, and so has filled it in.
    Ok(unsafe { stat.assume_init() }.f_type as u32 == BPF_FS_MAGIC)
}
