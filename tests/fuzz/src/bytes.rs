//! Inputs made of bytes.

use arbitrary::{Arbitrary, Unstructured};

/// The value that the bytes make; `None` if they are too few.
pub(crate) fn read<'a, T: Arbitrary<'a>>(data: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(data)).ok()
}
