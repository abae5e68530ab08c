use xsk::backend::Handle;
use xsk::config::XdpFlags;
use xsk_core::errno::{EBUSY, EEXIST, EINVAL, ENOLINK, ENOSPC, ENOTCONN, EOPNOTSUPP, ERANGE};

use crate::arena::Id;
use crate::device::{Device, Kind, MTU_MAX};
use crate::error::{Sys, errno};
use crate::kernel::{Kernel, Object};

use super::Program;

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Skb,
    Native,
}

/// A program on a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attached {
    pub(crate) program: Id<Program>,
    pub(crate) mode: Mode,
    pub(crate) link: Id<Link>,
}

/// A bpf_link: keeps a program on a device for as long as it is open.
#[derive(Debug)]
pub(crate) struct Link {
    /// `None` once the device is gone.
    pub(crate) device: Option<Id<Device>>,
    /// Kept until the link is closed, device or no device.
    pub(crate) program: Id<Program>,
}

/// The largest MTU of a veth's peer for programs that take no fragments.
pub(crate) const VETH_MTU_MAX: u32 = 3506;
/// As well for those that take them: `MAX_SKB_FRAGS` pages more.
pub(crate) const VETH_MTU_MAX_FRAGS: u32 = VETH_MTU_MAX + 17 * 4096;

impl Kernel {
    /// `BPF_LINK_CREATE` (`net/core/dev.c:bpf_xdp_link_attach`, `dev_xdp_attach`).
    pub(crate) fn create_link(&mut self, program: Handle, ifindex: u32, flags: XdpFlags) -> Sys<Handle> {
        let program = self.program(program)?;
        let Some(device) = self.device_by_index(ifindex) else { return errno(EINVAL) };
        let modes = XdpFlags::XDP_FLAGS_SKB_MODE | XdpFlags::XDP_FLAGS_DRV_MODE | XdpFlags::XDP_FLAGS_HW_MODE;
        if !modes.contains(flags) || flags.bits().count_ones() > 1 {
            return errno(EINVAL);
        }
        let driver = self.devices[device].has_native_xdp();
        let mode = match flags {
            XdpFlags::XDP_FLAGS_SKB_MODE => Mode::Skb,
            XdpFlags::XDP_FLAGS_DRV_MODE => Mode::Native,
            XdpFlags::XDP_FLAGS_HW_MODE => return errno(EINVAL),
            _ if driver => Mode::Native,
            _ => Mode::Skb,
        };
        match self.devices[device].xdp {
            Some(attached) if attached.mode == mode => return errno(EBUSY),
            Some(_) => return errno(EEXIST),
            None => {}
        }
        if mode == Mode::Native {
            if !driver {
                return errno(EOPNOTSUPP);
            }
            self.check_native(device, program)?;
            let max = if self.programs[program].frags { VETH_MTU_MAX_FRAGS } else { VETH_MTU_MAX };
            self.limit_peer(device, max);
            // NAPI begins, with pages of its own.
            self.devices[device].page_pools.clear();
        }
        let link = self.links.insert(Link { device: Some(device), program });
        self.devices[device].xdp = Some(Attached { program, mode, link });
        self.refresh_drivers(device);
        Ok(self.handles.open(Object::Link(link)))
    }

    /// `BPF_LINK_UPDATE` (`net/core/dev.c:bpf_xdp_link_update`).
    pub(crate) fn update_link(&mut self, link: Handle, program: Handle) -> Sys<()> {
        let (link, program) = (self.link(link)?, self.program(program)?);
        let Some(device) = self.links[link].device else { return errno(ENOLINK) };
        if self.devices[device].xdp.is_some_and(|attached| attached.mode == Mode::Native) {
            self.check_native(device, program)?;
        }
        if let Some(attached) = &mut self.devices[device].xdp {
            attached.program = program;
        }
        self.links[link].program = program;
        Ok(())
    }

    /// The last handle of a link is closed: its program goes.
    pub(crate) fn close_link(&mut self, link: Id<Link>) {
        if let Some(Link { device: Some(device), .. }) = self.links.remove(link) {
            if self.devices[device].xdp.take().is_some_and(|attached| attached.mode == Mode::Native) {
                self.limit_peer(device, MTU_MAX);
            }
            self.free_waiting(device);
            self.refresh_drivers(device);
        }
    }

    /// The first native program of a veth limits the MTU of the other end; one that replaces it does not
    /// (`drivers/net/veth.c:veth_xdp_set`).
    fn limit_peer(&mut self, device: Id<Device>, max_mtu: u32) {
        if let Kind::Veth { peer: Some(peer) } = self.devices[device].kind {
            self.devices[peer].max_mtu = max_mtu;
        }
    }

    /// What a driver has against a program (`drivers/net/veth.c:veth_xdp_set`).
    fn check_native(&self, device: Id<Device>, program: Id<Program>) -> Sys<()> {
        let frags = self.programs[program].frags;
        let Kind::Veth { peer } = self.devices[device].kind else {
            // A card that has one page for a packet.
            let fits = frags || self.devices[device].mtu <= VETH_MTU_MAX;
            return if fits { Ok(()) } else { errno(ERANGE) };
        };
        let Some(peer) = peer.map(|peer| &self.devices[peer]) else { return errno(ENOTCONN) };
        if peer.mtu > VETH_MTU_MAX && !frags {
            return errno(ERANGE);
        }
        if self.devices[device].rx_queues < peer.tx_queues { errno(ENOSPC) } else { Ok(()) }
    }
}
