//! The ring tier on a toy kernel: frames through all four rings, and what it makes of odd answers.

mod toy;

use std::borrow::{Borrow, BorrowMut};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::time::Duration;

use toy::Toy;
use toy::peer::Peer;
use toy::setup::{SIZE, port, umem};
use xsk::FrameDesc;
use xsk::backend::Backend;
use xsk::error::{Diagnosis, Error, Step};
use xsk_core::abi::*;
use xsk_core::errno::*;

/// The four rings of a socket, seen from the kernel.
struct Peers {
    rx: Peer,
    tx: Peer,
    fill: Peer,
    comp: Peer,
}

fn peers(toy: &Toy, socket: i32) -> Peers {
    Peers {
        rx: toy.peer(socket, XDP_RX_RING),
        tx: toy.peer(socket, XDP_TX_RING),
        fill: toy.peer(socket, XDP_UMEM_FILL_RING),
        comp: toy.peer(socket, XDP_UMEM_COMPLETION_RING),
    }
}

fn of_io(error: std::io::Result<impl std::fmt::Debug>) -> String {
    let error = error.unwrap_err();
    Error::of_io(&error).expect("an error of the crate").to_string()
}

#[test]
fn a_frame_goes_through_all_four_rings() {
    for old in [false, true] {
        let toy = Toy::new(old);
        let (umem, descs) = umem(&toy);
        let mut port = port(&umem, "toy0", 3);
        let (fill, comp) = port.rings.as_mut().unwrap();
        let kernel = peers(&toy, 1);
        let memory = toy.memory().as_ptr();
        // More rounds than the rings have slots.
        for round in 0..3 * SIZE as usize {
            let desc = &descs[round % descs.len()];
            // SAFETY: each frame is in one place; this test is the kernel, too.
            assert_eq!(unsafe { fill.produce_one(desc) }, 1);
            let addr: u64 = kernel.fill.pop().unwrap();
            assert_eq!(addr, desc.addr() as u64);
            let packet = [round as u8; 60];
            // SAFETY: the frame is the kernel's, and within the memory.
            unsafe { memory.add(addr as usize).cast::<[u8; 60]>().write(packet) };
            kernel.rx.push(xdp_desc { addr, len: 60, options: 0 });

            let mut got = [FrameDesc::default(); 2];
            // SAFETY: one UMEM; the received frame is ours.
            let data = unsafe {
                assert_eq!(port.rx.poll_and_consume(&mut got, 0).unwrap(), 1);
                umem.data(&got[0]).contents()
            };
            assert_eq!(data, packet);
            got[0].set_options(XDP_TX_METADATA);

            // SAFETY: the frame was just received.
            assert_eq!(unsafe { port.tx.produce_and_wakeup(&got[..1]) }.unwrap(), 1);
            let sent: xdp_desc = kernel.tx.pop().unwrap();
            assert_eq!(sent, xdp_desc { addr, len: 60, options: XDP_TX_METADATA });
            kernel.comp.push(sent.addr);
            // SAFETY: one UMEM.
            assert_eq!(unsafe { comp.consume(&mut got) }, 1);
            assert_eq!((got[0].addr(), got[0].lengths().data(), got[0].options()), (addr as usize, 0, 0));
        }
        assert_eq!(kernel.tx.producer(), 3 * SIZE);
        // The toy sets the need-wakeup flag; old kernels have none, and are woken up every time.
        let kicks = toy.script.take_log().iter().filter(|call| *call == "sendto 1").count();
        assert_eq!(kicks, 3 * SIZE as usize);
        drop((port, umem));
        assert_eq!(toy.holds(), (0, 0));
    }
}

