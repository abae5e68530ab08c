//! `xsk`: AF_XDP at work. Forward, drop, flood, ping, capture and replay packets between user space and the driver.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod datapath;
mod demo;
mod failure;
mod packet;
mod report;
mod run;
mod stop;
mod threads;
mod values;

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use cli::{Cli, Command};
use failure::Failure;
use report::Output;
use stop::Stop;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.command.as_ref().is_some_and(Command::is_json);
    match run(&cli) {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            let (text, code) = (failure.to_string(), failure.exit_code());
            if json {
                let mut output = match &cli.command {
                    Some(Command::Capture(options)) => commands::capture::output(options),
                    _ => Output::new(true, false),
                };
                // A closed output changes nothing: the exit code tells.
                let _ = output.value(&json!({ "event": "error", "error": text, "exit_code": code }));
            }
            report::tell_error(&text);
            ExitCode::from(code)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let stop = Stop::on_signals();
    match &cli.command {
        None => demo::command(&stop),
        Some(Command::Forward(options)) => commands::forward::command(options, &stop),
        Some(Command::Drop(options)) => commands::drop::command(options, &stop),
        Some(Command::Flood(options)) => commands::flood::command(options, &stop),
        Some(Command::Ping(options)) => commands::ping::command(options, &stop),
        Some(Command::Capture(options)) => commands::capture::command(options, &stop),
        Some(Command::Replay(options)) => commands::replay::command(options, &stop),
        Some(Command::Info(options)) => commands::info::command(options),
    }
}

impl Command {
    fn is_json(&self) -> bool {
        match self {
            Self::Forward(cli::Forward { run, .. })
            | Self::Drop(cli::Drop { run, .. })
            | Self::Flood(cli::Flood { run, .. })
            | Self::Ping(cli::Ping { run, .. })
            | Self::Capture(cli::Capture { run, .. })
            | Self::Replay(cli::Replay { run, .. }) => run.json,
            Self::Info(info) => info.json,
        }
    }
}
