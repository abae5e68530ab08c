//! Polling: rings of one, flags that nobody looks at, epoll.

use xsk::backend::PollEvents;
use xsk_core::abi::{Pod, xdp_desc};
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, World};

rules! {
    s8_2_a_ring_of_one;
    s8_3_epoll.not_simulated("the simulated kernel has no epoll in virtual time");
    s8_7_flags_never_change;
    s8_8_busy_polling_goes_on_transmitting;
}

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

fn s8_2_a_ring_of_one(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup { tx: 1, completion: 1, ..Setup::default() });
    assert_eq!(socket.poll(PollEvents::OUT, 0), PollEvents::OUT);
    socket.tx().push([good(0)]);
    // Sent by the poll.
    assert_eq!(socket.poll(PollEvents::OUT, 0), PollEvents::OUT);
    socket.tx().push([good(0x1000)]);
    assert_eq!(socket.poll(PollEvents::OUT, 0), PollEvents::empty(), "the completion ring is full");
}

fn s8_3_epoll(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    let fd = socket.kernel.fd(socket.handle).unwrap();
    // SAFETY: takes no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0);
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    socket.tx().push([good(0)]);
    // SAFETY: an event to read.
    assert_eq!(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) }, 0);
    assert_eq!(socket.tx().consumer(), 1, "adding it transmits");
    socket.tx().push([good(0x1000)]);
    // SAFETY: room for one event.
    assert_eq!(unsafe { libc::epoll_wait(epoll, &raw mut event, 1, 0) }, 0);
    assert_eq!(socket.tx().consumer(), 1, "waiting for what is not ready does not");
    // SAFETY: a descriptor that nothing else has.
    assert_eq!(unsafe { libc::close(epoll) }, 0);
}

fn s8_7_flags_never_change(world: &dyn World) {
    let receiver = RawSocket::open_receiver(world, &Setup { end: End::B, ..Setup::default() });
    let sender = RawSocket::open(world, &Setup::default());
    // What the user writes there the kernel does not read.
    sender.tx().set_flags(0);
    receiver.fill().set_flags(1);
    receiver.fill().push([0_u64]);
    sender.write(0, &frame(60, 1));
    sender.tx().push([good(0)]);
    assert_eq!(sender.kick(), 0);
    assert_eq!(sender.poll(PollEvents::OUT, 0), PollEvents::OUT);
    assert_eq!(receiver.rx().producer(), 1);
    world.send(End::A, &frame(60, 1)); // nothing is left to fill
    assert_eq!((sender.tx().flags(), receiver.fill().flags()), (0, 1));
    sender.tx().set_flags(1);
    sender.tx().push([good(0x1000)]);
    assert_eq!((sender.kick(), sender.tx().flags()), (0, 1));
}

fn s8_8_busy_polling_goes_on_transmitting(world: &dyn World) {
    const SO_PREFER_BUSY_POLL: i32 = 69;
    const SO_BUSY_POLL: i32 = 46;
    let socket = RawSocket::open(world, &Setup::default());
    for (option, value) in [(SO_PREFER_BUSY_POLL, 1_i32), (SO_BUSY_POLL, 20)] {
        socket.kernel.setsockopt(socket.handle, 1, option, value.as_bytes()).unwrap();
    }
    socket.write(0, &frame(60, 1));
    socket.tx().push([good(0)]);
    assert_eq!((socket.kick(), world.receive(End::B)), (0, Some(frame(60, 1))));
}
