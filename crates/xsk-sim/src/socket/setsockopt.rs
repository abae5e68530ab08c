use xsk::backend::Capabilities;
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, XDP_RING_NEED_WAKEUP, XDP_RX_RING, XDP_TX_RING,
    XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING, XDP_UMEM_REG, xdp_umem_reg,
};
use xsk_core::errno::{EACCES, EBUSY, EINVAL, ENODEV, ENOMEM, ENOPROTOOPT, EPERM};

use crate::arena::Id;
use crate::error::{Failure, Sys, errno};
use crate::kernel::Kernel;
use crate::pool::{CompletionRing, FillRing};
use crate::shared::{consumer_ring, producer_ring};

use super::{RxRing, Socket, State, TxRing};

/// Numbers of `include/uapi/asm-generic/socket.h`.
pub(super) mod sol_socket {
    pub(crate) const SOL_SOCKET: i32 = 1;
    pub(crate) const SO_TYPE: i32 = 3;
    pub(crate) const SO_ERROR: i32 = 4;
    pub(crate) const SO_SNDBUF: i32 = 7;
    pub(crate) const SO_RCVBUF: i32 = 8;
    pub(crate) const SO_PRIORITY: i32 = 12;
    pub(crate) const SO_BINDTODEVICE: i32 = 25;
    pub(crate) const SO_MARK: i32 = 36;
    pub(crate) const SO_PROTOCOL: i32 = 38;
    pub(crate) const SO_DOMAIN: i32 = 39;
    pub(crate) const SO_BUSY_POLL: i32 = 46;
    pub(crate) const SO_INCOMING_NAPI_ID: i32 = 56;
    pub(crate) const SO_PREFER_BUSY_POLL: i32 = 69;
    pub(crate) const SO_BUSY_POLL_BUDGET: i32 = 70;
    /// Above this there is nothing; below, much that AF_XDP does not care for.
    pub(crate) const LAST: i32 = 83;
}
use sol_socket::{
    SO_BINDTODEVICE, SO_BUSY_POLL, SO_BUSY_POLL_BUDGET, SO_DOMAIN, SO_ERROR, SO_INCOMING_NAPI_ID, SO_MARK,
    SO_PREFER_BUSY_POLL, SO_PRIORITY, SO_PROTOCOL, SO_RCVBUF, SO_SNDBUF, SO_TYPE, SOL_SOCKET,
};

/// An option that Linux has and the simulator has not, or that not even Linux has.
pub(super) fn unknown_socket_option<T>(name: i32) -> Sys<T> {
    if (1..=sol_socket::LAST).contains(&name) {
        Err(Failure::Unsupported(format!("option {name} of level SOL_SOCKET")))
    } else {
        errno(ENOPROTOOPT)
    }
}

fn int(value: &[u8]) -> Sys<i32> {
    value.first_chunk().map_or_else(|| errno(EINVAL), |bytes| Ok(i32::from_ne_bytes(*bytes)))
}

impl Kernel {
    /// `net/xdp/xsk.c:xsk_setsockopt`, and of level `SOL_SOCKET` what matters for AF_XDP.
    pub(crate) fn setsockopt(&mut self, socket: Id<Socket>, level: i32, name: i32, value: &[u8]) -> Sys<()> {
        match level {
            SOL_XDP => self.set_xdp_option(socket, name, value),
            SOL_SOCKET => self.set_socket_option(socket, name, value),
            _ => errno(ENOPROTOOPT),
        }
    }

    fn set_xdp_option(&mut self, id: Id<Socket>, name: i32, value: &[u8]) -> Sys<()> {
        match name {
            XDP_RX_RING | XDP_TX_RING | XDP_UMEM_FILL_RING | XDP_UMEM_COMPLETION_RING => {
                let entries = int(value)? as u32;
                self.create_ring(id, name, entries)
            }
            XDP_UMEM_REG => {
                // The struct grew; what an old caller does not know counts as 0.
                const OLD: usize = 24;
                let mut reg = xdp_umem_reg::default();
                let full = reg.as_bytes().len();
                let len = if value.len() >= full { full } else { OLD };
                let Some(bytes) = value.get(..len) else { return errno(EINVAL) };
                reg.as_bytes_mut()[..len].copy_from_slice(bytes);
                let socket = &self.sockets[id];
                if socket.state != State::Ready || socket.umem.is_some() {
                    return errno(EBUSY);
                }
                let umem = self.register_umem(&reg)?;
                self.sockets[id].umem = Some(umem);
                Ok(())
            }
            XDP_MAX_TX_SKB_BUDGET if self.profile.tx_budget_settable => {
                let budget = if value.len() == 4 { int(value)? as u32 } else { return errno(EINVAL) };
                let minimum = self.profile.tx_budget;
                let socket = &mut self.sockets[id];
                let entries = socket.tx.as_ref().map_or(0, |tx| tx.ring.entries());
                if budget < minimum || budget > entries {
                    return errno(EACCES);
                }
                socket.tx_budget = budget;
                Ok(())
            }
            _ => errno(ENOPROTOOPT),
        }
    }

