//! A pair of devices on Linux.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle, Linux, Mapping, PageSize};
use xsk_tests::calls::net::{ETH_HLEN, Net, attach, mtu};
use xsk_tests::calls::op::Place;
use xsk_veth::{Namespace, Tap, VethEnd, VethPair};

/// How long Linux may take to do what the simulated kernel did at once, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_millis(500);

/// A veth pair on Linux, used by one history after the other.
pub(crate) struct LinuxNet {
    kernel: Arc<dyn Backend>,
    pair: RefCell<VethPair>,
    /// Where ends are moved to.
    elsewhere: Namespace,
    indices: [u32; 2],
    mtu: u32,
    queues: (u32, u32),
    taps: [Tap; 2],
    maps: [Handle; 2],
    kept: Vec<Handle>,
    now: Cell<[State; 2]>,
    patience: Rc<Cell<Duration>>,
}

/// An end, as it is now.
#[derive(Clone, Copy)]
struct State {
    up: bool,
    mtu: u32,
    queues: (u32, u32),
    gone: bool,
}

impl LinuxNet {
    /// To be made, and used, inside the namespace.
    fn new(nets: &LinuxNets, place: Place, number: usize) -> Self {
        let namespace = &nets.namespace;
        let mtu = mtu(place);
        let (rx, tx) = place.queues;
        let pair = VethPair::builder(namespace, namespace)
            .a(|end| end.name(format!("a{number}")).queues(rx, tx))
            .b(|end| end.name(format!("b{number}")).queues(rx, tx))
            .mtu(mtu)
            .build()
            .expect("a pair");
        let kernel: Arc<dyn Backend> = Arc::new(Linux::new());
        let indices = [pair.a.ifindex(), pair.b.ifindex()];
        let (maps, kept) = attach(&kernel, place, indices);
        pair.wait_running().expect("a running pair");
        let taps = [&pair.a, &pair.b].map(|end| Tap::open_for(namespace, end.name(), None).expect("a tap"));
        Self {
            kernel,
            pair: RefCell::new(pair),
            elsewhere: nets.elsewhere.clone(),
            indices,
            mtu,
            queues: place.queues,
            taps,
            maps,
            kept,
            now: Cell::new([State { up: true, mtu, queues: place.queues, gone: false }; 2]),
            patience: Rc::clone(&nets.patience),
        }
    }

    fn end<T>(&self, end: usize, what: impl FnOnce(&mut VethEnd) -> T) -> T {
        let pair = &mut *self.pair.borrow_mut();
        what(if end == 0 { &mut pair.a } else { &mut pair.b })
    }

    fn change(&self, end: usize, what: impl FnOnce(&mut State)) {
        let mut now = self.now.get();
        what(&mut now[end]);
        self.now.set(now);
    }

    fn is_whole(&self) -> bool {
        self.now.get().iter().all(|end| !end.gone)
    }

    /// Ready for the next history; the sockets of the last one are closed, but may still be bound.
    fn reset(&self) {
        for end in 0..2 {
            self.set_up(end, true);
            if self.now.get()[end].mtu != self.mtu {
                self.set_mtu(end, self.mtu).expect("the MTU that it had at first");
            }
        }
        // All are in use again. A native program wants receive queues for the other end's transmit queues first.
        let (rx, tx) = self.queues;
        for whole in [false, true] {
            for end in 0..2 {
                let now = self.now.get()[end].queues;
                let wanted = if whole { (rx, tx) } else { (rx, now.1) };
                if now != wanted {
                    self.set_queues(end, wanted.0, wanted.1).expect("the queues that it had at first");
                }
            }
        }
        (0..2).for_each(|end| drop(self.arrived(end)));
    }
}

impl Drop for LinuxNet {
    fn drop(&mut self) {
        self.kept.iter().chain(&self.maps).for_each(|handle| self.kernel.close(*handle));
        // One end takes the other with it, if they are not gone both.
        if self.end(0, |end| end.delete()).is_err() {
            let _ = self.end(1, |end| end.delete());
        }
    }
}

