//! Counters as lines, tables and JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::format::{grouped, si, si_unit};
use super::table::Table;
use crate::datapath::{Account, Drops, PortSample, Traffic};

/// The counters of a port, and its name.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) sample: PortSample,
}

/// Which directions a command has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directions {
    pub(crate) rx: bool,
    pub(crate) tx: bool,
}

/// Causes of loss, in words, with their names in JSON.
fn causes(drops: &Drops) -> [(&'static str, &'static str, u64); 6] {
    [
        ("no free frame", "no_frame", drops.no_frame),
        ("too long for a frame", "too_long", drops.too_long),
        ("RX ring full", "rx_ring_full", drops.rx_ring_full),
        ("TX full", "tx_full", drops.tx_full),
        ("refused by the driver", "tx_refused", drops.tx_refused),
        ("invalid descriptor", "tx_invalid", drops.tx_invalid),
    ]
}

fn sum(ports: &[PortSample]) -> PortSample {
    let mut sum = PortSample::default();
    ports.iter().for_each(|port| sum.add(port));
    sum
}

fn rates(traffic: Traffic, seconds: f64) -> (f64, f64) {
    let seconds = seconds.max(1e-9);
    (traffic.packets as f64 / seconds, traffic.bytes as f64 * 8.0 / seconds)
}

fn since(now: Traffic, before: Traffic) -> Traffic {
    // Estimates (of refused packets' bytes) may go back a little.
    Traffic {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
    }
}

/// What happened between two samples.
struct Change {
    /// With the names of their directions.
    traffic: Vec<(&'static str, Traffic)>,
    /// As [`causes`].
    drops: [(&'static str, &'static str, u64); 6],
    seconds: f64,
}

impl Change {
    fn new(now: &PortSample, before: &PortSample, seconds: f64, directions: Directions) -> Self {
        let traffic = [
            (directions.rx, "rx", since(now.rx, before.rx)),
            (directions.tx, "tx", since(now.tx, before.tx)),
        ];
        let mut drops = causes(&now.drops);
        for ((_, _, now), (_, _, before)) in drops.iter_mut().zip(causes(&before.drops)) {
            *now = now.saturating_sub(before);
        }
        let traffic = traffic.into_iter().filter(|(wanted, _, _)| *wanted);
        Self { traffic: traffic.map(|(_, name, traffic)| (name, traffic)).collect(), drops, seconds }
    }

    fn line(&self) -> String {
        let mut line = String::new();
        for (name, traffic) in &self.traffic {
            let (pps, bps) = rates(*traffic, self.seconds);
            line += &format!("  {name} {:>9} {:>11}", si_unit(pps, "pps"), si_unit(bps, "bit/s"));
        }
        let dropped: Vec<_> = self
            .drops
            .iter()
            .filter(|(_, _, count)| *count > 0)
            .map(|(words, _, count)| format!("{}/s {words}", si(*count as f64 / self.seconds)))
            .collect();
        if !dropped.is_empty() {
            line += &format!("  dropped {}", dropped.join(", "));
        }
        line
    }

