use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use xsk::backend::{AttachedProgram, DriverFeatures, InterfaceInfo, InterruptDeferral, XdpMode};
use xsk_core::errno::{EEXIST, EINVAL};

use crate::arena::Id;
use crate::error::{Failure, Sys, errno};
use crate::kernel::Kernel;
use crate::trace::{DeviceState, What};
use crate::xdp::Mode;

use super::{Device, Kind};

/// How packets of the stack wait for a device. What AF_XDP sends never waits there, but a device with a real qdisc says
/// "busy" where one without drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Qdisc {
    /// `noqueue`: what does not fit is dropped.
    #[default]
    None,
    /// `pfifo`.
    Fifo,
}

/// How a device is made.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    pub(crate) rx_queues: u32,
    pub(crate) tx_queues: u32,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) qdisc: Qdisc,
    pub(crate) threaded: bool,
    pub(crate) zc_segments: u32,
}

impl Default for DeviceConfig {
    /// One queue of each kind, MTU 1500, up.
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            mtu: 1500,
            up: true,
            qdisc: Qdisc::None,
            threaded: false,
            zc_segments: 0,
        }
    }
}

impl DeviceConfig {
    /// So many queues of each kind; 0 counts as 1.
    pub fn queues(self, queues: u32) -> Self {
        self.rx_queues(queues).tx_queues(queues)
    }

    /// So many receive queues; 0 counts as 1.
    pub fn rx_queues(mut self, queues: u32) -> Self {
        self.rx_queues = queues.max(1);
        self
    }

    /// So many transmit queues; 0 counts as 1.
    pub fn tx_queues(mut self, queues: u32) -> Self {
        self.tx_queues = queues.max(1);
        self
    }

    /// Largest payload of a frame, in bytes.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Whether it is up.
    pub fn up(mut self, up: bool) -> Self {
        self.up = up;
        self
    }

    /// How packets of the stack wait for it.
    pub fn qdisc(mut self, qdisc: Qdisc) -> Self {
        self.qdisc = qdisc;
        self
    }

    /// Whether its driver has AF_XDP zero copy, with packets of up to 8 buffers. Of a card only.
    pub fn zero_copy(self, zero_copy: bool) -> Self {
        const SEGMENTS: u32 = 8;
        self.zero_copy_segments(if zero_copy { SEGMENTS } else { 0 })
    }

    /// As [`zero_copy`](Self::zero_copy), with packets of up to so many buffers (`xdp_zc_max_segs`); 0: no zero copy.
    pub fn zero_copy_segments(mut self, segments: u32) -> Self {
        self.zc_segments = segments;
        self
    }

    /// Whether its NAPI runs in threads: packets arrive some time after they were sent, in batches.
    pub fn threaded(mut self, threaded: bool) -> Self {
        self.threaded = threaded;
        self
    }
}

/// The largest MTU there is (`include/uapi/linux/if_ether.h:ETH_MAX_MTU`), and the smallest.
pub(crate) const MTU_MAX: u32 = 65535;
const MTU_MIN: u32 = 68;

impl Kernel {
    pub(crate) fn add_device(&mut self, name: &str, kind: Kind, config: &DeviceConfig) -> Sys<Id<Device>> {
        let valid = (1..=15).contains(&name.len()) && !name.contains(['/', ':', '\0', ' ']);
        if !valid || name == "." || name == ".." {
            return errno(EINVAL);
        }
        if self.device_named(name.as_bytes()).is_some() {
            return errno(EEXIST);
        }
        if kind != Kind::Loopback && !(MTU_MIN..=MTU_MAX).contains(&config.mtu) {
            return errno(EINVAL);
        }
        if config.zc_segments > 0 && kind != Kind::Wire {
            return Err(Failure::Unsupported("zero copy on a device that is no card".to_owned()));
        }
        let index = self.devices.iter().map(|(_, device)| device.index).max().unwrap_or(0) + 1;
        Ok(self.devices.insert(Device {
            name: name.to_owned(),
            index,
            kind,
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            max_rx_queues: config.rx_queues,
            max_tx_queues: config.tx_queues,
            mtu: config.mtu,
            max_mtu: MTU_MAX,
            up: config.up,
            gone: false,
            qdisc: config.qdisc,
            zc_segments: config.zc_segments,
            cable: None,
            threaded: config.threaded,
            stack_delay: Duration::ZERO,
            deferral: InterruptDeferral::default(),
            xdp: None,
            pools: BTreeMap::new(),
            rings: Vec::new(),
            page_pools: Vec::new(),
            stack: VecDeque::new(),
            wire: VecDeque::new(),
            rx_dropped: 0,
            tx_dropped: 0,
            drops: Default::default(),
        }))
    }

    pub(crate) fn device_named(&self, name: &[u8]) -> Option<Id<Device>> {
        let mut devices = self.devices.iter();
        devices.find(|(_, device)| !device.gone && device.name.as_bytes() == name).map(|(id, _)| id)
    }

    pub(crate) fn device_by_index(&self, index: u32) -> Option<Id<Device>> {
        let mut devices = self.devices.iter();
        devices.find(|(_, device)| !device.gone && device.index == index).map(|(id, _)| id)
    }

    /// Both ends of a veth have a carrier when both are up (`drivers/net/veth.c:veth_open`).
    pub(crate) fn has_carrier(&self, id: Id<Device>) -> bool {
        let device = &self.devices[id];
        match device.kind {
            Kind::Veth { peer } => device.up && peer.is_some_and(|peer| self.devices[peer].up),
            Kind::Loopback => device.up,
            Kind::Wire => device.up && device.cable.is_none_or(|other| self.devices[other].up),
        }
    }

