//! What the errors say, by the very sentence.
#![cfg(target_os = "linux")]

use std::io;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use xsk::Umem;
use xsk::backend::{Backend, Linux, PageSize, XdpMode};
use xsk::config::{
    BindFlags, FrameSize, Interface, QueueSize, SocketConfig, SocketConfigBuilder, UmemConfig,
    UmemConfigBuilder, XdpFlags,
};
use xsk::error::{Diagnosis, Error, Step};
use xsk::socket::SocketCreateError;
use xsk::umem::UmemCreateError;
use xsk_core::errno::*;
use xsk_core::layout::{Layout, LayoutError};
use xsk_tests::bpf::{XDP_PASS, attach, load_verdict};
use xsk_tests::{copy_mode, port, queue_size, try_open, umem};
use xsk_veth::{Namespace, VethPair};

const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;

/// A veth pair `a` and `b` and its namespace, or `None` where there can be none.
fn pair(
    change: impl FnOnce(xsk_veth::VethPairBuilder) -> xsk_veth::VethPairBuilder,
) -> Option<(Namespace, VethPair)> {
    if !xsk_veth::require() {
        return None;
    }
    let ns = Namespace::new().unwrap();
    let pair = change(VethPair::builder(&ns, &ns)).build().unwrap();
    Some((ns, pair))
}

fn new_umem(
    config: &UmemConfigBuilder,
    frames: u32,
    pages: PageSize,
) -> Result<(Umem, Vec<xsk::FrameDesc>), UmemCreateError> {
    Umem::with_pages(config.build().unwrap(), NonZeroU32::new(frames).unwrap(), pages)
}

fn umem_error(config: &UmemConfigBuilder, frames: u32, pages: PageSize) -> UmemCreateError {
    new_umem(config, frames, pages).unwrap_err()
}

/// With a UMEM of its own.
fn open_error(config: &SocketConfigBuilder, name: &str, queue: u32) -> SocketCreateError {
    try_open(&umem(8).0, config.build(), name, queue).unwrap_err()
}

fn says(error: &Error, step: Step, errno: Option<i32>, text: &str) {
    assert_eq!(error.to_string(), text);
    assert_eq!((error.step(), error.errno()), (step, errno));
}

#[test]
fn values_that_are_none() {
    let text = |error: &dyn std::error::Error| error.to_string();
    assert_eq!(text(&QueueSize::new(0).unwrap_err()), "expected a power of two as queue size, got 0");
    assert_eq!(text(&QueueSize::new(3).unwrap_err()), "expected a power of two as queue size, got 3");
    assert_eq!(text(&FrameSize::new(2047).unwrap_err()), "expected frame size >= 2048, got 2047");
    let frames = |size| *UmemConfig::builder().frame_size(FrameSize::new(size).unwrap());
    let refused = |builder: &mut UmemConfigBuilder| text(&builder.build().unwrap_err());
    assert_eq!(refused(&mut frames(3000)), "expected a power of two as frame size, got 3000");
    assert_eq!(
        refused(frames(2048).frame_headroom(2048)),
        "total headroom 2304 must be less than frame size 2048"
    );
    assert_eq!(
        refused(UmemConfig::builder().frame_headroom(3840)),
        "total headroom 4096 must be less than frame size 4096"
    );
    let none = Layout::new(4096, 0, 0, Default::default(), 0).unwrap_err();
    assert_eq!((none, text(&none).as_str()), (LayoutError::NoChunks, "expected at least one frame, got 0"));
    assert!(Interface::try_from(&b"eth\0"[..]).is_err());
}

