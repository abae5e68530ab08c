//! What a UMEM and a socket are made from.

mod flags;
mod interface;
#[cfg(all(feature = "libxdp", target_os = "linux"))]
mod libxdp;
mod size;
mod socket;
mod umem;

pub use flags::{BindFlags, LibxdpFlags, XdpFlags};
pub use interface::Interface;
pub use size::{FrameSize, FrameSizeError, QueueSize, QueueSizeError};
pub use socket::{Attach, Config as SocketConfig, ConfigBuilder as SocketConfigBuilder, MIN_TX_BUDGET};
pub use umem::{
    Config as UmemConfig, ConfigBuildError as UmemConfigBuilderError, ConfigBuilder as UmemConfigBuilder,
};
pub use xsk_core::abi::{UmemFlags, XDP_UMEM_MIN_CHUNK_SIZE};
