//! The four queues: what they count, when they wake the kernel, what they refuse.
#![cfg(target_os = "linux")]

use std::mem;
use std::time::{Duration, Instant};

use xsk::config::{BindFlags, FrameSize, SocketConfig, UmemConfig, XdpFlags};
use xsk::error::{Error, Step};
use xsk::socket::{Fd, XdpStatistics};
use xsk::{FrameDesc, Umem};
use xsk_core::abi::XDP_TX_METADATA;
use xsk_core::ring::REKICK_AFTER;
use xsk_tests::{
    MODES, Port, complete, copy_mode, copy_mode_with_rings, eventually, fill, frame, port, queue_size,
    receive, send, umem, umem_of, umem_with_rings, write,
};
use xsk_veth::{Namespace, Tap, VethPair};

const SECOND: Duration = Duration::from_secs(1);

/// A port on `b` whose rings have four entries, a UMEM of 32 frames, and a tap on `a`.
struct Bench {
    ns: Namespace,
    umem: Umem,
    descs: Vec<FrameDesc>,
    port: Port,
    tap: Tap,
}

impl Bench {
    fn new(mode: XdpFlags) -> Self {
        let (umem, descs) = umem_with_rings(32, 4);
        Self::of(umem, descs, copy_mode_with_rings(mode, 4))
    }

    fn of(umem: Umem, descs: Vec<FrameDesc>, config: SocketConfig) -> Self {
        let ns = Namespace::new().unwrap();
        VethPair::builder(&ns, &ns).build().unwrap();
        let port = ns.run(|| port(&umem, config, "b", 0));
        let tap = Tap::open(&ns, "a").unwrap();
        Self { ns, umem, descs, port, tap }
    }

    fn statistics(&self) -> XdpStatistics {
        self.port.rx.fd().xdp_statistics().unwrap()
    }

    /// Packets arrive, and wait on the RX queue.
    fn arrive(&mut self, count: u32) {
        let waiting = self.port.rx.nb_avail_exact();
        (0..count).for_each(|n| self.tap.send(&frame(60 + n as usize, n as u8)).unwrap());
        eventually("arrival", || self.port.rx.nb_avail_exact() == waiting + count);
    }

    /// Frames are sent, and wait on the completion queue.
    fn sent(&mut self, descs: &[FrameDesc]) {
        let mut descs = descs.to_vec();
        descs.iter_mut().for_each(|desc| write(&self.umem, desc, &frame(60, 1)));
        // SAFETY: the tests hand each frame over once.
        assert_eq!(unsafe { self.port.tx.produce_and_wakeup(&descs) }.unwrap(), descs.len());
        for _ in descs {
            assert_eq!(self.tap.recv(SECOND).unwrap(), Some(frame(60, 1)));
        }
    }
}

#[test]
fn producing_is_all_or_nothing() {
    if !xsk_veth::require() {
        return;
    }
    let mut bench = Bench::new(MODES[0]);
    let Bench { umem, descs, port: Port { tx, fill, comp, .. }, tap, .. } = &mut bench;
    // SAFETY: frames that are refused stay ours; the others are handed over once.
    unsafe {
        assert_eq!(fill.produce(&[]), 0);
        assert_eq!(fill.produce(&descs[..5]), 0);
        assert_eq!(fill.nb_free_exact(), 4);
        assert_eq!(fill.produce(&descs[..3]), 3);
        assert_eq!(fill.produce(&descs[3..5]), 0);
        assert_eq!(fill.nb_free_exact(), 1);
        assert_eq!(fill.produce_one(&descs[3]), 1);
        assert_eq!(fill.produce_one(&descs[4]), 0);
        assert_eq!((fill.nb_free_exact(), fill.nb_free(1)), (0, 0));
    }
    descs[8..16].iter_mut().for_each(|desc| write(umem, desc, &frame(60, 1)));
    // SAFETY: as above.
    unsafe {
        assert_eq!(tx.produce(&[]), 0);
        assert_eq!(tx.produce(&descs[8..13]), 0);
        assert_eq!(tx.produce(&descs[8..11]), 3);
        assert_eq!(tx.produce(&descs[11..13]), 0);
        assert_eq!(tx.produce_and_wakeup(&descs[11..13]).unwrap(), 0);
    }
    // Nothing was put there, and yet the kernel was woken up for what was.
    for _ in 0..3 {
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60, 1)));
    }
    let done: Vec<_> = complete(comp, 3).iter().map(FrameDesc::addr).collect();
    assert_eq!(done, descs[8..11].iter().map(FrameDesc::addr).collect::<Vec<_>>());
    assert_eq!(tap.recv(Duration::ZERO).unwrap(), None, "what was refused is not sent");
    // SAFETY: as above.
    assert_eq!(unsafe { tx.produce(&descs[11..15]) }, 4);
}

