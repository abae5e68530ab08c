//! The same values for libxdp's C functions.

use super::{SocketConfig, UmemConfig};

impl From<UmemConfig> for libxdp_sys::xsk_umem_config {
    /// The struct has no room for [`UmemConfig::tx_metadata_len`].
    fn from(config: UmemConfig) -> Self {
        Self {
            fill_size: config.fill_queue_size().get(),
            comp_size: config.comp_queue_size().get(),
            frame_size: config.frame_size().get(),
            frame_headroom: config.frame_headroom(),
            flags: config.flags().bits(),
        }
    }
}

impl From<SocketConfig> for libxdp_sys::xsk_socket_config {
    /// The struct knows no [`Attach`](super::Attach): libxdp always tries its dispatcher.
    fn from(config: SocketConfig) -> Self {
        Self {
            rx_size: config.rx_queue_size().get(),
            tx_size: config.tx_queue_size().get(),
            __bindgen_anon_1: libxdp_sys::xsk_socket_config__bindgen_ty_1 {
                libxdp_flags: config.libxdp_flags().bits(),
            },
            xdp_flags: config.xdp_flags().bits(),
            bind_flags: config.bind_flags().bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BindFlags, FrameSize, LibxdpFlags, QueueSize, UmemFlags, XdpFlags};
    use super::*;

    #[test]
    fn every_value_is_where_libxdp_reads_it() {
        let size = |n| QueueSize::new(n).unwrap();
        let umem = UmemConfig::builder()
            .fill_queue_size(size(8))
            .comp_queue_size(size(16))
            .frame_size(FrameSize::new(2048).unwrap())
            .frame_headroom(64)
            .flags(UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG)
            .build()
            .unwrap();
        let umem = libxdp_sys::xsk_umem_config::from(umem);
        assert_eq!((umem.fill_size, umem.comp_size), (8, 16));
        assert_eq!((umem.frame_size, umem.frame_headroom, umem.flags), (2048, 64, 1));

        let socket = SocketConfig::builder()
            .rx_queue_size(size(32))
            .tx_queue_size(size(64))
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .xdp_flags(XdpFlags::XDP_FLAGS_DRV_MODE)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let socket = libxdp_sys::xsk_socket_config::from(socket);
        assert_eq!((socket.rx_size, socket.tx_size), (32, 64));
        assert_eq!((socket.xdp_flags, socket.bind_flags), (4, 10));
        // SAFETY: both members of the union are the same number under an old and a new name.
        assert_eq!(unsafe { socket.__bindgen_anon_1.libbpf_flags }, 1);
    }

    #[test]
    fn defaults_are_those_of_libxdp() {
        let umem = libxdp_sys::xsk_umem_config::from(UmemConfig::default());
        assert_eq!((umem.frame_size, umem.frame_headroom, umem.flags), (4096, 0, 0));
        assert_eq!((umem.fill_size, umem.comp_size), (2048, 2048));
    }
}
