//! `xsk info`: what there is, and what is missing.

use std::sync::Arc;

use serde_json::{Value, json};
use xsk::backend::{Backend, Capabilities, DriverFeatures, InterfaceInfo};
use xsk::error::errno;

use super::queues;
use crate::cli::Info;
use crate::datapath::{backend, interface};
use crate::failure::Failure;
use crate::report::Output;
use crate::report::table::{BOLD, Table};
use crate::values::Target;

/// What a frame of the default size holds, without the Ethernet header.
const MTU_OF_A_FRAME: u32 = 4096 - 256 - 14;
/// The UMEM of one queue, by default.
const UMEM: u64 = 4096 * 4096;

pub(crate) fn command(options: &Info) -> Result<(), Failure> {
    let mut output = Output::new(options.json, false);
    let backend = backend();
    let system = System::look(&backend);
    let missing = match &options.target {
        Some(target) => one(&mut output, &backend, &system, target)?,
        None => all(&mut output, &backend, &system)?,
    };
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::cannot_run(format!("missing to run: {}", missing.join("; "))))
}

/// What concerns all interfaces.
struct System {
    kernel: String,
    /// `None` if who may not make a socket cannot tell.
    af_xdp: Option<bool>,
    capabilities: Option<Capabilities>,
    memlock: Option<u64>,
    missing: Vec<String>,
}

impl System {
    fn look(backend: &Arc<dyn Backend>) -> Self {
        let mut missing = Vec::new();
        let socket = backend.socket().map(|socket| backend.close(socket));
        if let Err(error) = &socket {
            missing.push(match error.raw_os_error() {
                Some(errno::EPERM) => "CAP_NET_RAW, to make AF_XDP sockets: run as root".to_owned(),
                Some(errno::EAFNOSUPPORT | errno::ESOCKTNOSUPPORT) => {
                    "AF_XDP in this kernel (CONFIG_XDP_SOCKETS), or the container forbids it".to_owned()
                }
                _ => format!("AF_XDP sockets ({})", of(error)),
            });
        }
        if let Err(error) = backend.xskmap_create(1).map(|map| backend.close(map)) {
            missing.push(match error.raw_os_error() {
                Some(errno::EPERM | errno::EACCES) => {
                    "CAP_BPF and CAP_NET_ADMIN, to load and attach XDP programs: run as root".to_owned()
                }
                _ => format!("XSKMAPs ({})", of(&error)),
            });
        }
        let capabilities = backend.capabilities().ok();
        let has = |capability| capabilities.is_none_or(|has| has.contains(capability));
        if !has(Capabilities::CAP_NET_ADMIN) && missing.iter().all(|text| !text.contains("CAP_NET_ADMIN")) {
            missing.push("CAP_NET_ADMIN, to attach XDP programs: run as root".to_owned());
        }
        let memlock = backend.memlock_limit().ok().flatten();
        if let Some(limit) = memlock.filter(|limit| *limit < UMEM && !has(Capabilities::CAP_IPC_LOCK)) {
            missing.push(format!(
                "locked memory: the limit is {} KiB, and a queue takes {} by default; `ulimit -l` or CAP_IPC_LOCK",
                limit >> 10,
                UMEM >> 10
            ));
        }
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let af_xdp = match &socket {
            Ok(()) => Some(true),
            Err(error) if error.raw_os_error() == Some(errno::EPERM) => None,
            Err(_) => Some(false),
        };
        Self { kernel: kernel.trim().to_owned(), af_xdp, capabilities, memlock, missing }
    }

    fn json(&self) -> Value {
        json!({
            "kernel": self.kernel,
            "af_xdp": self.af_xdp,
            "capabilities": self.capabilities.map(names),
            "memlock_bytes": self.memlock,
        })
    }

    fn lines(&self) -> Vec<String> {
        let capabilities = match self.capabilities {
            Some(capabilities) if capabilities.is_all() => "all it takes".to_owned(),
            Some(capabilities) if capabilities.is_empty() => "none of what it takes".to_owned(),
            Some(capabilities) => names(capabilities).join(", "),
            None => "unknown".to_owned(),
        };
        let free = self.capabilities.is_some_and(|has| has.contains(Capabilities::CAP_IPC_LOCK));
        let memlock = match self.memlock {
            Some(limit) if !free => format!("at most {} KiB", limit >> 10),
            _ => "no limit".to_owned(),
        };
        let af_xdp = match self.af_xdp {
            Some(true) => "has AF_XDP",
            Some(false) => "no AF_XDP",
            None => "AF_XDP unknown without CAP_NET_RAW",
        };
        vec![
            pair("kernel", &format!("{}, {af_xdp}", self.kernel)),
            pair("capabilities", &capabilities),
            pair("locked memory", &memlock),
        ]
    }
}

fn of(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| errno::describe(errno).to_string())
}

fn names(capabilities: Capabilities) -> Vec<&'static str> {
    capabilities.iter_names().map(|(name, _)| name).collect()
}

fn pair(name: &str, value: &str) -> String {
    format!("  {name:<14} {value}")
}

