//! What the user sees.

pub(crate) mod format;
pub(crate) mod table;
pub(crate) mod traffic;

use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use serde_json::Value;

use crate::cli::RunOptions;
use crate::failure::Failure;

/// Who follows a run.
pub(crate) trait Watch {
    /// Packets move from now on.
    fn ready(&mut self, text: &str, value: Value) -> io::Result<()>;
    /// Once a second.
    fn live(&mut self, text: &str, value: Value) -> io::Result<()>;
}

/// Standard output, or standard error beside it: lines, a line that is written over, or JSON.
pub(crate) struct Output {
    stream: AutoStream<Box<dyn Write>>,
    beside: bool,
    terminal: bool,
    json: bool,
    verbose: bool,
    /// The cursor is on a live line.
    on_live_line: bool,
}

impl Output {
    pub(crate) fn new(json: bool, verbose: bool) -> Self {
        let (terminal, choice) = (io::stdout().is_terminal(), AutoStream::choice(&io::stdout()));
        let stream = AutoStream::new(Box::new(io::stdout()) as Box<dyn Write>, choice);
        Self { stream, beside: false, terminal, json, verbose, on_live_line: false }
    }

    /// On standard error, as standard output is for something else.
    pub(crate) fn beside(options: &RunOptions) -> Self {
        let (terminal, choice) = (io::stderr().is_terminal(), AutoStream::choice(&io::stderr()));
        let stream = AutoStream::new(Box::new(io::stderr()) as Box<dyn Write>, choice);
        Self { stream, beside: true, terminal, ..Self::of(options) }
    }

    pub(crate) fn of(options: &RunOptions) -> Self {
        Self::new(options.json, options.verbose)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line of its own.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write_line(text).map_err(|e| Failure::output(&e))
    }

    pub(crate) fn lines(&mut self, lines: &[String]) -> Result<(), Failure> {
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// A line that the next one is written over, on a terminal; none elsewhere.
    pub(crate) fn passing(&mut self, text: &str) -> Result<(), Failure> {
        if !self.terminal {
            return Ok(());
        }
        self.write_over(text).map_err(|e| Failure::output(&e))
    }

    pub(crate) fn value(&mut self, value: &Value) -> Result<(), Failure> {
        self.write_line(&value.to_string()).map_err(|e| Failure::output(&e))
    }

    fn write_line(&mut self, text: &str) -> io::Result<()> {
        self.erase()?;
        writeln!(self.stream, "{text}")?;
        self.stream.flush()
    }

    fn write_over(&mut self, text: &str) -> io::Result<()> {
        self.erase()?;
        self.on_live_line = true;
        write!(self.stream, "{text}")?;
        self.stream.flush()
    }

    /// Erases a live line. Past the stream, which swallows this as well where colours are not wanted.
    fn erase(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.on_live_line) {
            return Ok(());
        }
        let erase = b"\r\x1b[K";
        if self.beside { io::stderr().write_all(erase) } else { io::stdout().write_all(erase) }
    }
}

impl Watch for Output {
    fn ready(&mut self, text: &str, value: Value) -> io::Result<()> {
        if self.json { self.write_line(&value.to_string()) } else { self.write_line(text) }
    }

    fn live(&mut self, text: &str, value: Value) -> io::Result<()> {
        if self.json {
            return self.write_line(&value.to_string());
        }
        if self.verbose {
            return self.write_line(text);
        }
        if self.terminal { self.write_over(text) } else { Ok(()) }
    }
}

/// Standard error, in one line.
pub(crate) fn tell_error(text: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    // Nobody is left to hear that standard error is closed.
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {text}");
}
