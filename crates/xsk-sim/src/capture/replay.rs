//! Captures as traffic of a card: a source that replays one, a sink that records one.

use std::io::Write;
use std::time::Duration;

use super::{CaptureError, CaptureWriter, CapturedPacket};
use crate::SimDevice;

/// When the packets of a replayed capture come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The first one now, the others as long after it as in the capture; one that is older than the first comes now.
    AsCaptured,
    /// The first one now, and one more each time so much time has passed. With [`Duration::ZERO`], full speed: all of them
    /// at this moment, before the program under test gets to look.
    Every(Duration),
}

/// What a replay planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Packets that will come in.
    pub packets: u64,
    /// Packets that no wire carries, being shorter than an Ethernet header.
    pub too_short: u64,
}

impl SimDevice {
    /// Plans that the packets of a capture come in from the wire, on a receive queue, in virtual time: as that passes, by
    /// calls, polls, [`step`](crate::SimKernel::step). Of a card only. All of the capture is read now.
    ///
    /// # Errors
    /// The capture's; what came before is planned. As [`inject_after`](Self::inject_after).
    pub fn replay(
        &self,
        queue: u32,
        capture: impl IntoIterator<Item = Result<CapturedPacket, CaptureError>>,
        pace: Pace,
    ) -> Result<Replayed, CaptureError> {
        let mut replayed = Replayed::default();
        let mut first = None;
        for packet in capture {
            let packet = packet?;
            if packet.data.len() < 14 {
                replayed.too_short += 1;
                continue;
            }
            let after = match pace {
                Pace::AsCaptured => packet.time.saturating_sub(*first.get_or_insert(packet.time)),
                Pace::Every(gap) => gap.saturating_mul(u32::try_from(replayed.packets).unwrap_or(u32::MAX)),
            };
            self.inject_after(after, queue, &packet.data)?;
            replayed.packets += 1;
        }
        Ok(replayed)
    }

    /// Moves everything that went out on the wire to a capture; each packet's time is `epoch` plus the virtual time at which
    /// it was sent. Of a card only. Returns how many packets that were.
    ///
    /// # Errors
    /// Writing failed; the packet that it failed for is lost.
    pub fn record<W: Write>(
        &self,
        capture: &mut CaptureWriter<W>,
        epoch: Duration,
    ) -> Result<u64, CaptureError> {
        let mut packets = 0;
        while let Some((moment, data)) = self.sent_at() {
            capture.write(&CapturedPacket::new(epoch.saturating_add(moment), data))?;
            packets += 1;
        }
        Ok(packets)
    }
}
