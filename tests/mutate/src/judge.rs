//! Runs test programs with one mutant chosen.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::build::Program;

/// What became of a mutant, or of a test program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All tests passed.
    Passed,
    /// One failed.
    Failed,
    /// They took too long.
    Late,
}

/// Runs one program. It is stopped at the first test that fails.
pub(crate) fn run(program: &Program, mutant: usize, limit: Duration) -> Result<End, String> {
    let describe = |error| format!("{}: {error}", program.path.display());
    let mut command = Command::new(&program.path);
    command
        .current_dir(&program.dir)
        .env("XSK_MUTANT", mutant.to_string())
        .env("RUST_BACKTRACE", "0")
        .env_remove("CI")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().map_err(describe)?;
    let Some(output) = child.stdout.take() else { return Err("a program without output".into()) };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if line.ends_with(b"... FAILED") && sender.send(()).is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    // The channel is closed when the program ends.
    let end = match receiver.recv_timeout(limit) {
        Ok(()) => End::Failed,
        Err(mpsc::RecvTimeoutError::Timeout) => End::Late,
        Err(mpsc::RecvTimeoutError::Disconnected) => loop {
            match child.try_wait().map_err(describe)? {
                Some(status) if status.success() => return Ok(End::Passed),
                Some(_) => return Ok(End::Failed),
                None if began.elapsed() > limit => break End::Late,
                None => thread::sleep(Duration::from_millis(1)),
            }
        },
    };
    let _ = Command::new("kill").args(["-KILL", "--"]).arg(format!("-{}", child.id())).status();
    child.wait().map_err(describe)?;
    Ok(end)
}
