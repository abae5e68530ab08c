//! A program for xsk-rs 0.11. Nothing in here is of this library's own; without the next line but one, it compiles
//! against that crate.
#![deny(warnings)]

use xsk as xsk_rs;

use std::borrow::{Borrow, BorrowMut};
use std::convert::TryFrom;
use std::error::Error;
use std::ffi::CString;
use std::fmt::Debug;
use std::io::{self, IoSlice, Write};
use std::num::NonZeroU32;
use std::os::unix::io::AsRawFd;
use std::str::FromStr;
use std::time::{Duration, Instant};

use xsk_rs::config::{
    BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
    XDP_UMEM_MIN_CHUNK_SIZE, XdpFlags,
};
use xsk_rs::socket::XdpStatistics;
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// Flags with all that bitflags 2 gives them.
pub(crate) fn flags() {
    macro_rules! surface {
        ($flags:ident, $bits:ty, [$($name:ident = $value:literal),*]) => {{
            let all = $flags::all();
            assert_eq!([$($flags::$name.bits()),*], [$($value as $bits),*]);
            assert_eq!(all.bits(), 0 $(| $value)*);
            assert!($flags::empty().is_empty() && all.is_all() && !all.is_empty());
            assert!($flags::from_bits(1 << 15).is_none());
            assert_eq!($flags::from_bits_truncate(1 << 15).bits(), 0);
            assert_eq!($flags::from_bits_retain(1 << 15).bits(), 1 << 15);
            $(assert_eq!($flags::from_name(stringify!($name)).unwrap().bits(), $value);)*
            let mut some = $flags::empty();
            $(
                some.insert($flags::$name);
                assert!(some.contains($flags::$name) && some.intersects($flags::$name));
                some.remove($flags::$name);
                some.toggle($flags::$name);
                some.set($flags::$name, true);
            )*
            assert!(some.contains(all) && some.difference(all).is_empty() && some.complement().is_empty());
            assert!(some.symmetric_difference(all).is_empty());
            assert_eq!(some.union(all).bits(), some.intersection(all).bits());
            let mut ops = (some | all) & all;
            ops ^= all;
            ops |= all;
            ops &= all;
            ops -= all;
            assert_eq!(((all - some) ^ !some).bits(), ops.bits());
            ops.extend(all.iter());
            let collected: $flags = all.into_iter().collect();
            assert_eq!(collected.bits(), ops.bits());
            assert_eq!(all.iter_names().map(|(name, _)| name).collect::<Vec<_>>(), [$(stringify!($name)),*]);
            assert_eq!(format!("{:b} {:o} {:x} {:X}", all, all, all, all).split(' ').count(), 4);
            assert!(format!("{all:?}").starts_with(concat!(stringify!($flags), "(")));
        }};
    }
    surface!(LibxdpFlags, u32, [XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD = 1]);
    surface!(
        XdpFlags,
        u32,
        [
            XDP_FLAGS_UPDATE_IF_NOEXIST = 1,
            XDP_FLAGS_SKB_MODE = 2,
            XDP_FLAGS_DRV_MODE = 4,
            XDP_FLAGS_HW_MODE = 8
        ]
    );
    surface!(BindFlags, u16, [XDP_COPY = 2, XDP_ZEROCOPY = 4, XDP_USE_NEED_WAKEUP = 8, XDP_USE_SG = 16]);
}