/// The kernel would allocate it.
#[test]
fn absurd_rings() {
    let absurd = queue_size(1 << 31);
    let most = "a ring has a power of two of entries, at most 4194304";
    let builder = UmemConfig::builder;
    let text =
        |ring| format!("cannot use this configuration with 2147483648 entries for the {ring} ring: {most}");
    let error = umem_error(builder().fill_queue_size(absurd), 8, PageSize::Normal);
    says(&error, Step::CheckConfig, None, &text("fill"));
    assert_eq!(error.diagnosis(), &Diagnosis::RingSize { max: 1 << 22 });
    let error = umem_error(builder().comp_queue_size(queue_size(1 << 31)), 8, PageSize::Normal);
    says(&error, Step::CheckConfig, None, &text("completion"));

    let Some((ns, _pair)) = pair(|pair| pair) else { return };
    let text = |size, ring| {
        format!("cannot use this configuration on b queue 0 with {size} entries for the {ring} ring: {most}")
    };
    ns.run(|| {
        let builder = SocketConfig::builder;
        let refused = open_error(builder().rx_queue_size(absurd), "b", 0);
        says(&refused, Step::CheckConfig, None, &text(1_u32 << 31, "RX"));
        let refused = open_error(builder().tx_queue_size(queue_size(1 << 23)), "b", 0);
        says(&refused, Step::CheckConfig, None, &text(1 << 23, "TX"));
    });
}

#[test]
fn huge_pages_that_are_not_there() {
    let builder = UmemConfig::builder();
    for (size, kib, name, frames) in
        [(PageSize::Huge1G, 1_048_576_u64, "1 GiB", 1_u64 << 20), (PageSize::Huge2M, 2048, "2 MiB", 1 << 21)]
    {
        let pages = Linux::new().huge_pages(size).unwrap();
        let needed = frames * 4096 / (kib << 10);
        if pages.free >= needed {
            continue;
        }
        let error = umem_error(&builder, frames as u32, size);
        let text = format!(
            "cannot map memory for the UMEM with {frames} frames of 4096 bytes on {name} pages: there are too few huge \
             pages of {name}: {needed} needed, {} free of {}; reserve some in \
             /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages (ENOMEM 12)",
            pages.free, pages.total
        );
        says(&error, Step::MapMemory, Some(ENOMEM), &text);
        assert_eq!(error.diagnosis(), &Diagnosis::HugePages { size, needed, pages: Some(pages) });
    }
    // One page is needed for one frame.
    if Linux::new().huge_pages(PageSize::Huge1G).unwrap().free == 0 {
        let error = umem_error(&builder, 1, PageSize::Huge1G);
        assert!(error.to_string().contains(": 1 needed, 0 free of "), "{error}");
    }
}

#[test]
fn queues_out_of_range() {
    let Some((ns, _pair)) = pair(|pair| pair.queues(4)) else { return };
    ns.run(|| {
        // The kernel would take 65537 for 1.
        for queue in [4, 99, 65536, 65537, u32::MAX] {
            let error = open_error(&SocketConfig::builder(), "b", queue);
            let text = format!(
                "cannot use this configuration on b queue {queue}: the interface has 4 queues, so queue ids go from 0 to 3; \
                 `ethtool -L` gives it more if the driver can"
            );
            says(&error, Step::CheckConfig, None, &text);
            assert_eq!((error.interface(), error.queue()), (Some("b"), Some(queue)));
            assert_eq!(error.diagnosis(), &Diagnosis::QueueOutOfRange { queues: 4 });
        }
        let text = "cannot use this configuration on lo queue 1: the interface has one queue, whose id is 0; \
                    `ethtool -L` gives it more if the driver can";
        says(&open_error(&SocketConfig::builder(), "lo", 1), Step::CheckConfig, None, text);
        drop(port(&umem(8).0, copy_mode(SKB), "b", 3));
    });
}

#[test]
fn interface_names() {
    let Some((ns, _pair)) = pair(|pair| pair) else { return };
    ns.run(|| {
        let long = "n".repeat(300);
        let shown = "n".repeat(32) + "...";
        let size = "an interface name has 1 to 15 bytes, this one has";
        let absent = "there is no such interface in this network namespace (absent, renamed or deleted); list them with \
                      `ip link` (ENODEV 19)";
        for (name, errno, text) in [
            (long.as_str(), None, format!("cannot find the interface `{shown}`: {size} 300")),
            ("", None, format!("cannot find the interface ``: {size} 0")),
            ("sixteen-letters-", None, format!("cannot find the interface `sixteen-letters-`: {size} 16")),
            ("fifteen-letters", Some(ENODEV), format!("cannot find the interface `fifteen-letters`: {absent}")),
            ("b\n", Some(ENODEV), format!("cannot find the interface `b\\n`: {absent}")),
            ("eth0", Some(ENODEV), format!("cannot find the interface `eth0`: {absent}")),
        ] {
            says(&open_error(&SocketConfig::builder(), name, 0), Step::FindInterface, errno, &text);
        }
        let diagnosis = open_error(&SocketConfig::builder(), &long, 0);
        assert_eq!(diagnosis.diagnosis(), &Diagnosis::InterfaceName(300));
        assert_eq!(open_error(&SocketConfig::builder(), "eth0", 0).diagnosis(), &Diagnosis::NoInterface);
    });
}

