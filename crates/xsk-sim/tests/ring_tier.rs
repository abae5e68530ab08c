//! The ring tier of `xsk`, unchanged, on the simulated kernel.

use std::io::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use xsk::backend::PageSize;
use xsk::config::{BindFlags, FrameSize, Interface, SocketConfig, UmemConfig, UmemFlags, XdpFlags};
use xsk::error::{Diagnosis, Step};
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};
use xsk_sim::{DeviceConfig, Place, SimDevice, SimKernel};

struct Port {
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    comp: CompQueue,
}

fn world(queues: u32) -> (SimKernel, SimDevice, SimDevice) {
    let kernel = SimKernel::new(3);
    kernel.watch_frames(true);
    let (a, b) = kernel.veth("a", "b", &DeviceConfig::default().queues(queues)).unwrap();
    (kernel, a, b)
}

fn umem(kernel: &SimKernel, frames: u32) -> (Umem, Vec<FrameDesc>) {
    let frames = NonZeroU32::new(frames).unwrap();
    Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal).unwrap()
}

fn name(name: &str) -> Interface {
    name.parse().unwrap()
}

fn port(umem: &Umem, interface: &str, queue: u32) -> Port {
    // SAFETY: the tests hand each frame over once.
    let (tx, rx, rings) =
        unsafe { Socket::new(SocketConfig::default(), umem, &name(interface), queue) }.unwrap();
    let (fill, comp) = rings.expect("the first socket of the queue");
    Port { tx, rx, fill, comp }
}

fn write(umem: &Umem, desc: &mut FrameDesc, packet: &[u8]) {
    // SAFETY: the caller's frame.
    let mut data = unsafe { umem.data_mut(desc) };
    data.cursor().set_pos(0);
    data.cursor().write_all(packet).unwrap();
}

fn receive(umem: &Umem, rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let mut descs = [FrameDesc::default(); 16];
    // SAFETY: one UMEM.
    let count = unsafe { rx.consume(&mut descs) };
    // SAFETY: received frames are ours.
    descs[..count].iter().map(|desc| unsafe { umem.data(desc) }.to_vec()).collect()
}

#[test]
fn receives_and_sends() {
    let (kernel, a, b) = world(1);
    let (umem, mut descs) = umem(&kernel, 16);
    let mut port = port(&umem, "a", 0);
    // SAFETY: each frame is on one queue.
    assert_eq!(unsafe { port.fill.produce(&descs[..8]) }, 8);
    b.send(&[1; 60]).unwrap();
    b.send(&[2; 70]).unwrap();
    assert!(port.rx.poll(0).unwrap());
    assert_eq!(receive(&umem, &mut port.rx), [vec![1; 60], vec![2; 70]]);

    write(&umem, &mut descs[8], &[3; 80]);
    // SAFETY: as above.
    assert_eq!(unsafe { port.tx.produce_one_and_wakeup(&descs[8]) }.unwrap(), 1);
    assert_eq!(b.receive(), Some(vec![3; 80]));
    let mut done = FrameDesc::default();
    // SAFETY: one UMEM.
    assert_eq!(unsafe { port.comp.consume_one(&mut done) }, 1);
    assert_eq!(done.addr(), descs[8].addr());

    let frames = kernel.frames();
    frames.check().unwrap();
    assert_eq!((frames.count(Place::Fill), frames.with_user()), (6, 10));
    assert_eq!(port.rx.fd().xdp_statistics().unwrap().rx_dropped(), 0);
    assert_eq!(a.info().program.map(|program| program.mode), Some(xsk::backend::XdpMode::Native));
    drop(port);
    assert_eq!(a.info().program, None);
}

/// What can be written is the frame's own: not a byte of its neighbours.
#[test]
fn frames_end_where_the_next_one_starts() {
    let kernel = SimKernel::new(1);
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(2048).unwrap())
        .frame_headroom(64)
        .tx_metadata_len(16)
        .flags(UmemFlags::XDP_UMEM_TX_METADATA_LEN)
        .build()
        .unwrap();
    let frames = NonZeroU32::new(4).unwrap();
    let (umem, mut descs) = Umem::new_in(kernel.backend(), config, frames, PageSize::Normal).unwrap();
    assert_eq!((umem.frame_count(), umem.frame_size(), descs.len()), (4, 2048, 4));
    for (i, desc) in descs.iter_mut().enumerate() {
        assert_eq!(desc.addr(), 2048 * i + 256 + 64);
        let tag = [i as u8 + 1; 2048];
        // SAFETY: no frame is on a queue, and one is used at a time.
        unsafe {
            let (mut headroom, mut data) = umem.frame_mut(desc);
            let room = (headroom.cursor().buf_len(), data.cursor().buf_len());
            assert_eq!(room, (64, 2048 - 256 - 64));
            assert_eq!((headroom.cursor().write(&tag).unwrap(), data.cursor().write(&tag).unwrap()), room);
        }
    }
    for (i, desc) in descs.iter_mut().enumerate() {
        // SAFETY: as above.
        unsafe {
            let (headroom, data) = umem.frame(desc);
            assert!(headroom.iter().chain(data.iter()).all(|byte| *byte == i as u8 + 1));
            assert_eq!((headroom.len(), data.len()), (64, 2048 - 256 - 64));
            assert_eq!(umem.tx_metadata_mut(desc).len(), 16);
        }
    }
}

