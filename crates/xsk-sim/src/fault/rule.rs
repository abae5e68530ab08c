use std::fmt;
use std::ops::Range;
use std::time::Duration;

use xsk::backend::Handle;
use xsk_core::abi::xdp_desc;

use super::{Call, Chance, DeviceFault, Fault, Moment, Point, Ring, Rule};
use crate::sim_device::SimDevice;

/// A rule made from parts: what goes wrong, where, and how often. Everywhere and always, unless narrowed.
///
/// ```
/// use std::time::Duration;
/// use xsk_sim::fault::FaultRule;
///
/// let kernel = xsk_sim::SimKernel::new(1);
/// // One completion in ten comes late, and so after those that follow it.
/// let _late = kernel.fault(FaultRule::delay_completions(Duration::from_micros(10)..Duration::from_millis(2)).chance(0.1));
/// // The third sendto fails.
/// let _busy = kernel.fault(FaultRule::errno(xsk_sim::fault::Call::SendTo, 105).nth(3));
/// ```
#[derive(Debug)]
pub struct FaultRule {
    kind: Kind,
    socket: Option<Handle>,
    device: Option<u32>,
    queue: Option<u32>,
    chance: Option<f64>,
    /// Matching points to let pass first.
    skip: u64,
    times: Option<u64>,
}

/// What goes wrong.
enum Kind {
    Errno(Call, i32),
    LoseKick,
    LoseWake,
    LosePacket,
    DelayPacket(Range<Duration>),
    DelayNapi(Range<Duration>),
    StallNapi,
    Starve,
    CorruptRx,
    LoseCompletion,
    DelayCompletion(Range<Duration>),
    CorruptCompletion,
    CorruptIndex(Ring),
    Device(u32, DeviceFault),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(call, number) => write!(f, "errno {number} of {call}"),
            Self::LoseKick => f.write_str("kicks are lost"),
            Self::LoseWake => f.write_str("wakeups are lost"),
            Self::LosePacket => f.write_str("packets are lost"),
            Self::DelayPacket(time) => write!(f, "packets are delayed by {time:?}"),
            Self::DelayNapi(time) => write!(f, "NAPI is delayed by {time:?}"),
            Self::StallNapi => f.write_str("NAPI is stalled"),
            Self::Starve => f.write_str("the fill ring looks empty"),
            Self::CorruptRx => f.write_str("RX descriptors are corrupt"),
            Self::LoseCompletion => f.write_str("completions are lost"),
            Self::DelayCompletion(time) => write!(f, "completions are delayed by {time:?}"),
            Self::CorruptCompletion => f.write_str("completions are corrupt"),
            Self::CorruptIndex(ring) => write!(f, "the kernel's index of the {ring} ring is impossible"),
            Self::Device(index, fault) => write!(f, "device {index}: {fault:?}"),
        }
    }
}

impl FaultRule {
    fn new(kind: Kind) -> Self {
        Self { kind, socket: None, device: None, queue: None, chance: None, skip: 0, times: None }
    }

    /// A call fails with an error number, and does nothing.
    pub fn errno(call: Call, number: i32) -> Self {
        Self::new(Kind::Errno(call, number))
    }

    /// The user's wakeups come to nothing: sendto says 0 and poll goes on, but the TX ring is not looked at.
    pub fn lose_kicks() -> Self {
        Self::new(Kind::LoseKick)
    }

    /// The kernel wakes nobody who sleeps in poll.
    pub fn lose_wakes() -> Self {
        Self::new(Kind::LoseWake)
    }

    /// Packets are lost on the wire; their senders get them completed.
    pub fn lose_packets() -> Self {
        Self::new(Kind::LosePacket)
    }

    /// Packets are late by a time of the range, each by its own: they overtake each other.
    pub fn delay_packets(time: Range<Duration>) -> Self {
        Self::new(Kind::DelayPacket(time))
    }

    /// The receiving side runs late by a time of the range.
    pub fn delay_napi(time: Range<Duration>) -> Self {
        Self::new(Kind::DelayNapi(time))
    }

    /// The receiving side does not run until the rule is withdrawn.
    pub fn stall_napi() -> Self {
        Self::new(Kind::StallNapi)
    }

    /// The fill ring looks empty.
    pub fn starve() -> Self {
        Self::new(Kind::Starve)
    }

    /// Descriptors in the RX ring are corrupt: one of address, length and options, whatever the seed says.
    pub fn corrupt_rx() -> Self {
        Self::new(Kind::CorruptRx)
    }

    /// Frames that were sent do not come back.
    pub fn lose_completions() -> Self {
        Self::new(Kind::LoseCompletion)
    }

