//! `xsk` without a command: real packets, over veth pairs made for the occasion, or else a simulated kernel.

mod simulated;

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use xsk::error::errno;
use xsk_veth::{Namespace, VethPair};

use crate::cli::{Cli, Command};
use crate::commands::{drop, flood, forward, ping};
use crate::failure::Failure;
use crate::report::format::si_unit;
use crate::report::table::BOLD;
use crate::report::traffic::{Directions, drops_line, table_lines};
use crate::report::{Output, Watch};
use crate::run::Outcome;
use crate::stop::Stop;

const HINT: &str = "\
Next, on a real network card (its packets then come here and not to the network stack):
  xsk info                   which interfaces there are, and what is missing
  xsk drop eth1              receive as fast as it goes
  xsk forward eth1 eth2      a wire in software, both ways
  xsk --help                 all commands";

const MODES: [(&str, &str); 2] = [
    ("--native", "Native mode: the XDP program runs in the driver"),
    ("--skb", "SKB mode: it runs in the network stack, as it can with every driver"),
];

pub(crate) fn command(stop: &Stop) -> Result<(), Failure> {
    match missing() {
        None => on_linux(stop),
        Some(missing) => simulated::run(&missing, stop),
    }
}

/// What the demonstration lacks on this system, in one sentence.
fn missing() -> Option<String> {
    let abilities = xsk_veth::abilities();
    let xsk_veth::Abilities { namespace, veth, af_xdp, bpf, .. } = abilities;
    let privilege = [namespace, veth, af_xdp, bpf]
        .into_iter()
        .any(|ability| ability.is_err_and(|errno| errno.0 == errno::EPERM));
    if privilege {
        let needs = "CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF";
        return Some(format!(
            "it makes network namespaces and AF_XDP sockets, so run it as root (or with {needs})"
        ));
    }
    abilities.missing()
}

fn on_linux(stop: &Stop) -> Result<(), Failure> {
    let mut output = Output::new(false, false);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    output.lines(&[
        format!(
            "{BOLD}AF_XDP demonstration{BOLD:#}: real packets through the Linux {} kernel,",
            kernel.trim()
        ),
        "over two veth pairs in network namespaces made for it. Nothing else is touched.".to_owned(),
        String::new(),
        "  sender ═══ fwd-in   xsk forward   fwd-out ═══ receiver".to_owned(),
    ])?;
    for (flag, title) in MODES {
        if stop.is_asked() {
            break;
        }
        output.lines(&[String::new(), format!("{BOLD}{title}{BOLD:#}")])?;
        Mode { flag, stop, output: &mut output }.run()?;
    }
    output.lines(&[String::new(), HINT.to_owned()])
}

/// The demonstration in one mode.
struct Mode<'a> {
    flag: &'static str,
    stop: &'a Stop,
    output: &'a mut Output,
}

/// The network that it runs on.
struct Network {
    left: Namespace,
    middle: Namespace,
    right: Namespace,
}

impl Network {
    fn new() -> Result<Self, xsk_veth::Error> {
        let [left, middle, right] = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        for (near, name, far, far_name) in
            [(&left, "sender", &middle, "fwd-in"), (&middle, "fwd-out", &right, "receiver")]
        {
            VethPair::builder(near, far).a(|end| end.name(name)).b(|end| end.name(far_name)).build()?;
        }
        Ok(Self { left, middle, right })
    }
}

