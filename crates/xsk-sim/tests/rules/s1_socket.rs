use xsk::backend::{Backend, Capabilities, Handle, Poll, PollEvents, RedirectProgram};
use xsk_core::errno::{EBADF, ENODEV, ENOTSOCK, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT};
use xsk_sim::SimKernel;

use crate::kit::{RawSocket, errno, everywhere};

#[test]
fn s1_1_privilege_comes_before_type_and_protocol() {
    let kernel = SimKernel::new(1);
    assert_eq!(errno(kernel.socket_of(3, 0)), 0);
    // SOCK_NONBLOCK and SOCK_CLOEXEC.
    assert_eq!(errno(kernel.socket_of(3 | 0o2_004_000, 0)), 0);
    assert_eq!(errno(kernel.socket_of(1, 0)), ESOCKTNOSUPPORT);
    assert_eq!(errno(kernel.socket_of(1, 7)), ESOCKTNOSUPPORT);
    assert_eq!(errno(kernel.socket_of(3, 7)), EPROTONOSUPPORT);
    kernel.set_capabilities(Capabilities::all() - Capabilities::CAP_NET_RAW);
    assert_eq!(errno(kernel.socket_of(1, 7)), EPERM);
    assert_eq!(errno(kernel.socket()), EPERM);
}

#[test]
fn s1_3_what_a_socket_is() {
    everywhere(|world| {
        let socket = RawSocket::new(&world.kernel());
        for (option, value) in [(3, 3), (38, 0), (39, 44), (7, 212_992), (56, 0)] {
            assert_eq!(socket.socket_option(option), value, "option {option}");
        }
    });
}

#[test]
fn handles_that_are_no_sockets() {
    everywhere(|world| {
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
    });
}