/// Defaults, rules, and the texts of refusals.
pub(crate) fn configuration() {
    let umem = UmemConfig::default();
    assert_eq!((umem.frame_size().get(), umem.frame_headroom()), (4096, 0));
    assert_eq!((umem.fill_queue_size().get(), umem.comp_queue_size().get()), (2048, 2048));
    assert_eq!((umem.xdp_headroom(), umem.mtu()), (256, 3840));
    let socket = SocketConfig::default();
    assert_eq!((socket.rx_queue_size().get(), socket.tx_queue_size().get()), (2048, 2048));
    assert!(
        socket.libxdp_flags().is_empty() && socket.xdp_flags().is_empty() && socket.bind_flags().is_empty()
    );
    assert!(format!("{umem:?}").starts_with("Config { frame_size: FrameSize(4096), "));
    assert!(format!("{socket:?}").starts_with("Config { rx_queue_size: QueueSize(2048), "));

    for good in [1, 2, 1 << 31] {
        assert_eq!(QueueSize::new(good).unwrap().get(), good);
    }
    for bad in [0, 3, 2047] {
        let text = QueueSize::try_from(bad).unwrap_err().to_string();
        assert_eq!(text, format!("expected a power of two as queue size, got {bad}"));
    }
    assert_eq!(XDP_UMEM_MIN_CHUNK_SIZE, 2048);
    assert_eq!(FrameSize::new(2049).unwrap().get(), 2049);
    assert_eq!(FrameSize::try_from(2047).unwrap_err().to_string(), "expected frame size >= 2048, got 2047");

    let refused =
        UmemConfig::builder().frame_size(FrameSize::new(2049).unwrap()).frame_headroom(4096).build();
    assert_eq!(refused.unwrap_err().to_string(), "expected a power of two as frame size, got 2049");
    let refused = UmemConfig::builder().frame_headroom(u32::MAX).build();
    assert_eq!(
        refused.unwrap_err().to_string(),
        "total headroom 4294967551 must be less than frame size 4096"
    );
    assert!(UmemConfig::builder().frame_headroom(3839).build().is_ok());
    assert!(UmemConfig::builder().frame_headroom(3840).build().is_err());

    let umem = UmemConfig::builder()
        .frame_size(2048.try_into().unwrap())
        .fill_queue_size(64.try_into().unwrap())
        .comp_queue_size(32.try_into().unwrap())
        .frame_headroom(100)
        .build()
        .unwrap();
    assert_eq!((umem.frame_size().get(), umem.mtu()), (2048, 2048 - 256 - 100));
    assert_eq!((umem.fill_queue_size().get(), umem.comp_queue_size().get()), (64, 32));
    let socket = SocketConfig::builder()
        .rx_queue_size(16.try_into().unwrap())
        .tx_queue_size(8.try_into().unwrap())
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .xdp_flags(XdpFlags::XDP_FLAGS_DRV_MODE)
        .bind_flags(BindFlags::XDP_COPY)
        .build();
    assert_eq!((socket.rx_queue_size().get(), socket.tx_queue_size().get()), (16, 8));
    assert!(!socket.libxdp_flags().is_empty());
    assert!(socket.xdp_flags().contains(XdpFlags::XDP_FLAGS_DRV_MODE));
    assert!(socket.bind_flags().contains(BindFlags::XDP_COPY));

    assert!(Interface::from_str("eth\0").is_err());
    assert!(Interface::try_from(b"eth0".to_vec()).is_ok());
    assert!(Interface::try_from(&b"eth0"[..]).is_ok());
    assert!(
        Interface::new(CString::new("a name of any length at all").unwrap()).clone().type_name()
            == "Interface"
    );
}

trait TypeName: Debug {
    fn type_name(&self) -> String {
        format!("{self:?}").split('(').next().unwrap_or_default().into()
    }
}

impl TypeName for Interface {}

/// Frames and their views. Needs the right to make an AF_XDP socket.
pub(crate) fn frames() {
    let config = UmemConfig::builder().frame_headroom(64).build().unwrap();
    let (umem, mut descs) = Umem::new(config, NonZeroU32::new(3).unwrap(), false).unwrap();
    assert_eq!(descs.iter().map(FrameDesc::addr).collect::<Vec<_>>(), [320, 4416, 8512]);
    assert!(descs.iter().all(|d| d.lengths().headroom() == 0 && d.lengths().data() == 0 && d.options() == 0));
    let umem = umem.clone();

    // SAFETY: the frames are ours: no queue has them.
    unsafe {
        let (mut headroom, mut data) = umem.frame_mut(&mut descs[1]);
        // Both at once, each with its own length.
        let (mut one, mut two) = (headroom.cursor(), data.cursor());
        assert_eq!((one.buf_len(), two.buf_len()), (64, 4096 - 320));
        one.write_all(b"note").unwrap();
        assert_eq!(two.write_vectored(&[IoSlice::new(b"pack"), IoSlice::new(b"et!")]).unwrap(), 7);
        two.set_pos(6);
        two.flush().unwrap();
        assert_eq!((one.pos(), two.pos()), (4, 6));
        data.contents_mut()[0] = b'P';
        data[1] = b'A';
        data.as_mut()[2] = b'C';
        let bytes: &mut [u8] = data.borrow_mut();
        bytes[3] = b'K';
        assert_eq!((headroom.contents(), data.contents()), (&b"note"[..], &b"PACKet"[..]));
        assert_eq!((descs[1].lengths().headroom(), descs[1].lengths().data()), (4, 6));

        let (headroom, data) = umem.frame(&descs[1]);
        let bytes: &[u8] = headroom.borrow();
        assert_eq!((bytes, data.as_ref()), (&b"note"[..], &b"PACKet"[..]));
        // The bytes of the data outlive its view.
        let bytes = umem.data(&descs[1]).contents();
        assert_eq!((bytes, &*umem.headroom(&descs[1])), (&b"PACKet"[..], &b"note"[..]));

        let mut data = umem.data_mut(&mut descs[1]);
        let mut cursor = data.cursor();
        cursor.set_pos(usize::MAX);
        assert_eq!(cursor.pos(), 4096 - 320);
        assert_eq!(cursor.write(b"full").unwrap(), 0);
        assert!(cursor.write_all(b"full").is_err());
        cursor.zero_out();
        assert_eq!((cursor.pos(), data.len()), (0, 0));
        umem.headroom_mut(&mut descs[1]).cursor().set_pos(1000);
        assert_eq!(descs[1].lengths().headroom(), 64);

        // A descriptor at the start of a frame has no headroom, and the whole frame for data.
        let mut start = FrameDesc::default();
        let (mut headroom, mut data) = umem.frame_mut(&mut start);
        assert_eq!((headroom.cursor().buf_len(), data.cursor().buf_len()), (0, 4096));
        assert_eq!(start.addr(), 0);
        start.set_options(1);
        assert!(start.has_more_frames() && !FrameDesc::default().has_more_frames());
    }
}

