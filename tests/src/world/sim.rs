//! The simulated kernel.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use xsk::backend::{Backend, Capabilities, Handle};
use xsk::config::XdpFlags;
use xsk_sim::{DeviceConfig, Profile, Qdisc, SimDevice, SimKernel, XdpAction};

use super::{End, Program, Shape, World, version};
use crate::raw::errno;

/// The simulated kernel with a veth pair.
pub struct SimWorld {
    /// The kernel.
    pub kernel: SimKernel,
    /// One end.
    pub a: SimDevice,
    /// The other.
    pub b: SimDevice,
    profile: Profile,
    mode: XdpFlags,
    zero_copy: bool,
    lawful: bool,
    /// One more than the queue that a program saw; 0: none did.
    seen: Arc<AtomicU32>,
}

impl fmt::Debug for SimWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimWorld").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// How long the stack holds a frame that is held.
const HELD: Duration = Duration::from_secs(3600);

impl SimWorld {
    /// A world of the default kernel.
    pub fn new(mode: XdpFlags, shape: &Shape) -> Self {
        let config = DeviceConfig::default().mtu(shape.mtu);
        let end = |(rx, tx)| config.clone().rx_queues(rx).tx_queues(tx);
        Self::made(Profile::default(), mode, &end(shape.a), &end(shape.b), shape.lawful)
    }

    /// A world of another kernel, with programs in SKB mode.
    pub fn of(profile: Profile) -> Self {
        let config = DeviceConfig::default();
        Self::made(profile, XdpFlags::XDP_FLAGS_SKB_MODE, &config, &config, true)
    }

    /// A world of another kernel, whose ends are made in the same way.
    pub fn of_kind(profile: Profile, mode: XdpFlags, config: &DeviceConfig) -> Self {
        Self::made(profile, mode, config, config, true)
    }

    /// A world whose ends are made in the same way.
    pub fn with(mode: XdpFlags, config: &DeviceConfig) -> Self {
        Self::made(Profile::default(), mode, config, config, true)
    }

    fn made(profile: Profile, mode: XdpFlags, a: &DeviceConfig, b: &DeviceConfig, lawful: bool) -> Self {
        let kernel = SimKernel::with_profile(7, profile);
        let (a, b) = kernel.veth_of("a", a, "b", b).expect("a pair");
        kernel.watch_frames(lawful);
        Self { kernel, a, b, profile, mode, zero_copy: false, lawful, seen: Arc::default() }
    }

    /// A world of two cards with zero copy and a cable between them.
    pub fn cards(profile: Profile, shape: &Shape) -> Self {
        let kernel = SimKernel::with_profile(7, profile);
        let card = |name, (rx, tx)| {
            let config = DeviceConfig::default().zero_copy(true).mtu(shape.mtu).rx_queues(rx).tx_queues(tx);
            kernel.card(name, &config).expect("a card")
        };
        let (a, b) = (card("a", shape.a), card("b", shape.b));
        a.connect(&b).expect("a cable");
        kernel.watch_frames(shape.lawful);
        let (mode, lawful) = (XdpFlags::XDP_FLAGS_DRV_MODE, shape.lawful);
        Self { kernel, a, b, profile, mode, zero_copy: true, lawful, seen: Arc::default() }
    }

    fn device(&self, end: End) -> &SimDevice {
        match end {
            End::A => &self.a,
            End::B => &self.b,
        }
    }

    /// Nothing happened that crashes Linux.
    ///
    /// # Panics
    /// If something did.
    pub fn check(&self) {
        self.kernel.check().expect("no crash");
    }
}

impl World for SimWorld {
    fn kernel(&self) -> Arc<dyn Backend> {
        self.kernel.backend()
    }

    fn mode(&self) -> XdpFlags {
        self.mode
    }

    fn version(&self) -> [u32; 3] {
        version(self.profile.name)
    }

    fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    fn name(&self, end: End) -> CString {
        CString::new(self.device(end).name()).expect("a name")
    }

    fn index(&self, end: End) -> u32 {
        self.device(end).index()
    }

