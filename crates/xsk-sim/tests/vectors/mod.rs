//! The tables of Appendix A.
#![allow(unreachable_pub)]

mod a1_one_descriptor;
mod a2_older_kernels;
mod a2_sequences;
mod a3_receive;
mod a4_corrupt_indices;
mod a5_teardown;
