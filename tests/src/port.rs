//! Sockets of the ring tier.

use std::num::NonZeroU32;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use xsk::config::{BindFlags, Interface, QueueSize, SocketConfig, UmemConfig, XdpFlags};
use xsk::socket::SocketCreateError;
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// How an XDP program is attached: what veth has.
pub const MODES: [XdpFlags; 2] = [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE];

/// A socket with both rings, in copy mode.
#[derive(Debug)]
pub struct Port {
    /// Its TX queue.
    pub tx: TxQueue,
    /// Its RX queue.
    pub rx: RxQueue,
    /// Its fill queue.
    pub fill: FillQueue,
    /// Its completion queue.
    pub comp: CompQueue,
}

/// A UMEM with defaults.
pub fn umem(frames: u32) -> (Umem, Vec<FrameDesc>) {
    Umem::new(UmemConfig::default(), NonZeroU32::new(frames).expect("not zero"), false).expect("a UMEM")
}

/// A UMEM of a configuration.
pub fn umem_of(config: UmemConfig, frames: u32) -> (Umem, Vec<FrameDesc>) {
    Umem::new(config, NonZeroU32::new(frames).expect("not zero"), false).expect("a UMEM")
}

/// A UMEM whose fill and completion rings have `entries` entries.
pub fn umem_with_rings(frames: u32, entries: u32) -> (Umem, Vec<FrameDesc>) {
    let rings = queue_size(entries);
    let config = UmemConfig::builder().fill_queue_size(rings).comp_queue_size(rings).build();
    umem_of(config.expect("a configuration"), frames)
}

/// A ring size.
pub fn queue_size(entries: u32) -> QueueSize {
    QueueSize::new(entries).expect("a power of two")
}

/// Copy mode, and a mode for the program.
pub fn copy_mode(mode: XdpFlags) -> SocketConfig {
    SocketConfig::builder().xdp_flags(mode).bind_flags(BindFlags::XDP_COPY).build()
}

/// As [`copy_mode`], with RX and TX rings of `entries` entries.
pub fn copy_mode_with_rings(mode: XdpFlags, entries: u32) -> SocketConfig {
    SocketConfig::builder()
        .xdp_flags(mode)
        .bind_flags(BindFlags::XDP_COPY)
        .rx_queue_size(queue_size(entries))
        .tx_queue_size(queue_size(entries))
        .build()
}

/// The RX queue of the peer at which a packet sent from TX queue `queue` arrives: veth's SKB mode counts from 1.
pub fn arrives_at(mode: XdpFlags, queue: u32) -> u32 {
    if mode == XdpFlags::XDP_FLAGS_SKB_MODE { queue.saturating_sub(1) } else { queue }
}

/// An interface of that name.
pub fn interface(name: &str) -> Interface {
    name.parse().expect("a name without zero bytes")
}

/// What opening a socket gives.
pub type Opened = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Opens a socket, from inside the right namespace.
pub fn try_open(
    umem: &Umem,
    config: SocketConfig,
    name: &str,
    queue: u32,
) -> Result<Opened, SocketCreateError> {
    // SAFETY: the tests hand each frame over once.
    unsafe { Socket::new(config, umem, &interface(name), queue) }
}

/// Opens the first socket of a UMEM on a queue, from inside the right namespace.
pub fn port(umem: &Umem, config: SocketConfig, name: &str, queue: u32) -> Port {
    let (tx, rx, rings) = try_open(umem, config, name, queue).expect("a socket");
    let (fill, comp) = rings.expect("the first socket of the queue");
    Port { tx, rx, fill, comp }
}

/// Opens a further socket of a UMEM on a queue.
pub fn sharer(umem: &Umem, config: SocketConfig, name: &str, queue: u32) -> (TxQueue, RxQueue) {
    let (tx, rx, rings) = try_open(umem, config, name, queue).expect("a socket");
    assert!(rings.is_none(), "fill and completion queue went to the first socket of the queue");
    (tx, rx)
}

/// Far longer than anything takes on however busy a machine, so that only a hang reaches it.
const LONG: Duration = Duration::from_secs(20);

/// Tries until it is true, and fails if it never is.
pub fn eventually(what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < LONG, "{what} did not happen within {LONG:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Receives `count` packets and returns their bytes and descriptors. The frames are the caller's.
pub fn receive(umem: &Umem, rx: &mut RxQueue, count: usize) -> Vec<(Vec<u8>, FrameDesc)> {
    let mut got = Vec::new();
    let mut desc = FrameDesc::default();
    eventually("receiving", || {
        while got.len() < count {
            // SAFETY: one UMEM.
            if unsafe { rx.consume_one(&mut desc) } == 0 {
                break;
            }
            // SAFETY: received frames are ours.
            got.push((unsafe { umem.data(&desc) }.to_vec(), desc));
        }
        got.len() == count
    });
    got
}

/// Writes a packet into a frame.
pub fn write(umem: &Umem, desc: &mut FrameDesc, packet: &[u8]) {
    use std::io::Write;
    // SAFETY: the caller's frame.
    let mut data = unsafe { umem.data_mut(desc) };
    data.cursor().set_pos(0);
    data.cursor().write_all(packet).expect("the packet fits the frame");
}

/// Sends a packet in a frame, and lets the kernel transmit.
pub fn send(umem: &Umem, tx: &mut TxQueue, desc: &mut FrameDesc, packet: &[u8]) {
    write(umem, desc, packet);
    // SAFETY: the caller's frame.
    let sent = unsafe { tx.produce_one_and_wakeup(desc) };
    assert_eq!(sent.expect("a wakeup"), 1);
}

/// Reaps `count` completions.
pub fn complete(comp: &mut CompQueue, count: usize) -> Vec<FrameDesc> {
    let mut descs = vec![FrameDesc::default(); count];
    let mut got = 0;
    eventually("completion", || {
        // SAFETY: one UMEM.
        got += unsafe { comp.consume(&mut descs[got..]) };
        got == count
    });
    descs
}

/// Puts frames on a fill queue.
pub fn fill(queue: &mut FillQueue, descs: &[FrameDesc]) {
    // SAFETY: the caller's frames.
    assert_eq!(unsafe { queue.produce(descs) }, descs.len(), "room on the fill queue");
}

/// Nothing is there, and nothing comes within a moment.
pub fn receives_nothing(rx: &mut RxQueue) {
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(rx.nb_avail_exact(), 0, "nothing is to be received here");
}

/// Runs `call` on a thread of its own; fails if it has not returned a second later, but does not hang.
pub fn within_a_second<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(call()));
    result
        .recv_timeout(Duration::from_secs(1))
        .unwrap_or_else(|e| panic!("{what} did not return within a second: {e}"))
}
