//! What these tests share. B is the card under test; A's stack sends to it and gets what it sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xsk::backend::{Backend, Handle};
use xsk::config::XdpFlags;
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_OPTIONS, XDP_RING_NEED_WAKEUP, XDP_USE_NEED_WAKEUP, XDP_ZEROCOPY, xdp_desc,
};
use xsk_core::errno::EBUSY;
use xsk_tests::raw::{RawSocket, Ring, Setup, errno};
use xsk_tests::world::{End, Program, Shape, World};

pub const FORCED: u16 = XDP_ZEROCOPY;
pub const SLEEPY: u16 = XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP;

pub fn shape() -> Shape {
    Shape::new()
}

/// Handles that are closed in the end: a link that stayed would be in the way of the next test.
pub struct Kept {
    kernel: Arc<dyn Backend>,
    handles: Vec<Handle>,
}

impl Kept {
    /// A program that redirects to slot 0 of a map with the socket, on the card under test.
    pub fn attach(world: &dyn World, socket: &RawSocket, mode: XdpFlags) -> Self {
        let kernel = world.kernel();
        let map = kernel.xskmap_create(4).expect("a map");
        let program = world.program(Program::Redirect, map);
        let link = kernel.link_create(program, world.index(End::B), mode).expect("a link");
        kernel.xskmap_update(map, 0, socket.handle).expect("a slot");
        world.ready();
        Self { kernel, handles: vec![link, program, map] }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.handles.iter().for_each(|handle| self.kernel.close(*handle));
    }
}

/// The driver of the cards; the simulated one behaves like Intel's.
pub fn driver(world: &dyn World) -> String {
    if world.concurrent() { std::env::var("XSK_TEST_DRIVER").unwrap_or_default() } else { "igb".to_owned() }
}

/// A set-up on the card under test with these bind flags.
pub fn bound_with(bind_flags: u16) -> Setup {
    Setup { bind_flags, end: End::B, ..Setup::default() }
}

/// Binds a new socket; the errno, or whether it has zero copy.
pub fn try_bind(world: &dyn World, setup: &Setup) -> Result<bool, i32> {
    let socket = RawSocket::prepare(world, setup);
    match bind_exactly(world, &socket, setup) {
        0 => Ok(is_zero_copy(&socket)),
        errno => Err(errno),
    }
}

/// Binds with just these flags once the queue is free; the errno.
pub fn bind_exactly(world: &dyn World, socket: &RawSocket, setup: &Setup) -> i32 {
    for _ in 0..2000 {
        match socket.bind_to(world.index(End::B), setup.queue, setup.bind_flags, 0) {
            EBUSY => socket.kernel.sleep(Duration::from_millis(1)),
            0 => {
                world.ready();
                return 0;
            }
            errno => return errno,
        }
    }
    EBUSY
}

pub fn open(world: &dyn World, setup: &Setup) -> RawSocket {
    let socket = RawSocket::prepare(world, setup);
    assert_eq!(bind_exactly(world, &socket, setup), 0);
    socket
}

/// A receiver with a native program and frames on its fill ring.
pub fn open_receiver(world: &dyn World, setup: &Setup, program: Program, fill: &[u64]) -> RawSocket {
    let mut socket = open(world, setup);
    socket.fill().push(fill.iter().copied());
    socket.attach(world, End::B, |map| world.program(program, map));
    world.settle();
    socket
}

/// As [`open_receiver`], of a socket that binds when the program is there already.
pub fn open_receiver_last(world: &dyn World, setup: &Setup, program: Program, fill: &[u64]) -> RawSocket {
    let mut socket = RawSocket::prepare(world, setup);
    socket.fill().push(fill.iter().copied());
    socket.attach(world, End::B, |map| world.program(program, map));
    assert_eq!(bind_exactly(world, &socket, setup), 0);
    world.settle();
    socket
}

/// Whether receiving sleeps, without a buffer and without having asked for any: NAPI has not run since the card was set up.
///
/// igb runs it when a socket binds, and not when a program comes (`igb_xsk.c:igb_xsk_pool_enable`, `igb_main.c:igb_xdp_setup`).
/// Before 7.0 it ran the NAPI of transmitting (`igb_xsk_wakeup`), which is another one where [`vectors_are_apart`].
pub fn sleeps_unasked(world: &dyn World, program_first: bool) -> bool {
    const RUNS_THE_RIGHT_ONE: [u32; 3] = [7, 0, 0];
    world.concurrent()
        && driver(world) == "igb"
        && (!program_first || vectors_are_apart(world) && world.version() < RUNS_THE_RIGHT_ONE)
}

/// Whether receiving and transmitting have interrupts, and NAPIs, of their own: igb with half of its queues or fewer
/// (`igb_main.c:igb_set_flag_queue_pairs`).
pub fn vectors_are_apart(world: &dyn World) -> bool {
    let interrupts = std::fs::read_to_string("/proc/interrupts").expect("interrupts");
    interrupts.contains(&format!("{}-rx-0", world.name(End::B).to_string_lossy()))
}

/// A sender with a program, without which some drivers do not send.
pub fn open_sender(world: &dyn World, setup: &Setup) -> RawSocket {
    open_receiver(world, setup, Program::Redirect, &[])
}

pub fn is_zero_copy(socket: &RawSocket) -> bool {
    let mut options = 0_u32;
    let got = socket.kernel.getsockopt(socket.handle, SOL_XDP, XDP_OPTIONS, options.as_bytes_mut());
    assert_eq!(got.expect("options"), 4);
    options == 1
}

/// Whether the kernel asks to be woken on this ring.
pub fn asks(ring: &Ring) -> bool {
    ring.flags() & XDP_RING_NEED_WAKEUP != 0
}

/// `recvfrom`; the errno.
pub fn wake_rx(socket: &RawSocket) -> i32 {
    errno(socket.kernel.recvfrom(socket.handle))
}

/// Waits until it is so, and tells whether it came to be.
pub fn soon(world: &dyn World, mut so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let tries = if world.concurrent() { u32::MAX } else { 20 };
    for _ in 0..tries {
        if so() {
            return true;
        }
        if start.elapsed() > Duration::from_secs(3) {
            break;
        }
        world.settle();
    }
    so()
}

/// Address, length and options of so many received descriptors, and of what is there besides.
pub fn received(world: &dyn World, socket: &RawSocket, count: usize) -> Vec<(u64, u32, u32)> {
    let mut got = Vec::new();
    soon(world, || {
        got.extend(socket.rx().pop_all::<xdp_desc>());
        got.len() >= count
    });
    got.iter().map(|desc| (desc.addr, desc.len, desc.options)).collect()
}

/// So many completed addresses, and what is there besides.
pub fn completed(world: &dyn World, socket: &RawSocket, count: usize) -> Vec<u64> {
    let mut got = Vec::new();
    soon(world, || {
        got.extend(socket.completion().pop_all::<u64>());
        got.len() >= count
    });
    got
}

pub fn desc(addr: u64, len: u32, options: u32) -> xdp_desc {
    xdp_desc { addr, len, options }
}
