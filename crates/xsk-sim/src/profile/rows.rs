//! The rows of the profiles by name, and how each is known.

use std::fmt;

use super::{InvalidTx, LaunchTime, Profile, QueueState, SHARED_INFO, TxPublish};

/// How it is known that a kernel behaves as a row of its profile says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Basis {
    /// Seen on a running kernel of this very version, which the simulator is compared with.
    Verified,
    /// Seen on a kernel of this very version, by a probe.
    Measured,
    /// Read in its source.
    Source,
    /// Nobody looked: the default's.
    Assumed,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::Measured => "measured",
            Self::Source => "from source",
            Self::Assumed => "assumed",
        })
    }
}

/// A behaviour that is not the same on all kernels, and which one a kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// What it is about.
    pub name: &'static str,
    /// What this kernel does; empty if it has nothing of the kind.
    pub value: String,
    /// How that is known; `None` if this kernel has nothing of the kind.
    pub basis: Option<Basis>,
}

/// How a row is known, by kernel, in the order of [`Profile::ALL`].
type Bases = [Option<Basis>; 5];

struct Definition {
    name: &'static str,
    value: fn(&Profile) -> String,
    bases: Bases,
}

const V: Option<Basis> = Some(Basis::Verified);
const M: Option<Basis> = Some(Basis::Measured);
const S: Option<Basis> = Some(Basis::Source);
const A: Option<Basis> = Some(Basis::Assumed);

/// On every kernel, each of which was looked at.
const EVERYWHERE: Bases = [M, V, M, M, M];
/// As [`EVERYWHERE`], of what came with packets of several buffers or with TX metadata.
const NEWER: Bases = [M, V, M, None, None];

const fn row(name: &'static str, bases: Bases, value: fn(&Profile) -> String) -> Definition {
    Definition { name, value, bases }
}

fn either(which: bool, yes: &str, no: &str) -> String {
    if which { yes } else { no }.to_owned()
}

