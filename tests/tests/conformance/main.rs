//! The kernel's own AF_XDP tests (`tools/testing/selftests/bpf`: `test_xsk.c`), each written once and run on every kernel
//! there is: the simulated one and Linux, each with programs in SKB and in native mode. Names are the kernel's.
//!
//! A case is a function of a [`World`]. `docs/conformance.md` is the table of all cases on all kernels:
//! `XSK_WRITE_TABLE=1 cargo test -p xsk-tests --test conformance table` runs them and writes it.
#![cfg(target_os = "linux")]
// A program of modules.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]

mod cases;
mod socket;
mod table;
mod traffic;

use xsk_tests::huge::HugePages;

use xsk_core::abi::{XDP_USE_SG, XDP_ZEROCOPY};
use xsk_core::errno::EOPNOTSUPP;
use xsk_tests::raw::{RawSocket, Setup as RawSetup};
use xsk_tests::world::{Arm, COMPLETES_BAD, End, Shape, World, running_version};

/// The kernel's test of this name, as it can be had.
pub struct Case {
    pub name: &'static str,
    pub needs: Needs,
    pub body: Body,
}

/// What a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// MTU 9000.
    Jumbo,
    /// Huge pages of 2 MiB.
    HugePages,
    JumboAndHugePages,
}

#[derive(Clone, Copy)]
pub enum Body {
    Run(fn(&dyn World)),
    /// Not to be had, why, and the test that shows it.
    Skip(&'static str, fn(&dyn World)),
}

/// What became of a case that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Skipped(String),
}

/// Cases that send from overlapping descriptors, or from a frame that is still being sent: the law of the frames is not for
/// them.
const OVERLAPPING: [&str; 5] = [
    "ALIGNED_INV_DESC",
    "ALIGNED_INV_DESC_2K_FRAME_SIZE",
    "ALIGNED_INV_DESC_MULTI_BUFF",
    "POLL_TXQ_FULL",
    "TX_QUEUE_CONSUMER",
];

/// Cases of which zero copy loses frames, but from 7.2 on.
const LOSING: [&str; 2] = ["ALIGNED_INV_DESC_MULTI_BUFF", "UNALIGNED_INV_DESC_MULTI_BUFF"];

/// Cases that are not run in zero-copy mode, and why.
const ZERO_COPY_SKIPS: [(&[&str], &str); 5] = [
    (
        &["STAT_RX_DROPPED", "TX_QUEUE_CONSUMER"],
        "zero copy has no such case: the kernel's own suite runs it in copy mode only",
    ),
    (
        &LOSING,
        "zero copy has no such case here: before 7.2 it loses frames of such packets (crates/xsk-sim/tests/zero_copy)",
    ),
    (
        &["TOO_MANY_FRAGS"],
        "zero copy has no such case here: how many are too many each driver says (crates/xsk-sim/tests/zero_copy)",
    ),
    (
        &["HW_SW_MIN_RING_SIZE", "HW_SW_MAX_RING_SIZE"],
        "zero copy has no such case here: the cards' ring sizes are left as they are",
    ),
    (
        &["XDP_ADJUST_TAIL_GROW_MULTI_BUFF"],
        "zero copy has no such case here: drivers refuse to lengthen a fragment",
    ),
];

/// Pages of 2 MiB for the two UMEMs of 4 MiB of a case.
const HUGE_PAGES: u64 = 4;

