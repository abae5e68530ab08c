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
use crate::threads::{Quota, Team};

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
    let routes: Vec<_> = (0..datapath.ports()).collect();
    let team = Team::new(&options.threads, &routes)?;
    let threads = Team::words(team.as_ref());
    let text = format!("dropping what {name} receives ({mode}), {}{threads}", queues(datapath.ports()));
    let threads = Team::json(team.as_ref(), &datapath);
    let value =
        json!({ "event": "ready", "command": "drop", "interface": name, "mode": mode, "threads": threads });
    let directions = Directions { rx: true, tx: false };
    let mut run = Run::start(&datapath, &options.run, directions, stop, watch, (&text, value))?;
    let quota = Quota::new(options.run.count);
    let result = run.spread(&mut datapath, team.as_ref(), |run, datapath| drop_all(run, datapath, &quota));
    Ok(run.finish(&mut datapath, result))
}

/// What it receives with, and as long as there is a quota.
pub(crate) fn drop_all(run: &mut Run<'_>, datapath: &mut Datapath, quota: &Quota) -> Result<(), Failure> {
    loop {
        let mut moved = 0;
        for receiver in 0..datapath.receivers() {
            moved += datapath.receive(receiver, |_| ())?;
        }
        quota.take(moved as u64);
        if quota.is_used_up() {
            return Ok(());
        }
        match run.turn(datapath, moved > 0, None)? {
            Turn::Go => {}
            Turn::Report => run.report(datapath)?,
            Turn::End => return Ok(()),
        }
    }
}
