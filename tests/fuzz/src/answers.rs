//! Netlink answers of any bytes: an error or a link, whose text is no longer than the answer.

/// What the file expects to be around it.
#[allow(dead_code)]
mod sys {
    use std::io;
    use std::os::fd::OwnedFd;

    pub(super) fn check(_: libc::c_int) -> io::Result<libc::c_int> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn owned(_: libc::c_int) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

// The very file that ships; it is private to its crate.
#[allow(dead_code)]
#[path = "../../../crates/xsk/src/backend/linux/netlink.rs"]
mod netlink;

pub fn run(data: &[u8]) {
    if let Some(counters) = netlink::parse_counters(data) {
        // Whatever was counted stands in the answer.
        let shown = |count: u64| data.windows(8).any(|bytes| bytes == count.to_ne_bytes());
        assert!(counters.rx_packets.is_none_or(shown) && counters.rx_missed.is_none_or(shown));
        assert!(counters.driver.is_empty());
    }
    let link = netlink::parse_link(data);
    let body = netlink::parse_answer(data);
    for link in link.into_iter().chain(body.ok().and_then(|body| netlink::parse_link(&body))) {
        // Bytes that are no text become three each.
        let text = link.name.len() + link.kind.map_or(0, |kind| kind.len());
        assert!(text <= 6 * data.len(), "{text} bytes of text from an answer of {}", data.len());
    }
}