#[test]
fn consuming_takes_what_is_there() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let descs = bench.descs.clone();
        fill(&mut bench.port.fill, &descs[..4]);
        let mut out = [descs[31]; 6];
        // SAFETY: one UMEM; what is taken is not used twice.
        unsafe {
            assert_eq!(bench.port.rx.consume(&mut out), 0);
            assert_eq!(bench.port.rx.poll_and_consume(&mut out, 0).unwrap(), 0);
            assert_eq!(bench.port.comp.consume(&mut out), 0);
            assert_eq!(out, [descs[31]; 6]);
            bench.arrive(3);
            assert_eq!(bench.port.rx.consume(&mut []), 0);
            assert_eq!(bench.port.rx.consume(&mut out[..2]), 2);
            assert_eq!(bench.port.rx.consume(&mut out[2..]), 1);
        }
        let lens: Vec<_> = out.iter().map(|desc| desc.lengths().data()).collect();
        assert_eq!(lens, [60, 61, 62, 0, 0, 0]);
        assert_eq!(out[3..], [descs[31]; 3], "the others stay as they are");
        bench.sent(&descs[8..12]);
        let mut out = [descs[31]; 6];
        // SAFETY: as above.
        unsafe {
            assert_eq!(bench.port.comp.consume_one(&mut out[0]), 1);
            assert_eq!(bench.port.comp.consume(&mut out[1..]), 3);
            assert_eq!(bench.port.comp.consume_one(&mut out[5]), 0);
        }
        assert_eq!(out[4..], [descs[31]; 2]);
        for (out, desc) in out.iter().zip(&descs[8..12]) {
            let lengths = (out.lengths().data(), out.lengths().headroom());
            assert_eq!((out.addr(), lengths, out.options()), (desc.addr(), (0, 0), 0));
        }
    }
}

#[test]
fn counts_come_from_memory_if_that_suffices() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let descs = bench.descs.clone();
        assert_eq!((bench.port.fill.nb_free(1), bench.port.tx.nb_free(2)), (4, 4), "not capped");
        fill(&mut bench.port.fill, &descs[..4]);
        assert_eq!(bench.port.rx.nb_avail(9), 0);
        bench.tap.send(&frame(60, 0)).unwrap();
        eventually("arrival", || bench.port.rx.nb_avail(9) == 1);
        // Known of one, so that the ring is not looked at.
        bench.tap.send(&frame(61, 1)).unwrap();
        bench.tap.send(&frame(62, 2)).unwrap();
        assert!(bench.port.rx.poll(1000).unwrap());
        assert_eq!(bench.port.rx.nb_avail(9), 1);
        eventually("arrival", || bench.port.rx.nb_avail_exact() == 3);
        assert_eq!((bench.port.rx.nb_avail(2), bench.port.rx.nb_avail(9)), (2, 3), "capped");
        receive(&bench.umem, &mut bench.port.rx, 2);
        assert_eq!((bench.port.rx.nb_avail(9), bench.port.rx.nb_avail_exact()), (1, 1));

        // The kernel took three frames; asked for none, we remember that there was no room.
        assert_eq!(bench.port.fill.nb_free(0), 0);
        assert_eq!(bench.port.fill.nb_free(1), 3);
        fill(&mut bench.port.fill, &descs[4..6]);
        assert_eq!((bench.port.fill.nb_free(1), bench.port.fill.nb_free_exact()), (1, 1));

        assert_eq!(bench.port.comp.nb_avail(9), 0);
        bench.sent(&descs[8..11]);
        // One was free from memory, four are when the ring is looked at.
        assert_eq!(bench.port.tx.nb_free(1), 1);
        assert_eq!(bench.port.tx.nb_free(2), 4);
        assert_eq!((bench.port.comp.nb_avail(2), bench.port.comp.nb_avail(9)), (2, 3));
        complete(&mut bench.port.comp, 1);
        assert_eq!(bench.port.comp.nb_avail_exact(), 2);
        bench.sent(&descs[11..12]);
        assert_eq!((bench.port.comp.nb_avail(9), bench.port.comp.nb_avail_exact()), (2, 3));
        bench.port.comp.check().unwrap();
    }
}

