//! Instructions for each packet, counted by callgrind, against a budget.
//!
//! ```sh
//! ./ci/instructions            # compares with benches/instructions.txt
//! ./ci/instructions --update   # writes it
//! ./ci/bench --instructions    # this and other libraries, on sockets of a private network (root)
//! ```
//!
//! Each case moves some packets and then twice as many; the difference of the two counts, divided, leaves out what comes
//! before the first packet. Exits 1 if a case takes more than its budget.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::process::ExitCode;
use std::{env, fs, iter};

use xsk_benches::case::{Case, all};
use xsk_benches::valgrind::{count, mark};

/// Packets of the first run of a case: a multiple of each batch.
const PACKETS: u32 = 4096;
/// Where the budget is, from the root of the repository.
const BUDGET: &str = "benches/instructions.txt";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments: Vec<_> = env::args().skip(1).collect();
    let peers = arguments.iter().position(|argument| argument == "--peers").map(|at| arguments.remove(at));
    // A socket of a peer keeps its network.
    let (mut cases, _network) = if peers.is_some() { of_peers()? } else { (all(), None) };
    match arguments.first().map(String::as_str) {
        Some("--run") => {
            run(&mut cases);
            Ok(ExitCode::SUCCESS)
        }
        Some("--update") => {
            let text = fs::read_to_string(BUDGET)?;
            let mut text: String = text
                .lines()
                .take_while(|line| line.starts_with('#'))
                .map(|line| format!("{line}\n"))
                .collect();
            for row in measure(&cases, None)?.iter().filter(|row| row.has_budget) {
                text += &format!("{:24}{:8.2}\n", row.name, row.count * row.room);
            }
            fs::write(BUDGET, text)?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let rows = measure(&cases, peers.as_deref())?;
            let budget =
                if peers.is_some() { BTreeMap::new() } else { budget(&fs::read_to_string(BUDGET)?)? };
            compare(&rows, &budget)
        }
        Some(other) => Err(format!("unknown argument {other}").into()),
    }
}

/// Cases, and what they need as long as they live.
type Peers = (Vec<Case>, Option<Box<dyn Any>>);

#[cfg(feature = "peers")]
fn of_peers() -> Result<Peers, Box<dyn Error>> {
    let mut place = xsk_benches::place::Place::veth()?;
    Ok((xsk_benches::peers::cycles(&mut place), Some(Box::new(place))))
}

#[cfg(not(feature = "peers"))]
fn of_peers() -> Result<Peers, Box<dyn Error>> {
    Err("built without feature `peers`: see ci/bench".into())
}

/// What was counted.
struct Row {
    name: String,
    /// Instructions per packet.
    count: f64,
    has_budget: bool,
    room: f64,
}

/// Under valgrind: the counts are those between the marks.
fn run(cases: &mut [Case]) {
    for case in cases {
        mark();
        case.run(PACKETS);
        mark();
        case.run(2 * PACKETS);
    }
    mark();
}

/// A row for each case, in order.
fn measure(cases: &[Case], more: Option<&str>) -> Result<Vec<Row>, Box<dyn Error>> {
    let arguments: Vec<_> = iter::once("--run").chain(more).map(OsStr::new).collect();
    let counts = count(&arguments)?;
    if counts.len() != 2 * cases.len() {
        return Err(format!("{} counts for {} cases", counts.len(), cases.len()).into());
    }
    let row = |(case, pair): (&Case, &[u64])| Row {
        name: case.name(),
        count: (pair[1] as f64 - pair[0] as f64) / f64::from(PACKETS),
        has_budget: case.has_budget,
        room: case.room,
    };
    Ok(cases.iter().zip(counts.chunks(2)).map(row).collect())
}

/// Instructions per packet by the name of the case.
fn budget(text: &str) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, count) = line.rsplit_once(' ').ok_or_else(|| format!("no number: {line}"))?;
            Ok((name.trim().to_owned(), count.parse().map_err(|e| format!("{line}: {e}"))?))
        })
        .collect()
}

/// More than the budget is more by this: the compiler places code a little differently each time something else changes.
fn is_over(count: f64, budget: f64) -> bool {
    count > budget * 1.01 + 0.05
}

fn compare(rows: &[Row], budget: &BTreeMap<String, f64>) -> Result<ExitCode, Box<dyn Error>> {
    println!("{:24}{:>10}{:>10}", "instructions per packet", "counted", "budget");
    let mut over = 0;
    for Row { name, count, has_budget, room } in rows {
        if !has_budget {
            println!("{name:24}{count:10.2}{:>10}", "-");
            continue;
        }
        let Some(&budget) = budget.get(name) else {
            return Err(format!("no budget for {name} in {BUDGET}: ./ci/instructions --update").into());
        };
        let verdict = if is_over(*count, budget) {
            over += 1;
            "OVER"
        } else if is_over(budget, count * room) {
            "less: lower the budget"
        } else {
            ""
        };
        println!("{name:24}{count:10.2}{budget:10.2}  {verdict}");
    }
    if let Some(name) = budget.keys().find(|name| rows.iter().all(|row| row.name != **name)) {
        return Err(format!("{BUDGET} has a budget for {name}, which is not counted").into());
    }
    if over > 0 {
        eprintln!("{over} of {} are over their budget in {BUDGET}", budget.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
