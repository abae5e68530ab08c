//! What the tests of this package share.
#![cfg(target_os = "linux")]

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use xsk::config::{BindFlags, Interface, SocketConfig, UmemConfig, XdpFlags};
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};
use xsk_veth::ETHERTYPE_TEST;

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

/// Copy mode, and a mode for the program.
pub fn copy_mode(mode: XdpFlags) -> SocketConfig {
    SocketConfig::builder().xdp_flags(mode).bind_flags(BindFlags::XDP_COPY).build()
}

/// An interface of that name.
pub fn interface(name: &str) -> Interface {
    name.parse().expect("a name without zero bytes")
}

/// Opens the first socket of a UMEM on a queue, from inside the right namespace.
pub fn port(umem: &Umem, config: SocketConfig, name: &str, queue: u32) -> Port {
    // SAFETY: the tests hand each frame over once.
    let (tx, rx, rings) = unsafe { Socket::new(config, umem, &interface(name), queue) }.expect("a socket");
    let (fill, comp) = rings.expect("the first socket of the queue");
    Port { tx, rx, fill, comp }
}

/// An Ethernet frame of `len` bytes that no stack answers, filled with `tag`.
pub fn frame(len: usize, tag: u8) -> Vec<u8> {
    let mut frame = vec![tag; len];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ETHERTYPE_TEST.to_be_bytes());
    frame
}

/// Tries until it is true, for two seconds at most.
pub fn eventually(what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < Duration::from_secs(2), "{what} did not happen within two seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Receives `count` packets and returns their bytes and descriptors. The frames are the caller's.
pub fn receive(umem: &Umem, rx: &mut RxQueue, count: usize) -> Vec<(Vec<u8>, FrameDesc)> {
    let mut got = Vec::new();
    let mut desc = FrameDesc::default();
    eventually("receiving", || {
        // SAFETY: one UMEM; received frames are ours.
        while got.len() < count && unsafe { rx.consume_one(&mut desc) } == 1 {
            // SAFETY: as above.
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
