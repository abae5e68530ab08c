//! A kernel's half of the rings, as the models drive it.

use xsk_core::abi::xdp_desc;

use super::loom_ring::LoomRing;

/// A kernel: its two kinds of ring halves.
pub trait KernelHalf: 'static {
    type Producer<T: Entry>: ProducerHalf<T> + 'static;
    type Consumer<T: Entry>: ConsumerHalf<T> + 'static;
}

/// The kernel as the producer of an RX or completion ring.
pub trait ProducerHalf<T> {
    /// Of an empty ring whose indices stand at `start`.
    fn new(ring: LoomRing<T>, start: u32) -> Self;
    /// Writes or promises one entry that is not published yet. False if there is no room, after a fresh look.
    fn reserve(&mut self, entry: T) -> bool;
    /// Publishes what was reserved.
    fn submit(&mut self);
}

/// The kernel as the consumer of a fill or TX ring.
pub trait ConsumerHalf<T> {
    /// Of an empty ring whose indices stand at `start`.
    fn new(ring: LoomRing<T>, start: u32, release: Release) -> Self;
    /// The next entry. Before it calls the ring empty it publishes its own index and looks again.
    fn peek(&mut self) -> Option<T>;
    /// Steps over the entry that `peek` showed.
    fn release(&mut self);
    /// Ends a pass.
    fn end_pass(&mut self);

    /// Takes the next entry.
    fn take(&mut self) -> Option<T> {
        let entry = self.peek()?;
        self.release();
        Some(entry)
    }
}

/// When the kernel as a consumer publishes its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// At the end of each pass, as well as when the ring looks empty (the transmit pass since Linux 6.17).
    EachPass,
    /// Only when the ring looks empty to it (older transmit passes, and the fill ring between flushes).
    WhenEmpty,
}

/// The entry of a ring that carries the number `n`.
pub trait Entry: Copy + 'static {
    /// Whether it is of a fill or completion ring.
    const IS_ADDRESS: bool;
    /// When the kernel publishes its consumer index on a ring of such entries.
    const RELEASE: Release;
    fn numbered(n: u32) -> Self;
    fn number(self) -> u32;
}

/// Fill and completion.
impl Entry for u64 {
    const IS_ADDRESS: bool = true;
    const RELEASE: Release = Release::WhenEmpty;
    fn numbered(n: u32) -> Self {
        u64::from(n) << 32 | 7
    }
    fn number(self) -> u32 {
        assert_eq!(self & 0xffff_ffff, 7, "an entry that nobody wrote");
        (self >> 32) as u32
    }
}

/// RX and TX.
impl Entry for xdp_desc {
    const IS_ADDRESS: bool = false;
    const RELEASE: Release = Release::EachPass;
    fn numbered(n: u32) -> Self {
        Self { addr: u64::from(n) << 11, len: n + 60, options: 7 }
    }
    fn number(self) -> u32 {
        let n = (self.addr >> 11) as u32;
        assert_eq!(self, Self::numbered(n), "an entry that nobody wrote");
        n
    }
}
