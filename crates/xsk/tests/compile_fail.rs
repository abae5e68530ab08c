//! What the compiler refuses: each of these programs would hand a packet over and keep it, or use one half from two threads.

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
