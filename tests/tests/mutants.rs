//! The differential check checks itself: mutants of the simulated kernel, each with one rule that is not Linux's, must all be
//! found by new histories. `ci/differential --mutants` runs them.
#![cfg(target_os = "linux")]

#[path = "mutants/list.rs"]
mod list;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use list::{MUTANTS, Mutant};

/// Histories after which a mutant has survived.
const HISTORIES: u64 = 20_000;
/// Histories in which the simulated kernel as it is must not be found.
const BASELINE: u64 = 1000;
/// For the histories of one mutant, in seconds.
const TIME: &str = "240";
/// What a copy of the tree needs.
const TREE: [&str; 5] = ["Cargo.toml", "Cargo.lock", "crates", "tests", "benches"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn source(root: &Path, mutant: &Mutant) -> PathBuf {
    root.join("crates/xsk-sim/src").join(mutant.file)
}

/// The mutated file of a tree.
fn mutate(tree: &Path, mutant: &Mutant) -> Result<String, String> {
    let file = source(tree, mutant);
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    match text.matches(mutant.text).count() {
        1 => Ok(text.replace(mutant.text, mutant.replacement)),
        count => Err(format!("{}: its text is there {count} times: {:?}", mutant.file, mutant.text)),
    }
}

/// A list that does not fit the sources tests nothing.
#[test]
fn every_mutant_applies() {
    let wrong: Vec<_> = MUTANTS
        .iter()
        .filter_map(|mutant| mutate(&root(), mutant).err().map(|why| format!("{}: {why}", mutant.rule)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(MUTANTS.len() >= 40);
    for (n, mutant) in MUTANTS.iter().enumerate() {
        assert!(MUTANTS[..n].iter().all(|other| other.rule != mutant.rule), "{} is there twice", mutant.rule);
    }
}

/// A copy of the tree, with build products of its own.
struct Scratch {
    tree: PathBuf,
    target: PathBuf,
}

/// What became of a build with a mutant, or of a run.
enum Outcome {
    Failed(String),
    Survived,
    /// By which history.
    Found(u64),
}

impl Scratch {
    fn new() -> Self {
        let scratch = root().join("target/mutants");
        let (tree, target) = (scratch.join("tree"), scratch.join("target"));
        let _ = std::fs::remove_dir_all(&tree);
        std::fs::create_dir_all(&tree).expect("a folder");
        for part in TREE {
            // With their times: what did not change need not be built again.
            let status = Command::new("cp").arg("-rp").arg(root().join(part)).arg(&tree).status();
            assert!(status.expect("cp").success(), "{part}");
        }
        // But for the simulator: what was built last has a mutant in it, and is younger than the sources.
        let root = tree.join("crates/xsk-sim/src/lib.rs");
        let text = std::fs::read_to_string(&root).expect("a source");
        std::fs::write(&root, text).expect("a source");
        Self { tree, target }
    }

    /// The differential check's program; or what the compiler said.
    fn build(&self) -> Result<PathBuf, String> {
        let output = Command::new(env!("CARGO"))
            .args(["test", "--no-run", "--offline", "-p", "xsk-tests", "--test", "differential"])
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .output()
            .expect("cargo");
        let text = String::from_utf8_lossy(&output.stderr);
        let program =
            text.lines().filter_map(|line| line.trim().strip_prefix("Executable ")).find_map(|line| {
                let (_, path) = line.rsplit_once('(')?;
                Some(self.tree.join(path.strip_suffix(')')?))
            });
        program.filter(|_| output.status.success()).ok_or_else(|| text.into_owned())
    }

    fn run(&self, histories: u64) -> Outcome {
        let program = match self.build() {
            Ok(program) => program,
            Err(why) => return Outcome::Failed(why),
        };
        let output = Command::new("timeout")
            .arg(TIME)
            .arg(program)
            .args(["simulated_and_real_kernel_are_alike", "--nocapture"])
            .current_dir(self.tree.join("tests"))
            .env("XSK_REQUIRE_VETH", "1")
            .env("XSK_DIFFERENTIAL_HISTORIES", histories.to_string())
            .env("XSK_DIFFERENTIAL_FRESH", "1")
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("the differential check");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if output.status.success() {
            return Outcome::Survived;
        }
        let found = text
            .split_once("found by history ")
            .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        // 124 is timeout's own.
        match (output.status.code(), found) {
            (Some(124), _) => Outcome::Failed(format!("not done within {TIME} s\n{text}")),
            (_, Some(history)) => Outcome::Found(history),
            (_, None) => Outcome::Failed(text),
        }
    }
}

/// `XSK_MUTANTS`: only those whose rule contains it.
#[test]
#[ignore = "run by ci/differential --mutants"]
#[allow(clippy::print_stdout)]
fn every_mutant_is_found() {
    let only = std::env::var("XSK_MUTANTS").unwrap_or_default();
    let scratch = Scratch::new();
    match scratch.run(BASELINE) {
        Outcome::Survived => {}
        Outcome::Failed(why) => panic!("the sources as they are: {why}"),
        Outcome::Found(at) => panic!("the sources as they are diverge from Linux: history {at}"),
    }
    let mut wrong = String::new();
    println!("| histories | seconds | mutant |\n|---|---|---|");
    for mutant in MUTANTS.iter().filter(|mutant| mutant.rule.contains(&only)) {
        let start = Instant::now();
        let file = source(&scratch.tree, mutant);
        let before = std::fs::read_to_string(&file).expect("a source");
        let outcome = match mutate(&scratch.tree, mutant) {
            Ok(text) => {
                std::fs::write(&file, text).expect("a source");
                scratch.run(HISTORIES)
            }
            Err(why) => Outcome::Failed(why),
        };
        std::fs::write(&file, before).expect("a source");
        let (histories, why) = match outcome {
            Outcome::Found(history) => (history.to_string(), None),
            Outcome::Survived => ("SURVIVED".to_owned(), Some(format!("survived {HISTORIES} histories"))),
            Outcome::Failed(why) => ("FAILED".to_owned(), Some(why)),
        };
        println!("| {histories} | {} | {} |", start.elapsed().as_secs(), mutant.rule);
        if let Some(why) = why {
            let _ = writeln!(wrong, "{}: {why}", mutant.rule);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
