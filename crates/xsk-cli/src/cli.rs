//! The command line.

use std::net::Ipv4Addr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use xsk::backend::PageSize;
use xsk::config::FrameSize;

use crate::failure::EXIT_CODES;
use crate::values::{
    Cpus, Side, Target, cpus, duration, frame_size, frames, mac, quantity, side, snap_length, speed, target,
    threads,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  xsk                            demonstration over private veth pairs
  xsk info                       interfaces, and what is missing to run
  xsk forward eth1 eth2          forward between two interfaces, all queues
  xsk drop eth1:0 --duration 10  receive and drop on queue 0 for 10 seconds
  xsk flood eth1 --rate 1M       send a million frames per second
  xsk capture eth1 in.pcap       what eth1 receives, to a file
  xsk replay in.pcap eth1        and out again, as fast as it came
  xsk ping eth1 --count 1000     latency against `xsk forward IF` at the other end";

const FORWARD_EXAMPLES: &str = "\
xsk forward eth1 eth2 --native
  xsk forward eth1 eth2 --threads 4 --cpus 2-5
  xsk forward eth1 --skb   # reflector for `xsk ping`
  xsk forward sim:in.pcap sim:out.pcap";

const CAPTURE_EXAMPLES: &str = "\
xsk capture eth1 in.pcap --count 1000
  xsk capture eth1:0 - --snap-length 128 | tcpdump -r -
  xsk capture eth1 passing.pcapng --wire eth2";

const REPLAY_EXAMPLES: &str = "\
xsk replay in.pcap eth1
  xsk replay in.pcap eth1 --multiplier 10 --loop 100
  xsk replay in.pcap eth1:2 --topspeed
  xsk capture eth1 - | xsk replay - eth2";

const TAKES: &str = "\
While it runs, the packets that the interface receives on these queues come here and not to the network stack: not on
the interface you are logged in by. Afterwards the XDP program is detached and all is as before, also after kill -9.";

const TARGET: &str = "\
IF is an interface (all its queues) or interface:queue, as in eth1 or eth1:0. Rates count Ethernet frames without FCS.";

/// AF_XDP at work: forward, drop, flood, ping, capture and replay packets between user space and the driver.
///
/// Without a command it runs a demonstration: real packets over private veth pairs, or, where that is not possible, on
/// a simulated kernel.
#[derive(Debug, Parser)]
#[command(name = "xsk", version, styles = STYLES, after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{TARGET}\n{TAKES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forward packets between two interfaces, or reflect them on one with the MAC addresses swapped.
    ///
    /// What queue i of one interface receives is sent from queue i of the other (modulo its number of queues).
    /// A network card keeps frames for foreign addresses to itself unless told otherwise:
    /// `ip link set IF promisc on`.
    ///
    /// With sim:FILE for both, it runs on a simulated kernel, without privilege: what a capture (pcap or pcapng)
    /// holds comes in, and what goes out is written to the other (pcapng if its name ends so). The same input gives
    /// the same output, byte for byte. Time is the capture's: nothing is waited for, and --duration means its time.
    #[command(verbatim_doc_comment, after_help = example(FORWARD_EXAMPLES),
        after_long_help = example_long(FORWARD_EXAMPLES))]
    Forward(Forward),
    /// Receive packets and drop them.
    #[command(after_help = example("xsk drop eth1 --zero-copy --threads\n  xsk drop eth1:0 --count 1M --json"),
        after_long_help = example_long("xsk drop eth1 --zero-copy --threads\n  xsk drop eth1:0 --count 1M --json"))]
    Drop(Drop),
    /// Send frames as fast as possible, or at a rate.
    ///
    /// By default frames of the EtherType 0x88b5, which no network stack answers; with --udp, UDP over IPv4
    /// with correct checksums. The interface's own traffic goes on.
    #[command(verbatim_doc_comment, after_help = example("xsk flood eth1 --dst-mac 52:54:00:12:34:56 --rate 1M\n  xsk flood eth1 --udp --dst-ip 10.0.0.2 --flows 64 --size 1514"),
        after_long_help = example_sends("xsk flood eth1 --dst-mac 52:54:00:12:34:56 --rate 1M\n  xsk flood eth1 --udp --dst-ip 10.0.0.2 --flows 64 --size 1514"))]
    Flood(Flood),
    /// Measure round trips to a reflector (`xsk forward IF` at the other end): percentiles.
    #[command(after_help = example("xsk ping eth1 --count 10k --interval 1ms\n  xsk ping eth1 --busy-poll"),
        after_long_help = example_long("xsk ping eth1 --count 10k --interval 1ms\n  xsk ping eth1 --busy-poll"))]
    Ping(Ping),
    /// Write what an interface receives to a file (pcap; pcapng if its name ends so; `-` for standard output).
    ///
    /// Other than tcpdump's, this capture takes the packets: the network stack does not get them, and XDP cannot give
    /// them to both. To watch traffic that goes on, let it pass through: --wire forwards between the interface and
    /// another one, both ways, and captures what passes. What the interface itself sends is not captured. Times are
    /// those of the moment when the packets are taken from the ring.
    ///
    /// With sim:FILE for the interface, that capture comes in on a simulated kernel, without privilege.
    #[command(verbatim_doc_comment, after_help = example(CAPTURE_EXAMPLES),
        after_long_help = example_long(CAPTURE_EXAMPLES))]
    Capture(Capture),
    /// Send the packets of a file (pcap or pcapng of Ethernet) from an interface, with the gaps that they have there.
    ///
    /// What comes from standard input is sent as it comes, and at the pace that its times say, from the first packet
    /// on.
    ///
    /// From queue 0 if none is named, so that their order stays. What is too long for the interface is left out and
    /// counted. The interface's own traffic goes on.
    ///
    /// With sim:FILE for the interface, they are sent on a simulated kernel, and what comes out is written to that
    /// file.
    #[command(verbatim_doc_comment, after_help = example(REPLAY_EXAMPLES),
        after_long_help = example_sends(REPLAY_EXAMPLES))]
    Replay(Replay),
    /// Show an interface's queues, driver, XDP program and abilities, and what is missing to run.
    #[command(after_help = "Exit code 0 if AF_XDP can run here (on the interface, if one is named), else 3.")]
    Info(Info),
}

