//! Many mutants in one build: each is behind a question whether it is the chosen one, and a run of the tests chooses it.
//!
//! ```sh
//! cargo mutants --list --json ... | xsk-mutate TREE OUT JUDGES
//! ```
//!
//! `TREE` is a copy of the repository, which is changed, `JUDGES` the file with the lines `together FILES PACKAGES TESTS`. In
//! `OUT` are then files of names as cargo-mutants writes them: `missed.txt`, `caught.txt`, `timeout.txt`, and `left.txt` with
//! those that cannot be chosen when the program runs, as in constants. What does not compile is in `unviable.txt`. What failing
//! tests said is in files of `said`, by the number of the mutant and the test program; `once` is in the name of what was not
//! said again. A test that fails without any mutant as well ends it all.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod build;
mod instrument;
mod judge;
mod judges;
mod mutant;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use build::{Broken, Program};
use instrument::Text;
use judge::End;
use judges::Judges;
use mutant::Mutant;

/// Tests get this long at least before they are taken to hang.
const SHORTEST: Duration = Duration::from_secs(20);

/// The crate whose mutants are chosen.
const PACKAGE: &str = "xsk";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xsk-mutate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let args: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [tree, out, judges] = &args[..] else { return Err("usage: xsk-mutate TREE OUT JUDGES".into()) };
    let mut list = String::new();
    io::stdin().read_to_string(&mut list).map_err(|error| error.to_string())?;
    let mutants = mutant::read(&list)?;
    let judges = Judges::read(judges)?;

    let Broken { by_question: left, by_themselves: unviable } =
        instrument_all(tree, &mutants, &judges.packages())?;
    let is_in = |mutant: &&Mutant| !left.contains(&mutant.number) && !unviable.contains(&mutant.number);
    let chosen: Vec<&Mutant> = mutants.iter().filter(is_in).collect();
    println!("{} mutants in one build, {} are left", chosen.len(), left.len());
    let programs = build::programs(tree, &[judges.packages(), judges.tests()].concat())?;
    let said = Said(out.join("said"));
    fs::create_dir_all(&said.0).map_err(|error| error.to_string())?;
    let timed = baseline(&programs, &said)?;

    let ends = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let work = || -> Result<(), String> {
            while let Some(mutant) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                let tried =
                    judges.of(&mutant.file, &timed).and_then(|judges| try_all(&judges, mutant, &said));
                // What stops one stops all.
                let (end, by) = tried.inspect_err(|_| next.store(chosen.len(), Ordering::Relaxed))?;
                println!("{end:?} {} {by}", mutant.name);
                let mut ends = ends.lock().map_err(|error| error.to_string())?;
                ends.insert(mutant.number, end);
            }
            Ok(())
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?)
    })?;

    let ends = ends.into_inner().map_err(|error| error.to_string())?;
    fs::create_dir_all(out).map_err(|error| error.to_string())?;
    let write = |name: &str, is_one: &dyn Fn(&Mutant) -> bool| {
        let lines = mutants.iter().filter(|mutant| is_one(mutant)).map(|mutant| mutant.name.clone() + "\n");
        fs::write(out.join(name), lines.collect::<String>()).map_err(|error| format!("{name}: {error}"))
    };
    write("missed.txt", &|mutant| matches!(ends.get(&mutant.number), Some(End::Passed)))?;
    write("caught.txt", &|mutant| matches!(ends.get(&mutant.number), Some(End::Failed(_))))?;
    write("timeout.txt", &|mutant| matches!(ends.get(&mutant.number), Some(End::Late)))?;
    write("left.txt", &|mutant| left.contains(&mutant.number))?;
    write("unviable.txt", &|mutant| unviable.contains(&mutant.number))
}

