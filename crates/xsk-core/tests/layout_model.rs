//! The frame arithmetic against plain arithmetic on wide integers, over all shapes and any address.

mod support;

use std::ops::Range;

use proptest::prelude::*;
use support::regressions;
use xsk_core::abi::{UmemFlags, XDP_PACKET_HEADROOM, xdp_desc};
use xsk_core::layout::{DescError, Layout, LayoutError};

/// A UMEM in numbers that cannot overflow.
#[derive(Debug, Clone, Copy)]
struct Model {
    chunk_size: u128,
    chunks: u128,
    headroom: u128,
    metadata: u128,
    unaligned: bool,
}

const TWO_TO_48: u128 = 1 << 48;
const TWO_TO_16: u128 = 1 << 16;

impl Model {
    fn len(&self) -> u128 {
        self.chunk_size * self.chunks
    }

    fn data_offset(&self) -> u128 {
        self.headroom + 256
    }

    /// What a layout of these values must say, in the order of its checks.
    fn refusal(&self, values: Values) -> Option<LayoutError> {
        let Values { chunk_size, chunks, headroom, metadata, .. } = values;
        let no_power = self.chunk_size.count_ones() != 1;
        let too_far =
            self.data_offset() >= self.chunk_size || self.unaligned && self.data_offset() >= TWO_TO_16;
        if self.chunk_size < 2048 {
            Some(LayoutError::ChunkSizeTooSmall(chunk_size))
        } else if !self.unaligned && no_power {
            Some(LayoutError::ChunkSizeNotPowerOfTwo(chunk_size))
        } else if too_far {
            Some(LayoutError::Headroom { headroom, chunk_size })
        } else if self.chunks == 0 {
            Some(LayoutError::NoChunks)
        } else if self.len() >= TWO_TO_48 {
            Some(LayoutError::TooLong { chunks, chunk_size })
        } else if values.metadata_meant && (metadata >= 256 || metadata % 8 != 0) {
            Some(LayoutError::TxMetadataLen(metadata))
        } else {
            None
        }
    }

    /// Chunk start and distance.
    fn split(&self, addr: u64) -> Option<(u128, u128)> {
        let addr = u128::from(addr);
        let (base, offset) = if self.unaligned {
            (addr % TWO_TO_48, addr / TWO_TO_48)
        } else {
            (addr / self.chunk_size * self.chunk_size, addr % self.chunk_size)
        };
        (base + self.chunk_size <= self.len() && offset <= self.chunk_size).then_some((base, offset))
    }

    fn buffer(&self, addr: u64) -> Option<Range<u128>> {
        let (base, offset) = self.split(addr)?;
        Some(base + offset..base + self.chunk_size)
    }

    fn data(&self, addr: u64, len: u32) -> Option<Range<u128>> {
        let Range { start, end } = self.buffer(addr)?;
        let wanted = start + u128::from(len);
        (wanted <= end).then_some(start..wanted)
    }

    fn headroom_of(&self, addr: u64) -> Option<Range<u128>> {
        let (base, offset) = self.split(addr)?;
        Some(base..base + offset.min(self.headroom))
    }

    fn frame_addr(&self, index: u32) -> Option<u128> {
        let index = u128::from(index);
        let shift = if self.unaligned { TWO_TO_48 } else { 1 };
        (index < self.chunks).then(|| index * self.chunk_size + self.data_offset() * shift)
    }

    /// Whether the packet and the metadata before it lie in the UMEM, and (aligned) in one chunk of it, or (unaligned) are
    /// no longer than a chunk.
    fn takes(&self, addr: u64, len: u32) -> bool {
        let addr = u128::from(addr);
        let real = if self.unaligned { addr % TWO_TO_48 + addr / TWO_TO_48 } else { addr };
        let end = real + u128::from(len);
        let Some(start) = real.checked_sub(self.metadata) else { return false };
        let in_one_chunk = if self.unaligned {
            end - start <= self.chunk_size
        } else {
            start / self.chunk_size == (end - 1) / self.chunk_size
        };
        in_one_chunk && end <= self.len()
    }
}

