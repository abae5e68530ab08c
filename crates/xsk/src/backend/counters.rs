use std::fmt;

/// What an interface counts since it exists, of all its queues and whoever got the packets. `None` is what is not known.
///
/// The meaning of most is the driver's. One lost packet may be in several of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InterfaceCounters {
    /// Packets received, those for XDP sockets included; on some drivers without those that their XDP program dropped.
    pub rx_packets: Option<u64>,
    /// Packets sent.
    pub tx_packets: Option<u64>,
    /// Packets that arrived and that the driver or the stack dropped. Many drivers count here what a program could not redirect.
    pub rx_dropped: Option<u64>,
    /// Packets for which the card had no room: the driver was too slow, or in zero-copy mode had no frames from the fill ring.
    pub rx_missed: Option<u64>,
    /// Packets that were damaged.
    pub rx_errors: Option<u64>,
    /// Packets that were to be sent and were dropped: longer than the device takes, or no carrier.
    pub tx_dropped: Option<u64>,
    /// Packets that could not be sent.
    pub tx_errors: Option<u64>,
    /// The driver's own counters by its names, as `ethtool -S` shows them; veth, for one, counts there what happened in XDP.
    pub driver: Vec<(String, u64)>,
}

/// What an interface lost, by the counter that says so: see [`InterfaceCounters::losses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterfaceLoss<'a> {
    /// [`InterfaceCounters::rx_dropped`].
    RxDropped,
    /// [`InterfaceCounters::rx_missed`].
    RxMissed,
    /// [`InterfaceCounters::rx_errors`].
    RxErrors,
    /// [`InterfaceCounters::tx_dropped`].
    TxDropped,
    /// [`InterfaceCounters::tx_errors`].
    TxErrors,
    /// A counter of the driver's whose name is about losses.
    Driver(&'a str),
}

impl fmt::Display for InterfaceLoss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RxDropped => "dropped on receiving, by the driver or the stack (rx_dropped)",
            Self::RxMissed => {
                "the card had no room: poll more often, or more frames on the fill ring (rx_missed)"
            }
            Self::RxErrors => "damaged on receiving (rx_errors)",
            Self::TxDropped => "dropped on sending: too long for the device, or no carrier (tx_dropped)",
            Self::TxErrors => "could not be sent (tx_errors)",
            Self::Driver(name) => return write!(f, "counted by the driver as {name}"),
        })
    }
}

/// Names of drivers' counters that tell of losses have one of these in them.
const OF_LOSSES: [&str; 7] = ["drop", "miss", "err", "discard", "no_buf", "nobuf", "abort"];

impl InterfaceCounters {
    /// What was counted since an earlier look at the same interface.
    pub fn since(&self, earlier: &Self) -> Self {
        let counted = |now: Option<u64>, then: Option<u64>| Some(now?.wrapping_sub(then?));
        let then = |name: &str| earlier.driver.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count);
        Self {
            rx_packets: counted(self.rx_packets, earlier.rx_packets),
            tx_packets: counted(self.tx_packets, earlier.tx_packets),
            rx_dropped: counted(self.rx_dropped, earlier.rx_dropped),
            rx_missed: counted(self.rx_missed, earlier.rx_missed),
            rx_errors: counted(self.rx_errors, earlier.rx_errors),
            tx_dropped: counted(self.tx_dropped, earlier.tx_dropped),
            tx_errors: counted(self.tx_errors, earlier.tx_errors),
            driver: self.driver.iter().map(|(n, count)| (n.clone(), count.wrapping_sub(then(n)))).collect(),
        }
    }

    /// What was lost, and how many: only what is known, and not 0.
    pub fn losses(&self) -> impl Iterator<Item = (InterfaceLoss<'_>, u64)> {
        let own = [
            (InterfaceLoss::RxDropped, self.rx_dropped),
            (InterfaceLoss::RxMissed, self.rx_missed),
            (InterfaceLoss::RxErrors, self.rx_errors),
            (InterfaceLoss::TxDropped, self.tx_dropped),
            (InterfaceLoss::TxErrors, self.tx_errors),
        ];
        let drivers = self.driver.iter().filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            OF_LOSSES.iter().any(|word| name.contains(word))
        });
        let drivers = drivers.map(|(name, count)| (InterfaceLoss::Driver(name), Some(*count)));
        let known = own.into_iter().chain(drivers).filter_map(|(loss, count)| Some((loss, count?)));
        known.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_stays_unknown_and_what_is_new_counts_from_zero() {
        let driver = |count| vec![("rx_queue_0_drops".to_owned(), count), ("rx_bytes".to_owned(), count)];
        let then = InterfaceCounters { rx_dropped: Some(3), rx_missed: Some(1), ..Default::default() };
        let now = InterfaceCounters {
            rx_dropped: Some(5),
            rx_missed: Some(1),
            driver: driver(4),
            ..Default::default()
        };
        let counted = now.since(&then);
        assert_eq!((counted.rx_packets, counted.rx_dropped, counted.rx_missed), (None, Some(2), Some(0)));
        let expected = [(InterfaceLoss::RxDropped, 2), (InterfaceLoss::Driver("rx_queue_0_drops"), 4)];
        assert_eq!(counted.losses().collect::<Vec<_>>(), expected);
        assert!(now.since(&now).losses().next().is_none());
    }
}