/// What the configuration lets pass and the kernel does not take.
#[test]
fn frames_that_the_kernel_refuses() {
    let Some((ns, _pair)) = pair(|pair| pair) else { return };
    ns.run(|| {
        let builder = UmemConfig::builder;
        let error = umem_error(builder().frame_size(FrameSize::new(8192).unwrap()), 8, PageSize::Normal);
        let text = "cannot register the UMEM (XDP_UMEM_REG) with frame size 8192: a frame is at most a page, 4096 bytes \
                    (EINVAL 22)";
        says(&error, Step::RegisterUmem, Some(EINVAL), text);
        assert_eq!(error.diagnosis(), &Diagnosis::FrameSize { max: 4096 });

        drop(new_umem(builder().frame_headroom(3392), 8, PageSize::Normal).unwrap());
        for headroom in [3393, 3839] {
            // Some kernels take it all the same.
            let Err(error) = new_umem(builder().frame_headroom(headroom), 8, PageSize::Normal) else { continue };
            let text = format!(
                "cannot register the UMEM (XDP_UMEM_REG) with headroom {headroom}: the headroom is too large for this \
                 kernel: it takes at most 3392 bytes for frames of this size (EINVAL 22)"
            );
            says(&error, Step::RegisterUmem, Some(EINVAL), &text);
            assert_eq!(error.diagnosis(), &Diagnosis::Headroom { max: 3392 });
        }
    });
}

#[test]
fn a_busy_queue() {
    let Some((ns, _pair)) = pair(|pair| pair.queues(2)) else { return };
    ns.run(|| {
        let (first, second) = (umem(8).0, umem(8).0);
        let held = port(&first, copy_mode(SKB), "b", 1);
        for timeout in [0, 60, 250] {
            let timeout = Duration::from_millis(timeout);
            let config = SocketConfig::builder().xdp_flags(SKB).busy_timeout(timeout).build();
            let start = Instant::now();
            let error = try_open(&second, config, "b", 1).unwrap_err();
            let took = start.elapsed();
            assert!(took >= timeout && took < timeout + Duration::from_secs(1), "{took:?}");
            let &Diagnosis::QueueBusy { waited_ms } = error.diagnosis() else { panic!("{error}") };
            assert!(u128::from(waited_ms) >= timeout.as_millis());
            let text = format!(
                "cannot bind on b queue 1: the queue is in use by another UMEM (waited {waited_ms} ms for it): another \
                 AF_XDP socket is bound to it, which is to be closed, or one that was closed still has packets in flight, \
                 for which a longer `busy_timeout` waits (EBUSY 16)"
            );
            says(&error, Step::Bind, Some(EBUSY), &text);
        }
        // A queue that was closed a moment ago is waited for.
        drop(held);
        drop(port(&second, copy_mode(SKB), "b", 1));
    });
}

