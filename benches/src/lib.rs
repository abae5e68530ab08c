//! xsk-benches
