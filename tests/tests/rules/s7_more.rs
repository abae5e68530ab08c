//! Transmitting: budgets while draining, taps, and when a packet is completed.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use xsk::backend::{Handle, PollEvents};
use xsk_core::abi::{Pod, xdp_desc};
use xsk_core::errno::EAGAIN;
use xsk_tests::raw::sequence::D::{B, BC, C, End as Last, Frag, G};
use xsk_tests::raw::sequence::{STEP, lengths, load};
use xsk_tests::raw::{RawSocket, Setup, frame};
use xsk_tests::world::{End, Program, World, XDP_DROP, XDP_PASS, is_native};

rules! {
    s2_4_4_marks_go_with_each_packet.not_simulated("the simulated kernel has no marks");
    s7_2_5_more_may_follow_without_sg;
    s7_3_7_drained_descriptors_count;
    s7_3_8_the_consumer_index_is_exact;
    s7_5_1_taps_of_the_sender_see_nothing.not_simulated("the simulated kernel has no taps on senders");
    s7_5_2_each_queue_sends_to_its_own.queues(2);
    s7_5_5_nothing_is_padded;
    s7_7_1_order_of_completions;
    s7_7_3_completed_when_the_call_returns;
    s7_7_4_completion_waits_for_whoever_holds_the_packet;
    s7_7_5_programs_that_copy_complete_at_once;
    s7_7_7_completions_are_no_event;
}

fn good(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

fn s2_4_4_marks_go_with_each_packet(world: &dyn World) {
    const SO_MARK: i32 = 36;
    let seen = xsk_tests::bpf::counter().unwrap();
    let _link = xsk_tests::bpf::see_mark(world.index(End::B), &seen).unwrap();
    let socket = RawSocket::open(world, &Setup::default());
    socket.kernel.setsockopt(socket.handle, 1, SO_MARK, 77_u32.as_bytes()).unwrap();
    socket.tx().push([good(0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(xsk_tests::bpf::read_counter(&seen).unwrap(), 77);
}

fn s7_2_5_more_may_follow_without_sg(world: &dyn World) {
    let socket = load(world, &[C, G], 64);
    assert_eq!((socket.kick(), socket.statistics().tx_invalid_descs), (0, 0));
    assert_eq!(lengths(world), [120]);
}

fn s7_3_7_drained_descriptors_count(world: &dyn World) {
    // A bad start, and 40 descriptors of that packet behind it.
    let sequence = [vec![BC], vec![Frag; 39], vec![Last, G]].concat();
    let socket = load(world, &sequence, 64);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 1));
    assert_eq!((socket.kick(), socket.tx().consumer()), (EAGAIN, 33));
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 42));
    assert_eq!(socket.statistics().tx_invalid_descs, 41);
    assert_eq!(lengths(world), [60]);
}

fn s7_3_8_the_consumer_index_is_exact(world: &dyn World) {
    let socket = load(world, &[G, C, B, G, G], 64);
    let mut seen = Vec::new();
    for _ in 0..3 {
        assert_eq!(socket.kick(), 0);
        seen.push(socket.tx().consumer());
    }
    assert_eq!(seen, [3, 5, 5]);
}

/// A packet socket that also sees what its own interface sends.
fn tap(ifindex: u32) -> OwnedFd {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: a new descriptor that nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_ll is plain data for which all zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = ifindex.cast_signed();
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: an address of that length.
    assert_eq!(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }, 0);
    fd
}

fn waiting(tap: &OwnedFd) -> usize {
    let mut buffer = [0_u8; 100];
    let mut count = 0;
    // SAFETY: pointer and length are those of `buffer`.
    while unsafe { libc::recv(tap.as_raw_fd(), buffer.as_mut_ptr().cast(), 100, 0) } > 0 {
        count += 1;
    }
    count
}

fn s7_5_1_taps_of_the_sender_see_nothing(world: &dyn World) {
    let taps = [End::A, End::B].map(|end| tap(world.index(end)));
    let socket = RawSocket::open(world, &Setup::default());
    socket.tx().push([good(0)]);
    assert_eq!(socket.kick(), 0);
    assert_eq!(taps.each_ref().map(waiting), [0, 1]);
    // What the stack sends both see.
    world.send(End::A, &frame(60, 1));
    assert_eq!(taps.each_ref().map(waiting), [1, 1]);
}

