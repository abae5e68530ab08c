//! What a run has met.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

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
    /// Descriptors on the RX rings that were open at the end, and frames that came to a stack.
    pub(crate) received: u64,
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
        writeln!(f, "{} descriptors received, {} frames passed to a stack", self.received, self.passed)?;
        for (reason, count) in &self.refused {
            writeln!(f, "not done, {count} times: {reason}")?;
        }
        for divergence in &self.once {
            writeln!(f, "did not come again: {divergence}")?;
        }
        for ((call, errno), count) in &self.answers {
            let name = match errno {
                0 => "ok".to_owned(),
                errno => xsk_veth::Errno(*errno).to_string(),
            };
            writeln!(f, "{count:>10}  {call}: {name}")?;
        }
        Ok(())
    }
}