fn one(
    output: &mut Output,
    backend: &Arc<dyn Backend>,
    system: &System,
    target: &Target,
) -> Result<Vec<String>, Failure> {
    let info = interface(backend, &target.name)?;
    if let Some(queue) = target.queue.filter(|queue| *queue >= info.queues()) {
        let (name, count) = (&info.name, info.queues());
        return Err(Failure::usage(format!(
            "{name} has {}, from 0 to {}; there is no queue {queue}",
            queues(count as usize),
            count.saturating_sub(1)
        )));
    }
    let program = program_name(backend, &info);
    let mut missing = system.missing.clone();
    missing.extend(missing_of(&info, program.as_deref()));
    let hints = hints(&info);
    if output.is_json() {
        let mut value =
            json!({ "event": "info", "system": system.json(), "missing": missing, "hints": hints });
        value["interface"] = interface_json(&info, program.as_deref());
        output.value(&value)?;
        return Ok(missing);
    }
    let name = &info.name;
    let mut lines = vec![format!("{BOLD}{name}{BOLD:#} (index {})", info.index)];
    lines.push(pair("state", state(&info)));
    lines.push(pair("driver", info.driver.as_deref().unwrap_or("unknown")));
    if let Some(mac) = info.mac {
        lines.push(pair("address", &mac.map(|byte| format!("{byte:02x}")).join(":")));
    }
    lines.push(pair("MTU", &info.mtu.to_string()));
    let (rx, tx, most) = (info.rx_queues, info.tx_queues, info.max_queues);
    lines.push(pair("queues", &format!("{} ({rx} rx, {tx} tx; at most {most})", info.queues())));
    lines.push(pair("XDP", &abilities(&info)));
    lines.push(pair("program", &program.unwrap_or_else(|| "none".to_owned())));
    lines.extend(system.lines());
    lines.extend(hints.iter().map(|hint| pair("note", hint)));
    if missing.is_empty() {
        lines.push(pair("missing", "nothing: ready to run"));
    }
    output.lines(&lines)?;
    Ok(missing)
}

fn all(output: &mut Output, backend: &Arc<dyn Backend>, system: &System) -> Result<Vec<String>, Failure> {
    // Those that vanish meanwhile are left out.
    let infos: Vec<_> = interface_names()?.iter().filter_map(|name| interface(backend, name).ok()).collect();
    if output.is_json() {
        let interfaces: Vec<_> =
            infos.iter().map(|info| interface_json(info, program_name(backend, info).as_deref())).collect();
        let value = json!({
            "event": "info", "system": system.json(), "interfaces": interfaces, "missing": system.missing,
        });
        output.value(&value)?;
        return Ok(system.missing.clone());
    }
    let mut table = Table::words(&["interface", "state", "MTU", "queues", "driver", "XDP", "program"]);
    for info in &infos {
        table.row(vec![
            info.name.clone(),
            state(info).to_owned(),
            info.mtu.to_string(),
            info.queues().to_string(),
            info.driver.clone().unwrap_or_else(|| "-".to_owned()),
            abilities(info),
            program_name(backend, info).unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let mut lines = system.lines();
    if system.missing.is_empty() {
        lines.push(pair("missing", "nothing: ready to run"));
    }
    lines.push(String::new());
    lines.extend(table.lines());
    output.lines(&lines)?;
    Ok(system.missing.clone())
}

/// The interfaces of this network namespace.
fn interface_names() -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev");
    let text =
        text.map_err(|e| Failure::cannot_run(format!("cannot read /proc/thread-self/net/dev: {e}")))?;
    // Two lines of heads, then `name: counters`.
    let names =
        text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    Ok(names.collect())
}

fn state(info: &InterfaceInfo) -> &'static str {
    match (info.up, info.carrier) {
        (true, true) => "up",
        (true, false) => "no carrier",
        _ => "down",
    }
}

fn abilities(info: &InterfaceInfo) -> String {
    let Some(features) = info.features else {
        return "SKB, copy (more is not known)".to_owned();
    };
    let mut words = vec![if features.contains(DriverFeatures::BASIC) { "native" } else { "SKB" }];
    words.push(if features.contains(DriverFeatures::ZERO_COPY) { "zero copy" } else { "copy" });
    if features.contains(DriverFeatures::RX_SG) {
        words.push("multi-buffer");
    }
    words.join(", ")
}

/// As in `xsk_redirect (id 7, native)`.
fn program_name(backend: &Arc<dyn Backend>, info: &InterfaceInfo) -> Option<String> {
    let program = info.program?;
    let name = backend.program_name(program.id).ok().filter(|name| !name.is_empty());
    Some(format!("{} (id {}, {})", name.as_deref().unwrap_or("unnamed"), program.id, program.mode))
}

/// What keeps this interface from being used.
fn missing_of(info: &InterfaceInfo, program: Option<&str>) -> Vec<String> {
    let mut missing = Vec::new();
    if !info.up {
        missing.push(format!("{} is down: `ip link set {} up`", info.name, info.name));
    }
    if let Some(program) = program {
        missing.push(format!("another XDP program is attached, {program}: detach it, or end who uses it"));
    }
    missing
}

/// What is worth knowing, but keeps nobody from anything.
fn hints(info: &InterfaceInfo) -> Vec<String> {
    let mut hints = Vec::new();
    if info.up && !info.carrier {
        hints.push("no carrier: nothing is connected, or the other end is down".to_owned());
    }
    if info.mtu > MTU_OF_A_FRAME {
        hints.push(format!("MTU {}: packets above {MTU_OF_A_FRAME} bytes need --multi-buffer", info.mtu));
    }
    hints
}

fn interface_json(info: &InterfaceInfo, program: Option<&str>) -> Value {
    let features = info.features;
    let has = |feature| features.map(|features| features.contains(feature));
    json!({
        "name": info.name,
        "index": info.index,
        "up": info.up,
        "carrier": info.carrier,
        "driver": info.driver,
        "mtu": info.mtu,
        "mac": info.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
        "queues": info.queues(),
        "rx_queues": info.rx_queues,
        "tx_queues": info.tx_queues,
        "max_queues": info.max_queues,
        "native_xdp": has(DriverFeatures::BASIC),
        "zero_copy": has(DriverFeatures::ZERO_COPY),
        "multi_buffer": has(DriverFeatures::RX_SG),
        "program": info.program.map(|p| json!({ "id": p.id, "mode": p.mode.to_string(), "text": program })),
    })
}