/// What a layout is asked to be.
#[derive(Debug, Clone, Copy)]
struct Values {
    chunk_size: u32,
    chunks: u32,
    headroom: u32,
    metadata: u32,
    unaligned: bool,
    metadata_meant: bool,
}

impl Values {
    fn flags(self) -> UmemFlags {
        let mut flags = UmemFlags::empty();
        flags.set(UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG, self.unaligned);
        flags.set(UmemFlags::XDP_UMEM_TX_METADATA_LEN, self.metadata_meant);
        flags
    }

    fn layout(self) -> Result<Layout, LayoutError> {
        Layout::new(self.chunk_size, self.chunks, self.headroom, self.flags(), self.metadata)
    }

    fn model(self) -> Model {
        Model {
            chunk_size: self.chunk_size.into(),
            chunks: self.chunks.into(),
            headroom: self.headroom.into(),
            metadata: if self.metadata_meant { self.metadata.into() } else { 0 },
            unaligned: self.unaligned,
        }
    }
}

/// Values of any kind; most are refused.
fn any_values() -> impl Strategy<Value = Values> {
    let size =
        prop_oneof![(0..32_u32).prop_map(|bits| 1 << bits), 2040..9000_u32, any::<u32>(), Just(65536_u32),];
    let headroom = prop_oneof![0..9000_u32, 65000..66000_u32, u32::MAX - 300..=u32::MAX, any::<u32>(),];
    let chunks = prop_oneof![0..5_u32, any::<u32>()];
    let metadata = prop_oneof![0..300_u32, any::<u32>()];
    (size, chunks, headroom, metadata, any::<bool>(), any::<bool>()).prop_map(
        |(chunk_size, chunks, headroom, metadata, unaligned, metadata_meant)| Values {
            chunk_size,
            chunks,
            headroom,
            metadata,
            unaligned,
            metadata_meant,
        },
    )
}

/// Values that make a layout.
fn good_values() -> impl Strategy<Value = Values> {
    let size = (any::<bool>(), 11..=16_u32, 2048..70_000_u32);
    let size = size.prop_map(|(unaligned, bits, odd)| (unaligned, if unaligned { odd } else { 1 << bits }));
    let chunks = prop_oneof![4 => 1..100_u32, 1 => 1..=u32::MAX];
    (size, chunks, any::<prop::sample::Index>(), 0..32_u32, any::<bool>()).prop_map(
        |((unaligned, chunk_size), chunks, headroom, metadata, metadata_meant)| {
            let most = chunk_size.min(65536) - XDP_PACKET_HEADROOM;
            Values {
                chunk_size,
                // Of unaligned addresses, 48 bits are left for all chunks.
                chunks: u64::from(chunks).min(((1 << 48) - 1) / u64::from(chunk_size)) as u32,
                headroom: headroom.index(most as usize) as u32,
                metadata: metadata * 8,
                unaligned,
                metadata_meant,
            }
        },
    )
}

/// Where an address may be interesting.
#[derive(Debug, Clone, Copy)]
struct Spot {
    chunk: prop::sample::Index,
    past_the_end: bool,
    by: i32,
    offset: u64,
    raw: u64,
    kind: u8,
}

impl Spot {
    /// An address near a boundary of a chunk or of the UMEM, with or without an offset half, or any address at all.
    fn addr(self, values: Values) -> u64 {
        let size = u64::from(values.chunk_size);
        let chunk = if self.past_the_end {
            values.chunks.into()
        } else {
            self.chunk.index(values.chunks as usize) as u64
        };
        let near = (chunk * size).wrapping_add_signed(self.by.into());
        match self.kind {
            0 => near,
            1 => near & ((1 << 48) - 1) | (self.offset % (2 * size)) << 48,
            // An offset half next to the chunk's size.
            2 => near & ((1 << 48) - 1) | size.wrapping_add_signed(i64::from(self.by % 3)) << 48,
            _ => self.raw,
        }
    }
}

fn any_spot() -> impl Strategy<Value = Spot> {
    let by = prop_oneof![-3..=3_i32, -300..=300_i32, -70_000..=70_000_i32];
    (any::<prop::sample::Index>(), any::<bool>(), by, any::<u64>(), any::<u64>(), 0..4_u8).prop_map(
        |(chunk, past_the_end, by, offset, raw, kind)| Spot { chunk, past_the_end, by, offset, raw, kind },
    )
}

