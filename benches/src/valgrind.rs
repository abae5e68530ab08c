//! Instructions of parts of this process, by callgrind.
//!
//! The process runs itself under valgrind with `--dump-before` the function [`mark`], so that each call of it writes what
//! was counted since the call before into a file of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io, process};

/// Everything between two calls is one count.
#[inline(never)]
pub fn mark() {
    // Something that calls are not folded over.
    std::hint::black_box(());
}

/// Runs this program again under valgrind, with `arguments`, and returns the counts: from one call of [`mark`] to the next,
/// in order. What came before the first call, and after the last one, is left out.
///
/// # Errors
/// There is no valgrind (`NotFound`), it failed, or what it wrote is not understood.
pub fn count(arguments: &[&OsStr]) -> io::Result<Vec<u64>> {
    let dir = Scratch::new()?;
    let out = dir.0.join("out");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-before=*valgrind::mark*", "--error-exitcode=1"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.0.join("log"))?)
        .status()?;
    if !status.success() {
        return Err(other(format!("valgrind: {status}\n{}", fs::read_to_string(dir.0.join("log"))?)));
    }
    // Dump n is of what came before call n; the last file has no number.
    let mut counts = Vec::new();
    for n in 2.. {
        let path = dir.0.join(format!("out.{n}"));
        if !path.exists() {
            break;
        }
        counts.push(total(&path)?);
    }
    Ok(counts)
}

fn total(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.ok_or_else(|| other(format!("no totals in {}", path.display())))
}

fn other(text: String) -> io::Error {
    io::Error::other(text)
}

/// A directory that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("xsk-instructions-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
