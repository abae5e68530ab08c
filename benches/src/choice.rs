//! Where a benchmark is to run, as the environment says.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `XSK_BENCH_IF` | the interface to measure, of the network namespace that the benchmark runs in | a veth pair of its own |
//! | `XSK_BENCH_PEER` | the interface at the other end of its cable, on this machine: it sends the packets | none: only sending is measured |
//! | `XSK_BENCH_QUEUE` | the queue of both | 0 |
//! | `XSK_BENCH_MODE` | `copy` or `zero-copy` | `copy` |
//! | `XSK_BENCH_XDP` | where the XDP program runs: `native` or `skb` | `native` |

use std::error::Error;
use std::fmt;

use xsk::config::{BindFlags, XdpFlags};

/// The environment asks for something that cannot be.
#[derive(Debug)]
pub struct BadChoice(pub(crate) String);

impl fmt::Display for BadChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for BadChoice {}

/// How sockets are bound and programs attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Zero copy instead of copy mode.
    pub zero_copy: bool,
    /// The program in the stack instead of in the driver.
    pub skb: bool,
}

impl Mode {
    /// Copy mode, the program in the driver: what veth has.
    pub const VETH: Self = Self { zero_copy: false, skb: false };

    /// To bind with.
    pub fn bind_flags(self) -> BindFlags {
        BindFlags::XDP_USE_NEED_WAKEUP
            | if self.zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY }
    }

    /// To attach with.
    pub fn xdp_flags(self) -> XdpFlags {
        if self.skb { XdpFlags::XDP_FLAGS_SKB_MODE } else { XdpFlags::XDP_FLAGS_DRV_MODE }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.zero_copy { "zero copy" } else { "copy mode" })?;
        f.write_str(if self.skb { ", XDP in SKB mode" } else { ", XDP in native mode" })
    }
}

/// An interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name.
    pub interface: String,
    /// The one at the other end.
    pub peer: Option<String>,
    /// The queue of both.
    pub queue: u32,
    /// How.
    pub mode: Mode,
}

const PREFIX: &str = "XSK_BENCH_";
const INTERFACE: &str = "XSK_BENCH_IF";
const NAMES: [&str; 5] = [INTERFACE, "XSK_BENCH_PEER", "XSK_BENCH_QUEUE", "XSK_BENCH_MODE", "XSK_BENCH_XDP"];

impl Choice {
    /// What the environment says; `None` if nothing.
    ///
    /// # Errors
    /// A name or a value that nothing is known of, or values that contradict each other.
    pub fn from_environment() -> Result<Option<Self>, BadChoice> {
        Self::from_variables(
            std::env::vars_os().map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            }),
        )
    }

    /// The same of any variables.
    ///
    /// # Errors
    /// As [`from_environment`](Self::from_environment).
    pub fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Option<Self>, BadChoice> {
        let ours: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        if let Some((name, _)) = ours.iter().find(|(name, _)| !NAMES.contains(&name.as_str())) {
            return Err(BadChoice(format!("{name}: there is no such variable, but {}", NAMES.join(", "))));
        }
        let value = |wanted: &str| {
            ours.iter()
                .find(|(name, value)| name == wanted && !value.is_empty())
                .map(|(_, value)| value.as_str())
        };
        let [_, peer, queue, mode, xdp] = NAMES;
        let Some(interface) = value(INTERFACE) else {
            return match NAMES.into_iter().find(|name| value(name).is_some()) {
                Some(name) => {
                    Err(BadChoice(format!("{name} is set, but not {INTERFACE}, which it is about")))
                }
                None => Ok(None),
            };
        };
        let one_of = |name: &str, [default, other]: [&str; 2]| match value(name) {
            None => Ok(false),
            Some(value) if value == default => Ok(false),
            Some(value) if value == other => Ok(true),
            Some(value) => Err(BadChoice(format!("{name}={value}: expected {default} or {other}"))),
        };
        let mode =
            Mode { zero_copy: one_of(mode, ["copy", "zero-copy"])?, skb: one_of(xdp, ["native", "skb"])? };
        if mode.zero_copy && mode.skb {
            return Err(BadChoice("zero copy needs the XDP program in native mode".to_owned()));
        }
        let queue = value(queue).map_or(Ok(0), |number| {
            let error = || BadChoice(format!("{queue}={number}: expected the number of a queue"));
            number.parse().map_err(|_| error())
        })?;
        let peer = value(peer).map(str::to_owned);
        if peer.as_deref() == Some(interface) {
            return Err(BadChoice(format!("{interface} cannot be its own peer")));
        }
        Ok(Some(Self { interface: interface.to_owned(), peer, queue, mode }))
    }
}
