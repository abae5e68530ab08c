use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage, LinkXdp, State, XdpAttached},
};

use crate::{
    Error,
    netlink::{Route, Step},
};

/// An interface as the kernel described it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Name.
    pub name: String,
    /// Interface index, unique within the namespace.
    pub ifindex: u32,
    /// Ethernet address; `None` where the interface has none of six bytes.
    pub mac: Option<[u8; 6]>,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Set up by the administrator (IFF_UP).
    pub up: bool,
    /// Up, with carrier, and ready to pass frames (operational state UP; lo counts when it is up).
    pub running: bool,
    /// Receive queues allocated. Fewer may be active: [`VethEnd::channels`](crate::VethEnd::channels).
    pub rx_queues: u32,
    /// Transmit queues allocated. Fewer may be active: [`VethEnd::channels`](crate::VethEnd::channels).
    pub tx_queues: u32,
    /// The XDP program attached, if any.
    pub xdp: Option<Xdp>,
    /// The operational state as the kernel names it.
    pub(crate) state: String,
}

/// An attached XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Xdp {
    /// The program's id, as bpf(2) counts programs.
    pub id: u32,
    /// Where it runs.
    pub mode: XdpMode,
}

/// Where an XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum XdpMode {
    /// In the driver (DRV).
    Native,
    /// In the network stack, on socket buffers (SKB).
    Generic,
    /// In the hardware.
    Hardware,
    /// Several programs in several modes; [`Xdp::id`] is the first of native, generic, hardware.
    Several,
}

/// Which interface a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    Name(&'a str),
    Index(u32),
}

/// All interfaces of the namespace, in order of index.
pub(crate) fn list(route: &Route) -> Result<Vec<Link>, Error> {
    let step = Step { what: "list the interfaces", interface: None };
    let answers = route.dump(step, RouteNetlinkMessage::GetLink(query()))?;
    let mut links: Vec<Link> = answers.iter().filter_map(Link::from_answer).collect();
    links.sort_by_key(|link| link.ifindex);
    Ok(links)
}

/// One interface.
pub(crate) fn find(route: &Route, which: Which<'_>) -> Result<Link, Error> {
    let mut message = query();
    let label;
    match which {
        Which::Name(name) => {
            message.attributes.push(LinkAttribute::IfName(name.into()));
            label = name.to_owned();
        }
        Which::Index(index) => {
            message.header.index = index;
            label = format!("interface {index}");
        }
    }
    let step = Step { what: "look up the interface", interface: Some(&label) };
    let answers = route.get(step, RouteNetlinkMessage::GetLink(message))?;
    answers.iter().find_map(Link::from_answer).ok_or_else(|| Error::Answer {
        step: step.what.into(),
        interface: Some(label.clone()),
        reason: "no link in it".into(),
    })
}

/// Changes attributes and flags of the interface with this index.
pub(crate) fn set(
    route: &Route,
    step: Step<'_>,
    index: u32,
    flags: Option<(LinkFlags, bool)>,
    attributes: Vec<LinkAttribute>,
) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    if let Some((mask, on)) = flags {
        message.header.change_mask = mask;
        message.header.flags = if on { mask } else { LinkFlags::empty() };
    }
    message.attributes = attributes;
    route.change(step, RouteNetlinkMessage::SetLink(message), 0)
}

/// Creates an interface.
pub(crate) fn create(route: &Route, step: Step<'_>, message: LinkMessage) -> Result<(), Error> {
    route.change(step, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | netlink_packet_core::NLM_F_EXCL)
}

/// Deletes the interface with this index.
pub(crate) fn delete(route: &Route, name: &str, index: u32) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let step = Step { what: "delete the interface", interface: Some(name) };
    route.change(step, RouteNetlinkMessage::DelLink(message), 0)
}

/// Checks a name as {dev.c:dev_valid_name} does, so that the error names it whole and ioctls never truncate it.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let bad = |b: u8| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace() || b == 0x0b;
    let wrong = name.is_empty() || name.len() >= libc::IFNAMSIZ || name == "." || name == "..";
    if wrong || name.bytes().any(bad) { Err(Error::Name { name: name.into() }) } else { Ok(()) }
}

/// A query that leaves out the statistics, which nobody here reads.
fn query() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

impl Link {
    fn from_answer(answer: &RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewLink(message) = answer else { return None };
        let up = message.header.flags.contains(LinkFlags::Up);
        let mut link = Self {
            name: String::new(),
            ifindex: message.header.index,
            mac: None,
            mtu: 0,
            up,
            running: false,
            rx_queues: 0,
            tx_queues: 0,
            xdp: None,
            state: String::new(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::NumRxQueues(n) => link.rx_queues = *n,
                LinkAttribute::NumTxQueues(n) => link.tx_queues = *n,
                LinkAttribute::OperState(state) => {
                    // lo never leaves UNKNOWN.
                    let loopback = message.header.flags.contains(LinkFlags::Loopback);
                    link.running = up && (*state == State::Up || loopback);
                    link.state = state.to_string();
                }
                LinkAttribute::Xdp(xdp) => link.xdp = Xdp::from_attributes(xdp),
                _ => {}
            }
        }
        Some(link)
    }
}

impl Xdp {
    fn from_attributes(attributes: &[LinkXdp]) -> Option<Self> {
        let id = |pick: fn(&LinkXdp) -> Option<u32>| attributes.iter().find_map(pick);
        let attached = attributes.iter().find_map(|a| match a {
            LinkXdp::Attached(attached) => Some(*attached),
            _ => None,
        })?;
        let mode = match attached {
            XdpAttached::Driver => XdpMode::Native,
            XdpAttached::SocketBuffer => XdpMode::Generic,
            XdpAttached::Hardware => XdpMode::Hardware,
            XdpAttached::Multiple => XdpMode::Several,
            _ => return None,
        };
        let id = id(|a| if let LinkXdp::ProgId(id) = a { Some(*id) } else { None })
            .or_else(|| id(|a| if let LinkXdp::DrvProgId(id) = a { Some(*id) } else { None }))
            .or_else(|| id(|a| if let LinkXdp::SkbProgId(id) = a { Some(*id) } else { None }))
            .or_else(|| id(|a| if let LinkXdp::HwProgId(id) = a { Some(*id) } else { None }))?;
        Some(Self { id, mode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_kernel_does() {
        for good in ["a", "eth0", "fifteen-bytes-x", "...", "é"] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
        for bad in ["", ".", "..", "sixteen-bytes-xy", "a/b", "a:b", "a b", "a\0", "a\n", "a\x0b"] {
            assert_eq!(check_name(bad), Err(Error::Name { name: bad.into() }), "{bad:?}");
        }
    }

    #[test]
    fn several_programs_are_reported_with_the_native_one_first() {
        let several =
            [LinkXdp::Attached(XdpAttached::Multiple), LinkXdp::SkbProgId(7), LinkXdp::DrvProgId(9)];
        assert_eq!(Xdp::from_attributes(&several), Some(Xdp { id: 9, mode: XdpMode::Several }));
        assert_eq!(Xdp::from_attributes(&[LinkXdp::Attached(XdpAttached::None)]), None);
    }
}
