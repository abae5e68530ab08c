use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkFlags},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use crate::{
    Errno, Error, Link, Namespace, Xdp, ethtool,
    link::{self, Which},
    netlink::Step,
};

/// One end of a [`VethPair`](crate::VethPair).
///
/// A handle, which keeps the namespace alive but not the interface: dropping it deletes nothing, and once the
/// interface is gone (its peer deleted, say) calls fail with ENODEV.
#[derive(Debug)]
pub struct VethEnd {
    ns: Namespace,
    name: String,
    index: u32,
    mac: [u8; 6],
}

impl VethEnd {
    /// The end that exists in `ns` under this name.
    pub(crate) fn find(ns: &Namespace, name: &str, mac: [u8; 6]) -> Result<Self, Error> {
        let link = ns.link(name)?;
        Ok(Self { ns: ns.clone(), name: link.name, index: link.ifindex, mac })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index within its namespace.
    pub fn ifindex(&self) -> u32 {
        self.index
    }

    /// The Ethernet address given at creation.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The namespace that the interface is in.
    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// The interface as the kernel describes it now.
    ///
    /// # Errors
    /// ENODEV when it is gone.
    pub fn link(&self) -> Result<Link, Error> {
        link::find(self.ns.route(), Which::Index(self.index))
    }

    /// The XDP program attached to this end now.
    ///
    /// # Errors
    /// ENODEV when the interface is gone.
    pub fn xdp(&self) -> Result<Option<Xdp>, Error> {
        Ok(self.link()?.xdp)
    }

    /// Sets the interface up or down. Frames pass once both ends are up and have seen each other:
    /// [`wait_running`](Self::wait_running).
    ///
    /// # Errors
    /// ENODEV when the interface is gone.
    pub fn set_up(&self, up: bool) -> Result<(), Error> {
        let what = if up { "set the interface up" } else { "set the interface down" };
        link::set(self.ns.route(), self.step(what), self.index, Some((LinkFlags::Up, up)), Vec::new())
    }

    /// Waits until the interface passes frames: up, with carrier, its queues active.
    ///
    /// # Errors
    /// [`Error::NotRunning`] after `timeout`.
    pub fn wait_running(&self, timeout: Duration) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            // The kernel acts on a carrier change up to a second late where both ends have the same index in their
            // namespaces {link_watch.c:linkwatch_urgent_event}, unless asked {linkwatch_sync_dev}, which looking up
            // the link does since 6.8 only. Until it has, the queues may still be the no-op ones that drop everything.
            self.ethtool("read the link state", ethtool::GLINK, 0)?;
            let link = self.link()?;
            if link.running {
                return Ok(());
            }
            let waited = start.elapsed();
            if waited >= timeout {
                return Err(Error::NotRunning { interface: self.name.clone(), state: link.state, waited });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sets the MTU: bytes after the Ethernet header. What an end may *receive* is limited by its own MTU plus 18
    /// bytes, whatever the sender's {veth.c:veth_forward_skb, dev.c:__is_skb_forwardable}.
    ///
    /// # Errors
    /// EINVAL below 68, above 65535, and above what an XDP program without fragment support on the *other* end
    /// allows (3506 with 4 KiB pages).
    pub fn set_mtu(&self, mtu: u32) -> Result<(), Error> {
        let what = format!("set the MTU to {mtu}");
        link::set(self.ns.route(), self.step(&what), self.index, None, vec![LinkAttribute::Mtu(mtu)])
    }

    /// The active receive and transmit queues, in this order.
    ///
    /// # Errors
    /// ENODEV when the interface is gone.
    pub fn channels(&self) -> Result<(u32, u32), Error> {
        match self.ns.route().with_fd(|fd| ethtool::channels(fd, &self.name)) {
            // Old kernels (5.10) neither tell nor change the number: all are active.
            Err(error) if error.errno() == Some(Errno(libc::EOPNOTSUPP)) => {
                let link = self.link()?;
                Ok((link.rx_queues, link.tx_queues))
            }
            other => other,
        }
    }

    /// Sets the active receive and transmit queues, each from 1 to the count at creation.
    ///
    /// # Errors
    /// EINVAL outside this range, and where an end with an XDP program in native mode would have fewer receive queues
    /// than the other end has transmit queues; EOPNOTSUPP on old kernels (5.10).
    pub fn set_channels(&self, rx: u32, tx: u32) -> Result<(), Error> {
        self.ns.route().with_fd(|fd| ethtool::set_channels(fd, &self.name, rx, tx))
    }

    /// Switches transmit checksum offload. While it is on, as by default, what sockets send over veth arrives with
    /// unfinished checksums: no hardware is there to finish them.
    ///
    /// # Errors
    /// ENODEV when the interface is gone.
    pub fn set_tx_checksum_offload(&self, on: bool) -> Result<(), Error> {
        self.ethtool("switch transmit checksum offload", ethtool::STXCSUM, on.into()).map(drop)
    }

    /// Switches every offload that makes veth differ from a wire: transmit checksums, TCP and generic segmentation,
    /// VLAN tags beside the frame, and generic receive offload. With all off, and off on the sending end too, XDP and
    /// AF_XDP see what a wire would carry: whole checksums, tags in place, no frame above the MTU.
    ///
    /// Receive offload also decides whether this end polls (NAPI) without an XDP program on it, and only an end that
    /// polls receives what a program on the other end returns with XDP_TX {veth.c:veth_xdp_xmit}.
    ///
    /// # Errors
    /// ENODEV when the interface is gone.
    pub fn set_offloads(&self, on: bool) -> Result<(), Error> {
        let data = u32::from(on);
        // Segmentation depends on checksums: switch those off last and on first.
        let checksums = ("switch transmit checksum offload", ethtool::STXCSUM);
        let others = [
            ("switch TCP segmentation offload", ethtool::STSO),
            ("switch generic segmentation offload", ethtool::SGSO),
            ("switch generic receive offload", ethtool::SGRO),
        ];
        if on {
            self.ethtool(checksums.0, checksums.1, data)?;
        }
        for (step, cmd) in others {
            self.ethtool(step, cmd, data)?;
        }
        if !on {
            self.ethtool(checksums.0, checksums.1, data)?;
        }
        let flags = self.ethtool("read the VLAN offloads", ethtool::GFLAGS, 0)?;
        let flags = if on { flags | ethtool::FLAGS_VLAN } else { flags & !ethtool::FLAGS_VLAN };
        self.ethtool("switch the VLAN offloads", ethtool::SFLAGS, flags).map(drop)
    }

    /// Gives the interface an IPv4 address with the route that its prefix length implies. Two addresses on the same
    /// namespace's ends talk over `lo`, not over the pair.
    ///
    /// # Errors
    /// EEXIST when it has the address; EINVAL for a prefix length above 32.
    pub fn add_address(&self, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = self.index;
        let ip = IpAddr::V4(address);
        message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
        let what = format!("add the address {address}/{prefix}");
        self.ns.route().change(
            self.step(&what),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Pins the Ethernet address of a neighbour, so that no ARP is needed. Replaces an entry of the same address. The
    /// kernel forgets pinned neighbours when the interface is set down.
    ///
    /// # Errors
    /// ENODEV when the interface is gone.
    pub fn add_neighbour(&self, address: Ipv4Addr, mac: [u8; 6]) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = self.index;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        let what = format!("add the neighbour {address}");
        self.ns.route().change(
            self.step(&what),
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Renames the interface, up or down. (Before Linux 6.2 it must be down.)
    ///
    /// # Errors
    /// [`Error::Name`]; EEXIST when another interface has the name; EBUSY when the kernel wants it down first.
    pub fn rename(&mut self, name: &str) -> Result<(), Error> {
        link::check_name(name)?;
        let what = format!("rename the interface to {name}");
        let attributes = vec![LinkAttribute::IfName(name.into())];
        link::set(self.ns.route(), self.step(&what), self.index, None, attributes)?;
        self.name = name.into();
        Ok(())
    }

    /// Moves the interface to another namespace, where it arrives down and without addresses; its index may change.
    /// AF_XDP sockets bound to it are dead from then on (ENETDOWN, ENXIO), as if it had been deleted.
    ///
    /// # Errors
    /// EEXIST when an interface there has the name.
    pub fn move_to(&mut self, ns: &Namespace) -> Result<(), Error> {
        let attributes = vec![LinkAttribute::NetNsFd(ns.as_fd().as_raw_fd())];
        let step = self.step("move the interface to another namespace");
        link::set(self.ns.route(), step, self.index, None, attributes)?;
        *self = Self::find(ns, &self.name, self.mac)?;
        Ok(())
    }

    /// Deletes the interface, and with it the other end.
    ///
    /// # Errors
    /// ENODEV when it is gone already.
    pub fn delete(&self) -> Result<(), Error> {
        link::delete(self.ns.route(), &self.name, self.index)
    }

    fn step<'a>(&'a self, what: &'a str) -> Step<'a> {
        Step { what, interface: Some(&self.name) }
    }

    fn ethtool(&self, step: &str, cmd: u32, data: u32) -> Result<u32, Error> {
        self.ns.route().with_fd(|fd| ethtool::value(fd, &self.name, step, cmd, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VethPair;

    /// The offloads as the kernel reports them: checksums, TCP and generic segmentation, receive offload, VLAN.
    fn offloads(end: &VethEnd) -> [bool; 5] {
        const GTXCSUM: u32 = 0x16;
        const GTSO: u32 = 0x1e;
        const GGSO: u32 = 0x23;
        const GGRO: u32 = 0x2b;
        let [checksums, tcp, generic, receive] =
            [GTXCSUM, GTSO, GGSO, GGRO].map(|cmd| end.ethtool("read an offload", cmd, 0).unwrap() == 1);
        let vlan = end.ethtool("read the VLAN offloads", ethtool::GFLAGS, 0).unwrap() & ethtool::FLAGS_VLAN;
        assert!(vlan == 0 || vlan == ethtool::FLAGS_VLAN);
        [checksums, tcp, generic, receive, vlan != 0]
    }

    #[test]
    fn offloads_switch_one_by_one_and_together() {
        if !crate::require() {
            return;
        }
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        assert_eq!(offloads(&pair.a)[..3], [true; 3]);
        pair.a.set_offloads(false).unwrap();
        assert_eq!(offloads(&pair.a), [false; 5]);
        // Segmentation was off only for want of checksums unless it was switched off itself.
        pair.a.set_tx_checksum_offload(true).unwrap();
        assert_eq!(offloads(&pair.a), [true, false, false, false, false]);
        pair.a.set_offloads(true).unwrap();
        assert_eq!(offloads(&pair.a), [true; 5]);
        pair.a.set_tx_checksum_offload(false).unwrap();
        assert!(!offloads(&pair.a)[0]);
        assert!(offloads(&pair.b)[0], "only the end that was told");
    }

    #[test]
    fn a_neighbour_is_replaced_and_needs_an_interface() {
        if !crate::require() {
            return;
        }
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let add = |last| pair.a.add_neighbour(Ipv4Addr::new(10, 0, 0, 9), [2, 0, 0, 0, 0, last]);
        add(8).unwrap();
        add(9).unwrap();
        // Field 4 of a line is the Ethernet address.
        let table = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/arp")).unwrap();
        let entries: Vec<_> =
            table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3)).collect();
        assert_eq!(entries, ["02:00:00:00:00:09"]);
        pair.a.delete().unwrap();
        assert_eq!(add(9).unwrap_err().errno(), Some(Errno(libc::ENODEV)));
    }
}