#[test]
fn two_sockets_talk_over_one_umem() {
    let (kernel, _a, _b) = world(1);
    let (umem, mut descs) = umem(&kernel, 16);
    let (mut left, mut right) = (port(&umem, "a", 0), port(&umem, "b", 0));
    // SAFETY: each frame is on one queue.
    assert_eq!(unsafe { right.fill.produce(&descs[..4]) }, 4);
    for (i, desc) in descs[4..8].iter_mut().enumerate() {
        write(&umem, desc, &vec![i as u8; 64 + i]);
    }
    // SAFETY: as above.
    assert_eq!(unsafe { left.tx.produce_and_wakeup(&descs[4..8]) }.unwrap(), 4);
    let frames = kernel.frames();
    frames.check().unwrap();
    assert_eq!((frames.count(Place::Rx), frames.count(Place::Completion)), (4, 4));
    assert_eq!(receive(&umem, &mut right.rx).iter().map(Vec::len).collect::<Vec<_>>(), [64, 65, 66, 67]);
    let mut done = [FrameDesc::default(); 8];
    // SAFETY: one UMEM.
    assert_eq!(unsafe { left.comp.consume(&mut done) }, 4);
    assert_eq!(kernel.frames().with_user(), 16);
}

#[test]
fn sockets_share_a_queue() {
    let (kernel, _a, b) = world(1);
    let (umem, descs) = umem(&kernel, 16);
    let mut first = port(&umem, "a", 0);
    // SAFETY: the tests hand each frame over once.
    let (_tx, mut rx, rings) = unsafe { Socket::new(SocketConfig::default(), &umem, &name("a"), 0) }.unwrap();
    assert!(rings.is_none());
    // SAFETY: each frame is on one queue.
    assert_eq!(unsafe { first.fill.produce(&descs[..8]) }, 8);
    b.send(&[1; 60]).unwrap();
    assert_eq!(receive(&umem, &mut rx), [vec![1; 60]]);
    drop((rx, _tx));
    b.send(&[2; 60]).unwrap();
    assert_eq!(receive(&umem, &mut first.rx), [vec![2; 60]]);
}

#[test]
fn queues_are_apart() {
    let (kernel, _a, b) = world(2);
    let (umem, descs) = umem(&kernel, 16);
    let (mut zero, mut one) = (port(&umem, "a", 0), port(&umem, "a", 1));
    // SAFETY: each frame is on one queue.
    unsafe {
        assert_eq!(zero.fill.produce(&descs[..4]), 4);
        assert_eq!(one.fill.produce(&descs[4..8]), 4);
    }
    b.send_on(1, &[1; 60]).unwrap();
    b.send_on(0, &[0; 60]).unwrap();
    assert_eq!(receive(&umem, &mut zero.rx), [vec![0; 60]]);
    assert_eq!(receive(&umem, &mut one.rx), [vec![1; 60]]);
}

#[test]
fn rebinding_waits_for_the_release() {
    let (kernel, _a, _b) = world(1);
    for _ in 0..5 {
        let before = kernel.time();
        let (umem, _descs) = umem(&kernel, 16);
        drop(port(&umem, "a", 0));
        let (other, _descs) = self::umem(&kernel, 16);
        drop(port(&other, "a", 0));
        let took = kernel.time() - before;
        assert!(took > Duration::from_millis(5) && took < Duration::from_millis(200), "{took:?}");
    }
    kernel.run_until_idle(100);
    assert_eq!(kernel.pending(), 0);
    assert!(!kernel.snapshot().contains("socket"), "{}", kernel.snapshot());
    assert!(!kernel.snapshot().contains("umem"), "{}", kernel.snapshot());
}

