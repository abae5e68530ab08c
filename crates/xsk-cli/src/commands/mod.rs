//! One file for each command.

pub(crate) mod capture;
pub(crate) mod drop;
mod files;
pub(crate) mod flood;
pub(crate) mod forward;
mod forward_capture;
pub(crate) mod info;
pub(crate) mod ping;
pub(crate) mod replay;
mod simulated;

use std::ops::Range;

use crate::datapath::Datapath;
use crate::values::Target;

/// A target with what became of it, as in `eth1 (native, copy)` or `eth1:3 (native, copy)`.
fn describe(datapath: &Datapath, target: &Target, ports: &Range<usize>) -> (String, String) {
    let name = match target.queue {
        Some(queue) => format!("{}:{queue}", target.name),
        None => target.name.clone(),
    };
    (name, datapath.mode(ports.start).to_owned())
}

fn queues(count: usize) -> String {
    if count == 1 { "1 queue".to_owned() } else { format!("{count} queues") }
}
