//! A.3: receiving, in SKB and in native mode.

use xsk_core::abi::{XDP_COPY, XDP_USE_SG, xdp_desc, xdp_statistics};

use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, Program, World, is_native};

rules! {
    a3_nothing_in_the_fill_ring;
    a3_addresses_are_masked;
    a3_headroom;
    a3_unaligned_chunks;
    a3_invalid_fill_entries_are_skipped;
    a3_a_full_rx_ring;
    a3_longer_than_a_frame;
    a3_several_buffers;
    a3_several_buffers_and_too_little_in_the_fill_ring;
    a3_several_buffers_and_too_little_room_in_the_rx_ring;
    a3_jumbo_frames;
    a3_a_packet_with_fragments_that_fits_one_frame;
    a3_programs_that_adjust;
}

const SG: u16 = XDP_COPY | XDP_USE_SG;

fn receiver(world: &dyn World, setup: Setup, fill: &[u64]) -> RawSocket {
    let socket = RawSocket::open_receiver(world, &Setup { end: End::B, ..setup });
    socket.fill().push(fill.iter().copied());
    socket
}

fn inject(world: &dyn World, lengths: &[usize]) {
    for (i, len) in lengths.iter().enumerate() {
        world.send(End::A, &frame(*len, i as u8));
    }
}

/// Address, length and options of all that was received.
fn received(socket: &RawSocket) -> Vec<(u64, u32, u32)> {
    socket.rx().pop_all::<xdp_desc>().into_iter().map(|d| (d.addr, d.len, d.options)).collect()
}

/// Small chunks, so that frames are short: F = 792.
fn small(bind_flags: u16) -> Setup {
    Setup { chunk: 2048, headroom: 1000, bind_flags, ..Setup::default() }
}

fn a3_nothing_in_the_fill_ring(world: &dyn World) {
    let socket = receiver(world, Setup::default(), &[]);
    inject(world, &[60, 60]);
    let expected = xdp_statistics { rx_dropped: 2, rx_fill_ring_empty_descs: 2, ..xdp_statistics::default() };
    assert_eq!(socket.statistics(), expected);
    assert_eq!(socket.rx().producer(), 0);
}

fn a3_addresses_are_masked(world: &dyn World) {
    let socket = receiver(world, Setup::default(), &[0, 4096 + 77, 8192 + 4095]);
    inject(world, &[60, 61, 1514]);
    assert_eq!(received(&socket), [(0x100, 60, 0), (0x1100, 61, 0), (0x2100, 1514, 0)]);
    assert_eq!(socket.fill().consumer(), 3);
    assert_eq!(socket.bytes(0x1100, 61), frame(61, 1));
}

fn a3_headroom(world: &dyn World) {
    let socket = receiver(world, Setup { headroom: 100, ..Setup::default() }, &[0]);
    inject(world, &[60]);
    assert_eq!(received(&socket), [(0x164, 60, 0)]);
}

fn a3_unaligned_chunks(world: &dyn World) {
    let setup = Setup { chunk: 3000, headroom: 10, size: 65536, umem_flags: 1, ..Setup::default() };
    let fill = [5, 3006, 2500 + (7 << 48), 62536, 62537];
    let socket = receiver(world, setup, &fill);
    inject(world, &[60; 5]);
    let expected = [0x10a_0000_0000_0005, 0x10a_0000_0000_0bbe, 0x10a_0000_0000_09c4, 0x10a_0000_0000_f448];
    assert_eq!(received(&socket), expected.map(|addr| (addr, 60, 0)));
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_fill_ring_empty_descs), (1, 1));
    assert_eq!(socket.fill().consumer(), 5);
    assert_eq!(socket.bytes(5 + 10 + 256, 60), frame(60, 0));
}

fn a3_invalid_fill_entries_are_skipped(world: &dyn World) {
    let socket = receiver(world, Setup::default(), &[0x40000, 1 << 63, 0x1000, u64::MAX, 0x2000]);
    inject(world, &[60]);
    assert_eq!(received(&socket), [(0x1100, 60, 0)]);
    assert_eq!(socket.fill().consumer(), 3);
    inject(world, &[60]);
    assert_eq!(received(&socket), [(0x2100, 60, 0)]);
    assert_eq!(socket.fill().consumer(), 5);
    inject(world, &[60]);
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_invalid_descs), (1, 0));
}