struct End {
    umem: Umem,
    descs: Vec<FrameDesc>,
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    comp: CompQueue,
}

fn open(interface: &str, config: SocketConfig) -> End {
    let rings = UmemConfig::builder()
        .fill_queue_size(16.try_into().unwrap())
        .comp_queue_size(16.try_into().unwrap())
        .build()
        .unwrap();
    let (umem, descs) = Umem::new(rings, 32.try_into().unwrap(), false).expect("failed to build umem");
    let interface: Interface = interface.parse().unwrap();
    // SAFETY: the only socket on this queue.
    let (tx, rx, fq_and_cq) =
        unsafe { Socket::new(config, &umem, &interface, 0) }.expect("failed to create socket");
    let (fill, comp) = fq_and_cq.expect("missing fill and comp queue");
    End { umem, descs, tx, rx, fill, comp }
}

fn until(what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
    }
}

/// Packets from one interface to another, by every call there is.
pub(crate) fn exchange(from: &str, to: &str, mode: XdpFlags) {
    let config = SocketConfig::builder()
        .rx_queue_size(16.try_into().unwrap())
        .tx_queue_size(16.try_into().unwrap())
        .xdp_flags(mode)
        .build();
    let (mut from, mut to) = (open(from, config), open(to, config));
    let packet = |tag: u8| {
        let mut packet = [tag; 60];
        packet[12..14].copy_from_slice(&[0x88, 0xb5]);
        packet
    };

    // All or nothing.
    assert_eq!((to.fill.nb_free(1), to.fill.nb_free_exact()), (16, 16));
    // SAFETY: each frame is in one place; the same in the whole function.
    unsafe {
        assert_eq!(to.fill.produce(&[]), 0);
        assert_eq!(to.fill.produce(&to.descs[..17]), 0);
        assert_eq!(to.fill.produce(&to.descs[..4]), 4);
        assert_eq!(to.fill.nb_free(1), 12, "not capped");
        assert_eq!(to.fill.produce_one(&to.descs[4]), 1);
        assert_eq!(to.fill.produce_and_wakeup(&to.descs[5..7], to.rx.fd_mut(), 0).unwrap(), 2);
        assert_eq!(to.fill.produce_one_and_wakeup(&to.descs[7], from.tx.fd_mut(), 0).unwrap(), 1);
        assert!(!to.fill.needs_wakeup());
        to.fill.wakeup(to.rx.fd_mut(), 0).unwrap();
        assert!(!to.rx.poll(0).unwrap());
        assert_eq!(to.rx.poll_and_consume(&mut [FrameDesc::default()], 1).unwrap(), 0);
        assert_eq!(
            (to.rx.nb_avail(4), to.rx.nb_avail_exact(), to.rx.consume_one(&mut FrameDesc::default())),
            (0, 0, 0)
        );

        for (tag, desc) in from.descs[..8].iter_mut().enumerate() {
            from.umem.data_mut(desc).cursor().write_all(&packet(tag as u8)).unwrap();
        }
        assert!(from.tx.needs_wakeup(), "copy mode asks for it from the start");
        assert!(from.tx.poll(0).unwrap());
        assert_eq!((from.tx.nb_free(1), from.tx.nb_free_exact()), (16, 16));
        assert_eq!(from.tx.produce(&from.descs[..17]), 0);
        assert_eq!(from.tx.produce(&from.descs[..2]), 2);
        assert_eq!(from.tx.produce_one(&from.descs[2]), 1);
        from.tx.wakeup().unwrap();
        assert_eq!(from.tx.produce_and_wakeup(&from.descs[3..7]).unwrap(), 4);
        assert_eq!(from.tx.produce_one_and_wakeup(&from.descs[7]).unwrap(), 1);
    }

    // Completions: as many as there are, the rest untouched.
    let mut done = [from.descs[31]; 10];
    until("completions", || from.comp.nb_avail_exact() == 8);
    assert_eq!((from.comp.nb_avail(3), from.comp.nb_avail(100)), (3, 8));
    // SAFETY: one UMEM each.
    unsafe {
        assert_eq!(from.comp.consume_one(&mut done[0]), 1);
        assert_eq!(from.comp.consume(&mut done[1..]), 7);
    }
    for (done, sent) in done.iter().zip(&from.descs[..8]) {
        assert_eq!((done.addr(), done.options()), (sent.addr(), 0));
        assert_eq!((done.lengths().data(), done.lengths().headroom()), (0, 0));
    }
    assert_eq!(done[9].addr(), from.descs[31].addr());

    until("packets", || to.rx.nb_avail_exact() == 8);
    assert!(to.rx.poll(-1).unwrap());
    assert_eq!((to.rx.nb_avail(3), to.rx.nb_avail(100)), (3, 8));
    let mut got = [FrameDesc::default(); 10];
    // SAFETY: as above.
    unsafe {
        assert_eq!(to.rx.consume_one(&mut got[0]), 1);
        assert_eq!(to.rx.consume(&mut got[1..3]), 2);
        assert_eq!(to.rx.poll_and_consume_one(&mut got[3], 100).unwrap(), 1);
        assert_eq!(to.rx.poll_and_consume(&mut got[4..], 100).unwrap(), 4);
        for (tag, desc) in got[..8].iter().enumerate() {
            assert_eq!(to.umem.data(desc).contents(), packet(tag as u8));
            assert_eq!((desc.lengths().headroom(), desc.options(), desc.has_more_frames()), (0, 0, false));
        }
    }
    assert_eq!(got[9].lengths().data(), 0);

    let statistics: XdpStatistics = to.rx.fd().xdp_statistics().unwrap();
    assert_eq!(
        (statistics.rx_dropped(), statistics.rx_invalid_descs(), statistics.rx_ring_full()),
        (0, 0, 0)
    );
    assert_eq!((statistics.tx_invalid_descs(), statistics.rx_fill_ring_empty_descs()), (0, 0));
    assert!(from.tx.fd().xdp_statistics().unwrap().tx_ring_empty_descs() > 0);
    assert_eq!(format!("{:?}", to.rx.fd()), format!("Fd {{ id: {} }}", to.rx.fd().as_raw_fd()));
    assert_eq!(to.rx.fd().as_raw_fd(), to.tx.fd().as_raw_fd());

    // Any queue keeps the socket alive.
    let End { tx, rx, fill, comp, umem, .. } = to;
    drop((tx, umem, fill, comp));
    assert!(rx.fd().xdp_statistics().is_ok());
}

