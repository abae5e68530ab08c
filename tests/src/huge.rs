//! Huge pages of 2 MiB for tests, where the machine has none reserved.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

fn read(file: &str) -> Option<u64> {
    fs::read_to_string(format!("{POOL}/{file}")).ok()?.trim().parse().ok()
}

/// Huge pages that nobody uses.
pub fn free() -> Option<u64> {
    read("free_hugepages")
}

/// Some huge pages, if the machine has memory for them; given back when it is dropped.
///
/// One at a time on the whole machine: others wait in [`reserve`](Self::reserve). So whoever has one may count pages.
#[derive(Debug)]
pub struct HugePages {
    before: u64,
    free: u64,
    /// The directory of the kernel's pool: locked until it is closed.
    _lock: File,
}

impl HugePages {
    /// Makes sure that so many pages are free.
    ///
    /// # Errors
    /// There are no huge pages, or too few, and more cannot be had.
    pub fn reserve(pages: u64) -> io::Result<Self> {
        let lock = File::open(POOL)?;
        // SAFETY: flock takes no pointers.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let count = |file| read(file).ok_or_else(|| io::Error::other(format!("no {POOL}/{file}")));
        let (before, free) = (count("nr_hugepages")?, count("free_hugepages")?);
        let mut reserved = Self { before, free, _lock: lock };
        if free < pages {
            fs::write(format!("{POOL}/nr_hugepages"), (before + pages - free).to_string())?;
            reserved.free = count("free_hugepages")?;
        }
        if reserved.free < pages {
            return Err(io::Error::other(format!(
                "{} huge pages of 2 MiB instead of {pages}",
                reserved.free
            )));
        }
        Ok(reserved)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // The kernel frees the pages of a UMEM some time after its socket is closed. Those that are in use when the
        // number goes down count on, and the next one to come would take them for the machine's own.
        let start = Instant::now();
        while free().is_some_and(|free| free < self.free) && start.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = fs::write(format!("{POOL}/nr_hugepages"), self.before.to_string());
    }
}
