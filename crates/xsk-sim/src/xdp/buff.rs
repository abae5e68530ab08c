//! A packet as an XDP program sees it.

use thiserror::Error;

/// A packet as an XDP program sees it (`struct xdp_buff`).
///
/// It has 256 bytes of headroom, of which 40 are the kernel's, and as much room behind it as Linux leaves: short packets share
/// a page. A packet that does not fit a page has fragments behind it; programs that do not take fragments never see such a
/// packet.
#[derive(Debug)]
pub struct XdpBuff {
    /// Headroom, and the packet to its end. But while a program has it, headroom is [`HEADROOM`] zeros.
    bytes: Vec<u8>,
    /// Where the packet starts.
    start: usize,
    /// Where the metadata before it starts.
    metadata: usize,
    /// The first byte that was ever the program's: those before are zeros.
    low: usize,
    /// Where the page's room for data ends; bytes of the packet beyond it are fragments.
    hard_end: usize,
    /// How far the packet may grow.
    room_end: usize,
    ifindex: u32,
    queue: u32,
}

/// Bytes in front of a packet when a program starts (`include/uapi/linux/bpf.h:XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Of the headroom, bytes that the kernel needs for itself (`sizeof(struct xdp_frame)`).
const FRAME: usize = 40;
/// Bytes of data that the page of a packet's head takes, behind the headroom and before `struct skb_shared_info`.
pub(crate) const HEAD_MAX: usize = 4096 - HEADROOM - SHARED_INFO;
/// Bytes of `struct skb_shared_info`.
const SHARED_INFO: usize = crate::profile::SHARED_INFO as usize;
const ETH_HLEN: usize = 14;
const METADATA_MAX: usize = 252;

/// An adjustment that the kernel refuses with `EINVAL`. The packet stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the packet has no room for that, or would get too short")]
pub struct AdjustError;

impl XdpBuff {
    /// No packet yet.
    pub(crate) fn empty() -> Self {
        let (start, metadata, low, hard_end) = (HEADROOM, HEADROOM, HEADROOM, HEADROOM + HEAD_MAX);
        Self {
            bytes: vec![0; HEADROOM],
            start,
            metadata,
            low,
            hard_end,
            room_end: hard_end,
            ifindex: 0,
            queue: 0,
        }
    }

