use std::{
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};

use crate::{Error, Namespace, VethEnd, link, netlink::Step};

/// Far longer than two ends ever need to see each other, so that only a fault reaches it.
const READY: Duration = Duration::from_secs(10);

/// Two Ethernet interfaces joined by a cable: what one sends, the other receives.
///
/// The fields may be taken apart. The interfaces live until [`delete`](VethEnd::delete), or until the namespace of
/// either is gone; dropping this value deletes nothing.
#[derive(Debug)]
pub struct VethPair {
    /// The first end.
    pub a: VethEnd,
    /// The second end.
    pub b: VethEnd,
}

impl VethPair {
    /// A pair with end `a` in the first namespace and end `b` in the second, which may be the same.
    pub fn builder(a: &Namespace, b: &Namespace) -> VethPairBuilder {
        VethPairBuilder {
            a: EndBuilder::new(a, "a", 0x0a),
            b: EndBuilder::new(b, "b", 0x0b),
            neighbours: false,
        }
    }

    /// Waits until frames sent on either end reach the other, as [`build`](VethPairBuilder::build) did. Useful after
    /// [`set_up`](VethEnd::set_up).
    ///
    /// # Errors
    /// [`Error::NotRunning`] after ten seconds.
    pub fn wait_running(&self) -> Result<(), Error> {
        self.a.wait_running(READY)?;
        self.b.wait_running(READY)
    }

    /// Deletes both interfaces.
    ///
    /// # Errors
    /// ENODEV when they are gone already.
    pub fn delete(self) -> Result<(), Error> {
        self.a.delete()
    }
}

/// What a [`VethPair`] shall be. Unless told otherwise: names `a` and `b`, one receive and one transmit queue each,
/// MTU 1500, addresses none, both up, offloads as the kernel likes them (on, but for receive offload).
#[derive(Debug, Clone)]
#[must_use = "nothing happens before build()"]
pub struct VethPairBuilder {
    a: EndBuilder,
    b: EndBuilder,
    neighbours: bool,
}

/// What one end of a [`VethPair`] shall be.
#[derive(Debug, Clone)]
#[must_use = "return it from the closure"]
pub struct EndBuilder {
    ns: Namespace,
    name: String,
    rx_queues: u32,
    tx_queues: u32,
    mtu: u32,
    mac: Option<[u8; 6]>,
    /// Last byte of the default MAC.
    side: u8,
    address: Option<(Ipv4Addr, u8)>,
    offloads: Option<bool>,
    up: bool,
}

impl VethPairBuilder {
    /// Changes end `a`: `.a(|end| end.name("left"))`.
    pub fn a(mut self, change: impl FnOnce(EndBuilder) -> EndBuilder) -> Self {
        self.a = change(self.a);
        self
    }

    /// Changes end `b`.
    pub fn b(mut self, change: impl FnOnce(EndBuilder) -> EndBuilder) -> Self {
        self.b = change(self.b);
        self
    }

    /// This many receive and as many transmit queues on both ends; 1 to 4096.
    pub fn queues(self, count: u32) -> Self {
        self.a(|end| end.queues(count, count)).b(|end| end.queues(count, count))
    }

    /// This MTU on both ends, in bytes after the Ethernet header: 68 to 65535.
    pub fn mtu(self, mtu: u32) -> Self {
        self.a(|end| end.mtu(mtu)).b(|end| end.mtu(mtu))
    }

    /// Offloads on both ends: see [`VethEnd::set_offloads`].
    pub fn offloads(self, on: bool) -> Self {
        self.a(|end| end.offloads(on)).b(|end| end.offloads(on))
    }

    /// Each end knows the other's Ethernet address from the start and never sends ARP. For ends with addresses.
    pub fn static_neighbours(mut self) -> Self {
        self.neighbours = true;
        self
    }

    /// Makes the pair. If both ends are to be up, it returns when frames pass, so that not even the first is lost.
    ///
    /// # Errors
    /// [`Error::Name`]; EPERM without CAP_NET_ADMIN; EOPNOTSUPP when the kernel has no veth; EEXIST when a name is
    /// taken; EINVAL or ERANGE for an impossible MTU, queue count or prefix; EADDRNOTAVAIL for a MAC that is zero or
    /// multicast. After an error no interface remains.
    pub fn build(self) -> Result<VethPair, Error> {
        let Self { a, b, neighbours } = self;
        link::check_name(&a.name)?;
        link::check_name(&b.name)?;
        a.create_with(&b)?;
        // From here on a failure has interfaces to take back.
        let undo = |error| {
            if let Ok(end) = VethEnd::find(&a.ns, &a.name, a.resolved_mac()) {
                let _ = end.delete();
            }
            error
        };
        Self::configure(&a, &b, neighbours).map_err(undo)
    }

