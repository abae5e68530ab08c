//! Reading captures of either format.

use std::fmt;
use std::io::{self, Read};

use super::pcap::Pcap;
use super::pcapng::PcapNg;
use super::{CaptureError, CapturedPacket};

/// Reads a pcap or pcapng file, of either byte order and any resolution of time: an iterator over its packets.
///
/// Any input is an error or packets, never a panic, and never takes more memory than the bytes that are there. After an
/// error, or the end, there is nothing more. It reads in small pieces: give it something buffered.
pub struct CaptureReader<R> {
    source: Source<R>,
    format: Reading,
}

enum Reading {
    Pcap(Pcap),
    PcapNg(PcapNg),
    Over,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// It is no capture, or not of Ethernet (a pcapng file says so later), or reading failed.
    pub fn new(input: R) -> Result<Self, CaptureError> {
        let mut source = Source { input, at: 0, order: Order::Little };
        let mut magic = [0; 4];
        let have = source.fill(&mut magic)?;
        let number = u32::from_le_bytes(magic);
        let format = match number {
            _ if have < 4 => None,
            pcapng_magic @ super::pcapng::SECTION => {
                Some(Reading::PcapNg(PcapNg::open(&mut source, pcapng_magic)?))
            }
            _ => Pcap::open(&mut source, number)?.map(Reading::Pcap),
        };
        let format = format.ok_or(CaptureError::NotACapture { magic: number })?;
        Ok(Self { source, format })
    }
}

impl<R: Read> Iterator for CaptureReader<R> {
    type Item = Result<CapturedPacket, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        let packet = match &mut self.format {
            Reading::Pcap(pcap) => pcap.next(&mut self.source),
            Reading::PcapNg(pcapng) => pcapng.next(&mut self.source),
            Reading::Over => Ok(None),
        };
        if !matches!(packet, Ok(Some(_))) {
            self.format = Reading::Over;
        }
        packet.transpose()
    }
}

impl<R> fmt::Debug for CaptureReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureReader").field("at", &self.source.at).finish_non_exhaustive()
    }
}

/// The byte order of a file or section.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Little,
    Big,
}

/// The file, and how far it was read.
pub(super) struct Source<R> {
    input: R,
    pub(super) at: u64,
    pub(super) order: Order,
}

impl<R: Read> Source<R> {
    /// Reads as much of `bytes` as is there, and returns how much that is.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut have = 0;
        while have < bytes.len() {
            match self.input.read(&mut bytes[have..]) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.at += have as u64;
        Ok(have)
    }

    /// All of `bytes`; false if the file is at its end. `what` begins at `start`.
    pub(super) fn header(
        &mut self,
        bytes: &mut [u8],
        what: &'static str,
        start: u64,
    ) -> Result<bool, CaptureError> {
        match self.fill(bytes)? {
            0 => Ok(false),
            have if have == bytes.len() => Ok(true),
            _ => Err(CaptureError::Truncated { what, at: start }),
        }
    }

    /// `len` bytes of something that begins at `start`. A length that lies costs no memory.
    pub(super) fn body(&mut self, len: u32, what: &'static str, start: u64) -> Result<Vec<u8>, CaptureError> {
        let mut body = Vec::new();
        let have = (&mut self.input).take(len.into()).read_to_end(&mut body)?;
        self.at += have as u64;
        if have as u64 == u64::from(len) {
            Ok(body)
        } else {
            Err(CaptureError::Truncated { what, at: start })
        }
    }

    /// The number of four bytes at `at`; 0 where there are none.
    pub(super) fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let Some(bytes) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) else { return 0 };
        match self.order {
            Order::Little => u32::from_le_bytes(*bytes),
            Order::Big => u32::from_be_bytes(*bytes),
        }
    }

    /// As [`u32`](Self::u32), of two bytes.
    pub(super) fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        let Some(bytes) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) else { return 0 };
        match self.order {
            Order::Little => u16::from_le_bytes(*bytes),
            Order::Big => u16::from_be_bytes(*bytes),
        }
    }

    /// As [`u32`](Self::u32), of eight bytes.
    pub(super) fn u64(&self, bytes: &[u8], at: usize) -> u64 {
        let Some(bytes) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) else { return 0 };
        match self.order {
            Order::Little => u64::from_le_bytes(*bytes),
            Order::Big => u64::from_be_bytes(*bytes),
        }
    }
}
