//! A process that forks keeps its UMEM, and the child has no part in it.
#![cfg(target_os = "linux")]

use std::io;
use std::time::Duration;

use xsk::{Packet, Pool, PoolConfig, Port, PortConfig};
use xsk_tests::frame;
use xsk_veth::{Namespace, Tap, VethPair};

const SECOND: Duration = Duration::from_secs(1);

/// Runs `child` in a fork of this process, which then ends with 0 if it returned true, and `parent` meanwhile.
fn forked(child: impl FnOnce() -> bool, parent: impl FnOnce()) {
    let mut done = [0; 2];
    // SAFETY: writes two descriptors.
    assert_eq!(unsafe { libc::pipe(done.as_mut_ptr()) }, 0);
    // SAFETY: of the other threads, the child has nothing: it makes system calls, and looks at memory that is this thread's.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let right = child();
        // SAFETY: a byte to a pipe, which says that the child is done; the child stays until its parent has closed the pipe's
        // other end. Nothing of this process is to be dropped.
        unsafe {
            libc::write(done[1], [1_u8].as_ptr().cast(), 1);
            libc::sleep(1);
            libc::_exit(i32::from(!right));
        }
    }
    assert!(pid > 0, "fork: {}", io::Error::last_os_error());
    let mut byte = 0_u8;
    // SAFETY: reads a byte.
    assert_eq!(unsafe { libc::read(done[0], (&raw mut byte).cast(), 1) }, 1);
    parent();
    let mut status = 0;
    // SAFETY: descriptors from above, and a child that nobody else waits for.
    unsafe {
        libc::close(done[0]);
        libc::close(done[1]);
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
    }
    assert_eq!(status, 0, "what the child found in the place of the frames");
}

#[test]
fn packets_stay_this_processs_beside_a_child() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let tap = Tap::open(&ns, pair.a.name()).unwrap();
    ns.run(|| {
        let pool = Pool::new(PoolConfig::default().frames(64)).unwrap();
        let mut port = Port::open(&pool, pair.b.name(), 0, PortConfig::default().rx_ring(16)).unwrap();
        let mut packets: Vec<Packet> = (0..2).map(|_| pool.packet().unwrap()).collect();
        for packet in &mut packets {
            packet.extend_from_slice(&frame(60, 1)).unwrap();
        }
        let (mut written_after, untouched) = (packets.remove(0), packets.remove(0));
        // The child gets a copy of the handle, whose bytes are of its own memory.
        let mut copy = pool.copy(&untouched).unwrap();
        forked(
            || {
                let zeros = copy.iter().all(|byte| *byte == 0) && untouched.iter().all(|byte| *byte == 0);
                copy.fill(0xee);
                zeros
            },
            || {
                // The kernel sees what is written from now on, and none of what the child wrote.
                written_after[20..].fill(2);
                assert_eq!(*untouched, frame(60, 1));
                port.send_one(written_after).unwrap();
                let sent = tap.recv(SECOND).unwrap().expect("a packet");
                assert_eq!(sent[20..], [2; 40]);
                tap.send(&frame(60, 7)).unwrap();
                assert!(port.wait(Some(SECOND)).unwrap());
                let mut received = Vec::new();
                port.for_each(|packet| received.push(packet.to_vec())).unwrap();
                assert_eq!(received, [frame(60, 7)]);
            },
        );
        assert_eq!(*copy, frame(60, 1));
    });
}