#[test]
fn the_kernel_is_woken_to_transmit_and_not_to_receive() {
    if !xsk_veth::require() {
        return;
    }
    for flags in
        [BindFlags::XDP_COPY, BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP, BindFlags::empty()]
    {
        let config = SocketConfig::builder().bind_flags(flags).build();
        let (umem, descs) = umem(32);
        let mut bench = Bench::of(umem, descs, config);
        let Bench { umem, descs, port: Port { tx, rx, fill: fill_queue, .. }, tap, .. } = &mut bench;
        assert!(tx.needs_wakeup() && !fill_queue.needs_wakeup(), "{flags:?}");
        fill(fill_queue, &descs[..4]);
        write(umem, &mut descs[8], &frame(60, 1));
        // SAFETY: the frame is ours.
        assert_eq!(unsafe { tx.produce_one(&descs[8]) }, 1);
        assert_eq!(tap.recv(Duration::from_millis(10)).unwrap(), None, "nobody woke the kernel");
        assert_eq!(tx.nb_free_exact(), 2047);
        tx.wakeup().unwrap();
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(60, 1)));
        assert_eq!(tx.nb_free_exact(), 2048);
        // A poll transmits as well, whichever it is.
        write(umem, &mut descs[9], &frame(61, 2));
        // SAFETY: as above.
        assert_eq!(unsafe { tx.produce_one(&descs[9]) }, 1);
        assert!(!rx.poll(0).unwrap());
        assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, 2)));

        fill_queue.wakeup(rx.fd_mut(), 0).unwrap();
        let start = Instant::now();
        fill_queue.wakeup(rx.fd_mut(), 20).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        // Frames that lie there and do not move are asked about now and then.
        let asked = (0..3 * REKICK_AFTER).filter(|_| fill_queue.needs_wakeup()).count();
        assert!((2..=3).contains(&asked), "{asked} times");
        assert!(tx.needs_wakeup() && !fill_queue.needs_wakeup());
    }
}

#[test]
fn a_poll_waits_as_long_as_it_is_told() {
    if !xsk_veth::require() {
        return;
    }
    let mut bench = Bench::new(MODES[1]);
    let descs = bench.descs.clone();
    fill(&mut bench.port.fill, &descs[..4]);
    // Longer than one slice of it.
    for ms in [0, 1, 30, 300] {
        let start = Instant::now();
        assert!(!bench.port.rx.poll(ms).unwrap());
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(ms as u64), "{ms} ms: {waited:?}");
        assert!(waited < Duration::from_millis(ms as u64) + SECOND, "{ms} ms: {waited:?}");
    }
    // And for ever, until something comes.
    let Bench { ns, umem, port: Port { tx, mut rx, .. }, tap, .. } = bench;
    let polling = ns.spawn(move || {
        let mut desc = FrameDesc::default();
        // SAFETY: one UMEM.
        let count = unsafe { rx.poll_and_consume_one(&mut desc, -1) };
        // SAFETY: the frame was just received.
        (count.unwrap(), unsafe { umem.data(&desc) }.to_vec(), tx)
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!polling.is_finished());
    tap.send(&frame(60, 1)).unwrap();
    let (count, bytes, _tx) = polling.join().unwrap();
    assert_eq!((count, bytes), (1, frame(60, 1)));
}

