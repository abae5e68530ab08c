//! What sockets and UMEMs can be.
#![cfg(target_os = "linux")]

use std::num::NonZeroU32;
use std::time::Duration;

use xsk::config::{BindFlags, FrameSize, SocketConfig, UmemConfig, UmemFlags, XdpFlags};
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};
use xsk_core::abi::{
    Pod, XDP_PKT_CONTD, XDP_TX_METADATA, XDP_TXMD_FLAGS_CHECKSUM, XDP_TXMD_FLAGS_TIMESTAMP,
    xsk_tx_metadata_completion, xsk_tx_metadata_request,
};
use xsk_tests::huge::{self, HugePages};
use xsk_tests::{
    MODES, complete, copy_mode, eventually, fill, frame, interface, port, receive, receives_nothing, send,
    umem, umem_of, write,
};
use xsk_veth::{Namespace, Tap, VethPair};

const SECOND: Duration = Duration::from_secs(1);

type Rings = Option<(FillQueue, CompQueue)>;

fn rx_only(umem: &Umem, config: SocketConfig, name: &str) -> (RxQueue, Rings) {
    // SAFETY: each frame is on one queue.
    unsafe { Socket::rx_only(config, umem, &interface(name), 0) }.unwrap()
}

fn tx_only(umem: &Umem, config: SocketConfig, name: &str) -> (TxQueue, Rings) {
    // SAFETY: each frame is on one queue, and the socket is put into no map.
    unsafe { Socket::tx_only(config, umem, &interface(name), 0) }.unwrap()
}

#[test]
fn a_socket_that_only_receives() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, "a").unwrap();
        ns.run(|| {
            let (umem, mut descs) = umem(16);
            let (mut rx, rings) = rx_only(&umem, copy_mode(mode), "b");
            let (mut fill_queue, mut comp) = rings.unwrap();
            fill(&mut fill_queue, &descs[..8]);
            assert!(!rx.poll(0).unwrap());
            tap.send(&frame(60, 1)).unwrap();
            assert!(rx.poll(1000).unwrap());
            assert_eq!(receive(&umem, &mut rx, 1)[0].0, frame(60, 1));
            // One that only transmits joins it on the queue, and takes it no packets.
            let (mut tx, none) = tx_only(&umem, copy_mode(mode), "b");
            assert!(none.is_none());
            send(&umem, &mut tx, &mut descs[8], &frame(61, 2));
            assert_eq!(tap.recv(SECOND).unwrap(), Some(frame(61, 2)));
            assert_eq!(complete(&mut comp, 1)[0].addr(), descs[8].addr());
            tap.send(&frame(62, 3)).unwrap();
            assert_eq!(receive(&umem, &mut rx, 1)[0].0, frame(62, 3));
            drop(tx);
            tap.send(&frame(63, 4)).unwrap();
            assert_eq!(receive(&umem, &mut rx, 1)[0].0, frame(63, 4));
        });
        assert!(pair.b.xdp().unwrap().is_none());
    }
}

#[test]
fn a_socket_that_only_transmits_leaves_packets_to_the_stack() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let (near, far) = (Tap::open(&ns, "a").unwrap(), Tap::open(&ns, "b").unwrap());
        ns.run(|| {
            let (umem, mut descs) = umem(16);
            let (mut tx, rings) = tx_only(&umem, copy_mode(mode), "b");
            let (mut fill_queue, mut comp) = rings.unwrap();
            assert!(pair.b.xdp().unwrap().is_some());
            fill(&mut fill_queue, &descs[..8]);
            for tag in 0..20 {
                near.send(&frame(60, tag)).unwrap();
                assert_eq!(far.recv(SECOND).unwrap(), Some(frame(60, tag)));
                send(&umem, &mut tx, &mut descs[8], &frame(61, tag));
                assert_eq!(near.recv(SECOND).unwrap(), Some(frame(61, tag)));
                assert_eq!(complete(&mut comp, 1)[0].addr(), descs[8].addr());
            }
            assert_eq!(fill_queue.nb_free_exact(), 2048 - 8, "nothing was received into");
            assert!(tx.poll(0).unwrap());

            // One that receives joins it on the queue, and leaves again.
            let (mut rx, none) = rx_only(&umem, copy_mode(mode), "b");
            assert!(none.is_none());
            near.send(&frame(62, 1)).unwrap();
            assert_eq!(receive(&umem, &mut rx, 1)[0].0, frame(62, 1));
            drop(rx);
            near.send(&frame(63, 2)).unwrap();
            assert_eq!(far.recv(SECOND).unwrap(), Some(frame(63, 2)));
        });
    }
}

