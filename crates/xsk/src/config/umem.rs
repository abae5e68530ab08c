use thiserror::Error;
use xsk_core::abi::XDP_PACKET_HEADROOM;
use xsk_core::layout::{Layout, LayoutError};

use super::{FrameSize, QueueSize, UmemFlags};

/// How a UMEM is made. See [`builder`](Self::builder).
#[derive(Debug, Clone, Copy)]
pub struct Config {
    frame_size: FrameSize,
    fill_queue_size: QueueSize,
    comp_queue_size: QueueSize,
    frame_headroom: u32,
    flags: UmemFlags,
    tx_metadata_len: u32,
}

impl Default for Config {
    /// Frames of 4096 bytes without headroom, rings of 2048 entries.
    fn default() -> Self {
        Self {
            frame_size: FrameSize::DEFAULT,
            fill_queue_size: QueueSize::DEFAULT,
            comp_queue_size: QueueSize::DEFAULT,
            frame_headroom: 0,
            flags: UmemFlags::empty(),
            tx_metadata_len: 0,
        }
    }
}

impl Config {
    /// Starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new()
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> FrameSize {
        self.frame_size
    }

    /// Entries of each fill ring.
    pub fn fill_queue_size(&self) -> QueueSize {
        self.fill_queue_size
    }

    /// Entries of each completion ring.
    pub fn comp_queue_size(&self) -> QueueSize {
        self.comp_queue_size
    }

    /// Bytes that the kernel keeps before received data besides the frame's own headroom: always 256.
    pub fn xdp_headroom(&self) -> u32 {
        XDP_PACKET_HEADROOM
    }

    /// Bytes at the start of each frame for the user.
    pub fn frame_headroom(&self) -> u32 {
        self.frame_headroom
    }

    /// Bytes of a received packet that a frame takes, Ethernet header included.
    pub fn mtu(&self) -> u32 {
        self.frame_size.get() - (XDP_PACKET_HEADROOM + self.frame_headroom)
    }

    /// Flags of the registration.
    pub fn flags(&self) -> UmemFlags {
        self.flags
    }

    /// Bytes of TX metadata before each packet to send.
    pub fn tx_metadata_len(&self) -> u32 {
        self.tx_metadata_len
    }

    pub(crate) fn layout(&self, frames: u32) -> Result<Layout, LayoutError> {
        Layout::new(self.frame_size.get(), frames, self.frame_headroom, self.flags, self.tx_metadata_len)
    }
}

/// Builds a UMEM's configuration.
#[derive(Debug, Default, Clone, Copy)]
pub struct ConfigBuilder {
    config: Config,
}

impl ConfigBuilder {
    /// Starts from the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a frame; 4096 by default. A power of two up to the page size, or with
    /// `XDP_UMEM_UNALIGNED_CHUNK_FLAG` anything from 2048 up to it.
    pub fn frame_size(&mut self, size: FrameSize) -> &mut Self {
        self.config.frame_size = size;
        self
    }

    /// Entries of each fill ring; 2048 by default.
    pub fn fill_queue_size(&mut self, size: QueueSize) -> &mut Self {
        self.config.fill_queue_size = size;
        self
    }

    /// Entries of each completion ring; 2048 by default.
    pub fn comp_queue_size(&mut self, size: QueueSize) -> &mut Self {
        self.config.comp_queue_size = size;
        self
    }

    /// Bytes at the start of each frame for the user; 0 by default. Together with the 256 bytes of XDP headroom it must be
    /// less than the frame size; recent kernels take at most the frame size less 704
    /// (`net/xdp/xdp_umem.c:xdp_umem_reg`).
    pub fn frame_headroom(&mut self, headroom: u32) -> &mut Self {
        self.config.frame_headroom = headroom;
        self
    }

    /// Flags of the registration; none by default.
    pub fn flags(&mut self, flags: UmemFlags) -> &mut Self {
        self.config.flags = flags;
        self
    }

    /// Bytes of TX metadata before each packet to send (Linux 6.8): a multiple of 8 below 256. Sets
    /// `XDP_UMEM_TX_METADATA_LEN` for anything but 0. To write it: [`Umem::tx_metadata_mut`](crate::Umem::tx_metadata_mut).
    pub fn tx_metadata_len(&mut self, len: u32) -> &mut Self {
        self.config.tx_metadata_len = len;
        self.config.flags.set(UmemFlags::XDP_UMEM_TX_METADATA_LEN, len != 0);
        self
    }

    /// Checks the configuration: frame size, then headroom, then TX metadata.
    pub fn build(&self) -> Result<Config, ConfigBuildError> {
        self.config.layout(1).map_err(|reason| ConfigBuildError { reason })?;
        Ok(self.config)
    }
}

/// The values contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct ConfigBuildError {
    reason: LayoutError,
}

impl ConfigBuildError {
    pub(crate) fn reason(&self) -> LayoutError {
        self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(builder: &mut ConfigBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn defaults() {
        let config = Config::default();
        assert_eq!((config.mtu(), config.xdp_headroom(), config.frame_headroom()), (3840, 256, 0));
        assert_eq!((config.fill_queue_size().get(), config.comp_queue_size().get()), (2048, 2048));
    }

    #[test]
    fn refused_values_are_named() {
        let size = |n| FrameSize::new(n).unwrap();
        assert_eq!(
            error(Config::builder().frame_size(size(3000))),
            "expected a power of two as frame size, got 3000"
        );
        assert_eq!(
            error(Config::builder().frame_size(size(2048)).frame_headroom(1792)),
            "total headroom 2048 must be less than frame size 2048"
        );
        assert_eq!(
            error(Config::builder().frame_headroom(u32::MAX)),
            "total headroom 4294967551 must be less than frame size 4096"
        );
        assert_eq!(
            error(Config::builder().tx_metadata_len(12)),
            "expected a multiple of 8 below 256 as TX metadata length, got 12"
        );
        Config::builder().frame_size(size(2048)).frame_headroom(1791).build().unwrap();
        let unaligned = UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG;
        Config::builder().frame_size(size(3000)).flags(unaligned).build().unwrap();
    }
}
