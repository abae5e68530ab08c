//! Chance for the users of a history: the kernel has its own.

/// Small numbers from a seed, the same on every machine.
#[derive(Debug, Clone)]
pub struct Choice(pub u64);

impl Choice {
    /// A number below `below`, which is not 0.
    // No iterator: each call has a bound of its own.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % below
    }
}