fn several_buffers(mode: XdpFlags) -> SocketConfig {
    let flags = BindFlags::XDP_COPY | BindFlags::XDP_USE_SG;
    SocketConfig::builder().xdp_flags(mode).bind_flags(flags).build()
}

/// Receives a packet of several buffers.
fn receive_parts(umem: &Umem, rx: &mut RxQueue, parts: usize) -> (Vec<u8>, Vec<usize>) {
    let got = receive(umem, rx, parts);
    let more: Vec<_> = got.iter().map(|(_, desc)| desc.has_more_frames()).collect();
    assert_eq!(more.iter().filter(|more| !**more).count(), 1);
    assert!(!more[parts - 1], "the last part is the last");
    let lens = got.iter().map(|(_, desc)| desc.lengths().data()).collect();
    (got.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect(), lens)
}

fn counting(len: usize) -> Vec<u8> {
    let mut packet = frame(len, 0);
    packet[14..].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i / 7) as u8);
    packet
}

#[test]
fn packets_of_several_buffers() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let _pair = VethPair::builder(&ns, &ns).mtu(9000).build().unwrap();
        let tap = Tap::open(&ns, "a").unwrap();
        ns.run(|| {
            let (umem, mut descs) = umem(64);
            let mut port = port(&umem, several_buffers(mode), "b", 0);
            // Enough whole frames for every packet of this test: never fewer than a packet needs.
            fill(&mut port.fill, &descs[..32]);
            for (len, parts) in [
                (9000, &[3840, 3840, 1320][..]),
                (60, &[60]),
                (3840, &[3840]),
                (3841, &[3840, 1]),
                (9014, &[3840, 3840, 1334]),
            ] {
                tap.send(&counting(len)).unwrap();
                let (bytes, lens) = receive_parts(&umem, &mut port.rx, parts.len());
                assert_eq!(lens, parts, "{mode:?}, {len} bytes");
                assert_eq!(bytes, counting(len));

                let mut own: Vec<FrameDesc> = descs.drain(32..32 + parts.len()).collect();
                for (part, desc) in counting(len).chunks(3840).zip(&mut own) {
                    write(&umem, desc, part);
                }
                let last = own.len() - 1;
                own[..last].iter_mut().for_each(|desc| desc.set_options(XDP_PKT_CONTD));
                // SAFETY: these frames are ours.
                assert_eq!(unsafe { port.tx.produce_and_wakeup(&own) }.unwrap(), own.len());
                assert_eq!(tap.recv(SECOND).unwrap(), Some(counting(len)));
                let done: Vec<_> =
                    complete(&mut port.comp, parts.len()).iter().map(FrameDesc::addr).collect();
                assert_eq!(done, own.iter().map(FrameDesc::addr).collect::<Vec<_>>());
            }
            let statistics = port.rx.fd().xdp_statistics().unwrap();
            assert_eq!((statistics.rx_dropped(), statistics.tx_invalid_descs()), (0, 0));
        });
    }
}

/// The program of a UMEM with single buffers is exchanged for one that takes several.
#[test]
fn a_program_is_upgraded_for_packets_of_several_buffers() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let builder = VethPair::builder(&ns, &ns).a(|end| end.queues(2, 1)).b(|end| end.queues(2, 2));
        let pair = builder.build().unwrap();
        let tap = Tap::open(&ns, "a").unwrap();
        let single = ns.run(|| {
            let (umem1, descs1) = umem(16);
            let mut single = port(&umem1, copy_mode(mode), "b", 1);
            fill(&mut single.fill, &descs1[..8]);
            let program = pair.b.xdp().unwrap().unwrap();
            // Small frames: veth keeps the MTU limit of the program that was there first {veth.c:veth_xdp_set}.
            let small = UmemConfig::builder().frame_size(FrameSize::new(2048).unwrap()).build().unwrap();
            let (umem2, descs2) = umem_of(small, 32);
            let mut several = port(&umem2, several_buffers(mode), "b", 0);
            fill(&mut several.fill, &descs2[..16]);
            let upgraded = pair.b.xdp().unwrap().unwrap();
            assert!(upgraded.id != program.id && upgraded.mode == program.mode);
            let native = mode == XdpFlags::XDP_FLAGS_DRV_MODE;
            let (mtu, parts) = if native { (3506, 2) } else { (9000, 6) };
            pair.a.set_mtu(mtu).unwrap();
            pair.b.set_mtu(mtu).unwrap();
            let packet = counting(mtu as usize + 14);
            tap.send(&packet).unwrap();
            assert_eq!(receive_parts(&umem2, &mut several.rx, parts).0, packet);
            // A further one changes nothing any more.
            let (umem3, _) = umem(8);
            drop(several);
            drop(port(&umem3, several_buffers(mode), "b", 0));
            assert_eq!(pair.b.xdp().unwrap(), Some(upgraded));
            receives_nothing(&mut single.rx);
            single
        });
        drop(single);
        assert!(pair.b.xdp().unwrap().is_none());
    }
}

