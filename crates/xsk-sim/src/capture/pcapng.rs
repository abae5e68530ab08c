//! pcapng: a chain of blocks (`draft-ietf-opsawg-pcapng`).

use std::io::Read;
use std::time::Duration;

use super::reader::{Order, Source};
use super::{CaptureError, CapturedPacket, ETHERNET, LONGEST_PACKET};

/// Section header block; reads the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const BYTE_ORDER: u32 = 0x1a2b_3c4d;
pub(super) const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;

/// More is taken for a broken file.
const LONGEST_BLOCK: u32 = 16 << 20;
/// More are taken for a broken file: memory is not for the file to spend.
const MOST_INTERFACES: usize = 65_536;

/// Where a file is read.
#[derive(Default)]
pub(super) struct PcapNg {
    /// Of the section.
    interfaces: Vec<Interface>,
    /// Of the last packet: simple packets have none.
    time: Duration,
}

struct Interface {
    link_type: u16,
    snap_len: u32,
    /// Units of time in a second; 0 if there are more than anybody can count.
    per_second: u128,
    offset: i64,
}

struct Block {
    at: u64,
    kind: u32,
    body: Vec<u8>,
}

impl Block {
    fn broken(&self, what: &'static str, value: u64, expected: &'static str) -> CaptureError {
        CaptureError::Broken { at: self.at, what, value, expected }
    }

    /// That the fixed part has so many bytes.
    fn at_least(&self, bytes: usize) -> Result<(), CaptureError> {
        let have = self.body.len();
        if have >= bytes { Ok(()) } else { Err(self.broken("the length of a block", have as u64, "more")) }
    }
}

impl PcapNg {
    /// The rest of the first block, of which `kind` was read.
    pub(super) fn open<R: Read>(source: &mut Source<R>, kind: u32) -> Result<Self, CaptureError> {
        read_block(source, kind, 0)?;
        Ok(Self::default())
    }

    pub(super) fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<CapturedPacket>, CaptureError> {
        loop {
            let at = source.at;
            let mut kind = [0; 4];
            if !source.header(&mut kind, "block", at)? {
                return Ok(None);
            }
            let block = read_block(source, source.u32(&kind, 0), at)?;
            let packet = match block.kind {
                SECTION => {
                    self.interfaces.clear();
                    None
                }
                INTERFACE => {
                    self.add_interface(source, &block)?;
                    None
                }
                ENHANCED_PACKET => Some(self.packet(source, &block, source.u32(&block.body, 0))?),
                OLD_PACKET => Some(self.packet(source, &block, source.u16(&block.body, 0).into())?),
                SIMPLE_PACKET => Some(self.simple_packet(source, block)?),
                // Names, statistics and whatever else there may be.
                _ => None,
            };
            if packet.is_some() {
                return Ok(packet);
            }
        }
    }

