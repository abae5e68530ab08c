//! Devices as a test holds them.

use std::fmt;
use std::io;
use std::time::Duration;

use xsk::backend::{InterfaceInfo, InterruptDeferral};
use xsk_core::errno::{EBUSY, EINVAL, ENETDOWN, ENODEV};

use crate::arena::Id;
use crate::device::{Device, Kind, Qdisc, Xmit};
use crate::error::{Failure, Sys, errno};
use crate::kernel::{Event, Kernel};
use crate::sim_kernel::SimKernel;

/// A device of a [`SimKernel`]: its host's stack, its wire, and what an administrator does with it.
#[derive(Clone)]
pub struct SimDevice {
    kernel: SimKernel,
    id: Id<Device>,
}

impl SimDevice {
    pub(crate) fn new(kernel: &SimKernel, id: Id<Device>) -> Self {
        Self { kernel: kernel.clone(), id }
    }

    fn with<T>(&self, what: impl FnOnce(&mut Kernel, Id<Device>) -> T) -> T {
        let mut kernel = self.kernel.lock();
        let result = what(&mut kernel, self.id);
        kernel.check_law();
        result
    }

    /// As [`with`](Self::with), for what ends in packets being handled: a crash of the kernel is the error.
    fn call<T>(&self, what: impl FnOnce(&mut Kernel, Id<Device>) -> Sys<T>) -> io::Result<T> {
        let mut kernel = self.kernel.lock();
        kernel.check_alive()?;
        if kernel.devices[self.id].gone {
            return Err(Failure::Errno(ENODEV).into());
        }
        kernel.look_at_rings();
        let result = what(&mut kernel, self.id);
        kernel.check_alive()?;
        kernel.check_law();
        Ok(result?)
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.with(|kernel, id| kernel.devices[id].name.clone())
    }

    /// Its index.
    pub fn index(&self) -> u32 {
        self.with(|kernel, id| kernel.devices[id].index)
    }

    /// What is known of it, also after it was removed.
    pub fn info(&self) -> InterfaceInfo {
        self.with(|kernel, id| kernel.interface_info(id))
    }

