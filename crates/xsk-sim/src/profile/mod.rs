//! What differs between kernels.
//!
//! A [`Profile`] is a named kernel, and for each behaviour that user space can see and that changed, which one it has. The
//! default is [`Profile::LINUX_6_18`], the one that is checked against a running kernel. The rows of the others say
//! themselves how they are known ([`Profile::rows`]); what is between the rows (an old kernel's behaviour that nobody asked
//! about) is the default's.

mod rows;

pub use rows::{Basis, Row};
use xsk_core::abi::xdp_ring_offset;

use crate::shared::RingShape;

/// What the transmit pass does with a descriptor that it refuses (`net/xdp/xsk_queue.h:xskq_cons_read_desc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidTx {
    /// Skips it and goes on; its frame never comes back.
    Skip,
    /// Takes it and ends the pass; its frame never comes back. What is left of its packet becomes a packet of its own.
    Lose,
    /// Takes it, completes it, ends the pass, and completes what is left of its packet.
    Complete,
}

/// When the transmit pass publishes its consumer index, besides when the ring looks empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TxPublish {
    /// Only then.
    WhenEmpty,
    /// At its end, if it moved.
    WhenMoved,
}

/// How the kernel takes TX metadata that asks for a launch time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaunchTime {
    /// It does not know the flag.
    Unknown,
    /// With any length of metadata.
    Any,
    /// With 24 bytes of metadata or more.
    NeedsRoom,
}

/// How the kernel answers whether a queue has a socket (`net/core/netdev-genl.c:netdev_nl_queue_get_doit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueState {
    /// There is no netdev family to ask.
    NoFamily,
    /// It names the queue, and no socket on it.
    Silent,
    /// It says so.
    Told,
}

/// The behaviours of one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Which kernel it is: of the release, the very version that was measured.
    pub name: &'static str,
    pub(crate) flags_offset: u64,
    pub(crate) descriptors_offset: u64,
    pub(crate) max_ring_entries: Option<[u32; 2]>,
    pub(crate) tx_budget: u32,
    pub(crate) tx_budget_settable: bool,
    pub(crate) has_recvmsg: bool,
    pub(crate) has_prefer_busy_poll: bool,
    pub(crate) busy_poll_needs_admin: bool,
    pub(crate) poll_always_transmits: bool,
    pub(crate) poll_sees_device_down: bool,
    pub(crate) sendmsg_checks_device_last: bool,
    pub(crate) maps_rings_of_bound: bool,
    /// The memory of a ring is a power of two of pages, all of which may be mapped.
    pub(crate) maps_whole_blocks: bool,
    pub(crate) has_sg: bool,
    pub(crate) clears_rx_options: bool,
    pub(crate) takes_empty_tx: bool,
    pub(crate) invalid_tx: InvalidTx,
    pub(crate) tx_publish: TxPublish,
    pub(crate) full_completion_is_error: bool,
    /// The send buffer is looked at before the completion ring.
    pub(crate) builds_before_reserving: bool,
    pub(crate) completion_clears_bit_0: bool,
    pub(crate) completion_written_at_reservation: bool,
    pub(crate) has_tx_metadata: bool,
    pub(crate) bad_metadata_completes: bool,
    /// Zero copy completes what it refuses, and packets of too many descriptors.
    pub(crate) zero_copy_completes_refused: bool,
    pub(crate) min_tx_metadata: u32,
    pub(crate) launch_time: LaunchTime,
    pub(crate) headroom_reserve: u32,
    /// `net.core.wmem_max` and `rmem_max`, in bytes.
    pub(crate) max_buffer: u32,
    pub(crate) map_needs_rx: bool,
    pub(crate) refuses_duplicate_sg: bool,
    pub(crate) failed_bind_keeps_sg: bool,
    pub(crate) short_sg_fill_crashes: bool,
    pub(crate) unbound_generic_crashes: bool,
    /// A veth in native mode drops what does not fit a page.
    pub(crate) native_takes_one_page: bool,
    pub(crate) queue_state: QueueState,
    /// The kernel tells what a driver says of XDP.
    pub(crate) tells_features: bool,
    /// A packet of a NAPI gives its socket that one's id, of veth in native mode.
    pub(crate) learns_napi_id: bool,
}

/// Bytes behind the data of a socket buffer's head: `sizeof(struct skb_shared_info)`, aligned.
pub(crate) const SHARED_INFO: u32 = 320;