fn wide(range: Option<Range<u64>>) -> Option<Range<u128>> {
    range.map(|range| range.start.into()..range.end.into())
}

proptest! {
    #![proptest_config(regressions::config("layout_model"))]

    #[test]
    fn a_layout_is_made_or_refused(values in any_values()) {
        let model = values.model();
        match values.layout() {
            Err(error) => {
                prop_assert_eq!(Some(error), model.refusal(values));
                let text = error.to_string();
                let too_far = values.headroom < values.chunk_size - XDP_PACKET_HEADROOM.min(values.chunk_size);
                prop_assert_eq!(text.contains("65536,"), matches!(error, LayoutError::Headroom { .. }) && too_far);
            }
            Ok(layout) => {
                prop_assert_eq!(None, model.refusal(values));
                prop_assert_eq!(u128::from(layout.len()), model.len());
                prop_assert_eq!(layout.flags(), values.flags());
            }
        }
    }

    #[test]
    fn a_layout_says_what_it_was_made_of(values in good_values()) {
        let (layout, model) = (values.layout().unwrap(), values.model());
        prop_assert_eq!((layout.chunk_size(), layout.chunks()), (values.chunk_size, values.chunks));
        prop_assert_eq!((layout.headroom(), u128::from(layout.tx_metadata_len())), (values.headroom, model.metadata));
        prop_assert_eq!(layout.is_unaligned(), values.unaligned);
        prop_assert_eq!(u128::from(layout.data_offset()), model.data_offset());
        prop_assert_eq!(u128::from(layout.room()), model.chunk_size - model.data_offset());
        prop_assert!(!layout.is_empty());
    }

    #[test]
    fn addresses_are_resolved(values in good_values(), spot in any_spot(), len in prop_oneof![0..70_000_u32, any::<u32>()]) {
        let (layout, model, addr) = (values.layout().unwrap(), values.model(), spot.addr(values));
        let split = layout.split(addr).map(|(base, offset)| (base.into(), offset.into()));
        prop_assert_eq!(split, model.split(addr));
        prop_assert_eq!(wide(layout.buffer(addr)), model.buffer(addr));
        prop_assert_eq!(wide(layout.headroom_of(addr)), model.headroom_of(addr));
        prop_assert_eq!(wide(layout.data(addr, len)), model.data(addr, len));
        // The longest that fits, and one byte more.
        if let Some(buffer) = layout.buffer(addr) {
            let room = (buffer.end - buffer.start) as u32;
            prop_assert!(buffer.end <= layout.len());
            prop_assert_eq!(layout.data(addr, room), Some(buffer));
            prop_assert_eq!(layout.data(addr, room + 1), None);
        }
    }

    #[test]
    fn frames_are_found_again(values in good_values(), index in any::<prop::sample::Index>(), other in any::<u32>()) {
        let (layout, model) = (values.layout().unwrap(), values.model());
        for index in [index.index(values.chunks as usize) as u32, other, values.chunks - 1, values.chunks] {
            let addr = layout.frame_addr(index);
            prop_assert_eq!(addr.map(u128::from), model.frame_addr(index));
            if let Some(addr) = addr {
                let base = u64::from(index) * u64::from(values.chunk_size);
                prop_assert_eq!(layout.split(addr), Some((base, layout.data_offset())));
                prop_assert_eq!(layout.headroom_of(addr), Some(base..base + u64::from(values.headroom)));
            }
        }
    }

    #[test]
    fn packets_take_as_many_chunks_as_they_need(values in good_values(), len in any::<u32>()) {
        let layout = values.layout().unwrap();
        for len in [len, len % 100_000, 0, layout.room(), layout.room() + 1] {
            let (chunks, room) = (u64::from(layout.chunks_for(len)), u64::from(layout.room()));
            prop_assert!(chunks >= 1 && chunks * room >= u64::from(len));
            prop_assert!(chunks == 1 || (chunks - 1) * room < u64::from(len), "{} chunks for {}", chunks, len);
        }
    }

    #[test]
    fn descriptors_to_send_are_judged_as_the_kernel_does(
        values in good_values(),
        spot in any_spot(),
        len in prop_oneof![0..70_000_u32, any::<u32>()],
        slack in -2..=2_i64,
        options in prop_oneof![3 => 0..4_u32, 1 => any::<u32>()],
    ) {
        let (layout, model, addr) = (values.layout().unwrap(), values.model(), spot.addr(values));
        // Any length, and those that come closest to the end of the chunk.
        let to_end = layout.buffer(addr).map_or(len, |buffer| (buffer.end - buffer.start) as u32);
        let whole = i64::from(values.chunk_size) - model.metadata as i64;
        for len in [len, to_end, to_end.wrapping_add_signed(slack as i32), (whole + slack).max(0) as u32] {
            let desc = xdp_desc { addr, len, options };
            let verdict = match () {
                () if len == 0 => Err(DescError::Empty),
                () if options > 3 => Err(DescError::Options(options)),
                () if model.takes(addr, len) => Ok(()),
                () => Err(DescError::OutOfBounds(desc)),
            };
            prop_assert_eq!(layout.check_tx(&desc), verdict);
        }
    }
}

