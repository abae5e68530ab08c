//! Captures in files, for the commands that read or write them.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use xsk_sim::capture::{CaptureError, CaptureReader, CaptureWriter, Format};

use crate::failure::Failure;

pub(super) type Reader = CaptureReader<BufReader<File>>;
pub(super) type Writer = CaptureWriter<BufWriter<Box<dyn Write>>>;

/// Standard output.
pub(super) const STDOUT: &str = "-";

fn cannot(what: &str, path: &Path, error: &CaptureError) -> Failure {
    Failure::cannot_run(format!("cannot {what} {}: {error}", path.display()))
}

pub(super) fn open(path: &Path) -> Result<Reader, Failure> {
    let file = File::open(path).map_err(|e| cannot("read", path, &e.into()))?;
    if file.metadata().is_ok_and(|data| data.is_file() && data.len() == 0) {
        return Err(Failure::cannot_run(format!("cannot read {}: it is empty", path.display())));
    }
    CaptureReader::new(BufReader::new(file)).map_err(|e| cannot("read", path, &e))
}

/// pcapng if its name ends so.
pub(super) fn create(path: &Path) -> Result<Writer, Failure> {
    let output: Box<dyn Write> = if path == Path::new(STDOUT) {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(path).map_err(|e| cannot("write", path, &e.into()))?)
    };
    let pcapng = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pcapng"));
    let format = if pcapng { Format::PcapNg } else { Format::Pcap };
    CaptureWriter::new(BufWriter::new(output), format).map_err(|e| cannot("write", path, &e))
}

/// What went wrong after the beginning.
pub(super) fn reading(path: &Path, error: &CaptureError) -> Failure {
    Failure::running_text(format!("cannot go on reading {}: {error}", path.display()))
}

pub(super) fn writing(path: &Path, error: &CaptureError) -> Failure {
    match error {
        CaptureError::Io(error) if path == Path::new(STDOUT) => Failure::output(error),
        _ => Failure::running_text(format!("cannot write {}: {error}", path.display())),
    }
}

/// An error if writing `to` would destroy `from`.
pub(super) fn check_distinct(from: &Path, to: &Path) -> Result<(), Failure> {
    if is_same(from, to) {
        return Err(Failure::usage(format!("{} is both: reading it would be its end", to.display())));
    }
    Ok(())
}

fn is_same(from: &Path, to: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino(), data.is_file()));
        id(from).is_some_and(|(_, _, file)| file) && id(from) == id(to)
    }
    #[cfg(not(unix))]
    {
        fs::canonicalize(from).is_ok_and(|from| fs::canonicalize(to).is_ok_and(|to| from == to))
    }
}
