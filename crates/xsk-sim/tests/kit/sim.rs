use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle};
use xsk::config::XdpFlags;
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel, XdpAction};

use super::{Adjust, End, World};

/// A simulated kernel with a veth pair.
pub struct SimWorld {
    pub kernel: SimKernel,
    pub a: SimDevice,
    pub b: SimDevice,
    mode: XdpFlags,
}

impl SimWorld {
    pub fn new(profile: Profile, mode: XdpFlags, config: &DeviceConfig) -> Self {
        let kernel = SimKernel::with_profile(7, profile);
        let (a, b) = kernel.veth("veth-a", "veth-b", config).expect("a pair");
        Self { kernel, a, b, mode }
    }

    pub fn skb() -> Self {
        Self::new(Profile::default(), XdpFlags::XDP_FLAGS_SKB_MODE, &DeviceConfig::default())
    }

    pub fn native() -> Self {
        Self::new(Profile::default(), XdpFlags::XDP_FLAGS_DRV_MODE, &DeviceConfig::default())
    }

    pub fn of(profile: Profile) -> Self {
        Self::new(profile, XdpFlags::XDP_FLAGS_SKB_MODE, &DeviceConfig::default())
    }

    fn device(&self, end: End) -> &SimDevice {
        match end {
            End::A => &self.a,
            End::B => &self.b,
        }
    }
}

/// Runs a body on each kind of world that there is.
pub fn everywhere(body: impl Fn(&dyn World)) {
    for world in [SimWorld::skb(), SimWorld::native()] {
        body(&world);
        world.check();
    }
}

impl World for SimWorld {
    fn kernel(&self) -> Arc<dyn Backend> {
        self.kernel.backend()
    }

    fn index(&self, end: End) -> u32 {
        self.device(end).index()
    }

    fn name(&self, end: End) -> String {
        self.device(end).name()
    }

    fn send(&self, end: End, frame: &[u8]) {
        self.device(end).send(frame).expect("the frame fits the link");
    }

    fn receive(&self, end: End) -> Option<Vec<u8>> {
        self.device(end).receive()
    }

    fn mode(&self) -> XdpFlags {
        self.mode
    }

    fn set_up(&self, end: End, up: bool) {
        self.device(end).set_up(up);
    }

    fn set_mtu(&self, end: End, mtu: u32) {
        self.device(end).set_mtu(mtu).expect("an MTU");
    }

    fn remove(&self) {
        self.a.remove();
    }

    fn hold_at(&self, end: End, milliseconds: u64) {
        self.device(end).set_stack_delay(Duration::from_millis(milliseconds));
    }

    fn adjusting_program(&self, map: Handle, adjust: Adjust) -> Handle {
        self.kernel.program("adjust", true, move |packet| {
            let result = match adjust {
                Adjust::Head(delta) => packet.adjust_head(delta),
                Adjust::Tail(delta) => packet.adjust_tail(delta),
                Adjust::Meta(delta) => packet.adjust_meta(delta),
            };
            packet.metadata_mut().fill(0x4d);
            match result {
                Ok(()) => XdpAction::RedirectMap { map, key: packet.rx_queue(), flags: 0 },
                Err(_) => XdpAction::Aborted,
            }
        })
    }

    fn check(&self) {
        self.kernel.check().expect("no crash");
    }
}