    fn json(&self) -> Value {
        let mut value = json!({ "drops": drops_json(&self.drops) });
        for (name, traffic) in &self.traffic {
            let (pps, bps) = rates(*traffic, self.seconds);
            value[format!("{name}_packets")] = traffic.packets.into();
            value[format!("{name}_pps")] = pps.round().into();
            value[format!("{name}_bps")] = bps.round().into();
        }
        value
    }
}

fn drops_json(causes: &[(&str, &str, u64)]) -> Value {
    causes.iter().map(|(_, name, count)| ((*name).to_owned(), json!(count))).collect()
}

/// One second: a line of all ports together, and JSON of these and each.
pub(crate) fn interval(
    at: Duration,
    seconds: f64,
    names: &[String],
    now: &[PortSample],
    before: &[PortSample],
    directions: Directions,
) -> (String, Value) {
    let all = Change::new(&sum(now), &sum(before), seconds, directions);
    let mut value = all.json();
    value["event"] = "interval".into();
    value["seconds"] = at.as_secs_f64().into();
    let ports = names.iter().zip(now.iter().zip(before)).map(|(name, (now, before))| {
        let mut value = Change::new(now, before, seconds, directions).json();
        value["port"] = name.clone().into();
        value
    });
    value["ports"] = ports.collect();
    (format!("{:>5} s{}", at.as_secs(), all.line()), value)
}

/// What happened, as the lines of a table.
pub(crate) fn summary_lines(
    ports: &[Named],
    elapsed: Duration,
    account: &Account,
    directions: Directions,
) -> Vec<String> {
    let mut rows = ports.to_vec();
    if ports.len() > 1 {
        rows.push(Named { name: "total".to_owned(), sample: total(ports) });
    }
    let mut lines = vec![String::new()];
    lines.extend(table_lines(&rows, elapsed, directions));
    lines.push(String::new());
    lines.extend(drops_line(ports));
    lines.push(format!("  {}; {:.1} s", frames(account), elapsed.as_secs_f64()));
    lines
}

fn total(ports: &[Named]) -> PortSample {
    let samples: Vec<_> = ports.iter().map(|port| port.sample.clone()).collect();
    sum(&samples)
}

/// A table of ports.
pub(crate) fn table_lines(rows: &[Named], elapsed: Duration, directions: Directions) -> Vec<String> {
    let mut heads = vec!["port"];
    if directions.rx {
        heads.extend(["received", "pps", "bit/s"]);
    }
    if directions.tx {
        heads.extend(["sent", "pps", "bit/s"]);
    }
    heads.push("dropped");
    let mut table = Table::numbers(&heads);
    for Named { name, sample } in rows {
        let mut row = vec![name.clone()];
        for (wanted, traffic) in [(directions.rx, sample.rx), (directions.tx, sample.tx)] {
            if wanted {
                let (pps, bps) = rates(traffic, elapsed.as_secs_f64());
                row.extend([grouped(traffic.packets), si(pps), si(bps)]);
            }
        }
        row.push(grouped(sample.drops.total()));
        table.row(row);
    }
    table.lines()
}

/// Why packets were dropped, if any were.
pub(crate) fn drops_line(ports: &[Named]) -> Option<String> {
    let drops: Vec<_> = causes(&total(ports).drops)
        .iter()
        .filter(|(_, _, count)| *count > 0)
        .map(|(words, _, count)| format!("{} {words}", grouped(*count)))
        .collect();
    (!drops.is_empty()).then(|| format!("  dropped: {}", drops.join(", ")))
}

/// Where the frames are, in one line.
pub(crate) fn frames(account: &Account) -> String {
    let Account { total, free, receiving, sending, whole } = *account;
    let verdict = if whole { "none lost" } else { "SOME LOST" };
    format!(
        "frames: {} = {} free + {} to receive into + {} being sent, {verdict}",
        grouped(total),
        grouped(free),
        grouped(receiving),
        grouped(sending)
    )
}

fn traffic_json(traffic: Traffic) -> Value {
    json!({ "packets": traffic.packets, "bytes": traffic.bytes })
}

fn sample_json(sample: &PortSample) -> Value {
    let drops = drops_json(&causes(&sample.drops));
    json!({ "rx": traffic_json(sample.rx), "tx": traffic_json(sample.tx), "drops": drops })
}

/// What happened, as JSON.
pub(crate) fn summary_json(ports: &[Named], elapsed: Duration, account: &Account) -> Value {
    let total_sample = total(ports);
    let Account { total, free, receiving, sending, whole } = *account;
    let ports: Vec<_> = ports
        .iter()
        .map(|Named { name, sample }| {
            let mut value = sample_json(sample);
            value["port"] = name.clone().into();
            value
        })
        .collect();
    json!({
        "event": "summary",
        "seconds": elapsed.as_secs_f64(),
        "ports": ports,
        "total": sample_json(&total_sample),
        "frames": { "total": total, "free": free, "receiving": receiving, "sending": sending, "whole": whole },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_tells_rates_and_causes() {
        let before = PortSample::default();
        let mut now = before.clone();
        now.rx = Traffic { packets: 2000, bytes: 120_000 };
        now.drops.rx_ring_full = 10;
        let directions = Directions { rx: true, tx: false };
        let (names, idle) = (["a:0".to_owned(), "a:1".to_owned()], PortSample::default());
        let (now, before) = ([now, idle.clone()], [before, idle]);
        let (line, value) = interval(Duration::from_secs(3), 2.0, &names, &now, &before, directions);
        assert_eq!(line, "    3 s  rx 1.00 kpps  480 kbit/s  dropped 5/s RX ring full");
        assert_eq!(value["rx_pps"], 1000.0);
        assert_eq!(value["drops"]["rx_ring_full"], 10);
        assert_eq!(value.get("tx_pps"), None);
        let [first, second] = [0, 1].map(|port| &value["ports"][port]);
        assert_eq!((&first["port"], &first["rx_packets"]), (&json!("a:0"), &json!(2000)));
        assert_eq!((&second["port"], &second["rx_packets"]), (&json!("a:1"), &json!(0)));
    }

    #[test]
    fn a_lost_frame_is_shouted() {
        let account = Account { total: 8, free: 7, ..Default::default() };
        assert!(frames(&account).ends_with("SOME LOST"));
    }
}