/// Every chunk size from the smallest to a page, both ways, and the addresses at each edge of each chunk.
#[test]
fn all_chunk_sizes() {
    for chunk_size in 2048..=4096 {
        for unaligned in [false, true] {
            let values =
                Values { chunk_size, chunks: 3, headroom: 64, metadata: 16, unaligned, metadata_meant: true };
            let model = values.model();
            let Ok(layout) = values.layout() else {
                assert!(!unaligned && !chunk_size.is_power_of_two());
                continue;
            };
            for edge in (0..=3).map(|chunk| chunk * u64::from(chunk_size)) {
                for addr in edge.saturating_sub(17)..edge + 18 {
                    for addr in
                        [addr, addr | u64::from(chunk_size) << 48, addr | (u64::from(chunk_size) + 1) << 48]
                    {
                        let split = layout.split(addr).map(|(base, offset)| (base.into(), offset.into()));
                        assert_eq!(split, model.split(addr), "{addr:#x} in {layout:?}");
                        for len in [1, chunk_size - 17, chunk_size - 16, chunk_size - 15] {
                            let taken = layout.check_tx(&xdp_desc { addr, len, options: 0 }).is_ok();
                            assert_eq!(
                                taken,
                                model.takes(addr, len),
                                "{len} bytes at {addr:#x} in {layout:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_longest_umem() {
    for unaligned in [false, true] {
        let chunks = |chunks| Values {
            chunk_size: 1 << 20,
            chunks,
            headroom: 0,
            metadata: 0,
            unaligned,
            metadata_meant: false,
        };
        let too_long = LayoutError::TooLong { chunks: 1 << 28, chunk_size: 1 << 20 };
        assert_eq!(chunks(1 << 28).layout(), Err(too_long));
        let longest = chunks((1 << 28) - 1).layout().unwrap();
        assert_eq!(longest.len(), (1 << 48) - (1 << 20));
        assert_eq!(longest.split(longest.len() - (1 << 20)), Some((longest.len() - (1 << 20), 0)));
    }
}

/// An offset that the upper 16 bits of an address cannot hold was once accepted, and cut off.
#[test]
fn unaligned_headroom_fits_an_address() {
    let values = |headroom| Values {
        chunk_size: 1 << 17,
        chunks: 2,
        headroom,
        metadata: 0,
        unaligned: true,
        metadata_meant: false,
    };
    let most = (1 << 16) - 1 - XDP_PACKET_HEADROOM;
    let layout = values(most).layout().unwrap();
    assert_eq!(layout.split(layout.frame_addr(1).unwrap()), Some((1 << 17, 65535)));
    let error = values(most + 1).layout().unwrap_err();
    assert_eq!(error, LayoutError::Headroom { headroom: most + 1, chunk_size: 1 << 17 });
    assert_eq!(
        error.to_string(),
        "total headroom 65536 must be less than 65536, what an unaligned address holds"
    );
}
