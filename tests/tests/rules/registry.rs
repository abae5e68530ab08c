//! What a rule's test is.

use xsk_tests::world::{Arm, Shape, World};

/// A rule's test.
pub struct Rule {
    pub name: &'static str,
    body: fn(&dyn World),
    shape: Shape,
    /// Why the simulated kernel cannot run it.
    not_simulated: Option<&'static str>,
    /// Why it is for native mode only.
    native: Option<&'static str>,
}

impl Rule {
    pub const fn new(name: &'static str, body: fn(&dyn World)) -> Self {
        let mut shape = Shape::new();
        shape.stays = true;
        Self { name, body, shape, not_simulated: None, native: None }
    }

    /// So many queues of each kind, at both ends.
    pub const fn queues(mut self, count: u32) -> Self {
        (self.shape.a, self.shape.b) = ((count, count), (count, count));
        self
    }

    /// Receive and transmit queues of A.
    pub const fn queues_of_a(mut self, rx: u32, tx: u32) -> Self {
        self.shape.a = (rx, tx);
        self
    }

    /// It hands frames over twice, or writes indices that are not its own: the law of the frames is not for it.
    pub const fn breaks_the_law(mut self) -> Self {
        self.shape.lawful = false;
        self
    }

    pub const fn not_simulated(mut self, why: &'static str) -> Self {
        self.not_simulated = Some(why);
        self
    }

    pub const fn native(mut self, why: &'static str) -> Self {
        self.native = Some(why);
        self
    }

    /// Why it does not run on a kernel, where it does not.
    pub fn skip(&self, arm: Arm) -> Option<&'static str> {
        let of_kernel = if arm.is_linux() { None } else { self.not_simulated };
        let of_mode = if matches!(arm, Arm::SimSkb | Arm::VethSkb) { self.native } else { None };
        of_kernel.or(of_mode)
    }

    /// Runs it. False: skipped.
    pub fn run(&self, arm: Arm) -> bool {
        if let Some(why) = self.skip(arm) {
            xsk_veth::skip(why);
            return false;
        }
        if arm.is_linux() && !xsk_veth::require() {
            return false;
        }
        arm.run(&self.shape, self.body);
        true
    }
}

/// Makes a test of each rule on each kernel, and `RULES`, the list of them.
macro_rules! rules {
    ($($name:ident $(.$how:ident($($arg:expr),*))*;)*) => {
        /// The rules of this file.
        pub const RULES: &[crate::registry::Rule] = &[
            $(crate::registry::Rule::new(stringify!($name), $name)$(.$how($($arg),*))*,)*
        ];

        rules!(@arm sim_skb SimSkb: $($name)*);
        rules!(@arm sim_native SimNative: $($name)*);
        rules!(@arm veth_skb VethSkb: $($name)*);
        rules!(@arm veth_native VethNative: $($name)*);
    };
    (@arm $module:ident $arm:ident: $($name:ident)*) => {
        mod $module {$(
            #[test]
            fn $name() {
                let rule = super::RULES.iter().find(|rule| rule.name == stringify!($name));
                rule.expect("a rule of this name").run(xsk_tests::world::Arm::$arm);
            }
        )*}
    };
}