    fn load(&self, program: Program, frags: bool, map: Handle) -> Handle {
        let count = AtomicU64::new(0);
        let seen = Arc::clone(&self.seen);
        self.kernel.program("tests", frags, move |packet| {
            let number = count.fetch_add(1, Ordering::Relaxed);
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
                Program::AdjustHead(delta) => {
                    let _ = packet.adjust_head(delta);
                    to(0)
                }
                Program::AdjustTail(delta) => {
                    let _ = packet.adjust_tail(delta);
                    to(0)
                }
                Program::AdjustMeta(delta) => {
                    let _ = packet.adjust_meta(delta);
                    packet.metadata_mut().fill(0x4d);
                    to(0)
                }
                Program::To(key, flags) => XdpAction::RedirectMap { map, key, flags },
                Program::ToDevice(ifindex) => XdpAction::Redirect { ifindex },
                Program::Verdict(super::XDP_DROP) => XdpAction::Drop,
                Program::Verdict(super::XDP_PASS) => XdpAction::Pass,
                Program::Verdict(super::XDP_TX) => XdpAction::Tx,
                Program::Verdict(_) => XdpAction::Aborted,
                Program::SeeQueue => {
                    seen.store(packet.rx_queue() + 1, Ordering::Relaxed);
                    XdpAction::Drop
                }
            }
        })
    }

    fn queue_seen(&self) -> Option<u32> {
        self.seen.load(Ordering::Relaxed).checked_sub(1)
    }

    fn send(&self, end: End, frame: &[u8]) {
        self.device(end).send(frame).expect("the frame fits the link");
        if self.zero_copy {
            // What the cable takes.
            self.kernel.sleep(Duration::from_micros(5));
        }
    }

    fn receive(&self, end: End) -> Option<Vec<u8>> {
        self.device(end).receive()
    }

    fn concurrent(&self) -> bool {
        false
    }

    fn settle(&self) {
        self.kernel.run_until_idle(10_000);
        self.check();
    }

    fn break_the_law(&self) {
        self.kernel.watch_frames(false);
    }

    fn check_frames(&self) {
        // A card still has what a history hands over a second time.
        if self.zero_copy && !self.lawful {
            return;
        }
        let frames = self.kernel.frames();
        frames.check().unwrap_or_else(|error| panic!("{error}\n{frames}"));
    }

    fn refuses_ring_parameters(&self) -> Option<i32> {
        Some(xsk_core::errno::EOPNOTSUPP)
    }

    fn set_up(&self, end: End, up: bool) {
        self.device(end).set_up(up);
    }

    fn set_mtu(&self, end: End, mtu: u32) -> i32 {
        errno(self.device(end).set_mtu(mtu))
    }

    fn set_queues(&self, end: End, rx: u32, tx: u32) -> i32 {
        errno(self.device(end).set_queues(rx, tx))
    }

    fn dropped(&self, end: End) -> u64 {
        self.device(end).dropped().0
    }

    fn remove(&self) {
        self.a.remove();
    }

    fn move_away(&self, end: End) {
        self.device(end).move_away();
    }

    fn loopback(&self) -> u32 {
        self.kernel.loopback("lo").expect("a loopback device").index()
    }

    fn hold(&self, end: End) {
        self.device(end).set_stack_delay(HELD);
    }

    fn release(&self, end: End) {
        self.device(end).set_stack_delay(Duration::ZERO);
        self.kernel.sleep(HELD);
    }

    fn defer_napi(&self, end: End) {
        self.device(end).set_threaded(true);
    }

    fn add_qdisc(&self, end: End) {
        self.device(end).set_qdisc(Qdisc::Fifo);
    }

    fn without(&self, capabilities: Capabilities, body: &mut dyn FnMut()) {
        let all = self.kernel.capabilities().expect("capabilities");
        self.kernel.set_capabilities(all - capabilities);
        body();
        self.kernel.set_capabilities(all);
    }

    fn with_memlock_limit(&self, bytes: u64, body: &mut dyn FnMut()) {
        self.kernel.set_memlock_limit(Some(bytes));
        body();
        self.kernel.set_memlock_limit(None);
    }

    fn socket_of(&self, kind: i32, protocol: i32) -> io::Result<Handle> {
        self.kernel.socket_of(kind, protocol)
    }

    fn sendto_blocking(&self, socket: Handle) -> io::Result<()> {
        self.kernel.sendto_blocking(socket)
    }

    fn recvfrom_blocking(&self, socket: Handle) -> io::Result<()> {
        self.kernel.recvfrom_blocking(socket)
    }

    fn xskmap_update_flags(&self, map: Handle, key: u32, socket: Handle, flags: u64) -> io::Result<()> {
        self.kernel.xskmap_update_flags(map, key, socket, flags)
    }

    fn xskmap_lookup(&self, map: Handle) -> io::Result<()> {
        self.kernel.xskmap_lookup(map)
    }
}