#[test]
fn a_queue_of_somebody_else_is_busy() {
    let (kernel, _a, _b) = world(1);
    let (mine, _) = umem(&kernel, 16);
    let (theirs, _) = umem(&kernel, 16);
    let _theirs = port(&theirs, "a", 0);
    let config = SocketConfig::builder().busy_timeout(Duration::from_millis(50)).build();
    // SAFETY: no frame is handed over.
    let error = unsafe { Socket::new(config, &mine, &name("a"), 0) }.unwrap_err();
    assert_eq!(error.step(), Step::Bind);
    assert!(matches!(error.diagnosis(), Diagnosis::QueueBusy { waited_ms: 50..100 }), "{error}");
}

#[test]
fn refusals_are_diagnosed() {
    let (kernel, _a, _b) = world(1);
    let (umem, _) = umem(&kernel, 16);
    let config = SocketConfig::builder().bind_flags(BindFlags::XDP_ZEROCOPY).build();
    // SAFETY: no frame is handed over.
    let error = unsafe { Socket::new(config, &umem, &name("a"), 0) }.unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::NoZeroCopy { .. }), "{error}");
    let lo = kernel.loopback("lo").unwrap();
    let config = SocketConfig::builder().xdp_flags(XdpFlags::XDP_FLAGS_DRV_MODE).build();
    // SAFETY: as above.
    let error = unsafe { Socket::new(config, &umem, &name("lo"), 0) }.unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::NoNativeXdp { .. }), "{error}");
    kernel.set_capabilities(xsk::backend::Capabilities::empty());
    let config = UmemConfig::default();
    let error = Umem::new_in(kernel.backend(), config, NonZeroU32::MIN, PageSize::Normal).unwrap_err();
    assert_eq!(error.step(), Step::CreateSocket);
    drop(lo);
}

#[test]
fn the_loop_returns_what_is_sent() {
    let kernel = SimKernel::new(1);
    kernel.watch_frames(true);
    let _lo = kernel.loopback("lo").unwrap();
    let (umem, mut descs) = umem(&kernel, 16);
    let mut port = port(&umem, "lo", 0);
    // SAFETY: each frame is on one queue.
    assert_eq!(unsafe { port.fill.produce(&descs[..8]) }, 8);
    write(&umem, &mut descs[8], &[3; 80]);
    // SAFETY: as above.
    assert_eq!(unsafe { port.tx.produce_one_and_wakeup(&descs[8]) }.unwrap(), 1);
    assert_eq!(receive(&umem, &mut port.rx), [vec![3; 80]]);
    kernel.frames().check().unwrap();
}

#[test]
fn a_card_takes_packets_from_the_test_and_gives_them_back() {
    let kernel = SimKernel::new(1);
    kernel.watch_frames(true);
    for (mode, card) in [(XdpFlags::XDP_FLAGS_SKB_MODE, "c0"), (XdpFlags::XDP_FLAGS_DRV_MODE, "c1")] {
        let card = kernel.card(card, &DeviceConfig::default().queues(2)).unwrap();
        let (umem, mut descs) = umem(&kernel, 16);
        let config = SocketConfig::builder().xdp_flags(mode).build();
        // SAFETY: each frame is on one queue.
        let (mut tx, mut rx, rings) = unsafe { Socket::new(config, &umem, &name(&card.name()), 1) }.unwrap();
        let (mut fill, _comp) = rings.unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { fill.produce(&descs[..8]) }, 8);
        card.inject(1, &[1; 60]).unwrap();
        card.inject(0, &[0; 60]).unwrap();
        assert_eq!(receive(&umem, &mut rx), [vec![1; 60]]);
        assert_eq!(card.receive(), Some(vec![0; 60]));
        write(&umem, &mut descs[8], &[3; 80]);
        // SAFETY: as above.
        assert_eq!(unsafe { tx.produce_one_and_wakeup(&descs[8]) }.unwrap(), 1);
        assert_eq!(card.sent(), Some(vec![3; 80]));
    }
}

#[test]
fn polls_that_nothing_can_wake() {
    let (kernel, _a, b) = world(1);
    kernel.set_single_threaded(true);
    let (umem, descs) = umem(&kernel, 8);
    let Port { mut tx, mut rx, mut fill, .. } = port(&umem, "a", 0);
    assert!(tx.poll(-1).unwrap(), "it is empty");
    let error = rx.poll(-1).unwrap_err();
    let why = xsk::error::Error::of_io(&error).unwrap();
    assert_eq!((why.step(), why.diagnosis()), (Step::Poll, &Diagnosis::WaitsForEver), "{error}");
    // Not one of which a program makes a reason to try again.
    assert_eq!(error.kind(), std::io::ErrorKind::Other);
    // SAFETY: the frames are on no queue.
    assert_eq!(unsafe { fill.produce(&descs[..4]) }, 4);
    b.send(&[7; 60]).unwrap();
    assert!(rx.poll(-1).unwrap());
}
