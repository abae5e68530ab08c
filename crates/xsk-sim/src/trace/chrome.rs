use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Trace, TraceEvent, TracePlace, What};

/// The two rows of tracks: what the user does, and what the kernel does.
const USER: u32 = 1;
const KERNEL: u32 = 2;

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out + "\""
}

/// Microseconds, to the nanosecond.
fn micros(time: std::time::Duration) -> String {
    format!("{}.{:03}", time.as_nanos() / 1000, time.as_nanos() % 1000)
}

fn event(event: &TraceEvent, process: u32, thread: usize) -> String {
    let mut line = format!("{{\"pid\":{process},\"tid\":{thread},\"ts\":{}", micros(event.at));
    let (name, phase) = match &event.what {
        What::Call { call, result } if result == "ok" => (call.to_string(), "X"),
        What::Call { call, result } => (format!("{call}: {result}"), "X"),
        What::Produced(moved) => (format!("{} produced", moved.ring), "i"),
        What::Consumed(moved) => (format!("{} consumed", moved.ring), "i"),
        What::Fault { .. } => ("fault".to_owned(), "i"),
        what => (what.to_string(), "i"),
    };
    let _ = write!(line, ",\"ph\":\"{phase}\",\"name\":{}", quoted(&name));
    if phase == "X" {
        let _ = write!(line, ",\"dur\":{}", micros(event.lasted));
    } else {
        line += ",\"s\":\"t\"";
    }
    let _ = write!(line, ",\"args\":{{\"what\":{}}}}}", quoted(&event.what.to_string()));
    line
}

impl Trace {
    /// The trace as a file for Chrome's trace viewer (`chrome://tracing`) and Perfetto (<https://ui.perfetto.dev>), in the
    /// JSON form of the Trace Event Format.
    ///
    /// Calls are slices of their socket's track under "user"; rings, wakeups, packets, drops and faults are instants under
    /// "kernel"; and each ring has a counter of the entries that wait in it, on which a lost wakeup is a step that does not
    /// come down again.
    pub fn to_chrome_json(&self) -> String {
        let process_of =
            |event: &TraceEvent| if matches!(event.what, What::Call { .. }) { USER } else { KERNEL };
        let mut threads: BTreeMap<(u32, &TracePlace), usize> = BTreeMap::new();
        for event in &self.events {
            let next = threads.len() + 1;
            threads.entry((process_of(event), &event.place)).or_insert(next);
        }
        let mut lines = Vec::new();
        for (process, name) in [(USER, "user"), (KERNEL, "kernel")] {
            lines.push(format!(
                "{{\"pid\":{process},\"ph\":\"M\",\"name\":\"process_name\",\"args\":{{\"name\":\"{name}\"}}}}"
            ));
            for ((_, place), thread) in threads.iter().filter(|((of, _), _)| *of == process) {
                let name = quoted(&place.to_string());
                lines.push(format!(
                    "{{\"pid\":{process},\"tid\":{thread},\"ph\":\"M\",\"name\":\"thread_name\",\"args\":{{\"name\":{name}}}}}"
                ));
            }
        }
        for happened in &self.events {
            let process = process_of(happened);
            lines.push(event(happened, process, threads[&(process, &happened.place)]));
            if let What::Produced(moved) | What::Consumed(moved) = &happened.what {
                let name = quoted(&format!("{} {}", happened.place, moved.ring));
                lines.push(format!(
                    "{{\"pid\":{KERNEL},\"ts\":{},\"ph\":\"C\",\"name\":{name},\"args\":{{\"waiting\":{}}}}}",
                    micros(happened.at),
                    moved.waiting
                ));
            }
        }
        format!("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{}\n]}}\n", lines.join(",\n"))
    }
}
