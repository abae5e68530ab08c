//! Packets through real sockets on veth.
#![cfg(target_os = "linux")]

use xsk_tests::{MODES, copy_mode, eventually, frame, port, receive, umem, write};
use xsk_veth::{Namespace, Tap, VethPair};

#[test]
fn a_packet_is_received_and_one_is_sent() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        ns.run(|| {
            let (umem, mut descs) = umem(16);
            let mut b = port(&umem, copy_mode(mode), pair.b.name(), 0);
            // SAFETY: each frame is on one queue.
            assert_eq!(unsafe { b.fill.produce(&descs[..8]) }, 8);
            tap.send(&frame(60, 1)).unwrap();
            let got = receive(&umem, &mut b.rx, 1);
            assert_eq!(got[0].0, frame(60, 1));
            assert_eq!(got[0].1.addr(), 256);

            write(&umem, &mut descs[8], &frame(100, 2));
            // SAFETY: as above.
            assert_eq!(unsafe { b.tx.produce_one_and_wakeup(&descs[8]) }.unwrap(), 1);
            assert_eq!(tap.recv(std::time::Duration::from_secs(1)).unwrap().unwrap(), frame(100, 2));
            let mut done = xsk::FrameDesc::default();
            // SAFETY: one UMEM.
            eventually("completion", || unsafe { b.comp.consume_one(&mut done) } == 1);
            assert_eq!(done.addr(), descs[8].addr());
            assert!(pair.b.xdp().unwrap().is_some());
            assert!(!b.rx.fd().is_zero_copy().unwrap());
        });
        assert!(pair.b.xdp().unwrap().is_none(), "the program is gone with the socket");
    }
}
