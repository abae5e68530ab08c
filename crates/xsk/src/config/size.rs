use thiserror::Error as ThisError;
use xsk_core::ring::MAX_CAPACITY;

use super::XDP_UMEM_MIN_CHUNK_SIZE;
use crate::error::{Diagnosis, Error, Step};

/// The number of entries of a ring: a power of two.
///
/// Any power of two is a `QueueSize`; making the ring refuses more than
/// [`MAX_CAPACITY`](xsk_core::ring::MAX_CAPACITY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueSize(u32);

impl QueueSize {
    pub(crate) const DEFAULT: Self = Self(2048);

    /// Refuses 0 and whatever is not a power of two.
    pub fn new(size: u32) -> Result<Self, QueueSizeError> {
        if size.is_power_of_two() { Ok(Self(size)) } else { Err(QueueSizeError(size)) }
    }

    /// The number of entries.
    pub fn get(&self) -> u32 {
        self.0
    }

    /// The kernel has no limit and really allocates what it is asked for; this crate has one.
    pub(crate) fn check(self, ring: &str) -> Result<(), Error> {
        if self.0 <= MAX_CAPACITY {
            return Ok(());
        }
        let diagnosis = Diagnosis::RingSize { max: MAX_CAPACITY };
        Err(Error::new(Step::CheckConfig, diagnosis).value(format!("{} entries for the {ring} ring", self.0)))
    }
}

impl TryFrom<u32> for QueueSize {
    type Error = QueueSizeError;

    fn try_from(size: u32) -> Result<Self, QueueSizeError> {
        Self::new(size)
    }
}

/// Not a power of two.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("expected a power of two as queue size, got {0}")]
pub struct QueueSizeError(u32);

/// The size of a frame in bytes: at least 2048.
///
/// Whether it has to be a power of two depends on the UMEM's flags and is checked when its configuration is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameSize(u32);

impl FrameSize {
    pub(crate) const DEFAULT: Self = Self(4096);

    /// Refuses less than [`XDP_UMEM_MIN_CHUNK_SIZE`].
    pub fn new(size: u32) -> Result<Self, FrameSizeError> {
        if size >= XDP_UMEM_MIN_CHUNK_SIZE { Ok(Self(size)) } else { Err(FrameSizeError(size)) }
    }

    /// The size in bytes.
    pub fn get(&self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for FrameSize {
    type Error = FrameSizeError;

    fn try_from(size: u32) -> Result<Self, FrameSizeError> {
        Self::new(size)
    }
}

/// Too small.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("expected frame size >= {XDP_UMEM_MIN_CHUNK_SIZE}, got {0}")]
pub struct FrameSizeError(u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_their_errors() {
        assert!([1, 2, 64, 1 << 31].iter().all(|&n| QueueSize::new(n).unwrap().get() == n));
        assert_eq!(
            QueueSize::try_from(0).unwrap_err().to_string(),
            "expected a power of two as queue size, got 0"
        );
        assert_eq!(
            QueueSize::new(3).unwrap_err().to_string(),
            "expected a power of two as queue size, got 3"
        );
        assert_eq!(FrameSize::new(2049).unwrap().get(), 2049);
        assert_eq!(
            FrameSize::try_from(2047).unwrap_err().to_string(),
            "expected frame size >= 2048, got 2047"
        );
    }
}
