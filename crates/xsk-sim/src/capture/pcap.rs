//! Classic pcap: a header of 24 bytes, then records of 16 bytes and the packet (`draft-ietf-opsawg-pcap`).

use std::io::Read;
use std::time::Duration;

use super::reader::{Order, Source};
use super::{CaptureError, CapturedPacket, ETHERNET, LONGEST_PACKET};

/// With microseconds.
pub(super) const MICROSECONDS: u32 = 0xa1b2_c3d4;
/// With nanoseconds.
pub(super) const NANOSECONDS: u32 = 0xa1b2_3c4d;

const HEADER: usize = 24;
const RECORD: usize = 16;

/// Where a file is read.
pub(super) struct Pcap {
    /// Nanoseconds of a unit of the fraction.
    unit: u64,
}

impl Pcap {
    /// The rest of the header; none if `magic`, read as little-endian, is none of this format.
    pub(super) fn open<R: Read>(source: &mut Source<R>, magic: u32) -> Result<Option<Self>, CaptureError> {
        let (order, unit) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (Order::Little, 1000),
            (NANOSECONDS, _) => (Order::Little, 1),
            (_, MICROSECONDS) => (Order::Big, 1000),
            (_, NANOSECONDS) => (Order::Big, 1),
            _ => return Ok(None),
        };
        source.order = order;
        let mut header = [0; HEADER];
        if !source.header(&mut header[4..], "file header", 0)? {
            return Err(CaptureError::Truncated { what: "file header", at: 0 });
        }
        let major = source.u16(&header, 4);
        if major != 2 {
            let (what, expected) = ("the version", "2");
            return Err(CaptureError::Broken { at: 0, what, value: major.into(), expected });
        }
        // The upper half says whether packets end in their check sequence, if anybody ever set it.
        let link_type = source.u32(&header, 20) as u16;
        if link_type != ETHERNET {
            return Err(CaptureError::LinkType { link_type });
        }
        Ok(Some(Self { unit }))
    }

    pub(super) fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<CapturedPacket>, CaptureError> {
        let at = source.at;
        let mut record = [0; RECORD];
        if !source.header(&mut record, "packet header", at)? {
            return Ok(None);
        }
        let [seconds, fraction, len, original_len] = [0, 4, 8, 12].map(|offset| source.u32(&record, offset));
        if len > LONGEST_PACKET {
            let (what, expected) = ("the length of a packet", "at most 262144");
            return Err(CaptureError::Broken { at, what, value: len.into(), expected });
        }
        let data = source.body(len, "packet", at)?;
        // A fraction of more than a second is odd, but has one meaning only.
        let time =
            Duration::from_secs(seconds.into()) + Duration::from_nanos(u64::from(fraction) * self.unit);
        Ok(Some(CapturedPacket { time, data, original_len: original_len.max(len) }))
    }
}
