//! `xsk drop`: receive, count, drop.

use serde_json::json;

use super::{describe, queues};
use crate::cli::Drop;
use crate::datapath::{Datapath, Need, Request};
use crate::failure::Failure;
use crate::report::traffic::Directions;
use crate::report::{Output, Watch};
use crate::run::{Outcome, Run, Turn};
use crate::stop::Stop;

pub(crate) fn command(options: &Drop, stop: &Stop) -> Result<(), Failure> {
    let mut output = Output::of(&options.run);
    let outcome = run(options, stop, &mut output)?;
    outcome.print(&mut output, &[], &[])
}

pub(crate) fn run(options: &Drop, stop: &Stop, watch: &mut dyn Watch) -> Result<Outcome, Failure> {
    let targets = std::slice::from_ref(&options.target);
    let (mut datapath, ranges) =
        Request { targets, need: Need::Receive, options: &options.sockets }.open()?;
    let (name, mode) = describe(&datapath, &options.target, &ranges[0]);
    let text = format!("dropping what {name} receives ({mode}), {}", queues(datapath.ports()));
    let value = json!({ "event": "ready", "command": "drop", "interface": name, "mode": mode });
    let directions = Directions { rx: true, tx: false };
    let mut run = Run::start(&datapath, &options.run, directions, stop, watch, (&text, value))?;
    let result = drop_all(&mut run, &mut datapath, options.run.count);
    Ok(run.finish(&mut datapath, result))
}

fn drop_all(run: &mut Run<'_>, datapath: &mut Datapath, count: Option<u64>) -> Result<(), Failure> {
    let mut left = count.unwrap_or(u64::MAX);
    loop {
        let mut moved = 0;
        for port in 0..datapath.ports() {
            moved += datapath.receive(port, |_| ())?;
        }
        left = left.saturating_sub(moved as u64);
        if left == 0 {
            return Ok(());
        }
        match run.turn(datapath, moved > 0, None)? {
            Turn::Go => {}
            Turn::Report => run.report(datapath)?,
            Turn::End => return Ok(()),
        }
    }
}
