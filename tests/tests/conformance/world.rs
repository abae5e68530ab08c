//! A kernel with a veth pair, whichever kernel it is.

use std::ffi::CString;
use std::sync::Arc;

use xsk::backend::{Backend, Handle};
use xsk::config::XdpFlags;

use crate::sim::SimWorld;
use crate::veth::VethWorld;

/// A kernel and the way in which programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    SimSkb,
    SimNative,
    VethSkb,
    VethNative,
}

impl Arm {
    pub const ALL: [Self; 4] = [Self::SimSkb, Self::SimNative, Self::VethSkb, Self::VethNative];

    /// As a column of the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::SimSkb => "SimKernel, SKB",
            Self::SimNative => "SimKernel, native",
            Self::VethSkb => "Linux veth, SKB",
            Self::VethNative => "Linux veth, native",
        }
    }

    pub fn is_linux(self) -> bool {
        matches!(self, Self::VethSkb | Self::VethNative)
    }

    fn mode(self) -> XdpFlags {
        match self {
            Self::SimSkb | Self::VethSkb => XdpFlags::XDP_FLAGS_SKB_MODE,
            Self::SimNative | Self::VethNative => XdpFlags::XDP_FLAGS_DRV_MODE,
        }
    }

    /// Runs `body` in a new world whose devices have this MTU.
    pub fn run(self, mtu: u32, body: impl FnOnce(&dyn World) + Send) {
        if self.is_linux() {
            VethWorld::run(self.mode(), mtu, |world| body(world));
        } else {
            body(&SimWorld::new(self.mode(), mtu));
        }
    }
}

/// An end of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    A,
    B,
}

/// What an XDP program does before it redirects to a slot of its map; an empty slot drops. All take packets of several
/// buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// To slot 0.
    Redirect,
    /// The first packet to slot 0, the second nowhere, and so on.
    DropHalf,
    /// Half of the last byte of the destination address is the slot.
    ByAddress,
    /// Puts the number of packets so far before the packet, as eight bytes in host order; to slot 0.
    CountInMetadata,
    /// Moves the end of the packet, if the kernel lets it; to slot 0.
    AdjustTail(i32),
}

/// A kernel with a veth pair.
pub trait World {
    fn kernel(&self) -> Arc<dyn Backend>;

    /// How programs are attached.
    fn mode(&self) -> XdpFlags;

    fn name(&self, end: End) -> CString;

    /// Loads a program.
    fn program(&self, program: Program, map: Handle) -> Handle;

    /// The host's stack sends a frame out of an end.
    fn send(&self, end: End, frame: &[u8]);

    /// The next frame that the host's stack got at an end; waits a moment for it.
    fn receive(&self, end: End) -> Option<Vec<u8>>;

    /// Whether sender and receiver are to run on threads of their own. Otherwise they take turns.
    fn concurrent(&self) -> bool;

    /// Lets the kernel finish what it has begun.
    fn settle(&self);

    /// The errno with which an end answers `ethtool -g`. A simulated device has no ring parameters.
    fn refuses_ring_parameters(&self) -> Option<i32> {
        Some(libc::EOPNOTSUPP)
    }

    /// The law of the frames, where the kernel can be asked.
    fn check_frames(&self) {}
}