/// What was put on a queue is there, whatever becomes of the wakeup.
#[test]
fn a_failed_wakeup_loses_no_count() {
    let toy = Toy::new(false);
    let (umem, descs) = umem(&toy);
    let mut port = port(&umem, "toy0", 0);
    let (fill, _) = port.rings.as_mut().unwrap();
    let kernel = peers(&toy, 1);
    let gone = "on toy0 queue 0: the interface is gone (deleted, or moved to another network namespace): the socket is dead \
                for good, close it and open a new one (ENXIO 6)";
    // SAFETY: no kernel is behind these frames; the same in the whole test.
    unsafe {
        toy.script.fault("sendto", ENXIO, 2);
        assert_eq!(port.tx.produce_and_wakeup(&descs[..3]).unwrap(), 3);
        assert_eq!(
            of_io(port.tx.produce_one_and_wakeup(&descs[3])),
            format!("cannot wake the kernel {gone}")
        );
        assert_eq!(kernel.tx.producer(), 3, "that one was not put there");
        // Nothing to count: the error itself.
        assert_eq!(of_io(port.tx.produce_and_wakeup(&[])), format!("cannot wake the kernel {gone}"));
        for passing in [ENOBUFS, EAGAIN, EBUSY, ENETDOWN] {
            toy.script.fault("sendto", passing, 1);
            port.tx.wakeup().expect("the next wakeup mends it");
        }

        kernel.fill.set_flags(XDP_RING_NEED_WAKEUP);
        toy.script.fault("poll", ENXIO, 1);
        assert_eq!(fill.produce_and_wakeup(&descs[4..6], port.rx.fd_mut(), 0).unwrap(), 2);
        assert_eq!(of_io(fill.wakeup(port.rx.fd_mut(), 0)), format!("cannot poll {gone}"));
        assert_eq!(fill.produce_one_and_wakeup(&descs[6], port.rx.fd_mut(), 0).unwrap(), 1);
        assert_eq!(kernel.fill.producer(), 3);
        // A signal ends a poll, and is no error.
        toy.script.fault("poll", EINTR, 1);
        assert!(!port.rx.poll(10).unwrap());
    }
}

#[test]
fn statistics_of_old_kernels_are_short() {
    for (old, rest) in [(false, [4, 5, 6]), (true, [0, 0, 0])] {
        let toy = Toy::new(old);
        let port = port(&umem(&toy).0, "toy0", 0);
        // A backend without descriptors gives out none that could be somebody else's.
        assert_eq!((port.rx.fd().as_raw_fd(), port.rx.fd().descriptor().is_none()), (-1, true));
        let s = port.rx.fd().xdp_statistics().unwrap();
        assert_eq!([s.rx_dropped(), s.rx_invalid_descs(), s.tx_invalid_descs()], [1, 2, 3]);
        assert_eq!([s.rx_ring_full(), s.rx_fill_ring_empty_descs(), s.tx_ring_empty_descs()], rest);
    }
}

/// The kernel wakes nobody for a device that goes away. Before 5.11, AF_XDP sockets have no recvfrom to ask by.
#[test]
fn a_poll_that_finds_nothing_asks_for_the_device() {
    for (old, errno, said) in [
        (true, None, None),
        (true, Some(ENXIO), Some(Diagnosis::InterfaceGone)),
        (false, None, None),
        (false, Some(ENETDOWN), Some(Diagnosis::InterfaceDown)),
        (false, Some(ENXIO), Some(Diagnosis::InterfaceGone)),
    ] {
        let toy = Toy::new(old);
        let mut port = port(&umem(&toy).0, "toy0", 0);
        let asked = if old { "sendto" } else { "recvfrom" };
        errno.into_iter().for_each(|errno| toy.script.fault(asked, errno, 1));
        let result = port.rx.poll(5);
        match said {
            None => assert!(!result.unwrap()),
            Some(diagnosis) => {
                let error = result.unwrap_err();
                let error = Error::of_io(&error).unwrap();
                assert_eq!((error.step(), error.diagnosis(), error.errno()), (Step::Poll, &diagnosis, errno));
            }
        }
        assert_eq!(toy.now(), Duration::from_millis(5));
        assert!(port.tx.poll(5).unwrap(), "an empty TX ring is writable");
        assert_eq!(toy.now(), Duration::from_millis(5));
    }
}

