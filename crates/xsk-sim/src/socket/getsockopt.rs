use xsk_core::abi::{
    Pod, SOL_XDP, XDP_MMAP_OFFSETS, XDP_OPTIONS, XDP_OPTIONS_ZEROCOPY, XDP_STATISTICS, xdp_mmap_offsets,
    xdp_options, xdp_statistics,
};
use xsk_core::errno::{EINVAL, ENODEV, ENOPROTOOPT, EOPNOTSUPP};

use crate::arena::Id;
use crate::error::{Sys, errno};
use crate::kernel::Kernel;

use super::Socket;
use super::setsockopt::sol_socket::{
    SO_BINDTODEVICE, SO_BUSY_POLL, SO_BUSY_POLL_BUDGET, SO_DOMAIN, SO_ERROR, SO_INCOMING_NAPI_ID, SO_MARK,
    SO_PREFER_BUSY_POLL, SO_PRIORITY, SO_PROTOCOL, SO_RCVBUF, SO_SNDBUF, SO_TYPE, SOL_SOCKET,
};
use super::setsockopt::unknown_socket_option;

/// Writes `bytes`, which fit, and says how many.
fn put(out: &mut [u8], bytes: &[u8]) -> Sys<usize> {
    out[..bytes.len()].copy_from_slice(bytes);
    Ok(bytes.len())
}

impl Kernel {
    /// `net/xdp/xsk.c:xsk_getsockopt`, and of level `SOL_SOCKET` what matters for AF_XDP. Returns how many bytes it wrote.
    pub(crate) fn getsockopt(
        &mut self,
        socket: Id<Socket>,
        level: i32,
        name: i32,
        out: &mut [u8],
    ) -> Sys<usize> {
        match level {
            SOL_XDP => self.get_xdp_option(socket, name, out),
            SOL_SOCKET => self.get_socket_option(socket, name, out),
            _ => errno(ENOPROTOOPT),
        }
    }

    fn get_xdp_option(&self, socket: Id<Socket>, name: i32, out: &mut [u8]) -> Sys<usize> {
        match name {
            XDP_STATISTICS => {
                let mut statistics = self.statistics(socket);
                if out.len() >= 48 {
                    return put(out, statistics.as_bytes());
                }
                if out.len() < 24 {
                    return errno(EINVAL);
                }
                // Before there was a counter of its own for it.
                statistics.rx_dropped += statistics.rx_ring_full;
                put(out, &statistics.as_bytes()[..24])
            }
            XDP_MMAP_OFFSETS => {
                let ring = self.profile.ring_shape().offsets;
                let offsets = xdp_mmap_offsets { rx: ring, tx: ring, fr: ring, cr: ring };
                if out.len() >= 128 {
                    return put(out, offsets.as_bytes());
                }
                if out.len() < 96 {
                    return errno(EINVAL);
                }
                let old: Vec<u8> =
                    offsets.as_bytes().chunks(32).flat_map(|ring| &ring[..24]).copied().collect();
                put(out, &old)
            }
            XDP_OPTIONS => {
                if out.len() < 4 {
                    return errno(EINVAL);
                }
                let flags = if self.sockets[socket].zero_copy { XDP_OPTIONS_ZEROCOPY } else { 0 };
                put(out, xdp_options { flags }.as_bytes())
            }
            _ => errno(EOPNOTSUPP),
        }
    }

    /// A socket's counters (`net/xdp/xsk.c:xsk_getsockopt`).
    pub(crate) fn statistics(&self, socket: Id<Socket>) -> xdp_statistics {
        let socket = &self.sockets[socket];
        let pool = socket.pool.map(|pool| &self.pools[pool]);
        let tx = socket.tx.as_ref();
        xdp_statistics {
            rx_dropped: socket.rx_dropped,
            rx_invalid_descs: 0,
            tx_invalid_descs: tx.map_or(0, |tx| tx.invalid),
            rx_ring_full: socket.rx_full,
            rx_fill_ring_empty_descs: pool.map_or(0, |pool| pool.fill.empty),
            tx_ring_empty_descs: tx.map_or(0, |tx| tx.empty),
        }
    }

    /// `net/core/sock.c:sk_getsockopt`: a short buffer gets the first bytes.
    fn get_socket_option(&mut self, id: Id<Socket>, name: i32, out: &mut [u8]) -> Sys<usize> {
        let busy = self.profile.has_prefer_busy_poll;
        let socket = &mut self.sockets[id];
        let options = &socket.options;
        let value = match name {
            SO_TYPE => 3,
            SO_DOMAIN => xsk_core::abi::AF_XDP,
            SO_PROTOCOL => 0,
            SO_INCOMING_NAPI_ID => socket.napi_id.unwrap_or(0) as i32,
            SO_ERROR => std::mem::take(&mut socket.error),
            SO_SNDBUF => options.sndbuf as i32,
            SO_RCVBUF => options.rcvbuf as i32,
            SO_PRIORITY => options.priority,
            SO_MARK => options.mark as i32,
            SO_BUSY_POLL => options.busy_poll,
            SO_PREFER_BUSY_POLL if busy => options.prefer_busy_poll,
            // Linux has forgotten this one.
            SO_PREFER_BUSY_POLL | SO_BUSY_POLL_BUDGET => return errno(ENOPROTOOPT),
            SO_BINDTODEVICE => return self.bound_device(id, out),
            _ => return unknown_socket_option(name),
        };
        let bytes = value.to_ne_bytes();
        put(out, &bytes[..out.len().min(bytes.len())])
    }

    fn bound_device(&self, id: Id<Socket>, out: &mut [u8]) -> Sys<usize> {
        let index = self.sockets[id].options.bound_to;
        if index == 0 {
            return Ok(0);
        }
        if out.len() < 16 {
            return errno(EINVAL);
        }
        let Some(device) = self.device_by_index(index) else { return errno(ENODEV) };
        let mut name = self.devices[device].name.clone().into_bytes();
        name.push(0);
        put(out, &name)
    }
}