#[test]
fn statistics_say_what_was_dropped_and_why() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        // Room for 792 bytes, two RX entries, eight fill entries.
        let size = FrameSize::new(2048).unwrap();
        let config = UmemConfig::builder()
            .frame_size(size)
            .frame_headroom(1000)
            .fill_queue_size(queue_size(8))
            .build()
            .unwrap();
        let (umem, descs) = umem_of(config, 32);
        let mut bench = Bench::of(umem, descs, copy_mode_with_rings(mode, 2));
        let descs = bench.descs.clone();
        assert_eq!(bench.statistics(), XdpStatistics::default());
        let counted = |bench: &Bench, what: &str, expected: [u64; 4]| {
            let got = || {
                let s = bench.statistics();
                [s.rx_dropped(), s.rx_fill_ring_empty_descs(), s.rx_ring_full(), s.tx_invalid_descs()]
            };
            eventually(what, || got() == expected);
            assert_eq!(bench.statistics().rx_invalid_descs(), 0);
        };
        let Bench { tap, .. } = &bench;
        tap.send(&frame(60, 1)).unwrap();
        counted(&bench, "a drop for want of a frame", [1, 1, 0, 0]);
        fill(&mut bench.port.fill, &descs[..8]);
        bench.tap.send(&frame(793, 2)).unwrap();
        counted(&bench, "a drop for its length", [2, 1, 0, 0]);
        bench.tap.send(&frame(792, 3)).unwrap();
        bench.arrive(1);
        for tag in 4..6 {
            bench.tap.send(&frame(60, tag)).unwrap();
        }
        counted(&bench, "two drops for a full RX ring", [2, 1, 2, 0]);
        let got = receive(&bench.umem, &mut bench.port.rx, 2);
        assert_eq!((&got[0].0, &got[1].0), (&frame(792, 3), &frame(60, 0)));

        // Length 0: refused, counted, and given back.
        let mut empty = descs[16];
        write(&bench.umem, &mut empty, &[]);
        // SAFETY: the frame is ours.
        assert_eq!(unsafe { bench.port.tx.produce_one_and_wakeup(&empty) }.unwrap(), 1);
        counted(&bench, "a refused descriptor", [2, 1, 2, 1]);
        assert_eq!(complete(&mut bench.port.comp, 1)[0].addr(), empty.addr());
        let before = bench.statistics().tx_ring_empty_descs();
        bench.port.tx.wakeup().unwrap();
        assert_eq!(bench.statistics().tx_ring_empty_descs(), before + 1);
        // The queue is as good as new.
        bench.sent(&descs[17..18]);
        counted(&bench, "nothing further", [2, 1, 2, 1]);
    }
}

/// xsk-rs 0.11 lets safe code make a queue act on a foreign descriptor that way.
#[test]
fn exchanged_descriptors_change_what_is_reported_and_no_more() {
    if !xsk_veth::require() {
        return;
    }
    let (mut one, mut two) = (Bench::new(MODES[0]), Bench::new(MODES[0]));
    let descs = one.descs.clone();
    // Nothing to receive into yet.
    one.tap.send(&frame(60, 0)).unwrap();
    eventually("a drop", || one.statistics().rx_dropped() == 1);
    fill(&mut one.port.fill, &descs[..4]);
    fill(&mut two.port.fill, &descs[..4]);
    mem::swap(one.port.rx.fd_mut(), two.port.rx.fd_mut());
    mem::swap(one.port.tx.fd_mut(), two.port.tx.fd_mut());
    one.arrive(2);
    assert!(one.port.rx.poll(0).unwrap() && !two.port.rx.poll(0).unwrap());
    let mut out = [FrameDesc::default(); 4];
    // SAFETY: one UMEM for each.
    assert_eq!(unsafe { one.port.rx.poll_and_consume(&mut out, 0) }.unwrap(), 2);
    one.sent(&descs[8..9]);
    complete(&mut one.port.comp, 1);
    assert_eq!(two.port.comp.nb_avail_exact(), 0);
    // Statistics of the other.
    let dropped = |fd: &Fd| fd.xdp_statistics().unwrap().rx_dropped();
    assert_eq!([dropped(one.port.rx.fd()), dropped(one.port.tx.fd())], [0, 0]);
    assert_eq!([dropped(two.port.rx.fd()), dropped(two.port.tx.fd())], [1, 1]);

    // All queues of the one go; its descriptor lives with the other, and names no other file.
    let Bench { ns, umem, port, tap, .. } = one;
    drop((port, umem));
    let other = umem_with_rings(8, 4).0;
    let patient = SocketConfig::builder().busy_timeout(Duration::from_millis(30)).build();
    let open = |config| ns.run(|| xsk_tests::try_open(&other, config, "b", 0).map(drop));
    open(patient).expect_err("the socket is still open");
    assert_eq!(dropped(two.port.rx.fd()), 1);
    two.arrive(1);
    assert!(two.port.rx.poll(0).unwrap());
    two.sent(&descs[8..9]);
    drop(two);
    open(copy_mode(MODES[0])).unwrap();
    drop(tap);
}

