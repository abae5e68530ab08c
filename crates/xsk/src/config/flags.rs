use bitflags::bitflags;
use xsk_core::abi;

bitflags! {
    /// What the library leaves to the caller.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct LibxdpFlags: u32 {
        /// Attach no XDP program and fill no XSKMAP: the caller does, see [`XskMap`](crate::program::XskMap).
        const XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD = 1;
    }
}

bitflags! {
    /// Where the XDP program runs. At most one mode; none lets the kernel choose: native if the driver can, else SKB
    /// (`net/core/dev.c:dev_xdp_attach`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct XdpFlags: u32 {
        /// Attach only if there is no program yet. A program is never replaced here anyway.
        const XDP_FLAGS_UPDATE_IF_NOEXIST = 1;
        /// In the stack, on socket buffers: works with every driver.
        const XDP_FLAGS_SKB_MODE = 2;
        /// In the driver (native).
        const XDP_FLAGS_DRV_MODE = 4;
        /// In the device.
        const XDP_FLAGS_HW_MODE = 8;
    }
}

impl XdpFlags {
    /// The mode bits alone: all that a link takes.
    pub(crate) fn modes(self) -> Self {
        self.difference(Self::XDP_FLAGS_UPDATE_IF_NOEXIST)
    }
}

bitflags! {
    /// How the first socket of a UMEM binds; further ones take over its mode. `XDP_SHARED_UMEM` is set where it is due.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct BindFlags: u16 {
        /// Force copy mode.
        const XDP_COPY = abi::XDP_COPY;
        /// Force zero-copy mode: an error where the driver has none.
        const XDP_ZEROCOPY = abi::XDP_ZEROCOPY;
        /// Let the kernel say when it wants to be woken up.
        const XDP_USE_NEED_WAKEUP = abi::XDP_USE_NEED_WAKEUP;
        /// Packets of several descriptors (Linux 6.6).
        const XDP_USE_SG = abi::XDP_USE_SG;
    }
}
