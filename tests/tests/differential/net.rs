//! Two kernels with a pair of devices.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle, Linux, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};
use xsk_veth::{Namespace, Tap, VethPair};

use super::op::Place;

const MAP_SLOTS: u32 = 4;
/// How long Linux may take to do what the simulated kernel did at once, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_millis(500);

/// A kernel with a pair of devices, a redirect program on both.
pub(crate) trait Net {
    fn kernel(&self) -> Arc<dyn Backend>;
    fn index(&self, end: usize) -> u32;
    /// The XSKMAP of an end.
    fn map(&self, end: usize) -> Handle;
    /// The stack of an end sends a frame.
    fn inject(&self, end: usize, frame: &[u8]);
    /// Frames that came to the stack of an end since the last time.
    fn arrived(&self, end: usize) -> Vec<Vec<u8>>;
    fn set_up(&self, end: usize, up: bool);
    /// Lets everything happen that is planned, where that can be known.
    fn settle(&self);
    /// Time to wait for what differs; none where nothing happens by itself.
    fn patience(&self) -> Duration;
}

/// Maps, programs and links of both ends.
fn attach(kernel: &Arc<dyn Backend>, place: Place, ends: [u32; 2]) -> ([Handle; 2], Vec<Handle>) {
    let mode = if place.native { XdpFlags::XDP_FLAGS_DRV_MODE } else { XdpFlags::XDP_FLAGS_SKB_MODE };
    let mut kept = Vec::new();
    let maps = ends.map(|end| {
        let map = kernel.xskmap_create(MAP_SLOTS).expect("a map");
        let program = kernel.program_load(&RedirectProgram { map, frags: place.sg }).expect("a program");
        kept.extend([program, kernel.link_create(program, end, mode).expect("a link")]);
        map
    });
    (maps, kept)
}

fn mtu(place: Place) -> u32 {
    if place.sg { 9000 } else { 1500 }
}

/// The simulated kernel, made for one history.
pub(crate) struct SimNet {
    pub(crate) kernel: SimKernel,
    ends: [SimDevice; 2],
    maps: [Handle; 2],
}

impl SimNet {
    pub(crate) fn new(place: Place) -> Self {
        let kernel = SimKernel::new(1);
        let config = DeviceConfig::default().queues(place.queues).mtu(mtu(place));
        let (a, b) = kernel.veth("a", "b", &config).expect("a pair");
        let (maps, _) = attach(&kernel.backend(), place, [a.index(), b.index()]);
        Self { kernel, ends: [a, b], maps }
    }
}

impl Net for SimNet {
    fn kernel(&self) -> Arc<dyn Backend> {
        self.kernel.backend()
    }

    fn index(&self, end: usize) -> u32 {
        self.ends[end].index()
    }

    fn map(&self, end: usize) -> Handle {
        self.maps[end]
    }

    fn inject(&self, end: usize, frame: &[u8]) {
        // What the stack is told when the link is down is not AF_XDP's.
        let _ = self.ends[end].send(frame);
    }

    fn arrived(&self, end: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.ends[end].receive()).collect()
    }

    fn set_up(&self, end: usize, up: bool) {
        self.ends[end].set_up(up);
    }

    fn settle(&self) {
        self.kernel.run_until_idle(10_000);
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// A veth pair on Linux, used by one history after the other.
pub(crate) struct LinuxNet {
    kernel: Arc<dyn Backend>,
    pair: VethPair,
    taps: [Tap; 2],
    maps: [Handle; 2],
    kept: Vec<Handle>,
    up: RefCell<[bool; 2]>,
    patience: Rc<Cell<Duration>>,
}

impl LinuxNet {
    /// To be made, and used, inside the namespace.
    fn new(namespace: &Namespace, place: Place, number: usize, patience: &Rc<Cell<Duration>>) -> Self {
        let pair = VethPair::builder(namespace, namespace)
            .a(|end| end.name(format!("a{number}")))
            .b(|end| end.name(format!("b{number}")))
            .queues(place.queues)
            .mtu(mtu(place))
            .build()
            .expect("a pair");
        let kernel: Arc<dyn Backend> = Arc::new(Linux::new());
        let (maps, kept) = attach(&kernel, place, [pair.a.ifindex(), pair.b.ifindex()]);
        pair.wait_running().expect("a running pair");
        let taps = [&pair.a, &pair.b].map(|end| Tap::open_for(namespace, end.name(), None).expect("a tap"));
        Self { kernel, pair, taps, maps, kept, up: RefCell::new([true; 2]), patience: Rc::clone(patience) }
    }

    /// Ready for the next history; the sockets of the last one are closed, but may still be bound.
    fn reset(&self) {
        for end in 0..2 {
            self.set_up(end, true);
            self.arrived(end);
        }
    }
}

impl Drop for LinuxNet {
    fn drop(&mut self) {
        self.kept.iter().chain(&self.maps).for_each(|handle| self.kernel.close(*handle));
    }
}

impl Net for LinuxNet {
    fn kernel(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.kernel)
    }

    fn index(&self, end: usize) -> u32 {
        [&self.pair.a, &self.pair.b][end].ifindex()
    }

    fn map(&self, end: usize) -> Handle {
        self.maps[end]
    }

    fn inject(&self, end: usize, frame: &[u8]) {
        let _ = self.taps[end].send(frame);
    }

    fn arrived(&self, end: usize) -> Vec<Vec<u8>> {
        // An error: the device went down. It is told once.
        std::iter::from_fn(|| self.taps[end].recv(Duration::ZERO).unwrap_or_default()).collect()
    }

    fn set_up(&self, end: usize, up: bool) {
        let mut now = self.up.borrow_mut();
        if now[end] == up {
            return;
        }
        now[end] = up;
        // The tap's error of a device that went down.
        let _ = self.taps[end].recv(Duration::ZERO);
        [&self.pair.a, &self.pair.b][end].set_up(up).expect("a link that can be set");
        if *now == [true; 2] {
            self.pair.wait_running().expect("a running pair");
        }
        let _ = self.taps[end].recv(Duration::ZERO);
    }

    fn settle(&self) {}

    fn patience(&self) -> Duration {
        self.patience.get()
    }
}

/// A private namespace with pairs that are made when they are first asked for.
pub(crate) struct LinuxNets {
    namespace: Namespace,
    free: RefCell<HashMap<Place, VecDeque<Rc<LinuxNet>>>>,
    made: RefCell<usize>,
    patience: Rc<Cell<Duration>>,
}

/// Pairs of each kind: by the time one's turn comes again, its sockets are gone.
const PAIRS: usize = 6;

impl LinuxNets {
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            free: RefCell::default(),
            made: RefCell::new(0),
            patience: Rc::new(Cell::new(PATIENCE)),
        }
    }

    /// A divergence was found: what shrinks it need not wait as long.
    pub(crate) fn hurry(&self) {
        self.patience.set(PATIENCE / 16);
    }

    pub(crate) fn get(&self, place: Place) -> Rc<LinuxNet> {
        let mut free = self.free.borrow_mut();
        let pairs = free.entry(place).or_default();
        if pairs.len() < PAIRS {
            let mut made = self.made.borrow_mut();
            *made += 1;
            pairs.push_front(Rc::new(LinuxNet::new(&self.namespace, place, *made, &self.patience)));
        }
        pairs.rotate_left(1);
        let net = Rc::clone(pairs.back().expect("a pair"));
        net.reset();
        net
    }
}
