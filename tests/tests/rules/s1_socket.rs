use std::io;

use xsk::backend::{Capabilities, Handle, Poll, PollEvents, RedirectProgram};
use xsk_core::errno::{EBADF, ENODEV, ENOTSOCK, EOPNOTSUPP, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT};

use xsk_core::abi::xdp_desc;
use xsk_tests::raw::{RawSocket, Setup, errno, frame};
use xsk_tests::world::{End, World};

const NO_SUCH_CALL: &str = "the simulated kernel has no such call";

rules! {
    s1_4_calls_that_af_xdp_does_not_have.not_simulated(NO_SUCH_CALL);
    s1_6_write_is_a_kick.not_simulated(NO_SUCH_CALL);
    s1_1_privilege_comes_before_type_and_protocol;
    s1_3_what_a_socket_is;
    s1_handles_that_are_no_sockets;
}

fn s1_1_privilege_comes_before_type_and_protocol(world: &dyn World) {
    let kernel = world.kernel();
    let socket = |kind, protocol| {
        let made = world.socket_of(kind, protocol);
        made.as_ref().inspect(|socket| kernel.close(**socket)).ok();
        errno(made)
    };
    assert_eq!(socket(3, 0), 0);
    // SOCK_NONBLOCK and SOCK_CLOEXEC.
    assert_eq!(socket(3 | 0o2_004_000, 0), 0);
    assert_eq!(socket(1, 0), ESOCKTNOSUPPORT);
    assert_eq!(socket(1, 7), ESOCKTNOSUPPORT);
    assert_eq!(socket(3, 7), EPROTONOSUPPORT);
    world.without(Capabilities::CAP_NET_RAW, &mut || {
        assert_eq!(socket(1, 7), EPERM);
        assert_eq!(errno(kernel.socket()), EPERM);
    });
}

fn s1_3_what_a_socket_is(world: &dyn World) {
    let socket = RawSocket::new(&world.kernel());
    for (option, value) in [(3, 3), (38, 0), (39, 44), (7, 212_992), (56, 0)] {
        assert_eq!(socket.socket_option(option), value, "option {option}");
    }
}

fn s1_handles_that_are_no_sockets(world: &dyn World) {
    let kernel = world.kernel();
    let map = kernel.xskmap_create(1).unwrap();
    let program = kernel.program_load(&RedirectProgram { map, frags: true }).unwrap();
    assert_eq!(errno(kernel.sendto(map)), ENOTSOCK);
    // ENOTSUPP, which user space has no name for.
    assert_eq!(errno(kernel.mmap_ring(map, 0, 4096)), 524);
    assert_eq!(errno(kernel.mmap_ring(program, 0, 4096)), ENODEV);
    let poll = |socket| Poll { socket, events: PollEvents::IN, ready: PollEvents::empty() };
    let mut polls = [poll(map), poll(program), poll(Handle(-1))];
    assert_eq!(kernel.poll(&mut polls, 0).unwrap(), 2);
    assert_eq!(polls.map(|poll| poll.ready), [PollEvents::ERR, PollEvents::IN, PollEvents::empty()]);
    let socket = kernel.socket().unwrap();
    kernel.close(socket);
    for closed in [socket, Handle(-1)] {
        assert_eq!(errno(kernel.sendto(closed)), EBADF);
        assert_eq!(errno(kernel.setsockopt(closed, 283, 2, &[8, 0, 0, 0])), EBADF);
        assert_eq!(errno(kernel.mmap_ring(closed, 0, 4096)), EBADF);
    }
    kernel.close(program);
    kernel.close(map);
}

fn s1_4_calls_that_af_xdp_does_not_have(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let fd = socket.kernel.fd(socket.handle).unwrap();
    let (mut address, mut len) = ([0_u8; 128], 128 as libc::socklen_t);
    let mut pair = [0; 2];
    let mut waiting = 0;
    let at = address.as_mut_ptr().cast::<libc::sockaddr>();
    let refused = |call: &str, result: libc::c_int| {
        assert_eq!((result, errno::<()>(Err(io::Error::last_os_error()))), (-1, EOPNOTSUPP), "{call}");
    };
    // SAFETY: an address of 128 bytes, which lives through the call.
    refused("connect", unsafe { libc::connect(fd, at, 16) });
    // SAFETY: an address of `len` bytes, both of which live through the call.
    refused("accept", unsafe { libc::accept(fd, at, &raw mut len) });
    // SAFETY: as above.
    refused("getsockname", unsafe { libc::getsockname(fd, at, &raw mut len) });
    // SAFETY: as above.
    refused("getpeername", unsafe { libc::getpeername(fd, at, &raw mut len) });
    // SAFETY: no pointers.
    refused("listen", unsafe { libc::listen(fd, 1) });
    // SAFETY: no pointers.
    refused("shutdown", unsafe { libc::shutdown(fd, libc::SHUT_RDWR) });
    // SAFETY: two descriptors, which live through the call.
    refused("socketpair", unsafe { libc::socketpair(libc::AF_XDP, libc::SOCK_RAW, 0, pair.as_mut_ptr()) });
    // SAFETY: an int, which lives through the call.
    refused("FIONREAD", unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut waiting) });
}

fn s1_6_write_is_a_kick(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let fd = socket.kernel.fd(socket.handle).unwrap();
    socket.write(0, &frame(60, 1));
    let packet = xdp_desc { addr: 0, len: 60, options: 0 };
    // A write blocks, unless told otherwise.
    // SAFETY: four bytes to read.
    assert_eq!(unsafe { libc::write(fd, [0_u8; 4].as_ptr().cast(), 4) }, -1);
    assert_eq!(errno::<()>(Err(io::Error::last_os_error())), EOPNOTSUPP);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    socket.tx().push([packet]);
    // SAFETY: four bytes to read.
    assert_eq!(unsafe { libc::write(fd, [0_u8; 4].as_ptr().cast(), 4) }, 0, "not the length");
    assert_eq!(world.receive(End::B), Some(frame(60, 1)));
    socket.tx().push([packet]);
    let (payload, address) = ([9_u8; 100], [0xff_u8; 16]);
    let to = address.as_ptr().cast::<libc::sockaddr>();
    // SAFETY: payload and address are of the lengths given with them, and live through the call.
    let sent = unsafe { libc::sendto(fd, payload.as_ptr().cast(), 100, libc::MSG_DONTWAIT, to, 16) };
    assert_eq!((sent, world.receive(End::B)), (0, Some(frame(60, 1))));
    let mut buffer = [0_u8; 4];
    // SAFETY: four bytes to write.
    assert_eq!(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), 4) }, 0);
}
