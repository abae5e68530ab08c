//! Writing captures.

use std::fmt;
use std::io::Write;

use super::pcap::NANOSECONDS;
use super::pcapng::{BYTE_ORDER, ENHANCED_PACKET, IF_TSRESOL, INTERFACE, SECTION};
use super::{CaptureError, CapturedPacket, ETHERNET, Format, LONGEST_PACKET};

/// Writes a capture file. The same packets give the same bytes, on every machine.
///
/// It writes in small pieces: give it something buffered, and [`finish`](Self::finish) at the end.
pub struct CaptureWriter<W> {
    output: W,
    format: Format,
    packets: u64,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the beginning of a file.
    ///
    /// # Errors
    /// Writing failed.
    pub fn new(mut output: W, format: Format) -> Result<Self, CaptureError> {
        let mut header = Vec::new();
        let u32 = |header: &mut Vec<u8>, number: u32| header.extend_from_slice(&number.to_le_bytes());
        let u16 = |header: &mut Vec<u8>, number: u16| header.extend_from_slice(&number.to_le_bytes());
        match format {
            Format::Pcap => {
                u32(&mut header, NANOSECONDS);
                u16(&mut header, 2);
                u16(&mut header, 4);
                header.extend_from_slice(&[0; 8]);
                u32(&mut header, LONGEST_PACKET);
                u32(&mut header, ETHERNET.into());
            }
            Format::PcapNg => {
                u32(&mut header, SECTION);
                u32(&mut header, 28);
                u32(&mut header, BYTE_ORDER);
                u16(&mut header, 1);
                u16(&mut header, 0);
                // The section's length is not known beforehand.
                header.extend_from_slice(&[0xff; 8]);
                u32(&mut header, 28);
                u32(&mut header, INTERFACE);
                u32(&mut header, 32);
                u16(&mut header, ETHERNET);
                u16(&mut header, 0);
                u32(&mut header, LONGEST_PACKET);
                u16(&mut header, IF_TSRESOL);
                u16(&mut header, 1);
                // Nanoseconds, padding, and the end of the options.
                header.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
                u32(&mut header, 32);
            }
        }
        output.write_all(&header)?;
        Ok(Self { output, format, packets: 0 })
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// Writing failed. The packet is longer than [`LONGEST_PACKET`], or its time is past what the format can say: then
    /// nothing was written, and others still can be.
    pub fn write(&mut self, packet: &CapturedPacket) -> Result<(), CaptureError> {
        let CapturedPacket { time, data, original_len } = packet;
        let len = u32::try_from(data.len()).ok().filter(|len| *len <= LONGEST_PACKET);
        let Some(len) = len else {
            let value = data.len() as u64;
            return Err(CaptureError::Unwritable { what: "its length", value, expected: "at most 262144" });
        };
        let original_len = (*original_len).max(len);
        let late = |expected| {
            let value = time.as_secs();
            CaptureError::Unwritable { what: "its time in seconds", value, expected }
        };
        match self.format {
            Format::Pcap => {
                let seconds = u32::try_from(time.as_secs()).map_err(|_| late("less than 2^32, or pcapng"))?;
                for field in [seconds, time.subsec_nanos(), len, original_len] {
                    self.output.write_all(&field.to_le_bytes())?;
                }
                self.output.write_all(data)?;
            }
            Format::PcapNg => {
                let time = u64::try_from(time.as_nanos()).map_err(|_| late("less than 2^64 nanoseconds"))?;
                let padded = len.next_multiple_of(4);
                let block = 32 + padded;
                let (high, low) = ((time >> 32) as u32, time as u32);
                for field in [ENHANCED_PACKET, block, 0, high, low, len, original_len] {
                    self.output.write_all(&field.to_le_bytes())?;
                }
                self.output.write_all(data)?;
                self.output.write_all(&[0; 3][..(padded - len) as usize])?;
                self.output.write_all(&block.to_le_bytes())?;
            }
        }
        self.packets += 1;
        Ok(())
    }

    /// How many packets were written.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Hands over what was written so far, for who reads along.
    ///
    /// # Errors
    /// Writing failed.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        Ok(self.output.flush()?)
    }

    /// Flushes what was written, and gives the output back.
    ///
    /// # Errors
    /// Writing failed.
    pub fn finish(mut self) -> Result<W, CaptureError> {
        self.output.flush()?;
        Ok(self.output)
    }
}

impl<W> fmt::Debug for CaptureWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureWriter")
            .field("format", &self.format)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}
