//! Frames: their descriptors, and views of their bytes.

use std::borrow::{Borrow, BorrowMut};
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::mem::offset_of;
use std::ops::{Deref, DerefMut};
use std::ptr;

use xsk_core::abi::{XDP_PKT_CONTD, xdp_desc};

/// How many bytes of a frame's headroom and data are in use.
// Its fields are those of a FrameDesc behind the address, so that a descriptor can show them as one.
#[repr(C)]
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLengths {
    data: u32,
    options: u32,
    headroom: u32,
}

impl SegmentLengths {
    /// Bytes of the headroom.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.headroom as usize
    }

    /// Bytes of the data: the length of the packet in this frame.
    #[inline]
    pub fn data(&self) -> usize {
        self.data as usize
    }
}

impl fmt::Debug for SegmentLengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentLengths").field("headroom", &self.headroom).field("data", &self.data).finish()
    }
}

/// Names a frame, or a place in one, and says how much of it is in use.
///
/// A descriptor is `Copy` and owns nothing: that a frame is handed over only once is the user's to see to, which is why
/// handing it over is `unsafe`.
// The kernel's descriptor is one field, so that it moves between a ring and this in one copy of 16 bytes.
#[repr(C)]
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub struct FrameDesc {
    desc: xdp_desc,
    headroom: u32,
    /// Always 0: so that the sixteen bytes behind the address are set at once.
    _rest: u32,
}

const _: () = {
    // `lengths` shows the tail of a FrameDesc as its lengths.
    assert!(offset_of!(FrameDesc, desc) == 0 && offset_of!(xdp_desc, len) == LENGTHS);
    assert!(offset_of!(xdp_desc, len) == LENGTHS + offset_of!(SegmentLengths, data));
    assert!(offset_of!(xdp_desc, options) == LENGTHS + offset_of!(SegmentLengths, options));
    assert!(offset_of!(FrameDesc, headroom) == LENGTHS + offset_of!(SegmentLengths, headroom));
};

/// Where the lengths are in a [`FrameDesc`].
const LENGTHS: usize = 8;

impl FrameDesc {
    #[inline]
    pub(crate) fn at(addr: u64) -> Self {
        Self { desc: xdp_desc { addr, len: 0, options: 0 }, headroom: 0, _rest: 0 }
    }

    /// Where the packet's data starts, as an offset in the UMEM (with unaligned chunks: base and offset, as the kernel has
    /// it).
    #[inline]
    pub fn addr(&self) -> usize {
        self.desc.addr as usize
    }

    /// How many bytes are in use.
    #[inline]
    pub fn lengths(&self) -> &SegmentLengths {
        // SAFETY: these bytes of `self` are three u32 that are those of a SegmentLengths (asserted above); the result
        // borrows `self`.
        unsafe { &*ptr::from_ref(self).byte_add(LENGTHS).cast() }
    }

    /// The descriptor's options: `XDP_PKT_CONTD`, `XDP_TX_METADATA`.
    #[inline]
    pub fn options(&self) -> u32 {
        self.desc.options
    }

    /// Sets the descriptor's options. The kernel refuses unknown bits when the frame is sent.
    #[inline]
    pub fn set_options(&mut self, options: u32) {
        self.desc.options = options;
    }

    /// Whether the packet continues in the next descriptor.
    #[inline]
    pub fn has_more_frames(&self) -> bool {
        self.desc.options & XDP_PKT_CONTD != 0
    }

    #[inline]
    pub(crate) fn raw_addr(&self) -> u64 {
        self.desc.addr
    }

    /// The headroom's and the data's length.
    #[inline]
    pub(crate) fn lengths_mut(&mut self) -> (&mut u32, &mut u32) {
        (&mut self.headroom, &mut self.desc.len)
    }

    #[inline]
    pub(crate) fn receive(&mut self, desc: xdp_desc) {
        *self = Self { desc, headroom: 0, _rest: 0 };
    }

    #[inline]
    pub(crate) fn transmit(&self) -> xdp_desc {
        self.desc
    }
}

impl fmt::Debug for FrameDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameDesc")
            .field("addr", &self.desc.addr)
            .field("lengths", self.lengths())
            .field("options", &self.options())
            .finish()
    }
}

macro_rules! view {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name<'umem> {
            contents: &'umem [u8],
        }

        impl<'umem> $name<'umem> {
            #[inline]
            pub(crate) fn new(contents: &'umem [u8]) -> Self {
                Self { contents }
            }
        }

        impl AsRef<[u8]> for $name<'_> {
            fn as_ref(&self) -> &[u8] {
                self.contents
            }
        }

        impl Borrow<[u8]> for $name<'_> {
            fn borrow(&self) -> &[u8] {
                self.contents
            }
        }

        impl Deref for $name<'_> {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                self.contents
            }
        }
    };
}

view! {
    /// The headroom of a frame, as long as its descriptor says.
    Headroom
}

impl Headroom<'_> {
    /// The bytes.
    #[inline]
    pub fn contents(&self) -> &[u8] {
        self.contents
    }
}

view! {
    /// The packet in a frame, as long as its descriptor says.
    Data
}

impl<'umem> Data<'umem> {
    /// The bytes.
    #[inline]
    pub fn contents(&self) -> &'umem [u8] {
        self.contents
    }
}

