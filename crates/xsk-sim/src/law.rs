//! The law of the frames, watched at every step.

use std::fmt::Write;

use crate::frames::FrameError;
use crate::kernel::Kernel;
use crate::sim_kernel::SimKernel;
use crate::trace::{Trace, TracePlace, What};

/// How many events the history of a frame goes back.
const EVENTS: usize = 1 << 14;

impl SimKernel {
    /// Whether, from now on, a call, a step or a packet that leaves a frame in two places panics, with the history of that
    /// frame: a test that hands a frame over twice, or a program under test that does, fails where it happened. Not at first.
    ///
    /// For users who hand each frame over once; [`Frames::check`](crate::Frames::check) has the rule. It
    /// [records](Self::record) for the history, and costs time for each call.
    ///
    /// ```should_panic
    /// # use std::num::NonZeroU32;
    /// # use xsk::config::{SocketConfig, UmemConfig};
    /// # use xsk::{Socket, Umem, backend::PageSize};
    /// # use xsk_sim::{DeviceConfig, SimKernel};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let kernel = SimKernel::new(1);
    /// kernel.watch_frames(true);
    /// # let (_here, there) = kernel.veth("here", "there", &DeviceConfig::default())?;
    /// # let frames = NonZeroU32::new(16).ok_or("no frames")?;
    /// # let (umem, descs) = Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal)?;
    /// # let config = SocketConfig::default();
    /// # let (_tx, _rx, rings) = unsafe { Socket::new(config, &umem, &"here".parse()?, 0)? };
    /// # let (mut fill, _completion) = rings.ok_or("not the first socket")?;
    /// unsafe { fill.produce(&[descs[0], descs[0]]) };
    /// there.send(&[7; 60])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_frames(&self, watch: bool) {
        self.record(if watch { EVENTS } else { 0 });
        let mut kernel = self.lock();
        kernel.watches_frames = watch;
        if let Some(recorder) = &mut kernel.recorder {
            recorder.keep_all_addresses();
        }
    }
}

impl Kernel {
    /// Checks the law, if somebody wants to know.
    ///
    /// # Panics
    /// If it is broken; from then on it is not watched any more.
    #[inline]
    pub(crate) fn check_law(&mut self) {
        if self.watches_frames
            && let Err(error) = self.frames().check()
        {
            self.watches_frames = false;
            self.look_at_rings();
            let trace = self.recorder.as_ref().map_or_else(Trace::default, |recorder| recorder.copy());
            panic!("{}", self.history(&error, &trace));
        }
    }

    fn history(&self, error: &FrameError, trace: &Trace) -> String {
        let mut text = format!("{error}; where it was put:\n");
        let umem = self.umems.iter().find(|(id, _)| id.number() == error.umem).map(|(_, umem)| umem);
        for event in trace.events() {
            let What::Produced(moved) = &event.what else { continue };
            if self.umem_at(&event.place).is_some_and(|number| number != error.umem) {
                continue;
            }
            let start = |address| umem.map_or(address, |umem| umem.frame_of(address));
            for address in moved.addresses.iter().filter(|address| start(**address) == error.frame) {
                let _ = writeln!(
                    text,
                    "{:>12} us  {}: {address:#x} on the {} ring",
                    event.at.as_micros(),
                    event.place,
                    moved.ring
                );
            }
        }
        text
    }

    /// The number of the UMEM whose frames are in the rings there, if that can still be told.
    fn umem_at(&self, place: &TracePlace) -> Option<u32> {
        let umem = match place {
            TracePlace::Socket(handle) => self.sockets.get(self.socket((*handle)?).ok()?)?.umem?,
            TracePlace::Queue(device, queue) => {
                let device = &self.devices[self.device_named(device.as_bytes())?];
                self.pools.get(*device.pools.get(queue)?)?.umem
            }
            TracePlace::Kernel | TracePlace::Device(_) => return None,
        };
        Some(umem.number())
    }
}
