//! What the benchmarks of xsk share: the rings and who stands at their other end, programs on a simulated kernel, and what is
//! measured.
//!
//! `cargo bench -p xsk-benches` times; `./ci/instructions` counts instructions, which is what a change is judged by on a
//! machine with other things to do.

pub mod case;
pub mod choice;
pub mod counterpart;
pub mod drive;
#[cfg(feature = "peers")]
pub mod peers;
pub mod place;
pub mod plot;
pub mod port;
pub mod race;
pub mod rings;
pub mod sim;
pub mod traffic;
pub mod valgrind;
