//! A kernel with a veth pair, whichever kernel it is: what the tests that run on every kernel are written against.
//!
//! A test body takes a [`World`] and nothing else. [`Arm::run`] makes one and runs a body in it.

#[cfg(target_os = "linux")]
mod cards;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod program;
mod sim;
#[cfg(target_os = "linux")]
mod traffic_control;
#[cfg(target_os = "linux")]
mod veth;

use std::ffi::CString;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use xsk::backend::{Backend, Capabilities, Handle};
use xsk::config::XdpFlags;
use xsk_core::abi::{XDP_COPY, XDP_ZEROCOPY};
use xsk_sim::Profile;

#[cfg(target_os = "linux")]
pub use cards::CardsWorld;
pub use sim::SimWorld;
#[cfg(target_os = "linux")]
pub use veth::VethWorld;

/// A kernel and the way in which programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// The simulated kernel, programs in SKB mode.
    SimSkb,
    /// The simulated kernel, programs in native mode.
    SimNative,
    /// Linux, programs in SKB mode.
    VethSkb,
    /// Linux, programs in native mode.
    VethNative,
    /// The simulated kernel with two cards that have zero copy.
    SimZeroCopy,
    /// The same of Linux 7.3.
    SimZeroCopy7_3,
    /// Linux with two cards that have zero copy.
    Cards,
}

impl Arm {
    /// Those with a veth pair, in copy mode.
    pub const ALL: [Self; 4] = [Self::SimSkb, Self::SimNative, Self::VethSkb, Self::VethNative];

    /// As a column of a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::SimSkb => "SimKernel, SKB",
            Self::SimNative => "SimKernel, native",
            Self::VethSkb => "Linux veth, SKB",
            Self::VethNative => "Linux veth, native",
            Self::SimZeroCopy => "SimKernel, zero copy",
            Self::SimZeroCopy7_3 => "SimKernel of Linux 7.3, zero copy",
            Self::Cards => "Linux cards, zero copy",
        }
    }

    /// Whether it needs the real kernel.
    pub fn is_linux(self) -> bool {
        matches!(self, Self::VethSkb | Self::VethNative | Self::Cards)
    }

    /// Whether it is of zero copy.
    pub fn is_zero_copy(self) -> bool {
        matches!(self, Self::SimZeroCopy | Self::SimZeroCopy7_3 | Self::Cards)
    }

    fn mode(self) -> XdpFlags {
        match self {
            Self::SimSkb | Self::VethSkb => XdpFlags::XDP_FLAGS_SKB_MODE,
            Self::SimNative | Self::VethNative | Self::SimZeroCopy | Self::SimZeroCopy7_3 | Self::Cards => {
                XdpFlags::XDP_FLAGS_DRV_MODE
            }
        }
    }

    /// Runs `body` in a new world of this shape.
    ///
    /// # Panics
    /// If `body` does; if the world cannot be made; if `body` broke the law of the frames, or did what crashes Linux, on
    /// the simulated kernel.
    pub fn run(self, shape: &Shape, body: impl FnOnce(&dyn World) + Send) {
        if !self.is_linux() {
            let world = match self {
                Self::SimZeroCopy => SimWorld::cards(Profile::default(), shape),
                Self::SimZeroCopy7_3 => SimWorld::cards(Profile::LINUX_7_3, shape),
                _ => SimWorld::new(self.mode(), shape),
            };
            body(&world);
            world.check();
            return;
        }
        #[cfg(target_os = "linux")]
        if self == Self::Cards {
            return CardsWorld::run(shape, |world| body(world));
        }
        #[cfg(target_os = "linux")]
        VethWorld::run(self.mode(), shape, |world| body(world));
        #[cfg(not(target_os = "linux"))]
        panic!("there is no Linux here");
    }
}

/// An end of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Whose stack sends, in most tests.
    A,
    /// Where it is received.
    B,
}

/// How a pair is made.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Receive and transmit queues of A.
    pub a: (u32, u32),
    /// Receive and transmit queues of B.
    pub b: (u32, u32),
    /// The MTU of both.
    pub mtu: u32,
    /// Whether the law of the frames is to hold. Not for histories that hand a frame over twice.
    pub lawful: bool,
    /// Whether the thread stays on one CPU: what it sends has then arrived when the call returns. Not for bodies with
    /// threads of their own.
    pub stays: bool,
}

impl Shape {
    /// One queue of each kind, MTU 1500.
    pub const fn new() -> Self {
        Self { a: (1, 1), b: (1, 1), mtu: 1500, lawful: true, stays: false }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self::new()
    }
}

/// What an XDP program does. Those that redirect do so to a slot of their map, where an empty slot drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// To slot 0.
    Redirect,
    /// The first packet to slot 0, the second nowhere, and so on.
    DropHalf,
    /// Half of the last byte of the destination address is the slot.
    ByAddress,
    /// Puts the number of packets so far before the packet, as eight bytes in host order; to slot 0.
    CountInMetadata,
    /// Moves the start of the packet, if the kernel lets it; to slot 0.
    AdjustHead(i32),
    /// Moves the end of the packet, if the kernel lets it; to slot 0.
    AdjustTail(i32),
    /// Moves the start of the metadata, if the kernel lets it, and fills it with 0x4d; to slot 0.
    AdjustMeta(i32),
    /// To a slot, with these flags of `bpf_redirect_map`.
    To(u32, u64),
    /// To the interface of this index.
    ToDevice(u32),
    /// Returns this.
    Verdict(u32),
    /// Notes the receive queue of the packet for [`World::queue_seen`], and drops it.
    SeeQueue,
}