/// Every row: set-up, receiving, polling, transmitting.
static ROWS: &[Definition] = &[
    row("layout of a ring", EVERYWHERE, |p| {
        format!("flags at {}, descriptors at {}", p.flags_offset, p.descriptors_offset)
    }),
    row("largest ring", EVERYWHERE, |p| match p.max_ring_entries {
        Some([rx_tx, umem]) => format!("{rx_tx} entries (RX, TX), {umem} (fill, completion)"),
        None => "as memory allows".to_owned(),
    }),
    row("mapped of a ring, at most", EVERYWHERE, |p| {
        either(p.maps_whole_blocks, "its pages, rounded up to a power of two", "its pages")
    }),
    row("mmap of a bound socket's rings", EVERYWHERE, |p| either(p.maps_rings_of_bound, "works", "EBUSY")),
    row("SO_BUSY_POLL, raised without CAP_NET_ADMIN", EVERYWHERE, |p| {
        either(p.busy_poll_needs_admin, "EPERM", "works")
    }),
    row("SO_PREFER_BUSY_POLL, SO_BUSY_POLL_BUDGET", EVERYWHERE, |p| {
        either(p.has_prefer_busy_poll, "there", "ENOPROTOOPT")
    }),
    row("SO_SNDBUF and SO_RCVBUF, at most", EVERYWHERE, |p| format!("2 * {} bytes", p.max_buffer)),
    row("what a packet of 60 bytes counts in SO_SNDBUF", [A, V, A, A, A], |_| {
        format!("{} bytes", crate::skb::truesize(60))
    }),
    row("flags of a UMEM", EVERYWHERE, |p| {
        either(p.has_tx_metadata, "unaligned chunks, checksums, metadata length", "unaligned chunks")
    }),
    row("headroom of a UMEM, at most", EVERYWHERE, |p| format!("chunk size - {}", p.headroom_reserve)),
    row("TX metadata of a UMEM, at least", NEWER, |p| format!("{} bytes", p.min_tx_metadata)),
    row("XDP_MAX_TX_SKB_BUDGET", EVERYWHERE, |p| either(p.tx_budget_settable, "there", "ENOPROTOOPT")),
    row("bind with XDP_USE_SG", EVERYWHERE, |p| either(p.has_sg, "works", "EINVAL")),
    row("failed bind with XDP_USE_SG", NEWER, |p| {
        either(p.failed_bind_keeps_sg, "marks the UMEM", "leaves no mark")
    }),
    row("socket without an RX ring, into an XSKMAP", EVERYWHERE, |p| {
        either(p.map_needs_rx, "ENOBUFS", "works")
    }),
    row("packet for a socket without an RX ring", [None, A, M, M, M], |p| {
        either(p.map_needs_rx, "", "crash")
    }),
    row("packet for an unbound socket in an XSKMAP, SKB mode", EVERYWHERE, |p| {
        either(p.unbound_generic_crashes, "crash", "dropped")
    }),
    row("options of an RX descriptor", EVERYWHERE, |p| {
        either(p.clears_rx_options, "written", "left as they were")
    }),
    row("several buffers, too few valid fill entries", [M, A, M, None, None], |p| {
        either(p.short_sg_fill_crashes, "crash", "dropped")
    }),
    row("several buffers, a chunk twice in the fill ring", NEWER, |p| {
        either(p.refuses_duplicate_sg, "dropped", "delivered")
    }),
    row("packet longer than a page, veth in native mode", [M, V, M, M, S], |p| {
        either(p.native_takes_one_page, "dropped", "received")
    }),
    row("recvmsg", EVERYWHERE, |p| either(p.has_recvmsg, "works", "EOPNOTSUPP")),
    row("poll transmits", EVERYWHERE, |p| {
        either(p.poll_always_transmits, "always", "if bound with XDP_USE_NEED_WAKEUP")
    }),
    row("poll while the device is down", EVERYWHERE, |p| {
        either(p.poll_sees_device_down, "nothing is ready", "as if it were up")
    }),
    row("sendto that would block, device down", EVERYWHERE, |p| {
        either(p.sendmsg_checks_device_last, "EOPNOTSUPP", "ENETDOWN")
    }),
    row("TX descriptor of length 0", EVERYWHERE, |p| either(p.takes_empty_tx, "valid", "invalid")),
    row("options of a TX descriptor", EVERYWHERE, |p| {
        either(p.takes_empty_tx, "none", "more to come, metadata")
    }),
    row("invalid TX descriptor", EVERYWHERE, |p| {
        match p.invalid_tx {
            InvalidTx::Skip => "passed over, never completed",
            InvalidTx::Lose => "ends the pass, never completed",
            InvalidTx::Complete => "ends the pass, completed, and what is left of its packet",
        }
        .to_owned()
    }),
    row("packet of more than 18 TX descriptors", NEWER, |p| {
        let all = p.invalid_tx == InvalidTx::Complete;
        either(all, "all invalid", "18 invalid, the others a packet of their own")
    }),
    row("TX consumer index published", EVERYWHERE, |p| {
        match p.tx_publish {
            TxPublish::WhenEmpty => "when the ring looks empty",
            TxPublish::WhenMoved => "after a pass that took descriptors",
        }
        .to_owned()
    }),
    row("sendto, completion ring full", EVERYWHERE, |p| either(p.full_completion_is_error, "EAGAIN", "0")),
    row("sendto, completion ring and send buffer full", [M, V, M, S, S], |p| {
        either(p.full_completion_is_error || p.builds_before_reserving, "EAGAIN", "0")
    }),
    row("bit 0 of a completed address", EVERYWHERE, |p| {
        either(p.completion_clears_bit_0, "lost, of a packet's first descriptor", "kept")
    }),
    row("completed address is written", EVERYWHERE, |p| {
        either(p.completion_written_at_reservation, "when its place is reserved", "at completion")
    }),
    row("refused TX metadata", NEWER, |p| {
        either(p.bad_metadata_completes, "completes the descriptor each time", "completes nothing")
    }),
    row("launch time in TX metadata", NEWER, |p| {
        match p.launch_time {
            LaunchTime::Unknown => "EINVAL",
            LaunchTime::Any => "works",
            LaunchTime::NeedsRoom => "works with 24 bytes of metadata",
        }
        .to_owned()
    }),
    row("refused TX descriptor, zero copy", [M, S, A, A, A], |p| {
        let completes =
            "ends the batch, completed with its packet, but where sockets share the queue without XDP_USE_SG";
        either(p.zero_copy_completes_refused, completes, "ends the batch, never completed")
    }),
    row("whether a queue has a socket", EVERYWHERE, |p| {
        match p.queue_state {
            QueueState::NoFamily => "ENOENT: there is no netdev family",
            QueueState::Silent => "not told",
            QueueState::Told => "told",
        }
        .to_owned()
    }),
    row("what a driver says of XDP", EVERYWHERE, |p| either(p.tells_features, "told", "not told")),
    row("SO_INCOMING_NAPI_ID, veth in native mode", EVERYWHERE, |p| {
        either(p.learns_napi_id, "that of the first packet", "0")
    }),
    row("tx_ring_empty_descs", [M, V, M, M, A], |_| "each time a pass finds the ring empty".to_owned()),
];

// A default that changes its reserve has to be looked at here: the rows say where it comes from.
const _: () = assert!(Profile::LINUX_6_18.headroom_reserve == 256 + SHARED_INFO + 128);

impl Profile {
    /// What of this kernel is not the same on all kernels, and how that is known.
    ///
    /// ```
    /// use xsk_sim::{Basis, Profile};
    ///
    /// let rows = Profile::LINUX_6_1.rows();
    /// let budget = rows.iter().find(|row| row.name == "XDP_MAX_TX_SKB_BUDGET").unwrap();
    /// assert_eq!((&*budget.value, budget.basis), ("ENOPROTOOPT", Some(Basis::Measured)));
    /// ```
    pub fn rows(&self) -> Vec<Row> {
        let column = Self::ALL.iter().position(|profile| profile.name == self.name);
        let of = |row: &Definition| {
            let basis = column.and_then(|column| row.bases[column]);
            let value = if basis.is_some() { (row.value)(self) } else { String::new() };
            Row { name: row.name, value, basis }
        };
        ROWS.iter().map(of).collect()
    }

    /// The rows that nobody looked at on this kernel: they are the default's.
    pub fn unmeasured(&self) -> Vec<&'static str> {
        let rows = self.rows().into_iter();
        rows.filter(|row| row.basis == Some(Basis::Assumed)).map(|row| row.name).collect()
    }
}