impl Net for LinuxNet {
    fn kernel(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.kernel)
    }

    fn index(&self, end: usize) -> u32 {
        self.indices[end]
    }

    fn map(&self, end: usize) -> Handle {
        self.maps[end]
    }

    fn inject(&self, end: usize, frame: &[u8]) {
        let now = self.now.get()[end];
        if !now.gone && frame.len() <= now.mtu as usize + ETH_HLEN {
            let _ = self.taps[end].send(frame);
        }
    }

    fn arrived(&self, end: usize) -> Vec<Vec<u8>> {
        let tap = &self.taps[end];
        if nothing_waits(tap) {
            return Vec::new();
        }
        // An error: the device went down. It is told once.
        std::iter::from_fn(|| tap.recv(Duration::ZERO).unwrap_or_default()).collect()
    }

    fn set_up(&self, end: usize, up: bool) {
        if self.now.get()[end].up == up {
            return;
        }
        self.change(end, |end| end.up = up);
        // The tap's error of a device that went down.
        let _ = self.taps[end].recv(Duration::ZERO);
        self.end(end, |end| end.set_up(up)).expect("a link that can be set");
        if self.is_whole() && self.now.get().iter().all(|end| end.up) {
            self.pair.borrow().wait_running().expect("a running pair");
        }
        let _ = self.taps[end].recv(Duration::ZERO);
    }

    fn set_mtu(&self, end: usize, mtu: u32) -> Result<(), i32> {
        let result = self.end(end, |end| end.set_mtu(mtu));
        result.map_err(|e| e.errno().map_or(0, |errno| errno.0))?;
        self.change(end, |end| end.mtu = mtu);
        Ok(())
    }

    fn set_queues(&self, end: usize, rx: u32, tx: u32) -> Result<(), i32> {
        let result = self.end(end, |end| end.set_channels(rx, tx));
        result.map_err(|e| e.errno().map_or(0, |errno| errno.0))?;
        self.change(end, |end| end.queues = (rx, tx));
        // It takes the carrier away, and gives it back.
        if self.is_whole() && self.now.get().iter().all(|end| end.up) {
            self.pair.borrow().wait_running().expect("a running pair");
        }
        Ok(())
    }

    fn remove(&self, end: usize) {
        self.end(end, |end| end.delete()).expect("a device that can be deleted");
        (0..2).for_each(|end| self.change(end, |end| end.gone = true));
    }

    fn move_away(&self, end: usize) {
        self.end(end, |end| end.move_to(&self.elsewhere)).expect("a device that can be moved");
        self.change(end, |end| end.gone = true);
    }

    fn name(&self, end: usize) -> String {
        self.end(end, |end| end.name().to_owned())
    }

    fn memory(&self, len: usize) -> Mapping {
        let mapping = self.kernel.mmap_memory(2 * len, PageSize::Normal).expect("memory");
        // SAFETY: the second half of a mapping of our own, which nobody uses.
        let result =
            unsafe { libc::mprotect(mapping.as_ptr().as_ptr().add(len).cast(), len, libc::PROT_NONE) };
        assert_eq!(result, 0);
        mapping
    }

    fn settle(&self) {}

    fn patience(&self) -> Duration {
        self.patience.get()
    }
}

/// A look that is cheaper than to receive.
fn nothing_waits(tap: &Tap) -> bool {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: no bytes are written.
    let got = unsafe { libc::recv(tap.as_fd().as_raw_fd(), std::ptr::null_mut(), 0, flags) };
    got < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
}

/// A private namespace with pairs that are made when they are first asked for.
pub(crate) struct LinuxNets {
    namespace: Namespace,
    elsewhere: Namespace,
    free: RefCell<HashMap<Place, VecDeque<Rc<LinuxNet>>>>,
    made: Cell<usize>,
    patience: Rc<Cell<Duration>>,
}

/// Pairs of each kind: by the time one's turn comes again, its sockets are mostly gone.
const PAIRS: usize = 2;

impl LinuxNets {
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            elsewhere: Namespace::new().expect("a namespace"),
            free: RefCell::default(),
            made: Cell::new(0),
            patience: Rc::new(Cell::new(PATIENCE)),
        }
    }

    /// A divergence was found: what shrinks it, on a quiet machine, need not wait as long.
    pub(crate) fn hurry(&self) {
        self.patience.set(PATIENCE / 30);
    }

    pub(crate) fn get(&self, place: Place) -> Rc<LinuxNet> {
        let mut free = self.free.borrow_mut();
        let pairs = free.entry(place).or_default();
        pairs.retain(|pair| pair.is_whole());
        if pairs.len() < PAIRS {
            self.made.set(self.made.get() + 1);
            pairs.push_front(Rc::new(LinuxNet::new(self, place, self.made.get())));
        }
        pairs.rotate_left(1);
        let net = Rc::clone(pairs.back().expect("a pair"));
        net.reset();
        net
    }
}