    /// The host's stack sends a frame, as through a packet socket, on transmit queue 0.
    ///
    /// # Errors
    /// `ENODEV`, `ENETDOWN`; `EBUSY` if the driver dropped it. The crash that handling the frame came to.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.send_on(0, frame)
    }

    /// As [`send`](Self::send), on a given queue. Linux's stack chooses the queue by a hash of the flow.
    ///
    /// # Errors
    /// As [`send`](Self::send); `EINVAL` if there is no such queue.
    pub fn send_on(&self, queue: u32, frame: &[u8]) -> io::Result<()> {
        self.call(|kernel, id| {
            if !kernel.devices[id].up {
                return errno(ENETDOWN);
            }
            if queue >= kernel.devices[id].tx_queues {
                return errno(EINVAL);
            }
            let skb = kernel.host_skb(frame, queue);
            match kernel.direct_xmit(id, queue, skb) {
                Xmit::Sent => Ok(()),
                Xmit::Dropped | Xmit::Busy(_) => errno(EBUSY),
            }
        })
    }

    /// The next frame that its host's stack was passed, if there is one.
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.with(|kernel, id| {
            let skb = kernel.devices[id].stack.pop_front()?;
            Some(kernel.take_bytes(skb))
        })
    }

    /// A frame comes in from the wire, on a receive queue. Of a card only.
    ///
    /// # Errors
    /// `EINVAL`: it is no card, has no such queue, or the frame is shorter than 14 bytes. `ENODEV`. The crash that handling
    /// the frame came to.
    pub fn inject(&self, queue: u32, frame: &[u8]) -> io::Result<()> {
        self.call(|kernel, id| {
            let device = &kernel.devices[id];
            if device.kind != Kind::Wire || queue >= device.rx_queues || frame.len() < 14 {
                return errno(EINVAL);
            }
            kernel.wire_receive(id, queue, frame);
            Ok(())
        })
    }

    /// As [`inject`](Self::inject), but when so much virtual time has passed. If the card is down by then, is gone, or has no
    /// such queue any more, the frame is lost.
    ///
    /// # Errors
    /// As [`inject`](Self::inject).
    pub fn inject_after(&self, after: Duration, queue: u32, frame: &[u8]) -> io::Result<()> {
        self.call(|kernel, id| {
            let device = &kernel.devices[id];
            if device.kind != Kind::Wire || queue >= device.rx_queues || frame.len() < 14 {
                return errno(EINVAL);
            }
            kernel.clock.plan(after, Event::Wire { device: id, queue, frame: frame.into() });
            Ok(())
        })
    }

    /// Puts a cable between two cards: what one sends comes in at the other, a microsecond later, on the receive queue with
    /// the number of the transmit queue (modulo how many there are). A card that is connected to itself receives what it
    /// sends. Each loses the cable that it had; what goes over a cable is not [`sent`](Self::sent) to the test.
    ///
    /// # Errors
    /// `EINVAL`: they are no cards, or of two kernels, or the other is gone. `ENODEV`: this one is.
    pub fn connect(&self, other: &Self) -> io::Result<()> {
        if !self.kernel.is(&other.kernel) {
            return Err(Failure::Errno(EINVAL).into());
        }
        self.call(|kernel, id| kernel.connect(id, other.id))
    }

    /// The next frame that went out on its wire, if there is one. Of a card only.
    pub fn sent(&self) -> Option<Vec<u8>> {
        self.sent_at().map(|(_, frame)| frame)
    }

    /// As [`sent`](Self::sent), with the virtual time at which it went out.
    pub fn sent_at(&self) -> Option<(Duration, Vec<u8>)> {
        self.with(|kernel, id| {
            let (moment, skb) = kernel.devices[id].wire.pop_front()?;
            Some((moment, kernel.take_bytes(skb)))
        })
    }

    /// `ip link set up` and `down`.
    pub fn set_up(&self, up: bool) {
        self.with(|kernel, id| kernel.set_up(id, up));
    }

    /// `ip link set mtu`.
    ///
    /// # Errors
    /// `EINVAL`: out of range, or more than the program on the other end takes.
    pub fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        self.call(|kernel, id| kernel.set_mtu(id, mtu))
    }

    /// `ethtool -L`: the number of queues in use.
    ///
    /// # Errors
    /// `EINVAL`: none or more than there are, a socket is bound to one that would go, or a native program needs them.
    pub fn set_queues(&self, rx: u32, tx: u32) -> io::Result<()> {
        self.call(|kernel, id| kernel.set_queues(id, rx, tx))
    }

    /// How long its host's stack holds each frame before it frees it, as a bridge to a slow device does: until then its
    /// sender gets no completion.
    pub fn set_stack_delay(&self, delay: Duration) {
        self.with(|kernel, id| kernel.devices[id].stack_delay = delay);
    }

    /// Whether its NAPI runs in threads (`/sys/class/net/*/threaded`).
    pub fn set_threaded(&self, threaded: bool) {
        self.with(|kernel, id| kernel.devices[id].threaded = threaded);
    }

    /// How it holds its interrupts back (`/sys/class/net/*/napi_defer_hard_irqs` and `gro_flush_timeout`). It says so when it
    /// is asked, and has no effect else: no interrupts are simulated.
    pub fn set_interrupt_deferral(&self, deferral: InterruptDeferral) {
        self.with(|kernel, id| kernel.devices[id].deferral = deferral);
    }

    /// `tc qdisc replace`: how packets of the stack wait for it.
    pub fn set_qdisc(&self, qdisc: Qdisc) {
        self.with(|kernel, id| kernel.devices[id].qdisc = qdisc);
    }

    /// `ip link del`: a veth takes its peer with it.
    pub fn remove(&self) {
        self.with(|kernel, id| kernel.remove_device(id));
    }

    /// `ip link set netns`: the device goes where this kernel's sockets cannot see it, and arrives there down. A veth stays
    /// connected.
    pub fn move_away(&self) {
        self.with(|kernel, id| kernel.move_away(id));
    }

    /// Frames that its driver dropped: received, and to be sent.
    pub fn dropped(&self) -> (u64, u64) {
        self.with(|kernel, id| (kernel.devices[id].rx_dropped, kernel.devices[id].tx_dropped))
    }
}

impl fmt::Debug for SimDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDevice").field("name", &self.name()).field("index", &self.index()).finish()
    }
}