impl Profile {
    /// Linux 6.18.44.
    pub const LINUX_6_18: Self = Self {
        name: "Linux 6.18.44",
        flags_offset: 196,
        descriptors_offset: 320,
        max_ring_entries: None,
        tx_budget: 32,
        tx_budget_settable: true,
        has_recvmsg: true,
        has_prefer_busy_poll: true,
        busy_poll_needs_admin: false,
        poll_always_transmits: true,
        poll_sees_device_down: true,
        sendmsg_checks_device_last: false,
        maps_rings_of_bound: true,
        maps_whole_blocks: false,
        has_sg: true,
        clears_rx_options: true,
        takes_empty_tx: false,
        invalid_tx: InvalidTx::Complete,
        tx_publish: TxPublish::WhenMoved,
        full_completion_is_error: true,
        builds_before_reserving: false,
        completion_clears_bit_0: true,
        completion_written_at_reservation: false,
        has_tx_metadata: true,
        bad_metadata_completes: true,
        zero_copy_completes_refused: false,
        min_tx_metadata: 0,
        launch_time: LaunchTime::Any,
        headroom_reserve: 256 + SHARED_INFO + 128,
        max_buffer: 4 << 20,
        map_needs_rx: false,
        refuses_duplicate_sg: false,
        failed_bind_keeps_sg: true,
        short_sg_fill_crashes: true,
        unbound_generic_crashes: false,
        native_takes_one_page: false,
        queue_state: QueueState::Told,
        tells_features: true,
        learns_napi_id: false,
    };

    /// Linux 7.3.4.
    pub const LINUX_7_3: Self = Self {
        name: "Linux 7.3.4",
        bad_metadata_completes: false,
        zero_copy_completes_refused: true,
        min_tx_metadata: 16,
        launch_time: LaunchTime::NeedsRoom,
        map_needs_rx: true,
        refuses_duplicate_sg: true,
        failed_bind_keeps_sg: false,
        short_sg_fill_crashes: false,
        ..Self::LINUX_6_18
    };

    /// Linux 6.12.107.
    pub const LINUX_6_12: Self = Self {
        name: "Linux 6.12.107",
        tx_budget_settable: false,
        invalid_tx: InvalidTx::Lose,
        tx_publish: TxPublish::WhenEmpty,
        full_completion_is_error: false,
        completion_clears_bit_0: false,
        completion_written_at_reservation: true,
        bad_metadata_completes: false,
        min_tx_metadata: 16,
        launch_time: LaunchTime::Unknown,
        queue_state: QueueState::Silent,
        learns_napi_id: true,
        max_buffer: 212_992,
        ..Self::LINUX_6_18
    };

    /// Linux 6.1.192.
    pub const LINUX_6_1: Self = Self {
        name: "Linux 6.1.192",
        max_ring_entries: Some([1 << 17, 1 << 18]),
        busy_poll_needs_admin: true,
        maps_rings_of_bound: false,
        maps_whole_blocks: true,
        has_sg: false,
        clears_rx_options: false,
        takes_empty_tx: true,
        invalid_tx: InvalidTx::Skip,
        completion_written_at_reservation: false,
        has_tx_metadata: false,
        short_sg_fill_crashes: false,
        native_takes_one_page: true,
        queue_state: QueueState::NoFamily,
        tells_features: false,
        ..Self::LINUX_6_12
    };

    /// Linux 5.10.223.
    pub const LINUX_5_10: Self = Self {
        name: "Linux 5.10.223",
        flags_offset: 132,
        descriptors_offset: 192,
        tx_budget: 16,
        has_recvmsg: false,
        has_prefer_busy_poll: false,
        poll_always_transmits: false,
        poll_sees_device_down: false,
        sendmsg_checks_device_last: true,
        headroom_reserve: 257,
        builds_before_reserving: true,
        unbound_generic_crashes: true,
        learns_napi_id: false,
        ..Self::LINUX_6_1
    };

    /// Every profile, newest first.
    pub const ALL: [Self; 5] =
        [Self::LINUX_7_3, Self::LINUX_6_18, Self::LINUX_6_12, Self::LINUX_6_1, Self::LINUX_5_10];

    /// Where a ring is (`net/xdp/xsk_queue.h:struct xdp_ring`, `net/xdp/xsk_queue.c:xskq_create`).
    pub(crate) fn ring_shape(&self) -> RingShape {
        let (desc, flags) = (self.descriptors_offset, self.flags_offset);
        let offsets = xdp_ring_offset { producer: 0, consumer: 128, desc, flags };
        RingShape { offsets, whole_blocks: self.maps_whole_blocks }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::LINUX_6_18
    }
}
