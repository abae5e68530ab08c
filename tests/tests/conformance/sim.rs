//! The simulated kernel.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xsk::backend::{Backend, Handle};
use xsk::config::XdpFlags;
use xsk_sim::{DeviceConfig, SimDevice, SimKernel, XdpAction};

use crate::world::{End, Program, World};

pub struct SimWorld {
    kernel: SimKernel,
    a: SimDevice,
    b: SimDevice,
    mode: XdpFlags,
}

impl SimWorld {
    pub fn new(mode: XdpFlags, mtu: u32) -> Self {
        let kernel = SimKernel::new(11);
        let (a, b) = kernel.veth("a", "b", &DeviceConfig::default().mtu(mtu)).expect("a pair");
        Self { kernel, a, b, mode }
    }

    fn device(&self, end: End) -> &SimDevice {
        match end {
            End::A => &self.a,
            End::B => &self.b,
        }
    }
}

impl World for SimWorld {
    fn kernel(&self) -> Arc<dyn Backend> {
        self.kernel.backend()
    }

    fn mode(&self) -> XdpFlags {
        self.mode
    }

    fn name(&self, end: End) -> CString {
        CString::new(self.device(end).name()).expect("a name")
    }

    fn program(&self, program: Program, map: Handle) -> Handle {
        let seen = AtomicU64::new(0);
        self.kernel.program("conformance", true, move |packet| {
            let number = seen.fetch_add(1, Ordering::Relaxed);
            let to = |key| XdpAction::RedirectMap { map, key, flags: 1 };
            match program {
                Program::Redirect => to(0),
                Program::DropHalf if !number.is_multiple_of(2) => XdpAction::Drop,
                Program::DropHalf => to(0),
                Program::ByAddress => to(u32::from(packet.data()[5]) / 2),
                Program::CountInMetadata => {
                    if packet.adjust_meta(-8).is_err() {
                        return XdpAction::Drop;
                    }
                    packet.metadata_mut().copy_from_slice(&number.to_ne_bytes());
                    to(0)
                }
                Program::AdjustTail(delta) => {
                    let _ = packet.adjust_tail(delta);
                    to(0)
                }
            }
        })
    }

    fn send(&self, end: End, frame: &[u8]) {
        self.device(end).send(frame).expect("the frame fits the link");
    }

    fn receive(&self, end: End) -> Option<Vec<u8>> {
        self.settle();
        self.device(end).receive()
    }

    fn concurrent(&self) -> bool {
        false
    }

    fn settle(&self) {
        self.kernel.run_until_idle(10_000);
        self.kernel.check().expect("no crash");
    }

    fn check_frames(&self) {
        let frames = self.kernel.frames();
        frames.check().unwrap_or_else(|error| panic!("{error}\n{frames}"));
    }
}
