//! Compiles the tree, and finds out which mutants do not.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::instrument::Text;

/// A test program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// As an option of `cargo test`: `--lib` or `--test=NAME`.
    pub(crate) option: String,
    pub(crate) package: String,
    pub(crate) path: PathBuf,
    /// Where cargo runs it.
    pub(crate) dir: PathBuf,
}

/// What cargo says, a JSON value for each line, and whether it was content.
fn cargo(tree: &Path, command: &[&str], options: &[String]) -> Result<(bool, Vec<Value>), String> {
    let output = Command::new("cargo")
        .args(command)
        .args(options)
        .arg("--message-format=json")
        .current_dir(tree)
        .env("RUSTFLAGS", "--cap-lints=allow")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok((output.status.success(), messages))
}

/// Mutants that do not compile.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    /// As they are behind a question.
    pub(crate) by_question: HashSet<usize>,
    pub(crate) by_themselves: HashSet<usize>,
}

/// Errors that a mutant has only behind a question: calls in constants, and what is moved or borrowed in both branches.
const OF_THE_QUESTION: [&str; 8] = ["E0015", "E0658", "E0382", "E0499", "E0502", "E0505", "E0507", "E0716"];

/// Checks these packages. The mutants in whose text there are errors: none if it compiles.
pub(crate) fn broken(tree: &Path, packages: &[String], texts: &[(String, Text)]) -> Result<Broken, String> {
    let (good, messages) = cargo(tree, &["check", "--quiet"], packages)?;
    let mut broken = Broken::default();
    if good {
        return Ok(broken);
    }
    let mut others = Vec::new();
    for message in messages.iter().map(|message| &message["message"]) {
        let spans = message["spans"].as_array().map_or(&[][..], Vec::as_slice);
        if message["level"] != "error" || spans.is_empty() {
            continue;
        }
        let (first, second): (Vec<&Value>, Vec<&Value>) =
            spans.iter().partition(|span| span["is_primary"] == true);
        let mut found: Vec<usize> = first.iter().flat_map(|span| at(span, texts)).collect();
        if found.is_empty() {
            found = second.iter().flat_map(|span| at(span, texts)).collect();
        }
        if found.is_empty() {
            others.push(message["rendered"].as_str().unwrap_or_default().to_owned());
        }
        let by_question = message["code"]["code"].as_str().is_none_or(|code| OF_THE_QUESTION.contains(&code));
        if by_question { &mut broken.by_question } else { &mut broken.by_themselves }.extend(found);
    }
    if broken.by_question.is_empty() && broken.by_themselves.is_empty() {
        return Err(format!(
            "the mutants do not compile, and it is none in particular:\n{}",
            others.concat()
        ));
    }
    Ok(broken)
}

/// The mutants in whose text a span of the compiler's is.
fn at(span: &Value, texts: &[(String, Text)]) -> Vec<usize> {
    let Some((_, text)) = texts.iter().find(|(file, _)| span["file_name"] == file.as_str()) else {
        return Vec::new();
    };
    let byte = |name: &str| span[name].as_u64().map_or(0, |byte| byte as usize);
    let (start, end) = (byte("byte_start"), byte("byte_end"));
    let here = |range: &std::ops::Range<usize>| range.start <= start && end <= range.end;
    text.places.iter().filter(|(range, _)| here(range)).map(|(_, number)| *number).collect()
}

/// Builds the test programs that `options` of `cargo test` name.
pub(crate) fn programs(tree: &Path, options: &[String]) -> Result<Vec<Program>, String> {
    let (good, messages) = cargo(tree, &["test", "--quiet", "--no-run"], options)?;
    if !good {
        let rendered = messages.iter().filter_map(|message| message["message"]["rendered"].as_str());
        return Err(format!("the tests do not compile:\n{}", rendered.collect::<String>()));
    }
    let mut programs = Vec::new();
    for message in &messages {
        let (Some(path), Some(manifest)) =
            (message["executable"].as_str(), message["manifest_path"].as_str())
        else {
            continue;
        };
        let (target, name) = (&message["target"], message["target"]["name"].as_str().unwrap_or_default());
        let option = match target["kind"][0].as_str() {
            _ if message["profile"]["test"] != true => continue,
            Some("test") => format!("--test={name}"),
            Some("lib") => "--lib".to_owned(),
            _ => continue,
        };
        let dir = Path::new(manifest).parent().unwrap_or(tree).to_owned();
        let package = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        programs.push(Program { option, package, path: path.into(), dir });
    }
    Ok(programs)
}
