//! xsk
fn main() {}
