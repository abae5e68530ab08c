//! xsk-tests
