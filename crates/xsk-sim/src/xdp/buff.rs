//! A packet as an XDP program sees it.

use std::ops::Range;

use thiserror::Error;

/// A packet as an XDP program sees it (`struct xdp_buff`).
///
/// It has 256 bytes of headroom, of which 40 are the kernel's, and the tailroom that the rest of its page leaves. A packet
/// that does not fit the page has fragments behind it; programs that do not take fragments never see such a packet.
#[derive(Debug)]
pub struct XdpBuff {
    bytes: Vec<u8>,
    packet: Range<usize>,
    metadata: usize,
    /// Where the page's room for data ends; bytes of the packet beyond it are fragments.
    hard_end: usize,
    ifindex: u32,
    queue: u32,
}

/// Bytes in front of a packet when a program starts (`include/uapi/linux/bpf.h:XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Of these, bytes that the kernel needs for itself (`sizeof(struct xdp_frame)`).
const FRAME: usize = 40;
/// Bytes of data that the page of a packet's head takes, behind the headroom and before `struct skb_shared_info`.
const HEAD_MAX: usize = 4096 - HEADROOM - 320;
const ETH_HLEN: usize = 14;
const METADATA_MAX: usize = 252;

/// An adjustment that the kernel refuses with `EINVAL`. The packet stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the packet has no room for that, or would get too short")]
pub struct AdjustError;

impl XdpBuff {
    /// A packet for a program that only looks at the queue: no headroom.
    pub(crate) fn bare(bytes: Vec<u8>, frags: bool, ifindex: u32, queue: u32) -> Self {
        let hard_end = if frags { HEAD_MAX } else { bytes.len().max(HEAD_MAX) };
        Self { packet: 0..bytes.len(), metadata: 0, hard_end, bytes, ifindex, queue }
    }

    /// A packet for any program; `bytes` is used as the buffer. Without `frags`, all of it is in one piece.
    pub(crate) fn new(mut bytes: Vec<u8>, frags: bool, ifindex: u32, queue: u32) -> Self {
        let len = bytes.len();
        let room = if frags { HEAD_MAX } else { len.max(HEAD_MAX) };
        bytes.resize(len + HEADROOM, 0);
        bytes.copy_within(..len, HEADROOM);
        bytes[..HEADROOM].fill(0);
        let packet = HEADROOM..HEADROOM + len;
        Self { packet, metadata: HEADROOM, hard_end: HEADROOM + room, bytes, ifindex, queue }
    }

    /// The interface it came in on.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The receive queue it came in on.
    pub fn rx_queue(&self) -> u32 {
        self.queue
    }

    /// Bytes of the packet, fragments included.
    #[allow(clippy::len_without_is_empty)] // never empty: 14 bytes at least
    pub fn len(&self) -> usize {
        self.packet.len()
    }