impl Mode<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        self.output.passing("  setting up ...")?;
        let network = Network::new()
            .map_err(|e| Failure::cannot_run(format!("cannot make a network for the demonstration: {e}")))?;
        let forwarder = self.start(&network.middle, &["forward", "fwd-in", "fwd-out"])?;

        let receiver = self.start(&network.right, &["drop", "receiver"])?;
        let sender = self.start(&network.left, &["flood", "sender", "--duration", "2"])?;
        self.follow(&sender, &receiver)?;
        let sender = sender.end()?.0;
        // The last packets are still on their way.
        std::thread::sleep(Duration::from_millis(50));
        let receiver = receiver.end()?.0;
        let forwarder = forwarder.end()?.0;

        self.output.passing("  measuring latency ...")?;
        let quiet_forwarder = self.start(&network.middle, &["forward", "fwd-in", "fwd-out"])?;
        let reflector = self.start(&network.right, &["forward", "receiver"])?;
        let pinger = self.start(&network.left, &["ping", "sender", "--count", "500"])?;
        let (_, trips) = pinger.join()?;
        reflector.end()?;
        quiet_forwarder.end()?;

        let elapsed = sender.elapsed;
        let rows: Vec<_> =
            [&sender, &forwarder, &receiver].into_iter().flat_map(|outcome| outcome.ports.clone()).collect();
        let mut lines = table_lines(&rows, elapsed, Directions { rx: true, tx: true });
        if let Some(drops) = drops_line(&rows) {
            lines.extend([
                drops,
                "  (the sender sends all it can, also more than the others can take)".to_owned(),
            ]);
        }
        lines.extend(trips.map(|text| format!("  round trip through the forwarder: {text}")));
        self.output.lines(&lines)
    }

    /// Shows the receiver's rate while the sender sends.
    fn follow(&mut self, sender: &Role, receiver: &Role) -> Result<(), Failure> {
        let mut rate = None;
        while !sender.thread.is_finished() {
            if self.stop.is_asked() {
                sender.stop.ask();
            }
            rate = receiver.live.try_iter().last().or(rate);
            let shown = rate.map_or("...".to_owned(), |pps| si_unit(pps, "pps"));
            self.output.passing(&format!("  flooding for two seconds, received {shown}"))?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Runs a command of this tool in a namespace, on a thread, and returns once it is ready.
    fn start(&self, namespace: &Namespace, words: &[&str]) -> Result<Role, Failure> {
        let line = ["xsk"].iter().chain(words).copied().chain([self.flag]);
        let cli = Cli::try_parse_from(line).map_err(|e| Failure::usage(e.to_string()))?;
        let stop = Stop::default();
        let (asked, (ready, is_ready), (rates, live)) = (stop.clone(), channel(), channel());
        let thread = namespace.spawn(move || {
            let mut watch = Follower { ready, rates };
            match &cli.command {
                Some(Command::Forward(options)) => {
                    forward::run(options, &asked, &mut watch).map(|o| (o, None))
                }
                Some(Command::Drop(options)) => drop::run(options, &asked, &mut watch).map(|o| (o, None)),
                Some(Command::Flood(options)) => flood::run(options, &asked, &mut watch).map(|o| (o, None)),
                Some(Command::Ping(options)) => {
                    ping::run(options, &asked, &mut watch).map(|(o, trips)| (o, Some(trips.brief())))
                }
                _ => Err(Failure::usage("no part of the demonstration")),
            }
        });
        let role = Role { thread, stop, live };
        match is_ready.recv() {
            Ok(()) => Ok(role),
            // It ended before it was ready: the error is its result.
            Err(_) => role
                .join()
                .and_then(|_| Err(Failure::running_text("a part of the demonstration ended early"))),
        }
    }
}

/// A command that runs on a thread.
struct Role {
    thread: JoinHandle<Result<(Outcome, Option<String>), Failure>>,
    stop: Stop,
    /// Packets received per second, each second.
    live: Receiver<f64>,
}

impl Role {
    fn end(self) -> Result<(Outcome, Option<String>), Failure> {
        self.stop.ask();
        self.join()
    }

    fn join(self) -> Result<(Outcome, Option<String>), Failure> {
        let joined =
            self.thread.join().map_err(|_| Failure::running_text("a part of the demonstration panicked"))?;
        let (mut outcome, trips) = joined?;
        outcome.failure.take().map_or(Ok((outcome, trips)), Err)
    }
}

/// Tells the main thread how a role goes.
struct Follower {
    ready: Sender<()>,
    rates: Sender<f64>,
}

impl Watch for Follower {
    fn ready(&mut self, _: &str, _: Value) -> io::Result<()> {
        // The main thread listens, or has failed and listens to nothing any more.
        let _ = self.ready.send(());
        Ok(())
    }

    fn live(&mut self, _: &str, value: Value) -> io::Result<()> {
        if let Some(pps) = value["rx_pps"].as_f64() {
            let _ = self.rates.send(pps);
        }
        Ok(())
    }
}
