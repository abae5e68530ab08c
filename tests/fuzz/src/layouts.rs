//! UMEM layouts of any numbers, descriptors of any kind in them, and rings at any offsets: refused, or within the memory.

use std::ops::Range;

use arbitrary::Arbitrary;
use xsk_core::abi::{UmemFlags, XSK_UNALIGNED_BUF_ADDR_MASK, xdp_desc, xdp_ring_offset};
use xsk_core::layout::Layout;
use xsk_core::region::Region;
use xsk_core::ring::{Consumer, Mapped, Producer, RingShapeError};

#[derive(Debug, Arbitrary)]
struct Input {
    chunk_size: u32,
    chunks: u32,
    headroom: u32,
    flags: u32,
    metadata: u32,
    descs: Vec<(u64, u32, u32)>,
    offsets: [u64; 4],
    /// Offsets near the memory, so that some fit.
    near: bool,
    capacity: u32,
}

pub fn run(data: &[u8]) {
    let Some(input) = crate::bytes::read::<Input>(data) else { return };
    layout(&input);
    ring(&input);
}

fn layout(input: &Input) {
    let flags = UmemFlags::from_bits_truncate(input.flags);
    let Ok(layout) = Layout::new(input.chunk_size, input.chunks, input.headroom, flags, input.metadata)
    else {
        return;
    };
    let memory = layout.len();
    let inside = |range: Range<u64>, what: &str| {
        assert!(
            range.start <= range.end && range.end <= memory,
            "{what}: {range:?} of {memory} bytes, {input:?}"
        );
    };
    // Addresses of any kind, and the same near the memory: most of what can go wrong is at its end.
    let near = |addr: u64| addr % (memory + 2 * u64::from(layout.chunk_size()));
    let descs = input.descs.iter().take(64);
    for (addr, len, options) in
        descs.flat_map(|&(addr, len, options)| [(addr, len, options), (near(addr), len % 4096, options)])
    {
        if let Some(range) = layout.buffer(addr) {
            inside(range, "a chunk");
        }
        if let Some(range) = layout.data(addr, len) {
            assert_eq!(range.end - range.start, u64::from(len));
            inside(range, "data");
        }
        if let Some(range) = layout.headroom_of(addr) {
            inside(range, "headroom");
        }
        let desc = xdp_desc { addr, len, options };
        if layout.check_tx(&desc).is_ok() {
            // The kernel takes an offset that leads out of the chunk it begins in, though not out of the memory.
            let start = if layout.is_unaligned() {
                (addr & XSK_UNALIGNED_BUF_ADDR_MASK) + (addr >> 48)
            } else {
                addr
            };
            inside(start..start + u64::from(len), "what may be sent");
        }
        if let Some(addr) = layout.frame_addr(len) {
            inside(layout.buffer(addr).expect("a frame's address names a chunk"), "a frame");
        }
    }
}

fn ring(input: &Input) {
    let memory = Region::new(4096).expect("a page");
    let place = |at: usize| if input.near { input.offsets[at] % 4200 } else { input.offsets[at] };
    let offsets = xdp_ring_offset { producer: place(0), consumer: place(1), desc: place(2), flags: place(3) };
    let capacity = if input.near { 1 << (input.capacity % 10) } else { input.capacity };
    // SAFETY: a region is page aligned and lives as long as the Arc that is kept; nobody else uses it.
    let ring = || unsafe {
        Mapped::<u64, _>::new(memory.as_ptr(), memory.len(), &offsets, capacity, memory.clone())
    };
    match ring() {
        Err(RingShapeError { len, .. }) => assert_eq!(len, 4096),
        Ok(storage) => {
            // Words and slots may be on top of each other: a kernel that says so gets what it asked for, in its memory.
            // SAFETY: the only producer, then the only consumer.
            let mut producer = unsafe { Producer::new(storage) };
            let _ = producer.produce_some(&[1, 2, 3], |entry| *entry);
            let _ = producer.needs_wakeup();
            // SAFETY: as above.
            let mut consumer = unsafe { Consumer::new(ring().expect("as before")) };
            let _ = consumer.consume(&mut [0; 4], |to, entry| *to = entry);
        }
    }
}
