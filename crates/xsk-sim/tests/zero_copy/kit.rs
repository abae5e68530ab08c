use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{Pod, SOL_XDP, XDP_OPTIONS, XDP_RING_NEED_WAKEUP, XDP_USE_NEED_WAKEUP, XDP_ZEROCOPY};
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel, XdpAction, XdpBuff};
use xsk_tests::raw::{RawSocket, Ring, Setup};

/// A card with zero copy.
pub struct World {
    pub kernel: SimKernel,
    pub backend: Arc<dyn Backend>,
    pub card: SimDevice,
}

pub const FORCED: u16 = XDP_ZEROCOPY;
pub const SLEEPY: u16 = XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP;

/// A set-up with these bind flags.
pub fn bound_with(bind_flags: u16) -> Setup {
    Setup { bind_flags, ..Setup::default() }
}

impl World {
    pub fn new() -> Self {
        Self::with(&DeviceConfig::default().zero_copy(true))
    }

    pub fn with(config: &DeviceConfig) -> Self {
        Self::of(Profile::default(), config)
    }

    pub fn of(profile: Profile, config: &DeviceConfig) -> Self {
        let kernel = SimKernel::with_profile(11, profile);
        let card = kernel.card("card", config).unwrap();
        Self { backend: kernel.backend(), kernel, card }
    }

    /// A socket that is not bound.
    pub fn prepare(&self, setup: &Setup) -> RawSocket {
        let mut socket = RawSocket::new(&self.backend);
        socket.register(setup).unwrap();
        socket.make_rings(setup);
        socket
    }

    /// Binds a new socket; the errno, or whether it has zero copy.
    pub fn try_bind(&self, setup: &Setup) -> Result<bool, i32> {
        let socket = self.prepare(setup);
        match socket.bind_to(self.card.index(), setup.queue, setup.bind_flags, 0) {
            0 => {
                let zero_copy = is_zero_copy(&socket);
                drop(socket);
                self.rest();
                Ok(zero_copy)
            }
            errno => Err(errno),
        }
    }

    pub fn open(&self, setup: &Setup) -> RawSocket {
        let socket = self.prepare(setup);
        assert_eq!(socket.bind_to(self.card.index(), setup.queue, setup.bind_flags, 0), 0);
        socket
    }

    /// A native program that redirects to slot 0 of a map with the socket. The link.
    pub fn attach(&self, socket: &RawSocket) -> Handle {
        let map = self.map(socket);
        let program = self.kernel.program_load(&RedirectProgram { map, frags: true }).unwrap();
        self.link(program)
    }

    pub fn map(&self, socket: &RawSocket) -> Handle {
        let map = self.kernel.xskmap_create(4).unwrap();
        self.kernel.xskmap_update(map, 0, socket.handle).unwrap();
        map
    }

    pub fn link(&self, program: Handle) -> Handle {
        self.kernel.link_create(program, self.card.index(), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap()
    }

    /// As [`attach`](Self::attach), with a program that does something to the packet before.
    pub fn attach_adjusting(
        &self,
        socket: &RawSocket,
        adjust: impl Fn(&mut XdpBuff) + Send + Sync + 'static,
    ) -> Handle {
        let map = self.map(socket);
        self.link(self.kernel.program("adjusts", true, move |packet| {
            adjust(packet);
            XdpAction::RedirectMap { map, key: 0, flags: 0 }
        }))
    }

    /// A receiver with frames on its fill ring.
    pub fn open_receiver(&self, setup: &Setup, fill: &[u64]) -> RawSocket {
        let socket = self.open(setup);
        socket.fill().push(fill.iter().copied());
        self.attach(&socket);
        socket
    }

    pub fn inject(&self, frame: &[u8]) {
        self.card.inject(0, frame).unwrap();
    }

    pub fn pass(&self, time: Duration) {
        self.kernel.sleep(time);
    }

    /// Everything that is planned happens.
    pub fn rest(&self) {
        assert!(self.kernel.run_until_idle(10_000) < 10_000);
    }

    pub fn check(&self) {
        let frames = self.kernel.frames();
        frames.check().unwrap_or_else(|error| panic!("{error}\n{frames}"));
    }
}

pub fn is_zero_copy(socket: &RawSocket) -> bool {
    let mut options = 0_u32;
    let got = socket.kernel.getsockopt(socket.handle, SOL_XDP, XDP_OPTIONS, options.as_bytes_mut());
    assert_eq!(got.unwrap(), 4);
    options == 1
}

/// Whether the kernel asks to be woken on this ring.
pub fn asks(ring: &Ring) -> bool {
    ring.flags() & XDP_RING_NEED_WAKEUP != 0
}

/// `recvfrom`; the errno.
pub fn wake_rx(socket: &RawSocket) -> i32 {
    xsk_tests::raw::errno(socket.kernel.recvfrom(socket.handle))
}
