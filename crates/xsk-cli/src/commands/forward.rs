//! `xsk forward`: between two interfaces, or back where it came from.

use std::ops::Range;

use serde_json::json;

use super::{describe, queues};
use crate::cli::Forward;
use crate::datapath::{Datapath, Need, Request, Verdict, backend, interface};
use crate::failure::Failure;
use crate::packet::{Mac, swap_macs};
use crate::report::traffic::Directions;
use crate::report::{Output, Watch};
use crate::run::{Outcome, Run, Turn};
use crate::stop::Stop;
use crate::threads::{Quota, Team};
use crate::values::{Side, Target};

pub(crate) fn command(options: &Forward, stop: &Stop) -> Result<(), Failure> {
    if let (Side::Capture(from), Some(Side::Capture(to))) = (&options.a, &options.b) {
        return super::forward_capture::command(options, from, to, stop);
    }
    let mut output = Output::of(&options.run);
    let outcome = run(options, stop, &mut output)?;
    outcome.print(&mut output, &[], &[])
}

pub(crate) fn run(options: &Forward, stop: &Stop, watch: &mut dyn Watch) -> Result<Outcome, Failure> {
    let sides = std::iter::once(&options.a).chain(&options.b);
    let targets = sides.map(interface_side).collect::<Result<Vec<_>, _>>()?;
    if let [a, b] = &targets[..] {
        check_distinct(a, b)?;
    }
    let request = Request { targets: &targets, need: Need::Both, options: &options.sockets };
    let (mut datapath, ranges) = request.open()?;
    let own_mac = match options.b {
        Some(_) => None,
        None => interface(&backend(), &targets[0].name)?.mac,
    };
    let routes = routes(&ranges);
    let team = Team::new(&options.threads, &routes)?;
    let (text, value) = ready(&datapath, &targets, &ranges, team.as_ref());
    let directions = Directions { rx: true, tx: true };
    let mut run = Run::start(&datapath, &options.run, directions, stop, watch, (&text, value))?;
    let reflect = options.b.is_none().then_some(own_mac);
    let quota = Quota::new(options.run.count);
    let result = run.spread(&mut datapath, team.as_ref(), |run, datapath| {
        let routes = datapath.routes(&routes);
        forward(run, datapath, &routes, reflect, &quota)
    });
    Ok(run.finish(&mut datapath, result))
}

fn interface_side(side: &Side) -> Result<Target, Failure> {
    match side {
        Side::Interface(target) => Ok(target.clone()),
        Side::Capture(_) => Err(Failure::usage(
            "a simulated kernel has no interfaces of this machine: xsk forward sim:IN.pcap sim:OUT.pcap",
        )),
    }
}

fn check_distinct(a: &Target, b: &Target) -> Result<(), Failure> {
    let overlap = a.queue.is_none() || b.queue.is_none() || a.queue == b.queue;
    if a.name == b.name && overlap {
        let name = &a.name;
        return Err(Failure::usage(format!(
            "both interfaces are {name}; to send packets back where they came from: xsk forward {name}"
        )));
    }
    Ok(())
}

/// For each port, the one that its packets leave by: queue i of one side goes to queue i of the other, modulo that one's
/// number of queues.
pub(super) fn routes(ranges: &[Range<usize>]) -> Vec<usize> {
    let mut routes = Vec::new();
    for (side, range) in ranges.iter().enumerate() {
        let other = &ranges[(side + 1) % ranges.len()];
        routes.extend((0..range.len()).map(|queue| other.start + queue % other.len().max(1)));
    }
    routes
}

/// `reflect`: swap the MAC addresses, with the interface's own address in place of a group's.
fn forward(
    run: &mut Run<'_>,
    datapath: &mut Datapath,
    routes: &[(usize, usize)],
    reflect: Option<Option<Mac>>,
    quota: &Quota,
) -> Result<(), Failure> {
    loop {
        let mut moved = 0;
        for &(from, to) in routes {
            moved += datapath.forward(from, to, |packet| {
                if let Some(own_mac) = reflect {
                    swap_macs(packet, own_mac);
                }
                Verdict::Send
            })?;
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

fn ready(
    datapath: &Datapath,
    targets: &[Target],
    ranges: &[Range<usize>],
    team: Option<&Team>,
) -> (String, serde_json::Value) {
    let sides: Vec<_> =
        targets.iter().zip(ranges).map(|(target, range)| describe(datapath, target, range)).collect();
    let text = match &sides[..] {
        [(a, mode_a), (b, mode_b)] if mode_a == mode_b => format!("forwarding {a} <-> {b} ({mode_a})"),
        [(a, mode_a), (b, mode_b)] => format!("forwarding {a} ({mode_a}) <-> {b} ({mode_b})"),
        _ => {
            let (a, mode) = &sides[0];
            format!("reflecting on {a} ({mode})")
        }
    };
    let counts: Vec<_> = ranges.iter().map(|range| queues(range.len())).collect();
    let sides: Vec<_> = sides.iter().map(|(name, mode)| json!({ "interface": name, "mode": mode })).collect();
    (
        format!("{text}, {}{}", counts.join(" and "), Team::words(team)),
        json!({ "event": "ready", "command": "forward", "interfaces": sides, "threads": Team::json(team, datapath) }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_matched_modulo() {
        assert_eq!(routes(&[0..4, 4..6]), [4, 5, 4, 5, 0, 1]);
        assert_eq!(routes(&[0..2, 2..5]), [2, 3, 0, 1, 0]);
        assert_eq!(routes(&std::array::from_fn::<_, 1, _>(|_| 0..3)), [0, 1, 2]);
    }

    #[test]
    fn the_same_queue_twice_is_refused() {
        let target = |name: &str, queue| Target { name: name.into(), queue };
        assert!(check_distinct(&target("a", None), &target("a", Some(1))).is_err());
        assert!(check_distinct(&target("a", Some(1)), &target("a", Some(1))).is_err());
        assert!(check_distinct(&target("a", Some(0)), &target("a", Some(1))).is_ok());
        assert!(check_distinct(&target("a", None), &target("b", None)).is_ok());
    }
}