    /// Where bytes of the packet are appended.
    #[inline]
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// No packet any more.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(HEADROOM);
    }

    /// A program gets it. Its first piece has room for so many bytes.
    #[inline]
    pub(crate) fn begin(&mut self, room: usize, ifindex: u32, queue: u32) {
        self.hard_end = HEADROOM + room;
        self.room_end = self.hard_end;
        (self.ifindex, self.queue) = (ifindex, queue);
    }

    /// As [`begin`](Self::begin), of a packet in zero-copy frames that take so many bytes each. It cannot grow into the last
    /// 320, where `struct skb_shared_info` would be.
    pub(crate) fn begin_in_frame(&mut self, frame: usize, ifindex: u32, queue: u32) {
        self.hard_end = HEADROOM + frame;
        self.room_end = self.hard_end - SHARED_INFO;
        (self.ifindex, self.queue) = (ifindex, queue);
    }

    /// How far a program moved the start of the packet.
    pub(crate) fn shift(&self) -> i64 {
        self.start as i64 - HEADROOM as i64
    }

    /// The program has left it, and its metadata is taken care of: a packet as any other.
    #[inline]
    pub(crate) fn end(&mut self) {
        if self.low != HEADROOM || self.start != HEADROOM {
            self.put_right();
        }
    }

    #[cold]
    fn put_right(&mut self) {
        let end = HEADROOM + self.len();
        if end > self.bytes.len() {
            let packet = self.start..self.bytes.len();
            self.bytes.resize(end, 0);
            self.bytes.copy_within(packet, HEADROOM);
        } else {
            self.bytes.copy_within(self.start.., HEADROOM);
            self.bytes.truncate(end);
        }
        self.bytes[self.low..HEADROOM].fill(0);
        (self.start, self.metadata, self.low) = (HEADROOM, HEADROOM, HEADROOM);
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
        self.bytes.len() - self.start
    }

    /// The bytes of the packet, fragments included (what `bpf_xdp_load_bytes` reads).
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The bytes of the packet, to write (`bpf_xdp_store_bytes`).
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Bytes that a program can read directly, without helper: the packet without its fragments.
    pub fn linear_len(&self) -> usize {
        self.bytes.len().min(self.hard_end) - self.start
    }

    /// Whether the packet has fragments.
    pub fn has_frags(&self) -> bool {
        self.bytes.len() > self.hard_end
    }

    /// The metadata before the packet; empty unless [`adjust_meta`](Self::adjust_meta) made some.
    pub fn metadata(&self) -> &[u8] {
        &self.bytes[self.metadata..self.start]
    }

    /// The metadata before the packet, to write.
    pub fn metadata_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.metadata..self.start]
    }

    /// Moves the start of the packet by `delta` bytes: negative makes it longer. Metadata moves along
    /// (`net/core/filter.c:bpf_xdp_adjust_head`).
    ///
    /// # Errors
    /// Not enough headroom, or fewer than 14 bytes left.
    pub fn adjust_head(&mut self, delta: i32) -> Result<(), AdjustError> {
        let metadata = self.start - self.metadata;
        let start = self.start.checked_add_signed(delta as isize).ok_or(AdjustError)?;
        let linear_end = self.bytes.len().min(self.hard_end);
        if start < FRAME + metadata || start + ETH_HLEN > linear_end {
            return Err(AdjustError);
        }
        self.bytes.copy_within(self.metadata..self.start, start - metadata);
        self.metadata = start - metadata;
        self.low = self.low.min(self.metadata);
        self.start = start;
        Ok(())
    }

    /// Moves the end of the packet by `delta` bytes: positive makes it longer, with zeros
    /// (`net/core/filter.c:bpf_xdp_adjust_tail`).
    ///
    /// # Errors
    /// Not enough tailroom, a packet with fragments to make longer, or fewer than 14 bytes left.
    pub fn adjust_tail(&mut self, delta: i32) -> Result<(), AdjustError> {
        let end = self.bytes.len().checked_add_signed(delta as isize).ok_or(AdjustError)?;
        if delta > 0 && (self.has_frags() || end > self.room_end) {
            return Err(AdjustError);
        }
        if end < self.start + ETH_HLEN {
            return Err(AdjustError);
        }
        self.bytes.resize(end, 0);
        Ok(())
    }

    /// Moves the start of the metadata by `delta` bytes: negative makes it longer
    /// (`net/core/filter.c:bpf_xdp_adjust_meta`).
    ///
    /// # Errors
    /// Not enough headroom, or a length that is no multiple of 4 or more than 252.
    pub fn adjust_meta(&mut self, delta: i32) -> Result<(), AdjustError> {
        let start = self.metadata.checked_add_signed(delta as isize).ok_or(AdjustError)?;
        if start < FRAME || start > self.start {
            return Err(AdjustError);
        }
        let len = self.start - start;
        if !len.is_multiple_of(4) || len > METADATA_MAX {
            return Err(AdjustError);
        }
        self.metadata = start;
        self.low = self.low.min(start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(len: usize, byte: u8) -> XdpBuff {
        let mut buff = XdpBuff::empty();
        buff.tail().extend(vec![byte; len]);
        buff.begin(HEAD_MAX, 1, 0);
        buff
    }

    #[test]
    fn a_packet_that_was_adjusted_leaves_clean_headroom() {
        for (head, meta) in [(0, 0), (0, -8), (4, 0), (-4, 0), (-4, -8), (8, -12), (-40, -8)] {
            let mut buff = packet(60, 7);
            buff.adjust_meta(meta).unwrap();
            buff.metadata_mut().fill(9);
            buff.adjust_head(head).unwrap();
            let expected = buff.data().to_vec();
            assert_eq!(expected.len() as i32, 60 - head);
            buff.end();
            assert_eq!((buff.data(), buff.metadata()), (&*expected, &[][..]), "{head} {meta}");
            assert_eq!(buff.bytes[..HEADROOM], [0; HEADROOM], "{head} {meta}");
        }
    }

    #[test]
    fn a_packet_grows_and_shrinks_within_its_room() {
        let mut buff = packet(60, 7);
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
        let mut buff = packet(60, 7);
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
        let whole = packet(HEAD_MAX, 1);
        assert!(!whole.has_frags());
        let mut more = packet(HEAD_MAX + 1, 1);
        assert_eq!((more.has_frags(), more.linear_len()), (true, HEAD_MAX));
        assert_eq!(more.adjust_tail(1), Err(AdjustError));
        assert_eq!(more.adjust_tail(-1), Ok(()));
        assert!(!more.has_frags());
    }
}