/// Receives into the first frames and sends from the last of a UMEM, packets as large as the MTU among them.
fn round_trips(
    mode: XdpFlags,
    umem: &Umem,
    descs: &mut [FrameDesc],
    check: impl Fn(&FrameDesc, usize) + Sync,
) {
    let ns = Namespace::new().unwrap();
    let _pair = VethPair::builder(&ns, &ns).build().unwrap();
    let tap = Tap::open(&ns, "a").unwrap();
    ns.run(|| {
        let mut port = port(umem, copy_mode(mode), "b", 0);
        let (own, to_send) = descs.split_at_mut(descs.len() - 4);
        fill(&mut port.fill, own);
        for (n, desc) in own.iter().enumerate() {
            let len = if n % 2 == 0 { 1514 } else { 60 + n };
            tap.send(&counting(len)).unwrap();
            let (bytes, received) = receive(umem, &mut port.rx, 1).remove(0);
            assert_eq!(bytes, counting(len));
            assert_eq!(received.addr(), desc.addr());
            check(&received, n);
            // Back as it came, then one from a frame that never was on a fill ring.
            // SAFETY: the frame was just received.
            assert_eq!(unsafe { port.tx.produce_one_and_wakeup(&received) }.unwrap(), 1);
            assert_eq!(tap.recv(SECOND).unwrap(), Some(counting(len)));
            assert_eq!(complete(&mut port.comp, 1)[0].addr(), received.addr());
            let desc = &mut to_send[n % 4];
            send(umem, &mut port.tx, desc, &counting(len));
            assert_eq!(tap.recv(SECOND).unwrap(), Some(counting(len)));
            assert_eq!(complete(&mut port.comp, 1)[0].addr(), desc.addr());
        }
        assert_eq!(port.rx.fd().xdp_statistics().unwrap().tx_invalid_descs(), 0);
    });
}

#[test]
fn unaligned_frames() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let size = FrameSize::new(3000).unwrap();
        let flags = UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG;
        let config = UmemConfig::builder().frame_size(size).flags(flags).frame_headroom(10).build().unwrap();
        let (umem, mut descs) = umem_of(config, 21);
        // Base in the low 48 bits, distance in the others. Most of these frames lie across two pages.
        assert_eq!(descs[1].addr(), 3000 | 266 << 48);
        round_trips(mode, &umem, &mut descs, |desc, n| assert_eq!(desc.addr(), (3000 * n) | 266 << 48));
    }
}

#[test]
fn frames_with_headroom() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let config = UmemConfig::builder().frame_headroom(64).build().unwrap();
        let (umem, mut descs) = umem_of(config, 12);
        assert_eq!([descs[0].addr(), descs[1].addr(), descs[2].addr()], [320, 4416, 8512]);
        // What the user keeps there stays.
        for (n, desc) in descs.iter_mut().enumerate() {
            // SAFETY: the frame is ours.
            let mut headroom = unsafe { umem.headroom_mut(desc) };
            headroom.cursor().set_pos(64);
            headroom.contents_mut().fill(n as u8);
        }
        round_trips(mode, &umem, &mut descs, |desc, n| {
            assert_eq!(desc.lengths().headroom(), 0);
            let mut desc = *desc;
            // SAFETY: the frame was received, and this is its only descriptor in use.
            let mut headroom = unsafe { umem.headroom_mut(&mut desc) };
            headroom.cursor().set_pos(64);
            assert_eq!(headroom.contents(), [n as u8; 64]);
        });
    }
}

#[test]
fn small_frames() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let config = UmemConfig::builder().frame_size(FrameSize::new(2048).unwrap()).build().unwrap();
        assert_eq!(config.mtu(), 1792);
        let (umem, mut descs) = umem_of(config, 13);
        assert_eq!([descs[0].addr(), descs[12].addr()], [256, 12 * 2048 + 256]);
        round_trips(mode, &umem, &mut descs, |_, _| {});
    }
}

