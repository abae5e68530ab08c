//! Runs test programs with one mutant chosen.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::build::Program;

/// What became of a mutant, or of a test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// All tests passed.
    Passed,
    /// This one failed, or without a name the whole program.
    Failed(String),
    /// They took too long.
    Late,
}

/// Runs one program, or one test of it. It is stopped at the first test that fails. What it said is in the file `said` then.
pub(crate) fn run(
    program: &Program,
    test: Option<&str>,
    mutant: usize,
    limit: Duration,
    said: &Path,
) -> Result<End, String> {
    let describe = |error| format!("{}: {error}", said.display());
    let errors = File::create(said).map_err(describe)?;
    let end = run_to(program, test, mutant, limit, errors)?;
    if end == End::Passed {
        fs::remove_file(said).map_err(describe)?;
    }
    Ok(end)
}

fn run_to(
    program: &Program,
    test: Option<&str>,
    mutant: usize,
    limit: Duration,
    errors: File,
) -> Result<End, String> {
    let describe = |error| format!("{}: {error}", program.path.display());
    let mut command = Command::new(&program.path);
    command
        // What is captured is shown when all tests are done, and nobody waits for that.
        .arg("--nocapture")
        .args(test.map(|test| ["--exact", test]).iter().flatten())
        .current_dir(&program.dir)
        .env("XSK_MUTANT", mutant.to_string())
        .env("RUST_BACKTRACE", "0")
        .env_remove("CI")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .process_group(0);
    let mut child = command.spawn().map_err(describe)?;
    let Some(output) = child.stdout.take() else { return Err("a program without output".into()) };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let Some(name) = line.strip_suffix(b" ... FAILED") else { continue };
            let name = String::from_utf8_lossy(name.strip_prefix(b"test ").unwrap_or(name)).into_owned();
            if sender.send(name).is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    // The channel is closed when the program ends.
    let end = match receiver.recv_timeout(limit) {
        Ok(name) => End::Failed(name),
        Err(mpsc::RecvTimeoutError::Timeout) => End::Late,
        Err(mpsc::RecvTimeoutError::Disconnected) => loop {
            match child.try_wait().map_err(describe)? {
                Some(status) if status.success() => return Ok(End::Passed),
                Some(_) => return Ok(End::Failed(String::new())),
                None if began.elapsed() > limit => break End::Late,
                None => thread::sleep(Duration::from_millis(1)),
            }
        },
    };
    let _ = Command::new("kill").args(["-KILL", "--"]).arg(format!("-{}", child.id())).status();
    child.wait().map_err(describe)?;
    Ok(end)
}
