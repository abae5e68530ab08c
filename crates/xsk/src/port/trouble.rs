use xsk_core::abi::xdp_desc;

use super::error::{PortError, Violation, ViolationKind};
use crate::error::{Diagnosis, Error, Step};
use crate::queue::Shared;

/// What went wrong in a call that had something else to say: the next call that has not reports it.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// The first violation that is not reported yet.
    violation: Option<Violation>,
    error: Option<PortError>,
    /// Violations in all.
    pub(super) violations: u64,
}

impl Trouble {
    #[cold]
    #[inline(never)]
    pub(super) fn note(&mut self, ring: &'static str, index: u32, desc: xdp_desc, kind: ViolationKind) {
        self.violations += 1;
        self.violation.get_or_insert(Violation { ring, index, desc, kind });
    }

    #[cold]
    pub(super) fn defer(&mut self, error: Error) {
        self.error.get_or_insert_with(|| error.into());
    }

    /// The count of a call; if that is 0, what is still to be reported instead.
    #[inline]
    pub(super) fn or(&mut self, count: usize, shared: &Shared) -> Result<usize, PortError> {
        if count > 0 || (self.violation.is_none() && self.error.is_none()) {
            return Ok(count);
        }
        Err(self.take(shared))
    }

    #[cold]
    fn take(&mut self, shared: &Shared) -> PortError {
        match (self.violation.take(), self.error.take()) {
            (Some(violation), error) => {
                self.error = error;
                shared.error(Step::MoveDescriptors, Diagnosis::BadDescriptor(violation)).into()
            }
            (None, Some(error)) => error,
            (None, None) => shared.error(Step::MoveDescriptors, Diagnosis::Unknown).into(),
        }
    }
}