#[test]
fn huge_pages() {
    if !xsk_veth::require() {
        return;
    }
    let reserved = match HugePages::reserve(4) {
        Ok(reserved) => reserved,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "SKIPPED huge_pages: {error}");
            return;
        }
    };
    for mode in MODES {
        // Both ends of a page, and a length that is no multiple of it.
        let free = huge::free().unwrap();
        let frames = NonZeroU32::new(512 + 7).unwrap();
        let (umem, descs) = Umem::new(UmemConfig::default(), frames, true).unwrap();
        assert_eq!(huge::free().unwrap(), free - 2);
        let mut some: Vec<_> = descs[508..].to_vec();
        round_trips(mode, &umem, &mut some, |_, _| {});
        drop(umem);
        // The kernel releases them some time after the socket.
        eventually("unmapping", || huge::free().unwrap() == free);
    }
    drop(reserved);
}

const METADATA: u32 = 24;

fn with_metadata(flags: UmemFlags) -> (Umem, Vec<FrameDesc>) {
    let config = UmemConfig::builder().flags(flags).tx_metadata_len(METADATA).build().unwrap();
    umem_of(config, 16)
}

#[test]
fn the_kernel_computes_a_checksum_that_tx_metadata_asks_for() {
    if !xsk_veth::require() {
        return;
    }
    for mode in MODES {
        let ns = Namespace::new().unwrap();
        let _pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, "a").unwrap();
        ns.run(|| {
            let (umem, mut descs) = with_metadata(UmemFlags::XDP_UMEM_TX_SW_CSUM);
            let mut port = port(&umem, copy_mode(mode), "b", 0);
            let (start, offset) = (34, 6);
            let request = xsk_tx_metadata_request {
                flags: XDP_TXMD_FLAGS_CHECKSUM,
                csum_start: start,
                csum_offset: offset,
                ..Default::default()
            };
            for (n, len) in [100, 61, 1514].into_iter().enumerate() {
                let desc = &mut descs[n];
                let mut packet = counting(len);
                let at = usize::from(start + offset);
                packet[at..at + 2].copy_from_slice(&[0x12, 0x34]);
                // SAFETY: the frame is ours.
                unsafe { umem.tx_metadata_mut(desc) }.copy_from_slice(request.as_bytes());
                desc.set_options(XDP_TX_METADATA);
                send(&umem, &mut port.tx, desc, &packet);
                let sum = ones_complement(&packet[start.into()..]);
                packet[at..at + 2].copy_from_slice(&(!sum).to_be_bytes());
                assert_eq!(tap.recv(SECOND).unwrap(), Some(packet), "{len} bytes");
                assert_eq!(complete(&mut port.comp, 1)[0].addr(), desc.addr());
                // Without the option the metadata is not read.
                let desc = &mut descs[8 + n];
                // SAFETY: the frame is ours.
                unsafe { umem.tx_metadata_mut(desc) }.copy_from_slice(request.as_bytes());
                send(&umem, &mut port.tx, desc, &counting(len));
                assert_eq!(tap.recv(SECOND).unwrap(), Some(counting(len)));
                complete(&mut port.comp, 1);
            }
        });
    }
}

fn ones_complement(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn the_kernel_notes_when_it_sent_if_tx_metadata_asks_for_it() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let _pair = VethPair::builder(&ns, &ns).build().unwrap();
    ns.run(|| {
        let (umem, mut descs) = with_metadata(UmemFlags::empty());
        let mut port = port(&umem, copy_mode(MODES[0]), "b", 0);
        let request = xsk_tx_metadata_request { flags: XDP_TXMD_FLAGS_TIMESTAMP, ..Default::default() };
        let mut last = 0;
        for desc in &mut descs[..4] {
            // SAFETY: the frame is ours.
            unsafe { umem.tx_metadata_mut(desc) }.copy_from_slice(request.as_bytes());
            desc.set_options(XDP_TX_METADATA);
            send(&umem, &mut port.tx, desc, &frame(60, 1));
            let mut done = complete(&mut port.comp, 1)[0];
            let mut answer = xsk_tx_metadata_completion::default();
            // SAFETY: the frame came back.
            answer.as_bytes_mut().copy_from_slice(unsafe { umem.tx_metadata_mut(&mut done) });
            assert!(answer.tx_timestamp > last, "nanoseconds since 1970");
            last = answer.tx_timestamp;
        }
        assert!(last > 1_600_000_000_000_000_000);
    });
    // Without metadata there is none to write; nor before data that starts too early.
    let (umem, mut descs) = umem(1);
    // SAFETY: the frame is ours.
    assert!(unsafe { umem.tx_metadata_mut(&mut descs[0]) }.is_empty());
    let (umem, _) = with_metadata(UmemFlags::empty());
    let mut early = FrameDesc::default();
    // SAFETY: as above: address 0 is in the first frame.
    assert!(unsafe { umem.tx_metadata_mut(&mut early) }.is_empty());
}
