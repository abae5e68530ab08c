//! Mutants as cargo-mutants lists them.

use proc_macro2::LineColumn;
use serde_json::Value;

/// One change of the code.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    /// From 1 on.
    pub(crate) number: usize,
    /// Relative to the tree.
    pub(crate) file: String,
    /// With its place, as cargo-mutants writes it.
    pub(crate) name: String,
    pub(crate) genre: String,
    pub(crate) replacement: String,
    /// Where what is replaced begins, lines from 1 on and columns from 0 on, as in syn.
    pub(crate) start: LineColumn,
}

/// The mutants of a list that `cargo mutants --list --json` wrote.
pub(crate) fn read(text: &str) -> Result<Vec<Mutant>, String> {
    let list: Value = serde_json::from_str(text).map_err(|error| format!("the list of mutants: {error}"))?;
    let list = list.as_array().ok_or("the list of mutants is no list")?;
    list.iter().enumerate().map(|(index, mutant)| one(index + 1, mutant)).collect()
}

fn one(number: usize, mutant: &Value) -> Result<Mutant, String> {
    let text = |name: &str| {
        let text = mutant[name].as_str().ok_or_else(|| format!("mutant {number} has no {name}"))?;
        Ok::<_, String>(text.to_owned())
    };
    let place = |name: &str| {
        let place = mutant["span"]["start"][name].as_u64();
        place.map(|place| place as usize).ok_or_else(|| format!("mutant {number} has no {name}"))
    };
    Ok(Mutant {
        number,
        file: text("file")?,
        name: text("name")?,
        genre: text("genre")?,
        replacement: text("replacement")?,
        start: LineColumn { line: place("line")?, column: place("column")? - 1 },
    })
}