    fn add_interface<R: Read>(&mut self, source: &Source<R>, block: &Block) -> Result<(), CaptureError> {
        block.at_least(8)?;
        if self.interfaces.len() == MOST_INTERFACES {
            return Err(block.broken("the number of interfaces", MOST_INTERFACES as u64 + 1, "less"));
        }
        let link_type = source.u16(&block.body, 0);
        let snap_len = source.u32(&block.body, 4);
        let mut interface = Interface { link_type, snap_len, per_second: 1_000_000, offset: 0 };
        let mut options = &block.body[8..];
        while let Some((head, rest)) = options.split_first_chunk::<4>() {
            let (code, len) = (source.u16(head, 0), usize::from(source.u16(head, 2)));
            let Some(value) = rest.get(..len) else {
                return Err(block.broken("the length of an option", len as u64, "less"));
            };
            match (code, value) {
                (0, _) => break,
                (IF_TSRESOL, [resolution]) => {
                    let exponent = u32::from(resolution & 0x7f);
                    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
                    interface.per_second = base.checked_pow(exponent).unwrap_or(0);
                }
                (IF_TSOFFSET, value) if len == 8 => interface.offset = source.u64(value, 0).cast_signed(),
                _ => {}
            }
            options = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn interface(&self, block: &Block, number: u32) -> Result<&Interface, CaptureError> {
        let found = usize::try_from(number).ok().and_then(|number| self.interfaces.get(number));
        let interface = found.ok_or_else(|| {
            block.broken("the interface of a packet", number.into(), "one that was described before")
        })?;
        if interface.link_type != ETHERNET {
            return Err(CaptureError::LinkType { link_type: interface.link_type });
        }
        Ok(interface)
    }

    /// An enhanced packet, or an old one, which differ in their first four bytes only.
    fn packet<R: Read>(
        &mut self,
        source: &Source<R>,
        block: &Block,
        interface: u32,
    ) -> Result<CapturedPacket, CaptureError> {
        block.at_least(20)?;
        let interface = self.interface(block, interface)?;
        let [high, low, len, original_len] = [4, 8, 12, 16].map(|at| source.u32(&block.body, at));
        let units = u64::from(high) << 32 | u64::from(low);
        let time = interface.time(units);
        let time = time.ok_or_else(|| block.broken("the time of a packet", units, "since 1970"))?;
        let data = data(block, 20, len)?;
        self.time = time;
        Ok(CapturedPacket { time, data, original_len: original_len.max(len) })
    }

    fn simple_packet<R: Read>(
        &mut self,
        source: &Source<R>,
        block: Block,
    ) -> Result<CapturedPacket, CaptureError> {
        block.at_least(4)?;
        let interface = self.interface(&block, 0)?;
        let original_len = source.u32(&block.body, 0);
        let limit = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let data = data(&block, 4, original_len.min(limit))?;
        Ok(CapturedPacket { time: self.time, data, original_len })
    }
}

impl Interface {
    fn time(&self, units: u64) -> Option<Duration> {
        let units = u128::from(units);
        let seconds = u64::try_from(units.checked_div(self.per_second).unwrap_or(0)).ok()?;
        // Below 2^128: both factors of the dividend are.
        let rest = units.checked_rem(self.per_second).unwrap_or(0);
        let nanoseconds = (rest * 1_000_000_000).checked_div(self.per_second).unwrap_or(0);
        let seconds = seconds.checked_add_signed(self.offset)?;
        Some(Duration::new(seconds, u32::try_from(nanoseconds).ok()?))
    }
}

fn data(block: &Block, at: usize, len: u32) -> Result<Vec<u8>, CaptureError> {
    let wrong = || block.broken("the length of a packet", len.into(), "at most 262144, and inside its block");
    if len > LONGEST_PACKET {
        return Err(wrong());
    }
    block.body.get(at..).and_then(|data| data.get(..len as usize)).map(<[u8]>::to_vec).ok_or_else(wrong)
}

/// The rest of a block. A section header sets the byte order for itself and what follows.
fn read_block<R: Read>(source: &mut Source<R>, kind: u32, at: u64) -> Result<Block, CaptureError> {
    let truncated = CaptureError::Truncated { what: "block", at };
    let mut head = [0; 8];
    let head = if kind == SECTION { &mut head[..] } else { &mut head[..4] };
    if !source.header(head, "block", at)? {
        return Err(truncated);
    }
    if kind == SECTION {
        source.order = match head.last_chunk() {
            Some(magic) if u32::from_le_bytes(*magic) == BYTE_ORDER => Order::Little,
            Some(magic) if u32::from_be_bytes(*magic) == BYTE_ORDER => Order::Big,
            _ => {
                let (what, value) = ("the byte-order magic", source.u32(head, 4).into());
                return Err(CaptureError::Broken { at, what, value, expected: "0x1a2b3c4d" });
            }
        };
    }
    let len = source.u32(head, 0);
    // Its kind, its length, and its length again.
    let frame = 8 + head.len() as u32;
    if !(frame..=LONGEST_BLOCK).contains(&len) || !len.is_multiple_of(4) {
        let (what, expected) = ("the length of a block", "a multiple of 4 from 12 to 16777216");
        return Err(CaptureError::Broken { at, what, value: len.into(), expected });
    }
    let body = source.body(len - frame, "block", at)?;
    let mut trailer = [0; 4];
    if !source.header(&mut trailer, "block", at)? {
        return Err(truncated);
    }
    let again = source.u32(&trailer, 0);
    if again != len {
        let (what, expected) = ("the length at the end of a block", "that at its start");
        return Err(CaptureError::Broken { at, what, value: again.into(), expected });
    }
    Ok(Block { at, kind, body })
}