impl Case {
    /// Why it is not run on a kernel.
    pub fn skip(&self, arm: Arm) -> Option<&'static str> {
        let of_zero_copy = ZERO_COPY_SKIPS.iter().find(|(names, _)| names.contains(&self.name));
        match (self.body, of_zero_copy) {
            (_, Some((names, why))) if arm.is_zero_copy() && !(completes_bad(arm) && *names == LOSING) => {
                Some(why)
            }
            (Run(_), _) => None,
            (Skip(why, _), _) => Some(why),
        }
    }

    fn run(&self, arm: Arm) -> Outcome {
        if arm.is_linux() && !xsk_veth::require() {
            return Outcome::Skipped("no network can be made here".to_owned());
        }
        let (jumbo, huge) = match self.needs {
            Needs::Nothing => (false, false),
            Needs::Jumbo => (true, false),
            Needs::HugePages => (false, true),
            Needs::JumboAndHugePages => (true, true),
        };
        let _reserved = match (arm.is_linux() && huge).then(|| HugePages::reserve(HUGE_PAGES)).transpose() {
            Ok(reserved) => reserved,
            Err(error) => return Outcome::Skipped(error.to_string()),
        };
        let lawful = !OVERLAPPING.contains(&self.name);
        if let Some(why) = self.skip(arm).filter(|_| arm.is_zero_copy()) {
            return Outcome::Skipped(why.to_owned());
        }
        if jumbo && arm == Arm::Cards && !cards_take_several_buffers() {
            return Outcome::Skipped(
                "this kernel refuses packets of several buffers on these cards (bind: EOPNOTSUPP)".to_owned(),
            );
        }
        let shape = Shape { mtu: if jumbo { 9000 } else { 1518 }, lawful, ..Shape::new() };
        match self.body {
            Run(body) => {
                arm.run(&shape, body);
                Outcome::Passed
            }
            Skip(why, proof) => {
                arm.run(&shape, proof);
                Outcome::Skipped(why.to_owned())
            }
        }
    }
}

/// Whether zero copy completes what it refuses.
fn completes_bad(arm: Arm) -> bool {
    arm == Arm::SimZeroCopy7_3 || arm == Arm::Cards && running_version() >= COMPLETES_BAD
}

/// Whether the driver of the cards takes packets of several buffers in zero-copy mode.
fn cards_take_several_buffers() -> bool {
    let mut takes = false;
    Arm::Cards.run(&Shape::new(), |world| {
        let setup = RawSetup { bind_flags: XDP_ZEROCOPY | XDP_USE_SG, end: End::B, ..RawSetup::default() };
        let socket = RawSocket::prepare(world, &setup);
        takes = match socket.bind_in_time(world, &setup) {
            0 => true,
            EOPNOTSUPP => false,
            errno => panic!("bind: errno {errno}"),
        };
    });
    takes
}

/// Runs a case as a test.
fn test(name: &str, arm: Arm) {
    let case = CASES.iter().find(|case| case.name == name).expect("a case of this name");
    if let Outcome::Skipped(why) = case.run(arm) {
        xsk_veth::skip(&why);
    }
}

macro_rules! cases {
    ($($name:ident: $needs:ident, $body:expr;)*) => {
        /// Every case, in the kernel's order.
        pub const CASES: &[Case] =
            &[$(Case { name: stringify!($name), needs: Needs::$needs, body: $body },)*];

        cases!(@arm sim_skb SimSkb: $($name)*);
        cases!(@arm sim_native SimNative: $($name)*);
        cases!(@arm veth_skb VethSkb: $($name)*);
        cases!(@arm veth_native VethNative: $($name)*);
        cases!(@arm sim_zero_copy SimZeroCopy: $($name)*);
        cases!(@arm sim_zero_copy_7_3 SimZeroCopy7_3: $($name)*);
        cases!(@ignored cards Cards: $($name)*);
    };
    (@arm $module:ident $arm:ident: $($name:ident)*) => {
        #[allow(non_snake_case)] // the kernel's names
        mod $module {$(
            #[test]
            fn $name() {
                crate::test(stringify!($name), xsk_tests::world::Arm::$arm);
            }
        )*}
    };
    (@ignored $module:ident $arm:ident: $($name:ident)*) => {
        #[allow(non_snake_case)] // the kernel's names
        mod $module {$(
            #[test]
            #[ignore = "run by ci/zero-copy, where there are cards"]
            fn $name() {
                crate::test(stringify!($name), xsk_tests::world::Arm::$arm);
            }
        )*}
    };
}

