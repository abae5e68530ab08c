//! Calls that succeed, with answers that no kernel should give.

use std::sync::Arc;

use xsk::Umem;
use xsk::backend::{Backend, HugePages, PageSize};
use xsk::config::{BindFlags, SocketConfig, UmemConfig, UmemFlags};
use xsk::error::{Diagnosis, Step};
use xsk_core::abi::*;
use xsk_core::errno::{EINVAL, ENOMEM};

use super::ledger::{Call, Ledger};
use super::sockets::{open, port, try_umem};
use super::{fail, faulty, mock};

/// Neither the length that kernels have since 5.4 nor the one before.
#[test]
fn ring_offsets_of_a_strange_length_are_refused() {
    let ledger = Ledger::new();
    let backend = mock(&ledger, |mock| {
        mock.expect_getsockopt().times(1).returning(|_, _, _, _| Ok(40));
    });
    let umem = try_umem(&backend).unwrap();
    let error = open(SocketConfig::default(), &umem, "sim0", 0).unwrap_err();
    let text = "cannot read the ring offsets (XDP_MMAP_OFFSETS) on sim0 queue 0 with an answer of 40 bytes: \
                the kernel refused";
    assert_eq!((error.step(), error.to_string().as_str()), (Step::RingOffsets, text));
    drop((port(&umem, "sim0", 0), umem, backend));
    ledger.nothing_is_left("a strange length");
}

/// A kernel whose rings do not fit what it mapped for them.
#[test]
fn rings_outside_their_mapping_are_refused() {
    let bad = [
        xdp_ring_offset { producer: 0, consumer: 128, desc: 1 << 40, flags: 196 },
        xdp_ring_offset { producer: u64::MAX, consumer: 128, desc: 320, flags: 196 },
        xdp_ring_offset { producer: 0, consumer: 130, desc: 320, flags: 196 },
    ];
    for (offsets, rx) in bad.into_iter().flat_map(|offsets| [(offsets, true), (offsets, false)]) {
        let ledger = Ledger::new();
        let backend = mock(&ledger, |mock| {
            let kernel = ledger.kernel.clone();
            mock.expect_getsockopt().times(1).returning(move |socket, level, name, value| {
                let mut answer = xdp_mmap_offsets::default();
                kernel.getsockopt(socket, level, name, answer.as_bytes_mut())?;
                let ring = if rx { &mut answer.rx } else { &mut answer.fr };
                *ring = offsets;
                value.copy_from_slice(answer.as_bytes());
                Ok(value.len())
            });
        });
        let umem = try_umem(&backend).unwrap();
        let error = open(SocketConfig::default(), &umem, "sim0", 0).unwrap_err();
        // How many bytes to map is reckoned from the offsets, and the kernel may refuse that many.
        assert_eq!(error.step(), Step::MapRing, "{error}");
        drop((error, port(&umem, "sim0", 0), umem, backend));
        ledger.nothing_is_left("strange offsets");
    }
}

/// Views of frames rely on the length.
#[test]
fn memory_that_is_too_short_is_refused() {
    let ledger = Ledger::new();
    let backend = mock(&ledger, |mock| {
        let ledger = Arc::clone(&ledger);
        mock.expect_mmap_memory()
            .times(1)
            .returning(move |len, pages| ledger.mmap_memory(len - pages.bytes(), pages));
    });
    let error = try_umem(&backend).unwrap_err();
    assert_eq!((error.step(), error.diagnosis()), (Step::MapMemory, &Diagnosis::OutOfMemory), "{error}");
    drop((error, try_umem(&backend).unwrap(), backend));
    ledger.nothing_is_left("memory that is too short");
}

#[test]
fn huge_pages_are_counted() {
    let frames = std::num::NonZeroU32::new(1025).unwrap();
    for (size, needed, bytes) in [(PageSize::Huge2M, 3, "2 MiB"), (PageSize::Huge1G, 1, "1 GiB")] {
        let ledger = Ledger::new();
        let pages = HugePages { total: 2, free: 1 };
        let backend = mock(&ledger, |mock| {
            mock.expect_mmap_memory().times(1).returning(|_, _| fail(ENOMEM));
            mock.expect_huge_pages().times(1).returning(move |_| Ok(pages));
        });
        let error = Umem::new_in(backend, UmemConfig::default(), frames, size).unwrap_err();
        assert_eq!(error.diagnosis(), &Diagnosis::HugePages { size, needed, pages: Some(pages) }, "{error}");
        assert!(error.to_string().contains(bytes), "{error}");
    }
}

/// Zero copy only: in copy mode the kernel binds and drops what does not fit.
#[test]
fn a_frame_smaller_than_the_mtu() {
    let ledger = Ledger::new();
    ledger.devices.iter().for_each(|device| device.set_mtu(9000).unwrap());
    let backend = faulty(&ledger, Call::Bind, 0, EINVAL);
    let umem = try_umem(&backend).unwrap();
    let zero_copy = SocketConfig::builder().bind_flags(BindFlags::XDP_ZEROCOPY).build();
    let error = open(zero_copy, &umem, "sim0", 0).unwrap_err();
    let text = "cannot bind on sim0 queue 0 with flags XDP_ZEROCOPY: a packet of the interface's MTU 9000 does not fit: a \
                frame has room for 3840 bytes with the Ethernet header; lower the MTU, use larger frames or less \
                headroom, or bind with XDP_USE_SG (EINVAL 22)";
    assert_eq!(error.to_string(), text);
    assert_eq!(error.diagnosis(), &Diagnosis::FrameTooSmall { mtu: 9000, room: 3840 });
    drop((umem, backend));
    ledger.nothing_is_left("frames that are too small");
}

/// What only newer kernels have is named when a UMEM with it is refused.
#[test]
fn a_umem_that_the_kernel_is_too_old_for() {
    let config = UmemConfig::builder;
    let unaligned = UmemFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG;
    let cases = [
        (
            *config().flags(unaligned),
            "with flags XDP_UMEM_UNALIGNED_CHUNK_FLAG: the kernel is too old for unaligned chunks, which needs Linux 5.4",
        ),
        (
            *config().flags(UmemFlags::XDP_UMEM_TX_METADATA_LEN).tx_metadata_len(16),
            "with flags XDP_UMEM_TX_METADATA_LEN and 16 bytes of TX metadata: the kernel is too old for this TX metadata, \
             which needs Linux 6.11",
        ),
        (
            *config().flags(UmemFlags::XDP_UMEM_TX_METADATA_LEN | unaligned).tx_metadata_len(16),
            "with flags XDP_UMEM_UNALIGNED_CHUNK_FLAG | XDP_UMEM_TX_METADATA_LEN and 16 bytes of TX metadata: the kernel is \
             too old for this TX metadata",
        ),
    ];
    for (config, text) in cases {
        let ledger = Ledger::new();
        let backend = faulty(&ledger, Call::Setsockopt(XDP_UMEM_REG), 0, EINVAL);
        let frames = std::num::NonZeroU32::new(16).unwrap();
        let error = Umem::new_in(backend, config.build().unwrap(), frames, PageSize::Normal).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        drop(error);
        ledger.nothing_is_left(text);
    }
}
