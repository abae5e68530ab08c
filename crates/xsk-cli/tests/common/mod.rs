//! Runs the tool in namespaces.
#![allow(dead_code, unreachable_pub)] // each test file uses a part

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use xsk_sim::capture::{CaptureReader, CaptureWriter, CapturedPacket, Format};
use xsk_veth::{Child, Namespace, VethPair};

/// Far longer than anything takes here, so that only a hang reaches it.
pub const LONG: Duration = Duration::from_secs(60);

pub const MODES: [&str; 2] = ["--skb", "--native"];

/// The tool, with these arguments.
pub fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xsk"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The tool while it runs.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    stderr: JoinHandle<String>,
}

/// What it left.
#[derive(Debug)]
pub struct Done {
    /// -1 if a signal ended it.
    pub code: i32,
    pub out: Vec<String>,
    pub err: String,
}

/// Starts the tool in a namespace.
pub fn start(ns: &Namespace, args: &[&str]) -> Running {
    start_command(ns, &mut tool(args))
}

pub fn start_command(ns: &Namespace, command: &mut Command) -> Running {
    let mut child = ns.spawn_command(command).unwrap();
    let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    // Ends with the pipe, or when nobody listens any more: then the tool's output is closed.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    let stderr = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    Running { child, lines, seen: Vec::new(), stderr }
}

/// Runs the tool in a namespace to its end.
pub fn run(ns: &Namespace, args: &[&str]) -> Done {
    start(ns, args).wait()
}

impl Running {
    /// Waits for the first line of output: it is ready. If it ended instead, says why.
    pub fn ready(mut self) -> Self {
        match self.lines.recv_timeout(LONG) {
            Ok(line) => {
                self.seen.push(line);
                self
            }
            Err(_) => panic!("never ready: {:?}", self.wait()),
        }
    }

    /// Waits until it has reported so many packets, as received or as dropped for want of a frame: the last ones may be on their
    /// way when who sent them has ended.
    pub fn reported(&mut self, packets: u64) {
        let count = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            let number = |value: &Value| value.as_u64().unwrap_or(0);
            if value["event"] == "interval" {
                number(&value["rx_packets"]) + number(&value["drops"]["no_frame"])
            } else {
                0
            }
        };
        let mut told: u64 = self.seen.iter().map(|line| count(line)).sum();
        while told < packets {
            let line = self.lines.recv_timeout(LONG);
            let line = line.unwrap_or_else(|error| panic!("{told} of {packets} packets: {error}"));
            told += count(&line);
            self.seen.push(line);
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill takes no pointers, and the process is ours and not yet waited for.
        assert_eq!(unsafe { libc::kill(self.child.id().cast_signed(), signal) }, 0);
    }

    /// Ends it as `kill` does.
    pub fn end(self) -> Done {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Closes the reading end of its standard output at its next line.
    pub fn close_output(&mut self) {
        self.lines = mpsc::channel().1;
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < LONG, "it hangs; so far: {:?}", self.seen);
            self.seen.extend(self.lines.try_iter());
            std::thread::sleep(Duration::from_millis(2));
        };
        self.seen.extend(self.lines.iter());
        let err = self.stderr.join().unwrap();
        assert!(!err.contains("panicked"), "{err}");
        Done { code: status.code().unwrap_or(-1), out: self.seen, err }
    }
}

impl Done {
    pub fn text(&self) -> String {
        self.out.join("\n")
    }

    /// The object with this event.
    pub fn event(&self, event: &str) -> Value {
        let mut objects = self.out.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = objects.rfind(|object| object["event"] == event);
        found.unwrap_or_else(|| panic!("no {event} in {self:?}"))
    }

    /// The summary of a run that went well, with all frames accounted for.
    pub fn summary(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        let summary = self.event("summary");
        assert_eq!(summary["frames"]["whole"], true, "{summary}");
        summary
    }

    /// It failed with this code, and says this.
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("error: "), "{}", self.err);
        for words in words {
            assert!(self.err.contains(words), "no `{words}` in: {}", self.err);
        }
    }
}

/// A directory that goes with the test.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    pub fn sim(&self, file: &str) -> String {
        format!("sim:{}", self.0.join(file).display())
    }

    pub fn read(&self, file: &str) -> Vec<CapturedPacket> {
        let bytes = fs::read(self.0.join(file)).unwrap();
        CaptureReader::new(&bytes[..]).unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub fn write(&self, file: &str, packets: &[CapturedPacket]) -> Vec<u8> {
        let mut writer = CaptureWriter::new(Vec::new(), Format::Pcap).unwrap();
        packets.iter().for_each(|packet| writer.write(packet).unwrap());
        let bytes = writer.finish().unwrap();
        fs::write(self.0.join(file), &bytes).unwrap();
        bytes
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A namespace with a veth pair `a`, `b`.
pub fn pair(queues: u32) -> (Namespace, VethPair) {
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).queues(queues).build().unwrap();
    (ns, pair)
}

/// A frame of the test EtherType.
pub fn frame(dst: [u8; 6], src: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&src);
    frame[12..14].copy_from_slice(&xsk_veth::ETHERTYPE_TEST.to_be_bytes());
    frame
}

/// Waits until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
