//! What the compiler refuses: each of these programs would hand a packet over and keep it, or use one half from two threads.
//!
//! Their messages quote no code of the standard library: the compiler shows that only where its source is installed.

use xsk::port::{PortRx, PortTx};
use xsk::{Packet, Port};

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}

/// Does not compile for a type that has the trait: it is then unclear which `Either` is meant.
macro_rules! lacks {
    ($type:ty: $bound:path) => {
        const _: fn() = || {
            trait Either<Which> {
                fn asked() {}
            }
            struct Has;
            impl<T> Either<()> for T {}
            impl<T: $bound> Either<Has> for T {}
            let _ = <$type as Either<_>>::asked;
        };
    };
}

lacks!(Packet: Clone);
lacks!(Packet: Sync);
lacks!(Port: Sync);
lacks!(PortRx: Sync);
lacks!(PortTx: Sync);
