//! The law of the frames, enforced on every access: AddressSanitizer stops whoever touches a frame that is not theirs.
//!
//! While the user runs, every frame that is on a ring or with the kernel is poisoned; while the kernel runs, every frame that
//! is the user's. So a library that shows the user a frame too early, a kernel that writes into a frame that it was not
//! given, and either of them stepping over the edge of a chunk, all end the process with a report. Run it with `ci/asan`;
//! without the sanitizer the same histories run, and the poison is none.

mod guard;
#[path = "../port/mod.rs"]
mod port;
mod port_tier;
mod ring_tier;
