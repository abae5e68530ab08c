//! The namespaces in which a program was attached.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::thread;

use super::super::sys::check;

/// An interface is known by its index in one network namespace, and what is pinned by its path in one mount namespace. The
/// last socket may well be closed in others.
#[derive(Debug)]
pub(super) struct Home {
    network: File,
    mount: File,
}

const NETWORK: &str = "/proc/thread-self/ns/net";
const MOUNT: &str = "/proc/thread-self/ns/mnt";

impl Home {
    /// The calling thread's.
    pub(super) fn here() -> io::Result<Self> {
        Ok(Self { network: File::open(NETWORK)?, mount: File::open(MOUNT)? })
    }

    /// Runs `f` in these namespaces; not at all if they cannot be entered.
    pub(super) fn run(&self, f: impl FnOnce() + Send) {
        let same_network = is_here(&self.network, NETWORK);
        let same_mount = is_here(&self.mount, MOUNT);
        if same_network && same_mount {
            return f();
        }
        let visit = || {
            let moved = if same_mount { Ok(()) } else { enter_mount(&self.mount) };
            let moved = moved
                .and_then(|()| if same_network { Ok(()) } else { enter(&self.network, libc::CLONE_NEWNET) });
            if moved.is_ok() {
                f();
            }
        };
        // A thread of its own, because there may be no way back for this one. Without one there is nothing to be done.
        thread::scope(|scope| drop(thread::Builder::new().spawn_scoped(scope, visit)));
    }
}

fn is_here(namespace: &File, path: &str) -> bool {
    let same =
        |there: fs::Metadata, here: fs::Metadata| (there.dev(), there.ino()) == (here.dev(), here.ino());
    // If it cannot be told, this is the best place to try.
    namespace.metadata().and_then(|there| Ok(same(there, fs::metadata(path)?))).unwrap_or(true)
}

fn enter_mount(namespace: &File) -> io::Result<()> {
    // The kernel moves only threads that share their working directory with no other.
    // SAFETY: takes a number, and concerns the calling thread only.
    check(unsafe { libc::unshare(libc::CLONE_FS) })?;
    enter(namespace, libc::CLONE_NEWNS)
}

fn enter(namespace: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers; the descriptor is open, and only the calling thread moves.
    check(unsafe { libc::setns(namespace.as_raw_fd(), kind) }).map(drop)
}
