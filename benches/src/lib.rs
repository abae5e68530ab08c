//! Benchmarks of xsk: see `benches/`. Run them with `cargo bench -p xsk-benches`.