use Body::{Run, Skip};
use cases::{descriptors, polling, programs, several_buffers, statistics, traffic as arrival};

const NO_RING_PARAMETERS: Body =
    Skip("this kernel refuses ring parameters on veth (ethtool -g: EOPNOTSUPP)", |world| {
        assert_eq!(world.refuses_ring_parameters(), Some(libc::EOPNOTSUPP))
    });

cases! {
    SEND_RECEIVE: Nothing, Run(arrival::send_receive);
    SEND_RECEIVE_2K_FRAME: Nothing, Run(arrival::small_frames);
    SEND_RECEIVE_SINGLE_PKT: Nothing, Run(arrival::single_packet);
    POLL_RX: Nothing, Run(polling::receiver);
    POLL_TX: Nothing, Run(polling::sender);
    POLL_RXQ_FULL: Nothing, Run(polling::nothing_to_receive);
    POLL_TXQ_FULL: Nothing, Run(polling::completions_full);
    SEND_RECEIVE_UNALIGNED: HugePages, Run(arrival::unaligned);
    ALIGNED_INV_DESC: Nothing, Run(descriptors::aligned);
    ALIGNED_INV_DESC_2K_FRAME_SIZE: Nothing, Run(descriptors::aligned_small_frames);
    UNALIGNED_INV_DESC: HugePages, Run(descriptors::unaligned);
    UNALIGNED_INV_DESC_4001_FRAME_SIZE: HugePages, Run(descriptors::unaligned_odd_frames);
    UMEM_HEADROOM: Nothing, Run(arrival::headroom);
    TEARDOWN: Nothing, Run(arrival::teardown);
    BIDIRECTIONAL: Nothing, Run(arrival::bidirectional);
    STAT_RX_DROPPED: Nothing, Run(statistics::rx_dropped);
    STAT_TX_INVALID: Nothing, Run(statistics::tx_invalid);
    STAT_RX_FULL: Nothing, Run(statistics::rx_full);
    STAT_FILL_EMPTY: Nothing, Run(statistics::fill_empty);
    XDP_PROG_CLEANUP: Nothing, Run(programs::cleanup);
    XDP_DROP_HALF: Nothing, Run(programs::drop_half);
    XDP_SHARED_UMEM: Nothing, Run(programs::shared_umem);
    XDP_METADATA_COPY: Nothing, Run(programs::metadata_copy);
    XDP_METADATA_COPY_MULTI_BUFF: Jumbo, Run(programs::metadata_copy_several_buffers);
    SEND_RECEIVE_9K_PACKETS: Jumbo, Run(several_buffers::jumbo);
    SEND_RECEIVE_UNALIGNED_9K_PACKETS: JumboAndHugePages, Run(several_buffers::jumbo_unaligned);
    ALIGNED_INV_DESC_MULTI_BUFF: Jumbo, Run(several_buffers::aligned_invalid);
    UNALIGNED_INV_DESC_MULTI_BUFF: JumboAndHugePages, Run(several_buffers::unaligned_invalid);
    TOO_MANY_FRAGS: Jumbo, Run(several_buffers::too_many_frags);
    HW_SW_MIN_RING_SIZE: Nothing, NO_RING_PARAMETERS;
    HW_SW_MAX_RING_SIZE: Nothing, NO_RING_PARAMETERS;
    XDP_ADJUST_TAIL_SHRINK: Nothing, Run(programs::shrink);
    XDP_ADJUST_TAIL_SHRINK_MULTI_BUFF: Jumbo, Run(programs::shrink_several_buffers);
    XDP_ADJUST_TAIL_GROW: Nothing, Run(programs::grow);
    XDP_ADJUST_TAIL_GROW_MULTI_BUFF: Jumbo, Skip(
        "this kernel refuses to lengthen a fragment on veth (bpf_xdp_adjust_tail: EOPNOTSUPP)",
        programs::cannot_grow_several_buffers
    );
    TX_QUEUE_CONSUMER: Nothing, Run(several_buffers::tx_consumer);
}