fn s7_5_2_each_queue_sends_to_its_own(world: &dyn World) {
    let kernel = world.kernel();
    let program = world.program(Program::SeeQueue, Handle(-1));
    let link = kernel.link_create(program, world.index(End::B), world.mode()).unwrap();
    let socket = RawSocket::open(world, &Setup { queue: 1, ..Setup::default() });
    socket.tx().push([good(0)]);
    assert_eq!(socket.kick(), 0);
    world.settle();
    assert_eq!(world.queue_seen(), Some(if is_native(world) { 1 } else { 0 }));
    kernel.close(link);
    kernel.close(program);
}

fn s7_5_5_nothing_is_padded(world: &dyn World) {
    let socket = RawSocket::open(world, &Setup::default());
    for len in [14, 15, 59] {
        socket.write(0, &frame(len, 1));
        socket.tx().push([xdp_desc { len: len as u32, ..good(0) }]);
        assert_eq!(socket.kick(), 0);
        assert_eq!(world.receive(End::B), Some(frame(len, 1)));
        assert_eq!(socket.completion().pop_all::<u64>(), [0]);
    }
}

fn s7_7_1_order_of_completions(world: &dyn World) {
    let socket = load(world, &[C, C, G, G, C, G], 64);
    assert_eq!(socket.kick(), 0);
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 1, 2, 3, 4, 5].map(|i| i * STEP));
}

fn s7_7_3_completed_when_the_call_returns(world: &dyn World) {
    let kernel = world.kernel();
    let socket = RawSocket::open(world, &Setup::default());
    let mut completed = 0;
    for verdict in [None, Some(XDP_DROP), Some(XDP_PASS)] {
        let program = verdict.map(|verdict| world.program(Program::Verdict(verdict), Handle(-1)));
        let link =
            program.map(|program| kernel.link_create(program, world.index(End::B), world.mode()).unwrap());
        socket.tx().push([good(u64::from(completed) * 0x1000)]);
        completed += 1;
        assert_eq!((socket.kick(), socket.completion().producer()), (0, completed), "{verdict:?}");
        link.into_iter().chain(program).for_each(|handle| kernel.close(handle));
    }
}

fn s7_7_4_completion_waits_for_whoever_holds_the_packet(world: &dyn World) {
    world.hold(End::B);
    let socket = RawSocket::open(world, &Setup::default());
    socket.tx().push([good(0), good(0x1000)]);
    assert_eq!((socket.kick(), socket.completion().producer()), (0, 0));
    world.kernel().sleep(Duration::from_millis(50));
    assert_eq!(socket.completion().producer(), 0);
    world.release(End::B);
    assert_eq!(socket.completion().pop_all::<u64>(), [0, 0x1000]);
}

fn s7_7_5_programs_that_copy_complete_at_once(world: &dyn World) {
    world.hold(End::B);
    let kernel = world.kernel();
    let socket = RawSocket::open(world, &Setup::default());
    for frags in [true, false] {
        let program = world.load(Program::Verdict(XDP_PASS), frags, Handle(-1));
        let link = kernel.link_create(program, world.index(End::B), world.mode()).unwrap();
        socket.tx().push([good(0)]);
        assert_eq!(socket.kick(), 0);
        // In SKB mode a packet is copied for programs that take fragments, and given more headroom in place for others.
        let copied = is_native(world) || frags;
        assert_eq!(socket.completion().pop_all::<u64>().len(), usize::from(copied), "{frags}");
        kernel.close(link);
        kernel.close(program);
    }
    world.release(End::B);
    assert_eq!(socket.completion().pop_all::<u64>().len(), usize::from(!is_native(world)));
}

fn s7_7_7_completions_are_no_event(world: &dyn World) {
    let setup = Setup { tx: 2, completion: 2, ..Setup::default() };
    let socket = RawSocket::open(world, &setup);
    socket.tx().push([good(0), good(0x1000)]);
    assert_eq!(socket.kick(), 0);
    // No room for the completions of these.
    socket.tx().push([good(0x2000), good(0x3000)]);
    assert_eq!(socket.poll(PollEvents::all(), 0), PollEvents::empty());
    assert_eq!(socket.completion().producer(), 2);
}