/// A wakeup that fails takes nothing back: what was put on the queue is counted, and the error comes with the next call.
#[test]
fn a_failed_wakeup_loses_no_count() {
    if !xsk_veth::require() {
        return;
    }
    let mut bench = Bench::new(MODES[0]);
    let Bench { umem, descs, port: Port { tx, .. }, .. } = &mut bench;
    // Metadata on a UMEM that has none: EINVAL, and the queue stands still. Nothing but its count is looked at from here on.
    write(umem, &mut descs[8], &frame(60, 1));
    descs[8].set_options(XDP_TX_METADATA);
    descs[9..12].iter_mut().for_each(|desc| write(umem, desc, &frame(60, 2)));
    let refused = |result: std::io::Result<usize>| {
        let error = result.unwrap_err();
        let inner = Error::of_io(&error).unwrap();
        assert_eq!((inner.step(), inner.errno()), (Step::Wakeup, Some(libc::EINVAL)), "{error}");
    };
    // SAFETY: the frames are handed over once, and given up for lost.
    unsafe {
        assert_eq!(tx.produce_one_and_wakeup(&descs[8]).unwrap(), 1);
        refused(tx.produce_and_wakeup(&descs[9..11]));
        assert_eq!(tx.nb_free_exact(), 3, "the call that failed put nothing there");
        assert_eq!(tx.produce_and_wakeup(&descs[9..11]).unwrap(), 2);
        assert_eq!(tx.nb_free_exact(), 1);
        refused(tx.wakeup().map(|()| 0));
        refused(tx.produce_and_wakeup(&[]));
        refused(tx.produce_and_wakeup(&descs[11..13]));
        assert_eq!(tx.produce_one_and_wakeup(&descs[11]).unwrap(), 1);
        assert_eq!(tx.nb_free_exact(), 0);
    }
}

#[test]
fn more_frames_than_the_kernel_sends_at_once() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let (umem, descs) = umem_with_rings(128, 128);
        let mut bench = Bench::of(umem, descs, copy_mode_with_rings(mode, 128));
        let mut descs = bench.descs.clone();
        for (n, desc) in descs[..100].iter_mut().enumerate() {
            write(&bench.umem, desc, &frame(60, n as u8));
        }
        // 32 for each wakeup; EAGAIN is no error.
        // SAFETY: the frames are ours.
        assert_eq!(unsafe { bench.port.tx.produce_and_wakeup(&descs[..100]) }.unwrap(), 100);
        let mut wakeups = 1;
        while bench.port.tx.nb_free_exact() < 128 {
            bench.port.tx.wakeup().unwrap();
            wakeups += 1;
            assert!(wakeups < 100);
        }
        assert!(wakeups > 1, "otherwise this test is about nothing");
        for n in 0..100 {
            assert_eq!(bench.tap.recv(SECOND).unwrap(), Some(frame(60, n)));
        }
        let done: Vec<_> = complete(&mut bench.port.comp, 100).iter().map(FrameDesc::addr).collect();
        assert_eq!(done, descs[..100].iter().map(FrameDesc::addr).collect::<Vec<_>>());
        // A poll until there is room drives the queue as well.
        send(&bench.umem, &mut bench.port.tx, &mut descs[100], &frame(61, 1));
        // SAFETY: the frames came back.
        assert_eq!(unsafe { bench.port.tx.produce(&descs[..100]) }, 100);
        assert!(bench.port.tx.poll(1000).unwrap());
        eventually("room", || {
            bench.port.tx.wakeup().unwrap();
            bench.port.tx.nb_free_exact() == 128
        });
    }
}