fn a3_a_full_rx_ring(world: &dyn World) {
    let setup = Setup { rx: 2, ..Setup::default() };
    let fill: Vec<u64> = (0..8).map(|i| i * 0x1000).collect();
    let socket = receiver(world, setup, &fill);
    inject(world, &[60; 4]);
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_ring_full, statistics.rx_dropped), (2, 0));
    assert_eq!(socket.fill().consumer(), if is_native(world) { 2 } else { 3 });
    assert_eq!(received(&socket), [(0x100, 60, 0), (0x1100, 60, 0)]);
    inject(world, &[60; 3]);
    assert_eq!(received(&socket), [(0x2100, 60, 0), (0x3100, 60, 0)]);
    assert_eq!(socket.statistics().rx_ring_full, 3);
    assert_eq!(socket.fill().consumer(), if is_native(world) { 4 } else { 5 });
}

fn a3_longer_than_a_frame(world: &dyn World) {
    let socket = receiver(world, small(XDP_COPY), &[0, 2048]);
    inject(world, &[792, 793]);
    assert_eq!(received(&socket), [(0x4e8, 792, 0)]);
    assert_eq!(socket.statistics().rx_dropped, 1);
    assert_eq!(socket.fill().consumer(), 1);
}

fn a3_several_buffers(world: &dyn World) {
    let fill: Vec<u64> = (0..8).map(|i| i * 2048).collect();
    let socket = receiver(world, small(SG), &fill);
    inject(world, &[792, 793, 1514]);
    let lengths: Vec<_> = received(&socket).into_iter().map(|(_, len, options)| (len, options)).collect();
    assert_eq!(lengths, [(792, 0), (792, 1), (1, 0), (792, 1), (722, 0)]);
}

fn a3_several_buffers_and_too_little_in_the_fill_ring(world: &dyn World) {
    let socket = receiver(world, small(SG), &[0]);
    inject(world, &[1514]);
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_fill_ring_empty_descs), (1, 0));
    inject(world, &[60]);
    assert_eq!(received(&socket), [(0x4e8, 60, 0)], "the entry stayed");
    inject(world, &[1514]);
    let statistics = socket.statistics();
    assert_eq!((statistics.rx_dropped, statistics.rx_fill_ring_empty_descs), (2, 1));
}

fn a3_several_buffers_and_too_little_room_in_the_rx_ring(world: &dyn World) {
    let socket = receiver(world, Setup { rx: 2, ..small(SG) }, &[0, 2048, 4096, 6144]);
    inject(world, &[60, 1514]);
    assert_eq!(socket.statistics().rx_ring_full, 1);
    assert_eq!(socket.fill().consumer(), 1);
}

fn a3_jumbo_frames(world: &dyn World) {
    assert_eq!(world.set_mtu(End::A, 9000), 0);
    assert_eq!(world.set_mtu(End::B, 9000), 0);
    let fill: Vec<u64> = (0..8).map(|i| i * 4096).collect();
    let socket = receiver(world, Setup { bind_flags: SG, ..Setup::default() }, &fill);
    inject(world, &[3841, 9014]);
    let lengths: Vec<_> = received(&socket).into_iter().map(|(_, len, options)| (len, options)).collect();
    assert_eq!(lengths, [(3840, 1), (1, 0), (3840, 1), (3840, 1), (1334, 0)]);
}

fn a3_a_packet_with_fragments_that_fits_one_frame(world: &dyn World) {
    assert_eq!(world.set_mtu(End::A, 9000), 0);
    assert_eq!(world.set_mtu(End::B, 9000), 0);
    let socket = receiver(world, Setup::default(), &[0, 4096]);
    inject(world, &[3700]);
    assert_eq!(received(&socket), [(0x100, 3700, 0)]);
}

fn a3_programs_that_adjust(world: &dyn World) {
    for (adjust, len) in [
        (Program::AdjustMeta(-8), 60),
        (Program::AdjustHead(4), 56),
        (Program::AdjustHead(-4), 64),
        (Program::AdjustTail(-4), 56),
    ] {
        let setup = Setup { end: End::B, ..Setup::default() };
        let mut socket = RawSocket::open(world, &setup);
        socket.attach(world, End::B, |map| world.program(adjust, map));
        socket.fill().push([0_u64]);
        inject(world, &[60]);
        assert_eq!(received(&socket), [(0x100, len, 0)], "{adjust:?}");
        if adjust == Program::AdjustMeta(-8) {
            assert_eq!(socket.bytes(0xf8, 8), [0x4d; 8]);
            assert_eq!(socket.bytes(0xf4, 4), [0; 4]);
        }
    }
}
