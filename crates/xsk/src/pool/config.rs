use crate::backend::PageSize;

/// What a [`Pool`](super::Pool) is made from: a value with a setter for each thing.
///
/// ```
/// use xsk::PoolConfig;
///
/// let config = PoolConfig::default().frames(16384).frame_size(2048);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    pub(super) frames: u32,
    pub(super) frame_size: u32,
    pub(super) headroom: u32,
    pub(super) pages: PageSize,
    pub(super) tx_metadata: bool,
    pub(super) software_checksums: bool,
}

impl Default for PoolConfig {
    /// 4096 frames of 4096 bytes, no headroom beyond the kernel's 256 bytes, normal pages.
    fn default() -> Self {
        Self {
            frames: 4096,
            frame_size: 4096,
            headroom: 0,
            pages: PageSize::Normal,
            tx_metadata: false,
            software_checksums: false,
        }
    }
}

impl PoolConfig {
    /// Number of frames: as many packets can exist at once, those in the rings of ports included. A port has up to 2048 of
    /// them waiting to be received into, unless its [configuration](crate::PortConfig) says otherwise.
    pub fn frames(mut self, frames: u32) -> Self {
        self.frames = frames;
        self
    }

    /// Bytes of a frame: a power of two from 2048 to the page size. A received packet must fit into it less 256 bytes and the
    /// headroom, or come in several segments ([`PortConfig::multi_buffer`](crate::PortConfig::multi_buffer)).
    ///
    /// The kernel also takes chunks of other sizes (`XDP_UMEM_UNALIGNED_CHUNK_FLAG`), and a pool does not: which frame an address
    /// is in is looked up for each packet that is received, sent or completed, which is a shift for these frames and would be
    /// a division for those, and the addresses of received packets would come in two parts. What would be gained is memory: 3000
    /// bytes instead of 4096 for a packet of the usual size, for which 2048 are enough. In zero-copy mode such chunks need huge
    /// pages besides, as one must not cross pages that are not next to each other (`net/xdp/xsk_buff_pool.c:xp_check_unaligned`).
    /// The [ring tier](crate::Umem) has them.
    pub fn frame_size(mut self, bytes: u32) -> Self {
        self.frame_size = bytes;
        self
    }

    /// Bytes before each received packet, besides the kernel's 256, for [`push_front`](crate::Packet::push_front). In copy
    /// mode, and in zero-copy mode where the program has moved nothing there, all 256 are free as well.
    pub fn headroom(mut self, bytes: u32) -> Self {
        self.headroom = bytes;
        self
    }

    /// Whether packets can ask for something when they are sent, as [`Packet::request_timestamp`](crate::Packet::request_timestamp)
    /// and its like do (`XDP_UMEM_TX_METADATA_LEN`, Linux 6.11). It takes 56 bytes of each packet's headroom. Not by default.
    pub fn tx_metadata(mut self, on: bool) -> Self {
        self.tx_metadata = on;
        self
    }

    /// Whether the kernel computes the checksums that packets [ask for](crate::Packet::request_checksum), instead of the device
    /// (`XDP_UMEM_TX_SW_CSUM`): for copy mode, and devices that do not. Not by default.
    pub fn software_checksums(mut self, on: bool) -> Self {
        self.software_checksums = on;
        self
    }

    /// The pages that the memory is made of. Huge pages have to be reserved first.
    pub fn pages(mut self, pages: PageSize) -> Self {
        self.pages = pages;
        self
    }
}