    fn create_ring(&mut self, id: Id<Socket>, name: i32, entries: u32) -> Sys<()> {
        let shape = self.profile.ring_shape();
        let socket = &mut self.sockets[id];
        if socket.state != State::Ready {
            return errno(EBUSY);
        }
        let exists = match name {
            XDP_RX_RING => socket.rx.is_some(),
            XDP_TX_RING => socket.tx.is_some(),
            XDP_UMEM_FILL_RING => socket.fill.is_some(),
            _ => socket.completion.is_some(),
        };
        if exists || !entries.is_power_of_two() {
            return errno(EINVAL);
        }
        let of_umem = usize::from(matches!(name, XDP_UMEM_FILL_RING | XDP_UMEM_COMPLETION_RING));
        if self.profile.max_ring_entries.is_some_and(|max| entries > max[of_umem]) {
            return errno(ENOMEM);
        }
        // More than MAX_CAPACITY entries are refused as well, as if memory were short: Linux takes as many as fit.
        let no_memory = Failure::Errno(ENOMEM);
        match name {
            XDP_RX_RING => {
                let (memory, ring) = producer_ring(&shape, entries).ok_or(no_memory)?;
                socket.rx = Some(RxRing { ring, memory, forged: false });
            }
            XDP_TX_RING => {
                let (memory, ring) = consumer_ring(&shape, entries).ok_or(no_memory)?;
                memory.store_flags(&shape.offsets, XDP_RING_NEED_WAKEUP);
                socket.tx = Some(TxRing { ring, memory, invalid: 0, empty: 0, forged: false });
            }
            XDP_UMEM_FILL_RING => {
                let (memory, ring) = consumer_ring(&shape, entries).ok_or(no_memory)?;
                socket.fill = Some(FillRing { ring, memory, invalid: 0, empty: 0, forged: false });
            }
            _ => {
                let (memory, ring) = producer_ring(&shape, entries).ok_or(no_memory)?;
                socket.completion = Some(CompletionRing { ring, memory, hidden: None });
            }
        }
        Ok(())
    }

    /// `net/core/sock.c:sk_setsockopt`.
    fn set_socket_option(&mut self, id: Id<Socket>, name: i32, value: &[u8]) -> Sys<()> {
        if name == SO_BINDTODEVICE {
            return self.bind_to_device(id, value);
        }
        let number = int(value)?;
        let admin = self.may(Capabilities::CAP_NET_ADMIN);
        let raw = self.may(Capabilities::CAP_NET_RAW);
        let profile = self.profile;
        let options = &mut self.sockets[id].options;
        match name {
            SO_SNDBUF => options.sndbuf = buffer_size(number, 4608, profile.max_buffer),
            SO_RCVBUF => options.rcvbuf = buffer_size(number, 2304, profile.max_buffer),
            SO_PRIORITY if (0..=6).contains(&number) || admin || raw => options.priority = number,
            SO_MARK if admin || raw => options.mark = number as u32,
            SO_PRIORITY | SO_MARK => return errno(EPERM),
            SO_BUSY_POLL => {
                if profile.busy_poll_needs_admin && number > options.busy_poll && !admin {
                    return errno(EPERM);
                }
                if number < 0 {
                    return errno(EINVAL);
                }
                options.busy_poll = number;
            }
            SO_PREFER_BUSY_POLL if profile.has_prefer_busy_poll => {
                if number != 0 && !admin {
                    return errno(EPERM);
                }
                options.prefer_busy_poll = i32::from(number != 0);
            }
            SO_BUSY_POLL_BUDGET if profile.has_prefer_busy_poll => {
                if number > options.busy_poll_budget && !admin {
                    return errno(EPERM);
                }
                if !(0..=0xffff).contains(&number) {
                    return errno(EINVAL);
                }
                options.busy_poll_budget = number;
            }
            SO_PREFER_BUSY_POLL | SO_BUSY_POLL_BUDGET => return errno(ENOPROTOOPT),
            SO_TYPE | SO_ERROR | SO_PROTOCOL | SO_DOMAIN | SO_INCOMING_NAPI_ID => return errno(ENOPROTOOPT),
            _ => return unknown_socket_option(name),
        }
        Ok(())
    }

    fn bind_to_device(&mut self, id: Id<Socket>, value: &[u8]) -> Sys<()> {
        const NAME_MAX: usize = 15;
        let name = &value[..value.len().min(NAME_MAX)];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let index = if name.is_empty() {
            0
        } else {
            match self.device_named(name) {
                Some(device) => self.devices[device].index,
                None => return errno(ENODEV),
            }
        };
        let raw = self.may(Capabilities::CAP_NET_RAW);
        let options = &mut self.sockets[id].options;
        if options.bound_to != 0 && !raw {
            return errno(EPERM);
        }
        options.bound_to = index;
        Ok(())
    }
}

/// Twice what was asked for, as long as that is allowed.
fn buffer_size(asked: i32, min: u32, max: u32) -> u32 {
    ((asked as u32).min(max) * 2).max(min)
}