/// Puts all mutants that compile into the tree. Returns the others.
fn instrument_all(tree: &Path, mutants: &[Mutant], packages: &[String]) -> Result<Broken, String> {
    let mut sources = BTreeMap::<&str, String>::new();
    for mutant in mutants {
        if !sources.contains_key(mutant.file.as_str()) {
            let text = fs::read_to_string(tree.join(&mutant.file));
            sources.insert(&mutant.file, text.map_err(|error| format!("{}: {error}", mutant.file))?);
        }
    }
    let root = tree.join("crates").join(PACKAGE).join("src/lib.rs");
    let text = fs::read_to_string(&root).map_err(|error| error.to_string())?;
    if !text.contains("mod chosen_mutant") {
        fs::write(&root, text + instrument::SWITCH).map_err(|error| error.to_string())?;
    }
    let mut without = Broken::default();
    loop {
        let mut texts: Vec<(String, Text)> = Vec::new();
        for (file, source) in &sources {
            let is_out = |number: &usize| {
                without.by_question.contains(number) || without.by_themselves.contains(number)
            };
            let wanted = |mutant: &&Mutant| mutant.file == *file && !is_out(&mutant.number);
            let wanted: Vec<&Mutant> = mutants.iter().filter(wanted).collect();
            let text = instrument::instrument(source, &wanted).map_err(|error| format!("{file}: {error}"))?;
            without.by_question.extend(text.left.iter().copied());
            fs::write(tree.join(file), &text.text).map_err(|error| format!("{file}: {error}"))?;
            texts.push(((*file).to_owned(), text));
        }
        let broken = build::broken(tree, packages, &texts)?;
        let count = broken.by_question.len() + broken.by_themselves.len();
        if count == 0 {
            return Ok(without);
        }
        println!("{count} mutants do not compile");
        without.by_question.extend(broken.by_question);
        without.by_themselves.extend(broken.by_themselves);
    }
}

/// Where what failing tests say is kept.
struct Said(PathBuf);

impl Said {
    fn file(&self, program: &Program, number: usize, what: &str) -> PathBuf {
        let test = program.option.trim_start_matches('-').replace('=', "-");
        self.0.join(format!("{number}-{}-{test}{what}.txt", program.package))
    }
}

/// How long each program takes without any mutant.
fn baseline(programs: &[Program], said: &Said) -> Result<Vec<(Program, Duration)>, String> {
    let timed = programs.iter().map(|program| {
        let began = Instant::now();
        let file = said.file(program, 0, "");
        match judge::run(program, None, 0, 10 * SHORTEST, &file)? {
            End::Passed => Ok((program.clone(), began.elapsed())),
            end => Err(fails_without(program, &end, &file)),
        }
    });
    timed.collect()
}

fn fails_without(program: &Program, end: &End, file: &Path) -> String {
    let (Program { package, option, .. }, file) = (program, file.display());
    format!("{package} {option} without any mutant: {end:?}, so it can find none; see {file}")
}

/// Runs the programs one after the other, until one fails, which is returned as well.
fn try_all(programs: &[&(Program, Duration)], mutant: &Mutant, said: &Said) -> Result<(End, String), String> {
    for (program, took) in programs {
        // Another mutant runs beside it.
        let limit = SHORTEST.max(*took * 5);
        let by = format!("{} {}", program.package, program.option);
        let file = said.file(program, mutant.number, "");
        // A test that fails now and then finds no mutant: from the start, as what came behind it did not run.
        let mut times = 0;
        let end = loop {
            match judge::run(program, None, mutant.number, limit, &file)? {
                // What does so time and again is taken to be the mutant's doing.
                End::Failed(test)
                    if times < 3
                        && !test.is_empty()
                        && !fails_again(program, &test, mutant, limit, said)? =>
                {
                    times += 1;
                    let once = said.file(program, mutant.number, &format!("-once-{times}"));
                    fs::rename(&file, &once).map_err(|error| format!("{}: {error}", once.display()))?;
                    let (name, once) = (&mutant.name, once.display());
                    println!("{test} of {by} failed once with {name}, and not again; see {once}");
                }
                end => break end,
            }
        };
        if end != End::Passed {
            let test = if let End::Failed(test) = &end { test.as_str() } else { "" };
            let file = said.file(program, mutant.number, "-without");
            let test = Some(test).filter(|test| !test.is_empty());
            return match judge::run(program, test, 0, limit, &file)? {
                End::Passed => Ok((end, by)),
                end => Err(fails_without(program, &end, &file)),
            };
        }
    }
    Ok((End::Passed, String::new()))
}

/// Whether this test alone fails with the mutant, at least once in three times.
fn fails_again(
    program: &Program,
    test: &str,
    mutant: &Mutant,
    limit: Duration,
    said: &Said,
) -> Result<bool, String> {
    for _ in 0..3 {
        let file = said.file(program, mutant.number, "-again");
        if judge::run(program, Some(test), mutant.number, limit, &file)? != End::Passed {
            return Ok(true);
        }
    }
    Ok(false)
}
