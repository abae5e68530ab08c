//! Captures in files, for the commands that read or write them.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use xsk_sim::capture::{CaptureError, CaptureReader, CaptureWriter, CapturedPacket, Format};

use crate::failure::Failure;
use crate::stop::Stop;

pub(super) type Reader = CaptureReader<BufReader<File>>;
pub(super) type Writer = CaptureWriter<BufWriter<Box<dyn Write>>>;

/// Standard output, or of what is read standard input.
pub(super) const STANDARD: &str = "-";
/// Packets that are read ahead from standard input.
const AHEAD: usize = 1024;
/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn is_standard(path: &Path) -> bool {
    path == Path::new(STANDARD)
}

fn cannot(what: &str, path: impl std::fmt::Display, error: &CaptureError) -> Failure {
    Failure::cannot_run(format!("cannot {what} {path}: {error}"))
}

/// The name of what is read.
pub(super) fn input_name(path: &Path) -> String {
    if is_standard(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// What comes next.
pub(super) enum Next<T> {
    Packet(T),
    /// Nothing yet.
    Later,
    Over,
}

/// The packets of a file, or those that come from standard input, which never blocks.
pub(super) enum Packets {
    File(Reader),
    Standard(Receiver<Result<CapturedPacket, CaptureError>>),
}

impl Packets {
    pub(super) fn open(path: &Path, stop: &Stop) -> Result<Self, Failure> {
        if is_standard(path) { Self::standard_input(stop) } else { open(path).map(Self::File) }
    }

    /// Waits until it is known whether it is a capture, or to stop.
    fn standard_input(stop: &Stop) -> Result<Self, Failure> {
        if io::stdin().is_terminal() {
            return Err(Failure::usage(
                "standard input is a terminal, and no capture: xsk capture IF - | xsk replay - IF2",
            ));
        }
        let ((sender, packets), (opened, is_opened)) = (mpsc::sync_channel(AHEAD), mpsc::channel());
        // It ends with its input, or when nobody takes packets any more; or with the process.
        let read = move || {
            let (result, reader) = match CaptureReader::new(BufReader::new(io::stdin().lock())) {
                Ok(reader) => (Ok(()), Some(reader)),
                Err(error) => (Err(error), None),
            };
            let _ = opened.send(result);
            let _ = reader.into_iter().flatten().try_for_each(|packet| sender.send(packet));
        };
        let thread = thread::Builder::new().name("standard input".to_owned()).spawn(read);
        thread.map_err(|e| cannot("read", input_name(Path::new(STANDARD)), &e.into()))?;
        loop {
            match is_opened.recv_timeout(LOOK) {
                Ok(Err(error)) => return Err(cannot("read", input_name(Path::new(STANDARD)), &error)),
                Err(RecvTimeoutError::Timeout) if !stop.is_asked() => {}
                _ => return Ok(Self::Standard(packets)),
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<Next<CapturedPacket>, CaptureError> {
        match self {
            Self::File(reader) => Ok(reader.next().transpose()?.map_or(Next::Over, Next::Packet)),
            Self::Standard(packets) => match packets.try_recv() {
                Ok(packet) => packet.map(Next::Packet),
                Err(TryRecvError::Empty) => Ok(Next::Later),
                Err(TryRecvError::Disconnected) => Ok(Next::Over),
            },
        }
    }
}

pub(super) fn open(path: &Path) -> Result<Reader, Failure> {
    let file = File::open(path).map_err(|e| cannot("read", path.display(), &e.into()))?;
    if file.metadata().is_ok_and(|data| data.is_file() && data.len() == 0) {
        return Err(Failure::cannot_run(format!("cannot read {}: it is empty", path.display())));
    }
    CaptureReader::new(BufReader::new(file)).map_err(|e| cannot("read", path.display(), &e))
}

/// pcapng if its name ends so.
pub(super) fn create(path: &Path) -> Result<Writer, Failure> {
    let output: Box<dyn Write> = if is_standard(path) {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(path).map_err(|e| cannot("write", path.display(), &e.into()))?)
    };
    let pcapng = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pcapng"));
    let format = if pcapng { Format::PcapNg } else { Format::Pcap };
    CaptureWriter::new(BufWriter::new(output), format).map_err(|e| cannot("write", path.display(), &e))
}

/// What went wrong after the beginning.
pub(super) fn reading(path: &Path, error: &CaptureError) -> Failure {
    Failure::running_text(format!("cannot go on reading {}: {error}", input_name(path)))
}

pub(super) fn writing(path: &Path, error: &CaptureError) -> Failure {
    match error {
        CaptureError::Io(error) if is_standard(path) => Failure::output(error),
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
        let from = if is_standard(from) { Path::new("/dev/stdin") } else { from };
        let id = |path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino(), data.is_file()));
        id(from).is_some_and(|(_, _, file)| file) && id(from) == id(to)
    }
    #[cfg(not(unix))]
    {
        fs::canonicalize(from).is_ok_and(|from| fs::canonicalize(to).is_ok_and(|to| from == to))
    }
}