/// A second socket on a queue has no fill and completion queue of its own.
pub(crate) fn share(interface: &str) {
    let (umem, _) = Umem::new(UmemConfig::default(), 16.try_into().unwrap(), false).unwrap();
    let interface: Interface = interface.parse().unwrap();
    // As that crate wants it for two sockets on one queue.
    let config =
        SocketConfig::builder().libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD).build();
    // SAFETY: no frames are used.
    let first = unsafe { Socket::new(config, &umem, &interface, 0) }.unwrap();
    // SAFETY: as above.
    let second = unsafe { Socket::new(config, &umem, &interface, 0) }.unwrap();
    assert!(first.2.is_some() && second.2.is_none());
}

/// What cannot be opened says why in its source.
pub(crate) fn refusal() {
    let (umem, _) = Umem::new(UmemConfig::default(), 16.try_into().unwrap(), false).unwrap();
    // SAFETY: no frames are used.
    let error: Box<dyn Error + Send + Sync> =
        match unsafe { Socket::new(SocketConfig::default(), &umem, &"nowhere".parse().unwrap(), 0) } {
            Ok(_) => panic!("there is no such interface"),
            Err(error) => error.into(),
        };
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert!(source.is_some_and(|source| source.raw_os_error().is_some()), "{error}");
}