#[test]
fn an_impossible_index_moves_nothing_and_is_reported() {
    let toy = Toy::new(false);
    let (umem, descs) = umem(&toy);
    let mut port = port(&umem, "toy0", 1);
    let (fill, comp) = port.rings.as_mut().unwrap();
    let kernel = peers(&toy, 1);
    let mut got = [FrameDesc::default(); 4];
    let sentence = |ring, peer: u32, own| {
        format!(
            "cannot move descriptors on toy0 queue 1 with the {ring} ring: the peer's ring index {peer} is impossible: \
             ours is {own} and the ring has 8 entries; nothing was moved"
        )
    };
    // One round first, so that the indices are not all zero.
    // SAFETY: nobody is behind these frames; the same in the whole test.
    unsafe {
        assert_eq!(fill.produce(&descs[..2]), 2);
        assert_eq!(port.tx.produce(&descs[2..4]), 2);
        kernel.rx.push(xdp_desc { addr: 256, len: 1, options: 0 });
        kernel.comp.push(256_u64);
        assert_eq!((port.rx.consume(&mut got), comp.consume(&mut got)), (1, 1));
    }
    got = [FrameDesc::default(); 4];

    for bad in [1 + SIZE + 1, 0, u32::MAX] {
        kernel.rx.set_producer(bad);
        // SAFETY: as above.
        assert_eq!(unsafe { port.rx.consume(&mut got) }, 0);
        assert_eq!(of_io(port.rx.poll(0)), sentence("RX", bad, 1));
        assert_eq!((port.rx.nb_avail(4), port.rx.nb_avail_exact()), (0, 0));
        // SAFETY: as above.
        assert_eq!(of_io(unsafe { port.rx.poll_and_consume(&mut got, 0) }), sentence("RX", bad, 1));
        port.rx.poll(0).expect("an error is reported once");

        kernel.comp.set_producer(bad);
        // SAFETY: as above.
        assert_eq!(unsafe { comp.consume(&mut got) }, 0);
        assert_eq!((comp.nb_avail(4), comp.nb_avail_exact()), (0, 0));
        assert_eq!(of_io(comp.check()), sentence("completion", bad, 1));
        comp.check().expect("an error is reported once");
        assert_eq!((kernel.rx.consumer(), kernel.comp.consumer(), got), (1, 1, [FrameDesc::default(); 4]));
    }
    // What comes back into range goes on where it stopped.
    kernel.rx.set_producer(1);
    kernel.rx.push(xdp_desc { addr: 512, len: 2, options: 0 });
    kernel.comp.set_producer(1);
    kernel.comp.push(768_u64);
    // SAFETY: as above.
    unsafe { assert_eq!((port.rx.consume(&mut got), comp.consume(&mut got[1..])), (1, 1)) };
    assert_eq!((got[0].addr(), got[1].addr()), (512, 768));

    for (own, bad) in [(2, 3), (9, 0), (16, 16 + SIZE)] {
        assert_eq!((kernel.tx.producer(), kernel.fill.producer()), (own, own));
        kernel.tx.set_consumer(bad);
        kernel.fill.set_consumer(bad);
        // Seven do not fit what is known to be free, so the index is looked at.
        // SAFETY: as above.
        unsafe {
            assert_eq!(port.tx.produce(&descs[..7]), 0);
            assert_eq!(of_io(port.tx.wakeup()), sentence("TX", bad, own));
            assert_eq!((port.tx.nb_free(7), port.tx.nb_free_exact()), (0, 0));
            assert_eq!(of_io(port.tx.poll(0)), sentence("TX", bad, own));
            assert_eq!(of_io(port.tx.produce_and_wakeup(&descs[..7])), sentence("TX", bad, own));
            port.tx.wakeup().expect("an error is reported once");

            assert_eq!(fill.produce(&descs[..7]), 0);
            assert_eq!(of_io(fill.wakeup(port.rx.fd_mut(), 0)), sentence("fill", bad, own));
            assert_eq!((fill.nb_free(7), fill.nb_free_exact()), (0, 0));
            let produced = fill.produce_and_wakeup(&descs[..7], port.rx.fd_mut(), 0);
            assert_eq!(of_io(produced), sentence("fill", bad, own));
            assert_eq!((kernel.tx.producer(), kernel.fill.producer()), (own, own));

            kernel.tx.set_consumer(own);
            kernel.fill.set_consumer(own);
            assert_eq!(port.tx.produce_and_wakeup(&descs[..7]).unwrap(), 7);
            assert_eq!(fill.produce_and_wakeup(&descs[..7], port.rx.fd_mut(), 0).unwrap(), 7);
        }
    }
}

#[test]
fn views_of_a_frame_are_its_bytes() {
    let toy = Toy::new(false);
    let (umem, mut descs) = umem(&toy);
    // SAFETY: one UMEM, and no kernel is behind these frames; the same below.
    let (headroom, data) = unsafe { umem.frame_mut(&mut descs[0]) };
    let mut data = data;
    data.cursor().write_all(b"abc").unwrap();
    data.as_mut()[0] = b'A';
    let bytes: &mut [u8] = data.borrow_mut();
    bytes[1] = b'B';
    let bytes: &[u8] = data.borrow();
    assert_eq!((bytes, data.as_ref(), data.contents()), (&b"ABc"[..], &b"ABc"[..], &b"ABc"[..]));
    assert!(headroom.contents().is_empty());
    // SAFETY: as above.
    let (headroom, data) = unsafe { umem.frame(&descs[0]) };
    let bytes: &[u8] = data.borrow();
    assert_eq!(
        (bytes, data.as_ref(), data.contents(), &*data),
        (&b"ABc"[..], &b"ABc"[..], &b"ABc"[..], &b"ABc"[..])
    );
    assert_eq!(headroom.contents(), b"");
}

