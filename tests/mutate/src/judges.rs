//! Which test programs judge the mutants of which files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::build::Program;

/// The lines `together FILES PACKAGES TESTS`.
pub(crate) struct Judges(Vec<Judge>);

struct Judge {
    /// What the files begin with.
    files: String,
    packages: Vec<String>,
    options: Vec<String>,
}

impl Judges {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("together "));
        let judges = lines.map(|line| {
            let mut words = line.split_whitespace();
            let (Some(files), Some(packages)) = (words.next(), words.next()) else {
                return Err(format!("a judge without files or packages: {line}"));
            };
            let files =
                files.strip_suffix("*.rs").ok_or_else(|| format!("not all files of a place: {files}"))?;
            Ok(Judge {
                files: files.to_owned(),
                packages: packages.split(',').map(str::to_owned).collect(),
                options: words.map(str::to_owned).collect(),
            })
        });
        Ok(Self(judges.collect::<Result<_, _>>()?))
    }

    /// The packages of the tests, as options of cargo: all at once, as features of one are then those of the other.
    pub(crate) fn packages(&self) -> Vec<String> {
        let packages = self.0.iter().flat_map(|judge| &judge.packages);
        packages.map(|package| format!("--package={package}")).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The tests, as options of `cargo test`.
    pub(crate) fn tests(&self) -> Vec<String> {
        let tests = self.0.iter().flat_map(|judge| judge.options.iter().cloned());
        tests.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The programs that judge a file, in the order of its line.
    pub(crate) fn of<'a>(
        &self,
        file: &str,
        programs: &'a [(Program, Duration)],
    ) -> Result<Vec<&'a (Program, Duration)>, String> {
        let is_below =
            |judge: &&Judge| file.strip_prefix(judge.files.as_str()).is_some_and(|name| !name.contains('/'));
        let judge = self.0.iter().find(is_below).ok_or_else(|| format!("no line is for {file}"))?;
        let mut found = Vec::new();
        for option in &judge.options {
            found.extend(programs.iter().filter(|(program, _)| program.option == *option));
        }
        if found.is_empty() { Err(format!("no program judges {file}")) } else { Ok(found) }
    }
}
