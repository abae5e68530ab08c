//! Packet captures: pcap and pcapng files, as tcpdump and Wireshark read and write them.
//!
//! ```
//! use std::time::Duration;
//! use xsk_sim::capture::{CaptureReader, CaptureWriter, CapturedPacket, Format};
//!
//! # fn main() -> Result<(), xsk_sim::capture::CaptureError> {
//! let packet = CapturedPacket::new(Duration::from_secs(1), vec![7; 60]);
//! let mut writer = CaptureWriter::new(Vec::new(), Format::PcapNg)?;
//! writer.write(&packet)?;
//! let file = writer.finish()?;
//! let read = CaptureReader::new(&file[..])?.collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(read, [packet]);
//! # Ok(())
//! # }
//! ```

mod pcap;
mod pcapng;
mod reader;
mod replay;
mod writer;

use std::io;
use std::time::Duration;

use thiserror::Error;

pub use reader::CaptureReader;
pub use replay::{Pace, Replayed};
pub use writer::CaptureWriter;

/// The most bytes of one packet (`libpcap: MAXIMUM_SNAPLEN`). What claims more is taken for a broken file.
pub const LONGEST_PACKET: u32 = 262_144;
/// Ethernet, the only link type that is read or written (`LINKTYPE_ETHERNET`).
const ETHERNET: u16 = 1;

/// A packet of a capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapturedPacket {
    /// When it was seen: since the start of 1970, or of whatever clock the capture was made by. To the nanosecond.
    pub time: Duration,
    /// Its bytes from the Ethernet header on, as far as they were captured.
    pub data: Vec<u8>,
    /// How many bytes it had; more than `data` has if the capture cut it off.
    pub original_len: u32,
}

impl CapturedPacket {
    /// A packet that was captured as a whole.
    pub fn new(time: Duration, data: Vec<u8>) -> Self {
        let original_len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Self { time, data, original_len }
    }

    /// Whether the capture has its beginning only.
    pub fn is_cut_off(&self) -> bool {
        u64::from(self.original_len) > self.data.len() as u64
    }
}

/// How a capture is written. Both have nanoseconds and are little-endian, on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The classic format (`draft-ietf-opsawg-pcap`), until the year 2106.
    #[default]
    Pcap,
    /// The next generation (`draft-ietf-opsawg-pcapng`), with one interface.
    PcapNg,
}

/// Why a capture cannot be read or written. Positions are bytes from the start of the file.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file does not begin as a capture does.
    #[error("this is no pcap or pcapng file: it begins with {magic:#010x}")]
    NotACapture {
        /// The first four bytes, as a little-endian number; zeros in place of missing ones.
        magic: u32,
    },
    /// Packets of another kind than Ethernet.
    #[error("the capture has packets of link type {link_type}; only Ethernet (1) is supported")]
    LinkType {
        /// `LINKTYPE_*`.
        link_type: u16,
    },
    /// The file ends in the middle of something.
    #[error("the capture ends in the middle of a {what}, at byte {at}")]
    Truncated {
        /// What it is that does not end.
        what: &'static str,
        /// Where that begins.
        at: u64,
    },
    /// A field that cannot be right.
    #[error("the capture is broken at byte {at}: {what} is {value}, expected {expected}")]
    Broken {
        /// Where the header or block begins that has the field.
        at: u64,
        /// The field.
        what: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// A packet that the format cannot hold.
    #[error("cannot write a packet to the capture: {what} is {value}, expected {expected}")]
    Unwritable {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// What it may be.
        expected: &'static str,
    },
}