    /// Frames that were sent come back late by a time of the range, each by its own, and so in another order.
    ///
    /// Linux 6.12 writes completions when it reserves them, and so gives back the frame that was sent first, whichever packet
    /// is done: under this rule (and late packets) it breaks the law of the frames by itself.
    pub fn delay_completions(time: Range<Duration>) -> Self {
        Self::new(Kind::DelayCompletion(time))
    }

    /// Addresses in the completion ring are corrupt: any number, whatever the seed says.
    pub fn corrupt_completions() -> Self {
        Self::new(Kind::CorruptCompletion)
    }

    /// The kernel's index of a ring is one that cannot be.
    pub fn corrupt_index(ring: Ring) -> Self {
        Self::new(Kind::CorruptIndex(ring))
    }

    /// Something happens to a device, once, at the first point of any kind that matches.
    pub fn device_fault(device: &SimDevice, fault: DeviceFault) -> Self {
        Self::new(Kind::Device(device.index(), fault)).times(1)
    }

    /// Only to this socket.
    pub fn socket(mut self, socket: Handle) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Only on this device.
    pub fn on(mut self, device: &SimDevice) -> Self {
        self.device = Some(device.index());
        self
    }

    /// Only on this queue.
    pub fn queue(mut self, queue: u32) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Only with this probability.
    pub fn chance(mut self, probability: f64) -> Self {
        self.chance = Some(probability);
        self
    }

    /// Only the matching point of this number, counted from 1; 0 counts as 1.
    pub fn nth(self, number: u64) -> Self {
        self.after(number.saturating_sub(1)).times(1)
    }

    /// Not at the first so many matching points.
    pub fn after(mut self, points: u64) -> Self {
        self.skip = points;
        self
    }

    /// Only so many times.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, point: &Point) -> bool {
        let there = self.socket.is_none_or(|socket| point.socket == Some(socket))
            && self.device.is_none_or(|device| point.device == Some(device))
            && self.queue.is_none_or(|queue| point.queue == Some(queue));
        there
            && match (&self.kind, point.moment) {
                (Kind::Errno(call, _), Moment::Call(at)) => *call == at,
                (Kind::CorruptIndex(ring), Moment::Publish { ring: at, .. }) => *ring == at,
                (Kind::LoseKick, Moment::Kick)
                | (Kind::LoseWake, Moment::Wake)
                | (Kind::LosePacket | Kind::DelayPacket(_), Moment::Packet { .. })
                | (Kind::DelayNapi(_) | Kind::StallNapi, Moment::Napi)
                | (Kind::Starve, Moment::Buffer)
                | (Kind::CorruptRx, Moment::Receive(_))
                | (
                    Kind::LoseCompletion | Kind::DelayCompletion(_) | Kind::CorruptCompletion,
                    Moment::Completion { .. },
                )
                | (Kind::Device(..), _) => true,
                _ => false,
            }
    }

    fn fault(&self, moment: Moment, chance: &mut Chance<'_>) -> Fault {
        let any = 0..u64::MAX;
        match (&self.kind, moment) {
            (Kind::Errno(_, number), _) => Fault::Errno(*number),
            (Kind::StallNapi, _) => Fault::Stall,
            (Kind::Starve, _) => Fault::Starve,
            (Kind::DelayPacket(time) | Kind::DelayNapi(time) | Kind::DelayCompletion(time), _) => {
                Fault::Delay(chance.time(time.clone()))
            }
            (Kind::CorruptRx, Moment::Receive(desc)) => Fault::Describe(corrupt(desc, chance)),
            (Kind::CorruptCompletion, _) => Fault::Address(chance.number(any)),
            (Kind::CorruptIndex(_), Moment::Publish { index, .. }) => {
                // Half of all numbers away from the true one: farther than any ring is long.
                let away = chance.number(1 << 30..3 << 30);
                Fault::Index(index.wrapping_add(away as u32))
            }
            (Kind::Device(index, fault), _) => Fault::Device { index: *index, fault: *fault },
            _ => Fault::Lose,
        }
    }
}

fn corrupt(desc: xdp_desc, chance: &mut Chance<'_>) -> xdp_desc {
    let number = chance.number(1..u64::MAX);
    match chance.number(0..3) {
        0 => xdp_desc { addr: desc.addr ^ number, ..desc },
        // Longer than any frame.
        1 => xdp_desc { len: number as u32 | 1 << 31, ..desc },
        // Bits that no kernel sets in the RX ring.
        _ => xdp_desc { options: number as u32 | 1 << 31, ..desc },
    }
}

impl Rule for FaultRule {
    fn ask(&mut self, point: &Point, chance: &mut Chance<'_>) -> Option<Fault> {
        if self.times == Some(0) || !self.matches(point) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.chance.is_some_and(|probability| !chance.happens(probability)) {
            return None;
        }
        self.times = self.times.map(|times| times - 1);
        Some(self.fault(point.moment, chance))
    }
}