/// `XDP_DROP`, for [`Program::Verdict`].
pub const XDP_DROP: u32 = 1;
/// `XDP_PASS`.
pub const XDP_PASS: u32 = 2;
/// `XDP_TX`.
pub const XDP_TX: u32 = 3;

/// From here on zero copy completes descriptors that the kernel refuses.
pub const COMPLETES_BAD: [u32; 3] = [7, 2, 0];

/// A kernel with a veth pair.
pub trait World: Debug {
    /// The kernel.
    fn kernel(&self) -> Arc<dyn Backend>;

    /// How programs are attached.
    fn mode(&self) -> XdpFlags;

    /// Whether the ends are cards in zero-copy mode.
    fn zero_copy(&self) -> bool {
        false
    }

    /// The bind flag of the mode that this world is of.
    fn bind_mode(&self) -> u16 {
        if self.zero_copy() { XDP_ZEROCOPY } else { XDP_COPY }
    }

    /// The version of the kernel.
    fn version(&self) -> [u32; 3];

    /// Whether zero copy completes descriptors that the kernel refuses.
    fn completes_bad(&self) -> bool {
        self.version() >= COMPLETES_BAD
    }

    /// Waits until both ends have a link: cards may reset it when a program is attached, and when a socket binds.
    fn ready(&self) {}

    /// The name of an end.
    fn name(&self, end: End) -> CString;

    /// The interface index of an end.
    fn index(&self, end: End) -> u32;

    /// Loads a program. `frags`: it takes packets of several buffers. `map`: an XSKMAP, or nothing if it redirects to none.
    fn load(&self, program: Program, frags: bool, map: Handle) -> Handle;

    /// As [`load`](Self::load), with packets of several buffers.
    fn program(&self, program: Program, map: Handle) -> Handle {
        self.load(program, true, map)
    }

    /// The receive queue of the last packet that a [`Program::SeeQueue`] saw.
    fn queue_seen(&self) -> Option<u32>;

    /// The host's stack sends a frame out of an end.
    fn send(&self, end: End, frame: &[u8]);

    /// The next frame that the host's stack got at an end; waits a moment for it.
    fn receive(&self, end: End) -> Option<Vec<u8>>;

    /// Whether sender and receiver are to run on threads of their own. Otherwise they take turns.
    fn concurrent(&self) -> bool;

    /// Lets the kernel finish what it has begun.
    fn settle(&self);

    /// From now on frames may be handed over twice.
    fn break_the_law(&self) {}

    /// The law of the frames, where the kernel can be asked.
    fn check_frames(&self) {}

    /// The errno with which an end answers `ethtool -g`. A simulated device has no ring parameters.
    fn refuses_ring_parameters(&self) -> Option<i32>;

    /// Sets an end up or down.
    fn set_up(&self, end: End, up: bool);

    /// Sets the MTU of an end; the errno.
    fn set_mtu(&self, end: End, mtu: u32) -> i32;

    /// Sets the number of queues of an end, receive and transmit; the errno.
    fn set_queues(&self, end: End, rx: u32, tx: u32) -> i32;

    /// Received packets that the driver of an end, or a program of it, dropped.
    fn dropped(&self, end: End) -> u64;

    /// Deletes the pair.
    fn remove(&self);

    /// Moves an end to another network namespace.
    fn move_away(&self, end: End);

    /// The index of a loopback device.
    fn loopback(&self) -> u32;

    /// From now on, whoever gets frames at an end holds them.
    fn hold(&self, end: End);

    /// Lets go of what was held, and holds no more.
    fn release(&self, end: End);

    /// From now on, the NAPI of an end runs in a thread, and not before the test sleeps or says
    /// [`settle`](Self::settle).
    fn defer_napi(&self, end: End);

    /// Gives an end a real queueing discipline instead of none.
    fn add_qdisc(&self, end: End);

    /// Runs `body` without these capabilities.
    fn without(&self, capabilities: Capabilities, body: &mut dyn FnMut());

    /// Runs `body` under a limit of locked memory, in bytes, which counts without `CAP_IPC_LOCK` only.
    fn with_memlock_limit(&self, bytes: u64, body: &mut dyn FnMut());

    /// `socket(AF_XDP, kind, protocol)`.
    fn socket_of(&self, kind: i32, protocol: i32) -> io::Result<Handle>;

    /// `sendto` without `MSG_DONTWAIT`.
    fn sendto_blocking(&self, socket: Handle) -> io::Result<()>;

    /// `recvfrom` without `MSG_DONTWAIT`.
    fn recvfrom_blocking(&self, socket: Handle) -> io::Result<()>;

    /// `BPF_MAP_UPDATE_ELEM` with flags: 0 `BPF_ANY`, 1 `BPF_NOEXIST`, 2 `BPF_EXIST`.
    fn xskmap_update_flags(&self, map: Handle, key: u32, socket: Handle, flags: u64) -> io::Result<()>;

    /// `BPF_MAP_LOOKUP_ELEM` of slot 0.
    fn xskmap_lookup(&self, map: Handle) -> io::Result<()>;
}

/// The version of this machine's kernel.
///
/// # Panics
/// If the kernel does not say.
#[cfg(target_os = "linux")]
pub fn running_version() -> [u32; 3] {
    version(&std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release"))
}

/// The profile of this machine's kernel: the one of its series, if there is one.
#[cfg(target_os = "linux")]
pub fn running_profile() -> Option<Profile> {
    let [major, minor, _] = running_version();
    Profile::ALL.into_iter().find(|profile| version(profile.name)[..2] == [major, minor])
}

/// The first three numbers of a text.
fn version(text: &str) -> [u32; 3] {
    let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

/// Whether programs are attached in native mode.
pub fn is_native(world: &dyn World) -> bool {
    world.mode() == XdpFlags::XDP_FLAGS_DRV_MODE
}