/// Somebody else's program, in either mode, asked for in any.
#[test]
fn a_program_is_attached_already() {
    let Some((ns, pair)) = pair(|pair| pair) else { return };
    ns.run(|| {
        for (attached, mode, shown) in [(SKB, XdpMode::Skb, "SKB"), (DRV, XdpMode::Native, "native")] {
            for asked in [SKB, DRV, XdpFlags::empty(), SKB | XdpFlags::XDP_FLAGS_UPDATE_IF_NOEXIST] {
                let link = attach(&load_verdict(XDP_PASS).unwrap(), pair.b.ifindex(), attached).unwrap();
                let id = pair.b.xdp().unwrap().unwrap().id;
                let error = open_error(SocketConfig::builder().xdp_flags(asked), "b", 0);
                let errno = error.errno().unwrap();
                assert!([EBUSY, EEXIST].contains(&errno), "{error}");
                let asked = match asked.difference(XdpFlags::XDP_FLAGS_UPDATE_IF_NOEXIST) {
                    SKB => "XDP_FLAGS_SKB_MODE",
                    DRV => "XDP_FLAGS_DRV_MODE",
                    _ => "no mode flags",
                };
                let text = format!(
                    "cannot attach the XDP program on b queue 0 with {asked}: an XDP program is attached already (id {id}, \
                     without a name, {shown} mode): stop the program that attached it, or if that is gone use `ip link set \
                     dev b xdp off`; or else open the socket with INHIBIT_PROG_LOAD and put it into the XSKMAP of \
                     the attached program, or attach beside it through libxdp's dispatcher (feature `libxdp`) ({})",
                    describe(errno)
                );
                says(&error, Step::AttachProgram, Some(errno), &text);
                let Diagnosis::ProgramAttached { program, .. } = error.diagnosis() else { panic!("{error}") };
                assert_eq!((program.id, program.mode), (id, mode));
                drop(link);
            }
        }
    });
}

#[test]
fn modes_that_contradict() {
    let Some((ns, pair)) = pair(|pair| pair.queues(2)) else { return };
    ns.run(|| {
        let exclude = "these flags exclude each other, give one of them";
        let refused = open_error(SocketConfig::builder().bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_ZEROCOPY), "b", 0);
        let text = format!("cannot use this configuration on b queue 0 with XDP_COPY and XDP_ZEROCOPY: {exclude}");
        says(&refused, Step::CheckConfig, None, &text);
        assert_eq!(refused.diagnosis(), &Diagnosis::Contradiction);
        let text = format!(
            "cannot use this configuration on b queue 0 with XDP_FLAGS_SKB_MODE | XDP_FLAGS_DRV_MODE: {exclude}"
        );
        says(&open_error(SocketConfig::builder().xdp_flags(SKB | DRV), "b", 0), Step::CheckConfig, None, &text);

        let umem = umem(8).0;
        let skb = port(&umem, copy_mode(SKB), "b", 0);
        let refused = try_open(&umem, copy_mode(DRV), "b", 1).unwrap_err();
        let text = "cannot attach the XDP program on b queue 1 with XDP_FLAGS_DRV_MODE: this process has attached its \
                    program in SKB mode: use the same XDP mode flags for every socket of an interface";
        says(&refused, Step::AttachProgram, None, text);
        assert_eq!(refused.diagnosis(), &Diagnosis::OtherMode { attached: XdpMode::Skb });
        // No wish is no contradiction, nor is a wish that came true by itself.
        drop(port(&umem, copy_mode(XdpFlags::empty()), "b", 1));
        drop(skb);
        let first = port(&umem, copy_mode(XdpFlags::empty()), "b", 0);
        assert_eq!(pair.b.xdp().unwrap().unwrap().mode, xsk_veth::XdpMode::Native);
        drop(port(&umem, copy_mode(DRV), "b", 1));
        drop(first);
    });
}

#[test]
fn what_the_driver_cannot() {
    let Some((ns, _pair)) = pair(|pair| pair) else { return };
    ns.run(|| {
        let zero_copy = BindFlags::XDP_ZEROCOPY | BindFlags::XDP_USE_NEED_WAKEUP;
        let refused = open_error(SocketConfig::builder().bind_flags(zero_copy), "b", 0);
        let text = "cannot bind on b queue 0 with flags XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP: the driver veth has no zero copy \
                    here: leave XDP_ZEROCOPY out, or use XDP_COPY (EOPNOTSUPP 95)";
        says(&refused, Step::Bind, Some(EOPNOTSUPP), text);
        assert_eq!(refused.diagnosis(), &Diagnosis::NoZeroCopy { driver: Some("veth".to_owned()) });

        let refused = open_error(SocketConfig::builder().xdp_flags(DRV), "lo", 0);
        let text = "cannot attach the XDP program on lo queue 0 with XDP_FLAGS_DRV_MODE: the driver has no native XDP: use \
                    XDP_FLAGS_SKB_MODE (EOPNOTSUPP 95)";
        says(&refused, Step::AttachProgram, Some(EOPNOTSUPP), text);
        assert_eq!(refused.diagnosis(), &Diagnosis::NoNativeXdp { driver: None });
        // As advised.
        drop(port(&umem(8).0, copy_mode(SKB), "lo", 0));
    });
}