fn example(text: &str) -> String {
    format!("Examples:\n  {text}")
}

fn example_long(text: &str) -> String {
    format!("Examples:\n  {text}\n\n{TARGET}\n{TAKES}\n\n{EXIT_CODES}")
}

/// Of a command that only sends.
fn example_sends(text: &str) -> String {
    format!("Examples:\n  {text}\n\n{TARGET}\n\n{EXIT_CODES}")
}

#[derive(Debug, Args)]
pub(crate) struct Forward {
    /// The first interface, or the capture to read: sim:FILE.
    #[arg(value_name = "IF", value_parser = side)]
    pub(crate) a: Side,
    /// The second interface, or the capture to write; without it, packets are reflected.
    #[arg(value_name = "IF2", value_parser = side)]
    pub(crate) b: Option<Side>,
    #[command(flatten)]
    pub(crate) threads: ThreadOptions,
    #[command(flatten)]
    pub(crate) sockets: SocketOptions,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Drop {
    /// The interface.
    #[arg(value_name = "IF", value_parser = target)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) threads: ThreadOptions,
    #[command(flatten)]
    pub(crate) sockets: SocketOptions,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Flood {
    /// The interface.
    #[arg(value_name = "IF", value_parser = target)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) frames: FrameOptions,
    /// Frames per second, over all queues; without it, as many as possible.
    #[arg(long, value_name = "PPS", value_parser = quantity)]
    pub(crate) rate: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: ThreadOptions,
    #[command(flatten)]
    pub(crate) sockets: SocketOptions,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// What `flood` sends.
#[derive(Debug, Args)]
#[command(next_help_heading = "Frames")]
pub(crate) struct FrameOptions {
    /// Bytes of a frame: Ethernet header included, without the 4 bytes of FCS.
    #[arg(long, value_name = "BYTES", default_value_t = 60)]
    pub(crate) size: usize,
    /// Destination address; a card drops frames for others, unless it is promiscuous.
    #[arg(long, value_name = "MAC", value_parser = mac, default_value = "02:00:00:00:00:02")]
    pub(crate) dst_mac: [u8; 6],
    /// Source address; by default the interface's own.
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub(crate) src_mac: Option<[u8; 6]>,
    /// Send UDP over IPv4.
    #[arg(long)]
    pub(crate) udp: bool,
    /// Source address of --udp.
    #[arg(long, value_name = "IP", default_value = "198.18.0.1", requires = "udp")]
    pub(crate) src_ip: Ipv4Addr,
    /// Destination address of --udp.
    #[arg(long, value_name = "IP", default_value = "198.18.0.2", requires = "udp")]
    pub(crate) dst_ip: Ipv4Addr,
    /// Destination port of --udp.
    #[arg(long, value_name = "PORT", default_value_t = 9, requires = "udp")]
    pub(crate) dst_port: u16,
    /// Source port of --udp.
    #[arg(long, value_name = "PORT", default_value_t = 1024, requires = "udp")]
    pub(crate) src_port: u16,
    /// Source ports of --udp in turn, so that a receiver spreads them over its queues.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "udp", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) flows: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The interface.
    #[arg(value_name = "IF", value_parser = target)]
    pub(crate) target: Target,
    /// Time between two requests.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1ms")]
    pub(crate) interval: Duration,
    /// A request without a reply for so long is lost.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub(crate) timeout: Duration,
    /// Destination address; broadcast by default.
    #[arg(long, value_name = "MAC", value_parser = mac, default_value = "ff:ff:ff:ff:ff:ff")]
    pub(crate) dst_mac: [u8; 6],
    /// Bytes of a frame: Ethernet header included, without the 4 bytes of FCS.
    #[arg(long, value_name = "BYTES", default_value_t = 60)]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) sockets: SocketOptions,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Capture {
    /// The interface; or a capture to read: sim:FILE.
    #[arg(value_name = "IF", value_parser = side)]
    pub(crate) from: Side,
    /// The file to write, or `-`; what it held is lost. --count packets are written exactly.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Forward between the interface and this one, and capture what passes, both ways.
    #[arg(long, value_name = "IF2", value_parser = target)]
    pub(crate) wire: Option<Target>,
    /// Bytes of each packet that are written at most. [default: all]
    #[arg(long, value_name = "BYTES", value_parser = snap_length)]
    pub(crate) snap_length: Option<usize>,
    #[command(flatten)]
    pub(crate) sockets: SocketOptions,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The file to read, or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The interface; or a capture to write: sim:FILE.
    #[arg(value_name = "IF", value_parser = side)]
    pub(crate) to: Side,
    /// So many times as fast as it was captured.
    #[arg(long, value_name = "X", value_parser = speed, default_value = "1")]
    pub(crate) multiplier: f64,
    /// As fast as it goes, without the gaps.
    #[arg(long, conflicts_with = "multiplier")]
    pub(crate) topspeed: bool,
    /// Replay it so many times, one after the other; 0: until it is stopped.
    #[arg(long = "loop", value_name = "N", default_value_t = 1)]
    pub(crate) rounds: u64,
    #[command(flatten)]
    pub(crate) sockets: SocketOptions,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The interface; without it, all of them in brief.
    #[arg(value_name = "IF", value_parser = target)]
    pub(crate) target: Option<Target>,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// On how many threads.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Threads")]
pub(crate) struct ThreadOptions {
    /// A thread for each queue, or N threads that have the queues in turn. [default: one thread for all]
    ///
    /// What leaves by one queue is with one thread: between interfaces, each direction of a queue counts as one.
    #[arg(long, value_name = "N", num_args = 0..=1, value_parser = threads)]
    pub(crate) threads: Option<Option<NonZeroUsize>>,
    /// CPUs that the threads are bound to in turn, as in 2-5,8.
    #[arg(long, value_name = "LIST", requires = "threads", value_parser = cpus)]
    pub(crate) cpus: Option<Cpus>,
}

/// How sockets are opened.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sockets")]
pub(crate) struct SocketOptions {
    /// Copy mode: every driver can. [default: zero copy if the driver can]
    #[arg(long, conflicts_with = "zero_copy")]
    pub(crate) copy: bool,
    /// Zero-copy mode; an error where the driver has none.
    #[arg(long)]
    pub(crate) zero_copy: bool,
    /// XDP program in the network stack: every driver can. [default: native if the driver can]
    #[arg(long, conflicts_with = "native")]
    pub(crate) skb: bool,
    /// XDP program in the driver; an error where it cannot.
    #[arg(long)]
    pub(crate) native: bool,
    /// Bind without XDP_USE_NEED_WAKEUP: a zero-copy driver never sleeps.
    #[arg(long)]
    pub(crate) no_need_wakeup: bool,
    /// Packets of several frames (XDP_USE_SG, Linux 6.6), for large MTUs.
    #[arg(long)]
    pub(crate) multi_buffer: bool,
    /// Poll the device from this thread instead of sleeping (SO_BUSY_POLL) [20].
    #[arg(long, value_name = "US", num_args = 0..=1, require_equals = true, default_missing_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(crate) busy_poll: Option<u32>,
    /// Packets that are moved at a time; those that are received, in steps of 64.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub(crate) batch: u32,
    /// Bytes of a UMEM frame: 2048 or 4096; a packet has 256 less.
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = frame_size)]
    pub(crate) frame_size: FrameSize,
    /// Frames of the UMEM, for all queues together. [default: enough]
    #[arg(long, value_name = "N", value_parser = frames)]
    pub(crate) frames: Option<NonZeroU32>,
    /// UMEM on huge pages.
    #[arg(long, value_name = "SIZE")]
    pub(crate) huge_pages: Option<HugePages>,
}

impl SocketOptions {
    pub(crate) fn pages(&self) -> PageSize {
        match self.huge_pages {
            None => PageSize::Normal,
            Some(HugePages::TwoMiB) => PageSize::Huge2M,
            Some(HugePages::OneGiB) => PageSize::Huge1G,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum HugePages {
    #[value(name = "2M")]
    TwoMiB,
    #[value(name = "1G")]
    OneGiB,
}

/// When it ends, and what it prints.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunOptions {
    /// End after so many packets (with k, M or G), or up to a batch more. [default: on Ctrl-C]
    #[arg(long, value_name = "N", value_parser = quantity)]
    pub(crate) count: Option<u64>,
    /// End after this time, as in 10s or 500ms. [default: on Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Print JSON: an object per line when ready, each second, and at the end.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print a line each second also when the output is no terminal.
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
