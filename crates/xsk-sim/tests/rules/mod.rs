//! One file for each section.

mod s14_programs;
mod s14_veth;
mod s1_socket;
mod s2_setsockopt;
mod s3_getsockopt;
mod s4_mmap;
mod s5_bind;
mod s6_receive;
mod s7_transmit;
mod s7_tx_metadata;
mod s8_poll;
mod s9_sharing;
mod s9_xskmap;
