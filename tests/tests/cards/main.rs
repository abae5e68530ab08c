//! Zero copy: its rules, each written once and run on the simulated kernel and on Linux with two cards, and the port tier
//! on such cards.
//!
//! The cards are those that the environment names (`XSK_TEST_IF`, `XSK_TEST_PEER`); `ci/zero-copy` makes a virtual machine
//! that has them. What is a driver's own choice is told apart by the name of the driver.
#![cfg(target_os = "linux")]
// A program of modules.
#![allow(unreachable_pub, missing_docs)]

/// Makes three tests of each function of a world.
macro_rules! zero_copy {
    ($($name:ident;)*) => {
        /// The rules of this file.
        pub const RULES: &[&str] = &[$(stringify!($name)),*];

        mod sim {$(
            #[test]
            fn $name() {
                xsk_tests::world::Arm::SimZeroCopy.run(&crate::kit::shape(), super::$name);
            }
        )*}

        mod sim_7_3 {$(
            #[test]
            fn $name() {
                xsk_tests::world::Arm::SimZeroCopy7_3.run(&crate::kit::shape(), super::$name);
            }
        )*}

        mod cards {$(
            #[test]
            #[ignore = "run by ci/zero-copy, where there are cards"]
            fn $name() {
                xsk_tests::world::Arm::Cards.run(&crate::kit::shape(), super::$name);
            }
        )*}
    };
}

mod kit;
mod port;
mod s15_1_setup;
mod s15_2_receive;
mod s15_3_transmit;
mod s15_4_teardown;

/// `docs/semantics.md` has a line for each rule's test.
#[test]
fn every_rule_has_its_line() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/semantics.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let files = [s15_1_setup::RULES, s15_2_receive::RULES, s15_3_transmit::RULES, s15_4_teardown::RULES];
    for rule in files.iter().copied().flatten() {
        assert!(page.contains(&format!("`{rule}`")), "no line names {rule}");
    }
}