#[test]
fn queues_say_what_waits_and_what_is_free() {
    let toy = Toy::new(false);
    let (umem, descs) = umem(&toy);
    let mut port = port(&umem, "toy0", 0);
    let (fill, comp) = port.rings.as_mut().unwrap();
    let kernel = peers(&toy, 1);
    let received = |addr| xdp_desc { addr, len: 60, options: 0 };
    assert_eq!((port.rx.nb_avail(9), port.rx.nb_avail_exact()), (0, 0));
    assert_eq!((comp.nb_avail(9), comp.nb_avail_exact()), (0, 0));
    (0..2).for_each(|i| kernel.rx.push(received(4096 * i)));
    (0..3).for_each(|i| kernel.comp.push(4096_u64 * i));
    assert_eq!((port.rx.nb_avail(1), port.rx.nb_avail(9)), (1, 2));
    assert_eq!((comp.nb_avail(2), comp.nb_avail(9)), (2, 3));
    // Known of some, so that the ring is not looked at, but by those that look in any case.
    kernel.rx.push(received(0));
    kernel.comp.push(0_u64);
    assert_eq!((port.rx.nb_avail(9), port.rx.nb_avail_exact()), (2, 3));
    assert_eq!((comp.nb_avail(9), comp.nb_avail_exact()), (3, 4));

    assert_eq!((fill.nb_free(SIZE), fill.nb_free_exact()), (SIZE, SIZE));
    assert_eq!((port.tx.nb_free(SIZE), port.tx.nb_free_exact()), (SIZE, SIZE));
    // SAFETY: each frame is in one place; this test is the kernel, too.
    assert_eq!(unsafe { (fill.produce(&descs[..3]), port.tx.produce(&descs[4..6])) }, (3, 2));
    assert_eq!((fill.nb_free(1), fill.nb_free_exact()), (SIZE - 3, SIZE - 3));
    assert_eq!((port.tx.nb_free(1), port.tx.nb_free_exact()), (SIZE - 2, SIZE - 2));
    assert!(kernel.fill.pop::<u64>().is_some() && kernel.tx.pop::<xdp_desc>().is_some());
    assert_eq!((fill.nb_free(1), port.tx.nb_free(1)), (SIZE - 3, SIZE - 2));
    assert_eq!((fill.nb_free(SIZE), port.tx.nb_free(SIZE)), (SIZE - 2, SIZE - 1));
    assert_eq!((fill.nb_free_exact(), port.tx.nb_free_exact()), (SIZE - 2, SIZE - 1));

    for asks in [false, true, false] {
        let flags = if asks { XDP_RING_NEED_WAKEUP } else { 0 };
        kernel.fill.set_flags(flags);
        kernel.tx.set_flags(flags);
        assert_eq!((fill.needs_wakeup(), port.tx.needs_wakeup()), (asks, asks));
    }
}

#[test]
fn debug_output_says_what_it_is_of() {
    let toy = Toy::new(false);
    let (umem, _) = umem(&toy);
    let text = format!("{umem:?}");
    assert!(text.starts_with("Umem { layout: Layout {") && text.contains("Mapping { pointer: 0x"), "{text}");
    let port = port(&umem, "toy0", 0);
    let of = |name: &str| format!("{name} {{ interface: \"toy0\", queue: 0, entries: {SIZE}, .. }}");
    assert_eq!((format!("{:?}", port.rx), format!("{:?}", port.tx)), (of("RxQueue"), of("TxQueue")));
    let id = port.rx.fd().handle().0;
    assert_eq!(format!("{:?}", port.rx.fd()), format!("Fd {{ id: {id} }}"));
    assert_eq!(format!("{:?}", port.rings), format!("Some(({}, {}))", of("FillQueue"), of("CompQueue")));
    let config = umem.config();
    assert_eq!((config.flags(), config.tx_metadata_len()), (UmemFlags::empty(), 0));
}
