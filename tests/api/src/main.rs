//! Writes down the public API of crates, from the JSON that rustdoc makes of each.
//!
//! ```sh
//! xsk-api FILE.json...    # crates that know each other, dependencies first; the last one is written
//! ```
//!
//! A line for each item, by module, with what a program can see of it: signature, bounds, values of constants, attributes
//! that bind a caller, the traits of a type and its auto traits. Docs and bodies are left out.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod items;
mod render;

use std::process::ExitCode;
use std::{env, fs};

use render::Paths;
use serde_json::Value;

/// Of rustdoc's JSON, those that this was seen to read.
const FORMATS: [u64; 1] = [57];

/// Status for "this cannot run here", to ci/test.
const CANNOT_RUN: u8 = 77;

/// What is in the JSON and is not understood here.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match run() {
        Ok(Some(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::from(CANNOT_RUN),
        Err(error) => {
            eprintln!("xsk-api: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Option<String>> {
    let mut public = Paths::default();
    let mut last = None;
    for file in env::args().skip(1) {
        let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        let krate: Value = serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
        let format = krate["format_version"].as_u64().unwrap_or(0);
        if !FORMATS.contains(&format) {
            println!("this compiler's rustdoc writes format {format}, and the snapshot is of {FORMATS:?}");
            return Ok(None);
        }
        public.learn(&krate)?;
        last = Some(krate);
    }
    let krate = last.ok_or("usage: xsk-api FILE.json...")?;
    items::write(&krate, &public).map(Some)
}