    /// The bytes of the packet, fragments included (what `bpf_xdp_load_bytes` reads).
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.packet.clone()]
    }

    /// The bytes of the packet, to write (`bpf_xdp_store_bytes`).
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.packet.clone()]
    }

    /// Bytes that a program can read directly, without helper: the packet without its fragments.
    pub fn linear_len(&self) -> usize {
        self.packet.end.min(self.hard_end) - self.packet.start
    }

    /// Whether the packet has fragments.
    pub fn has_frags(&self) -> bool {
        self.packet.end > self.hard_end
    }

    /// The metadata before the packet; empty unless [`adjust_meta`](Self::adjust_meta) made some.
    pub fn metadata(&self) -> &[u8] {
        &self.bytes[self.metadata..self.packet.start]
    }

    /// The metadata before the packet, to write.
    pub fn metadata_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.metadata..self.packet.start]
    }

    /// Moves the start of the packet by `delta` bytes: negative makes it longer. Metadata moves along
    /// (`net/core/filter.c:bpf_xdp_adjust_head`).
    ///
    /// # Errors
    /// Not enough headroom, or fewer than 14 bytes left.
    pub fn adjust_head(&mut self, delta: i32) -> Result<(), AdjustError> {
        let metadata = self.packet.start - self.metadata;
        let start = self.packet.start.checked_add_signed(delta as isize).ok_or(AdjustError)?;
        let linear_end = self.packet.end.min(self.hard_end);
        if start < FRAME + metadata || start + ETH_HLEN > linear_end {
            return Err(AdjustError);
        }
        self.bytes.copy_within(self.metadata..self.packet.start, start - metadata);
        self.metadata = start - metadata;
        self.packet.start = start;
        Ok(())
    }

    /// Moves the end of the packet by `delta` bytes: positive makes it longer, with zeros
    /// (`net/core/filter.c:bpf_xdp_adjust_tail`).
    ///
    /// # Errors
    /// Not enough tailroom, a packet with fragments to make longer, or fewer than 14 bytes left.
    pub fn adjust_tail(&mut self, delta: i32) -> Result<(), AdjustError> {
        let end = self.packet.end.checked_add_signed(delta as isize).ok_or(AdjustError)?;
        if delta > 0 && (self.has_frags() || end > self.hard_end) {
            return Err(AdjustError);
        }
        if end < self.packet.start + ETH_HLEN {
            return Err(AdjustError);
        }
        self.bytes.truncate(self.packet.end);
        self.bytes.resize(end, 0);
        self.packet.end = end;
        Ok(())
    }

    /// Moves the start of the metadata by `delta` bytes: negative makes it longer
    /// (`net/core/filter.c:bpf_xdp_adjust_meta`).
    ///
    /// # Errors
    /// Not enough headroom, or a length that is no multiple of 4 or more than 252.
    pub fn adjust_meta(&mut self, delta: i32) -> Result<(), AdjustError> {
        let start = self.metadata.checked_add_signed(delta as isize).ok_or(AdjustError)?;
        if start < FRAME || start > self.packet.start {
            return Err(AdjustError);
        }
        let len = self.packet.start - start;
        if !len.is_multiple_of(4) || len > METADATA_MAX {
            return Err(AdjustError);
        }
        self.metadata = start;
        Ok(())
    }

    /// The packet alone, in a buffer of its own.
    pub(crate) fn into_packet(mut self) -> Vec<u8> {
        self.bytes.truncate(self.packet.end);
        if self.packet.start > 0 {
            self.bytes.drain(..self.packet.start);
        }
        self.bytes
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_grows_and_shrinks_within_its_room() {
        let mut buff = XdpBuff::new(vec![7; 60], true, 1, 0);
        assert_eq!(buff.adjust_head(-216), Ok(()));
        assert_eq!(buff.adjust_head(-1), Err(AdjustError));
        assert_eq!((buff.len(), &buff.data()[214..218]), (276, &[0, 0, 7, 7][..]));
        assert_eq!(buff.adjust_head(262), Ok(()));
        assert_eq!(buff.adjust_head(1), Err(AdjustError));
        assert_eq!(buff.adjust_tail(-1), Err(AdjustError));
        assert_eq!(buff.adjust_tail(2), Ok(()));
        assert_eq!(buff.data(), [[7; 14].as_slice(), &[0, 0]].concat());
        let room = HEAD_MAX as i32 + 256 - (256 + 60 + 2);
        assert_eq!(buff.adjust_tail(room + 1), Err(AdjustError));
        assert_eq!(buff.adjust_tail(room), Ok(()));
    }

    #[test]
    fn metadata_comes_in_words_and_moves_with_the_head() {
        let mut buff = XdpBuff::new(vec![7; 60], true, 1, 0);
        assert_eq!(buff.adjust_meta(-6), Err(AdjustError));
        assert_eq!(buff.adjust_meta(4), Err(AdjustError));
        assert_eq!(buff.adjust_meta(-220), Err(AdjustError));
        assert_eq!(buff.adjust_meta(-8), Ok(()));
        buff.metadata_mut().copy_from_slice(b"metadata");
        assert_eq!(buff.adjust_head(4), Ok(()));
        assert_eq!((buff.metadata(), buff.len()), (&b"metadata"[..], 56));
    }

    #[test]
    fn what_does_not_fit_the_page_is_fragments() {
        let whole = XdpBuff::new(vec![1; HEAD_MAX], true, 1, 0);
        assert!(!whole.has_frags());
        let mut more = XdpBuff::new(vec![1; HEAD_MAX + 1], true, 1, 0);
        assert_eq!((more.has_frags(), more.linear_len()), (true, HEAD_MAX));
        assert_eq!(more.adjust_tail(1), Err(AdjustError));
        assert_eq!(more.adjust_tail(-1), Ok(()));
        assert!(!more.has_frags());
    }
}
