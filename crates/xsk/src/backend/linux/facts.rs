use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::ethtool::{Ethtool, Queues};
use super::netlink;
use crate::backend::{
    Capabilities, HugePages, InterfaceCounters, InterfaceInfo, InterruptDeferral, NamespaceId, PageSize,
    TxOffloads,
};

pub(super) fn interface(name: &CStr) -> io::Result<InterfaceInfo> {
    let ethtool = Ethtool::new(name)?;
    let index = ethtool.index()?;
    let link = netlink::link(index)?;
    // Devices without channels (lo, tun) tell how many queues they were made with.
    let queues = ethtool.queues().unwrap_or(Queues {
        rx: link.rx_queues,
        tx: link.tx_queues,
        max: link.rx_queues.max(link.tx_queues),
    });
    Ok(InterfaceInfo {
        name: link.name,
        index,
        rx_queues: queues.rx,
        tx_queues: queues.tx,
        max_queues: queues.max.max(queues.rx).max(queues.tx),
        mtu: link.mtu,
        mac: link.mac,
        up: link.up,
        carrier: link.carrier,
        driver: ethtool.driver().ok().or(link.kind),
        program: link.program,
        features: netlink::driver_features(index).ok(),
    })
}

pub(super) fn interface_counters(name: &CStr) -> io::Result<InterfaceCounters> {
    let ethtool = Ethtool::new(name)?;
    let mut counters = netlink::counters(ethtool.index()?)?;
    // Many drivers have none of their own.
    counters.driver = ethtool.counters().unwrap_or_default();
    Ok(counters)
}

/// In copy mode the kernel refuses what it does not know, and does the rest. A zero-copy driver ignores what it cannot do.
pub(super) fn tx_offloads(name: &CStr, zero_copy: bool) -> io::Result<TxOffloads> {
    if zero_copy {
        return netlink::tx_offloads(Ethtool::new(name)?.index()?);
    }
    // Launch times came with 6.15, metadata before with a flag of its own.
    let known = TxOffloads::TIMESTAMP | TxOffloads::CHECKSUM;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let has_launch_time = version(&release).is_some_and(|version| version >= [6, 15]);
    Ok(if has_launch_time { known | TxOffloads::LAUNCH_TIME } else { known })
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<[u32; 2]> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

pub(super) fn namespace() -> io::Result<NamespaceId> {
    let metadata = fs::metadata("/proc/thread-self/ns/net")?;
    Ok(NamespaceId([metadata.dev(), metadata.ino()]))
}

pub(super) fn capabilities() -> io::Result<Capabilities> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.map(Capabilities::from_bits_truncate).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[allow(clippy::unnecessary_cast)] // 32 bits on 32-bit machines
pub(super) fn memlock_limit() -> io::Result<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    super::sys::check(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) })?;
    Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur as u64))
}

pub(super) fn huge_pages(size: PageSize) -> io::Result<HugePages> {
    let folder = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", size.bytes() >> 10);
    let number = |file: &str| match fs::read_to_string(format!("{folder}/{file}")) {
        Ok(text) => text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into()),
        // The processor has no pages of this size.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    };
    Ok(HugePages { total: number("nr_hugepages")?, free: number("free_hugepages")? })
}

/// sysfs is of the namespace that it was mounted in, which need not be the calling thread's.
pub(super) fn interrupt_deferral(name: &CStr) -> io::Result<InterruptDeferral> {
    let index = Ethtool::new(name)?.index()?;
    let link = netlink::link(index)?;
    let folder = format!("/sys/class/net/{}", link.name);
    let read = |file: &str| fs::read_to_string(format!("{folder}/{file}"));
    let number = |file: &str| {
        let text = read(file)?;
        text.trim().parse::<u64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    };
    let mac = link.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
    let is_here = number("ifindex").is_ok_and(|there| there == index.into())
        && mac.is_none_or(|mac| read("address").is_ok_and(|there| there.trim() == mac));
    if !is_here {
        let why = "/sys is mounted for another network namespace: mount sysfs in this one";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let hard_irqs = number("napi_defer_hard_irqs")?.try_into().unwrap_or(u32::MAX);
    Ok(InterruptDeferral { hard_irqs, flush_timeout: Duration::from_nanos(number("gro_flush_timeout")?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (release, expected) in [
            ("6.18.44-cloud-amd64\n", Some([6, 18])),
            ("6.9-rc3", Some([6, 9])),
            ("7.3", Some([7, 3])),
            ("linux", None),
            ("", None),
        ] {
            assert_eq!(version(release), expected);
        }
    }
}
