//! What the compiler refuses: each of these programs would hand a packet over and keep it, or use one half from two threads.
//!
//! Their messages quote no code of the standard library: the compiler shows that only where its source is installed. Which types are
//! not shared or cloned: `tests/tests/auto_traits.rs`.

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