    pub(crate) fn set_up(&mut self, id: Id<Device>, up: bool) {
        self.devices[id].up = up;
        self.note(None, Some(id), || What::Device {
            state: if up { DeviceState::Up } else { DeviceState::Down },
        });
        if !up {
            // What waited in its rings is freed.
            self.free_waiting(id);
        }
        self.refresh_drivers(id);
        self.refresh_descriptors();
    }

    /// `ethtool -L` (`net/ethtool/ioctl.c:ethtool_set_channels`). Without a change nothing is looked at.
    pub(crate) fn set_queues(&mut self, id: Id<Device>, rx: u32, tx: u32) -> Sys<()> {
        let device = &self.devices[id];
        if (rx, tx) == (device.rx_queues, device.tx_queues) {
            return Ok(());
        }
        let in_use = device.pools.keys().next_back().map_or(0, |queue| queue + 1);
        let possible = (1..=device.max_rx_queues).contains(&rx) && (1..=device.max_tx_queues).contains(&tx);
        if !possible || in_use > rx.min(tx) {
            return errno(EINVAL);
        }
        if let Kind::Veth { peer: Some(peer) } = device.kind {
            let peer = &self.devices[peer];
            // A native program needs a receive queue for each of the peer's transmit queues.
            if (device.is_native() && rx < peer.tx_queues) || (peer.is_native() && tx > peer.rx_queues) {
                return errno(EINVAL);
            }
        }
        (self.devices[id].rx_queues, self.devices[id].tx_queues) = (rx, tx);
        Ok(())
    }

    pub(crate) fn set_mtu(&mut self, id: Id<Device>, mtu: u32) -> Sys<()> {
        if !(MTU_MIN..=self.devices[id].max_mtu).contains(&mtu) || !self.zero_copy_takes_mtu(id, mtu) {
            return errno(EINVAL);
        }
        self.devices[id].mtu = mtu;
        Ok(())
    }

    /// The device leaves: its sockets die, and nobody finds it any more.
    fn take_leave(&mut self, id: Id<Device>) {
        if self.devices[id].gone {
            return;
        }
        self.free_waiting(id);
        self.unbind_sockets(id);
        self.note(None, Some(id), || What::Device { state: DeviceState::Gone });
        self.devices[id].gone = true;
    }

    /// As well, its link is detached.
    fn unregister(&mut self, id: Id<Device>) {
        self.cut_cable(id);
        self.take_leave(id);
        if let Some(attached) = self.devices[id].xdp.take()
            && let Some(link) = self.links.get_mut(attached.link)
        {
            link.device = None;
        }
    }

    /// Puts a cable between two cards, or a loopback plug into one. Each loses the cable that it had.
    pub(crate) fn connect(&mut self, one: Id<Device>, other: Id<Device>) -> Sys<()> {
        if [one, other].iter().any(|id| self.devices[*id].kind != Kind::Wire || self.devices[*id].gone) {
            return errno(EINVAL);
        }
        self.cut_cable(one);
        self.cut_cable(other);
        self.devices[one].cable = Some(other);
        self.devices[other].cable = Some(one);
        Ok(())
    }

    fn cut_cable(&mut self, id: Id<Device>) {
        if let Some(other) = self.devices[id].cable.take() {
            self.devices[other].cable = None;
        }
    }

    /// `net/core/dev.c:dev_change_net_namespace`: the device goes down, and keeps its program.
    pub(crate) fn move_away(&mut self, id: Id<Device>) {
        self.set_up(id, false);
        self.take_leave(id);
    }

    /// `ip link del`: a veth takes its peer with it.
    pub(crate) fn remove_device(&mut self, id: Id<Device>) {
        let Kind::Veth { peer } = self.devices[id].kind else { return self.unregister(id) };
        for end in [Some(id), peer].into_iter().flatten() {
            self.unregister(end);
            self.devices[end].kind = Kind::Veth { peer: None };
            self.devices[end].up = false;
        }
    }

    /// What is known of a device (`ioctl`, netlink).
    pub(crate) fn interface_info(&self, id: Id<Device>) -> InterfaceInfo {
        let device = &self.devices[id];
        let mut info = InterfaceInfo::new(&device.name, device.index);
        info.rx_queues = device.rx_queues;
        info.tx_queues = device.tx_queues;
        info.max_queues = device.max_rx_queues.max(device.max_tx_queues);
        info.mtu = device.mtu;
        // Locally administered, and the same in every run.
        let [.., high, low] = device.index.to_be_bytes();
        info.mac = Some(match device.kind {
            Kind::Loopback => [0; 6],
            Kind::Veth { .. } | Kind::Wire => [2, 0, 0, 0, high, low],
        });
        info.up = device.up;
        info.carrier = self.has_carrier(id);
        info.program = device.xdp.map(|attached| AttachedProgram {
            id: Self::program_id(attached.program),
            mode: match attached.mode {
                Mode::Skb => XdpMode::Skb,
                Mode::Native => XdpMode::Native,
            },
        });
        let features = DriverFeatures::BASIC | DriverFeatures::REDIRECT | DriverFeatures::RX_SG;
        let sends = DriverFeatures::NDO_XMIT | DriverFeatures::NDO_XMIT_SG;
        let (driver, features) = match device.kind {
            Kind::Veth { peer } => {
                let receives = peer.is_some_and(|peer| self.devices[peer].is_native());
                (Some("veth".to_owned()), if receives { features | sends } else { features })
            }
            Kind::Loopback => (None, DriverFeatures::empty()),
            Kind::Wire if device.zc_segments > 0 => {
                (Some("xsk-sim".to_owned()), features | sends | DriverFeatures::ZERO_COPY)
            }
            Kind::Wire => (Some("xsk-sim".to_owned()), features | sends),
        };
        (info.driver, info.features) = (driver, self.profile.tells_features.then_some(features));
        info
    }
}