#[test]
fn an_mtu_that_is_too_large_for_the_program() {
    // The peer's decides.
    let Some((ns, pair)) = pair(|pair| pair.a(|a| a.mtu(9000))) else { return };
    ns.run(|| {
        let refused = open_error(SocketConfig::builder().xdp_flags(DRV), "b", 0);
        let text = "cannot attach the XDP program on b queue 0 with XDP_FLAGS_DRV_MODE: the driver does not attach a \
                    single-buffer program at MTU 1500 (or, on veth, at the peer's MTU): lower it, bind with XDP_USE_SG, or \
                    use XDP_FLAGS_SKB_MODE (ERANGE 34)";
        says(&refused, Step::AttachProgram, Some(ERANGE), text);
        assert_eq!(refused.diagnosis(), &Diagnosis::MtuTooLargeForProgram { mtu: 1500 });
        // As advised, in each way.
        drop(port(&umem(8).0, copy_mode(SKB), "b", 0));
        let sg = BindFlags::XDP_COPY | BindFlags::XDP_USE_SG;
        let config = SocketConfig::builder().xdp_flags(DRV).bind_flags(sg).build();
        drop(port(&umem(8).0, config, "b", 0));
        pair.a.set_mtu(1500).unwrap();
        drop(port(&umem(8).0, copy_mode(DRV), "b", 0));
    });
}

#[test]
fn too_few_queues_for_native_xdp() {
    let Some((ns, _pair)) = pair(|pair| pair.a(|a| a.queues(4, 4))) else { return };
    ns.run(|| {
        let refused = open_error(SocketConfig::builder().xdp_flags(DRV), "b", 0);
        let text = "cannot attach the XDP program on b queue 0 with XDP_FLAGS_DRV_MODE: the driver veth has too few queues \
                    for native XDP (a veth needs as many receive queues as its peer has transmit queues): change them with \
                    `ethtool -L`, or use XDP_FLAGS_SKB_MODE (ENOSPC 28)";
        says(&refused, Step::AttachProgram, Some(ENOSPC), text);
        drop(port(&umem(8).0, copy_mode(SKB), "b", 0));
    });
}

#[test]
fn an_interface_that_goes_down_and_away() {
    let Some((ns, pair)) = pair(|pair| pair) else { return };
    ns.run(|| {
        let umem = umem(8).0;
        let mut b = port(&umem, copy_mode(SKB), "b", 0);
        assert!(!b.rx.poll(1).unwrap());
        pair.b.set_up(false).unwrap();
        let down = "the interface is down: set it up with `ip link set b up` (ENETDOWN 100)";
        let poll = b.rx.poll(1).unwrap_err();
        assert_eq!(poll.to_string(), format!("cannot poll on b queue 0: {down}"));
        assert_eq!(Error::of_io(&poll).unwrap().diagnosis(), &Diagnosis::InterfaceDown);
        b.tx.wakeup().expect("what the next wakeup mends is no error");
        pair.b.set_up(true).unwrap();
        assert!(!b.rx.poll(1).unwrap());

        pair.b.delete().unwrap();
        let gone = "the interface is gone (deleted, or moved to another network namespace): the socket is dead for good, \
                    close it and open a new one (ENXIO 6)";
        let calls: [(&str, io::Error); 4] = [
            ("poll", b.rx.poll(1).unwrap_err()),
            ("poll", b.tx.poll(1).unwrap_err()),
            ("poll", b.fill.wakeup(b.rx.fd_mut(), 1).unwrap_err()),
            ("wake the kernel", b.tx.wakeup().unwrap_err()),
        ];
        for (call, error) in calls {
            assert_eq!(error.to_string(), format!("cannot {call} on b queue 0: {gone}"));
            assert_eq!(Error::of_io(&error).unwrap().diagnosis(), &Diagnosis::InterfaceGone);
        }
        assert_eq!(b.rx.fd().xdp_statistics().unwrap().rx_dropped(), 0);
        let error = try_open(&umem, copy_mode(SKB), "b", 0).unwrap_err();
        assert_eq!(error.diagnosis(), &Diagnosis::NoInterface);
    });
}
