use xsk_core::abi::{SOL_XDP, XDP_MMAP_OFFSETS, XDP_OPTIONS, XDP_STATISTICS};
use xsk_core::errno::{EINVAL, ENOPROTOOPT, EOPNOTSUPP};

use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, World};

rules! {
    s3_2_offsets;
    s3_lengths;
    s3_3_old_statistics_count_a_full_ring_as_dropped;
}

/// The bytes of an option in a buffer of `len` bytes, or the errno.
fn get(socket: &RawSocket, level: i32, name: i32, len: usize) -> Result<Vec<u8>, i32> {
    let mut bytes = vec![0xee; len];
    match socket.kernel.getsockopt(socket.handle, level, name, &mut bytes) {
        Ok(written) => {
            assert!(bytes[written..].iter().all(|byte| *byte == 0xee), "no more than it said");
            bytes.truncate(written);
            Ok(bytes)
        }
        Err(error) => Err(error.raw_os_error().unwrap()),
    }
}

fn s3_lengths(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    assert_eq!(get(&socket, 6, XDP_OPTIONS, 4), Err(ENOPROTOOPT));
    for name in [2, 3, 4, 5, 6, 9, 0, 77] {
        assert_eq!(get(&socket, SOL_XDP, name, 64), Err(EOPNOTSUPP), "option {name}");
    }
    let rows = [
        (XDP_MMAP_OFFSETS, 95, Err(EINVAL)),
        (XDP_MMAP_OFFSETS, 96, Ok(96)),
        (XDP_MMAP_OFFSETS, 127, Ok(96)),
        (XDP_MMAP_OFFSETS, 128, Ok(128)),
        (XDP_MMAP_OFFSETS, 200, Ok(128)),
        (XDP_STATISTICS, 23, Err(EINVAL)),
        (XDP_STATISTICS, 24, Ok(24)),
        (XDP_STATISTICS, 47, Ok(24)),
        (XDP_STATISTICS, 48, Ok(48)),
        (XDP_STATISTICS, 100, Ok(48)),
        (XDP_OPTIONS, 3, Err(EINVAL)),
        (XDP_OPTIONS, 4, Ok(4)),
        (XDP_OPTIONS, 8, Ok(4)),
    ];
    for (name, len, expected) in rows {
        let got = get(&socket, SOL_XDP, name, len).map(|bytes| bytes.len());
        assert_eq!(got, expected, "{name} with {len}");
    }
}

fn s3_2_offsets(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    let words = |len| {
        let bytes = get(&socket, SOL_XDP, XDP_MMAP_OFFSETS, len).unwrap();
        bytes.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(words(128), [0, 128, 320, 196].repeat(4));
    assert_eq!(words(96), [0, 128, 320].repeat(4));
}

fn s3_3_old_statistics_count_a_full_ring_as_dropped(world: &dyn World) {
    let setup = Setup { rx: 1, end: End::B, ..Setup::default() };
    let socket = RawSocket::open_receiver(world, &setup);
    socket.fill().push([0_u64, 4096]);
    (0..2).for_each(|_| world.send(End::A, &frame(60, 1)));
    world.send(End::A, &frame(60, 1));
    let dropped = |len| get(&socket, SOL_XDP, XDP_STATISTICS, len).unwrap()[0];
    assert_eq!((dropped(48), dropped(24)), (0, 2));
}
