use std::fmt;
use std::iter::FusedIterator;

use super::Places;

/// The bytes of a packet, segment by segment: see [`Packet::segments`](crate::Packet::segments).
pub struct Segments<'a> {
    places: Places<'a>,
}

impl<'a> Segments<'a> {
    pub(super) fn new(places: Places<'a>) -> Self {
        Self { places }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (frame, offset, len) = self.places.next()?;
        let start = self.places.memory.at(self.places.memory.address(frame, offset));
        // SAFETY: a segment of the packet that `places` borrows: within its frame, and nobody else's.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), usize::from(len)) })
    }
}

impl FusedIterator for Segments<'_> {}

impl fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("left", &self.places.clone().count()).finish_non_exhaustive()
    }
}
