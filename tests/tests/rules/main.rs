//! The rules of the kernel's AF_XDP, one by one, each written once and run on every kernel there is: the simulated one and
//! Linux over a veth pair, each with programs in SKB and in native mode.
//!
//! A rule's test is named after the section of `docs/semantics.md` that it is from; `a1_` to `a5_` are the vectors.
#![cfg(target_os = "linux")]
// A program of modules.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]

#[macro_use]
mod registry;

mod a1_one_descriptor;
mod a2_sequences;
mod a3_receive;
mod a4_corrupt_indices;
mod a5_teardown;
mod s10_rings;
mod s14_more;
mod s14_programs;
mod s14_veth;
mod s1_socket;
mod s2_pointers;
mod s2_setsockopt;
mod s3_getsockopt;
mod s4_mmap;
mod s5_bind;
mod s5_more;
mod s6_more;
mod s6_receive;
mod s7_more;
mod s7_transmit;
mod s7_tx_metadata;
mod s8_more;
mod s8_poll;
mod s9_more;
mod s9_sharing;
mod s9_xskmap;
mod semantics;
mod table;

use registry::Rule;

/// The files that have rules.
const FILES: &[&[Rule]] = &[
    a1_one_descriptor::RULES,
    a2_sequences::RULES,
    a3_receive::RULES,
    a4_corrupt_indices::RULES,
    a5_teardown::RULES,
    s10_rings::RULES,
    s14_more::RULES,
    s14_programs::RULES,
    s14_veth::RULES,
    s1_socket::RULES,
    s2_pointers::RULES,
    s2_setsockopt::RULES,
    s3_getsockopt::RULES,
    s4_mmap::RULES,
    s5_bind::RULES,
    s5_more::RULES,
    s6_more::RULES,
    s6_receive::RULES,
    s7_more::RULES,
    s7_transmit::RULES,
    s7_tx_metadata::RULES,
    s8_more::RULES,
    s8_poll::RULES,
    s9_more::RULES,
    s9_sharing::RULES,
    s9_xskmap::RULES,
];

/// All rules.
fn all() -> impl Iterator<Item = &'static Rule> {
    FILES.iter().copied().flatten()
}
