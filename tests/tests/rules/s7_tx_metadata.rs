use xsk_core::abi::{Pod, xdp_desc, xsk_tx_metadata_request};
use xsk_core::errno::EINVAL;

use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, World};

rules! {
    s7_6_5_launch_times_are_accepted;
    s7_6_2_refused_metadata_stops_the_ring.breaks_the_law();
    s7_6_1_only_the_first_descriptor_has_metadata;
    s7_6_3_checksums;
    s7_6_4_timestamps;
    s7_6_short_metadata_runs_into_the_packet;
}

const SW_CSUM: u32 = 2;
const TX_METADATA_LEN: u32 = 4;
const TIMESTAMP: u64 = 1;
const CHECKSUM: u64 = 2;
const LAUNCH_TIME: u64 = 4;
/// Where packets are: behind their metadata.
const AT: u64 = 4096 + 24;

fn open(world: &dyn World, umem_flags: u32) -> RawSocket {
    let setup = Setup { umem_flags: umem_flags | TX_METADATA_LEN, metadata: 24, ..Setup::default() };
    RawSocket::open(world, &setup)
}

fn request(flags: u64, csum_start: u16, csum_offset: u16) -> xsk_tx_metadata_request {
    xsk_tx_metadata_request { flags, csum_start, csum_offset, ..Default::default() }
}

/// Sends a packet; those before it are completed.
fn send(socket: &RawSocket, request: &xsk_tx_metadata_request, packet: &[u8]) -> i32 {
    socket.completion().pop_all::<u64>();
    socket.write(AT - 24, request.as_bytes());
    socket.write(AT, packet);
    socket.tx().push([xdp_desc { addr: AT, len: packet.len() as u32, options: 2 }]);
    socket.kick()
}

fn s7_6_2_refused_metadata_stops_the_ring(world: &dyn World) {
    let bad = [
        request(8, 0, 0),
        request(1 << 63, 0, 0),
        request(CHECKSUM, 60, 0),
        request(CHECKSUM, 0, 59),
        request(CHECKSUM, u16::MAX, u16::MAX),
    ];
    for request in bad {
        let socket = open(world, 0);
        for kick in 1..=3 {
            let errno = if kick == 1 { send(&socket, &request, &frame(60, 1)) } else { socket.kick() };
            assert_eq!((errno, socket.tx().consumer()), (EINVAL, 0), "{request:?}");
            assert_eq!(socket.completion().producer(), kick, "one for each try");
        }
        // Mended, it goes.
        socket.write(AT - 24, &[0; 24]);
        assert_eq!((socket.kick(), socket.tx().consumer()), (0, 1));
        assert_eq!(world.receive(End::B), Some(frame(60, 1)));
    }
}

fn s7_6_1_only_the_first_descriptor_has_metadata(world: &dyn World) {
    let socket = open(world, 0);
    socket.write(AT, &frame(60, 1));
    socket.write(AT + 4096 - 24, &[0xff; 24]);
    socket.write(AT + 4096, &frame(60, 2));
    let first = xdp_desc { addr: AT, len: 60, options: 3 };
    socket.tx().push([first, xdp_desc { addr: AT + 4096, len: 60, options: 2 }]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(world.receive(End::B).map(|frame| frame.len()), Some(120));
}

fn s7_6_3_checksums(world: &dyn World) {
    let mut packet = frame(60, 0);
    packet[34..60].copy_from_slice(b"abcdefghijklmnopqrstuvwxyz");
    packet[40..42].copy_from_slice(&[0x12, 0x34]);
    let expected = {
        let words = packet[34..].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        !((sum & 0xffff) + (sum >> 16)) as u16
    };
    // A device that could do it would; veth leaves it to the receiver.
    let socket = open(world, 0);
    assert_eq!(send(&socket, &request(CHECKSUM, 34, 6), &packet), 0);
    assert_eq!(world.receive(End::B).as_ref(), Some(&packet));
    drop(socket);
    let socket = open(world, SW_CSUM);
    assert_eq!(send(&socket, &request(CHECKSUM, 34, 6), &packet), 0);
    packet[40..42].copy_from_slice(&expected.to_be_bytes());
    assert_eq!(world.receive(End::B), Some(packet));
    assert_eq!(send(&socket, &request(CHECKSUM, 58, 0), &frame(60, 1)), 0);
}

fn s7_6_4_timestamps(world: &dyn World) {
    let socket = open(world, 0);
    assert_eq!(send(&socket, &request(TIMESTAMP, 0, 0), &frame(60, 1)), 0);
    let time = |socket: &RawSocket| u64::from_ne_bytes(socket.bytes(AT - 16, 8).try_into().unwrap());
    let first = time(&socket);
    assert!(first > 1_600_000_000_000_000_000, "{first} ns is no time of this century");
    world.kernel().sleep(std::time::Duration::from_millis(5));
    assert_eq!(send(&socket, &request(TIMESTAMP, 0, 0), &frame(60, 1)), 0);
    assert!(time(&socket) - first >= 5_000_000);
}

fn s7_6_short_metadata_runs_into_the_packet(world: &dyn World) {
    let setup = Setup { umem_flags: TX_METADATA_LEN, metadata: 8, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    for at in [4096 + 8, 0x40000 - 60, 0x40000 - 14] {
        let len = (0x40000 - at).min(60) as u32;
        socket.write(at, &vec![0; len as usize]);
        socket.write(at - 8, &TIMESTAMP.to_ne_bytes());
        socket.tx().push([xdp_desc { addr: at, len, options: 2 }]);
        assert_eq!(socket.kick(), 0);
        assert_ne!(socket.bytes(at, 8), [0; 8], "the time is in the packet");
        socket.completion().pop_all::<u64>();
    }
}

fn s7_6_5_launch_times_are_accepted(world: &dyn World) {
    let socket = open(world, 0);
    assert_eq!(send(&socket, &request(LAUNCH_TIME, 0, 0), &frame(60, 1)), 0);
    assert_eq!(world.receive(End::B), Some(frame(60, 1)));
}