    fn configure(a: &EndBuilder, b: &EndBuilder, neighbours: bool) -> Result<VethPair, Error> {
        let pair = VethPair { a: a.configure()?, b: b.configure()? };
        if a.up && b.up {
            pair.wait_running()?;
        }
        if neighbours && let (Some((ip_a, _)), Some((ip_b, _))) = (a.address, b.address) {
            pair.a.add_neighbour(ip_b, pair.b.mac())?;
            pair.b.add_neighbour(ip_a, pair.a.mac())?;
        }
        Ok(pair)
    }
}

impl EndBuilder {
    fn new(ns: &Namespace, name: &str, side: u8) -> Self {
        Self {
            ns: ns.clone(),
            name: name.into(),
            rx_queues: 1,
            tx_queues: 1,
            mtu: 1500,
            mac: None,
            side,
            address: None,
            offloads: None,
            up: true,
        }
    }

    /// The interface's name: 1 to 15 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Receive and transmit queues, each 1 to 4096. Native XDP on one end demands as many receive queues there as the
    /// other end has transmit queues.
    pub fn queues(mut self, rx: u32, tx: u32) -> Self {
        self.rx_queues = rx;
        self.tx_queues = tx;
        self
    }

    /// MTU in bytes after the Ethernet header: 68 to 65535.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Ethernet address. The default is locally administered and follows from name and end, so it is the same in
    /// every run.
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = Some(mac);
        self
    }

    /// IPv4 address and prefix length.
    pub fn address(mut self, address: Ipv4Addr, prefix: u8) -> Self {
        self.address = Some((address, prefix));
        self
    }

    /// Offloads: see [`VethEnd::set_offloads`].
    pub fn offloads(mut self, on: bool) -> Self {
        self.offloads = Some(on);
        self
    }

    /// Whether the end is set up.
    pub fn up(mut self, up: bool) -> Self {
        self.up = up;
        self
    }

    fn resolved_mac(&self) -> [u8; 6] {
        // FNV-1a: names within a namespace differ, so addresses there do too; the side tells namesakes apart.
        let hash =
            self.name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        let [h0, h1, h2, h3] = hash.to_be_bytes();
        self.mac.unwrap_or([0x02, h0, h1, h2, h3, self.side])
    }

    fn attributes(&self) -> Vec<LinkAttribute> {
        vec![
            LinkAttribute::IfName(self.name.clone()),
            LinkAttribute::Address(self.resolved_mac().to_vec()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::NumRxQueues(self.rx_queues),
            LinkAttribute::NumTxQueues(self.tx_queues),
        ]
    }

    /// Creates both interfaces, down.
    fn create_with(&self, peer: &Self) -> Result<(), Error> {
        let mut far = LinkMessage::default();
        far.attributes = peer.attributes();
        far.attributes.push(LinkAttribute::NetNsFd(peer.ns.as_fd().as_raw_fd()));

        let mut near = LinkMessage::default();
        near.attributes = self.attributes();
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        let what = format!("create the veth pair {} and {}", self.name, peer.name);
        link::create(self.ns.route(), Step { what: &what, interface: None }, near)
    }

    fn configure(&self) -> Result<VethEnd, Error> {
        let end = VethEnd::find(&self.ns, &self.name, self.resolved_mac())?;
        if let Some(on) = self.offloads {
            end.set_offloads(on)?;
        }
        if let Some((address, prefix)) = self.address {
            end.add_address(address, prefix)?;
        }
        if self.up {
            end.set_up(true)?;
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_macs_are_local_unicast_stable_and_differ() {
        if !crate::require() {
            return;
        }
        let ns = Namespace::new().unwrap();
        let mac = |name: &str, side| EndBuilder::new(&ns, name, side).resolved_mac();
        assert_eq!(mac("a", 0x0a), mac("a", 0x0a));
        assert_eq!(mac("a", 0x0a)[0], 0x02);
        assert_ne!(mac("a", 0x0a), mac("a", 0x0b));
        assert_ne!(mac("a", 0x0a), mac("c", 0x0a));
    }
}
