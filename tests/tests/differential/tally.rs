//! What a run has met.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use xsk_tests::calls::player::Received;

use super::reachable;

/// Counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) histories: u64,
    /// Operations done on both kernels.
    pub(crate) operations: u64,
    /// Of these, how many came after a successful bind in their history.
    pub(crate) after_bind: u64,
    /// Operations that the guard refused, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Answers by call and errno, 0 for success.
    pub(crate) answers: BTreeMap<(&'static str, i32), u64>,
    /// Descriptors that came on the RX rings, those among them that are not the last of their packet, and frames that came to
    /// a stack.
    pub(crate) received: Received,
    pub(crate) passed: u64,
    /// Divergences that did not come again when their history was repeated.
    pub(crate) once: Vec<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.operations += other.operations;
        self.after_bind += other.after_bind;
        self.received += other.received;
        self.passed += other.passed;
        self.once.extend(other.once);
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, operations, after_bind, .. } = self;
        writeln!(
            f,
            "{histories} histories, {operations} operations, {after_bind} of them after a successful bind"
        )?;
        let Received { descriptors, continued } = self.received;
        writeln!(
            f,
            "{descriptors} descriptors received, {continued} of them followed by more of their packet; {} frames passed to a stack",
            self.passed
        )?;
        for (reason, count) in &self.refused {
            writeln!(f, "not done, {count} times: {reason}")?;
        }
        for divergence in &self.once {
            writeln!(f, "did not come again: {divergence}")?;
        }
        f.write_str(&reachable::check(*histories, &self.answers).0)?;
        Ok(())
    }
}