macro_rules! view_mut {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name<'umem> {
            len: &'umem mut u32,
            buffer: &'umem mut [u8],
        }

        impl<'umem> $name<'umem> {
            #[inline]
            pub(crate) fn new(len: &'umem mut u32, buffer: &'umem mut [u8]) -> Self {
                Self { len, buffer }
            }

            /// The bytes in use: as many as the descriptor says, none beyond the frame.
            #[inline]
            pub fn contents(&self) -> &[u8] {
                let len = (*self.len as usize).min(self.buffer.len());
                &self.buffer[..len]
            }

            /// The bytes in use, to write.
            #[inline]
            pub fn contents_mut(&mut self) -> &mut [u8] {
                let len = (*self.len as usize).min(self.buffer.len());
                &mut self.buffer[..len]
            }

            /// Writes behind the bytes in use, and so lengthens them.
            #[inline]
            pub fn cursor(&mut self) -> Cursor<'_> {
                Cursor { len: self.len, buffer: self.buffer }
            }
        }

        impl AsRef<[u8]> for $name<'_> {
            fn as_ref(&self) -> &[u8] {
                self.contents()
            }
        }

        impl AsMut<[u8]> for $name<'_> {
            fn as_mut(&mut self) -> &mut [u8] {
                self.contents_mut()
            }
        }

        impl Borrow<[u8]> for $name<'_> {
            fn borrow(&self) -> &[u8] {
                self.contents()
            }
        }

        impl BorrowMut<[u8]> for $name<'_> {
            fn borrow_mut(&mut self) -> &mut [u8] {
                self.contents_mut()
            }
        }

        impl Deref for $name<'_> {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                self.contents()
            }
        }

        impl DerefMut for $name<'_> {
            fn deref_mut(&mut self) -> &mut [u8] {
                self.contents_mut()
            }
        }
    };
}

view_mut! {
    /// The headroom of a frame, to write. Its length is the descriptor's.
    HeadroomMut
}

view_mut! {
    /// The data of a frame, to write. Its length is the descriptor's.
    DataMut
}

/// A place in a frame's headroom or data: writing there sets the segment's length to where it ends.
#[derive(Debug)]
pub struct Cursor<'a> {
    len: &'a mut u32,
    buffer: &'a mut [u8],
}

impl Cursor<'_> {
    /// The position: the length of the segment.
    #[inline]
    pub fn pos(&self) -> usize {
        *self.len as usize
    }

    /// Sets the position, and with it the length of the segment; at most to the end of the buffer.
    #[inline]
    pub fn set_pos(&mut self, pos: usize) {
        // A buffer is part of a frame, whose size is a u32.
        *self.len = pos.min(self.buffer.len()) as u32;
    }

    /// Bytes that the segment may have at most.
    #[inline]
    pub fn buf_len(&mut self) -> usize {
        self.buffer.len()
    }

    /// Zeroes the whole buffer and sets the position to its start.
    #[inline]
    pub fn zero_out(&mut self) {
        self.buffer.fill(0);
        self.set_pos(0);
    }
}

impl Write for Cursor<'_> {
    /// Writes what fits.
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pos = self.pos().min(self.buffer.len());
        let count = bytes.len().min(self.buffer.len() - pos);
        self.buffer[pos..pos + count].copy_from_slice(&bytes[..count]);
        self.set_pos(pos + count);
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // Once it is full nothing more is written.
        slices.iter().map(|bytes| self.write(bytes)).sum()
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_starts_with_the_kernels() {
        assert_eq!(size_of::<FrameDesc>(), 24);
        let mut desc = FrameDesc::at(5);
        desc.receive(xdp_desc { addr: 256, len: 60, options: 1 });
        assert!(desc.has_more_frames());
        let mut other = FrameDesc::at(5);
        other.set_options(2);
        assert!(!other.has_more_frames());
        assert_eq!(desc.transmit(), xdp_desc { addr: 256, len: 60, options: 1 });
        let shown = "FrameDesc { addr: 256, lengths: SegmentLengths { headroom: 0, data: 60 }, options: 1 }";
        assert_eq!(format!("{desc:?}"), shown);
        let (headroom, data) = desc.lengths_mut();
        (*headroom, *data) = (7, 9);
        assert_eq!((desc.lengths().headroom(), desc.lengths().data(), desc.options()), (7, 9, 1));
        assert_eq!(desc.lengths(), &SegmentLengths { data: 9, options: 1, headroom: 7 });
    }

    #[test]
    fn a_view_is_its_bytes() {
        assert_eq!(
            (Headroom::new(b"abc").contents(), Data::new(b"de").contents()),
            (&b"abc"[..], &b"de"[..])
        );
    }

    #[test]
    fn the_cursor_is_the_length() {
        let (mut len, mut buffer) = (0, [9; 8]);
        let mut data = DataMut::new(&mut len, &mut buffer);
        data.cursor().write_all(b"abcde").unwrap();
        assert_eq!(data.contents(), b"abcde");
        let mut cursor = data.cursor();
        assert_eq!((cursor.pos(), cursor.buf_len()), (5, 8));
        assert_eq!(
            cursor.write_vectored(&[IoSlice::new(b"fg"), IoSlice::new(b"hij"), IoSlice::new(b"k")]).unwrap(),
            3
        );
        assert_eq!(cursor.pos(), 8);
        assert!(cursor.write_all(b"x").is_err());
        cursor.set_pos(99);
        assert_eq!(cursor.pos(), 8);
        cursor.set_pos(2);
        assert_eq!(&*data, b"ab");
        data.cursor().zero_out();
        assert!(data.is_empty());
        assert_eq!((len, buffer), (0, [0; 8]));
    }

    #[test]
    fn a_length_beyond_the_frame_shows_the_frame() {
        let (mut len, mut buffer) = (u32::MAX, [1; 4]);
        let mut data = DataMut::new(&mut len, &mut buffer);
        assert_eq!(data.contents_mut().len(), 4);
        assert_eq!(data.cursor().write(b"x").unwrap(), 0);
    }
}
